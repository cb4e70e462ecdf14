//! Operations on one session: opening it, its metadata, drain, close and purge; and the generation.

use rusqlite::params;
use serde_json::{Map, Value};

use super::enqueue::insert_session;
use super::request::Operation;
use super::rows::{self, Columns};
use super::statements::{
    BEGIN_GENERATION, CLEAR_PROMPT, COUNT_PURGED, DELETE_SESSION, GET_METADATA, GET_SESSION,
    HAS_ROWS, PURGE_CHECKPOINT, PURGE_MESSAGES, PURGE_RESULTS, SET_METADATA,
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

impl Operation for BeginGeneration {
    type Answer = Generation;
    type Error = StoreError;

    fn run(&self, work: &mut Work) -> Result<Result<Generation, StoreError>, StoreError> {
        let values = params![self.instance, self.now.0];
        let begun = work.db.one(BEGIN_GENERATION, values, |row| {
            Columns::of(row).get().map(Generation)
        })?;
        Ok(Ok(begun))
    }
}

/// Gets or creates a session.
pub(super) struct Open {
    pub(super) open: OpenSession,
    pub(super) now: Timestamp,
}

impl Operation for Open {
    type Answer = Session;
    type Error = SessionError;

    fn run(&self, work: &mut Work) -> Result<Result<Session, SessionError>, StoreError> {
        let Self { open, now } = self;
        if let Err(error) = validate::open(open) {
            return Ok(Err(error));
        }
        let session = SessionRef::Key {
            agent: open.agent.clone(),
            key: open.key.clone(),
        };
        let known = work.find_session(&session)?;
        let mut metadata = match known {
            None => Map::new(),
            Some(num) => stored_metadata(work, num)?,
        };
        let metadata = match validate::merge_metadata(&mut metadata, &open.metadata) {
            Ok(text) => text,
            Err(invalid) => return Ok(Err(invalid.into())),
        };
        let num = match known {
            Some(num) => num,
            None => {
                let row = work.create_session(&open.agent, &open.key, *now);
                insert_session(work, &row, *now)?;
                row.num
            }
        };
        work.change_session(num, |row| {
            row.start();
            row.active_at = *now;
            row.refresh(open.cwd.as_ref(), open.project.as_ref());
        });
        store_metadata(work, num, metadata)?;
        Ok(Ok(stored_session(work, num)?))
    }
}

/// Merges a session's metadata.
pub(super) struct PatchMetadata {
    pub(super) session: SessionId,
    pub(super) patch: Map<String, Value>,
}

impl Operation for PatchMetadata {
    type Answer = Session;
    type Error = SessionError;

    fn run(&self, work: &mut Work) -> Result<Result<Session, SessionError>, StoreError> {
        let Some(num) = work.session_num(self.session)? else {
            return Ok(Err(SessionError::Unknown(self.session)));
        };
        let mut metadata = stored_metadata(work, num)?;
        let metadata = match validate::merge_metadata(&mut metadata, &self.patch) {
            Ok(text) => text,
            Err(invalid) => return Ok(Err(invalid.into())),
        };
        store_metadata(work, num, metadata)?;
        Ok(Ok(stored_session(work, num)?))
    }
}

/// Sets or clears why no generator is started.
pub(super) struct SetFailing {
    pub(super) session: SessionId,
    pub(super) reason: Option<String>,
}

impl Operation for SetFailing {
    type Answer = Session;
    type Error = SessionError;

    fn run(&self, work: &mut Work) -> Result<Result<Session, SessionError>, StoreError> {
        let failing = match validate::failing(self.reason.as_deref()) {
            Ok(failing) => failing,
            Err(error) => return Ok(Err(error)),
        };
        let Some(num) = work.session_num(self.session)? else {
            return Ok(Err(SessionError::Unknown(self.session)));
        };
        work.change_session(num, |row| row.failing = failing);
        Ok(Ok(stored_session(work, num)?))
    }
}

/// Asks for a drain.
pub(super) struct BeginDrain {
    pub(super) session: SessionId,
    pub(super) until: Timestamp,
}

impl Operation for BeginDrain {
    type Answer = ();
    type Error = SessionError;

    fn run(&self, work: &mut Work) -> Result<Result<(), SessionError>, StoreError> {
        let Some(num) = work.session_num(self.session)? else {
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

impl Operation for MarkClosing {
    type Answer = Marked;
    type Error = SessionError;

    fn run(&self, work: &mut Work) -> Result<Result<Marked, SessionError>, StoreError> {
        let Some(num) = work.session_num(self.session)? else {
            return Ok(Err(SessionError::Unknown(self.session)));
        };
        let (marked, forgets_prompt) = work.change_session(num, |row| {
            let was = row.close_depth;
            let marked = row.mark_closing(self.depth, self.only_if_draining);
            (marked, row.forget_prompt_if_purged(was))
        });
        if forgets_prompt {
            work.db.run(CLEAR_PROMPT, [num])?;
        }
        Ok(Ok(marked))
    }
}

/// Deletes what a session had before its present epoch.
pub(super) struct PurgeRows {
    pub(super) session: SessionId,
}

impl Operation for PurgeRows {
    type Answer = ();
    type Error = SessionError;

    fn run(&self, work: &mut Work) -> Result<Result<(), SessionError>, StoreError> {
        let Some(num) = work.session_num(self.session)? else {
            return Ok(Err(SessionError::Unknown(self.session)));
        };
        let row = work.held(num);
        if row.close_depth != Some(CloseDepth::Purge) {
            // Called again after the close was finished: there is nothing left to purge.
            return Ok(Ok(()));
        }
        let epoch = row.epoch.0;
        let counts = work.db.all(COUNT_PURGED, [num, epoch], |row| {
            let mut c = Columns::of(row);
            Ok((c.state()?, c.get::<i64>()?))
        })?;
        for (state, count) in counts {
            work.count(num, state, -count);
        }
        work.change_session(num, |row| {
            row.usage = Usage::default();
            row.failing = None;
        });
        work.db.run(PURGE_MESSAGES, [num, epoch])?;
        work.db.run(PURGE_RESULTS, [num, epoch])?;
        work.db.run(PURGE_CHECKPOINT, [num])?;
        Ok(Ok(()))
    }
}

/// Clears the closing mark.
pub(super) struct FinishClose {
    pub(super) session: SessionId,
}

impl Operation for FinishClose {
    type Answer = Closed;
    type Error = SessionError;

    fn run(&self, work: &mut Work) -> Result<Result<Closed, SessionError>, StoreError> {
        const GONE: Closed = Closed {
            life: None,
            pending: 0,
        };
        let Some(num) = work.session_num(self.session)? else {
            return Ok(Ok(GONE));
        };
        let row = work.held(num);
        let purged = row.close_depth == Some(CloseDepth::Purge) && !row.reopen;
        if purged && !has_rows(work, num)? {
            work.db.run(DELETE_SESSION, [num])?;
            work.sessions.forget(num);
            *work.counters.lives_mut(Life::Closing) -= 1;
            return Ok(Ok(GONE));
        }
        Ok(Ok(work.change_session(num, |row| row.finish_close())))
    }
}

fn has_rows(work: &Work, num: i64) -> Result<bool, StoreError> {
    work.db
        .one(HAS_ROWS, [num, num], |row| Columns::of(row).get())
}

fn stored_metadata(work: &Work, num: i64) -> Result<Map<String, Value>, StoreError> {
    work.db
        .one(GET_METADATA, [num], |row| Columns::of(row).json())
}

fn store_metadata(work: &Work, num: i64, text: String) -> Result<(), StoreError> {
    work.db.run(SET_METADATA, params![text, num])
}

/// The session as it will be committed.
fn stored_session(work: &mut Work, num: i64) -> Result<Session, StoreError> {
    work.store_changes()?;
    let id = work.held(num).id.0;
    work.db.one(GET_SESSION, [id], |row| rows::session(row))
}
