//! Sessions and their lives.

use serde::{Deserialize, Serialize};

use super::usage::Usage;
use crate::ids::{Epoch, SessionId, Timestamp};

/// Get-or-create of a session without a message.
#[derive(Clone, Debug)]
pub struct OpenSession {
    /// The agent, for example `claude-code`; without a colon.
    pub agent: String,
    /// The agent's own id of the session.
    pub key: String,
    /// As in [`Enqueue::cwd`](super::Enqueue::cwd).
    pub cwd: Option<String>,
    /// As in [`Enqueue::project`](super::Enqueue::project).
    pub project: Option<String>,
    /// Merged into the session's metadata; `null` removes a name.
    pub metadata: serde_json::Map<String, serde_json::Value>,
}

/// The agent's side of a session's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Life {
    /// In use, or it may be used again.
    Open,
    /// Being closed; start-up finishes it.
    Closing,
    /// The agent is gone; a start or a prompt reopens it.
    Ended,
}

impl Life {
    /// Every stage, in the order of a session's life.
    pub const ALL: [Self; 3] = [Self::Open, Self::Closing, Self::Ended];

    /// The word used in SQL, HTTP and the CLI.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closing => "closing",
            Self::Ended => "ended",
        }
    }
}

/// How deep a durable close goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum CloseDepth {
    /// The session ends; its rows stay.
    Close,
    /// Its rows of the epochs before the mark go too.
    Purge,
}

impl CloseDepth {
    /// Every depth, the shallow one first.
    pub const ALL: [Self; 2] = [Self::Close, Self::Purge];

    /// The word used in SQL, HTTP and the CLI.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Close => "close",
            Self::Purge => "purge",
        }
    }
}

/// One session, as stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// The agent, for example `claude-code`.
    pub agent: String,
    /// The agent's own id of the session.
    pub key: String,
    /// Where it is in its life.
    pub life: Life,
    /// Set exactly while `life` is `closing`.
    pub close_depth: Option<CloseDepth>,
    /// Set while the session drains before it closes.
    pub drain_until: Option<Timestamp>,
    /// Its present epoch.
    pub epoch: Epoch,
    /// Root of the project it works in.
    pub project: Option<String>,
    /// Last known working directory.
    pub cwd: Option<String>,
    /// Last prompt.
    pub prompt: Option<String>,
    /// How many prompts there were.
    pub prompt_number: i64,
    /// Free names and values, merged by PATCH.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub metadata: serde_json::Map<String, serde_json::Value>,
    /// When it was first seen.
    pub created_at: Timestamp,
    /// When something was last accepted or confirmed. A claim leaves it as it is, and with it the
    /// session's row.
    pub active_at: Timestamp,
    /// Messages that are pending or claimed.
    pub pending: i64,
    /// Messages of it that are dead.
    pub dead: i64,
    /// When a message was last confirmed.
    pub success_at: Option<Timestamp>,
    /// Failed attempts since the last confirm.
    pub consecutive_failures: i64,
    /// Why the last failed attempt failed.
    pub last_error: Option<String>,
    /// Why no generator is started for it any more, until the next prompt or until it is cleared.
    pub failing: Option<String>,
    /// What its results have cost so far.
    pub usage: Usage,
}

/// What a `closing` mark found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marked {
    /// The session is closing, at this depth (the deeper of the asked and the marked one).
    Closing(CloseDepth),
    /// A drain was the reason, and it was called off meanwhile: nothing was changed.
    DrainCalledOff,
}

/// What a finished close left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    /// The session's life afterwards; `None`: its row is gone.
    pub life: Option<Life>,
    /// Messages that are left pending.
    pub pending: i64,
}

/// A session that start-up has to look after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// The session.
    pub session: SessionId,
    /// The close to be finished.
    pub closing: Option<CloseDepth>,
    /// The drain to be finished.
    pub drain_until: Option<Timestamp>,
    /// When its head is due, if it has one.
    pub due_at: Option<Timestamp>,
}
