//! The work on a message, from its claim to its end.

use serde::{Deserialize, Serialize};

use super::message::Message;
use super::usage::Usage;
use crate::ids::{ClaimSeq, Epoch, Generation, MessageId, ResultId, Seq, SessionId, Timestamp};

/// What proves that a claim is still its holder's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Fence {
    /// The instance that claimed.
    pub generation: Generation,
    /// The epoch of the claimed message.
    pub epoch: Epoch,
    /// The claim itself.
    pub claim_seq: ClaimSeq,
}

/// One message in work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The message, its attempt already counted.
    pub message: Message,
    /// To be shown at confirm and release.
    pub fence: Fence,
}

/// What a claim found at the head of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// The head; it is the caller's now.
    Message(Box<Claim>),
    /// The head waits out its backoff, and all behind it wait with it.
    Delayed {
        /// When it is due.
        until: Timestamp,
    },
    /// The head is in work already.
    Busy,
    /// Nothing is pending.
    Empty,
}

/// A result, before it is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewResult {
    /// For example `observation` or `summary`.
    pub kind: String,
    /// One line.
    pub title: String,
    /// Any text.
    pub body: String,
    /// Files it is about.
    #[serde(default)]
    pub files: Vec<String>,
    /// Words to find it by.
    #[serde(default)]
    pub tags: Vec<String>,
}

/// One result, as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StoredResult {
    /// Its id.
    pub id: ResultId,
    /// The session it belongs to.
    pub session: SessionId,
    /// The message it was made from.
    pub message: MessageId,
    /// That message's place in its session.
    pub seq: Seq,
    /// When that message's hook fired.
    pub accepted_at: Timestamp,
    /// When it was stored.
    pub created_at: Timestamp,
    /// What it says.
    #[serde(flatten)]
    pub result: NewResult,
}

/// The end of a message's work: all of it is stored in one transaction, or none of it.
#[derive(Clone, Debug)]
pub struct Confirm {
    /// The claimed message.
    pub message: MessageId,
    /// The claim's fence.
    pub fence: Fence,
    /// What was made of it.
    pub results: Vec<NewResult>,
    /// The generator's state after it, JSON text; `None` keeps the stored one.
    pub checkpoint: Option<String>,
    /// What it cost; stored as [`Usage::cleaned`].
    pub usage: Usage,
}

/// The return of a claim without results.
#[derive(Clone, Debug)]
pub struct Release {
    /// The claimed message.
    pub message: MessageId,
    /// The claim's fence.
    pub fence: Fence,
    /// Why, and so what becomes of it.
    pub why: ReleaseWhy,
}

/// Why a claim is returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReleaseWhy {
    /// The attempt failed and counts; at `attempt_max` the message is dead.
    Retry {
        /// What failed.
        reason: String,
        /// When it is due again.
        not_before: Timestamp,
    },
    /// The attempt was cut short (cancel, shutdown, provider unavailable) and is given back.
    GiveBack {
        /// What cut it short.
        reason: String,
        /// When it is due again; `None`: at once.
        not_before: Option<Timestamp>,
    },
    /// The message can never be worked: dead at once.
    Poison {
        /// What is wrong with it.
        reason: String,
    },
}

/// What became of a released message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Released {
    /// It waits for its next attempt.
    Pending,
    /// It is dead.
    Dead,
}
