//! An event as readers are given it, from memory or from disk alike.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value};
use sessiond_queue::ids::{Generation, SessionId, Timestamp};

use super::event::{Told, Who};
use super::place::Place;

/// One event as a reader is given it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Where it stands.
    pub place: Place,
    /// Its name, such as `session.created`.
    pub kind: String,
    /// The session it happened in.
    pub session: Option<SessionId>,
    /// That session's project.
    pub project: Option<String>,
    /// All of it: a JSON object on one line.
    pub data: String,
}

/// Names that no event may have for what it says.
const RESERVED: [&str; 6] = ["id", "at", "session", "agent", "key", "project"];

#[derive(Serialize)]
struct Data<'a> {
    id: Place,
    #[serde(rename = "type")]
    kind: &'a str,
    at: Timestamp,
    session: Option<SessionId>,
    agent: Option<&'a str>,
    key: Option<&'a str>,
    project: Option<&'a str>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// Events of `generation` as they are shown; `names` has their sessions'.
pub(super) fn show(
    generation: Generation,
    events: Vec<Told>,
    names: &HashMap<SessionId, Arc<Who>>,
) -> Vec<Shown> {
    let show = |told: Told| {
        let place = Place {
            generation,
            number: told.number,
        };
        let who = told.session.and_then(|session| names.get(&session));
        // Names and numbers alone: neither step can fail.
        let Ok(Value::Object(mut rest)) = serde_json::to_value(&told.event) else {
            unreachable!("an event is a JSON object")
        };
        let Some(Value::String(kind)) = rest.remove("type") else {
            unreachable!("an event has a type")
        };
        let is_twice = RESERVED.iter().any(|name| rest.contains_key(*name));
        assert!(!is_twice, "{kind} has a name that every event has");
        let data = Data {
            id: place,
            kind: &kind,
            at: told.at,
            session: told.session,
            agent: who.map(|who| who.agent.as_str()),
            key: who.map(|who| who.key.as_str()),
            project: who.and_then(|who| who.project.as_deref()),
            rest,
        };
        let data = serde_json::to_string(&data).expect("an event is JSON");
        Shown {
            place,
            kind,
            session: told.session,
            project: who.and_then(|who| who.project.clone()),
            data,
        }
    };
    events.into_iter().map(show).collect()
}
