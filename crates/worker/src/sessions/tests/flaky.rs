//! A store whose answers can be made to fail or to wait, at the places a test names.

use async_trait::async_trait;
use sessiond_queue::MemoryStore;
use sessiond_queue::error::{EnqueueError, MessageError, SessionError, SettleError, StoreError};
use sessiond_queue::ids::{Generation, MessageId, SessionId, Timestamp};
use sessiond_queue::limits::Limits;
use sessiond_queue::store::Store;
use sessiond_queue::types::{
    Attempt, CancelledBacklog, Claimed, CloseDepth, Closed, Confirm, DayUsage, Enqueue, Marked,
    Message, MessageFilter, OpenSession, PurgedDead, Receipt, Redriven, Release, Released, Rescued,
    ResultFilter, Retained, Retention, Session, SessionFilter, Shrunk, Stats, StoreInfo,
    StoredResult, Unfinished, Usage, Verification,
};
use tokio::sync::watch;

/// The model store, with trouble where it is asked for.
pub(super) struct Flaky {
    pub(super) inner: MemoryStore,
    pub(super) release: Trouble,
    pub(super) session: Trouble,
    pub(super) mark_closing: Trouble,
    pub(super) release_session: Trouble,
    /// Of the answer: the claim itself is done.
    pub(super) claimed: Trouble,
}

/// What an operation meets.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Free,
    /// Fails once, then is free.
    Broken,
    Shut,
}

/// The trouble of one operation.
pub(super) struct Trouble(watch::Sender<Way>);

impl Trouble {
    fn none() -> Self {
        Self(watch::Sender::new(Way::Free))
    }

    /// The next one fails.
    pub(super) fn fail_once(&self) {
        self.0.send_replace(Way::Broken);
    }

    /// From now on they wait ...
    pub(super) fn shut(&self) {
        self.0.send_replace(Way::Shut);
    }

    /// ... until now.
    pub(super) fn open(&self) {
        self.0.send_replace(Way::Free);
    }

    async fn pass(&self) -> Result<(), StoreError> {
        let mut changes = self.0.subscribe();
        let way = changes.wait_for(|way| *way != Way::Shut).await;
        let is_broken = way.is_ok_and(|way| *way == Way::Broken);
        if is_broken {
            self.open();
            return Err(sqlx::Error::PoolTimedOut.into());
        }
        Ok(())
    }
}

impl Flaky {
    pub(super) fn new() -> Self {
        Self {
            inner: MemoryStore::new(Limits::default()),
            release: Trouble::none(),
            session: Trouble::none(),
            mark_closing: Trouble::none(),
            release_session: Trouble::none(),
            claimed: Trouble::none(),
        }
    }
}

#[async_trait]
impl Store for Flaky {
    async fn begin_generation(&self, i: &str, n: Timestamp) -> Result<Generation, StoreError> {
        self.inner.begin_generation(i, n).await
    }
    async fn enqueue(&self, e: Enqueue, n: Timestamp) -> Result<Receipt, EnqueueError> {
        self.inner.enqueue(e, n).await
    }
    async fn claim(
        &self,
        s: SessionId,
        o: Generation,
        n: Timestamp,
    ) -> Result<Claimed, StoreError> {
        let claimed = self.inner.claim(s, o, n).await;
        // It is done, and who asked for it may be gone before it is told.
        tokio::task::yield_now().await;
        self.claimed.pass().await?;
        claimed
    }
    async fn confirm(&self, c: Confirm, n: Timestamp) -> Result<(), SettleError> {
        self.inner.confirm(c, n).await
    }
    async fn release(&self, r: Release, n: Timestamp) -> Result<Released, SettleError> {
        self.release.pass().await?;
        self.inner.release(r, n).await
    }
    async fn release_session(
        &self,
        s: SessionId,
        r: &str,
        n: Timestamp,
    ) -> Result<u64, StoreError> {
        self.release_session.pass().await?;
        self.inner.release_session(s, r, n).await
    }
    async fn rescue(&self, o: Generation, n: Timestamp) -> Result<Rescued, StoreError> {
        self.inner.rescue(o, n).await
    }
    async fn cancel(&self, m: MessageId, n: Timestamp) -> Result<Message, MessageError> {
        self.inner.cancel(m, n).await
    }
    async fn cancel_session(
        &self,
        s: SessionId,
        n: Timestamp,
    ) -> Result<CancelledBacklog, StoreError> {
        self.inner.cancel_session(s, n).await
    }
    async fn redrive(&self, m: MessageId, n: Timestamp) -> Result<Redriven, MessageError> {
        self.inner.redrive(m, n).await
    }
    async fn redrive_all(
        &self,
        s: Option<SessionId>,
        n: Timestamp,
    ) -> Result<Vec<Redriven>, StoreError> {
        self.inner.redrive_all(s, n).await
    }
    async fn purge_message(&self, m: MessageId) -> Result<(), MessageError> {
        self.inner.purge_message(m).await
    }
    async fn purge_dead(&self, s: Option<SessionId>) -> Result<PurgedDead, StoreError> {
        self.inner.purge_dead(s).await
    }
    async fn retain(&self, p: Retention, n: Timestamp) -> Result<Retained, StoreError> {
        self.inner.retain(p, n).await
    }
    async fn shrink(&self) -> Result<Shrunk, StoreError> {
        self.inner.shrink().await
    }
    async fn fold_log(&self) -> Result<bool, StoreError> {
        self.inner.fold_log().await
    }
    async fn open_session(&self, o: OpenSession, n: Timestamp) -> Result<Session, SessionError> {
        self.inner.open_session(o, n).await
    }
    async fn patch_metadata(
        &self,
        s: SessionId,
        p: serde_json::Map<String, serde_json::Value>,
        n: Timestamp,
    ) -> Result<Session, SessionError> {
        self.inner.patch_metadata(s, p, n).await
    }
    async fn set_failing(
        &self,
        s: SessionId,
        r: Option<&str>,
        n: Timestamp,
    ) -> Result<Session, SessionError> {
        self.inner.set_failing(s, r, n).await
    }
    async fn begin_drain(
        &self,
        s: SessionId,
        u: Timestamp,
        n: Timestamp,
    ) -> Result<(), SessionError> {
        self.inner.begin_drain(s, u, n).await
    }
    async fn mark_closing(
        &self,
        s: SessionId,
        d: CloseDepth,
        o: bool,
        n: Timestamp,
    ) -> Result<Marked, SessionError> {
        let marked = self.inner.mark_closing(s, d, o, n).await;
        self.mark_closing.pass().await?;
        marked
    }
    async fn purge_rows(&self, s: SessionId, n: Timestamp) -> Result<(), SessionError> {
        self.inner.purge_rows(s, n).await
    }
    async fn finish_close(&self, s: SessionId, n: Timestamp) -> Result<Closed, SessionError> {
        self.inner.finish_close(s, n).await
    }
    async fn session(&self, s: SessionId) -> Result<Option<Session>, StoreError> {
        self.session.pass().await?;
        self.inner.session(s).await
    }
    async fn sessions_by_id(&self, s: &[SessionId]) -> Result<Vec<Session>, StoreError> {
        self.inner.sessions_by_id(s).await
    }
    async fn find_session(&self, a: &str, k: &str) -> Result<Option<Session>, StoreError> {
        self.inner.find_session(a, k).await
    }
    async fn sessions(&self, f: SessionFilter) -> Result<Vec<Session>, StoreError> {
        self.inner.sessions(f).await
    }
    async fn unfinished(&self) -> Result<Vec<Unfinished>, StoreError> {
        self.inner.unfinished().await
    }
    async fn due_at(&self, s: SessionId) -> Result<Option<Timestamp>, StoreError> {
        let due_at = self.inner.due_at(s).await;
        tokio::task::yield_now().await;
        due_at
    }
    async fn checkpoint(&self, s: SessionId) -> Result<Option<String>, StoreError> {
        self.inner.checkpoint(s).await
    }
    async fn message(&self, m: MessageId) -> Result<Option<Message>, StoreError> {
        self.inner.message(m).await
    }
    async fn messages(&self, f: MessageFilter) -> Result<Vec<Message>, StoreError> {
        self.inner.messages(f).await
    }
    async fn attempts(&self, m: MessageId) -> Result<Vec<Attempt>, StoreError> {
        self.inner.attempts(m).await
    }
    async fn results(&self, f: ResultFilter) -> Result<Vec<StoredResult>, StoreError> {
        self.inner.results(f).await
    }
    async fn usage_of_day(&self, d: i64) -> Result<Usage, StoreError> {
        self.inner.usage_of_day(d).await
    }
    async fn usage_days(&self, l: u32) -> Result<Vec<DayUsage>, StoreError> {
        self.inner.usage_days(l).await
    }
    async fn stats(&self) -> Result<Stats, StoreError> {
        self.inner.stats().await
    }
    async fn info(&self) -> Result<StoreInfo, StoreError> {
        self.inner.info().await
    }
    async fn verify(&self) -> Result<Verification, StoreError> {
        self.inner.verify().await
    }
    async fn close(&self) {
        self.inner.close().await
    }
}
