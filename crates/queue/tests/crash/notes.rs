//! What a load notes, one line for each thing that it asks for and each answer.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// One line of the load's notes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Note {
    /// A generation began: what an earlier one holds is not its own any more.
    Generation(i64),
    /// About to be asked for.
    Asked(Of, Step),
    /// Answered: it is on disk.
    Done(Of, Step),
    /// The store could not do it: nothing of it has happened.
    Refused(Of, Step),
}

/// What a step is taken with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Of {
    /// The message that came from an event.
    Event(Uuid),
    /// A session, by its key.
    Session(String),
    All,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Step {
    Enqueue {
        key: String,
        /// 0 while it is only asked for.
        place: Place,
    },
    Claim {
        number: i64,
        place: Place,
    },
    Confirm,
    Retry,
    Poison,
    Cancel,
    /// Of a dead message.
    Redrive {
        kept_place: bool,
    },
    /// Of a dead message.
    Purge,
    /// Of a session, to be closed.
    Mark,
    /// Of what a session had before its mark.
    PurgeRows,
    /// Of a session's close.
    Finish {
        /// Whether its row is gone; while it is only asked for, whether it may be.
        gone: bool,
    },
    /// With how many finished messages were deleted.
    Retain(u64),
    /// Of the claims of all generations before the last one.
    Rescue,
}

/// A message and its place in its session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) message: i64,
    pub(crate) seq: i64,
}

impl Step {
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Enqueue { .. } => "enqueue",
            Self::Claim { .. } => "claim",
            Self::Confirm => "confirm",
            Self::Retry => "retry",
            Self::Poison => "poison",
            Self::Cancel => "cancel",
            Self::Redrive { .. } => "redrive",
            Self::Purge => "purge",
            Self::Mark => "mark",
            Self::PurgeRows => "purge rows",
            Self::Finish { .. } => "finish",
            Self::Retain(_) => "retain",
            Self::Rescue => "rescue",
        }
    }
}
