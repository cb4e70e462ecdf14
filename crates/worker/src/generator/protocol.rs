//! Protocol 1 between the worker and a program: one JSON object a line, as
//! `docs/generator-protocol.md` describes it for those who write programs.
//!
//! Here are the shapes alone: lines are made, and lines are read and checked by themselves. What a
//! line means at its moment is the [conversation](super::program)'s business.

mod surrogates;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sessiond_queue::ids::{MessageId, Seq, SessionId, Timestamp};
use sessiond_queue::limits::NAME_MAX_BYTES;
use sessiond_queue::types::{Message, NewResult, Session, Usage};

use super::{CloseReason, FailureClass};

/// The version spoken here.
pub(super) const VERSION: u32 = 1;

/// Results in one reply: more are a loop that went wrong.
pub(super) const RESULTS_MAX: usize = 1_000;

/// Tokens and dollars in one reply: more are a slip of units, and would exhaust every budget.
const TOKENS_MAX: i64 = 1_000_000_000;
const COST_MAX_USD: f64 = 10_000.0;

/// Characters that are kept of a name, and of a reason.
const NAME_MAX_CHARS: usize = 200;
const REASON_MAX_CHARS: usize = 1_000;

/// What the worker says.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Said<'a> {
    Open {
        protocol: u32,
        session: SessionId,
        agent: &'a str,
        project: Option<&'a str>,
        cwd: Option<&'a str>,
        prompt: Option<&'a str>,
        prompt_number: i64,
        #[serde(skip_serializing_if = "Option::is_none")]
        checkpoint: Option<Box<RawValue>>,
        recent_results: &'a [NewResult],
    },
    Message {
        id: MessageId,
        seq: Seq,
        kind: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        agent_id: Option<&'a str>,
        attempt: u32,
        accepted_at: Timestamp,
        payload: Box<RawValue>,
    },
    Close {
        reason: &'static str,
    },
}

/// The line `open`; without its newline, as all lines here. `recent_results` are the newest last.
///
/// # Errors
/// The checkpoint is not JSON.
pub(super) fn open(
    session: &Session,
    checkpoint: Option<&str>,
    recent_results: &[NewResult],
) -> serde_json::Result<Vec<u8>> {
    serde_json::to_vec(&Said::Open {
        protocol: VERSION,
        session: session.id,
        agent: &session.agent,
        project: session.project.as_deref(),
        cwd: session.cwd.as_deref(),
        prompt: session.prompt.as_deref(),
        prompt_number: session.prompt_number,
        checkpoint: checkpoint.map(on_one_line).transpose()?,
        recent_results,
    })
}

/// The line `message`.
///
/// # Errors
/// The payload is not JSON.
pub(super) fn message(message: &Message) -> serde_json::Result<Vec<u8>> {
    serde_json::to_vec(&Said::Message {
        id: message.id,
        seq: message.seq,
        kind: &message.kind,
        agent_id: message.agent_id.as_deref(),
        attempt: message.attempt,
        accepted_at: message.accepted_at,
        payload: on_one_line(&message.payload)?,
    })
}

/// The line `close`.
pub(super) fn close(reason: CloseReason) -> Vec<u8> {
    let close = Said::Close {
        reason: reason.as_str(),
    };
    serde_json::to_vec(&close).expect("a word is JSON")
}

/// Bytes of a result's texts.
pub(super) fn bytes(result: &NewResult) -> usize {
    let lists = result.files.iter().chain(&result.tags);
    let lists: usize = lists.map(String::len).sum();
    result.kind.len() + result.title.len() + result.body.len() + lists
}

/// JSON text as it is, but on one line: a line break in JSON is always space between two tokens.
fn on_one_line(text: &str) -> serde_json::Result<Box<RawValue>> {
    RawValue::from_string(text.replace(['\n', '\r'], " "))
}

/// What a program says.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Reply {
    Ready(Ready),
    Result(Worked),
    Failure(Failure),
    Progress,
    CloseSession,
}

/// `ready`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(super) struct Ready {
    pub(super) name: Option<String>,
    pub(super) provider: Option<String>,
    pub(super) model: Option<String>,
    pub(super) protocol: Option<u32>,
}

/// `result`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Worked {
    pub(super) ids: Vec<MessageId>,
    pub(super) results: Vec<NewResult>,
    /// JSON text.
    pub(super) checkpoint: Option<String>,
    pub(super) usage: Usage,
}

/// `failure`. Without an id it is a refusal to start.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Failure {
    pub(super) id: Option<MessageId>,
    pub(super) class: FailureClass,
    pub(super) reason: String,
    pub(super) retry_after_ms: Option<u64>,
}

/// A line that is no reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// It is not a JSON object with a `type`.
    Garbage,
    /// Its type is none of this version's.
    UnknownType,
    /// Its type is known, but a field is missing or not what it must be.
    Invalid {
        /// Whether it is a `ready`.
        is_ready: bool,
        /// The messages it names, as far as they can be read.
        ids: Vec<MessageId>,
        /// What is wrong with it.
        problem: String,
    },
}

/// Reads one line.
pub(super) fn read(line: &[u8]) -> Result<Reply, Unreadable> {
    // serde_json looks at the encoding of what it keeps only, and takes an array for a struct.
    let text = std::str::from_utf8(line).map_err(|_| Unreadable::Garbage)?;
    if !text.trim_start().starts_with('{') {
        return Err(Unreadable::Garbage);
    }
    let read = read_text(text);
    if matches!(read, Err(Unreadable::Invalid { .. }))
        && let Cow::Owned(mended) = surrogates::mended(text)
    {
        return read_text(&mended);
    }
    read
}

fn read_text(text: &str) -> Result<Reply, Unreadable> {
    let typed: Typed<'_> = serde_json::from_str(text).map_err(|_| Unreadable::Garbage)?;
    let read = match &*typed.name {
        "ready" => serde_json::from_str(text)
            .map(|ready: Ready| Reply::Ready(ready.shown()))
            .map_err(|error| error.to_string()),
        "result" => serde_json::from_str(text)
            .map_err(|error| error.to_string())
            .and_then(RawWorked::checked)
            .map(Reply::Result),
        "failure" => serde_json::from_str(text)
            .map(|failure: RawFailure| Reply::Failure(failure.shown()))
            .map_err(|error| error.to_string()),
        "progress" => Ok(Reply::Progress),
        "close_session" => Ok(Reply::CloseSession),
        _ => return Err(Unreadable::UnknownType),
    };
    read.map_err(|problem| Unreadable::Invalid {
        is_ready: typed.name == "ready",
        ids: named(text),
        problem: one_line(&problem, REASON_MAX_CHARS),
    })
}

#[derive(Deserialize)]
struct Typed<'a> {
    #[serde(rename = "type", borrow)]
    name: Cow<'a, str>,
}

/// The messages that a line names which cannot be read as a whole.
fn named(text: &str) -> Vec<MessageId> {
    #[derive(Deserialize)]
    struct Ids {
        ids: Vec<serde_json::Value>,
    }
    #[derive(Deserialize)]
    struct Id {
        id: serde_json::Value,
    }
    let ids = serde_json::from_str(text).map(|named: Ids| named.ids);
    let ids = ids.or_else(|_| serde_json::from_str(text).map(|named: Id| vec![named.id]));
    let ids = ids.unwrap_or_default().into_iter();
    ids.filter_map(|id| id.as_i64().map(MessageId)).collect()
}

impl Ready {
    fn shown(self) -> Self {
        let shown = |name: Option<String>| {
            let name = one_line(&name?, NAME_MAX_CHARS);
            (!name.is_empty()).then_some(name)
        };
        Self {
            name: shown(self.name),
            provider: shown(self.provider),
            model: shown(self.model),
            protocol: self.protocol,
        }
    }
}

#[derive(Deserialize)]
struct RawWorked<'a> {
    ids: Vec<MessageId>,
    results: Vec<NewResult>,
    #[serde(borrow)]
    checkpoint: Option<&'a RawValue>,
    usage: Option<RawUsage>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawUsage {
    input_tokens: i64,
    output_tokens: i64,
    cost_usd: f64,
}

impl RawWorked<'_> {
    fn checked(self) -> Result<Worked, String> {
        let count = self.results.len();
        if count > RESULTS_MAX {
            return Err(format!("{count} results, over the limit of {RESULTS_MAX}"));
        }
        let mut results = self.results;
        for result in &mut results {
            if result.kind.is_empty() || result.kind.len() > NAME_MAX_BYTES {
                let bytes = result.kind.len();
                return Err(format!(
                    "a result's kind has {bytes} bytes; 1 to {NAME_MAX_BYTES} are allowed"
                ));
            }
            // Models put line breaks into titles; a good result is not lost over one.
            for name in [&mut result.kind, &mut result.title] {
                if name.contains(char::is_control) {
                    *name = name.replace(char::is_control, " ");
                }
            }
        }
        let usage = self.usage.unwrap_or_default().checked()?;
        Ok(Worked {
            ids: self.ids,
            results,
            checkpoint: self.checkpoint.map(|text| text.get().to_owned()),
            usage,
        })
    }
}

impl RawUsage {
    fn checked(self) -> Result<Usage, String> {
        let tokens = 0..=TOKENS_MAX;
        if !tokens.contains(&self.input_tokens) || !tokens.contains(&self.output_tokens) {
            return Err(format!("usage has tokens outside of 0 to {TOKENS_MAX}"));
        }
        if !(0.0..=COST_MAX_USD).contains(&self.cost_usd) {
            return Err(format!(
                "usage has a cost_usd outside of 0 to {COST_MAX_USD}"
            ));
        }
        Ok(Usage {
            input_tokens: self.input_tokens,
            output_tokens: self.output_tokens,
            cost_usd: self.cost_usd,
        })
    }
}

#[derive(Deserialize)]
struct RawFailure {
    id: Option<MessageId>,
    class: Class,
    reason: String,
    retry_after_ms: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Class {
    Retry,
    Poison,
    Unavailable,
}

impl RawFailure {
    fn shown(self) -> Failure {
        let reason = one_line(&self.reason, REASON_MAX_CHARS);
        Failure {
            id: self.id,
            class: match self.class {
                Class::Retry => FailureClass::Retry,
                Class::Poison => FailureClass::Poison,
                Class::Unavailable => FailureClass::Unavailable,
            },
            reason: match &*reason {
                "" => "the program gave no reason".to_owned(),
                _ => reason,
            },
            retry_after_ms: self.retry_after_ms,
        }
    }
}

/// A program's text on one line of at most `max` characters, fit for a terminal.
pub(super) fn one_line(text: &str, max: usize) -> String {
    let flat = text.trim().replace(char::is_control, " ");
    match flat.char_indices().nth(max) {
        Some((end, _)) => format!("{}…", &flat[..end]),
        None => flat,
    }
}

#[cfg(test)]
mod tests;
