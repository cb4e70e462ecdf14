//! One transaction's worth of work: the writing connection, and what the writer holds in memory.
//!
//! Operations change counters and sessions here and messages through [`Work::step`]. A message is
//! stored at once; sessions and counters before the commit, each once however often it changed.

use std::sync::Arc;

use rusqlite::params;
use tokio::sync::Notify;

use super::counters::Counters;
use super::db::Db;
use super::rows::{self, Columns};
use super::sessions::{SessionRow, Sessions};
use super::statements::{
    DATA_VERSION, INSERT_ATTEMPT, LOAD_COUNTERS, LOAD_MESSAGE, LOAD_SESSION_BY_ID,
    LOAD_SESSION_BY_KEY, LOAD_SESSION_BY_NUM, SAVE_COUNTERS, SAVE_MESSAGE, SAVE_SESSION,
    SAVE_SESSION_COUNTS, TRIM_ATTEMPTS,
};
use super::transition::{MessageRow, Step, is_backlog};
use crate::error::StoreError;
use crate::ids::{MessageId, SessionId, Timestamp};
use crate::limits::{ATTEMPTS_KEPT, Limits};
use crate::types::{Attempt, SessionRef, State};

/// The writer's connection and memory.
pub(super) struct Work {
    pub(super) db: Db,
    pub(super) limits: Limits,
    pub(super) counters: Counters,
    pub(super) sessions: Sessions,
    /// What steps have added to the history of messages that are not saved yet.
    history: Vec<(MessageId, Attempt)>,
    /// The counters as they are stored; `None` after a rollback.
    stored: Option<Counters>,
    /// What SQLite counts up when another connection has written.
    version: Option<i64>,
    /// Told of commits that may leave something to do to an upkeep.
    worked: Arc<Notify>,
    /// Messages that were stored and that were finished, at the last commit.
    told: (MessageId, i64),
}

impl Work {
    pub(super) fn new(db: Db, limits: Limits, worked: Arc<Notify>) -> Self {
        Self {
            db,
            limits,
            counters: Counters::default(),
            sessions: Sessions::default(),
            history: Vec::new(),
            stored: None,
            version: None,
            worked,
            told: (MessageId::default(), 0),
        }
    }

    /// Begins the transaction of a batch.
    ///
    /// One process writes, and whoever opens the file sees to that. Should another one have written
    /// all the same, what is held is not what is stored, and is read again.
    pub(super) fn begin(&mut self) -> Result<(), StoreError> {
        self.db.begin()?;
        let version = self
            .db
            .one(DATA_VERSION, (), |row| Columns::of(row).get())?;
        if self.version.replace(version) != Some(version) {
            self.sessions.clear();
            self.stored = None;
        }
        self.sessions.trim();
        if self.stored.is_none() {
            self.counters = self.db.one(LOAD_COUNTERS, (), Counters::read)?;
            self.stored = Some(self.counters);
        }
        Ok(())
    }

    /// Commits what was handed to the engine.
    pub(super) fn commit(&mut self) -> Result<(), StoreError> {
        self.db.commit()?;
        let now = (self.counters.last_message, self.counters.finished());
        if now != self.told {
            self.worked.notify_one();
        }
        self.told = now;
        Ok(())
    }

    /// Undoes the batch and forgets what it left in memory.
    pub(super) fn rollback(&mut self) {
        self.sessions.clear();
        self.history.clear();
        self.stored = None;
        self.db.rollback();
    }

    /// Hands changed sessions and counters to the engine: before the commit, and for statements that
    /// read them.
    pub(super) fn store_changes(&mut self) -> Result<(), StoreError> {
        for num in self.sessions.take_changed() {
            // One that was deleted is not held any more.
            if let Some(row) = self.sessions.storing(num) {
                save_session(&self.db, row)?;
                row.set_stored();
            }
        }
        if self.stored != Some(self.counters) {
            self.db.run(SAVE_COUNTERS, self.counters.values())?;
        }
        self.stored = Some(self.counters);
        Ok(())
    }

    /// The number of a session's row, read if it is not held; `None`: there is no such session.
    pub(super) fn find_session(&mut self, session: &SessionRef) -> Result<Option<i64>, StoreError> {
        let (agent, key) = match session {
            SessionRef::Id(id) => return self.session_num(*id),
            SessionRef::Key { agent, key } => (agent, key),
        };
        if let Some(num) = self.sessions.num_of_key(agent, key) {
            return Ok(Some(num));
        }
        let row = self
            .db
            .first(LOAD_SESSION_BY_KEY, [agent, key], rows::session_row)?;
        Ok(row.map(|row| self.sessions.hold(row)))
    }

    /// The same, by its id.
    pub(super) fn session_num(&mut self, id: SessionId) -> Result<Option<i64>, StoreError> {
        if let Some(num) = self.sessions.num_of_id(id) {
            return Ok(Some(num));
        }
        let row = self
            .db
            .first(LOAD_SESSION_BY_ID, [id.0], rows::session_row)?;
        Ok(row.map(|row| self.sessions.hold(row)))
    }

    /// Reads the session of a stored message, unless it is held.
    pub(super) fn load_session(&mut self, num: i64) -> Result<(), StoreError> {
        if self.sessions.by_num(num).is_none() {
            let row = self.db.one(LOAD_SESSION_BY_NUM, [num], rows::session_row)?;
            self.sessions.hold(row);
        }
        Ok(())
    }

    /// A session that was found in this batch.
    pub(super) fn held(&self, num: i64) -> &SessionRow {
        let row = self.sessions.by_num(num);
        row.expect("what a batch has found is held until its end")
    }

    /// Makes a session, held and counted but not inserted yet.
    pub(super) fn create_session(&mut self, agent: &str, key: &str, now: Timestamp) -> SessionRow {
        self.counters.last_session += 1;
        let row = SessionRow::new(self.counters.last_session, agent, key, now);
        self.counters.lives.open += 1;
        self.sessions.hold(row.clone());
        row
    }

    /// Changes a held session, and counts it where its life has moved to.
    pub(super) fn change_session<T>(
        &mut self,
        num: i64,
        change: impl FnOnce(&mut SessionRow) -> T,
    ) -> T {
        let counters = &mut self.counters;
        self.sessions.change(num, |row| {
            let was = row.life;
            let answer = change(row);
            *counters.lives_mut(was) -= 1;
            *counters.lives_mut(row.life) += 1;
            answer
        })
    }

    /// Reads a message.
    pub(super) fn load_message(&self, id: MessageId) -> Result<Option<MessageRow>, StoreError> {
        self.db.first(LOAD_MESSAGE, [id.0], rows::message_row)
    }

    /// Moves a message of a held session, and counts it where it has moved to.
    pub(super) fn step(&mut self, message: &mut MessageRow, step: Step<'_>, now: Timestamp) {
        let was = message.state;
        let history = message.history_of(step, now);
        self.history
            .extend(history.map(|attempt| (message.id, attempt)));
        message.step(step, &self.limits, now);
        if is_backlog(was) && is_backlog(message.state) {
            // The session has as many as before: its row is left alone.
            *self.counters.depth_mut(was) -= 1;
            *self.counters.depth_mut(message.state) += 1;
            return;
        }
        self.count(message.session, was, -1);
        self.count(message.session, message.state, 1);
        self.sessions.change(message.session, |row| {
            if is_backlog(message.state) {
                row.head_seq = row.head_seq.min(message.seq);
            } else {
                row.leave(message.seq);
            }
        });
    }

    /// Counts messages of a held session that have come to a state or left it.
    pub(super) fn count(&mut self, session: i64, state: State, change: i64) {
        *self.counters.depth_mut(state) += change;
        self.sessions.change(session, |row| {
            if is_backlog(state) {
                row.pending += change;
            } else if state == State::Dead {
                row.dead += change;
            }
        });
    }

    /// Stores a message that has moved, and what that adds to its history.
    pub(super) fn save_message(&mut self, m: &MessageRow) -> Result<(), StoreError> {
        self.db.run(
            SAVE_MESSAGE,
            params![
                m.id.0,
                m.state.as_str(),
                m.attempt,
                m.rescues,
                m.not_before.map(|at| at.0),
                m.finished_at.map(|at| at.0),
                m.claim.map(|(generation, _)| generation.0),
                m.claim.map(|(_, claim_seq)| claim_seq.0),
                m.last_error,
            ],
        )?;
        for (message, attempt) in self.history.drain(..) {
            self.db.run(
                INSERT_ATTEMPT,
                params![
                    message.0,
                    attempt.attempt,
                    attempt.ended_at.0,
                    attempt.outcome.as_str(),
                    attempt.reason,
                ],
            )?;
            self.db
                .run(TRIM_ATTEMPTS, params![message.0, ATTEMPTS_KEPT as i64])?;
        }
        Ok(())
    }
}

fn save_session(db: &Db, row: &SessionRow) -> Result<(), StoreError> {
    if row.differs_in_counts_only() {
        return db.run(
            SAVE_SESSION_COUNTS,
            params![
                row.num,
                row.active_at.0,
                row.next_seq.0,
                row.head_seq.0,
                row.pending,
                row.dead,
                row.success_at.map(|at| at.0),
                row.consecutive_failures,
                row.usage.input_tokens,
                row.usage.output_tokens,
                row.usage.cost_usd,
            ],
        );
    }
    db.run(
        SAVE_SESSION,
        params![
            row.num,
            row.life.as_str(),
            row.close_depth.map(|depth| depth.as_str()),
            row.drain_until.map(|at| at.0),
            row.reopen,
            row.epoch.0,
            row.project,
            row.cwd,
            row.prompt,
            row.prompt_number,
            row.active_at.0,
            row.next_seq.0,
            row.head_seq.0,
            row.pending,
            row.dead,
            row.success_at.map(|at| at.0),
            row.consecutive_failures,
            row.last_error,
            row.failing,
            row.is_unfinished(),
            row.usage.input_tokens,
            row.usage.output_tokens,
            row.usage.cost_usd,
        ],
    )
}
