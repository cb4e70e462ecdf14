//! What is handed over to the queue, and what is answered.

use serde::{Deserialize, Serialize};

use crate::ids::{EventId, MessageId, Seq, SessionId, Timestamp};

/// One event on its way into the queue.
#[derive(Clone, Debug)]
pub struct Enqueue {
    /// Identity of this firing; storing the same one again answers the first receipt.
    pub event_id: EventId,
    /// The session it belongs to; by key it is created when it is not known.
    pub session: SessionRef,
    /// The agent's own name of the event, for example `PostToolUse`.
    pub kind: String,
    /// The subagent it came from, if any.
    pub agent_id: Option<String>,
    /// The event as the agent sent it: JSON text.
    pub payload: String,
    /// Second identity, for agents that really repeat an event under a new firing.
    pub dedup: Option<Dedup>,
    /// What the event means for the session's life.
    pub effect: Effect,
    /// Working directory to remember for the session; `None` keeps what is known.
    pub cwd: Option<String>,
    /// Project to remember for the session; `None` keeps what is known.
    pub project: Option<String>,
    /// When the hook fired: for an event from the spool, the time it was spooled.
    pub accepted_at: Timestamp,
}

/// Names a session, for an enqueue or an open.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SessionRef {
    /// A session that must exist.
    Id(SessionId),
    /// A session that is created when it does not exist.
    Key {
        /// The agent, for example `claude-code`.
        agent: String,
        /// The agent's own id of the session.
        key: String,
    },
}

/// Identity of an event over several firings within one session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dedup {
    /// Two events of a session with equal keys are one.
    pub key: String,
    /// Only while the earlier one was accepted at most this long before; `None`: for ever.
    pub window_ms: Option<i64>,
}

/// What an event means for its session's life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing: an ended session is worked and stays ended.
    None,
    /// The agent started or resumed: reopens an ended session, calls off a drain.
    Start,
    /// The user spoke: like `Start`, and refreshes prompt and prompt number. Holds the prompt.
    Prompt(String),
    /// The agent ended: the session is to drain until then at the latest, and to close.
    End {
        /// When it closes even if work is left.
        drain_until: Timestamp,
    },
}

/// What was answered to an enqueue, once it is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Receipt {
    /// The stored message; of a duplicate, the one stored first.
    pub message: MessageId,
    /// Its session.
    pub session: SessionId,
    /// Its place in the session.
    pub seq: Seq,
    /// Whether it had been stored before.
    pub duplicate: bool,
    /// Whether its session was first seen with it.
    pub session_created: bool,
}
