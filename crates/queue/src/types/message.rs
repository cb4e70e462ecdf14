//! Messages as they are kept.

use serde::{Deserialize, Serialize};

use crate::ids::{Epoch, EventId, MessageId, Seq, SessionId, Timestamp};

/// Where a message is in its life; the diagram is in the crate's documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = MessageState))]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Waits for its turn.
    Pending,
    /// In work.
    Claimed,
    /// Worked; its results are stored.
    Done,
    /// Given up; kept for a redrive.
    Dead,
    /// Taken out by hand.
    Cancelled,
}

impl State {
    /// Every state, in the order of a message's life.
    pub const ALL: [Self; 5] = [
        Self::Pending,
        Self::Claimed,
        Self::Done,
        Self::Dead,
        Self::Cancelled,
    ];

    /// The word used in SQL, HTTP and the CLI.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Claimed => "claimed",
            Self::Done => "done",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
        }
    }
}

/// One message, as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Message {
    /// Its id.
    pub id: MessageId,
    /// Its session.
    pub session: SessionId,
    /// Its place in the session.
    pub seq: Seq,
    /// The session's epoch when it was accepted.
    pub epoch: Epoch,
    /// Identity of its firing.
    pub event_id: EventId,
    /// The agent's name of the event.
    pub kind: String,
    /// The subagent it came from.
    pub agent_id: Option<String>,
    /// JSON text.
    pub payload: String,
    /// Where it is in its life.
    pub state: State,
    /// How many attempts were begun and not given back.
    pub attempt: u32,
    /// How often an instance died over it.
    pub rescues: u32,
    /// When its hook fired.
    pub accepted_at: Timestamp,
    /// Not to be claimed before then.
    pub not_before: Option<Timestamp>,
    /// When it became done, dead or cancelled.
    pub finished_at: Option<Timestamp>,
    /// Why its last attempt failed.
    pub last_error: Option<String>,
}

/// What became of the claims of earlier generations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Rescued {
    /// Messages that are pending again.
    pub pending: u64,
    /// Messages that reached `rescue_max` and are dead.
    pub dead: u64,
}

/// Where a redriven message stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Redriven {
    /// The message.
    pub message: MessageId,
    /// Its session, to be woken.
    pub session: SessionId,
    /// Whether it kept its place; otherwise it is last, since later ones were worked already.
    pub kept_place: bool,
}
