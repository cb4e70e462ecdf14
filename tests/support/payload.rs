//! What agents write to their hooks: recorded, and made up.

use serde_json::{Value, json};

/// Recorded events, one a line, in the order in which they fired.
const RECORDINGS: [(&str, &str); 4] = [
    ("claude-code", include_str!("../fixtures/claude-code.jsonl")),
    (
        "claude-code",
        include_str!("../fixtures/claude-code-resume-clear-compact.jsonl"),
    ),
    ("codex", include_str!("../fixtures/codex.jsonl")),
    ("gemini-cli", include_str!("../fixtures/gemini-cli.jsonl")),
];

/// One recorded event.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Whose it is.
    pub agent: &'static str,
    /// The agent's id of its session.
    pub session: String,
    /// The agent's name of the event.
    pub kind: String,
    /// As the agent wrote it.
    pub payload: String,
}

impl Recorded {
    /// Its session as the API names it.
    pub fn session_name(&self) -> String {
        format!("{}:{}", self.agent, self.session)
    }
}

/// Everything that was recorded of all agents.
pub fn recorded_all() -> Vec<Recorded> {
    let recordings = RECORDINGS.iter();
    recordings
        .flat_map(|(agent, lines)| lines.lines().map(|line| recorded_line(agent, line)))
        .collect()
}

/// What was recorded of one agent.
pub fn recorded(agent: &str) -> Vec<Recorded> {
    let mut events = recorded_all();
    events.retain(|event| event.agent == agent);
    assert!(!events.is_empty(), "nothing is recorded of {agent}");
    events
}

fn recorded_line(agent: &'static str, line: &str) -> Recorded {
    let value: Value = serde_json::from_str(line).expect("a recorded event is JSON");
    let text = |name: &str| {
        value[name]
            .as_str()
            .expect("a recorded event has it")
            .to_owned()
    };
    Recorded {
        agent,
        session: text("session_id"),
        kind: text("hook_event_name"),
        payload: line.to_owned(),
    }
}

/// An event with fields of its own, in a directory that does not exist.
pub fn event(session: &str, kind: &str, fields: Value) -> String {
    let mut event = json!({
        "session_id": session,
        "cwd": "/home/user/project",
        "hook_event_name": kind,
    });
    let Value::Object(fields) = fields else {
        panic!("fields are an object")
    };
    for (name, value) in fields {
        event[name] = value;
    }
    event.to_string()
}

/// The agent starts or resumes in `cwd`.
pub fn session_start(session: &str, cwd: &str) -> String {
    event(
        session,
        "SessionStart",
        json!({ "cwd": cwd, "source": "startup" }),
    )
}

/// The user speaks.
pub fn prompt(session: &str, text: &str) -> String {
    event(session, "UserPromptSubmit", json!({ "prompt": text }))
}

/// A command is about to run (`PreToolUse`) or has run (`PostToolUse`).
pub fn tool(session: &str, kind: &str, tool_use_id: &str) -> String {
    event(
        session,
        kind,
        json!({
            "tool_name": "Bash",
            "tool_input": { "command": format!("echo {tool_use_id}") },
            "tool_response": { "stdout": tool_use_id },
            "tool_use_id": tool_use_id,
        }),
    )
}

/// The agent's turn is over.
pub fn stop(session: &str, last_words: &str) -> String {
    event(
        session,
        "Stop",
        json!({ "last_assistant_message": last_words }),
    )
}

/// The agent ends.
pub fn session_end(session: &str) -> String {
    event(session, "SessionEnd", json!({ "reason": "clear" }))
}
