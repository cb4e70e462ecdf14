//! Claims and messages that are returned, taken out or made pending again from outside a
//! generator: rescue, release of a session, cancel and redrive.

use std::collections::{BTreeMap, HashMap, HashSet};

use async_trait::async_trait;

use super::read::message_query;
use super::request::Operation;
use super::rows::{self, Columns, message_row};
use super::statements::{
    GET_DELETED_SEQ, LIST_DEAD, LIST_DEAD_OF_SESSION, LIST_WORKED, LOAD_BACKLOG,
    LOAD_CLAIMS_BEFORE, LOAD_CLAIMS_OF_SESSION, ROWS_MAX,
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

#[async_trait]
impl Operation for Rescue {
    type Answer = Rescued;
    type Error = StoreError;

    async fn run(&self, work: &mut Work) -> Result<Result<Rescued, StoreError>, StoreError> {
        let mut rescued = Rescued::default();
        loop {
            let found = LOAD_CLAIMS_BEFORE
                .query()
                .bind(self.owner.0)
                .bind(ROWS_MAX as i64)
                .fetch_all(&mut work.conn)
                .await?;
            let mut claims = found
                .iter()
                .map(|row| message_row(&mut Columns::of(row)))
                .collect::<Result<Vec<_>, _>>()?;
            if claims.is_empty() {
                return Ok(Ok(rescued));
            }
            work.load_sessions_of(claims.iter()).await?;
            for message in &mut claims {
                work.step(message, Step::Rescue, self.now);
                if message.state == State::Dead {
                    rescued.dead += 1;
                } else {
                    rescued.pending += 1;
                }
            }
            work.save_messages(&claims).await?;
        }
    }
}

/// Gives back what a session holds in claim.
pub(super) struct ReleaseSession {
    pub(super) session: SessionId,
    pub(super) reason: String,
    pub(super) now: Timestamp,
}

#[async_trait]
impl Operation for ReleaseSession {
    type Answer = u64;
    type Error = StoreError;

    async fn run(&self, work: &mut Work) -> Result<Result<u64, StoreError>, StoreError> {
        let Some(num) = work.session_num(self.session).await? else {
            return Ok(Ok(0));
        };
        let query = LOAD_CLAIMS_OF_SESSION.query().bind(num);
        let found = query.fetch_optional(&mut work.conn).await?;
        let Some(found) = found else {
            return Ok(Ok(0));
        };
        // One claim a session at a time: there is no second row.
        let mut message = message_row(&mut Columns::of(&found))?;
        let step = Step::GiveBack {
            reason: &self.reason,
            not_before: None,
        };
        work.step(&mut message, step, self.now);
        work.save_messages(&[message]).await?;
        Ok(Ok(1))
    }
}

/// Takes a message out for good.
pub(super) struct Cancel {
    pub(super) message: MessageId,
    pub(super) now: Timestamp,
}

#[async_trait]
impl Operation for Cancel {
    type Answer = Message;
    type Error = MessageError;

    async fn run(&self, work: &mut Work) -> Result<Result<Message, MessageError>, StoreError> {
        let Some(mut row) = work.load_messages(&[self.message]).await?.pop() else {
            return Ok(Err(MessageError::Unknown(self.message)));
        };
        if !matches!(row.state, State::Pending | State::Claimed) {
            return Ok(Err(MessageError::WrongState {
                message: self.message,
                state: row.state,
                wanted: "cancelled",
            }));
        }
        work.load_sessions_of([&row].into_iter()).await?;
        work.step(&mut row, Step::Cancel, self.now);
        work.save_messages(&[row]).await?;
        let row = message_query(self.message)
            .build()
            .fetch_one(&mut work.conn)
            .await?;
        Ok(Ok(rows::message(&row)?))
    }
}

/// Takes a session's backlog out for good.
pub(super) struct CancelSession {
    pub(super) session: SessionId,
    pub(super) now: Timestamp,
}

#[async_trait]
impl Operation for CancelSession {
    type Answer = CancelledBacklog;
    type Error = StoreError;

    async fn run(
        &self,
        work: &mut Work,
    ) -> Result<Result<CancelledBacklog, StoreError>, StoreError> {
        let mut cancelled = CancelledBacklog::default();
        let Some(num) = work.session_num(self.session).await? else {
            return Ok(Ok(cancelled));
        };
        // The session's depth bounds it.
        let found = LOAD_BACKLOG.query().bind(num);
        let found = found.fetch_all(&mut work.conn).await?;
        let mut backlog = found
            .iter()
            .map(|row| message_row(&mut Columns::of(row)))
            .collect::<Result<Vec<_>, _>>()?;
        for row in &mut backlog {
            if row.state == State::Claimed {
                cancelled.claimed = Some(row.id);
            }
            cancelled.messages += 1;
            work.step(row, Step::Cancel, self.now);
        }
        work.save_messages(&backlog).await?;
        Ok(Ok(cancelled))
    }
}

/// Makes one dead message pending again.
pub(super) struct Redrive {
    pub(super) message: MessageId,
    pub(super) now: Timestamp,
}

#[async_trait]
impl Operation for Redrive {
    type Answer = Redriven;
    type Error = MessageError;

    async fn run(&self, work: &mut Work) -> Result<Result<Redriven, MessageError>, StoreError> {
        let Some(row) = work.load_messages(&[self.message]).await?.pop() else {
            return Ok(Err(MessageError::Unknown(self.message)));
        };
        if row.state != State::Dead {
            return Ok(Err(MessageError::WrongState {
                message: self.message,
                state: row.state,
                wanted: "redriven",
            }));
        }
        work.load_sessions_of([&row].into_iter()).await?;
        if let Some((name, limit)) = full(work, row.session, 0, 0) {
            return Ok(Err(MessageError::Full {
                message: self.message,
                limit,
                name,
            }));
        }
        let redriven = redrive(work, vec![row], self.now).await?;
        Ok(Ok(redriven[0]))
    }
}

/// Makes dead messages pending again, as far as the limits allow.
pub(super) struct RedriveAll {
    pub(super) session: Option<SessionId>,
    pub(super) now: Timestamp,
}

#[async_trait]
impl Operation for RedriveAll {
    type Answer = Vec<Redriven>;
    type Error = StoreError;

    async fn run(&self, work: &mut Work) -> Result<Result<Vec<Redriven>, StoreError>, StoreError> {
        let query = match self.session {
            None => LIST_DEAD.query(),
            Some(id) => match work.session_num(id).await? {
                None => return Ok(Ok(Vec::new())),
                Some(num) => LIST_DEAD_OF_SESSION.query().bind(num),
            },
        };
        let dead = query.fetch_all(&mut work.conn).await?;
        let ids = dead
            .iter()
            .map(|row| Columns::of(row).get().map(MessageId))
            .collect::<Result<Vec<_>, _>>()?;
        let mut taken: Vec<MessageRow> = Vec::new();
        let mut taken_of: HashMap<i64, i64> = HashMap::new();
        for chunk in ids.chunks(ROWS_MAX) {
            let mut rows = work.load_messages(chunk).await?;
            rows.sort_unstable_by_key(|row| row.id);
            work.load_sessions_of(rows.iter()).await?;
            for row in rows {
                let of_session = taken_of.entry(row.session).or_default();
                if full(work, row.session, *of_session, taken.len() as i64).is_none() {
                    *of_session += 1;
                    taken.push(row);
                }
            }
        }
        Ok(Ok(redrive(work, taken, self.now).await?))
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
async fn redrive(
    work: &mut Work,
    mut dead: Vec<MessageRow>,
    now: Timestamp,
) -> Result<Vec<Redriven>, StoreError> {
    let redriven: HashSet<_> = dead.iter().map(|row| row.id).collect();
    let mut last_worked: BTreeMap<i64, Seq> = BTreeMap::new();
    for num in dead.iter().map(|row| row.session).collect::<HashSet<_>>() {
        let query = GET_DELETED_SEQ.query().bind(num);
        let row = query.fetch_one(&mut work.conn).await?;
        last_worked.insert(num, Seq(Columns::of(&row).get()?));
        for row in LIST_WORKED
            .query()
            .bind(num)
            .fetch_all(&mut work.conn)
            .await?
        {
            let mut c = Columns::of(&row);
            let (id, seq) = (MessageId(c.get()?), Seq(c.get()?));
            if !redriven.contains(&id) {
                let last = last_worked.entry(num).or_default();
                *last = seq.max(*last);
                break;
            }
        }
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
        work.step(row, Step::Redrive(seq), now);
        answers.push(Redriven {
            message: row.id,
            session,
            kept_place,
        });
    }
    work.save_messages(&dead).await?;
    answers.sort_unstable_by_key(|redriven| redriven.message);
    Ok(answers)
}
