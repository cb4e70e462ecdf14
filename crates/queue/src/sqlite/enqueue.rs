//! Enqueues of a batch: identity, dedup and limits, one after the other in memory; then one insert
//! for all of them.
//!
//! Whether an event is there already, the insert itself says: almost none is. When one was, the
//! transaction is begun anew, and each event is looked up before it is decided on.

use std::collections::HashMap;

use rusqlite::params;

use super::request::{Call, NewEvent};
use super::rows::Columns;
use super::sessions::SessionRow;
use super::statements::{FIND_DEDUP, FIND_EVENT, INSERT_MESSAGES, INSERT_PAYLOADS, INSERT_SESSION};
use super::work::Work;
use crate::error::{EnqueueError, StoreError};
use crate::ids::{Epoch, EventId, MessageId, Seq, SessionId, Timestamp};
use crate::types::{Enqueue, Receipt, SessionRef, State};
use crate::validate;

type EnqueueCall = Call<NewEvent, Receipt, EnqueueError>;
type Answer = Result<Receipt, EnqueueError>;

/// Works the enqueues of a batch, the first in its transaction.
pub(super) fn run(work: &mut Work, calls: &mut [&mut EnqueueCall]) -> Result<(), StoreError> {
    if calls.is_empty() {
        return Ok(());
    }
    let answers = match take_in(work, calls, false)? {
        Some(answers) => answers,
        None => {
            work.rollback();
            work.begin()?;
            take_in(work, calls, true)?.expect("each was looked up before")
        }
    };
    for (call, answer) in calls.iter_mut().zip(answers) {
        call.answer(answer);
    }
    Ok(())
}

/// Decides on all events and stores the new ones. `None`: at least one of them is there already,
/// which cannot be when each is looked up.
fn take_in(
    work: &mut Work,
    calls: &[&mut EnqueueCall],
    looks_up_each: bool,
) -> Result<Option<Vec<Answer>>, StoreError> {
    let mut intake = Intake {
        work,
        looks_up_each,
        events: HashMap::new(),
        dedup: HashMap::new(),
        messages: Vec::new(),
    };
    let mut answers = Vec::with_capacity(calls.len());
    for call in calls {
        answers.push(intake.accept(&call.question)?);
    }
    Ok(intake.store()?.then_some(answers))
}

/// Decides on the events of a batch, one after the other, and gathers what has to be inserted.
struct Intake<'w, 'b> {
    work: &'w mut Work,
    looks_up_each: bool,
    /// What was accepted in this batch and is not stored yet.
    events: HashMap<EventId, Receipt>,
    /// The last of these with each key of a session, and when it was accepted.
    dedup: HashMap<(i64, &'b str), (Receipt, Timestamp)>,
    messages: Vec<(NewMessage, &'b Enqueue)>,
}

/// What the writer has assigned to an event.
struct NewMessage {
    id: MessageId,
    session: i64,
    seq: Seq,
    epoch: Epoch,
}

impl<'b> Intake<'_, 'b> {
    /// The outer error fails the transaction, the inner one is the answer and has changed nothing.
    fn accept(&mut self, question: &'b NewEvent) -> Result<Answer, StoreError> {
        let NewEvent { event, now } = question;
        if let Err(error) = validate::event(event, &self.work.limits) {
            return Ok(Err(error));
        }
        let num = self.work.find_session(&event.session)?;
        let same_key = match num {
            None => None,
            Some(num) => self.same_key(event, num)?,
        };
        let refusal = check_depths(self.work, num).err();
        // Before any other answer than a new receipt, and before a session is made.
        let looks_up =
            self.looks_up_each || num.is_none() || same_key.is_some() || refusal.is_some();
        if let Some(first) = self.same_event(event, looks_up)?.or(same_key) {
            self.work.counters.duplicates += 1;
            return Ok(Ok(first));
        }
        if let (SessionRef::Id(id), None) = (&event.session, num) {
            return Ok(Err(EnqueueError::UnknownSession(*id)));
        }
        if let Some(refusal) = refusal {
            return Ok(Err(refusal));
        }
        let (num, session_created) = match (&event.session, num) {
            (SessionRef::Key { agent, key }, None) => {
                let row = self.work.create_session(agent, key, *now);
                insert_session(self.work, &row, *now)?;
                (row.num, true)
            }
            (_, num) => (num.expect("an unknown id was refused"), false),
        };
        let receipt = self.add(event, num, *now);
        Ok(Ok(Receipt {
            session_created,
            ..receipt
        }))
    }

    /// The receipt of the message that an event repeats by its id.
    fn same_event(&self, event: &Enqueue, looks_up: bool) -> Result<Option<Receipt>, StoreError> {
        let of_batch = self.events.get(&event.event_id).copied();
        if of_batch.is_some() || !looks_up {
            return Ok(of_batch);
        }
        self.work.db.first(FIND_EVENT, [event.event_id.0], |row| {
            let mut c = Columns::of(row);
            let (message, session, seq) = (MessageId(c.get()?), c.session_id()?, Seq(c.get()?));
            Ok(repeated(message, session, seq))
        })
    }

    /// The receipt of the message that an event repeats by its dedup key.
    fn same_key(&self, event: &Enqueue, num: i64) -> Result<Option<Receipt>, StoreError> {
        let Some(dedup) = &event.dedup else {
            return Ok(None);
        };
        let last = match self.dedup.get(&(num, dedup.key.as_str())) {
            Some(of_batch) => Some(*of_batch),
            None => {
                let session = self.work.held(num).id;
                let values = params![num, dedup.key];
                self.work.db.first(FIND_DEDUP, values, |row| {
                    let mut c = Columns::of(row);
                    let (message, seq) = (MessageId(c.get()?), Seq(c.get()?));
                    Ok((repeated(message, session, seq), c.time()?))
                })?
            }
        };
        let within = |accepted_at: Timestamp| {
            let apart_ms = event.accepted_at.0.abs_diff(accepted_at.0);
            dedup
                .window_ms
                .is_none_or(|window| i128::from(apart_ms) <= i128::from(window))
        };
        Ok(last
            .filter(|(_, accepted_at)| within(*accepted_at))
            .map(|(receipt, _)| receipt))
    }

    /// Makes an event the last message of a held session.
    fn add(&mut self, event: &'b Enqueue, num: i64, now: Timestamp) -> Receipt {
        let work = &mut *self.work;
        let id = work.counters.last_message.next();
        work.counters.last_message = id;
        work.count(num, State::Pending, 1);
        let (seq, epoch, session) = work.change_session(num, |row| {
            row.apply(&event.effect);
            row.active_at = now;
            row.refresh(event.cwd.as_ref(), event.project.as_ref());
            (row.take_seq(), row.epoch, row.id)
        });
        let again = repeated(id, session, seq);
        self.events.insert(event.event_id, again);
        if let Some(dedup) = &event.dedup {
            let key = (num, dedup.key.as_str());
            self.dedup.insert(key, (again, event.accepted_at));
        }
        let message = NewMessage {
            id,
            session: num,
            seq,
            epoch,
        };
        self.messages.push((message, event));
        Receipt {
            duplicate: false,
            ..again
        }
    }

    /// Inserts what was gathered; false when some of it is there already.
    fn store(self) -> Result<bool, StoreError> {
        let db = &self.work.db;
        let inserted = db.insert(&INSERT_MESSAGES, &self.messages, |row, (message, event)| {
            row.push(message.id.0)?;
            row.push(message.session)?;
            row.push(message.seq.0)?;
            row.push(message.epoch.0)?;
            row.push(event.event_id.0)?;
            row.push(&event.kind)?;
            row.push(&event.agent_id)?;
            row.push(event.dedup.as_ref().map(|dedup| &dedup.key))?;
            row.push(event.accepted_at.0)
        })?;
        if inserted < self.messages.len() {
            return Ok(false);
        }
        db.insert(&INSERT_PAYLOADS, &self.messages, |row, (message, event)| {
            row.push(message.id.0)?;
            row.push(&event.payload)
        })?;
        Ok(true)
    }
}

fn repeated(message: MessageId, session: SessionId, seq: Seq) -> Receipt {
    Receipt {
        message,
        session,
        seq,
        duplicate: true,
        session_created: false,
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
