//! How fast spawns follow each other.
//!
//! A token bucket that holds one second's worth, kept as the one moment at which it is full again.
//! Who has to wait is told until when, so that nobody looks again and again.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The bucket.
#[derive(Debug)]
pub(crate) struct Pace {
    /// In which one token comes.
    interval: Duration,
    /// What it holds, as time.
    burst: Duration,
    /// When it is full again; in the past: it is full.
    full_at: Mutex<Option<Instant>>,
}

impl Pace {
    pub(crate) fn new(per_s_max: u32) -> Self {
        // None would be a wait for ever; the configuration refuses that.
        let interval = Duration::from_secs(1) / per_s_max.max(1);
        Self {
            interval,
            burst: interval * per_s_max.saturating_sub(1),
            full_at: Mutex::default(),
        }
    }

    /// Takes a token and tells from when on it counts; `None`: from now on.
    pub(crate) fn take(&self, now: Instant) -> Option<Instant> {
        let mut full_at = self.lock();
        let full = full_at.map_or(now, |full| full.max(now));
        *full_at = Some(full + self.interval);
        let turn = full.checked_sub(self.burst)?;
        (turn > now).then_some(turn)
    }

    /// Gives a token back that was not used; those who wait behind it keep their turns.
    pub(crate) fn give_back(&self) {
        let mut full_at = self.lock();
        *full_at = full_at.and_then(|full| full.checked_sub(self.interval));
    }

    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.full_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn second_s_worth_comes_at_once_and_the_rest_evenly() {
        let (pace, now) = (Pace::new(4), Instant::now());
        let turns: Vec<_> = (0..6).map(|_| pace.take(now)).collect();
        let later = |quarters: u32| Some(now + S * quarters / 4);
        assert_eq!(turns, [None, None, None, None, later(1), later(2)]);
        assert_eq!(pace.take(now + 10 * S), None, "full again");
    }

    #[test]
    fn token_that_is_given_back_is_taken_by_the_next() {
        let (pace, now) = (Pace::new(1), Instant::now());
        assert_eq!(pace.take(now), None);
        assert_eq!(pace.take(now), Some(now + S));
        pace.give_back();
        assert_eq!(pace.take(now), Some(now + S));
    }

    #[test]
    fn pace_beyond_reason_keeps_nobody_waiting() {
        let (pace, now) = (Pace::new(u32::MAX), Instant::now());
        assert!((0..100_000).all(|_| pace.take(now).is_none()));
    }
}
