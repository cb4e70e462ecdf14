//! Operations on one session: opening it, its metadata, drain, close and purge; and the generation.

use async_trait::async_trait;
use serde_json::{Map, Value};

use super::enqueue::insert_sessions;
use super::request::Operation;
use super::rows::{self, Columns};
use super::statements::{
    BEGIN_GENERATION, CLEAR_PROMPT, COUNT_PURGED, DELETE_SESSION, GET_METADATA, GET_SESSION,
    HAS_ROWS, PURGE, SET_METADATA,
};
use super::work::Work;
use crate::error::{SessionError, StoreError};
use crate::ids::{Generation, SessionId, Timestamp};
use crate::types::{CloseDepth, Closed, Life, Marked, OpenSession, Session, SessionRef, Usage};
use crate::validate;

/// Begins a generation.
pub(super) struct BeginGeneration {
    pub(super) instance: String,
    pub(super) now: Timestamp,
}

#[async_trait]
impl Operation for BeginGeneration {
    type Answer = Generation;
    type Error = StoreError;

    async fn run(&self, work: &mut Work) -> Result<Result<Generation, StoreError>, StoreError> {
        let row = BEGIN_GENERATION
            .query()
            .bind(self.instance.as_str())
            .bind(self.now.0)
            .fetch_one(&mut work.conn)
            .await?;
        Ok(Ok(Generation(Columns::of(&row).get()?)))
    }
}

/// Gets or creates a session.
pub(super) struct Open {
    pub(super) open: OpenSession,
    pub(super) now: Timestamp,
}

#[async_trait]
impl Operation for Open {
    type Answer = Session;
    type Error = SessionError;

    async fn run(&self, work: &mut Work) -> Result<Result<Session, SessionError>, StoreError> {
        let Self { open, now } = self;
        if let Err(error) = validate::open(open) {
            return Ok(Err(error));
        }
        let session = SessionRef::Key {
            agent: open.agent.clone(),
            key: open.key.clone(),
        };
        work.load_sessions([&session].into_iter()).await?;
        let known = work.sessions.num_of(&session);
        let mut metadata = match known {
            None => Map::new(),
            Some(num) => stored_metadata(work, num).await?,
        };
        let metadata = match validate::merge_metadata(&mut metadata, &open.metadata) {
            Ok(text) => text,
            Err(invalid) => return Ok(Err(invalid.into())),
        };
        let num = match known {
            Some(num) => num,
            None => {
                let row = work.create_session(&open.agent, &open.key, *now);
                let num = row.num;
                insert_sessions(work, &[(row, *now)]).await?;
                num
            }
        };
        work.change_session(num, |row| {
            row.start();
            row.active_at = *now;
            row.refresh(open.cwd.as_ref(), open.project.as_ref());
        });
        store_metadata(work, num, metadata).await?;
        Ok(Ok(stored_session(work, num).await?))
    }
}

/// Merges a session's metadata.
pub(super) struct PatchMetadata {
    pub(super) session: SessionId,
    pub(super) patch: Map<String, Value>,
}

#[async_trait]
impl Operation for PatchMetadata {
    type Answer = Session;
    type Error = SessionError;

    async fn run(&self, work: &mut Work) -> Result<Result<Session, SessionError>, StoreError> {
        let Some(num) = work.session_num(self.session).await? else {
            return Ok(Err(SessionError::Unknown(self.session)));
        };
        let mut metadata = stored_metadata(work, num).await?;
        let metadata = match validate::merge_metadata(&mut metadata, &self.patch) {
            Ok(text) => text,
            Err(invalid) => return Ok(Err(invalid.into())),
        };
        store_metadata(work, num, metadata).await?;
        Ok(Ok(stored_session(work, num).await?))
    }
}

/// Sets or clears why no generator is started.
pub(super) struct SetFailing {
    pub(super) session: SessionId,
    pub(super) reason: Option<String>,
}

#[async_trait]
impl Operation for SetFailing {
    type Answer = Session;
    type Error = SessionError;

    async fn run(&self, work: &mut Work) -> Result<Result<Session, SessionError>, StoreError> {
        let failing = match validate::failing(self.reason.as_deref()) {
            Ok(failing) => failing,
            Err(error) => return Ok(Err(error)),
        };
        let Some(num) = work.session_num(self.session).await? else {
            return Ok(Err(SessionError::Unknown(self.session)));
        };
        work.change_session(num, |row| row.failing = failing);
        Ok(Ok(stored_session(work, num).await?))
    }
}

/// Asks for a drain.
pub(super) struct BeginDrain {
    pub(super) session: SessionId,
    pub(super) until: Timestamp,
}

#[async_trait]
impl Operation for BeginDrain {
    type Answer = ();
    type Error = SessionError;

    async fn run(&self, work: &mut Work) -> Result<Result<(), SessionError>, StoreError> {
        let Some(num) = work.session_num(self.session).await? else {
            return Ok(Err(SessionError::Unknown(self.session)));
        };
        work.change_session(num, |row| row.drain(self.until));
        Ok(Ok(()))
    }
}

/// Marks a session as closing.
pub(super) struct MarkClosing {
    pub(super) session: SessionId,
    pub(super) depth: CloseDepth,
    pub(super) only_if_draining: bool,
}

#[async_trait]
impl Operation for MarkClosing {
    type Answer = Marked;
    type Error = SessionError;

    async fn run(&self, work: &mut Work) -> Result<Result<Marked, SessionError>, StoreError> {
        let Some(num) = work.session_num(self.session).await? else {
            return Ok(Err(SessionError::Unknown(self.session)));
        };
        let (marked, forgets_prompt) = work.change_session(num, |row| {
            let was = row.close_depth;
            let marked = row.mark_closing(self.depth, self.only_if_draining);
            (marked, row.forget_prompt_if_purged(was))
        });
        if forgets_prompt {
            let clear = CLEAR_PROMPT.query().bind(num);
            clear.execute(&mut work.conn).await?;
        }
        Ok(Ok(marked))
    }
}

/// Deletes what a session had before its present epoch.
pub(super) struct PurgeRows {
    pub(super) session: SessionId,
}

#[async_trait]
impl Operation for PurgeRows {
    type Answer = ();
    type Error = SessionError;

    async fn run(&self, work: &mut Work) -> Result<Result<(), SessionError>, StoreError> {
        let Some(num) = work.session_num(self.session).await? else {
            return Ok(Err(SessionError::Unknown(self.session)));
        };
        let Some(row) = work.sessions.by_num(num) else {
            return Ok(Err(SessionError::Unknown(self.session)));
        };
        if row.close_depth != Some(CloseDepth::Purge) {
            // Called again after the close was finished: there is nothing left to purge.
            return Ok(Ok(()));
        }
        let epoch = row.epoch.0;
        let counts = COUNT_PURGED.query().bind(num).bind(epoch);
        for row in counts.fetch_all(&mut work.conn).await? {
            let mut c = Columns::of(&row);
            let (state, count): (_, i64) = (c.state()?, c.get()?);
            work.count(num, state, -count);
        }
        work.change_session(num, |row| {
            row.usage = Usage::default();
            row.failing = None;
        });
        let purge = PURGE
            .query()
            .bind(num)
            .bind(epoch)
            .bind(num)
            .bind(epoch)
            .bind(num);
        purge.execute(&mut work.conn).await?;
        Ok(Ok(()))
    }
}

/// Clears the closing mark.
pub(super) struct FinishClose {
    pub(super) session: SessionId,
}

#[async_trait]
impl Operation for FinishClose {
    type Answer = Closed;
    type Error = SessionError;

    async fn run(&self, work: &mut Work) -> Result<Result<Closed, SessionError>, StoreError> {
        const GONE: Closed = Closed {
            life: None,
            pending: 0,
        };
        let Some(num) = work.session_num(self.session).await? else {
            return Ok(Ok(GONE));
        };
        let purged = work
            .sessions
            .by_num(num)
            .is_some_and(|row| row.close_depth == Some(CloseDepth::Purge) && !row.reopen);
        if purged && !has_rows(work, num).await? {
            DELETE_SESSION
                .query()
                .bind(num)
                .execute(&mut work.conn)
                .await?;
            work.sessions.forget(num);
            *work.counters.lives_mut(Life::Closing) -= 1;
            return Ok(Ok(GONE));
        }
        Ok(Ok(work.change_session(num, |row| row.finish_close())))
    }
}

async fn has_rows(work: &mut Work, num: i64) -> Result<bool, StoreError> {
    let query = HAS_ROWS.query().bind(num).bind(num);
    let row = query.fetch_one(&mut work.conn).await?;
    Columns::of(&row).get()
}

async fn stored_metadata(work: &mut Work, num: i64) -> Result<Map<String, Value>, StoreError> {
    let query = GET_METADATA.query().bind(num);
    let row = query.fetch_one(&mut work.conn).await?;
    Columns::of(&row).json()
}

async fn store_metadata(work: &mut Work, num: i64, text: String) -> Result<(), StoreError> {
    let query = SET_METADATA.query().bind(text).bind(num);
    query.execute(&mut work.conn).await?;
    Ok(())
}

/// The session as it will be committed.
async fn stored_session(work: &mut Work, num: i64) -> Result<Session, StoreError> {
    work.store_changes().await?;
    let id = work.sessions.by_num(num).map(|row| row.id.0);
    let row = GET_SESSION
        .query()
        .bind(id)
        .fetch_one(&mut work.conn)
        .await?;
    rows::session(&row)
}
