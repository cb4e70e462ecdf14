//! The agents' event names, brought to one vocabulary.
//!
//! Claude Code's names serve for Codex and for `generic` too. A name that is not listed is an event
//! without a meaning of its own: it is accepted and digested as plain data.

use super::Agent;

/// What an event says, whoever says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    SessionStart,
    Prompt,
    ToolStart,
    ToolFinish,
    ToolFailure,
    ToolBatch,
    PermissionRequest,
    PermissionDenied,
    SubagentStart,
    SubagentStop,
    TurnEnd,
    TurnFailure,
    Interrupt,
    CompactStart,
    CompactEnd,
    SessionEnd,
    Notification,
    /// Fires all the time and carries no news.
    Traffic,
    Unknown,
}

/// The meaning of an agent's event name.
pub(super) fn meaning(agent: Agent, kind: &str) -> Meaning {
    match agent {
        Agent::ClaudeCode | Agent::Codex | Agent::Generic => claude_like(kind),
        Agent::GeminiCli => gemini(kind),
        Agent::Cursor => cursor(kind),
    }
}

fn claude_like(kind: &str) -> Meaning {
    match kind {
        "SessionStart" => Meaning::SessionStart,
        "UserPromptSubmit" => Meaning::Prompt,
        "PreToolUse" => Meaning::ToolStart,
        "PostToolUse" => Meaning::ToolFinish,
        "PostToolUseFailure" => Meaning::ToolFailure,
        "PostToolBatch" => Meaning::ToolBatch,
        "PermissionRequest" => Meaning::PermissionRequest,
        "PermissionDenied" => Meaning::PermissionDenied,
        "SubagentStart" => Meaning::SubagentStart,
        "SubagentStop" => Meaning::SubagentStop,
        "Stop" => Meaning::TurnEnd,
        "StopFailure" => Meaning::TurnFailure,
        "Interrupt" => Meaning::Interrupt,
        "PreCompact" => Meaning::CompactStart,
        "PostCompact" => Meaning::CompactEnd,
        "SessionEnd" => Meaning::SessionEnd,
        "Notification" => Meaning::Notification,
        "MessageDisplay" => Meaning::Traffic,
        _ => Meaning::Unknown,
    }
}

fn gemini(kind: &str) -> Meaning {
    match kind {
        "SessionStart" => Meaning::SessionStart,
        "BeforeAgent" => Meaning::Prompt,
        "BeforeTool" => Meaning::ToolStart,
        "AfterTool" => Meaning::ToolFinish,
        "AfterAgent" => Meaning::TurnEnd,
        "SessionEnd" => Meaning::SessionEnd,
        "Notification" => Meaning::Notification,
        // PreCompress fires before every model request, whether anything is compressed or not.
        "BeforeModel" | "AfterModel" | "BeforeToolSelection" | "PreCompress" => Meaning::Traffic,
        _ => Meaning::Unknown,
    }
}

fn cursor(kind: &str) -> Meaning {
    match kind {
        "sessionStart" => Meaning::SessionStart,
        "beforeSubmitPrompt" => Meaning::Prompt,
        "preToolUse" => Meaning::ToolStart,
        "postToolUse" => Meaning::ToolFinish,
        "postToolUseFailure" => Meaning::ToolFailure,
        "subagentStart" => Meaning::SubagentStart,
        "subagentStop" => Meaning::SubagentStop,
        "stop" => Meaning::TurnEnd,
        "preCompact" => Meaning::CompactStart,
        "sessionEnd" => Meaning::SessionEnd,
        // Each stands beside a tool event that says the same.
        "beforeShellExecution"
        | "afterShellExecution"
        | "beforeMCPExecution"
        | "afterMCPExecution"
        | "beforeReadFile" => Meaning::Traffic,
        _ => Meaning::Unknown,
    }
}
