//! What a store takes: the checks of an event, a session and a confirm that need no storage.
//!
//! Shared by every store. Limits that depend on what is stored (depths) are the store's own.

use serde_json::{Map, Value};

use crate::error::{EnqueueError, SessionError};
use crate::limits::{
    Limits, METADATA_MAX_BYTES, NAME_MAX_BYTES, PATH_MAX_BYTES, REASON_KEPT_BYTES,
};
use crate::types::{Confirm, Enqueue, NewResult, OpenSession, SessionRef};

/// A field that is not what it must be: its name, and what is wrong.
pub(crate) struct Invalid {
    field: &'static str,
    problem: String,
}

impl From<Invalid> for EnqueueError {
    fn from(Invalid { field, problem }: Invalid) -> Self {
        Self::InvalidField { field, problem }
    }
}

impl From<Invalid> for SessionError {
    fn from(Invalid { field, problem }: Invalid) -> Self {
        Self::InvalidField { field, problem }
    }
}

/// Checks an event.
pub(crate) fn event(event: &Enqueue, limits: &Limits) -> Result<(), EnqueueError> {
    if event.payload.len() > limits.payload_max_bytes {
        return Err(EnqueueError::PayloadTooLarge {
            bytes: event.payload.len(),
            limit: limits.payload_max_bytes,
        });
    }
    not_empty("payload", &event.payload)?;
    name("kind", &event.kind)?;
    if let SessionRef::Key { agent, key } = &event.session {
        session_key(agent, key)?;
    }
    if let Some(agent_id) = &event.agent_id {
        name("agent_id", agent_id)?;
    }
    if let Some(dedup) = &event.dedup {
        name("dedup_key", &dedup.key)?;
    }
    places(event.cwd.as_deref(), event.project.as_deref())?;
    Ok(())
}

/// Checks an open; the metadata is checked once it is merged.
pub(crate) fn open(open: &OpenSession) -> Result<(), SessionError> {
    session_key(&open.agent, &open.key)?;
    places(open.cwd.as_deref(), open.project.as_deref())?;
    Ok(())
}

/// Checks why a session is failing, and cuts it to what is kept.
pub(crate) fn failing(reason: Option<&str>) -> Result<Option<String>, SessionError> {
    let Some(reason) = reason else {
        return Ok(None);
    };
    not_empty("failing", reason)?;
    Ok(Some(kept(reason, REASON_KEPT_BYTES).to_owned()))
}

/// Merges a patch into metadata, where `null` removes a name, and returns its JSON text.
pub(crate) fn merge_metadata(
    metadata: &mut Map<String, Value>,
    patch: &Map<String, Value>,
) -> Result<String, Invalid> {
    for (name, value) in patch {
        if value.is_null() {
            metadata.remove(name);
        } else {
            metadata.insert(name.clone(), value.clone());
        }
    }
    let text = Value::Object(metadata.clone()).to_string();
    at_most("metadata", text.len(), METADATA_MAX_BYTES)?;
    Ok(text)
}

/// Finds the part of a confirm that is over its limit: its name and size.
pub(crate) fn oversize(confirm: &Confirm, limits: &Limits) -> Option<(&'static str, usize)> {
    let results = results_bytes(confirm);
    let checkpoint = confirm.checkpoint.as_ref().map_or(0, String::len);
    if results > limits.result_max_bytes {
        Some(("results", results))
    } else if checkpoint > limits.result_max_bytes {
        Some(("checkpoint", checkpoint))
    } else {
        None
    }
}

/// Bytes of all text in a confirm's results.
pub(crate) fn results_bytes(confirm: &Confirm) -> usize {
    confirm.results.iter().map(result_bytes).sum()
}

/// Bytes of all text in a result.
pub(crate) fn result_bytes(result: &NewResult) -> usize {
    let list = |texts: &[String]| texts.iter().map(String::len).sum::<usize>();
    result.kind.len()
        + result.title.len()
        + result.body.len()
        + list(&result.files)
        + list(&result.tags)
}

/// The first `max` bytes of a text, or a few fewer, so that no character is cut.
pub(crate) fn kept(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

/// A session is called `agent:key`, so that the first colon ends the agent's name.
fn session_key(agent: &str, key: &str) -> Result<(), Invalid> {
    name("agent", agent)?;
    if agent.contains(':') {
        return Err(Invalid {
            field: "agent",
            problem: "has a colon".to_owned(),
        });
    }
    name("key", key)
}

fn name(field: &'static str, text: &str) -> Result<(), Invalid> {
    not_empty(field, text)?;
    at_most(field, text.len(), NAME_MAX_BYTES)
}

fn places(cwd: Option<&str>, project: Option<&str>) -> Result<(), Invalid> {
    at_most("cwd", cwd.map_or(0, str::len), PATH_MAX_BYTES)?;
    at_most("project", project.map_or(0, str::len), PATH_MAX_BYTES)
}

fn not_empty(field: &'static str, text: &str) -> Result<(), Invalid> {
    if text.is_empty() {
        return Err(Invalid {
            field,
            problem: "is empty".to_owned(),
        });
    }
    Ok(())
}

fn at_most(field: &'static str, bytes: usize, limit: usize) -> Result<(), Invalid> {
    if bytes > limit {
        return Err(Invalid {
            field,
            problem: format!("has {bytes} bytes, over the limit of {limit}"),
        });
    }
    Ok(())
}
