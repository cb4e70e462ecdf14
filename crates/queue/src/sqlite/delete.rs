//! What is deleted of finished messages: by retention, and dead ones by hand.
//!
//! Each operation is one small batch of a transaction; whoever asks repeats it, so that others get
//! their turn in between. A purge of a whole session is in `lifecycle`.

use std::collections::BTreeMap;
use std::time::Duration;

use rusqlite::Params;

use super::request::Operation;
use super::rows::{Columns, leading_message_row};
use super::statements::{
    DELETE_MESSAGE, LIST_DEAD_SINCE, LIST_FINISHED, LOAD_DEAD, LOAD_DEAD_OF_SESSION, NOTE_DELETED,
    Statement,
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

impl Operation for Retain {
    type Answer = Retained;
    type Error = StoreError;

    fn run(&self, work: &mut Work) -> Result<Result<Retained, StoreError>, StoreError> {
        let Retention {
            done_age,
            done_max,
            dead_age,
            dead_max,
        } = self.policy;
        let depth = work.counters.depth;
        let kinds = [
            (
                LIST_FINISHED,
                done_age,
                done_max,
                depth.done + depth.cancelled,
            ),
            (LIST_DEAD_SINCE, dead_age, dead_max, depth.dead),
        ];
        let mut room = Room::new();
        let mut gone = Vec::new();
        let mut retained = Retained::default();
        'batch: for (statement, age, most, count) in kinds {
            let over = most.map_or(0, |most| count - most);
            if age.is_none() && over <= 0 {
                continue;
            }
            let oldest = oldest(work, statement, [LISTED])?;
            for (place, (row, bytes)) in oldest.into_iter().enumerate() {
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
        delete(work, &gone)?;
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

impl Operation for PurgeDead {
    type Answer = PurgedDead;
    type Error = StoreError;

    fn run(&self, work: &mut Work) -> Result<Result<PurgedDead, StoreError>, StoreError> {
        let dead = match self.session {
            None => oldest(work, LOAD_DEAD, [LISTED])?,
            Some(id) => match work.session_num(id)? {
                None => Vec::new(),
                Some(num) => oldest(work, LOAD_DEAD_OF_SESSION, [num, LISTED])?,
            },
        };
        let mut room = Room::new();
        let found = dead.len();
        let gone: Vec<_> = dead
            .into_iter()
            .take_while(|(_, bytes)| room.take(*bytes))
            .map(|(row, _)| row)
            .collect();
        delete(work, &gone)?;
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

impl Operation for PurgeMessage {
    type Answer = ();
    type Error = MessageError;

    fn run(&self, work: &mut Work) -> Result<Result<(), MessageError>, StoreError> {
        let Some(row) = work.load_message(self.message)? else {
            return Ok(Err(MessageError::Unknown(self.message)));
        };
        if row.state != State::Dead {
            return Ok(Err(MessageError::WrongState {
                message: self.message,
                state: row.state,
                wanted: "purged",
            }));
        }
        delete(work, &[row])?;
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

/// Messages listed at once: one more than a batch takes, to know what comes after it.
const LISTED: i64 = DELETE_ROWS_MAX as i64 + 1;

/// The first messages of a listing with the bytes of their payloads.
fn oldest(
    work: &Work,
    statement: Statement,
    values: impl Params,
) -> Result<Vec<(MessageRow, usize)>, StoreError> {
    work.db.all(statement, values, |row| {
        let mut c = Columns::of(row);
        let message = leading_message_row(&mut c)?;
        let bytes: i64 = c.get()?;
        Ok((message, usize::try_from(bytes).unwrap_or(0)))
    })
}

/// Deletes finished messages, and notes for each session up to which place some were worked.
fn delete(work: &mut Work, gone: &[MessageRow]) -> Result<(), StoreError> {
    let mut worked: BTreeMap<i64, Seq> = BTreeMap::new();
    for row in gone {
        work.load_session(row.session)?;
        work.count(row.session, row.state, -1);
        if row.state != State::Cancelled || row.attempt > 0 {
            let last = worked.entry(row.session).or_default();
            *last = row.seq.max(*last);
        }
        work.db.run(DELETE_MESSAGE, [row.id.0])?;
    }
    for (num, seq) in worked {
        work.db.run(NOTE_DELETED, [num, seq.0])?;
    }
    Ok(())
}
