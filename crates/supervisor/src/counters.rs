//! What is counted from the start of a supervisor on.
//!
//! Each is changed where it happens, and read by [`crate::Supervisor::counts`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only grows; clones are the same one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counter(Arc<AtomicU64>);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// All of them; see [`crate::Counts`] for what they mean.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) refused: Counter,
    pub(crate) paced: Counter,
    pub(crate) shims_lost: Counter,
    pub(crate) pipes_leaked: Counter,
    pub(crate) output_dropped_bytes: Counter,
}
