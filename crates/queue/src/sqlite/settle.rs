//! The ends of claims of a batch: confirms with their results, and releases.
//!
//! Whose claim it is, is decided by the fence; what becomes of the message, by its transition.

use std::collections::{BTreeMap, HashMap};

use super::request::{Call, Settle};
use super::statements::{ADD_USAGE_DAYS, INSERT_RESULTS, ROWS_MAX, SAVE_CHECKPOINTS};
use super::transition::{MessageRow, Step};
use super::work::Work;
use crate::error::{SettleError, StoreError};
use crate::ids::{MessageId, ResultId, Timestamp};
use crate::types::{Confirm, Fence, NewResult, Release, ReleaseWhy, State, Usage};
use crate::validate::oversize;

type SettleCall = Call<Settle, State, SettleError>;

/// Works the confirms and releases of a batch.
pub(super) async fn run(work: &mut Work, calls: &mut [&mut SettleCall]) -> Result<(), StoreError> {
    if calls.is_empty() {
        return Ok(());
    }
    let ids: Vec<_> = calls.iter().map(|call| call.question.message()).collect();
    let rows = work.load_messages(&ids).await?;
    work.load_sessions_of(rows.iter()).await?;
    let mut rows: HashMap<_, _> = rows.into_iter().map(|row| (row.id, row)).collect();
    let mut outcome = Outcome::default();
    let mut answers = Vec::with_capacity(calls.len());
    for call in calls.iter() {
        let question = &call.question;
        let row = rows
            .get_mut(&question.message())
            .filter(|row| row.is_held_by(question.fence()));
        answers.push(match (row, question) {
            (None, _) => Err(SettleError::ClaimLost(question.message())),
            (Some(row), Settle::Confirm(ask, now)) => outcome.confirm(work, row, ask, *now),
            (Some(row), Settle::Release(ask, now)) => Ok(outcome.release(work, row, ask, *now)),
        });
    }
    outcome.store(work).await?;
    for (call, answer) in calls.iter_mut().zip(answers) {
        call.answer(answer);
    }
    Ok(())
}

impl Settle {
    fn message(&self) -> MessageId {
        match self {
            Self::Confirm(confirm, _) => confirm.message,
            Self::Release(release, _) => release.message,
        }
    }

    fn fence(&self) -> Fence {
        match self {
            Self::Confirm(confirm, _) => confirm.fence,
            Self::Release(release, _) => release.fence,
        }
    }
}

/// What the settled claims of a batch leave to be stored.
#[derive(Default)]
struct Outcome<'b> {
    messages: Vec<MessageRow>,
    results: Vec<(ResultId, MessageRow, Timestamp, &'b NewResult)>,
    /// The last checkpoint of each session.
    checkpoints: BTreeMap<i64, &'b str>,
    /// What was spent, by day; the digest spends nothing.
    days: BTreeMap<i64, Usage>,
}

impl<'b> Outcome<'b> {
    fn confirm(
        &mut self,
        work: &mut Work,
        row: &mut MessageRow,
        confirm: &'b Confirm,
        now: Timestamp,
    ) -> Result<State, SettleError> {
        if let Some((field, bytes)) = oversize(confirm, &work.limits) {
            return Err(SettleError::TooLarge {
                message: confirm.message,
                field,
                bytes,
                limit: work.limits.result_max_bytes,
            });
        }
        let usage = confirm.usage.cleaned();
        work.step(row, Step::Confirm, now);
        work.sessions.change(row.session, |session| {
            session.active_at = now;
            session.success_at = Some(now);
            session.consecutive_failures = 0;
            session.usage = session.usage.plus(usage);
        });
        if !usage.is_zero() {
            let of_day = self.days.entry(now.day()).or_default();
            *of_day = of_day.plus(usage);
        }
        for result in &confirm.results {
            let id = work.counters.last_result.next();
            work.counters.last_result = id;
            self.results.push((id, row.clone(), now, result));
        }
        if let Some(checkpoint) = &confirm.checkpoint {
            self.checkpoints.insert(row.session, checkpoint);
        }
        self.messages.push(row.clone());
        Ok(row.state)
    }

    fn release(
        &mut self,
        work: &mut Work,
        row: &mut MessageRow,
        release: &'b Release,
        now: Timestamp,
    ) -> State {
        let step = match &release.why {
            ReleaseWhy::Retry { reason, not_before } => Step::Retry {
                reason,
                not_before: *not_before,
            },
            ReleaseWhy::GiveBack { reason, not_before } => Step::GiveBack {
                reason,
                not_before: *not_before,
            },
            ReleaseWhy::Poison { reason } => Step::Poison { reason },
        };
        work.step(row, step, now);
        if let ReleaseWhy::Retry { reason, .. } | ReleaseWhy::Poison { reason } = &release.why {
            work.sessions
                .change(row.session, |session| session.count_failure(reason));
        }
        self.messages.push(row.clone());
        row.state
    }

    async fn store(self, work: &mut Work) -> Result<(), StoreError> {
        for chunk in self.results.chunks(ROWS_MAX) {
            let query = INSERT_RESULTS.with_rows(chunk, |values, (id, message, now, result)| {
                values
                    .push(id.0)
                    .push(message.session)
                    .push(message.id.0)
                    .push(message.seq.0)
                    .push(message.epoch.0)
                    .push(message.accepted_at.0)
                    .push(now.0)
                    .push(result.kind.as_str())
                    .push(result.title.as_str())
                    .push(result.body.as_str())
                    .push(serde_json::Value::from(result.files.as_slice()).to_string())
                    .push(serde_json::Value::from(result.tags.as_slice()).to_string());
            });
            query.execute(&mut work.conn).await?;
        }
        work.save_messages(&self.messages).await?;
        let checkpoints: Vec<_> = self.checkpoints.into_iter().collect();
        for chunk in checkpoints.chunks(ROWS_MAX) {
            let query = SAVE_CHECKPOINTS.with_rows(chunk, |values, (session, body)| {
                values.push(*session).push(*body);
            });
            query.execute(&mut work.conn).await?;
        }
        let days: Vec<_> = self.days.into_iter().collect();
        for chunk in days.chunks(ROWS_MAX) {
            let query = ADD_USAGE_DAYS.with_rows(chunk, |values, (day, usage)| {
                values
                    .push(*day)
                    .push(usage.input_tokens)
                    .push(usage.output_tokens)
                    .push(usage.cost_usd);
            });
            query.execute(&mut work.conn).await?;
        }
        Ok(())
    }
}
