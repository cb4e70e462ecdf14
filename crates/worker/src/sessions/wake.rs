//! The wake-up between the dispatcher and a run: it carries no data and is never lost.
//!
//! The dispatcher counts up and notifies. A run reads the count *before* it looks into the store,
//! so whatever was stored before a later count is found by a later look. When a run ends it says
//! which count it had read last; the dispatcher, the only one who counts up, compares, and starts
//! the run anew when they differ. There is no moment at which a wake-up falls between the two.

use super::sync::{AtomicU64, Notify, Ordering};

/// One run's wake-up.
#[derive(Debug, Default)]
pub(super) struct Wake {
    /// How often the run was woken. Never reset, so that it can be compared.
    count: AtomicU64,
    /// Rings for a run that sleeps. A permit is kept for one that is about to.
    notify: Notify,
}

impl Wake {
    /// Wakes the run.
    pub(super) fn signal(&self) {
        self.count.fetch_add(1, Ordering::Release);
        self.notify.notify_one();
    }

    /// How often the run was woken so far.
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    /// Waits until the count differs from `seen`. Dropping the future loses nothing.
    pub(super) async fn changed(&self, seen: u64) {
        while self.count() == seen {
            // A permit left by an earlier signal makes this return at once; the loop looks again.
            self.notify.notified().await;
        }
    }
}
