//! An enqueue: identity, dedup, limits, then the insert.

use rusqlite::params;

use super::request::{Call, NewEvent};
use super::rows::Columns;
use super::sessions::SessionRow;
use super::statements::{FIND_DEDUP, FIND_EVENT, INSERT_MESSAGE, INSERT_PAYLOAD, INSERT_SESSION};
use super::work::Work;
use crate::error::{EnqueueError, StoreError};
use crate::ids::{MessageId, Seq, SessionId, Timestamp};
use crate::types::{Enqueue, Receipt, SessionRef, State};
use crate::validate;

type EnqueueCall = Call<NewEvent, Receipt, EnqueueError>;

/// Works an enqueue and keeps its answer.
pub(super) fn run(work: &mut Work, call: &mut EnqueueCall) -> Result<(), StoreError> {
    let answer = accept(work, &call.question)?;
    call.answer(answer);
    Ok(())
}

/// The outer error fails the transaction, the inner one is the answer and has changed nothing.
fn accept(
    work: &mut Work,
    NewEvent { event, now }: &NewEvent,
) -> Result<Result<Receipt, EnqueueError>, StoreError> {
    if let Err(error) = validate::event(event, &work.limits) {
        return Ok(Err(error));
    }
    let num = work.find_session(&event.session)?;
    if let Some(first) = first_of(work, event, num)? {
        work.counters.duplicates += 1;
        return Ok(Ok(first));
    }
    if let (SessionRef::Id(id), None) = (&event.session, num) {
        return Ok(Err(EnqueueError::UnknownSession(*id)));
    }
    if let Err(error) = check_depths(work, num) {
        return Ok(Err(error));
    }
    let num = match (&event.session, num) {
        (SessionRef::Key { agent, key }, None) => {
            let row = work.create_session(agent, key, *now);
            insert_session(work, &row, *now)?;
            row.num
        }
        (_, num) => num.expect("an unknown id was refused"),
    };
    Ok(Ok(add(work, event, num, *now)?))
}

/// The receipt of the message that an event repeats.
fn first_of(work: &Work, event: &Enqueue, num: Option<i64>) -> Result<Option<Receipt>, StoreError> {
    let first = work.db.first(FIND_EVENT, [event.event_id.0], |row| {
        let mut c = Columns::of(row);
        let (message, session, seq) = (MessageId(c.get()?), c.session_id()?, Seq(c.get()?));
        Ok(repeated(message, session, seq))
    })?;
    let (None, Some(num), Some(dedup)) = (first, num, &event.dedup) else {
        return Ok(first);
    };
    let session = work.held(num).id;
    let last = work.db.first(FIND_DEDUP, params![num, dedup.key], |row| {
        let mut c = Columns::of(row);
        let (message, seq, accepted_at) = (MessageId(c.get()?), Seq(c.get()?), c.time()?);
        Ok((repeated(message, session, seq), accepted_at))
    })?;
    let within = |accepted_at: &Timestamp| {
        let apart_ms = event.accepted_at.0.abs_diff(accepted_at.0);
        dedup
            .window_ms
            .is_none_or(|window| i128::from(apart_ms) <= i128::from(window))
    };
    Ok(last
        .filter(|(_, accepted_at)| within(accepted_at))
        .map(|(receipt, _)| receipt))
}

fn repeated(message: MessageId, session: SessionId, seq: Seq) -> Receipt {
    Receipt {
        message,
        session,
        seq,
        duplicate: true,
    }
}

fn check_depths(work: &Work, num: Option<i64>) -> Result<(), EnqueueError> {
    let limits = &work.limits;
    if let Some(row) = num.map(|num| work.held(num))
        && row.pending >= limits.session_depth_max
    {
        return Err(EnqueueError::SessionFull {
            session: row.id,
            limit: limits.session_depth_max,
        });
    }
    if work.counters.backlog() >= limits.depth_max {
        return Err(EnqueueError::QueueFull {
            limit: limits.depth_max,
        });
    }
    Ok(())
}

/// Stores an event as the last message of a held session.
fn add(work: &mut Work, event: &Enqueue, num: i64, now: Timestamp) -> Result<Receipt, StoreError> {
    let message = work.counters.last_message.next();
    work.counters.last_message = message;
    work.count(num, State::Pending, 1);
    let (seq, epoch, session) = work.change_session(num, |row| {
        row.apply(&event.effect);
        row.active_at = now;
        row.refresh(event.cwd.as_ref(), event.project.as_ref());
        (row.take_seq(), row.epoch, row.id)
    });
    let dedup_key = event.dedup.as_ref().map(|dedup| dedup.key.as_str());
    work.db.run(
        INSERT_MESSAGE,
        params![
            message.0,
            num,
            seq.0,
            epoch.0,
            event.event_id.0,
            event.kind,
            event.agent_id,
            dedup_key,
            event.accepted_at.0,
        ],
    )?;
    work.db
        .run(INSERT_PAYLOAD, params![message.0, event.payload])?;
    Ok(Receipt {
        message,
        session,
        seq,
        duplicate: false,
    })
}

/// Inserts a session that was created in memory; what else it holds goes out with the changes.
pub(super) fn insert_session(
    work: &Work,
    row: &SessionRow,
    now: Timestamp,
) -> Result<(), StoreError> {
    work.db.run(
        INSERT_SESSION,
        params![row.num, row.id.0, row.agent, row.key, now.0, now.0],
    )
}
