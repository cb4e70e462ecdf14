//! Keeps the store in order: deletes finished messages that are over the retention policy, and lets
//! the file shrink after that and after bursts.
//!
//! What is to be kept is the policy's business, how it is deleted the store's; here it is decided
//! when. A worker at rest is not woken for it: a round follows work, or the one message that becomes
//! too old next.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use serde::{Deserialize, Serialize};
use sessiond_queue::error::StoreError;
use sessiond_queue::ids::Timestamp;
use sessiond_queue::store::Store;
use sessiond_queue::types::Retention;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::errors::chain;

/// From one round to the next, in a worker. What is over the policy lies there so much longer, which nobody
/// notices of days; and a burst costs a round or two, not one for each message.
pub const ROUND_EVERY: Duration = Duration::from_secs(600);

/// The pause after a batch, in times the batch has taken: the writer's time is four fifths others'.
const PAUSE_TIMES: u32 = 4;

/// The shortest pause: what is sent while a batch is written gets its turn in any case.
const PAUSE_MIN: Duration = Duration::from_millis(10);

/// A burst is over when nothing has happened for so long. Its log is left until then: what comes
/// next would only make it grow again.
pub const QUIET: Duration = Duration::from_secs(30);

/// A log up to this size is left alone: the store itself folds it at 32 MiB and a batch, and
/// what is stored after it was cut takes twice as long, since each commit makes it grow.
const LOG_KEPT_BYTES: u64 = 40 << 20;

/// What the last round that found something has deleted, and how rounds fare.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct UpkeepStatus {
    /// When that round ended; `null`: none has found anything since the start.
    pub at: Option<Timestamp>,
    /// Done and cancelled messages it has deleted.
    pub done: u64,
    /// Dead messages it has deleted.
    pub dead: u64,
    /// Why the very last round failed.
    pub last_error: Option<String>,
}

/// The handle of the upkeep.
#[derive(Clone, Debug)]
pub struct Upkeep {
    status: Arc<Mutex<UpkeepStatus>>,
}

/// What an upkeep works with.
pub struct Parts {
    /// The store it keeps in order.
    pub store: Arc<dyn Store>,
    /// Notified when the store has worked.
    pub worked: Arc<Notify>,
    /// What is kept.
    pub policy: Retention,
    /// From one round to the next.
    pub every: Duration,
    /// How long nothing must have happened before the log is folded.
    pub quiet: Duration,
    /// Ends it.
    pub cancel: CancellationToken,
}

impl Upkeep {
    /// The handle, and the task to be run, which begins with a round. It holds the store; join it
    /// before closing that.
    pub fn new(parts: Parts) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let status = Arc::default();
        let task = Task {
            parts,
            status: Arc::clone(&status),
        };
        (Self { status }, task.run())
    }

    /// How it fares, for the doctor.
    pub fn status(&self) -> UpkeepStatus {
        self.status
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

struct Task {
    parts: Parts,
    status: Arc<Mutex<UpkeepStatus>>,
}

impl Task {
    async fn run(self) {
        let cancel = self.parts.cancel.clone();
        loop {
            let round = tokio::select! {
                () = cancel.cancelled() => return,
                round = self.round() => round,
            };
            let earliest = Instant::now() + self.parts.every;
            let next_at = self.note(round);
            let due = next_at.map(|at| Instant::now() + at.since(Clock.now()));
            tokio::select! {
                () = cancel.cancelled() => return,
                () = self.parts.worked.notified() => {}
                () = sleep_until(due) => {}
            }
            tokio::select! {
                () = cancel.cancelled() => return,
                () = self.fold_when_quiet(earliest) => {}
            }
            tokio::select! {
                () = cancel.cancelled() => return,
                () = tokio::time::sleep_until(earliest) => {}
            }
        }
    }

    /// Deletes all that is over the policy, a batch at a time; when the next message will be.
    async fn round(&self) -> Result<Option<Timestamp>, StoreError> {
        let (mut done, mut dead) = (0, 0);
        loop {
            let begun = Instant::now();
            let retained = self
                .parts
                .store
                .retain(self.parts.policy, Clock.now())
                .await?;
            done += retained.done + retained.cancelled;
            dead += retained.dead;
            if done + dead > 0 {
                let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
                status.at = Some(Clock.now());
                (status.done, status.dead) = (done, dead);
            }
            if !retained.more {
                if done + dead > 0 {
                    tracing::info!(done, dead, "messages deleted that were kept long enough");
                }
                self.shrink().await?;
                return Ok(retained.next_at);
            }
            pause_after(begun).await;
        }
    }

    /// Folds the log once nothing has happened for a while, or when it is time for the next round.
    async fn fold_when_quiet(&self, latest: Instant) {
        // Looked at once a period, so that a burst costs nothing here.
        loop {
            tokio::time::sleep(self.parts.quiet).await;
            let has_worked = self.parts.worked.notified().now_or_never().is_some();
            if !has_worked || Instant::now() >= latest {
                break;
            }
        }
        if let Err(error) = self.fold().await {
            tracing::warn!(
                error = chain(&error),
                "the store's log stays as large as it is"
            );
        }
    }

    async fn fold(&self) -> Result<(), StoreError> {
        let store = &self.parts.store;
        let before = store.info().await?.wal_bytes;
        // Whoever reads just now goes on; the next quiet moment is as good.
        if before > LOG_KEPT_BYTES && store.fold_log().await? {
            tracing::debug!(before, "the store's log is folded");
        }
        Ok(())
    }

    /// Gives back what deletions have left, a step at a time.
    async fn shrink(&self) -> Result<(), StoreError> {
        loop {
            let begun = Instant::now();
            if !self.parts.store.shrink().await?.more {
                return Ok(());
            }
            pause_after(begun).await;
        }
    }

    /// Keeps how a round went. One that failed is repeated after the next work, like any other.
    fn note(&self, round: Result<Option<Timestamp>, StoreError>) -> Option<Timestamp> {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        match round {
            Ok(next_at) => {
                status.last_error = None;
                next_at
            }
            Err(error) => {
                let error = chain(&error);
                tracing::warn!(error, "messages that were kept long enough stay");
                status.last_error = Some(error);
                None
            }
        }
    }
}

/// Leaves the writer to others after a batch of ours.
async fn pause_after(begun: Instant) {
    tokio::time::sleep((begun.elapsed() * PAUSE_TIMES).max(PAUSE_MIN)).await;
}

/// Until a moment that may never come.
async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
