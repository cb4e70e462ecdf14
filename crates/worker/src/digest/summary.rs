//! Writes the summary of a session as it stands at the end of a turn, or of the session.
//!
//! A summary covers the whole session so far, so that the latest one is all a reader needs.

use sessiond_queue::types::NewResult;

use super::SUMMARY;
use super::state::{Command, Files, State, Subagent, Work};
use super::text::{count, duration, from_cwd, one_line};

/// Lines of one section; the counts before it are of all.
const SHOWN_MAX: usize = 10;

/// Why a summary is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Occasion {
    TurnEnded,
    TurnFailed,
    SessionEnded,
}

pub(super) fn summarize(state: &State, occasion: Occasion) -> NewResult {
    let cwd = state.cwd.as_deref();
    let mut body = String::new();
    let mut section = |name: &str, total: u64, lines: Vec<String>| {
        if total == 0 {
            return;
        }
        let left_out = total - (lines.len() as u64).min(total);
        let note = match left_out {
            0 => String::new(),
            more => format!(", the first {more} left out"),
        };
        body.push_str(&format!("{name} ({total}{note}):\n"));
        for line in lines {
            body.push_str(&format!("- {line}\n"));
        }
        body.push('\n');
    };

    section(
        "Prompts",
        state.prompts.total,
        shown(&state.prompts.last, String::clone),
    );
    section(
        "Files changed",
        state.changed.total(),
        paths(cwd, &state.changed),
    );
    section(
        "Failures",
        state.failures.total,
        shown(&state.failures.last, String::clone),
    );
    section("Never finished", state.unfinished.total, {
        shown(&state.unfinished.last, |call| {
            format!("{} {}", call.tool, call.subject).trim().to_owned()
        })
    });
    section(
        "Commands",
        state.commands.total,
        shown(&state.commands.last, command),
    );
    let subagents: Vec<(&String, &Subagent)> = state.subagents.iter().collect();
    let subagents_total = state
        .subagents_dropped
        .saturating_add(subagents.len() as u64);
    section(
        "Subagents",
        subagents_total,
        shown(&subagents, |(id, agent)| subagent(id, agent)),
    );
    section("Files read", state.read.total(), paths(cwd, &state.read));

    let mut head = String::new();
    let took = match (state.first_at, state.last_at) {
        (Some(first), Some(last)) => last.since(first).as_millis() as u64,
        _ => 0,
    };
    if state.work.calls > 0 {
        head.push_str(&format!("Work: {}\n", work_line(&state.work)));
    }
    if took > 0 {
        head.push_str(&format!("Time span: {}\n", duration(took)));
    }
    if let Some(model) = &state.model {
        head.push_str(&format!("Model: {model}\n"));
    }
    if !head.is_empty() {
        head.push('\n');
    }
    if let Some(message) = state
        .last_message
        .as_deref()
        .filter(|text| !text.is_empty())
    {
        body.push_str(&format!("Last answer:\n{message}\n"));
    }
    NewResult {
        kind: SUMMARY.to_owned(),
        title: title(state, occasion),
        body: format!("{head}{body}").trim_end().to_owned(),
        files: state.changed.latest.iter().cloned().collect(),
        tags: vec![tag(occasion).to_owned()],
    }
}

/// Counts of tool calls in one line.
pub(super) fn work_line(work: &Work) -> String {
    if work.calls == 0 {
        return "no tool calls".to_owned();
    }
    let mut by_tool: Vec<(&String, &u64)> = work.by_tool.iter().collect();
    // Stable: equal counts stay in the order of their names.
    by_tool.sort_by(|a, b| b.1.cmp(a.1));
    let tools: Vec<String> = by_tool
        .iter()
        .take(SHOWN_MAX)
        .map(|(tool, calls)| format!("{tool} {calls}"))
        .collect();
    let mut line = format!("{} ({})", count(work.calls, "tool call"), tools.join(", "));
    if work.failed > 0 {
        line.push_str(&format!(", {} failed", work.failed));
    }
    if work.tool_ms > 0 {
        line.push_str(&format!(", {} in tools", duration(work.tool_ms)));
    }
    line
}

fn title(state: &State, occasion: Occasion) -> String {
    let mut parts = Vec::new();
    if state.changed.total() > 0 {
        parts.push(format!("{} changed", count(state.changed.total(), "file")));
    }
    if state.work.calls > 0 {
        parts.push(count(state.work.calls, "tool call"));
    }
    if state.failures.total > 0 {
        parts.push(count(state.failures.total, "failure"));
    }
    if parts.is_empty() {
        parts.push("no tool calls".to_owned());
    }
    let what = match (occasion, state.prompts.total) {
        (Occasion::TurnEnded, 0) => "Turn".to_owned(),
        (Occasion::TurnEnded, turn) => format!("Turn {turn}"),
        (Occasion::TurnFailed, _) => "Turn failed".to_owned(),
        (Occasion::SessionEnded, _) => "Session ended".to_owned(),
    };
    let prompt = state
        .prompts
        .last
        .back()
        .map_or("without a prompt", |prompt| prompt);
    let prompt = one_line(prompt, 60);
    one_line(&format!("{what}: {prompt} ({})", parts.join(", ")), 120)
}

fn tag(occasion: Occasion) -> &'static str {
    match occasion {
        Occasion::TurnEnded => "turn-ended",
        Occasion::TurnFailed => "turn-failed",
        Occasion::SessionEnded => "session-ended",
    }
}

fn shown<'a, T: 'a, I>(entries: I, line: impl Fn(&'a T) -> String) -> Vec<String>
where
    I: IntoIterator<Item = &'a T>,
    I::IntoIter: DoubleEndedIterator,
{
    let mut lines: Vec<String> = entries
        .into_iter()
        .rev()
        .take(SHOWN_MAX)
        .map(line)
        .collect();
    lines.reverse();
    lines
}

fn paths(cwd: Option<&str>, files: &Files) -> Vec<String> {
    shown(&files.latest, |path| from_cwd(cwd, path).to_owned())
}

fn command(command: &Command) -> String {
    let mut notes = Vec::new();
    match (command.failed, command.exit_code) {
        (true, Some(code)) => notes.push(format!("exit code {code}")),
        (true, None) => notes.push("failed".to_owned()),
        (false, _) => {}
    }
    notes.extend(command.ms.map(duration));
    match notes.as_slice() {
        [] => format!("`{}`", command.line),
        notes => format!("`{}` ({})", command.line, notes.join(", ")),
    }
}

fn subagent(id: &str, agent: &Subagent) -> String {
    let name = match agent.kind.as_deref() {
        Some(kind) if !kind.is_empty() => kind.to_owned(),
        _ => one_line(id, 12),
    };
    let end = match (&agent.stopped_at, agent.last_message.as_deref()) {
        (None, _) => "; still at work".to_owned(),
        (Some(_), None | Some("")) => String::new(),
        (Some(_), Some(answer)) => format!("; answered: {}", one_line(answer, 160)),
    };
    let changed = match agent.changed.total() {
        0 => String::new(),
        files => format!(", {} changed", count(files, "file")),
    };
    format!("{name}: {}{changed}{end}", work_line(&agent.work))
}
