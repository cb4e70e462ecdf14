//! The task that keeps the index up with the results.
//!
//! Wake-ups carry no data: a woken indexer reads what stands behind the watermark. Requests go
//! through the same task, so that a removal is never overtaken by a batch read before it.

use std::collections::HashMap;
use std::collections::hash_map::Entry::{Occupied, Vacant};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sessiond_queue::ids::{ResultId, SessionId};
use sessiond_queue::store::Store;
use sessiond_queue::types::{ResultFilter, Session, StoredResult};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::write::Entry;
use super::{SearchError, SearchIndex, newest_result};

/// Results of one transaction: short enough that a request does not wait long behind it.
const BATCH_MAX: u32 = 256;

/// Requests that wait at most; their senders wait beyond that.
const REQUESTS_MAX: usize = 16;

/// After a failure the indexer tries again by itself, later each time.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(60);

/// The handle of the indexing task. Clones share it.
#[derive(Clone, Debug)]
pub struct Indexer {
    requests: mpsc::Sender<Request>,
    wake: Arc<Notify>,
    status: Arc<Mutex<IndexerStatus>>,
}

/// How the indexer is doing, for the doctor.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct IndexerStatus {
    /// Rounds that failed since the last one that did not.
    pub consecutive_failures: u32,
    /// Why the last failed round failed.
    pub last_error: Option<String>,
}

#[derive(Debug)]
enum Request {
    Remove(SessionId, oneshot::Sender<Result<(), SearchError>>),
    Rebuild(oneshot::Sender<Result<(), SearchError>>),
}

impl Indexer {
    /// Starts the task: it catches up at once, then whenever it is woken, until `cancel`. The
    /// task holds the store; join it before closing that.
    pub fn start(
        index: SearchIndex,
        store: Arc<dyn Store>,
        cancel: CancellationToken,
    ) -> (Self, JoinHandle<()>) {
        let (requests, incoming) = mpsc::channel(REQUESTS_MAX);
        let indexer = Self {
            requests,
            wake: Arc::default(),
            status: Arc::default(),
        };
        let task = Task {
            index,
            store,
            cancel,
            incoming,
            wake: Arc::clone(&indexer.wake),
            status: Arc::clone(&indexer.status),
        };
        (indexer, tokio::spawn(task.run()))
    }

    /// Says that there are new results. Never blocks; wakes that come together are one.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// Takes a purged session out of the index, durably. To be called after the session's rows are
    /// deleted, and before its purge counts as finished: repeating it does no harm.
    pub async fn remove_session(&self, session: SessionId) -> Result<(), SearchError> {
        self.request(|reply| Request::Remove(session, reply)).await
    }

    /// Empties the index; it fills again from the first result on. Returns once it is empty.
    pub async fn rebuild(&self) -> Result<(), SearchError> {
        self.request(Request::Rebuild).await
    }

    /// How the indexer is doing.
    pub fn status(&self) -> IndexerStatus {
        self.status
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    async fn request(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<(), SearchError>>) -> Request,
    ) -> Result<(), SearchError> {
        let (reply, answer) = oneshot::channel();
        self.requests
            .send(request(reply))
            .await
            .map_err(|_| SearchError::Closed)?;
        answer.await.map_err(|_| SearchError::Closed)?
    }
}

struct Task {
    index: SearchIndex,
    store: Arc<dyn Store>,
    cancel: CancellationToken,
    incoming: mpsc::Receiver<Request>,
    wake: Arc<Notify>,
    status: Arc<Mutex<IndexerStatus>>,
}

impl Task {
    async fn run(mut self) {
        // Whether the index was made from this store is asked once, before anything is added.
        let mut is_checked = false;
        let mut retry: Option<Duration> = None;
        // There may be results from before the start.
        let mut has_work = true;
        loop {
            if has_work {
                let round = self.round(&mut is_checked).await;
                retry = self.note(round, retry);
            }
            let request = tokio::select! {
                biased;
                () = self.cancel.cancelled() => return,
                Some(request) = self.incoming.recv() => Some(request),
                () = self.wake.notified() => None,
                () = tokio::time::sleep(retry.unwrap_or_default()), if retry.is_some() => None,
            };
            has_work = match request {
                Some(request) => self.answer(request).await,
                None => true,
            };
        }
    }

    /// One request; whether there may be results to index now.
    async fn answer(&self, request: Request) -> bool {
        let (reply, outcome, has_work) = match request {
            Request::Remove(session, reply) => (reply, self.index.remove(session).await, false),
            Request::Rebuild(reply) => (reply, self.index.clear().await, true),
        };
        // The asker may have gone; the request was carried out all the same.
        drop(reply.send(outcome));
        has_work
    }

    /// Catches up, a batch at a time; requests are answered between batches.
    async fn round(&mut self, is_checked: &mut bool) -> Result<(), SearchError> {
        if !*is_checked {
            if !self.is_of_this_store().await? {
                tracing::warn!("the search index belongs to other results; it is built again");
                self.index.clear().await?;
            }
            *is_checked = true;
        }
        while !self.cancel.is_cancelled() && self.batch().await? {
            while let Ok(request) = self.incoming.try_recv() {
                self.answer(request).await;
            }
        }
        Ok(())
    }

    /// Indexes the next results; whether there were any, and so may be more.
    async fn batch(&self) -> Result<bool, SearchError> {
        let after = self.index.watermark().await?;
        let results = self
            .store
            .results(ResultFilter {
                after: Some(after),
                limit: BATCH_MAX,
                ..ResultFilter::default()
            })
            .await?;
        let Some(last) = results.last().map(|result| result.id) else {
            return Ok(false);
        };
        let mut sessions: HashMap<SessionId, Option<Session>> = HashMap::new();
        let mut entries = Vec::with_capacity(results.len());
        for result in results {
            let session = match sessions.entry(result.session) {
                Vacant(unread) => unread.insert(self.store.session(result.session).await?),
                Occupied(read) => read.into_mut(),
            };
            // A session that is gone meanwhile was purged, and its results with it.
            if let Some(session) = session {
                entries.push(Entry::new(result, session));
            }
        }
        self.index.add(&entries, last).await?;
        Ok(true)
    }

    /// Whether the index can have been made from this store's results: not when the store has
    /// fewer than were indexed, or another result in the place of the newest one indexed.
    async fn is_of_this_store(&self) -> Result<bool, SearchError> {
        let watermark = self.index.watermark().await?;
        let newest = newest_result(&*self.store).await?;
        // A purge takes the newest results away, but not out of the count of all there were.
        if watermark > newest && watermark.0 > self.store.stats().await?.results {
            return Ok(false);
        }
        let Some((id, session)) = self.index.newest_entry().await? else {
            return Ok(true);
        };
        let same_place = self
            .store
            .results(ResultFilter {
                after: Some(ResultId(id.0 - 1)),
                limit: 1,
                ..ResultFilter::default()
            })
            .await?;
        let mismatch =
            |result: &StoredResult| result.id == id && result.session.to_string() != session;
        Ok(!same_place.first().is_some_and(mismatch))
    }

    /// Keeps the outcome of a round for the doctor; how long to wait before the next try, if one
    /// is needed.
    fn note(&self, round: Result<(), SearchError>, waited: Option<Duration>) -> Option<Duration> {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        let Err(error) = round else {
            *status = IndexerStatus::default();
            return None;
        };
        let chain = match std::error::Error::source(&error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        };
        status.consecutive_failures = status.consecutive_failures.saturating_add(1);
        tracing::warn!(
            error = %chain,
            failures = status.consecutive_failures,
            "the search index could not be brought up to date"
        );
        status.last_error = Some(chain);
        Some(waited.map_or(RETRY_MIN, |waited| (waited * 2).min(RETRY_MAX)))
    }
}
