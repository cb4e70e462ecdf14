//! Medians and percentiles of times.

use std::time::Duration;

/// Times of one thing, many times over.
#[derive(Default)]
pub(crate) struct Times(Vec<Duration>);

impl Times {
    pub(crate) fn push(&mut self, time: Duration) {
        self.0.push(time);
    }

    pub(crate) fn extend(&mut self, more: Self) {
        self.0.extend(more.0);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn percentile(&mut self, percent: usize) -> Duration {
        self.0.sort_unstable();
        let last = self.0.len().saturating_sub(1);
        self.0
            .get(last * percent / 100)
            .copied()
            .unwrap_or_default()
    }

    pub(crate) fn milliseconds(&self) -> Vec<f64> {
        let times = self.0.iter();
        times.map(|time| time.as_secs_f64() * 1000.0).collect()
    }

    pub(crate) fn median(&mut self) -> Duration {
        self.percentile(50)
    }

    /// `name  median, p99` in microseconds.
    pub(crate) fn print(&mut self, name: &str) {
        let (median, p99) = (self.median().as_micros(), self.percentile(99).as_micros());
        println!(
            "{name:<44} median {median:>7} us   p99 {p99:>7} us   n {}",
            self.0.len()
        );
    }
}

/// The median of some numbers.
pub(crate) fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or_default()
}

pub(crate) fn ratio(what: Duration, floor: Duration) -> f64 {
    what.as_secs_f64() / floor.as_secs_f64()
}
