//! Writes the observation of one event.

use sessiond_queue::types::NewResult;

use super::account::{Facts, subject};
use super::state::{NAME_CHARS, State};
use super::text::{absolute, count, cut, duration, from_cwd, one_line};
use super::{CHANGE, DigestMessage, FAILURE, OBSERVATION, TRACE};
use crate::agents::{Action, Failure, Outcome, ToolUse, View, What};

/// Characters of a title.
const TITLE_CHARS: usize = 120;

/// Characters of a command, a patch or a task in a body.
const INPUT_CHARS: usize = 500;

/// Characters of an output, an error, a prompt or an answer in a body.
const OUTPUT_CHARS: usize = 2_000;

/// Characters of a path.
const PATH_CHARS: usize = 1_024;

/// Refused calls of one batch that are told of.
const REFUSED_MAX: usize = 8;

/// Characters of a field that is told on one line.
const FIELD_CHARS: usize = 200;

pub(super) fn observe(
    state: &State,
    view: &View,
    facts: &Facts,
    message: &DigestMessage<'_>,
) -> NewResult {
    let mut page = Page::new(view, message);
    let cwd = state.cwd.as_deref();
    match &view.what {
        What::SessionStarted { source, model } => {
            page.title("Session started", source.as_deref().unwrap_or(""));
            page.short("Model", model.as_deref());
            let directory = cwd.map(|cwd| one_line(cwd, PATH_CHARS));
            page.line("Directory", directory.as_deref());
        }
        What::Prompted { text } => {
            let who = match message.agent_id {
                Some(_) => "Subagent asked".to_owned(),
                None => format!("Prompt {}", state.prompts.total),
            };
            page.title(&who, text);
            page.text("", text, OUTPUT_CHARS);
        }
        What::ToolStarted(call) => {
            page.tag(TRACE);
            page.call(cwd, call);
            page.title(&format!("Starts {}", call.tool), &subject(cwd, call));
        }
        What::ToolFinished { call, outcome, .. } => {
            page.call(cwd, call);
            page.title(&headline(call, outcome), &subject(cwd, call));
            finished(&mut page, cwd, call, outcome, facts.duration_ms);
        }
        What::BatchFinished { calls } => match facts.unreported.first() {
            Some(first) => {
                page.tag(FAILURE);
                page.title(&format!("{} failed", first.tool), &first.subject);
                for refused in facts.unreported.iter().take(REFUSED_MAX) {
                    page.tag(&refused.tool);
                    let call = format!("{} {}", refused.tool, refused.subject);
                    page.line("Call", Some(&cut(&call, INPUT_CHARS)));
                    page.text("Error", &refused.error, OUTPUT_CHARS);
                }
            }
            None => {
                page.tag(TRACE);
                let tools: Vec<&str> = calls.iter().map(|call| call.call.tool.as_str()).collect();
                let number = count(calls.len() as u64, "tool call");
                page.title(&format!("Batch of {number} ended"), &tools.join(", "));
            }
        },
        What::PermissionAsked(call) => {
            page.call(cwd, call);
            let about = format!("{} {}", call.tool, subject(cwd, call));
            page.title("Asks for permission", &about);
        }
        What::PermissionDenied { call, reason } => {
            page.call(cwd, call);
            page.tag(FAILURE);
            let about = format!("{} {}", call.tool, subject(cwd, call));
            page.title("Permission denied", &about);
            page.short("Reason", reason.as_deref());
        }
        What::SubagentStarted => page.title("Subagent started", &page.who.clone()),
        What::SubagentStopped { last_message } => {
            subagent_ended(&mut page, state, message, last_message.as_deref());
        }
        What::TurnEnded { last_message } if message.agent_id.is_some() => {
            subagent_ended(&mut page, state, message, last_message.as_deref());
        }
        What::TurnEnded { last_message } => {
            let answer = last_message.as_deref().unwrap_or("");
            page.title("Answered", answer);
            page.text("", answer, OUTPUT_CHARS);
        }
        What::TurnFailed { error, details } => {
            page.tag(FAILURE);
            let error = error.as_deref().unwrap_or("unknown error");
            page.title("Answer failed", error);
            page.text("Details", details.as_deref().unwrap_or(""), OUTPUT_CHARS);
        }
        What::Interrupted => page.title("Interrupted by the user", ""),
        What::Compacting { trigger } => {
            page.title(
                "Compacts the conversation",
                trigger.as_deref().unwrap_or(""),
            );
        }
        What::Compacted { summary } => {
            let summary = summary.as_deref().unwrap_or("");
            page.title("Conversation compacted", summary);
            page.text("", summary, OUTPUT_CHARS);
        }
        What::SessionEnded { reason } => {
            page.title("Session ended", reason.as_deref().unwrap_or(""));
        }
        What::Notified { message } => {
            page.title("Notification", message);
            page.text("", message, OUTPUT_CHARS);
        }
        What::Traffic => {
            page.tag(TRACE);
            page.title(&words(message.kind), "");
        }
        What::Other { fields, file } => {
            let file = file.as_deref();
            let about = file
                .map(|path| from_cwd(cwd, path))
                .or_else(|| telling(fields))
                .unwrap_or("");
            page.title(&words(message.kind), about);
            for (name, value) in fields {
                page.short(&one_line(name, NAME_CHARS), Some(value));
            }
            page.files(cwd, file.map(str::to_owned).as_slice());
        }
    }
    for call in &facts.given_up {
        let what = format!("{} {}", call.tool, call.subject);
        page.line("Never finished", Some(what.trim()));
    }
    page.into_result()
}

/// How a call ended, in two or three words.
fn headline(call: &ToolUse, outcome: &Outcome) -> String {
    let tool = &call.tool;
    match (&outcome.failure, outcome.exit_code) {
        (
            Some(Failure {
                interrupted: true, ..
            }),
            _,
        ) => return format!("{tool} interrupted"),
        (Some(_), Some(code)) => return format!("{tool} failed (exit code {code})"),
        (Some(_), None) => return format!("{tool} failed"),
        (None, _) => {}
    }
    let verb = match (&call.action, tool.as_str()) {
        (Action::Run { .. }, _) => "Ran",
        (Action::Read, _) => "Read",
        (Action::Change { .. }, "Write" | "write_file") => "Wrote",
        (Action::Change { .. }, "Delete") => "Deleted",
        (Action::Change { .. }, "apply_patch") => "Patched",
        (Action::Change { .. }, _) => "Edited",
        (Action::Search { .. }, _) => "Searched",
        (Action::Fetch { .. }, _) => "Fetched",
        (Action::Delegate { .. }, _) => "Delegated",
        (Action::Other { .. }, _) => return format!("Called {tool}"),
    };
    verb.to_owned()
}

fn finished(
    page: &mut Page,
    cwd: Option<&str>,
    call: &ToolUse,
    outcome: &Outcome,
    duration_ms: Option<u64>,
) {
    match &call.action {
        Action::Run {
            command,
            description,
        } => {
            page.line("Command", Some(&cut(command, INPUT_CHARS)));
            page.short("Purpose", description.as_deref());
        }
        Action::Read | Action::Change { .. } => {}
        _ => page.line("Input", Some(&cut(&subject(cwd, call), INPUT_CHARS))),
    }
    let failed = outcome.failure.is_some();
    if !failed && !call.changed.is_empty() {
        page.tag(CHANGE);
    }
    let names = if failed {
        ["File", "File"]
    } else {
        ["Read", "Changed"]
    };
    for (name, paths) in names.into_iter().zip([&call.read, &call.changed]) {
        let names: Vec<&str> = paths.iter().map(|path| from_cwd(cwd, path)).collect();
        let names = names.join(", ");
        page.line(name, Some(&one_line(&names, INPUT_CHARS)));
    }
    page.line("Took", duration_ms.map(duration).as_deref());
    page.line(
        "Exit code",
        outcome
            .exit_code
            .filter(|code| *code != 0)
            .map(|code| code.to_string())
            .as_deref(),
    );
    if let Some(failure) = &outcome.failure {
        page.tag(FAILURE);
        page.text("Error", &failure.error, OUTPUT_CHARS);
    } else {
        page.text("Output", &outcome.output, OUTPUT_CHARS);
    }
    if let Action::Change {
        detail: Some(detail),
    } = &call.action
    {
        page.text("Change", detail, INPUT_CHARS);
    }
}

fn subagent_ended(
    page: &mut Page,
    state: &State,
    message: &DigestMessage<'_>,
    last_message: Option<&str>,
) {
    let answer = last_message.unwrap_or("");
    let who = match page.who.as_str() {
        "" => "Subagent ended".to_owned(),
        who => format!("Subagent {who} ended"),
    };
    page.title(&who, answer);
    let id = message.agent_id.map(|id| one_line(id, NAME_CHARS));
    if let Some(agent) = id.and_then(|id| state.subagents.get(&id)) {
        let took = match (agent.started_at, agent.stopped_at) {
            (Some(start), Some(stop)) => stop.since(start).as_millis() as u64,
            _ => 0,
        };
        if took > 0 {
            page.line("Took", Some(&duration(took)));
        }
        page.line("Did", Some(&super::summary::work_line(&agent.work)));
        let cwd = state.cwd.as_deref();
        let changed: Vec<&str> = agent
            .changed
            .latest
            .iter()
            .map(|path| from_cwd(cwd, path))
            .collect();
        page.line("Changed", Some(&one_line(&changed.join(", "), INPUT_CHARS)));
        let files: Vec<String> = agent.changed.latest.iter().cloned().collect();
        page.files(cwd, &files);
    }
    page.text("Answer", answer, OUTPUT_CHARS);
}

/// The field of an unknown event that says most.
fn telling(fields: &[(String, String)]) -> Option<&str> {
    const TELLING: [&str; 14] = [
        "message",
        "task_subject",
        "command",
        "prompt",
        "text",
        "title",
        "name",
        "new_cwd",
        "directory",
        "worktree_path",
        "teammate_name",
        "reason",
        "action",
        "source",
    ];
    let find = |name: &&str| fields.iter().find(|(known, _)| known == name);
    TELLING
        .iter()
        .find_map(find)
        .map(|(_, value)| value.as_str())
}

/// `InstructionsLoaded` as `Instructions loaded`. A name may also be nothing that can be shown.
fn words(kind: &str) -> String {
    let mut words = String::new();
    for character in kind.chars().take(TITLE_CHARS) {
        if character.is_uppercase() && words.ends_with(char::is_lowercase) {
            words.push(' ');
            words.extend(character.to_lowercase());
        } else if words.is_empty() {
            words.extend(character.to_uppercase());
        } else {
            words.push(character);
        }
    }
    match one_line(&words, TITLE_CHARS) {
        words if words.is_empty() => "Event without a name".to_owned(),
        words => words,
    }
}

/// A result on its way.
struct Page {
    who: String,
    title: String,
    body: String,
    files: Vec<String>,
    tags: Vec<String>,
}

impl Page {
    fn new(view: &View, message: &DigestMessage<'_>) -> Self {
        let mut page = Self {
            who: one_line(view.agent_type.as_deref().unwrap_or(""), 80),
            title: String::new(),
            body: String::new(),
            files: Vec::new(),
            tags: Vec::new(),
        };
        page.tag(message.kind);
        if message.agent_id.is_some() {
            page.tag("subagent");
            page.tag(&page.who.clone());
        }
        page
    }

    fn title(&mut self, what: &str, about: &str) {
        self.title = match about.trim() {
            "" => one_line(what, TITLE_CHARS),
            about => one_line(&format!("{what}: {about}"), TITLE_CHARS),
        };
    }

    fn tag(&mut self, tag: &str) {
        let tag = one_line(tag, 80);
        if !tag.is_empty() && !self.tags.contains(&tag) {
            self.tags.push(tag);
        }
    }

    fn call(&mut self, cwd: Option<&str>, call: &ToolUse) {
        self.tag(&call.tool);
        self.files(cwd, &call.read);
        self.files(cwd, &call.changed);
    }

    fn files(&mut self, cwd: Option<&str>, paths: &[String]) {
        for path in paths {
            let path = one_line(&absolute(cwd, path), PATH_CHARS);
            if !self.files.contains(&path) {
                self.files.push(path);
            }
        }
    }

    /// `name: value`; nothing when there is no value.
    fn line(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            self.body.push_str(&format!("{name}: {value}\n"));
        }
    }

    /// The same, with as much of the value as fits on a line.
    fn short(&mut self, name: &str, value: Option<&str>) {
        let value = value.map(|value| one_line(value, FIELD_CHARS));
        self.line(name, value.as_deref());
    }

    /// Text of several lines under a name of its own.
    fn text(&mut self, name: &str, text: &str, chars_max: usize) {
        let text = cut(text, chars_max);
        match (name, text.contains('\n')) {
            _ if text.is_empty() => {}
            ("", _) => self.body.push_str(&format!("{text}\n")),
            (name, false) => self.line(name, Some(&text)),
            (name, true) => self.body.push_str(&format!("{name}:\n{text}\n")),
        }
    }

    fn into_result(self) -> NewResult {
        NewResult {
            kind: OBSERVATION.to_owned(),
            title: self.title,
            body: self.body.trim_end().to_owned(),
            files: self.files,
            tags: self.tags,
        }
    }
}
