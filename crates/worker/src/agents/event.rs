//! Reads from a hook's payload what the queue needs to accept it.
//!
//! This is the hot path: the text is walked once, only the few fields that are needed are copied,
//! and the payload itself is kept as the agent sent it. What the event tells is left to `view`.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use sessiond_queue::ids::Timestamp;
use sessiond_queue::limits::{NAME_MAX_BYTES, PATH_MAX_BYTES};
use sessiond_queue::types::{Dedup, Effect};
use sha2::{Digest, Sha256};

use super::fields::{mend_surrogates, parse as parse_field};
use super::meaning::{Meaning, meaning};
use super::{Agent, takes_context};

/// How long the second delivery of one event may take, for agents that deliver twice.
const DOUBLE_DELIVERY_MS: i64 = 2_000;

/// One hook event, ready to be enqueued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The agent's own id of the session.
    pub session_key: String,
    /// The agent's own name of the event.
    pub kind: String,
    /// The subagent it came from.
    pub agent_id: Option<String>,
    /// The working directory it names.
    pub cwd: Option<String>,
    /// What it means for the session's life.
    pub effect: Effect,
    /// Identity over several firings, where the agent gives one.
    pub dedup: Option<Dedup>,
    /// Whether the agent takes context as the hook's output.
    pub wants_context: bool,
    /// The payload as it was sent, without white space around it.
    pub payload: String,
}

/// A payload cannot be accepted.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    /// There is nothing in it.
    #[error("payload is empty")]
    Empty,
    /// It is not text.
    #[error("payload is not UTF-8 from byte {offset} on")]
    InvalidUtf8 {
        /// Bytes before the first wrong one.
        offset: usize,
    },
    /// It is not JSON.
    #[error("payload is not JSON at line {line} column {column}")]
    InvalidJson {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
        /// What the parser said.
        #[source]
        source: serde_json::Error,
    },
    /// It is JSON, but no object.
    #[error("payload is not a JSON object")]
    NotAnObject,
    /// A field that every event must have is not there.
    #[error("field {field} is missing")]
    MissingField {
        /// The field, by the agent's name for it.
        field: &'static str,
    },
    /// A field is not what it must be.
    #[error("field {field} {problem}")]
    InvalidField {
        /// The field, by the agent's name for it.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
}

impl PayloadError {
    /// A stable name for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Empty => "payload_empty",
            Self::InvalidUtf8 { .. } => "payload_not_utf8",
            Self::InvalidJson { .. } => "payload_not_json",
            Self::NotAnObject => "payload_not_an_object",
            Self::MissingField { .. } => "field_missing",
            Self::InvalidField { .. } => "field_invalid",
        }
    }

    /// The field at fault, by the agent's name for it.
    pub fn field(&self) -> Option<&'static str> {
        match self {
            Self::MissingField { field } | Self::InvalidField { field, .. } => Some(field),
            Self::Empty
            | Self::InvalidUtf8 { .. }
            | Self::InvalidJson { .. }
            | Self::NotAnObject => None,
        }
    }
}

/// Reads one payload. A session that ends may still work its backlog for `drain_max` from `now` on.
pub fn read_event(
    agent: Agent,
    raw: &[u8],
    now: Timestamp,
    drain_max: Duration,
) -> Result<Event, PayloadError> {
    if raw.trim_ascii().is_empty() {
        return Err(PayloadError::Empty);
    }
    let text = std::str::from_utf8(raw).map_err(|error| PayloadError::InvalidUtf8 {
        offset: error.valid_up_to(),
    })?;
    let payload = text.trim_ascii();
    match parse(agent, payload) {
        Ok(head) => head.into_event(agent, payload, now, drain_max),
        Err(error) if error.is_data() => Err(PayloadError::NotAnObject),
        Err(error) => match mend_surrogates(payload) {
            Cow::Owned(mended) => parse(agent, &mended)
                .map_err(invalid_json)?
                .into_event(agent, payload, now, drain_max),
            Cow::Borrowed(_) => Err(invalid_json(error)),
        },
    }
}

fn invalid_json(source: serde_json::Error) -> PayloadError {
    PayloadError::InvalidJson {
        line: source.line(),
        column: source.column(),
        source,
    }
}

fn parse(agent: Agent, payload: &str) -> Result<Head<'_>, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_str(payload);
    let head = HeadSeed(agent).deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(head)
}

/// The fields that are read, as they were found.
#[derive(Default)]
struct Head<'a> {
    session: Text<'a>,
    session_alias: Text<'a>,
    kind: Text<'a>,
    kind_alias: Text<'a>,
    cwd: Text<'a>,
    root: Text<'a>,
    agent_id: Text<'a>,
    tool_use_id: Text<'a>,
    prompt: Text<'a>,
}

impl<'a> Head<'a> {
    fn into_event(
        self,
        agent: Agent,
        payload: &str,
        now: Timestamp,
        drain_max: Duration,
    ) -> Result<Event, PayloadError> {
        let session_field = match agent {
            Agent::Cursor => "conversation_id",
            _ => "session_id",
        };
        let session_key = self
            .session
            .or(self.session_alias)
            .required(session_field)?;
        let kind = self.kind.or(self.kind_alias).required("hook_event_name")?;
        let agent_id = self.agent_id.optional("agent_id", NAME_MAX_BYTES)?;
        let tool_use_id = self.tool_use_id.optional("tool_use_id", usize::MAX)?;
        let cwd = self.cwd.or(self.root).optional("cwd", PATH_MAX_BYTES)?;

        // A subagent's prompt is not the user's, and its end is not the session's.
        let effect = match (meaning(agent, &kind), &agent_id) {
            (Meaning::SessionStart, _) => Effect::Start,
            (Meaning::Prompt, None) => Effect::Prompt(self.prompt.lenient()),
            (Meaning::SessionEnd, None) => Effect::End {
                drain_until: now.after(drain_max),
            },
            _ => Effect::None,
        };
        let dedup = match tool_use_id {
            Some(id) => Some(tool_use(&kind, agent_id.as_deref(), &id)),
            None if agent == Agent::Cursor => Some(double_delivery(payload)),
            None => None,
        };
        Ok(Event {
            wants_context: agent_id.is_none() && takes_context(agent, &kind),
            session_key: session_key.into_owned(),
            kind: kind.into_owned(),
            agent_id: agent_id.map(Cow::into_owned),
            cwd: cwd.map(Cow::into_owned),
            effect,
            dedup,
            payload: payload.to_owned(),
        })
    }
}

/// The event belongs to the key: the start and the end of a tool share its id. A JSON array, so
/// that the parts cannot run together.
fn tool_use(kind: &str, agent_id: Option<&str>, tool_use_id: &str) -> Dedup {
    let key = serde_json::json!([kind, agent_id, tool_use_id]).to_string();
    let key = if key.len() > NAME_MAX_BYTES {
        sha256(key.as_bytes())
    } else {
        key
    };
    Dedup {
        key,
        window_ms: None,
    }
}

/// Only within a short window: two identical prompts are two prompts.
fn double_delivery(payload: &str) -> Dedup {
    Dedup {
        key: sha256(payload.as_bytes()),
        window_ms: Some(DOUBLE_DELIVERY_MS),
    }
}

fn sha256(bytes: &[u8]) -> String {
    let mut hex = String::from("sha256:");
    for byte in Sha256::digest(bytes) {
        hex.push_str(&format!("{byte:02x}"));
    }
    hex
}

/// The value of a field that should be a string.
#[derive(Default)]
enum Text<'a> {
    /// Absent or `null`.
    #[default]
    Missing,
    Found(Cow<'a, str>),
    Wrong,
}

impl<'a> Text<'a> {
    fn or(self, other: Self) -> Self {
        match self {
            Self::Missing => other,
            found => found,
        }
    }

    fn required(self, field: &'static str) -> Result<Cow<'a, str>, PayloadError> {
        if matches!(&self, Self::Found(text) if text.is_empty()) {
            let problem = "is empty".to_owned();
            return Err(PayloadError::InvalidField { field, problem });
        }
        self.optional(field, NAME_MAX_BYTES)?
            .ok_or(PayloadError::MissingField { field })
    }

    /// An empty text counts as absent.
    fn optional(
        self,
        field: &'static str,
        bytes_max: usize,
    ) -> Result<Option<Cow<'a, str>>, PayloadError> {
        let problem = match self {
            Self::Missing => return Ok(None),
            Self::Found(text) if text.is_empty() => return Ok(None),
            Self::Found(text) if text.len() <= bytes_max => return Ok(Some(text)),
            Self::Found(text) => format!("has {} bytes, over the limit of {bytes_max}", text.len()),
            Self::Wrong => "is not a string".to_owned(),
        };
        Err(PayloadError::InvalidField { field, problem })
    }

    /// A prompt of another type must not cost the event; only its text is lost.
    fn lenient(self) -> String {
        match self {
            Self::Found(text) => text.into_owned(),
            Self::Missing | Self::Wrong => String::new(),
        }
    }
}

impl<'de> Deserialize<'de> for Text<'de> {
    /// Told by the first byte, without a look at what is no text: a number that is out of range
    /// cannot be read as any value, and must not cost the event.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&'de RawValue>::deserialize(deserializer)?.get();
        if raw == "null" {
            return Ok(Self::Missing);
        }
        if !raw.starts_with('"') {
            return Ok(Self::Wrong);
        }
        let plain = serde_json::from_str(raw).map(|text: Name<'de>| text.0).ok();
        let text = plain.or_else(|| parse_field(raw).map(Cow::Owned));
        Ok(text.map_or(Self::Wrong, Self::Found))
    }
}

/// The first string of a list; anything else is missing.
#[derive(Default)]
struct First<'a>(Text<'a>);

impl<'de> Deserialize<'de> for First<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&'de RawValue>::deserialize(deserializer)?;
        let first = serde_json::from_str::<Vec<&'de RawValue>>(raw.get())
            .ok()
            .and_then(|list| parse_field::<String>(list.first()?.get()));
        Ok(Self(first.map_or(Text::Missing, |text| {
            Text::Found(Cow::Owned(text))
        })))
    }
}

struct HeadSeed(Agent);

impl<'de> DeserializeSeed<'de> for HeadSeed {
    type Value = Head<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for HeadSeed {
    type Value = Head<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut head = Head::default();
        while let Some(name) = map.next_key::<Name<'de>>()? {
            let slot = match (self.0, name.0.as_ref()) {
                (Agent::Cursor, "conversation_id") => &mut head.session,
                (Agent::Cursor, "workspace_roots") => {
                    head.root = map.next_value::<First<'de>>()?.0;
                    continue;
                }
                (Agent::Generic, "session") => &mut head.session_alias,
                (Agent::Generic, "event") => &mut head.kind_alias,
                (Agent::Cursor, "session_id") => &mut head.session_alias,
                (_, "session_id") => &mut head.session,
                (_, "hook_event_name") => &mut head.kind,
                (_, "cwd") => &mut head.cwd,
                (_, "agent_id") => &mut head.agent_id,
                (_, "tool_use_id") => &mut head.tool_use_id,
                (_, "prompt") => &mut head.prompt,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            *slot = map.next_value()?;
        }
        Ok(head)
    }
}

/// A string, such as a field's name, borrowed where it needs no unescaping.
#[derive(serde::Deserialize)]
#[serde(transparent)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);
