//! Threads of a worker: one that has worked for long has no more than a new one.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use super::world::World;
use crate::support::Process;

/// The runtime lets a thread for blocking work go that had none for 10 s.
const AT_REST_AFTER: Duration = Duration::from_secs(13);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The one that a worker has from its first program on, and a new one has not yet.
const LATER: &str = "spawn-records";

/// How many threads of each name.
#[derive(Debug)]
pub(super) struct Threads(BTreeMap<String, usize>);

impl Threads {
    /// Of a worker that has nothing to do: those that are left once none has gone for that time.
    pub(super) fn at_rest(world: &World, worker: Process) -> Self {
        let mut fewest = Self::of(worker);
        let mut since = Instant::now();
        while since.elapsed() < AT_REST_AFTER {
            world.pause(LOOK_EVERY);
            let found = Self::of(worker);
            if found.count() < fewest.count() {
                fewest = found;
                since = Instant::now();
            }
        }
        fewest
    }

    #[track_caller]
    pub(super) fn assert_no_more_than(&self, new: &Self) {
        let later = self.0.get(LATER).copied().unwrap_or_default();
        assert!(
            later <= 1 && self.count() - later <= new.count(),
            "{self:?}, a new worker has {new:?}"
        );
    }

    fn count(&self) -> usize {
        self.0.values().sum()
    }

    fn of(worker: Process) -> Self {
        let mut found = BTreeMap::new();
        let tasks = fs::read_dir(format!("/proc/{}/task", worker.pid));
        for task in tasks.expect("the worker is there").filter_map(Result::ok) {
            // It may have ended since.
            let name = fs::read_to_string(task.path().join("comm")).unwrap_or_default();
            let name = name.trim();
            // A pool opens its connections to databases as it needs them, each with a thread.
            if !name.is_empty() && !name.starts_with("sqlx-sqlite") {
                *found.entry(name.to_owned()).or_default() += 1;
            }
        }
        Self(found)
    }
}
