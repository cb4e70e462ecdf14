//! Everything that is told, one variant a kind.

use serde::Serialize;
use sessiond_queue::ids::{SessionId, Timestamp};

/// One event in the log.
#[derive(Clone, Debug, Serialize)]
pub struct Told {
    /// Its place, from 1, without gaps.
    pub number: u64,
    /// When it happened.
    pub at: Timestamp,
    /// The session it happened in.
    pub session: Option<SessionId>,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// What happened. Its name, `type` in JSON, says whom it is about before what.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type")]
pub enum Event {
    /// A session was seen for the first time.
    #[serde(rename = "session.created")]
    SessionCreated,
    /// An event of the session was the first to name this process as its agent.
    #[serde(rename = "agent.seen")]
    AgentSeen {
        /// The process.
        pid: u32,
    },
    /// An agent of the session has ended without saying so.
    #[serde(rename = "agent.gone")]
    AgentGone {
        /// The process.
        pid: u32,
        /// Other agents of the session.
        others: usize,
        /// Whether the session drains because of it.
        drains: bool,
    },
}
