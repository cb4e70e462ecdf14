//! A message's row and the one `match` that moves it from state to state.
//!
//! The diagram is in the crate's documentation; the schema repeats it as CHECKs. Who may ask for a
//! step (fences, limits of depth) is decided before it gets here.

use crate::ids::{ClaimSeq, Epoch, Generation, MessageId, Seq, Timestamp};
use crate::limits::{Limits, REASON_KEPT_BYTES};
use crate::types::{Attempt, AttemptOutcome, Fence, State};
use crate::validate::kept;

/// A message without what never changes and may be long.
#[derive(Clone, Debug)]
pub(super) struct MessageRow {
    pub(super) id: MessageId,
    /// The number of its session's row.
    pub(super) session: i64,
    pub(super) seq: Seq,
    pub(super) epoch: Epoch,
    pub(super) state: State,
    pub(super) attempt: u32,
    pub(super) rescues: u32,
    pub(super) accepted_at: Timestamp,
    pub(super) not_before: Option<Timestamp>,
    pub(super) finished_at: Option<Timestamp>,
    /// Set exactly while claimed.
    pub(super) claim: Option<(Generation, ClaimSeq)>,
    pub(super) last_error: Option<String>,
}

/// What happens to a message.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step<'a> {
    Claim(Generation, ClaimSeq),
    Confirm,
    Retry {
        reason: &'a str,
        not_before: Timestamp,
    },
    GiveBack {
        reason: &'a str,
        not_before: Option<Timestamp>,
    },
    Poison {
        reason: &'a str,
    },
    Rescue,
    Cancel,
    /// To this place, which may be its own.
    Redrive(Seq),
}

impl<'a> Step<'a> {
    /// What the message's history says of it, if anything, and the reason that was given.
    fn outcome(self, was: State) -> Option<(AttemptOutcome, Option<&'a str>)> {
        match self {
            Self::Claim(..) | Self::Confirm => None,
            Self::Retry { reason, .. } => Some((AttemptOutcome::Retry, Some(reason))),
            Self::GiveBack { reason, .. } => Some((AttemptOutcome::Unavailable, Some(reason))),
            Self::Poison { reason } => Some((AttemptOutcome::Poison, Some(reason))),
            Self::Rescue => Some((AttemptOutcome::Rescued, None)),
            Self::Cancel => (was == State::Claimed).then_some((AttemptOutcome::Cancelled, None)),
            Self::Redrive(_) => Some((AttemptOutcome::Redriven, None)),
        }
    }
}

impl MessageRow {
    /// Whether a fence is that of the claim the message is in.
    pub(super) fn is_held_by(&self, fence: Fence) -> bool {
        self.claim == Some((fence.generation, fence.claim_seq)) && self.epoch == fence.epoch
    }

    /// What a step that is about to be taken adds to the history; most add nothing.
    pub(super) fn history_of(&self, step: Step<'_>, now: Timestamp) -> Option<Attempt> {
        let (outcome, reason) = step.outcome(self.state)?;
        Some(Attempt {
            attempt: match outcome {
                AttemptOutcome::Redriven => 0,
                _ => self.attempt,
            },
            ended_at: now,
            outcome,
            reason: reason.map(|reason| kept(reason, REASON_KEPT_BYTES).to_owned()),
        })
    }

    /// Takes a step.
    ///
    /// # Panics
    ///
    /// When the diagram has no such arrow: the caller has let something through.
    pub(super) fn step(&mut self, step: Step<'_>, limits: &Limits, now: Timestamp) {
        let was = self.state;
        self.claim = None;
        self.not_before = None;
        self.state = match (was, step) {
            (State::Pending, Step::Claim(generation, claim_seq)) => {
                self.attempt += 1;
                self.claim = Some((generation, claim_seq));
                State::Claimed
            }
            (State::Claimed, Step::Confirm) => State::Done,
            (State::Claimed, Step::Retry { reason, not_before }) => {
                self.last_error = Some(kept(reason, REASON_KEPT_BYTES).to_owned());
                if self.attempt >= limits.attempt_max {
                    State::Dead
                } else {
                    self.not_before = Some(not_before);
                    State::Pending
                }
            }
            (State::Claimed, Step::GiveBack { not_before, .. }) => {
                self.attempt -= 1;
                self.not_before = not_before;
                State::Pending
            }
            (State::Claimed, Step::Poison { reason }) => {
                self.last_error = Some(kept(reason, REASON_KEPT_BYTES).to_owned());
                State::Dead
            }
            (State::Claimed, Step::Rescue) => {
                self.attempt -= 1;
                self.rescues += 1;
                if self.rescues >= limits.rescue_max {
                    self.last_error = Some(format!("{} instances died over it", self.rescues));
                    State::Dead
                } else {
                    State::Pending
                }
            }
            (State::Pending | State::Claimed, Step::Cancel) => State::Cancelled,
            (State::Dead, Step::Redrive(seq)) => {
                self.attempt = 0;
                self.rescues = 0;
                self.seq = seq;
                State::Pending
            }
            (state, step) => unreachable!("message {} is {state:?}: {step:?}", self.id),
        };
        self.finished_at = match self.state {
            State::Pending | State::Claimed => None,
            State::Done | State::Dead | State::Cancelled => Some(now),
        };
    }
}

/// Whether a message in this state counts against the depths.
pub(super) fn is_backlog(state: State) -> bool {
    matches!(state, State::Pending | State::Claimed)
}
