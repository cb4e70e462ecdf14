//! What sessiond knows about each agent: the shape of its payloads, the meaning of its events and
//! tools, and the output it takes from a hook.
//!
//! `event` reads what the queue needs to accept an event (hot path, borrows); `view` reads it again,
//! in full, for the digest. Nothing here stores, waits or keeps state, but for the small cache of
//! `project`.

mod event;
mod fields;
mod meaning;
mod outcome;
mod project;
mod tools;
mod view;

use std::fmt;
use std::str::FromStr;

pub use event::{Event, PayloadError, read_event};
pub use outcome::{Failure, Outcome};
pub use project::Projects;
pub use tools::{Action, ToolUse};
pub use view::{BatchCall, View, What, view};

use meaning::{Meaning, meaning};

/// An agent whose payloads are understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Agent {
    /// Anthropic's Claude Code.
    ClaudeCode,
    /// OpenAI's Codex CLI.
    Codex,
    /// Google's Gemini CLI.
    GeminiCli,
    /// Cursor. It also loads the hooks made for Claude Code, so it delivers events twice.
    Cursor,
    /// Anything else that posts the documented fields.
    Generic,
}

impl Agent {
    /// Every agent, in the order of the documentation.
    pub const ALL: [Self; 5] = [
        Self::ClaudeCode,
        Self::Codex,
        Self::GeminiCli,
        Self::Cursor,
        Self::Generic,
    ];

    /// The name used in paths, on the command line and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClaudeCode => "claude-code",
            Self::Codex => "codex",
            Self::GeminiCli => "gemini-cli",
            Self::Cursor => "cursor",
            Self::Generic => "generic",
        }
    }
}

impl fmt::Display for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Agent {
    type Err = UnknownAgent;

    fn from_str(name: &str) -> Result<Self, UnknownAgent> {
        Self::ALL
            .into_iter()
            .find(|agent| agent.as_str() == name)
            .ok_or_else(|| UnknownAgent {
                name: name.chars().take(64).collect(),
            })
    }
}

/// No adapter has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("agent {name:?} is not known: use claude-code, codex, gemini-cli, cursor or generic")]
pub struct UnknownAgent {
    /// The name that was given, at most 64 characters of it.
    pub name: String,
}

/// What a hook prints so that `text` becomes part of the agent's context: one line of JSON. `None`
/// when this event of this agent takes none.
pub fn context_output(agent: Agent, kind: &str, text: &str) -> Option<String> {
    takes_context(agent, kind).then(|| {
        serde_json::json!({
            "hookSpecificOutput": { "hookEventName": kind, "additionalContext": text }
        })
        .to_string()
    })
}

/// Only where the output's shape is documented: Cursor's differs, and it repeats its events.
fn takes_context(agent: Agent, kind: &str) -> bool {
    agent != Agent::Cursor && meaning(agent, kind) == Meaning::SessionStart
}

#[cfg(test)]
mod tests;
