//! What a worker that has nothing to do holds: each watch of a process is a descriptor.

use std::collections::BTreeMap;

use crate::support::wait::ok_if;
use crate::support::{LIMIT, Process, wait_until};

/// How many descriptors of each kind.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Descriptors(BTreeMap<String, usize>);

impl Descriptors {
    /// Of a worker at rest.
    #[track_caller]
    pub(super) fn at_rest(worker: Process) -> Self {
        wait_until("no process is watched", LIMIT, || {
            let found = Self::of(worker);
            match found.0.keys().any(|kind| kind.contains("pidfd")) {
                true => Err(found),
                false => Ok(found),
            }
        })
    }

    /// Waits until a worker holds no more than these.
    #[track_caller]
    pub(super) fn wait_until_again(&self, worker: Process) {
        wait_until("the worker holds no more than at first", LIMIT, || {
            let found = Self::of(worker);
            let is_more = |(kind, count): (&String, &usize)| {
                *count > self.0.get(kind).copied().unwrap_or_default()
            };
            let more: Vec<_> = found.0.iter().filter(|entry| is_more(*entry)).collect();
            ok_if(more.is_empty(), format!("{more:?}"))
        });
    }

    fn of(worker: Process) -> Self {
        let mut found = BTreeMap::new();
        for (_, target) in worker.descriptors() {
            let target = target.to_string_lossy();
            // A pool opens its connections to databases as it needs them.
            if target.starts_with('/') {
                continue;
            }
            let kind = target.split(':').next().unwrap_or_default();
            let kind = match kind {
                "anon_inode" => target.as_ref(),
                kind => kind,
            };
            *found.entry(kind.to_owned()).or_default() += 1;
        }
        Self(found)
    }
}
