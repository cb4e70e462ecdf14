//! The wake-up between the dispatcher and a run: it carries no data and is never lost.
//!
//! The dispatcher counts up and notifies. A run notes the count *before* it looks into the store,
//! so whatever was stored before a later count is found by a later look. When a run has ended, the
//! dispatcher, the only one who counts up, compares the count with the one noted last, and starts
//! the run anew when they differ. There is no moment at which a wake-up falls between the two.

use super::sync::{AtomicU64, Notify, Ordering};

/// One run's wake-up.
#[derive(Debug, Default)]
pub(super) struct Wake {
    /// How often the run was woken. Never reset, so that it can be compared.
    count: AtomicU64,
    /// The count at the run's last look.
    seen: AtomicU64,
    /// Rings for a run that sleeps. A permit is kept for one that is about to.
    notify: Notify,
}

impl Wake {
    /// Wakes the run.
    pub(super) fn signal(&self) {
        self.count.fetch_add(1, Ordering::Release);
        self.notify.notify_one();
    }

    /// To be called before a look into the store; what it returns goes to [`Wake::changed`].
    pub(super) fn look(&self) -> u64 {
        let count = self.count.load(Ordering::Acquire);
        self.seen.store(count, Ordering::Release);
        count
    }

    /// Waits until the run was woken after the look that returned `seen`. Dropping the future
    /// loses nothing.
    pub(super) async fn changed(&self, seen: u64) {
        while self.count.load(Ordering::Acquire) == seen {
            // A permit left by an earlier signal makes this return at once; the loop looks again.
            self.notify.notified().await;
        }
    }

    /// Whether every signal was followed by a look.
    pub(super) fn has_seen_all(&self) -> bool {
        self.seen.load(Ordering::Acquire) == self.count.load(Ordering::Acquire)
    }
}
