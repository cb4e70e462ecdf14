//! One transaction's worth of work: the writing connection, and what the writer holds in memory.
//!
//! Operations change counters and sessions here and messages through [`Work::step`]; the
//! changes of sessions and counters go out together, in one statement before the commit.

use std::sync::Arc;

use sqlx::SqliteConnection;
use tokio::sync::Notify;

use super::counters::Counters;
use super::rows;
use super::sessions::{SessionRow, Sessions};
use super::statements::{
    INSERT_ATTEMPTS, LOAD_COUNTERS, LOAD_MESSAGES, LOAD_SESSIONS_BY_ID, LOAD_SESSIONS_BY_KEY,
    LOAD_SESSIONS_BY_NUM, ROWS_MAX, SAVE_COUNTERS, SAVE_MESSAGES, SAVE_SESSIONS, Values,
};
use super::transition::{MessageRow, Step, is_backlog};
use crate::error::StoreError;
use crate::ids::{MessageId, SessionId, Timestamp};
use crate::limits::{ATTEMPTS_KEPT, Limits};
use crate::types::{Attempt, SessionRef, State};

/// The writer's connection and memory.
pub(super) struct Work {
    pub(super) conn: SqliteConnection,
    pub(super) limits: Limits,
    pub(super) counters: Counters,
    pub(super) sessions: Sessions,
    /// What steps have added to the history of messages that are not saved yet.
    history: Vec<(MessageId, Attempt)>,
    /// The counters as they are stored; `None` after a rollback.
    stored: Option<Counters>,
    /// Told of commits that may leave something to do to an upkeep.
    worked: Arc<Notify>,
    /// Messages that were stored and that were finished, at the last commit.
    told: (MessageId, i64),
}

impl Work {
    pub(super) fn new(conn: SqliteConnection, limits: Limits, worked: Arc<Notify>) -> Self {
        Self {
            conn,
            limits,
            counters: Counters::default(),
            sessions: Sessions::default(),
            history: Vec::new(),
            stored: None,
            worked,
            told: (MessageId::default(), 0),
        }
    }

    /// Begins the transaction of a batch.
    pub(super) async fn begin(&mut self) -> Result<(), StoreError> {
        sqlx::query("BEGIN IMMEDIATE")
            .execute(&mut self.conn)
            .await?;
        self.sessions.trim();
        if self.stored.is_none() {
            let row = LOAD_COUNTERS.query().fetch_one(&mut self.conn).await?;
            self.counters = Counters::read(&row)?;
            self.stored = Some(self.counters);
        }
        Ok(())
    }

    /// Commits what was handed to the engine.
    pub(super) async fn commit(&mut self) -> Result<(), StoreError> {
        sqlx::query("COMMIT").execute(&mut self.conn).await?;
        let now = (self.counters.last_message, self.counters.finished());
        if now != self.told {
            self.worked.notify_one();
        }
        self.told = now;
        Ok(())
    }

    /// Undoes the batch and forgets what it left in memory.
    pub(super) async fn rollback(&mut self) {
        self.sessions.clear();
        self.history.clear();
        self.stored = None;
        // SQLite has rolled back by itself after some errors (a full disk), and then refuses.
        if let Err(error) = sqlx::query("ROLLBACK").execute(&mut self.conn).await {
            tracing::debug!(%error, "nothing was left to roll back");
        }
    }

    /// Hands changed sessions and counters to the engine: before the commit, and for statements that
    /// read them.
    pub(super) async fn store_changes(&mut self) -> Result<(), StoreError> {
        let changed = self.sessions.changed();
        for chunk in changed.chunks(ROWS_MAX) {
            let mut values = Values::default();
            let size = values.rows(chunk, bind_session);
            self.counters.bind(&mut values);
            SAVE_SESSIONS
                .with_values(size, values)
                .execute(&mut self.conn)
                .await?;
        }
        if changed.is_empty() && self.stored != Some(self.counters) {
            let mut values = Values::default();
            self.counters.bind(&mut values);
            SAVE_COUNTERS
                .with_values(1, values)
                .execute(&mut self.conn)
                .await?;
        }
        self.sessions.set_stored(&changed);
        self.stored = Some(self.counters);
        Ok(())
    }

    /// Reads the sessions a batch names, as far as they are not held.
    pub(super) async fn load_sessions(
        &mut self,
        wanted: impl Iterator<Item = &SessionRef>,
    ) -> Result<(), StoreError> {
        let (mut ids, mut keys) = (Vec::new(), Vec::new());
        for session in wanted.filter(|session| self.sessions.num_of(session).is_none()) {
            match session {
                SessionRef::Id(id) => ids.push(*id),
                SessionRef::Key { agent, key } => keys.push((agent.as_str(), key.as_str())),
            }
        }
        self.load_sessions_by_id(&ids).await?;
        for chunk in keys.chunks(ROWS_MAX) {
            let query = LOAD_SESSIONS_BY_KEY.with_rows(chunk, |values, (agent, key)| {
                values.push(*agent).push(*key);
            });
            for row in query.fetch_all(&mut self.conn).await? {
                self.hold_if_new(rows::session_row(&row)?);
            }
        }
        Ok(())
    }

    async fn load_sessions_by_id(&mut self, ids: &[SessionId]) -> Result<(), StoreError> {
        for chunk in ids.chunks(ROWS_MAX) {
            let query = LOAD_SESSIONS_BY_ID.with_rows(chunk, |values, id| {
                values.push(id.0);
            });
            for row in query.fetch_all(&mut self.conn).await? {
                self.hold_if_new(rows::session_row(&row)?);
            }
        }
        Ok(())
    }

    /// The same session may be named by id and by key; what is held may have changed since.
    fn hold_if_new(&mut self, row: SessionRow) {
        if self.sessions.by_num(row.num).is_none() {
            self.sessions.hold(row);
        }
    }

    /// Reads the sessions of these messages, as far as they are not held.
    pub(super) async fn load_sessions_of(
        &mut self,
        messages: impl Iterator<Item = &MessageRow>,
    ) -> Result<(), StoreError> {
        let mut nums: Vec<i64> = messages
            .map(|message| message.session)
            .filter(|num| self.sessions.by_num(*num).is_none())
            .collect();
        nums.sort_unstable();
        nums.dedup();
        for chunk in nums.chunks(ROWS_MAX) {
            let query = LOAD_SESSIONS_BY_NUM.with_rows(chunk, |values, num| {
                values.push(*num);
            });
            for row in query.fetch_all(&mut self.conn).await? {
                self.sessions.hold(rows::session_row(&row)?);
            }
        }
        Ok(())
    }

    /// The number of a session's row, read if it is not held; `None`: there is no such session.
    pub(super) async fn session_num(&mut self, id: SessionId) -> Result<Option<i64>, StoreError> {
        if self.sessions.num_of_id(id).is_none() {
            self.load_sessions_by_id(&[id]).await?;
        }
        Ok(self.sessions.num_of_id(id))
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

    /// Reads messages by id.
    pub(super) async fn load_messages(
        &mut self,
        ids: &[MessageId],
    ) -> Result<Vec<MessageRow>, StoreError> {
        let mut found = Vec::with_capacity(ids.len());
        for chunk in ids.chunks(ROWS_MAX) {
            let query = LOAD_MESSAGES.with_rows(chunk, |values, id| {
                values.push(id.0);
            });
            for row in query.fetch_all(&mut self.conn).await? {
                found.push(rows::message_row(&mut rows::Columns::of(&row))?);
            }
        }
        Ok(found)
    }

    /// Moves a message of a held session, and counts it where it has moved to.
    pub(super) fn step(&mut self, message: &mut MessageRow, step: Step<'_>, now: Timestamp) {
        let was = message.state;
        let history = message.history_of(step, now);
        self.history
            .extend(history.map(|attempt| (message.id, attempt)));
        message.step(step, &self.limits, now);
        self.count(message.session, was, -1);
        self.count(message.session, message.state, 1);
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

    /// Stores messages that have moved, each once, and what that adds to their history.
    pub(super) async fn save_messages(
        &mut self,
        messages: &[MessageRow],
    ) -> Result<(), StoreError> {
        for chunk in messages.chunks(ROWS_MAX) {
            let query = SAVE_MESSAGES.with_rows(chunk, |values, m| {
                values
                    .push(m.id.0)
                    .push(m.seq.0)
                    .push(m.state.as_str())
                    .push(m.attempt)
                    .push(m.rescues)
                    .push(m.not_before.map(|at| at.0))
                    .push(m.finished_at.map(|at| at.0))
                    .push(m.claim.map(|(generation, _)| generation.0))
                    .push(m.claim.map(|(_, claim_seq)| claim_seq.0))
                    .push(m.last_error.as_deref());
            });
            query.execute(&mut self.conn).await?;
        }
        self.save_history().await
    }

    async fn save_history(&mut self) -> Result<(), StoreError> {
        let history = std::mem::take(&mut self.history);
        for chunk in history.chunks(ROWS_MAX) {
            let mut values = Values::default();
            let size = values.rows(chunk, |values, (message, attempt)| {
                values
                    .push(message.0)
                    .push(attempt.attempt)
                    .push(attempt.ended_at.0)
                    .push(attempt.outcome.as_str())
                    .push(attempt.reason.as_deref());
            });
            values.rows(chunk, |values, (message, _)| {
                values.push(message.0);
            });
            values.push(ATTEMPTS_KEPT as i64);
            let query = INSERT_ATTEMPTS.with_values(size, values);
            query.execute(&mut self.conn).await?;
        }
        Ok(())
    }
}

fn bind_session(values: &mut Values, row: &SessionRow) {
    values
        .push(row.num)
        .push(row.life.as_str())
        .push(row.close_depth.map(|depth| depth.as_str()))
        .push(row.drain_until.map(|at| at.0))
        .push(row.reopen)
        .push(row.epoch.0)
        .push(row.project.as_deref())
        .push(row.cwd.as_deref())
        .push(row.prompt.as_deref())
        .push(row.prompt_number)
        .push(row.active_at.0)
        .push(row.next_seq.0)
        .push(row.pending)
        .push(row.dead)
        .push(row.success_at.map(|at| at.0))
        .push(row.consecutive_failures)
        .push(row.last_error.as_deref())
        .push(row.failing.as_deref())
        .push(row.usage.input_tokens)
        .push(row.usage.output_tokens)
        .push(row.usage.cost_usd);
}
