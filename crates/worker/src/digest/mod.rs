//! The default generator: one observation for each event, a summary at the end of a turn and of the
//! session.
//!
//! A pure function of (checkpoint, message): no clock, no files, no state outside the checkpoint, so
//! that a crash anywhere gives the same results again, byte for byte. It is total: any payload and
//! any checkpoint give an answer, and what it answers is bounded.
//!
//! `text` cuts and formats; `state` is the checkpoint; `account` keeps the books of a session;
//! `observe` and `summary` write.

mod account;
mod observe;
mod state;
mod summary;
mod text;

use sessiond_queue::ids::{Seq, Timestamp};
use sessiond_queue::types::{Message, NewResult};

use crate::agents::{Agent, What, view};

pub use state::CHECKPOINT_MAX_BYTES;

/// Kind of the result that every event gives.
pub const OBSERVATION: &str = "observation";

/// Kind of the result that the end of a turn or of the session gives.
pub const SUMMARY: &str = "summary";

/// Tag of observations that carry no news; views made for people leave them out.
pub const TRACE: &str = "trace";

/// Tag of observations that tell of something that went wrong.
pub const FAILURE: &str = "failure";

/// Tag of observations that tell of files that were changed.
pub const CHANGE: &str = "change";

/// What the digest reads of a message.
#[derive(Clone, Copy, Debug)]
pub struct DigestMessage<'a> {
    /// Its place in the session.
    pub seq: Seq,
    /// The agent's name of the event.
    pub kind: &'a str,
    /// The subagent it came from.
    pub agent_id: Option<&'a str>,
    /// When its hook fired.
    pub accepted_at: Timestamp,
    /// The event as the agent sent it.
    pub payload: &'a str,
}

impl<'a> From<&'a Message> for DigestMessage<'a> {
    fn from(message: &'a Message) -> Self {
        Self {
            seq: message.seq,
            kind: &message.kind,
            agent_id: message.agent_id.as_deref(),
            accepted_at: message.accepted_at,
            payload: &message.payload,
        }
    }
}

/// What the digest makes of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digested {
    /// One observation, and after it at most one summary.
    pub results: Vec<NewResult>,
    /// The state after the message: JSON text of at most [`CHECKPOINT_MAX_BYTES`].
    pub checkpoint: String,
}

/// Digests one message. A checkpoint that cannot be read counts as none.
pub fn digest(agent: Agent, checkpoint: Option<&str>, message: &DigestMessage<'_>) -> Digested {
    let mut state = checkpoint.map(state::State::load).unwrap_or_default();
    let view = view(agent, message.kind, message.payload);
    let facts = account::account(&mut state, &view, message);

    let mut results = vec![observe::observe(&state, &view, &facts, message)];
    // What a subagent ends is not the session's turn.
    if message.agent_id.is_none() {
        let occasion = match &view.what {
            What::TurnEnded { .. } => Some(summary::Occasion::TurnEnded),
            What::TurnFailed { .. } => Some(summary::Occasion::TurnFailed),
            What::SessionEnded { .. } => Some(summary::Occasion::SessionEnded),
            _ => None,
        };
        results.extend(occasion.map(|occasion| summary::summarize(&state, occasion)));
    }
    Digested {
        results,
        checkpoint: state.save(),
    }
}

#[cfg(test)]
mod tests;
