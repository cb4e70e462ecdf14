//! Claims and messages that are returned, taken out or made pending again from outside a
//! generator: rescue, release of a session, cancel and redrive.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::request::Operation;
use super::rows::{self, Columns, message_row};
use super::statements::{
    GET_DELETED_SEQ, GET_MESSAGE, LIST_DEAD, LIST_DEAD_OF_SESSION, LIST_WORKED, LOAD_BACKLOG,
    LOAD_CLAIMS_BEFORE, LOAD_HEAD, MOVE_MESSAGE,
};
use super::transition::{MessageRow, Step};
use super::work::Work;
use crate::error::{MessageError, StoreError};
use crate::ids::{Generation, MessageId, Seq, SessionId, Timestamp};
use crate::types::{CancelledBacklog, Message, Redriven, Rescued, State};

/// Returns the claims of dead instances.
pub(super) struct Rescue {
    pub(super) owner: Generation,
    pub(super) now: Timestamp,
}

impl Operation for Rescue {
    type Answer = Rescued;
    type Error = StoreError;

    fn run(&self, work: &mut Work) -> Result<Result<Rescued, StoreError>, StoreError> {
        let mut rescued = Rescued::default();
        // One claim a session at a time: a dead instance has left few.
        let claims = work
            .db
            .all(LOAD_CLAIMS_BEFORE, [self.owner.0], message_row)?;
        for mut message in claims {
            work.load_session(message.session)?;
            work.step(&mut message, Step::Rescue, self.now);
            if message.state == State::Dead {
                rescued.dead += 1;
            } else {
                rescued.pending += 1;
            }
            work.save_message(&message)?;
        }
        Ok(Ok(rescued))
    }
}

/// Gives back what a session holds in claim.
pub(super) struct ReleaseSession {
    pub(super) session: SessionId,
    pub(super) reason: String,
    pub(super) now: Timestamp,
}

impl Operation for ReleaseSession {
    type Answer = u64;
    type Error = StoreError;

    fn run(&self, work: &mut Work) -> Result<Result<u64, StoreError>, StoreError> {
        let Some(num) = work.session_num(self.session)? else {
            return Ok(Ok(0));
        };
        // A claim is of the head, and stays the head.
        let head_seq = work.held(num).head_seq;
        let head = work.db.first(LOAD_HEAD, [num, head_seq.0], message_row)?;
        let Some(mut message) = head.filter(|head| head.state == State::Claimed) else {
            return Ok(Ok(0));
        };
        let step = Step::GiveBack {
            reason: &self.reason,
            not_before: None,
        };
        work.step(&mut message, step, self.now);
        work.save_message(&message)?;
        Ok(Ok(1))
    }
}

/// Takes a message out for good.
pub(super) struct Cancel {
    pub(super) message: MessageId,
    pub(super) now: Timestamp,
}

impl Operation for Cancel {
    type Answer = Message;
    type Error = MessageError;

    fn run(&self, work: &mut Work) -> Result<Result<Message, MessageError>, StoreError> {
        let Some(mut row) = work.load_message(self.message)? else {
            return Ok(Err(MessageError::Unknown(self.message)));
        };
        if !matches!(row.state, State::Pending | State::Claimed) {
            return Ok(Err(MessageError::WrongState {
                message: self.message,
                state: row.state,
                wanted: "cancelled",
            }));
        }
        work.load_session(row.session)?;
        work.step(&mut row, Step::Cancel, self.now);
        work.save_message(&row)?;
        let message = work
            .db
            .one(GET_MESSAGE, [self.message.0], |row| rows::message(row))?;
        Ok(Ok(message))
    }
}

/// Takes a session's backlog out for good.
pub(super) struct CancelSession {
    pub(super) session: SessionId,
    pub(super) now: Timestamp,
}

impl Operation for CancelSession {
    type Answer = CancelledBacklog;
    type Error = StoreError;

    fn run(&self, work: &mut Work) -> Result<Result<CancelledBacklog, StoreError>, StoreError> {
        let mut cancelled = CancelledBacklog::default();
        let Some(num) = work.session_num(self.session)? else {
            return Ok(Ok(cancelled));
        };
        // The session's depth bounds it.
        let head_seq = work.held(num).head_seq;
        for mut row in work.db.all(LOAD_BACKLOG, [num, head_seq.0], message_row)? {
            if row.state == State::Claimed {
                cancelled.claimed = Some(row.id);
            }
            cancelled.messages += 1;
            work.step(&mut row, Step::Cancel, self.now);
            work.save_message(&row)?;
        }
        Ok(Ok(cancelled))
    }
}

/// Makes one dead message pending again.
pub(super) struct Redrive {
    pub(super) message: MessageId,
    pub(super) now: Timestamp,
}

impl Operation for Redrive {
    type Answer = Redriven;
    type Error = MessageError;

    fn run(&self, work: &mut Work) -> Result<Result<Redriven, MessageError>, StoreError> {
        let Some(row) = work.load_message(self.message)? else {
            return Ok(Err(MessageError::Unknown(self.message)));
        };
        if row.state != State::Dead {
            return Ok(Err(MessageError::WrongState {
                message: self.message,
                state: row.state,
                wanted: "redriven",
            }));
        }
        work.load_session(row.session)?;
        if let Some((name, limit)) = full(work, row.session, 0, 0) {
            return Ok(Err(MessageError::Full {
                message: self.message,
                limit,
                name,
            }));
        }
        let redriven = redrive(work, vec![row], self.now)?;
        Ok(Ok(redriven[0]))
    }
}

/// Makes dead messages pending again, as far as the limits allow.
pub(super) struct RedriveAll {
    pub(super) session: Option<SessionId>,
    pub(super) now: Timestamp,
}

impl Operation for RedriveAll {
    type Answer = Vec<Redriven>;
    type Error = StoreError;

    fn run(&self, work: &mut Work) -> Result<Result<Vec<Redriven>, StoreError>, StoreError> {
        let id = |row: &rusqlite::Row<'_>| Columns::of(row).get().map(MessageId);
        let dead = match self.session {
            None => work.db.all(LIST_DEAD, (), id)?,
            Some(session) => match work.session_num(session)? {
                None => return Ok(Ok(Vec::new())),
                Some(num) => work.db.all(LIST_DEAD_OF_SESSION, [num], id)?,
            },
        };
        let mut taken: Vec<MessageRow> = Vec::new();
        let mut taken_of: HashMap<i64, i64> = HashMap::new();
        for id in dead {
            let Some(row) = work.load_message(id)? else {
                continue;
            };
            work.load_session(row.session)?;
            let of_session = taken_of.entry(row.session).or_default();
            if full(work, row.session, *of_session, taken.len() as i64).is_none() {
                *of_session += 1;
                taken.push(row);
            }
        }
        Ok(Ok(redrive(work, taken, self.now)?))
    }
}

/// The limit that keeps one more message from becoming pending, when so many of its session and of
/// all are about to: its name and value.
fn full(work: &Work, num: i64, more_of_session: i64, more: i64) -> Option<(&'static str, i64)> {
    let limits = &work.limits;
    let pending = work.sessions.by_num(num).map_or(0, |row| row.pending);
    if pending + more_of_session >= limits.session_depth_max {
        Some(("session_depth_max", limits.session_depth_max))
    } else if work.counters.backlog() + more >= limits.depth_max {
        Some(("depth_max", limits.depth_max))
    } else {
        None
    }
}

/// Redrives these dead messages of held sessions; answers by id.
///
/// A message keeps its place when nothing behind it was worked, the other redriven ones aside:
/// those go back in the order they had.
fn redrive(
    work: &mut Work,
    mut dead: Vec<MessageRow>,
    now: Timestamp,
) -> Result<Vec<Redriven>, StoreError> {
    let redriven: HashSet<_> = dead.iter().map(|row| row.id).collect();
    let mut last_worked: BTreeMap<i64, Seq> = BTreeMap::new();
    for num in dead.iter().map(|row| row.session).collect::<HashSet<_>>() {
        let deleted = work.db.one(GET_DELETED_SEQ, [num], |row| {
            Columns::of(row).get().map(Seq)
        })?;
        let other = work.db.find(LIST_WORKED, [num], |row| {
            let mut c = Columns::of(row);
            let (id, seq) = (MessageId(c.get()?), Seq(c.get()?));
            Ok((!redriven.contains(&id)).then_some(seq))
        })?;
        last_worked.insert(num, other.unwrap_or_default().max(deleted));
    }
    dead.sort_unstable_by_key(|row| (row.session, row.seq));
    let mut answers = Vec::with_capacity(dead.len());
    for row in &mut dead {
        let kept_place = last_worked
            .get(&row.session)
            .is_none_or(|worked| *worked < row.seq);
        let (session, seq) = work.sessions.change(row.session, |session| {
            (
                session.id,
                if kept_place {
                    row.seq
                } else {
                    session.take_seq()
                },
            )
        });
        if !kept_place {
            work.db.run(MOVE_MESSAGE, [row.id.0, seq.0])?;
        }
        work.step(row, Step::Redrive(seq), now);
        work.save_message(row)?;
        answers.push(Redriven {
            message: row.id,
            session,
            kept_place,
        });
    }
    answers.sort_unstable_by_key(|redriven| redriven.message);
    Ok(answers)
}
