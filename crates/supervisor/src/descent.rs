//! Who is a child of whom, for processes whose environment says nothing.
//!
//! Gives pids that were children when they were listed; whoever acts on one verifies it anew.
//! Linux only.

use std::collections::HashMap;
use std::fs;

use crate::observe::read_stat;

/// Lists of children as of one look.
pub(crate) enum Descent {
    /// The kernel keeps them (`/proc/PID/task/TID/children`).
    Lists,
    /// From the parent in every process's `stat`, for kernels without these files.
    Parents(HashMap<u32, Vec<u32>>),
}

impl Descent {
    /// Of the processes that have `pids` now.
    pub(crate) fn of(pids: &[u32]) -> Self {
        match has_lists() {
            true => Self::Lists,
            false => Self::from_parents(pids),
        }
    }

    fn from_parents(pids: &[u32]) -> Self {
        let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
        for pid in pids {
            // One that has ended has no children any more.
            if let Ok(stat) = read_stat(*pid) {
                children.entry(stat.parent).or_default().push(*pid);
            }
        }
        Self::Parents(children)
    }

    /// The children of the process that has `pid`, of all of its threads.
    pub(crate) fn children(&self, pid: u32) -> Vec<u32> {
        match self {
            Self::Parents(children) => children.get(&pid).cloned().unwrap_or_default(),
            Self::Lists => {
                // A thread that ends leaves its children to another one of its process; a look
                // that misses them is not the last.
                let threads = fs::read_dir(format!("/proc/{pid}/task"));
                let threads = threads.into_iter().flatten().flatten();
                let lists = threads
                    .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
                lists.flat_map(|list| parse(&list)).collect()
            }
        }
    }
}

/// Whether this kernel keeps lists of children.
pub(crate) fn has_lists() -> bool {
    let pid = std::process::id();
    fs::metadata(format!("/proc/{pid}/task/{pid}/children")).is_ok()
}

fn parse(list: &str) -> Vec<u32> {
    list.split_ascii_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    #[expect(
        clippy::disallowed_methods,
        reason = "a child of this process is wanted"
    )]
    fn both_ways_find_a_child() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let own = std::process::id();
        assert!(Descent::Lists.children(own).contains(&child.id()));
        let from_parents = Descent::from_parents(&[child.id(), own]);
        assert_eq!(from_parents.children(own), [child.id()]);
        drop(child.stdin.take());
        child.wait().unwrap();
    }
}
