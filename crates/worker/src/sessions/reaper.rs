//! The reaper: every deadline of every session, on one timer queue.
//!
//! It only nominates. Whether a nominated session is really idle, or its drain is really over, the
//! dispatcher decides when it hears of it, from the session's state at that moment. While nothing
//! is due it does not wake up.

use std::future::poll_fn;
use std::time::Duration;

use sessiond_queue::ids::SessionId;
use tokio_util::time::DelayQueue;
use tokio_util::time::delay_queue::Key;

/// Why a session is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nomination {
    /// It may have been idle for long enough to unload.
    Idle(SessionId),
    /// Its drain has taken as long as it may.
    DrainOver(SessionId),
    /// Its delayed head may be due, or its store may be of use again.
    Due(SessionId),
}

/// The timer queue.
#[derive(Debug, Default)]
pub(super) struct Reaper {
    queue: DelayQueue<Nomination>,
}

impl Reaper {
    /// Nominates after `delay`.
    pub(super) fn arm(&mut self, nomination: Nomination, delay: Duration) -> Key {
        // The timer wheel reaches a little over two years and panics beyond.
        const FARTHEST: Duration = Duration::from_secs(365 * 24 * 3600);
        self.queue.insert(nomination, delay.min(FARTHEST))
    }

    /// Takes a nomination back; `key` must not have fired.
    pub(super) fn disarm(&mut self, key: &Key) {
        self.queue.remove(key);
    }

    /// Waits for the next nomination; for ever while there is none. Cancel-safe.
    pub(super) async fn next(&mut self) -> Nomination {
        poll_fn(|cx| match self.queue.poll_expired(cx) {
            std::task::Poll::Ready(Some(expired)) => std::task::Poll::Ready(expired.into_inner()),
            // Empty: the next command may arm one, and polls again after that.
            std::task::Poll::Ready(None) | std::task::Poll::Pending => std::task::Poll::Pending,
        })
        .await
    }
}
