//! One process, told apart from a later one that got its pid.
//!
//! Decides what the facts mean; `observe` gets them from the kernel. Signals nothing.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::boot::{self, BootError, BootId};
use crate::observe::{self, Observation};

/// What tells one process from every other of its host.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProcessIdentity {
    /// The pid, in the pid namespace of whoever took the identity.
    pub pid: u32,
    /// That namespace: the inode of `/proc/self/ns/pid`. `None` in identities that were taken
    /// before this was recorded, and where the kernel has no such namespaces.
    #[serde(default)]
    pub pid_namespace: Option<u64>,
    /// Start time in clock ticks since boot (field 22 of `/proc/PID/stat`). A tick is 10 ms: two
    /// starts of one pid can share it.
    pub start_ticks: u64,
    /// The boot in which the rest means anything.
    pub boot_id: BootId,
    /// Inode of the process's pidfd, not used twice in one boot. `None` before Linux 6.9.
    pub pidfs_inode: Option<u64>,
}

/// What has become of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It runs, or is stopped; every fact that could be had agrees.
    Alive,
    /// It has ended, reaped or not, or its pid is another's by now.
    Gone,
    /// It cannot be told. To be reported, never signalled.
    Unverifiable(Doubt),
}

/// Why a standing cannot be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// Only the intent to start it was recorded; what it became is found by its tag.
    NoIdentity,
    /// It was recorded on another host.
    OtherHost(String),
    /// Its pid was seen in another pid namespace: here the number is somebody else's.
    OtherNamespace,
    /// The pid is none that an identity is taken of (0, 1, or out of range).
    RefusedPid(u32),
    /// The facts are not to be had: a hidden or missing `/proc`, or not Linux.
    NoFacts(String),
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoIdentity => f.write_str("its start was recorded, its pid was not"),
            Self::OtherHost(host) => write!(f, "it was recorded on host {host}"),
            Self::OtherNamespace => f.write_str("it was recorded in another pid namespace"),
            Self::RefusedPid(pid) => write!(f, "pid {pid} is never taken for a child"),
            Self::NoFacts(problem) => f.write_str(problem),
        }
    }
}

/// No identity could be taken.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Pid 0 means "my group" to `kill`, and pid 1 is init: neither is ever a child.
    #[error("identify process {0}: no identity is taken of that pid")]
    Refused(u32),
    /// There is no such process, or it has ended and only waits to be reaped.
    #[error("identify process {0}: it is gone")]
    Gone(u32),
    /// The kernel does not show the process to this user, or not on this platform.
    #[error("identify process {pid}: {problem}")]
    Hidden {
        /// The process.
        pid: u32,
        /// What was refused.
        problem: String,
    },
    /// The boot could not be told.
    #[error("identify process {pid}")]
    Boot {
        /// The process.
        pid: u32,
        /// Why.
        #[source]
        source: BootError,
    },
}

impl ProcessIdentity {
    /// Of the process that has `pid` now. All facts are of one process, even if it ends meanwhile.
    ///
    /// # Errors
    /// [`IdentityError`]; `Gone` is also the answer for a zombie.
    pub fn of(pid: u32) -> Result<Self, IdentityError> {
        if !may_be_child(pid) {
            return Err(IdentityError::Refused(pid));
        }
        Self::take(pid)
    }

    /// Of this process. Works for pid 1 too, as a worker may be a container's init; such an
    /// identity serves for comparison only, [`check`](Self::check) doubts it.
    ///
    /// # Errors
    /// [`IdentityError`] where the facts are not to be had.
    pub fn own() -> Result<Self, IdentityError> {
        Self::take(std::process::id())
    }

    /// What has become of the process, now. The answer ages at once: to signal, open a pidfd
    /// first, check, then signal through the pidfd.
    pub fn check(&self) -> Standing {
        if !may_be_child(self.pid) {
            return Standing::Unverifiable(Doubt::RefusedPid(self.pid));
        }
        let boot = match boot::boot_id() {
            Ok(boot) => boot,
            Err(error) => return Standing::Unverifiable(Doubt::NoFacts(error.to_string())),
        };
        if boot != self.boot_id {
            return Standing::Gone;
        }
        // Containers of one host share its boot and, over one volume, even their records.
        if both_differ(self.pid_namespace, observe::pid_namespace()) {
            return Standing::Unverifiable(Doubt::OtherNamespace);
        }
        self.judge(observe::observe(self.pid))
    }

    fn take(pid: u32) -> Result<Self, IdentityError> {
        match observe::observe(pid) {
            Observation::Running(facts) => Ok(Self {
                pid,
                pid_namespace: observe::pid_namespace(),
                start_ticks: facts.start_ticks,
                boot_id: boot::boot_id().map_err(|source| IdentityError::Boot { pid, source })?,
                pidfs_inode: facts.pidfs_inode,
            }),
            Observation::Ended => Err(IdentityError::Gone(pid)),
            Observation::Hidden { problem, .. } => Err(IdentityError::Hidden { pid, problem }),
        }
    }

    fn judge(&self, seen: Observation) -> Standing {
        match seen {
            Observation::Running(facts) => {
                // One of the two may lack the inode within one boot: a seccomp filter hides it in
                // one run of the worker and not in the next.
                let inode_differs = both_differ(self.pidfs_inode, facts.pidfs_inode);
                if inode_differs || facts.start_ticks != self.start_ticks {
                    Standing::Gone
                } else {
                    Standing::Alive
                }
            }
            Observation::Ended => Standing::Gone,
            Observation::Hidden {
                pidfs_inode,
                problem,
            } => match (self.pidfs_inode, pidfs_inode) {
                // Another user's process after setuid, under hidepid: the inode alone is proof.
                (Some(recorded), Some(seen)) if recorded == seen => Standing::Alive,
                (Some(_), Some(_)) => Standing::Gone,
                _ => Standing::Unverifiable(Doubt::NoFacts(problem)),
            },
        }
    }
}

fn may_be_child(pid: u32) -> bool {
    pid > 1 && i32::try_from(pid).is_ok()
}

fn both_differ(recorded: Option<u64>, seen: Option<u64>) -> bool {
    matches!((recorded, seen), (Some(recorded), Some(seen)) if recorded != seen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::Facts;

    fn check(recorded_inode: Option<u64>, seen: Observation, expected: &Standing) {
        let identity = ProcessIdentity {
            pid: 4242,
            pid_namespace: None,
            start_ticks: 700,
            boot_id: BootId("boot".to_owned()),
            pidfs_inode: recorded_inode,
        };
        let shown = format!("{recorded_inode:?} against {seen:?}");
        assert_eq!(&identity.judge(seen), expected, "{shown}");
    }

    fn running(start_ticks: u64, pidfs_inode: Option<u64>) -> Observation {
        Observation::Running(Facts {
            start_ticks,
            pidfs_inode,
        })
    }

    fn hidden(pidfs_inode: Option<u64>) -> Observation {
        Observation::Hidden {
            pidfs_inode,
            problem: "hidden".to_owned(),
        }
    }

    #[test]
    fn process_is_alive_only_when_every_known_fact_agrees() {
        check(Some(9), running(700, Some(9)), &Standing::Alive);
        check(Some(9), running(700, None), &Standing::Alive);
        check(None, running(700, Some(9)), &Standing::Alive);
        check(Some(9), running(701, Some(9)), &Standing::Gone);
        check(None, Observation::Ended, &Standing::Gone);
    }

    #[test]
    fn pid_taken_again_within_one_tick_is_gone_by_its_inode() {
        check(Some(9), running(700, Some(10)), &Standing::Gone);
    }

    #[test]
    fn hidden_process_is_judged_by_its_inode_or_not_at_all() {
        check(Some(9), hidden(Some(9)), &Standing::Alive);
        check(Some(9), hidden(Some(10)), &Standing::Gone);
        let doubt = Standing::Unverifiable(Doubt::NoFacts("hidden".to_owned()));
        check(None, hidden(Some(9)), &doubt);
        check(Some(9), hidden(None), &doubt);
    }
}
