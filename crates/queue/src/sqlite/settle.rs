//! The end of a claim: a confirm with its results, or a release.
//!
//! Whose claim it is, is decided by the fence; what becomes of the message, by its transition.

use rusqlite::params;

use super::request::{Call, Settle};
use super::statements::{ADD_USAGE_DAY, INSERT_RESULT, SAVE_CHECKPOINT};
use super::transition::{MessageRow, Step};
use super::work::Work;
use crate::error::{SettleError, StoreError};
use crate::ids::{MessageId, Timestamp};
use crate::types::{Confirm, Fence, NewResult, Release, ReleaseWhy, State};
use crate::validate::oversize;

type SettleCall = Call<Settle, State, SettleError>;

/// Works a confirm or a release and keeps its answer.
pub(super) fn run(work: &mut Work, call: &mut SettleCall) -> Result<(), StoreError> {
    let answer = settle(work, &call.question)?;
    call.answer(answer);
    Ok(())
}

/// The outer error fails the transaction, the inner one is the answer and has changed nothing.
fn settle(work: &mut Work, question: &Settle) -> Result<Result<State, SettleError>, StoreError> {
    let (message, fence) = question.claim();
    let row = work.load_message(message)?;
    let Some(mut row) = row.filter(|row| row.is_held_by(fence)) else {
        return Ok(Err(SettleError::ClaimLost(message)));
    };
    match question {
        Settle::Confirm(ask, now) => {
            if let Some((field, bytes)) = oversize(ask, &work.limits) {
                return Ok(Err(SettleError::TooLarge {
                    message,
                    field,
                    bytes,
                    limit: work.limits.result_max_bytes,
                }));
            }
            confirm(work, &mut row, ask, *now)?;
        }
        Settle::Release(ask, now) => release(work, &mut row, ask, *now)?,
    }
    Ok(Ok(row.state))
}

impl Settle {
    fn claim(&self) -> (MessageId, Fence) {
        match self {
            Self::Confirm(confirm, _) => (confirm.message, confirm.fence),
            Self::Release(release, _) => (release.message, release.fence),
        }
    }
}

fn confirm(
    work: &mut Work,
    row: &mut MessageRow,
    confirm: &Confirm,
    now: Timestamp,
) -> Result<(), StoreError> {
    let usage = confirm.usage.cleaned();
    work.load_session(row.session)?;
    work.step(row, Step::Confirm, now);
    work.sessions.change(row.session, |session| {
        session.active_at = now;
        session.success_at = Some(now);
        session.consecutive_failures = 0;
        session.usage = session.usage.plus(usage);
    });
    if !usage.is_zero() {
        let of_day = params![
            now.day(),
            usage.input_tokens,
            usage.output_tokens,
            usage.cost_usd
        ];
        work.db.run(ADD_USAGE_DAY, of_day)?;
    }
    for result in &confirm.results {
        insert_result(work, row, result, now)?;
    }
    if let Some(checkpoint) = &confirm.checkpoint {
        work.db
            .run(SAVE_CHECKPOINT, params![row.session, checkpoint])?;
    }
    work.save_message(row)
}

fn insert_result(
    work: &mut Work,
    message: &MessageRow,
    result: &NewResult,
    now: Timestamp,
) -> Result<(), StoreError> {
    let id = work.counters.last_result.next();
    work.counters.last_result = id;
    work.db.run(
        INSERT_RESULT,
        params![
            id.0,
            message.session,
            message.id.0,
            message.seq.0,
            message.epoch.0,
            message.accepted_at.0,
            now.0,
            result.kind,
            result.title,
            result.body,
            serde_json::Value::from(result.files.as_slice()).to_string(),
            serde_json::Value::from(result.tags.as_slice()).to_string(),
        ],
    )
}

fn release(
    work: &mut Work,
    row: &mut MessageRow,
    release: &Release,
    now: Timestamp,
) -> Result<(), StoreError> {
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
    work.load_session(row.session)?;
    work.step(row, step, now);
    if let ReleaseWhy::Retry { reason, .. } | ReleaseWhy::Poison { reason } = &release.why {
        work.sessions
            .change(row.session, |session| session.count_failure(reason));
    }
    work.save_message(row)
}
