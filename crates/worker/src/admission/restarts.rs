//! How often a session's generator failed to start lately.
//!
//! Counts only; what follows from it (a backoff, a failing session) is for whoever starts it.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// The failed starts of one session's generator that still count. A pointer's size: ten thousand
/// idle sessions have none.
#[derive(Clone, Debug, Default)]
pub struct Restarts(Option<Box<Failed>>);

#[derive(Clone, Debug, Default)]
struct Failed {
    /// When they failed, oldest first.
    at: VecDeque<Instant>,
    /// Why the last of them failed.
    reason: String,
}

/// What follows from a failed start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It may be started again, after a backoff.
    Again {
        /// How many starts failed within the window, this one included.
        failures: u32,
    },
    /// It failed too often: nothing is tried before something is mended.
    GiveUp,
}

impl Restarts {
    /// Notes that a start failed; of those within `window`, `max` may. Giving up forgets them all,
    /// so that whoever mends the cause has as many tries as at first.
    pub fn failed(&mut self, now: Instant, reason: &str, max: usize, window: Duration) -> Next {
        let failed = self.0.get_or_insert_default();
        failed.at.push_back(now);
        reason.clone_into(&mut failed.reason);
        while let Some(first) = failed.at.front()
            && now.duration_since(*first) > window
        {
            failed.at.pop_front();
        }
        if failed.at.len() > max {
            self.ready();
            return Next::GiveUp;
        }
        Next::Again {
            failures: self.count(),
        }
    }

    /// Notes that a start succeeded, or that none is tried before something is mended: those before
    /// do not count any more.
    pub fn ready(&mut self) {
        *self = Self::default();
    }

    /// Why the last failed start failed.
    pub fn reason(&self) -> Option<&str> {
        self.0.as_ref().map(|failed| failed.reason.as_str())
    }

    /// How many failed starts are remembered.
    pub fn count(&self) -> u32 {
        let count = self.0.as_ref().map_or(0, |failed| failed.at.len());
        u32::try_from(count).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(600);

    fn again(failures: u32) -> Next {
        Next::Again { failures }
    }

    #[test]
    fn one_start_more_than_may_fail_gives_up() {
        let (mut restarts, now) = (Restarts::default(), Instant::now());
        for failures in 1..=5 {
            assert_eq!(
                restarts.failed(now, "exit code 1", 5, WINDOW),
                again(failures)
            );
        }
        assert_eq!(restarts.failed(now, "exit code 1", 5, WINDOW), Next::GiveUp);
        assert_eq!(
            restarts.failed(now, "exit code 1", 5, WINDOW),
            again(1),
            "a new beginning"
        );
        assert_eq!(
            Restarts::default().failed(now, "exit code 1", 0, WINDOW),
            Next::GiveUp
        );
    }

    #[test]
    fn starts_outside_the_window_do_not_count() {
        let (mut restarts, start) = (Restarts::default(), Instant::now());
        for minute in 0..100 {
            let now = start + Duration::from_secs(60 * minute);
            let counted = u32::try_from(minute + 1).expect("small").min(11);
            assert_eq!(
                restarts.failed(now, "exit code 1", 11, WINDOW),
                again(counted)
            );
        }
    }

    #[test]
    fn successful_start_forgets_the_failed_ones() {
        let (mut restarts, now) = (Restarts::default(), Instant::now());
        restarts.failed(now, "exit code 1", 2, WINDOW);
        restarts.failed(now, "exit code 1", 2, WINDOW);
        assert_eq!(restarts.reason(), Some("exit code 1"));
        restarts.ready();
        assert_eq!((restarts.count(), restarts.reason()), (0, None));
        assert_eq!(restarts.failed(now, "exit code 1", 2, WINDOW), again(1));
    }
}
