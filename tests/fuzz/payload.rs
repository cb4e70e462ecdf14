//! What holds for any bytes that an agent hands to its hook: they are read or refused alike by
//! everyone who looks at them, and what becomes of them is bounded and fit to be shown.
//!
//! The bytes are taken for one payload, and their lines for the payloads of one session.

use std::time::Duration;

use serde_json::Value;
use serde_json::value::RawValue;
use sessiond::agents::{Agent, Event, PayloadError, context_output, read_event};
use sessiond::digest::{
    CHECKPOINT_MAX_BYTES, DigestMessage, Digested, OBSERVATION, SUMMARY, digest,
};
use sessiond_queue::ids::{Seq, Timestamp};
use sessiond_queue::limits::{NAME_MAX_BYTES, PATH_MAX_BYTES};
use sessiond_queue::types::{Effect, NewResult};

/// The hook client's own look at a payload: the very file, since a binary has no library.
#[path = "../../crates/worker/src/bin/sessiond-hook/json.rs"]
mod hook;

const NOW: Timestamp = Timestamp(1_795_245_600_000);
const DRAIN: Duration = Duration::from_secs(60);

/// Events of one session that are digested.
const EVENTS_MAX: usize = 8;

/// Bytes of a body that all of the digest's own bounds stay below together.
const BODY_MAX_BYTES: usize = 256 << 10;

/// Panics when something does not hold.
pub(crate) fn check(bytes: &[u8]) {
    hook::scan(bytes);
    for agent in Agent::ALL {
        checked(agent, bytes);
        check_session(agent, bytes);
    }
}

/// The event of a payload, or none for a good reason.
fn checked(agent: Agent, bytes: &[u8]) -> Option<Event> {
    match read(agent, bytes) {
        Ok(event) => {
            check_event(agent, bytes, &event);
            Some(event)
        }
        Err(error) => {
            check_refusal(bytes, &error);
            None
        }
    }
}

fn read(agent: Agent, bytes: &[u8]) -> Result<Event, PayloadError> {
    read_event(agent, bytes, NOW, DRAIN)
}

/// A refusal gives the true reason.
fn check_refusal(bytes: &[u8], error: &PayloadError) {
    let payload = bytes.trim_ascii();
    let text = std::str::from_utf8(bytes).map(str::trim_ascii);
    match error {
        PayloadError::Empty => assert!(payload.is_empty()),
        PayloadError::InvalidUtf8 { offset } => {
            assert_eq!(text.map_err(|error| error.valid_up_to()), Err(*offset));
        }
        PayloadError::InvalidJson { .. } => {
            // A number out of range is JSON, but neither it nor any other than an object is taken.
            let is_json = text.is_ok_and(|text| serde_json::from_str::<&RawValue>(text).is_ok());
            assert!(!is_json || payload.first() != Some(&b'{'), "it is JSON");
        }
        PayloadError::NotAnObject => assert_ne!(payload.first(), Some(&b'{')),
        PayloadError::MissingField { .. } | PayloadError::InvalidField { .. } => {
            assert!(error.field().is_some_and(|field| !field.is_empty()));
        }
    }
    assert!(error.to_string().len() < 200, "{error}");
}

/// The queue can store it, a program can be told of it, and the hook saw the same.
fn check_event(agent: Agent, bytes: &[u8], event: &Event) {
    let named = |text: &str| assert!((1..=NAME_MAX_BYTES).contains(&text.len()), "{text:?}");
    named(&event.session_key);
    named(&event.kind);
    event.agent_id.as_deref().inspect(|id| named(id));
    event.dedup.as_ref().inspect(|dedup| named(&dedup.key));
    let is_path = |path: &String| (1..=PATH_MAX_BYTES).contains(&path.len());
    assert!(event.cwd.as_ref().is_none_or(is_path));
    assert_eq!(event.payload.as_bytes(), bytes.trim_ascii());
    assert!(serde_json::from_str::<&RawValue>(&event.payload).is_ok());

    let padded = [b" \n", event.payload.as_bytes(), b"\t\r\n"].concat();
    assert_eq!(read(agent, &padded).as_ref().ok(), Some(event), "padded");

    if event.agent_id.is_some() {
        assert!(!event.wants_context && matches!(event.effect, Effect::None | Effect::Start));
    }
    if let Some(output) = context_output(agent, &event.kind, &event.payload) {
        let output: Value = serde_json::from_str(&output).expect("output is JSON");
        assert_eq!(
            output["hookSpecificOutput"]["additionalContext"],
            event.payload
        );
    }
    check_by_parser(agent, event);
    check_by_hook(bytes, event);
}

/// What a parser of whole values finds, where it can read the payload at all.
fn check_by_parser(agent: Agent, event: &Event) {
    let Ok(value) = serde_json::from_str::<Value>(&event.payload) else {
        return;
    };
    let first = |names: &[&str]| {
        let found = names.iter().filter_map(|name| value.get(name));
        let mut found = found.filter(|value| !value.is_null());
        found.next().and_then(Value::as_str)
    };
    let (session, kind): (&[_], &[_]) = match agent {
        Agent::Cursor => (&["conversation_id", "session_id"], &["hook_event_name"]),
        Agent::Generic => (&["session_id", "session"], &["hook_event_name", "event"]),
        _ => (&["session_id"], &["hook_event_name"]),
    };
    assert_eq!(first(session), Some(event.session_key.as_str()));
    assert_eq!(first(kind), Some(event.kind.as_str()));
    let agent_id = first(&["agent_id"]).filter(|id| !id.is_empty());
    assert_eq!(agent_id, event.agent_id.as_deref());
    if let Effect::Prompt(prompt) = &event.effect {
        assert_eq!(first(&["prompt"]).unwrap_or_default(), prompt);
    }
}

/// The hook keeps an event of a session with that session's others, and cuts none short.
fn check_by_hook(bytes: &[u8], event: &Event) {
    assert!(hook::is_whole_object(bytes), "not whole to the hook");
    let payload = event.payload.as_bytes();
    let braces = (0..payload.len() - 1).filter(|&at| payload[at] == b'}');
    for at in braces.take(EVENTS_MAX) {
        assert!(!hook::is_whole_object(&payload[..=at]), "whole at {at}");
    }
    let found = hook::scan(bytes);
    // Names are compared as they are written, and agents write theirs without escapes.
    if !payload.contains(&b'\\') {
        assert!(found.session_key.is_some(), "no session to the hook");
        assert!(found.event.is_some(), "no event to the hook");
    }
}

/// A session of the lines, from no checkpoint and from what may be another's.
fn check_session(agent: Agent, bytes: &[u8]) {
    let lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    let foreign = lines
        .first()
        .and_then(|line| std::str::from_utf8(line).ok());
    let (mut own, mut foreign) = (None, foreign.map(str::to_owned));
    let events = lines.iter().filter_map(|line| checked(agent, line));
    for (number, event) in events.take(EVENTS_MAX).enumerate() {
        let digested = digest_twice(agent, own.as_deref(), number, &event);
        for result in &digested.results {
            check_result(result);
        }
        own = Some(digested.checkpoint);
        let digested = digest_twice(agent, foreign.as_deref(), number, &event);
        foreign = Some(digested.checkpoint);
    }
}

/// The digest, which is pure and bounded whatever it is given.
fn digest_twice(agent: Agent, checkpoint: Option<&str>, number: usize, event: &Event) -> Digested {
    let message = DigestMessage {
        seq: Seq(number as i64 + 1),
        kind: &event.kind,
        agent_id: event.agent_id.as_deref(),
        accepted_at: NOW.after(Duration::from_millis(number as u64)),
        payload: &event.payload,
    };
    let digested = digest(agent, checkpoint, &message);
    assert_eq!(digested, digest(agent, checkpoint, &message), "not pure");
    assert!(digested.checkpoint.len() <= CHECKPOINT_MAX_BYTES);
    let kinds: Vec<&str> = digested
        .results
        .iter()
        .map(|result| &*result.kind)
        .collect();
    assert!(
        matches!(*kinds, [OBSERVATION] | [OBSERVATION, SUMMARY]),
        "{kinds:?}"
    );
    for result in &digested.results {
        let title = result.title.chars().count();
        assert!((1..=120).contains(&title), "a title of {title} characters");
        assert!(
            result.body.len() < BODY_MAX_BYTES,
            "{} bytes",
            result.body.len()
        );
    }
    digested
}

/// Nothing in it that a terminal would obey, and no list without an end.
fn check_result(result: &NewResult) {
    let plain = |text: &str| assert!(!text.contains(char::is_control), "{text:?}");
    plain(&result.title);
    plain(&result.body.replace(['\n', '\t'], " "));
    assert!(result.tags.len() <= 16 && result.files.len() <= 128);
    for text in result.tags.iter().chain(&result.files) {
        plain(text);
        assert!((1..=1_024).contains(&text.chars().count()), "{text:?}");
    }
}
