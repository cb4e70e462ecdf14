//! How much is to be done and whether anything is in work: the present state, for a spinner.
//!
//! Looked at only while somebody reads, after something happened, and at most so often; the last
//! state is always told.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sessiond_queue::store::Store;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::Events;
use crate::errors::chain;

/// From one look to the next: as often as an eye follows.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A spinner's question, answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Messages pending or in work.
    pub depth: i64,
    /// Whether any is in work.
    pub is_processing: bool,
}

/// The present state, and those who read it.
#[derive(Debug, Default)]
pub(super) struct Board {
    /// `None` while nobody reads.
    shown: watch::Sender<Option<Standing>>,
    /// Rings when there is a reader.
    wanted: Notify,
}

impl Board {
    /// The state now, once it was looked at, and each other one.
    pub(super) fn subscribe(&self) -> watch::Receiver<Option<Standing>> {
        let mut states = self.shown.subscribe();
        states.mark_changed();
        self.wanted.notify_one();
        states
    }

    /// Keeps the state up to date while somebody reads, until `cancel`.
    pub(super) async fn run(
        &self,
        events: Events,
        store: Arc<dyn Store>,
        cancel: CancellationToken,
    ) {
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                () = self.wanted.notified() => {}
            }
            while self.shown.receiver_count() > 0 {
                let seen = events.newest().number;
                self.look(store.as_ref()).await;
                tokio::select! {
                    () = cancel.cancelled() => return,
                    () = tokio::time::sleep(LOOK_EVERY) => {}
                }
                tokio::select! {
                    () = cancel.cancelled() => return,
                    () = events.after(seen) => {}
                    () = self.wanted.notified() => {}
                }
            }
            // The next reader is not told what was true for this one.
            self.shown.send_replace(None);
        }
    }

    async fn look(&self, store: &dyn Store) {
        let depth = match store.stats().await {
            Ok(stats) => stats.depth,
            Err(error) => {
                tracing::debug!(error = chain(&error), "the queue's depth is not known");
                return;
            }
        };
        let standing = Standing {
            depth: depth.pending + depth.claimed,
            is_processing: depth.claimed > 0,
        };
        self.shown.send_if_modified(|shown| {
            let is_new = *shown != Some(standing);
            *shown = Some(standing);
            is_new
        });
    }
}
