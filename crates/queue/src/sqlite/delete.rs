//! What is deleted of finished messages: by retention, and dead ones by hand.
//!
//! Each operation is one small batch of a transaction; whoever asks repeats it, so that others get
//! their turn in between. A purge of a whole session is in `lifecycle`.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;

use super::request::Operation;
use super::rows::{Columns, message_row};
use super::statements::{
    DELETE_MESSAGES, LIST_DEAD_SINCE, LIST_FINISHED, LOAD_DEAD, LOAD_DEAD_OF_SESSION, NOTE_DELETED,
    ROWS_MAX, Statement,
};
use super::transition::MessageRow;
use super::work::Work;
use crate::error::{MessageError, StoreError};
use crate::ids::{MessageId, Seq, SessionId, Timestamp};
use crate::limits::{DELETE_BYTES_MAX, DELETE_ROWS_MAX};
use crate::types::{PurgedDead, Retained, Retention, State};

/// Deletes what is over a policy.
pub(super) struct Retain {
    pub(super) policy: Retention,
    pub(super) now: Timestamp,
}

#[async_trait]
impl Operation for Retain {
    type Answer = Retained;
    type Error = StoreError;

    async fn run(&self, work: &mut Work) -> Result<Result<Retained, StoreError>, StoreError> {
        let Retention {
            done_age,
            done_max,
            dead_age,
            dead_max,
        } = self.policy;
        let depth = work.counters.depth;
        let kinds = [
            (
                &LIST_FINISHED,
                done_age,
                done_max,
                depth.done + depth.cancelled,
            ),
            (&LIST_DEAD_SINCE, dead_age, dead_max, depth.dead),
        ];
        let mut room = Room::new();
        let mut gone = Vec::new();
        let mut retained = Retained::default();
        'batch: for (statement, age, most, count) in kinds {
            let over = most.map_or(0, |most| count - most);
            if age.is_none() && over <= 0 {
                continue;
            }
            for (place, (row, bytes)) in
                oldest(work, statement, None).await?.into_iter().enumerate()
            {
                let due_at = due_at(&row, age);
                if place as i64 >= over && due_at.is_none_or(|due_at| due_at > self.now) {
                    let earliest = retained.next_at.into_iter().chain(due_at).min();
                    retained.next_at = earliest;
                    break;
                }
                if !room.take(bytes) {
                    retained.more = true;
                    retained.next_at = None;
                    break 'batch;
                }
                match row.state {
                    State::Done => retained.done += 1,
                    State::Cancelled => retained.cancelled += 1,
                    _ => retained.dead += 1,
                }
                gone.push(row);
            }
        }
        delete(work, &gone).await?;
        Ok(Ok(retained))
    }
}

/// When a finished message is too old.
fn due_at(row: &MessageRow, age: Option<Duration>) -> Option<Timestamp> {
    Some(row.finished_at?.after(age?))
}

/// Deletes the first dead messages.
pub(super) struct PurgeDead {
    pub(super) session: Option<SessionId>,
}

#[async_trait]
impl Operation for PurgeDead {
    type Answer = PurgedDead;
    type Error = StoreError;

    async fn run(&self, work: &mut Work) -> Result<Result<PurgedDead, StoreError>, StoreError> {
        let dead = match self.session {
            None => oldest(work, &LOAD_DEAD, None).await?,
            Some(id) => match work.session_num(id).await? {
                None => Vec::new(),
                Some(num) => oldest(work, &LOAD_DEAD_OF_SESSION, Some(num)).await?,
            },
        };
        let mut room = Room::new();
        let found = dead.len();
        let gone: Vec<_> = dead
            .into_iter()
            .take_while(|(_, bytes)| room.take(*bytes))
            .map(|(row, _)| row)
            .collect();
        delete(work, &gone).await?;
        Ok(Ok(PurgedDead {
            messages: gone.len() as u64,
            more: gone.len() < found,
        }))
    }
}

/// Deletes one dead message.
pub(super) struct PurgeMessage {
    pub(super) message: MessageId,
}

#[async_trait]
impl Operation for PurgeMessage {
    type Answer = ();
    type Error = MessageError;

    async fn run(&self, work: &mut Work) -> Result<Result<(), MessageError>, StoreError> {
        let Some(row) = work.load_messages(&[self.message]).await?.pop() else {
            return Ok(Err(MessageError::Unknown(self.message)));
        };
        if row.state != State::Dead {
            return Ok(Err(MessageError::WrongState {
                message: self.message,
                state: row.state,
                wanted: "purged",
            }));
        }
        delete(work, &[row]).await?;
        Ok(Ok(()))
    }
}

/// What a batch may still take.
struct Room {
    rows: usize,
    bytes: usize,
}

impl Room {
    fn new() -> Self {
        Self {
            rows: DELETE_ROWS_MAX,
            bytes: DELETE_BYTES_MAX,
        }
    }

    /// Takes a message of so many bytes, if there is room; the first one in any case.
    fn take(&mut self, bytes: usize) -> bool {
        let is_first = self.rows == DELETE_ROWS_MAX;
        if self.rows == 0 || (self.bytes < bytes && !is_first) {
            return false;
        }
        self.rows -= 1;
        self.bytes = self.bytes.saturating_sub(bytes);
        true
    }
}

/// The first messages of a listing with the bytes of their payloads: one more than a batch takes, to
/// know what comes after it.
async fn oldest(
    work: &mut Work,
    statement: &Statement,
    session: Option<i64>,
) -> Result<Vec<(MessageRow, usize)>, StoreError> {
    let mut query = statement.query();
    if let Some(num) = session {
        query = query.bind(num);
    }
    let query = query.bind(DELETE_ROWS_MAX as i64 + 1);
    let found = query.fetch_all(&mut work.conn).await?;
    let read = |row| {
        let mut c = Columns::of(row);
        let message = message_row(&mut c)?;
        let bytes: i64 = c.get()?;
        Ok((message, usize::try_from(bytes).unwrap_or(0)))
    };
    found.iter().map(read).collect()
}

/// Deletes finished messages, and notes for each session up to which place some were worked.
async fn delete(work: &mut Work, gone: &[MessageRow]) -> Result<(), StoreError> {
    if gone.is_empty() {
        return Ok(());
    }
    work.load_sessions_of(gone.iter()).await?;
    let mut worked: BTreeMap<i64, Seq> = BTreeMap::new();
    for row in gone {
        work.count(row.session, row.state, -1);
        if row.state != State::Cancelled || row.attempt > 0 {
            let last = worked.entry(row.session).or_default();
            *last = row.seq.max(*last);
        }
    }
    for chunk in gone.chunks(ROWS_MAX) {
        let query = DELETE_MESSAGES.with_rows(chunk, |values, row| {
            values.push(row.id.0);
        });
        query.execute(&mut work.conn).await?;
    }
    let worked: Vec<_> = worked.into_iter().collect();
    for chunk in worked.chunks(ROWS_MAX) {
        let query = NOTE_DELETED.with_rows(chunk, |values, (num, seq)| {
            values.push(*num).push(seq.0);
        });
        query.execute(&mut work.conn).await?;
    }
    Ok(())
}
