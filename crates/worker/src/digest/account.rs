//! Keeps a session's books: what each event adds to the state, and what it settles.
//!
//! Calls are matched by the agent's id for them, or for agents without ids by subagent and tool, in
//! order. What is begun and never ended is found at the next end of a turn: an interrupt by the
//! user fires no event.

use super::DigestMessage;
use super::state::{Call, Command, NAME_CHARS, SENTENCE_CHARS, State};
use super::text::{absolute, from_cwd, one_line};
use crate::agents::{Action, BatchCall, Outcome, ToolUse, View, What};

/// What the books know about an event beyond its payload.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// How long the call took: told by the agent, or between the two events.
    pub(super) duration_ms: Option<u64>,
    /// Calls that this event shows to have been given up.
    pub(super) given_up: Vec<Call>,
    /// Calls of a batch that failed without an event of their own.
    pub(super) unreported: Vec<Refused>,
}

/// A call that could not be made.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) tool: String,
    pub(super) subject: String,
    pub(super) error: String,
}

pub(super) fn account(state: &mut State, view: &View, message: &DigestMessage<'_>) -> Facts {
    let mut facts = Facts::default();
    state.first_at.get_or_insert(message.accepted_at);
    state.last_at = Some(message.accepted_at);
    if let Some(cwd) = &view.cwd {
        state.cwd = Some(cwd.chars().take(4096).collect());
    }
    if let Some(id) = message.agent_id {
        let kind = view.agent_type.as_deref().map(|kind| one_line(kind, 80));
        let agent = state.subagent(id);
        agent.started_at.get_or_insert(message.accepted_at);
        agent.kind = agent.kind.take().or(kind);
    }
    let agent_id = message.agent_id.map(|id| one_line(id, NAME_CHARS));
    match &view.what {
        What::SessionStarted {
            model: Some(model), ..
        } => state.model = Some(one_line(model, 80)),
        What::Prompted { text } if agent_id.is_none() => {
            facts.given_up = give_up(state, Scope::Agent(None));
            state.prompts.push(one_line(text, SENTENCE_CHARS));
        }
        What::ToolStarted(call) => state.running.push(Call {
            agent_id,
            id: call.id.as_deref().map(|id| one_line(id, NAME_CHARS)),
            tool: one_line(&call.tool, 80),
            subject: one_line(&subject(state.cwd.as_deref(), call), SENTENCE_CHARS),
            at: message.accepted_at,
        }),
        What::ToolFinished {
            call,
            outcome,
            duration_ms,
        } => {
            let begun = end_call(state, agent_id.as_deref(), call);
            let measured = |begun: Call| message.accepted_at.since(begun.at).as_millis() as u64;
            facts.duration_ms = duration_ms.or(begun.map(measured));
            book(state, agent_id.as_deref(), call, outcome, facts.duration_ms);
        }
        What::BatchFinished { calls } => {
            facts.unreported = unreported(state, agent_id.as_deref(), calls);
        }
        What::PermissionDenied { call, reason } => {
            end_call(state, agent_id.as_deref(), call);
            let why = reason.as_deref().unwrap_or("not permitted");
            fail(state, call, &format!("denied: {why}"));
        }
        What::SubagentStopped { last_message } => {
            stop_subagent(state, message, last_message.as_deref(), &mut facts);
        }
        What::TurnEnded { last_message } => match message.agent_id {
            Some(_) => stop_subagent(state, message, last_message.as_deref(), &mut facts),
            None => {
                facts.given_up = give_up(state, Scope::Agent(None));
                state.last_message = kept_message(last_message.as_deref());
            }
        },
        What::TurnFailed { error, details } => {
            facts.given_up = give_up(state, Scope::Agent(agent_id.as_deref()));
            let error = error.as_deref().unwrap_or("unknown error");
            let details = details.as_deref().unwrap_or_default();
            let line = format!("The agent's answer failed: {error} {details}");
            state.failures.push(one_line(&line, SENTENCE_CHARS));
        }
        What::Interrupted => {
            facts.given_up = give_up(state, Scope::Agent(agent_id.as_deref()));
        }
        What::SessionEnded { .. } => {
            facts.given_up = match agent_id.as_deref() {
                None => give_up(state, Scope::All),
                agent_id => give_up(state, Scope::Agent(agent_id)),
            };
        }
        _ => {}
    }
    facts
}

/// What a call is about, in words: its command, its files, its question.
pub(super) fn subject(cwd: Option<&str>, call: &ToolUse) -> String {
    let files = |paths: &[String]| {
        let names: Vec<&str> = paths.iter().map(|path| from_cwd(cwd, path)).collect();
        names.join(", ")
    };
    match &call.action {
        Action::Run { command, .. } => command.clone(),
        Action::Read => files(&call.read),
        Action::Change { .. } => files(&call.changed),
        Action::Search { pattern } => pattern.clone(),
        Action::Fetch { target } => target.clone(),
        Action::Delegate { task } => task.clone(),
        Action::Other { input } => input.clone(),
    }
}

/// Takes the call out of the running ones. One that was given up too early is taken back.
fn end_call(state: &mut State, agent_id: Option<&str>, call: &ToolUse) -> Option<Call> {
    let Some(id) = call.id.as_deref() else {
        return state.running.take(|running| {
            running.agent_id.as_deref() == agent_id && running.tool == one_line(&call.tool, 80)
        });
    };
    let id = one_line(id, NAME_CHARS);
    let is_it = |begun: &Call| begun.id.as_deref() == Some(&id);
    let begun = state
        .running
        .take(is_it)
        .or_else(|| state.unfinished.take(is_it));
    state.ended_ids.push(id);
    begun
}

/// Books a call that ended.
fn book(
    state: &mut State,
    agent_id: Option<&str>,
    call: &ToolUse,
    outcome: &Outcome,
    ms: Option<u64>,
) {
    let failed = outcome.failure.is_some();
    let cwd = state.cwd.clone();
    state.work.count(&call.tool, failed, ms);
    if let Some(id) = agent_id {
        state.subagent(id).work.count(&call.tool, failed, ms);
    }
    if let Action::Run { command, .. } = &call.action {
        state.commands.push(Command {
            line: one_line(command, SENTENCE_CHARS),
            failed,
            exit_code: outcome.exit_code,
            ms,
        });
    }
    if let Some(failure) = &outcome.failure {
        let exit = outcome.exit_code.map(|code| format!("exit code {code}: "));
        let error = format!("{}{}", exit.unwrap_or_default(), failure.error);
        let how = if failure.interrupted {
            "interrupted: "
        } else {
            ""
        };
        fail(state, call, &format!("{how}{error}"));
        return;
    }
    for path in &call.changed {
        let path = absolute(cwd.as_deref(), path);
        state.changed.touch(&path);
        if let Some(id) = agent_id {
            state.subagent(id).changed.touch(&path);
        }
    }
    for path in &call.read {
        state.read.touch(&absolute(cwd.as_deref(), path));
    }
}

fn fail(state: &mut State, call: &ToolUse, how: &str) {
    let subject = one_line(&subject(state.cwd.as_deref(), call), 80);
    let tool = one_line(&call.tool, 80);
    let line = match subject.as_str() {
        "" => format!("{tool}: {how}"),
        subject => format!("{tool} `{subject}`: {how}"),
    };
    state.failures.push(one_line(&line, SENTENCE_CHARS));
}

/// Failed calls that no event has told of, such as one of a tool that does not exist.
fn unreported(state: &mut State, agent_id: Option<&str>, calls: &[BatchCall]) -> Vec<Refused> {
    let mut news = Vec::new();
    for BatchCall { call, error } in calls {
        let id = call.id.as_deref().map(|id| one_line(id, NAME_CHARS));
        let told = match &id {
            Some(id) => state.ended_ids.take(|ended| ended == id).is_some(),
            None => true,
        };
        let (Some(error), false) = (error, told) else {
            continue;
        };
        let is_it = |running: &Call| running.id == id;
        // Begun and then refused: the refusal ends it.
        let _: Option<Call> = state.running.take(is_it);
        state.work.count(&call.tool, true, None);
        if let Some(agent_id) = agent_id {
            state.subagent(agent_id).work.count(&call.tool, true, None);
        }
        fail(state, call, error);
        news.push(Refused {
            tool: call.tool.clone(),
            subject: subject(state.cwd.as_deref(), call),
            error: error.clone(),
        });
    }
    news
}

fn stop_subagent(
    state: &mut State,
    message: &DigestMessage<'_>,
    last_message: Option<&str>,
    facts: &mut Facts,
) {
    let Some(id) = message.agent_id else { return };
    let id = one_line(id, NAME_CHARS);
    facts.given_up = give_up(state, Scope::Agent(Some(&id)));
    let agent = state.subagent(&id);
    agent.stopped_at = Some(message.accepted_at);
    agent.last_message = last_message.map(|text| one_line(text, SENTENCE_CHARS));
}

fn kept_message(text: Option<&str>) -> Option<String> {
    text.map(|text| super::text::cut(text, 1_000))
}

/// Whose running calls.
#[derive(Clone, Copy)]
enum Scope<'a> {
    /// Of the main agent, or of one subagent.
    Agent(Option<&'a str>),
    All,
}

/// Marks running calls as given up, and returns them.
fn give_up(state: &mut State, scope: Scope<'_>) -> Vec<Call> {
    let mut given_up = Vec::new();
    let is_in_scope = |call: &Call| match scope {
        Scope::All => true,
        Scope::Agent(agent_id) => call.agent_id.as_deref() == agent_id,
    };
    while let Some(call) = state.running.take(is_in_scope) {
        state.unfinished.push(call.clone());
        given_up.push(call);
    }
    given_up
}
