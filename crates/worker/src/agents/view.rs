//! A whole payload, read into one vocabulary for the digest.
//!
//! Total: every text gives a view. What a payload does not say is absent, and an event that is not
//! known is a list of its short fields.

use serde_json::Value;

use super::Agent;
use super::fields::{Fields, parse};
use super::meaning::{Meaning, meaning};
use super::outcome::{self, Outcome};
use super::tools::{self, ToolUse};

/// Fields of an event that say nothing about what happened.
const NO_NEWS: [&str; 21] = [
    "session_id",
    "session",
    "conversation_id",
    "generation_id",
    "transcript_path",
    "agent_transcript_path",
    "cwd",
    "hook_event_name",
    "event",
    "prompt_id",
    "turn_id",
    "permission_mode",
    "effort",
    "timestamp",
    "agent_id",
    "agent_type",
    "scratchpad_dir",
    "cursor_version",
    "workspace_roots",
    "llm_request",
    "llm_response",
];

/// Fields of an unknown event that are kept at most.
const FIELDS_MAX: usize = 16;

/// Bytes of raw JSON beyond which a field of an unknown event is left out unparsed.
const FIELD_RAW_MAX: usize = 16 << 10;

/// One event, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// The working directory it names.
    pub cwd: Option<String>,
    /// The type of the subagent it came from.
    pub agent_type: Option<String>,
    /// What happened.
    pub what: What,
}

/// What an event tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// The agent started, or went on with the session.
    SessionStarted {
        /// `startup`, `resume`, `clear`, `compact` and the like.
        source: Option<String>,
        /// The model's name.
        model: Option<String>,
    },
    /// The user, or for a subagent its parent, said something.
    Prompted {
        /// What.
        text: String,
    },
    /// A tool is about to be called.
    ToolStarted(ToolUse),
    /// A tool call ended, well or badly.
    ToolFinished {
        /// The call.
        call: ToolUse,
        /// How it came out.
        outcome: Outcome,
        /// How long it took, where the agent tells.
        duration_ms: Option<u64>,
    },
    /// The calls that the model had asked for at once have all ended.
    BatchFinished {
        /// The calls, in the model's order.
        calls: Vec<BatchCall>,
    },
    /// The user is asked whether a tool may be called.
    PermissionAsked(ToolUse),
    /// A tool may not be called.
    PermissionDenied {
        /// The call.
        call: ToolUse,
        /// Why not.
        reason: Option<String>,
    },
    /// A subagent began.
    SubagentStarted,
    /// A subagent ended.
    SubagentStopped {
        /// What it answered.
        last_message: Option<String>,
    },
    /// The agent has answered and waits for the user.
    TurnEnded {
        /// What it answered.
        last_message: Option<String>,
    },
    /// The agent gave up on an answer.
    TurnFailed {
        /// The class of error.
        error: Option<String>,
        /// More about it.
        details: Option<String>,
    },
    /// The user stopped the agent.
    Interrupted,
    /// The conversation is about to be compacted.
    Compacting {
        /// `manual` or `auto`.
        trigger: Option<String>,
    },
    /// The conversation was compacted.
    Compacted {
        /// What stands for the earlier conversation now.
        summary: Option<String>,
    },
    /// The agent ended.
    SessionEnded {
        /// Why.
        reason: Option<String>,
    },
    /// The agent told the user something.
    Notified {
        /// What.
        message: String,
    },
    /// Fires all the time and says nothing new.
    Traffic,
    /// An event without a meaning of its own.
    Other {
        /// Its short fields, by name.
        fields: Vec<(String, String)>,
        /// The file it is about.
        file: Option<String>,
    },
}

/// One call of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchCall {
    /// The call.
    pub call: ToolUse,
    /// Why it could not be made, if so: such a call may have had no event of its own.
    pub error: Option<String>,
}

/// Reads a payload of an agent's event `kind`.
pub fn view(agent: Agent, kind: &str, payload: &str) -> View {
    let fields = Fields::split(payload);
    View {
        cwd: fields.text("cwd"),
        agent_type: fields.text("agent_type"),
        what: what(agent, kind, &fields),
    }
}

fn what(agent: Agent, kind: &str, fields: &Fields<'_>) -> What {
    let first = |names: &[&str]| names.iter().find_map(|name| fields.text(name));
    match meaning(agent, kind) {
        Meaning::SessionStart => What::SessionStarted {
            source: fields.text("source"),
            model: fields.text("model"),
        },
        Meaning::Prompt => What::Prompted {
            text: fields.text("prompt").unwrap_or_default(),
        },
        Meaning::ToolStart => What::ToolStarted(tools::tool_use(fields)),
        Meaning::ToolFinish => {
            let call = tools::tool_use(fields);
            What::ToolFinished {
                outcome: outcome::finished(agent, &call, fields),
                duration_ms: duration_ms(fields),
                call,
            }
        }
        Meaning::ToolFailure => What::ToolFinished {
            call: tools::tool_use(fields),
            outcome: outcome::failed(fields),
            duration_ms: duration_ms(fields),
        },
        Meaning::ToolBatch => What::BatchFinished {
            calls: batch(fields),
        },
        Meaning::PermissionRequest => What::PermissionAsked(tools::tool_use(fields)),
        Meaning::PermissionDenied => What::PermissionDenied {
            call: tools::tool_use(fields),
            reason: fields.text("reason"),
        },
        Meaning::SubagentStart => What::SubagentStarted,
        Meaning::SubagentStop => What::SubagentStopped {
            last_message: first(&["last_assistant_message", "summary", "text"]),
        },
        Meaning::TurnEnd => What::TurnEnded {
            last_message: first(&["last_assistant_message", "prompt_response", "text"]),
        },
        Meaning::TurnFailure => What::TurnFailed {
            error: fields.text("error"),
            details: first(&["error_details", "last_assistant_message"]),
        },
        Meaning::Interrupt => What::Interrupted,
        Meaning::CompactStart => What::Compacting {
            trigger: fields.text("trigger"),
        },
        Meaning::CompactEnd => What::Compacted {
            summary: fields.text("compact_summary"),
        },
        Meaning::SessionEnd => What::SessionEnded {
            reason: fields.text("reason"),
        },
        Meaning::Notification => What::Notified {
            message: first(&["message", "title", "notification_type"]).unwrap_or_default(),
        },
        Meaning::Traffic => What::Traffic,
        Meaning::Unknown => What::Other {
            fields: short_fields(fields),
            file: first(&["file_path", "path"]),
        },
    }
}

fn duration_ms(fields: &Fields<'_>) -> Option<u64> {
    fields
        .milliseconds("duration_ms")
        .or_else(|| fields.milliseconds("duration"))
}

fn batch(fields: &Fields<'_>) -> Vec<BatchCall> {
    let Some(Value::Array(calls)) = fields.value("tool_calls") else {
        return Vec::new();
    };
    let text = |call: &Value, name: &str| call.get(name).and_then(Value::as_str).map(str::to_owned);
    calls
        .iter()
        .take(64)
        .map(|call| BatchCall {
            call: tools::describe(
                text(call, "tool_name").unwrap_or_else(|| "tool".to_owned()),
                text(call, "tool_use_id"),
                call.get("tool_input").unwrap_or(&Value::Null),
            ),
            error: call.get("tool_response").and_then(outcome::tool_use_error),
        })
        .collect()
}

fn short_fields(fields: &Fields<'_>) -> Vec<(String, String)> {
    fields
        .iter()
        .filter(|(name, raw)| !NO_NEWS.contains(name) && raw.get().len() <= FIELD_RAW_MAX)
        .filter_map(|(name, raw)| {
            let text = match parse::<Value>(raw.get())? {
                Value::String(text) if !text.is_empty() => text,
                value @ (Value::Bool(_) | Value::Number(_)) => value.to_string(),
                _ => return None,
            };
            Some((name.to_owned(), text))
        })
        .take(FIELDS_MAX)
        .collect()
}
