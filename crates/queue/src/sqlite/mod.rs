//! The queue on SQLite: the handle that callers hold.
//!
//! Writes go as requests to the one thread that owns the writing connection (`writer`, `db`); reads go
//! to a small pool. In reading order: `connect` opens the file, `statements` holds the SQL, `thread`
//! starts the writer and sends it what is in `request` through the `inbox`, `writer` makes batches,
//! `work` is one transaction; `enqueue`, `settle`, `claim`, `backlog`, `delete`, `lifecycle` and
//! `shrink` are the operations, `sessions`, `counters` and `transition` the state they change; `rows`
//! and `read` are the way out.

mod backlog;
mod claim;
mod connect;
mod counters;
mod db;
mod delete;
mod enqueue;
mod inbox;
#[cfg(test)]
#[expect(
    clippy::duplicate_mod,
    reason = "the model checker runs `inbox` over its own primitives"
)]
mod inbox_model;
mod lifecycle;
#[cfg(test)]
mod plans;
mod read;
mod request;
mod rows;
mod schema;
mod sessions;
mod settle;
mod shrink;
mod statements;
mod thread;
mod transition;
mod work;
mod writer;

/// What `inbox` is made of; the model checker has its own.
mod sync {
    pub(super) use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
}

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Map, Value};
use sqlx::{Connection as _, SqlitePool};
use tokio::sync::Notify;

use self::request::{Call, NewEvent, Operation, Request, Settle, Take};
use self::thread::Writer;
use crate::error::{EnqueueError, MessageError, OpenError, SessionError, SettleError, StoreError};
use crate::ids::{Generation, MessageId, SessionId, Timestamp};
use crate::limits::Limits;
use crate::store::Store;
use crate::types::{
    Attempt, CancelledBacklog, Claimed, CloseDepth, Closed, Confirm, DayUsage, Enqueue, Marked,
    Message, MessageFilter, OpenSession, PurgedDead, Receipt, Redriven, Release, ReleaseWhy,
    Released, Rescued, ResultFilter, Retained, Retention, Session, SessionFilter, Shrunk, State,
    Stats, StoreInfo, StoredResult, Unfinished, Usage, Verification,
};

/// A durable queue in one SQLite file.
///
/// Must be opened and used within a tokio runtime. One process at a time may have it open for
/// writing; whoever opens it sees to that (the worker's instance lock does).
pub struct SqliteStore {
    path: PathBuf,
    pragmas: Vec<(String, String)>,
    readers: SqlitePool,
    /// For [`Store::verify`]; those of a store that is only read are its readers.
    checkers: SqlitePool,
    /// `None` in a store that is only read.
    writer: Option<Writer>,
    worked: Arc<Notify>,
}

impl SqliteStore {
    /// Opens a queue for reading and writing. The file is created if it is not there (its directory
    /// must be), made private to its owner (0600) and migrated to the present schema; before that, a
    /// file of an older schema is copied to `{name}.v{schema}-{ms}.bak`, of which three are kept.
    pub async fn open(path: impl AsRef<Path>, limits: Limits) -> Result<Self, OpenError> {
        let path = path.as_ref();
        let (conn, auto_vacuum) = connect::make_ready(path, &limits).await?;
        let worked = Arc::new(Notify::new());
        let started = Writer::start(path, limits, Arc::clone(&worked)).await;
        if let Err(error) = conn.close().await {
            tracing::warn!(%error, path = %path.display(), "a connection did not close cleanly");
        }
        let (writer, mut pragmas) = started?;
        pragmas.push(("auto_vacuum".to_owned(), auto_vacuum));
        Ok(Self {
            path: path.to_owned(),
            pragmas,
            readers: connect::readers(path, &limits),
            checkers: connect::checkers(path, &limits),
            writer: Some(writer),
            worked,
        })
    }

    /// Like [`SqliteStore::open`]; but a file that is damaged is set aside, with its log, as
    /// `{name}.damaged-{now}`, and a new one is begun. Also returns where the old one is.
    pub async fn open_or_set_aside(
        path: impl AsRef<Path>,
        limits: Limits,
        now: Timestamp,
    ) -> Result<(Self, Option<PathBuf>), OpenError> {
        let path = path.as_ref();
        match Self::open(path, limits).await {
            Err(OpenError::Damaged { source, .. }) => {
                let aside = schema::set_aside(path, now)?;
                tracing::error!(
                    error = &source as &dyn std::error::Error,
                    path = %path.display(),
                    aside = %aside.display(),
                    "the database is damaged; a new one is begun"
                );
                begin_after_all_others(path, &limits, now).await?;
                Ok((Self::open(path, limits).await?, Some(aside)))
            }
            opened => Ok((opened?, None)),
        }
    }

    /// Opens a queue for reading only, for example beside a running worker; every write answers
    /// [`StoreError::ReadOnly`]. The file must be there, with the present schema.
    pub async fn open_read_only(path: impl AsRef<Path>, limits: Limits) -> Result<Self, OpenError> {
        let path = path.as_ref();
        let pragmas = connect::check_reader(path, &limits).await?;
        let readers = connect::readers(path, &limits);
        Ok(Self {
            path: path.to_owned(),
            pragmas,
            checkers: readers.clone(),
            readers,
            writer: None,
            worked: Arc::default(),
        })
    }

    /// Notified after commits that store, finish or delete messages, for whoever keeps the store in
    /// order: only then can there be something to do that was not there before. For one waiter.
    pub fn worked(&self) -> Arc<Notify> {
        Arc::clone(&self.worked)
    }

    /// Completes when the writer has ended without being told to, by a panic: every write answers
    /// [`StoreError::Closed`] from then on, what was answered before is on disk, and the store is to
    /// be closed and opened again. Never completes for a store that was closed, or dropped, or is
    /// only read.
    pub fn writer_failed(&self) -> impl Future<Output = ()> + Send + use<> {
        let obeyed = self.writer.as_ref().map(|writer| writer.obeyed.clone());
        async move {
            let has_failed = match obeyed {
                Some(mut obeyed) => obeyed.wait_for(|obeyed| *obeyed).await.is_err(),
                None => false,
            };
            if !has_failed {
                std::future::pending().await
            }
        }
    }

    /// Sends a request to the writer and waits for its answer.
    async fn ask<Q, T, E: From<StoreError>>(
        &self,
        question: Q,
        request: impl FnOnce(Call<Q, T, E>) -> Request,
    ) -> Result<T, E> {
        match &self.writer {
            Some(writer) => writer.ask(question, request).await,
            None => Err(self.refusal().into()),
        }
    }

    async fn run<O: Operation>(&self, operation: O) -> Result<O::Answer, O::Error> {
        self.ask(operation, |call| Request::Single(Box::new(call)))
            .await
    }

    fn refusal(&self) -> StoreError {
        if self.readers.is_closed() {
            StoreError::Closed
        } else {
            StoreError::ReadOnly
        }
    }

    /// The pool, while the store is open.
    fn readers(&self) -> Result<&SqlitePool, StoreError> {
        if self.readers.is_closed() {
            return Err(StoreError::Closed);
        }
        Ok(&self.readers)
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn begin_generation(
        &self,
        instance: &str,
        now: Timestamp,
    ) -> Result<Generation, StoreError> {
        let instance = instance.to_owned();
        self.run(lifecycle::BeginGeneration { instance, now }).await
    }

    async fn enqueue(&self, event: Enqueue, now: Timestamp) -> Result<Receipt, EnqueueError> {
        self.ask(NewEvent { event, now }, Request::Enqueue).await
    }

    async fn claim(
        &self,
        session: SessionId,
        owner: Generation,
        now: Timestamp,
    ) -> Result<Claimed, StoreError> {
        let take = Take {
            session,
            owner,
            now,
        };
        self.ask(take, Request::Claim).await
    }

    async fn confirm(&self, confirm: Confirm, now: Timestamp) -> Result<(), SettleError> {
        self.ask(Settle::Confirm(confirm, now), Request::Settle)
            .await
            .map(drop)
    }

    async fn release(&self, release: Release, now: Timestamp) -> Result<Released, SettleError> {
        if let ReleaseWhy::GiveBack { reason, .. } = &release.why {
            tracing::debug!(
                message.id = release.message.0,
                reason,
                "give back an attempt"
            );
        }
        match self
            .ask(Settle::Release(release, now), Request::Settle)
            .await?
        {
            State::Dead => Ok(Released::Dead),
            _ => Ok(Released::Pending),
        }
    }

    async fn release_session(
        &self,
        session: SessionId,
        reason: &str,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        tracing::debug!(session.id = %session, reason, "give back what the session holds");
        let reason = reason.to_owned();
        let release = backlog::ReleaseSession {
            session,
            reason,
            now,
        };
        self.run(release).await
    }

    async fn rescue(&self, owner: Generation, now: Timestamp) -> Result<Rescued, StoreError> {
        self.run(backlog::Rescue { owner, now }).await
    }

    async fn cancel(&self, message: MessageId, now: Timestamp) -> Result<Message, MessageError> {
        self.run(backlog::Cancel { message, now }).await
    }

    async fn cancel_session(
        &self,
        session: SessionId,
        now: Timestamp,
    ) -> Result<CancelledBacklog, StoreError> {
        self.run(backlog::CancelSession { session, now }).await
    }

    async fn redrive(&self, message: MessageId, now: Timestamp) -> Result<Redriven, MessageError> {
        self.run(backlog::Redrive { message, now }).await
    }

    async fn redrive_all(
        &self,
        session: Option<SessionId>,
        now: Timestamp,
    ) -> Result<Vec<Redriven>, StoreError> {
        self.run(backlog::RedriveAll { session, now }).await
    }

    async fn purge_message(&self, message: MessageId) -> Result<(), MessageError> {
        self.run(delete::PurgeMessage { message }).await
    }

    async fn purge_dead(&self, session: Option<SessionId>) -> Result<PurgedDead, StoreError> {
        self.run(delete::PurgeDead { session }).await
    }

    async fn retain(&self, policy: Retention, now: Timestamp) -> Result<Retained, StoreError> {
        self.run(delete::Retain { policy, now }).await
    }

    async fn shrink(&self) -> Result<Shrunk, StoreError> {
        self.run(shrink::Shrink).await
    }

    async fn fold_log(&self) -> Result<bool, StoreError> {
        self.ask((), Request::FoldLog).await
    }

    async fn open_session(
        &self,
        open: OpenSession,
        now: Timestamp,
    ) -> Result<Session, SessionError> {
        self.run(lifecycle::Open { open, now }).await
    }

    async fn patch_metadata(
        &self,
        session: SessionId,
        patch: Map<String, Value>,
        _now: Timestamp,
    ) -> Result<Session, SessionError> {
        self.run(lifecycle::PatchMetadata { session, patch }).await
    }

    async fn set_failing(
        &self,
        session: SessionId,
        reason: Option<&str>,
        _now: Timestamp,
    ) -> Result<Session, SessionError> {
        let reason = reason.map(str::to_owned);
        self.run(lifecycle::SetFailing { session, reason }).await
    }

    async fn begin_drain(
        &self,
        session: SessionId,
        until: Timestamp,
        _now: Timestamp,
    ) -> Result<(), SessionError> {
        self.run(lifecycle::BeginDrain { session, until }).await
    }

    async fn mark_closing(
        &self,
        session: SessionId,
        depth: CloseDepth,
        only_if_draining: bool,
        _now: Timestamp,
    ) -> Result<Marked, SessionError> {
        let mark = lifecycle::MarkClosing {
            session,
            depth,
            only_if_draining,
        };
        self.run(mark).await
    }

    async fn purge_rows(&self, session: SessionId, _now: Timestamp) -> Result<(), SessionError> {
        self.run(lifecycle::PurgeRows { session }).await
    }

    async fn finish_close(
        &self,
        session: SessionId,
        _now: Timestamp,
    ) -> Result<Closed, SessionError> {
        self.run(lifecycle::FinishClose { session }).await
    }

    async fn session(&self, session: SessionId) -> Result<Option<Session>, StoreError> {
        read::session(self.readers()?, session).await
    }

    async fn sessions_by_id(&self, sessions: &[SessionId]) -> Result<Vec<Session>, StoreError> {
        read::sessions_by_id(self.readers()?, sessions).await
    }

    async fn find_session(&self, agent: &str, key: &str) -> Result<Option<Session>, StoreError> {
        read::find_session(self.readers()?, agent, key).await
    }

    async fn sessions(&self, filter: SessionFilter) -> Result<Vec<Session>, StoreError> {
        read::sessions(self.readers()?, filter).await
    }

    async fn unfinished(&self) -> Result<Vec<Unfinished>, StoreError> {
        read::unfinished(self.readers()?).await
    }

    async fn due_at(&self, session: SessionId) -> Result<Option<Timestamp>, StoreError> {
        read::due_at(self.readers()?, session).await
    }

    async fn checkpoint(&self, session: SessionId) -> Result<Option<String>, StoreError> {
        read::checkpoint(self.readers()?, session).await
    }

    async fn message(&self, message: MessageId) -> Result<Option<Message>, StoreError> {
        read::message(self.readers()?, message).await
    }

    async fn messages(&self, filter: MessageFilter) -> Result<Vec<Message>, StoreError> {
        read::messages(self.readers()?, filter).await
    }

    async fn attempts(&self, message: MessageId) -> Result<Vec<Attempt>, StoreError> {
        read::attempts(self.readers()?, message).await
    }

    async fn results(&self, filter: ResultFilter) -> Result<Vec<StoredResult>, StoreError> {
        read::results(self.readers()?, filter).await
    }

    async fn usage_of_day(&self, day: i64) -> Result<Usage, StoreError> {
        read::usage_of_day(self.readers()?, day).await
    }

    async fn usage_days(&self, limit: u32) -> Result<Vec<DayUsage>, StoreError> {
        read::usage_days(self.readers()?, limit).await
    }

    async fn stats(&self) -> Result<Stats, StoreError> {
        read::stats(self.readers()?).await
    }

    async fn info(&self) -> Result<StoreInfo, StoreError> {
        let engine_version = read::engine_version(self.readers()?).await?;
        let mut wal = self.path.clone().into_os_string();
        wal.push("-wal");
        Ok(StoreInfo {
            engine: "sqlite".to_owned(),
            size_bytes: file_bytes(&self.path),
            wal_bytes: file_bytes(Path::new(&wal)),
            path: Some(self.path.clone()),
            schema_version: connect::schema_version(),
            engine_version,
            pragmas: self.pragmas.clone(),
            damaged: schema::damaged(&self.path),
        })
    }

    async fn verify(&self) -> Result<Verification, StoreError> {
        self.readers()?;
        let checks_rows = self.writer.is_some();
        read::verify(&self.checkers, checks_rows).await
    }

    async fn close(&self) {
        let readers = async {
            self.readers.close().await;
            self.checkers.close().await;
        };
        let Some(writer) = &self.writer else {
            return readers.await;
        };
        let closed = writer.close(readers).await;
        if let Err(error) = closed {
            tracing::warn!(%error, path = %self.path.display(), "the database did not close cleanly");
        }
    }
}

/// Makes a new file in the place of one that cannot be read. Its generations go on from the time in
/// seconds: the last one of the old file is not known, and none may ever come again.
async fn begin_after_all_others(
    path: &Path,
    limits: &Limits,
    now: Timestamp,
) -> Result<(), OpenError> {
    let (mut conn, _) = connect::make_ready(path, limits).await?;
    let skip = statements::SKIP_GENERATIONS.query().bind(now.0 / 1000);
    let skipped = skip.execute(&mut conn).await;
    skipped.map_err(|error| connect::open_error(path, error))?;
    conn.close()
        .await
        .map_err(|error| connect::open_error(path, error))
}

/// Bytes of a file, 0 when it is not there: the log is not, after a clean close.
fn file_bytes(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len())
}
