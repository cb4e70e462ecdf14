//! What is kept of finished messages, and what was deleted of them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ids::{MessageId, Timestamp};

/// How long and how many finished messages are kept; `None`: without such a bound. Cancelled ones
/// count as done ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// How long a done message is kept.
    pub done_age: Option<Duration>,
    /// How many of them are, the newest.
    pub done_max: Option<i64>,
    /// How long a dead message is kept.
    pub dead_age: Option<Duration>,
    /// How many of them are, the newest.
    pub dead_max: Option<i64>,
}

/// What one batch of retention has deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retained {
    /// Done messages deleted.
    pub done: u64,
    /// Cancelled messages deleted.
    pub cancelled: u64,
    /// Dead messages deleted.
    pub dead: u64,
    /// Whether there is more to delete at once.
    pub more: bool,
    /// When the next message becomes too old, if nothing else happens; `None`: none ever does, or
    /// there is more to delete at once.
    pub next_at: Option<Timestamp>,
}

impl Retained {
    /// Messages deleted.
    pub fn messages(&self) -> u64 {
        self.done + self.cancelled + self.dead
    }
}

/// What one batch of a purge of dead messages has deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PurgedDead {
    /// Messages deleted.
    pub messages: u64,
    /// Whether there are more.
    pub more: bool,
}

/// What a cancel of a backlog has taken out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CancelledBacklog {
    /// Messages cancelled.
    pub messages: u64,
    /// The one of them that was in work.
    pub claimed: Option<MessageId>,
}

/// What one step of a shrink has given back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shrunk {
    /// Bytes the file is smaller by, once the log is folded.
    pub bytes: u64,
    /// Whether there is more.
    pub more: bool,
}
