//! The history of a message: how its claims ended that were not confirmed.

use serde::{Deserialize, Serialize};

use crate::ids::Timestamp;

/// How an attempt ended without a confirm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum AttemptOutcome {
    /// It failed and counted; the last one of them leaves the message dead.
    Retry,
    /// It was cut short and given back: by the generator, its provider, a cancel or a shutdown.
    Unavailable,
    /// The message can never be worked.
    Poison,
    /// Its instance died; it was given back.
    Rescued,
    /// The message was taken out for good while it was in work.
    Cancelled,
    /// No attempt, but what divides two series of them: the dead message was made pending again.
    Redriven,
}

impl AttemptOutcome {
    /// Every outcome.
    pub const ALL: [Self; 6] = [
        Self::Retry,
        Self::Unavailable,
        Self::Poison,
        Self::Rescued,
        Self::Cancelled,
        Self::Redriven,
    ];

    /// The word used in SQL, HTTP and the CLI.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Unavailable => "unavailable",
            Self::Poison => "poison",
            Self::Rescued => "rescued",
            Self::Cancelled => "cancelled",
            Self::Redriven => "redriven",
        }
    }
}

/// One entry of a message's history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Attempt {
    /// Its number as counted at the claim, from 1; one that was given back leaves its number to the
    /// next. 0 for [`AttemptOutcome::Redriven`].
    pub attempt: u32,
    /// When the claim ended.
    pub ended_at: Timestamp,
    /// How.
    pub outcome: AttemptOutcome,
    /// Why, as far as somebody said; cut like a session's last error.
    pub reason: Option<String>,
}
