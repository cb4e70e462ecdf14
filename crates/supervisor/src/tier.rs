//! How well processes can be told apart and ended here, and why not better.
//!
//! The kernel is asked once, when a supervisor opens; what follows from its answers is a function
//! of them.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// From best to worst. Each lacks what the ones before it have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// Subreaper, pidfds and their inodes: no pid that was given again can be mistaken (Linux 6.9).
    Full,
    /// Without inodes: two processes with one pid and one start tick look the same until a pidfd
    /// is held (Linux 5.3).
    Ticks,
    /// Without pidfds: the shims still end their trees, and what outlives a shim is reported and
    /// never signalled.
    Shims,
    /// Nothing can be started.
    None,
}

/// What this machine offers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TierReport {
    /// Which it is.
    pub tier: Tier,
    /// What is missing, each in words. It keeps the tier from being better or, with
    /// [`Tier::Full`], costs only time.
    pub missing: Vec<String>,
}

/// What the kernel answered.
#[derive(Clone, Debug)]
struct Facts {
    /// Whether the shim's program can be started, and why not.
    shim: Result<(), String>,
    /// Whether a process may become the reaper of its descendants (`PR_SET_CHILD_SUBREAPER`).
    has_subreaper: bool,
    /// Whether a process can be held (`pidfd_open`), and why not.
    pidfds: Result<(), String>,
    /// Whether pidfds have inodes of their own.
    has_pidfs: bool,
    /// Whether `/proc` shows the pid namespace of this process.
    has_own_proc: bool,
    /// Whether `/proc` lists children (`/proc/PID/task/TID/children`).
    has_child_lists: bool,
}

/// What this machine offers to this process. `shim` is its opened program, at `path`, or why it
/// could not be opened. Starts and signals nothing.
pub(crate) fn probe<T>(shim: &io::Result<T>, path: &Path) -> TierReport {
    let shim = match shim {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("open {}: {error}", path.display())),
    };
    decide(&ask(shim))
}

fn decide(facts: &Facts) -> TierReport {
    let mut tier = Tier::Full;
    let mut missing = Vec::new();
    let mut lacks = |without: Tier, what: String| {
        tier = tier.max(without);
        missing.push(what);
    };
    if let Err(problem) = &facts.shim {
        lacks(Tier::None, format!("the shim cannot be started: {problem}"));
    }
    if !facts.has_subreaper {
        let what = "no process may become a subreaper, without which a shim does not start its \
            child (PR_SET_CHILD_SUBREAPER, Linux 3.4)";
        lacks(Tier::None, what.to_owned());
    }
    if !facts.has_own_proc {
        let what = "/proc is not mounted, or is not that of this pid namespace: a shim knows \
            only its child, and nobody is found by a tag";
        lacks(Tier::Shims, what.to_owned());
    }
    match &facts.pidfds {
        Err(problem) => {
            let what = format!("no process can be held ({problem}; pidfd_open, Linux 5.3)");
            lacks(Tier::Shims, what);
        }
        Ok(()) if !facts.has_pidfs => {
            let what = "pidfds have no inodes of their own, so that a pid that was given again \
                within a clock tick looks the same (pidfs, Linux 6.9)";
            lacks(Tier::Ticks, what.to_owned());
        }
        Ok(()) => {}
    }
    if facts.has_own_proc && !facts.has_child_lists {
        let what = "/proc does not list children, so that all processes are read to find a tree \
            (CONFIG_PROC_CHILDREN, Linux 4.2)";
        lacks(Tier::Full, what.to_owned());
    }
    TierReport { tier, missing }
}

#[cfg(target_os = "linux")]
fn ask(shim: Result<(), String>) -> Facts {
    use rustix::process::{child_subreaper, set_child_subreaper};

    use crate::descent::has_lists;
    use crate::observe::{has_pidfs, is_own_proc, own_pidfd};

    let pidfd = own_pidfd();
    Facts {
        shim,
        // To what it is: asked for, and nothing changed.
        has_subreaper: child_subreaper().and_then(set_child_subreaper).is_ok(),
        has_pidfs: pidfd.as_ref().is_ok_and(has_pidfs),
        pidfds: pidfd.map(drop).map_err(|error| error.to_string()),
        has_own_proc: is_own_proc(),
        has_child_lists: has_lists(),
    }
}

#[cfg(not(target_os = "linux"))]
fn ask(shim: Result<(), String>) -> Facts {
    Facts {
        shim,
        has_subreaper: false,
        pidfds: Err("not on this platform".to_owned()),
        has_pidfs: false,
        has_own_proc: false,
        has_child_lists: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn everything() -> Facts {
        Facts {
            shim: Ok(()),
            has_subreaper: true,
            pidfds: Ok(()),
            has_pidfs: true,
            has_own_proc: true,
            has_child_lists: true,
        }
    }

    fn check(change: impl FnOnce(&mut Facts), tier: Tier, named: &[&str]) {
        let mut facts = everything();
        change(&mut facts);
        let report = decide(&facts);
        assert_eq!(report.tier, tier, "{report:?}");
        assert_eq!(report.missing.len(), named.len(), "{report:?}");
        for (text, part) in report.missing.iter().zip(named) {
            assert!(text.contains(part), "{text:?} tells {part:?}");
        }
    }

    #[test]
    fn tier_is_the_worst_of_what_is_missing_and_all_of_it_is_named() {
        check(|_| (), Tier::Full, &[]);
        check(
            |it| it.has_child_lists = false,
            Tier::Full,
            &["list children"],
        );
        check(|it| it.has_pidfs = false, Tier::Ticks, &["Linux 6.9"]);
        let blocked = || Err("operation not permitted".to_owned());
        check(
            |it| (it.pidfds, it.has_pidfs) = (blocked(), false),
            Tier::Shims,
            &["operation not permitted"],
        );
        check(
            |it| (it.has_own_proc, it.has_child_lists) = (false, false),
            Tier::Shims,
            &["pid namespace"],
        );
        check(|it| it.has_subreaper = false, Tier::None, &["subreaper"]);
        check(
            |it| (it.shim, it.has_pidfs) = (Err("no such file".to_owned()), false),
            Tier::None,
            &["no such file", "Linux 6.9"],
        );
    }

    #[test]
    fn better_tiers_come_first() {
        assert!(Tier::Full < Tier::Ticks && Tier::Ticks < Tier::Shims && Tier::Shims < Tier::None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn tier_of_this_machine_is_what_its_identities_show() {
        use crate::identity::ProcessIdentity;
        use crate::living::LivingProcess;

        let report = probe(&Ok(()), Path::new("shim"));
        let can_hold = LivingProcess::open(std::process::id()).is_ok();
        let identity = ProcessIdentity::own();
        let expected = match (can_hold, identity) {
            (true, Ok(own)) if own.pidfs_inode.is_some() => Tier::Full,
            (true, Ok(_)) => Tier::Ticks,
            _ => Tier::Shims,
        };
        assert_eq!(report.tier, expected, "{report:?}");
        let without = probe::<()>(&Err(io::ErrorKind::NotFound.into()), Path::new("gone"));
        assert_eq!(without.tier, Tier::None);
        assert!(without.missing[0].contains("gone"), "{without:?}");
    }
}
