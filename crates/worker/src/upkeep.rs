//! Keeps the store in order: deletes finished messages that are over the retention policy.
//!
//! What is to be kept is the policy's business, how it is deleted the store's; here it is decided
//! when. A worker at rest is not woken for it: a round follows work, or the one message that becomes
//! too old next.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

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

/// What the last round that found something has deleted, and how rounds fare.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
                return Ok(retained.next_at);
            }
            let pause = (begun.elapsed() * PAUSE_TIMES).max(PAUSE_MIN);
            tokio::time::sleep(pause).await;
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

/// Until a moment that may never come.
async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
