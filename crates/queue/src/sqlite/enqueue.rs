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
///
/// Whether the event is there already says the insert itself, since almost none is; before any other
/// answer than a receipt, and before a session is made, it is looked up.
fn accept(
    work: &mut Work,
    NewEvent { event, now }: &NewEvent,
) -> Result<Result<Receipt, EnqueueError>, StoreError> {
    if let Err(error) = validate::event(event, &work.limits) {
        return Ok(Err(error));
    }
    let num = work.find_session(&event.session)?;
    let other = match num {
        None => None,
        Some(num) => same_key(work, event, num)?,
    };
    let refusal = check_depths(work, num).err();
    if num.is_none() || other.is_some() || refusal.is_some() {
        if let Some(first) = same_event(work, event)?.or(other) {
            work.counters.duplicates += 1;
            return Ok(Ok(first));
        }
        if let (SessionRef::Id(id), None) = (&event.session, num) {
            return Ok(Err(EnqueueError::UnknownSession(*id)));
        }
        if let Some(refusal) = refusal {
            return Ok(Err(refusal));
        }
    }
    let num = match (&event.session, num) {
        (SessionRef::Key { agent, key }, None) => {
            let row = work.create_session(agent, key, *now);
            insert_session(work, &row, *now)?;
            row.num
        }
        (_, num) => num.expect("an unknown id was refused"),
    };
    if let Some(receipt) = add(work, event, num, *now)? {
        return Ok(Ok(receipt));
    }
    work.counters.duplicates += 1;
    let first = same_event(work, event)?;
    Ok(Ok(first.expect("the insert has met it")))
}

/// The receipt of the message that an event repeats by its id.
fn same_event(work: &Work, event: &Enqueue) -> Result<Option<Receipt>, StoreError> {
    work.db.first(FIND_EVENT, [event.event_id.0], |row| {
        let mut c = Columns::of(row);
        let (message, session, seq) = (MessageId(c.get()?), c.session_id()?, Seq(c.get()?));
        Ok(repeated(message, session, seq))
    })
}

/// The receipt of the message that an event repeats by its dedup key.
fn same_key(work: &Work, event: &Enqueue, num: i64) -> Result<Option<Receipt>, StoreError> {
    let Some(dedup) = &event.dedup else {
        return Ok(None);
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

/// Stores an event as the last message of a held session, unless it is stored already.
fn add(
    work: &mut Work,
    event: &Enqueue,
    num: i64,
    now: Timestamp,
) -> Result<Option<Receipt>, StoreError> {
    let message = work.counters.last_message.next();
    let session = work.held(num);
    let (id, epoch, seq) = (session.id, session.epoch, session.next_seq);
    let dedup_key = event.dedup.as_ref().map(|dedup| dedup.key.as_str());
    let inserted = work.db.changed(
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
    if inserted == 0 {
        return Ok(None);
    }
    work.db
        .run(INSERT_PAYLOAD, params![message.0, event.payload])?;
    work.counters.last_message = message;
    work.count(num, State::Pending, 1);
    work.change_session(num, |row| {
        row.take_seq();
        row.apply(&event.effect);
        row.active_at = now;
        row.refresh(event.cwd.as_ref(), event.project.as_ref());
    });
    Ok(Some(Receipt {
        message,
        session: id,
        seq,
        duplicate: false,
    }))
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
