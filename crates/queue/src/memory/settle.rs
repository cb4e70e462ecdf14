//! How claims end in the model: confirmed, released or rescued.

use super::model::Model;
use crate::error::SettleError;
use crate::ids::{Generation, SessionId, Timestamp};
use crate::limits::REASON_KEPT_BYTES;
use crate::types::{
    AttemptOutcome, Confirm, Release, ReleaseWhy, Released, Rescued, State, StoredResult,
};
use crate::validate::{self, kept};

impl Model {
    pub(super) fn confirm(&mut self, confirm: Confirm, now: Timestamp) -> Result<(), SettleError> {
        let held = self.messages.get_mut(&confirm.message);
        let Some(entry) = held.filter(|entry| entry.is_held_by(confirm.fence)) else {
            return Err(SettleError::ClaimLost(confirm.message));
        };
        if let Some((field, bytes)) = validate::oversize(&confirm, &self.limits) {
            return Err(SettleError::TooLarge {
                message: confirm.message,
                field,
                bytes,
                limit: self.limits.result_max_bytes,
            });
        }
        entry.set_state(State::Done, now);
        let message = entry.message.clone();
        for result in confirm.results {
            self.last_result = self.last_result.next();
            let stored = StoredResult {
                id: self.last_result,
                session: message.session,
                message: message.id,
                seq: message.seq,
                accepted_at: message.accepted_at,
                created_at: now,
                result,
            };
            self.result_epochs.insert(stored.id, message.epoch);
            self.results.insert(stored.id, stored);
        }
        let usage = confirm.usage.cleaned();
        if let Some(entry) = self.by_id(message.session) {
            if confirm.checkpoint.is_some() {
                entry.checkpoint = confirm.checkpoint;
            }
            entry.session.active_at = now;
            entry.session.success_at = Some(now);
            entry.session.consecutive_failures = 0;
            entry.session.usage = entry.session.usage.plus(usage);
        }
        if !usage.is_zero() {
            let of_day = self.days.entry(now.day()).or_default();
            *of_day = of_day.plus(usage);
        }
        Ok(())
    }

    pub(super) fn release(
        &mut self,
        release: Release,
        now: Timestamp,
    ) -> Result<Released, SettleError> {
        let attempt_max = self.limits.attempt_max;
        let held = self.messages.get_mut(&release.message);
        let Some(entry) = held.filter(|entry| entry.is_held_by(release.fence)) else {
            return Err(SettleError::ClaimLost(release.message));
        };
        let (outcome, reason, not_before) = match release.why {
            ReleaseWhy::Retry { reason, not_before } => {
                (AttemptOutcome::Retry, reason, Some(not_before))
            }
            ReleaseWhy::GiveBack { reason, not_before } => {
                (AttemptOutcome::Unavailable, reason, not_before)
            }
            ReleaseWhy::Poison { reason } => (AttemptOutcome::Poison, reason, None),
        };
        entry.ended(outcome, Some(&reason), now);
        let is_last = entry.message.attempt >= attempt_max;
        let is_dead =
            outcome == AttemptOutcome::Poison || (outcome == AttemptOutcome::Retry && is_last);
        if is_dead {
            entry.set_state(State::Dead, now);
        } else {
            entry.set_state(State::Pending, now);
            entry.message.not_before = not_before;
        }
        let session = entry.message.session;
        if outcome == AttemptOutcome::Unavailable {
            entry.message.attempt -= 1;
        } else {
            let reason = kept(&reason, REASON_KEPT_BYTES).to_owned();
            entry.message.last_error = Some(reason.clone());
            if let Some(entry) = self.by_id(session) {
                entry.session.consecutive_failures += 1;
                entry.session.last_error = Some(reason);
            }
        }
        Ok(if is_dead {
            Released::Dead
        } else {
            Released::Pending
        })
    }

    pub(super) fn release_session(
        &mut self,
        session: SessionId,
        reason: &str,
        now: Timestamp,
    ) -> u64 {
        let mut released = 0;
        for entry in self.messages.values_mut() {
            if entry.message.session == session && entry.message.state == State::Claimed {
                entry.ended(AttemptOutcome::Unavailable, Some(reason), now);
                entry.set_state(State::Pending, now);
                entry.message.attempt -= 1;
                released += 1;
            }
        }
        released
    }

    pub(super) fn rescue(&mut self, owner: Generation, now: Timestamp) -> Rescued {
        let mut rescued = Rescued::default();
        for entry in self.messages.values_mut() {
            if entry
                .claim
                .is_none_or(|(generation, _)| generation >= owner)
            {
                continue;
            }
            entry.ended(AttemptOutcome::Rescued, None, now);
            entry.message.attempt -= 1;
            entry.message.rescues += 1;
            if entry.message.rescues >= self.limits.rescue_max {
                entry.set_state(State::Dead, now);
                let reason = format!("{} instances died over it", entry.message.rescues);
                entry.message.last_error = Some(reason);
                rescued.dead += 1;
            } else {
                entry.set_state(State::Pending, now);
                rescued.pending += 1;
            }
        }
        rescued
    }
}
