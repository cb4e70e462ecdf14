//! Enqueues of a batch: identity, dedup, limits, then one insert for all of them.
//!
//! At most three statements read (events, sessions, dedup keys), each only when it is needed; the
//! rest is decided in memory, in the order of the batch.

use std::collections::HashMap;

use super::request::{Call, NewEvent};
use super::rows::Columns;
use super::sessions::SessionRow;
use super::statements::{
    FIND_DEDUP, FIND_EVENTS, INSERT_MESSAGES, INSERT_SESSIONS, ROWS_MAX, Values,
};
use super::work::Work;
use crate::error::{EnqueueError, StoreError};
use crate::ids::{Epoch, EventId, MessageId, Seq, SessionId, Timestamp};
use crate::types::{Enqueue, Receipt, SessionRef, State};
use crate::validate;

type EnqueueCall = Call<NewEvent, Receipt, EnqueueError>;
/// A session's row and a dedup key in it.
type DedupKey = (i64, String);

/// Works the enqueues of a batch.
pub(super) async fn run(work: &mut Work, calls: &mut [&mut EnqueueCall]) -> Result<(), StoreError> {
    let mut valid = Vec::with_capacity(calls.len());
    for call in calls {
        match validate::event(&call.question.event, &work.limits) {
            Ok(()) => valid.push(call),
            Err(error) => call.answer(Err(error)),
        }
    }
    if valid.is_empty() {
        return Ok(());
    }
    let known = Known::load(work, valid.iter().map(|call| &call.question.event)).await?;
    let mut intake = Intake {
        work,
        known,
        sessions: Vec::new(),
        messages: Vec::new(),
    };
    let answers: Vec<_> = valid
        .iter()
        .map(|call| intake.accept(&call.question))
        .collect();
    intake.store().await?;
    for (call, answer) in valid.into_iter().zip(answers) {
        call.answer(answer);
    }
    Ok(())
}

/// What is stored already of the events of a batch, and of the batch itself up to here.
#[derive(Default)]
struct Known {
    events: HashMap<EventId, Receipt>,
    /// The last message of each key, and when it was accepted.
    dedup: HashMap<DedupKey, (Receipt, Timestamp)>,
}

impl Known {
    async fn load<'a>(
        work: &mut Work,
        events: impl Iterator<Item = &'a Enqueue> + Clone,
    ) -> Result<Self, StoreError> {
        let mut known = Self::default();
        let ids: Vec<_> = events.clone().map(|event| event.event_id).collect();
        for chunk in ids.chunks(ROWS_MAX) {
            let query = FIND_EVENTS.with_rows(chunk, |values, id| {
                values.push(id.0);
            });
            for row in query.fetch_all(&mut work.conn).await? {
                let mut c = Columns::of(&row);
                known.events.insert(
                    c.event_id()?,
                    Receipt {
                        message: MessageId(c.get()?),
                        session: c.session_id()?,
                        seq: Seq(c.get()?),
                        duplicate: true,
                    },
                );
            }
        }
        work.load_sessions(events.clone().map(|event| &event.session))
            .await?;
        known.load_dedup(work, events).await?;
        Ok(known)
    }

    async fn load_dedup<'a>(
        &mut self,
        work: &mut Work,
        events: impl Iterator<Item = &'a Enqueue>,
    ) -> Result<(), StoreError> {
        let keys: Vec<(i64, &str)> = events
            .filter_map(|event| {
                let num = work.sessions.num_of(&event.session)?;
                Some((num, event.dedup.as_ref()?.key.as_str()))
            })
            .collect();
        for chunk in keys.chunks(ROWS_MAX) {
            let query = FIND_DEDUP.with_rows(chunk, |values, (num, key)| {
                values.push(*num).push(*key);
            });
            for row in query.fetch_all(&mut work.conn).await? {
                let mut c = Columns::of(&row);
                let key = (c.get()?, c.get()?);
                let receipt = Receipt {
                    message: MessageId(c.get()?),
                    session: session_id(work, key.0),
                    seq: Seq(c.get()?),
                    duplicate: true,
                };
                self.dedup.insert(key, (receipt, c.time()?));
            }
        }
        Ok(())
    }

    /// The receipt of the message that an event repeats.
    fn first_of(&self, event: &Enqueue, num: Option<i64>) -> Option<Receipt> {
        if let Some(receipt) = self.events.get(&event.event_id) {
            return Some(*receipt);
        }
        let dedup = event.dedup.as_ref()?;
        let (receipt, accepted_at) = self.dedup.get(&(num?, dedup.key.clone()))?;
        let apart_ms = event.accepted_at.0.abs_diff(accepted_at.0);
        let repeats = dedup
            .window_ms
            .is_none_or(|window| i128::from(apart_ms) <= i128::from(window));
        repeats.then_some(*receipt)
    }
}

/// Decides on the events of a batch, one after the other, and gathers what has to be inserted.
struct Intake<'a, 'b> {
    work: &'a mut Work,
    known: Known,
    sessions: Vec<(SessionRow, Timestamp)>,
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
    fn accept(&mut self, question: &'b NewEvent) -> Result<Receipt, EnqueueError> {
        let NewEvent { event, now } = question;
        let num = self.work.sessions.num_of(&event.session);
        if let Some(first) = self.known.first_of(event, num) {
            self.work.counters.duplicates += 1;
            return Ok(first);
        }
        if let (SessionRef::Id(id), None) = (&event.session, num) {
            return Err(EnqueueError::UnknownSession(*id));
        }
        self.check_depths(num)?;
        let num = match (&event.session, num) {
            (SessionRef::Key { agent, key }, None) => self.create(agent, key, *now),
            (_, num) => num.expect("an unknown id was refused"),
        };
        Ok(self.add(event, num, *now))
    }

    fn check_depths(&self, num: Option<i64>) -> Result<(), EnqueueError> {
        let limits = &self.work.limits;
        if let Some(row) = num.and_then(|num| self.work.sessions.by_num(num))
            && row.pending >= limits.session_depth_max
        {
            return Err(EnqueueError::SessionFull {
                session: row.id,
                limit: limits.session_depth_max,
            });
        }
        if self.work.counters.backlog() >= limits.depth_max {
            return Err(EnqueueError::QueueFull {
                limit: limits.depth_max,
            });
        }
        Ok(())
    }

    fn create(&mut self, agent: &str, key: &str, now: Timestamp) -> i64 {
        let row = self.work.create_session(agent, key, now);
        let num = row.num;
        self.sessions.push((row, now));
        num
    }

    fn add(&mut self, event: &'b Enqueue, num: i64, now: Timestamp) -> Receipt {
        let id = self.work.counters.last_message.next();
        self.work.counters.last_message = id;
        self.work.count(num, State::Pending, 1);
        let (seq, epoch, session) = self.work.change_session(num, |row| {
            row.apply(&event.effect);
            row.active_at = now;
            row.refresh(event.cwd.as_ref(), event.project.as_ref());
            (row.take_seq(), row.epoch, row.id)
        });
        let receipt = Receipt {
            message: id,
            session,
            seq,
            duplicate: true,
        };
        self.known.events.insert(event.event_id, receipt);
        if let Some(dedup) = &event.dedup {
            let key = (num, dedup.key.clone());
            self.known.dedup.insert(key, (receipt, event.accepted_at));
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
            ..receipt
        }
    }

    async fn store(self) -> Result<(), StoreError> {
        insert_sessions(self.work, &self.sessions).await?;
        for chunk in self.messages.chunks(ROWS_MAX) {
            let mut values = Values::default();
            let size = values.rows(chunk, |values, (message, event)| {
                values
                    .push(message.id.0)
                    .push(message.session)
                    .push(message.seq.0)
                    .push(message.epoch.0)
                    .push(event.event_id.0)
                    .push(event.kind.as_str())
                    .push(event.agent_id.as_deref())
                    .push(event.dedup.as_ref().map(|dedup| dedup.key.as_str()))
                    .push(event.accepted_at.0);
            });
            values.rows(chunk, |values, (message, event)| {
                values.push(message.id.0).push(event.payload.as_str());
            });
            let query = INSERT_MESSAGES.with_values(size, values);
            query.execute(&mut self.work.conn).await?;
        }
        Ok(())
    }
}

/// Inserts sessions that were created in memory; what else they hold goes out with the changes.
pub(super) async fn insert_sessions(
    work: &mut Work,
    sessions: &[(SessionRow, Timestamp)],
) -> Result<(), StoreError> {
    for chunk in sessions.chunks(ROWS_MAX) {
        let query = INSERT_SESSIONS.with_rows(chunk, |values, (row, now)| {
            values
                .push(row.num)
                .push(row.id.0)
                .push(row.agent.as_str())
                .push(row.key.as_str())
                .push(now.0)
                .push(now.0);
        });
        query.execute(&mut work.conn).await?;
    }
    Ok(())
}

fn session_id(work: &Work, num: i64) -> SessionId {
    work.sessions
        .by_num(num)
        .expect("its key was asked for by this number")
        .id
}
