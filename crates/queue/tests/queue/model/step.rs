//! What may be asked of a queue, as plain data. How it is chosen is in `choice`.
//!
//! A step names sessions, messages and claims by how many newer ones there are, so that a step still
//! means the same after a shrink has taken out earlier ones.

use sessiond_queue::types::{CloseDepth, Retention, State};

/// One step; time passes before it.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) after_ms: i64,
    pub(super) act: Act,
}

/// What is asked for. Where there are several, they are asked for at once.
#[derive(Clone, Debug)]
pub(super) enum Act {
    Enqueue(Vec<Event>),
    Claim(Vec<OfSession>),
    Settle(Vec<Settlement>),
    ReleaseSession(OfSession),
    Rescue,
    Cancel(OfMessage),
    CancelSession(OfSession),
    Redrive(OfMessage),
    RedriveAll(Option<OfSession>),
    PurgeMessage(OfMessage),
    PurgeDead(Option<OfSession>),
    Retain(Retention),
    Open {
        key: &'static str,
        project: Option<&'static str>,
        value: Option<i64>,
    },
    Patch(OfSession, Option<i64>),
    SetFailing(OfSession, Option<&'static str>),
    Drain(OfSession),
    MarkClosing(OfSession, CloseDepth, bool),
    PurgeRows(OfSession),
    FinishClose(OfSession),
    NextGeneration,
    /// The store is closed and the same file opened again, perhaps by the next instance.
    Reopen {
        as_next: bool,
    },
    /// The file is made smaller and the log folded in, which nobody must notice.
    Shrink,
    Look,
}

/// The session with so many newer ones; beyond the first, one that never was.
pub(super) type OfSession = usize;

/// A message.
#[derive(Clone, Copy, Debug)]
pub(super) enum OfMessage {
    /// With so many newer ones; beyond the first, one that never was.
    Any(i64),
    /// With so many newer ones in that state.
    In(State, usize),
}

/// A claim that was handed out, with so many newer ones.
#[derive(Clone, Copy, Debug)]
pub(super) enum OfClaim {
    /// Of those whose end was not told yet.
    Open(usize),
    Any(usize),
}

#[derive(Clone, Debug)]
pub(super) struct Settlement {
    pub(super) claim: OfClaim,
    pub(super) forged: Option<Forged>,
    pub(super) end: End,
}

/// A field of a fence that is not the claim's own, and by how much.
#[derive(Clone, Copy, Debug)]
pub(super) enum Forged {
    Generation(i64),
    Epoch(i64),
    ClaimSeq(i64),
}

#[derive(Clone, Debug)]
pub(super) enum End {
    Confirm {
        /// The bytes of each result.
        results: Vec<usize>,
        checkpoint: Option<usize>,
        input_tokens: i64,
        cost_usd: f64,
    },
    /// With the delay of the next attempt.
    Retry(i64),
    GiveBack(Option<i64>),
    Poison,
}

#[derive(Clone, Debug)]
pub(super) struct Event {
    /// The event with so many newer ones again; `None`: a new one.
    pub(super) repeats: Option<usize>,
    pub(super) to: To,
    pub(super) kind: &'static str,
    pub(super) payload_bytes: usize,
    pub(super) dedup: Option<(&'static str, Option<i64>)>,
    pub(super) effect: Effect,
    pub(super) cwd: Option<&'static str>,
    pub(super) project: Option<&'static str>,
    /// How long ago its hook fired.
    pub(super) age_ms: i64,
}

#[derive(Clone, Debug)]
pub(super) enum To {
    Key(&'static str),
    Session(OfSession),
}

#[derive(Clone, Debug)]
pub(super) enum Effect {
    None,
    Start,
    /// With the bytes of the prompt.
    Prompt(usize),
    End,
}

pub(super) const KEYS: [&str; 3] = ["a", "b", "c"];
