//! How a tool call came out: what it printed, and whether and how it failed.
//!
//! Each agent reports failure in its own way: Claude Code by an event, Gemini CLI by a field or an
//! exit code in the text, Codex by an exit code in the text where it gives one at all.

use serde_json::Value;

use super::Agent;
use super::fields::{Fields, parse};
use super::tools::{Action, ToolUse};

/// How a tool call came out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// What the tool answered, for tools whose answer is news: not the content of a file.
    pub output: String,
    /// Exit code of a command, where the agent tells it.
    pub exit_code: Option<i64>,
    /// Set when it failed.
    pub failure: Option<Failure>,
}

/// How a tool call failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failure {
    /// What the agent says about it.
    pub error: String,
    /// Whether the user stopped it.
    pub interrupted: bool,
}

/// The outcome told by an event that follows a tool call without saying that it failed.
pub(super) fn finished(agent: Agent, call: &ToolUse, fields: &Fields<'_>) -> Outcome {
    let response = fields
        .value("tool_response")
        .or_else(|| fields.value("tool_output").map(unwrap_json))
        .unwrap_or_default();
    let is_command = matches!(call.action, Action::Run { .. });
    let text = text_of(&response);
    let reports_exit = is_command || call.tool == "apply_patch";
    let exit_code = match agent {
        Agent::ClaudeCode => None,
        Agent::Codex | Agent::GeminiCli | Agent::Cursor | Agent::Generic if reports_exit => {
            number(&response, &["exitCode", "exit_code"]).or_else(|| exit_code_in(&text))
        }
        _ => None,
    };
    let output = match &call.action {
        Action::Read | Action::Change { .. } => String::new(),
        _ => shown(&response, text),
    };
    let interrupted = flag(&response, "interrupted");
    let error = reported_error(&response).or_else(|| {
        let failed = interrupted || exit_code.is_some_and(|code| code != 0);
        failed.then(|| match (interrupted, output.trim()) {
            (true, _) => "interrupted".to_owned(),
            (false, "") => last_lines(&text_of(&response)),
            (false, output) => output.to_owned(),
        })
    });
    Outcome {
        output,
        exit_code,
        failure: error.map(|error| Failure { error, interrupted }),
    }
}

/// The outcome told by an event that says the call failed.
pub(super) fn failed(fields: &Fields<'_>) -> Outcome {
    let error = ["error", "error_message", "tool_response", "tool_output"]
        .iter()
        .find_map(|name| fields.value(name))
        .map(|value| text_of(&value))
        .unwrap_or_default();
    let exit_code = exit_code_in(&error);
    let error = match error.split_once('\n') {
        Some((first, rest)) if exit_code.is_some() && exit_code_of(first).is_some() => rest,
        _ => error.as_str(),
    };
    Outcome {
        output: String::new(),
        exit_code,
        failure: Some(Failure {
            error: error.trim().to_owned(),
            interrupted: fields.flag("is_interrupt"),
        }),
    }
}

/// The error inside a tool's answer, for calls that are only told of by a batch.
pub(super) fn tool_use_error(response: &Value) -> Option<String> {
    let text = text_of(response);
    let inner = text.trim().strip_prefix("<tool_use_error>")?;
    let inner = inner.strip_suffix("</tool_use_error>").unwrap_or(inner);
    let inner = inner.trim();
    Some(inner.strip_prefix("Error: ").unwrap_or(inner).to_owned())
}

fn reported_error(response: &Value) -> Option<String> {
    match response.get("error") {
        Some(Value::Null) | None => {
            let marked = flag(response, "is_error") || flag(response, "isError");
            marked.then(|| text_of(response))
        }
        Some(error) => {
            let text = error.get("message").map_or_else(|| text_of(error), text_of);
            (!text.is_empty()).then_some(text)
        }
    }
}

/// The text of an answer, whatever its shape.
fn text_of(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Array(blocks) => {
            let texts: Vec<String> = blocks.iter().map(text_of).collect();
            texts.join("\n")
        }
        Value::Object(fields) => {
            let stream = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or("");
            let streams = [stream("stdout"), stream("stderr")];
            if fields.contains_key("stdout") || fields.contains_key("stderr") {
                let printed = streams.iter().filter(|text| !text.is_empty());
                return printed.copied().collect::<Vec<_>>().join("\n");
            }
            [
                "llmContent",
                "content",
                "text",
                "output",
                "result",
                "message",
            ]
            .iter()
            .find_map(|name| fields.get(*name))
            .map_or_else(String::new, text_of)
        }
    }
}

/// What a person would be shown: Gemini CLI keeps it apart, Codex puts a header before it.
fn shown(response: &Value, text: String) -> String {
    let display = response.get("returnDisplay").and_then(Value::as_str);
    if let Some(display) = display.filter(|text| !text.is_empty()) {
        return display.to_owned();
    }
    match text.split_once("\nOutput:\n") {
        Some((header, output)) if exit_code_in(header).is_some() => output.to_owned(),
        _ => text,
    }
}

/// The exit code in an agent's own lines around a command's output: at the top or at the end.
fn exit_code_in(text: &str) -> Option<i64> {
    let head = text.lines().take(3);
    let tail = text.lines().rev().take(5);
    head.chain(tail).find_map(exit_code_of)
}

fn exit_code_of(line: &str) -> Option<i64> {
    const MARKS: [&str; 4] = [
        "Exit code: ",
        "Exit Code: ",
        "Exit code ",
        "Process exited with code ",
    ];
    let code = MARKS.iter().find_map(|mark| line.strip_prefix(mark))?;
    code.trim().parse().ok()
}

fn last_lines(text: &str) -> String {
    let mut lines: Vec<&str> = text.lines().rev().take(5).collect();
    lines.reverse();
    lines.join("\n")
}

/// Cursor sends the answer as JSON within a string.
fn unwrap_json(value: Value) -> Value {
    match &value {
        Value::String(text) if text.starts_with('{') => parse(text).unwrap_or(value),
        _ => value,
    }
}

fn number(value: &Value, names: &[&str]) -> Option<i64> {
    names.iter().find_map(|name| value.get(name)?.as_i64())
}

fn flag(value: &Value, name: &str) -> bool {
    value.get(name).and_then(Value::as_bool).unwrap_or(false)
}
