//! A process that is held by its pidfd, and the one place that sends signals.
//!
//! Linux only. A pidfd means one process for ever, so what was verified through it stays true.
//! Where the kernel gives no pidfd nobody is held, and so nobody is signalled.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::identity::{ProcessIdentity, Standing};
use crate::observe::{has_ended, is_absence, read_stat};

/// A process that was alive when it was taken. Its pid is its own for as long as it has not
/// ended.
#[derive(Debug)]
pub(crate) struct LivingProcess {
    pid: u32,
    pidfd: OwnedFd,
}

/// What became of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// It was sent.
    Sent,
    /// The process has ended.
    Gone,
    /// It may not be signalled: it took other rights.
    Denied,
    /// It is not signalled, whatever it carries and whoever recorded it.
    Refused,
}

/// Why a process is never signalled. A tag is inherited by whoever is started below it, and a
/// record is a file: neither is worth more than these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The first process of its pid namespace.
    Init,
    /// This very process.
    Itself,
    /// Of this process's group: whoever started it, or what it started itself without a shim.
    OwnGroup,
    /// Its group cannot be told.
    Hidden,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Init => "it is init",
            Self::Itself => "it is this very process",
            Self::OwnGroup => "it is of this process's own group",
            Self::Hidden => "its process group cannot be told",
        })
    }
}

/// Whether the process that has `pid` now is one that is never signalled.
pub(crate) fn refusal(pid: u32) -> Option<Refusal> {
    if pid <= 1 {
        return Some(Refusal::Init);
    }
    if pid == std::process::id() {
        return Some(Refusal::Itself);
    }
    // From `/proc`, where a group whose leader is outside of this pid namespace is 0, and not from
    // getpgrp, for which 0 is no answer. Two such groups look alike, and both are refused.
    match (read_stat(pid), read_stat(std::process::id())) {
        (Ok(its), Ok(own)) => (its.group == own.group).then_some(Refusal::OwnGroup),
        // Whoever has ended is harmed by nothing.
        (Err(error), Ok(_)) if is_absence(&error) => None,
        _ => Some(Refusal::Hidden),
    }
}

impl AsRawFd for LivingProcess {
    fn as_raw_fd(&self) -> RawFd {
        self.pidfd.as_raw_fd()
    }
}

impl LivingProcess {
    /// The process with `pid`; `None` when there is none. What it is has to be told afterwards,
    /// and that it [has not ended](Self::has_ended) after that.
    ///
    /// # Errors
    /// When it cannot be held.
    pub(crate) fn open(pid: u32) -> io::Result<Option<Self>> {
        let Some(process) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
            return Ok(None);
        };
        match pidfd_open(process, PidfdFlags::empty()) {
            Ok(pidfd) => Ok(Some(Self { pid, pidfd })),
            Err(Errno::SRCH | Errno::INVAL | Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The process that `identity` was taken of, if it can be told that it lives.
    ///
    /// # Errors
    /// When it lives and cannot be held.
    pub(crate) fn identified(identity: &ProcessIdentity) -> io::Result<Option<Self>> {
        let process = Self::open(identity.pid);
        if identity.check() != Standing::Alive {
            return Ok(None);
        }
        Ok(process?.filter(|process| !process.has_ended()))
    }

    /// The process with `pid`, if it is a child of `parent`, which listed it.
    ///
    /// # Errors
    /// When it cannot be held.
    pub(crate) fn child_of(parent: &Self, pid: u32) -> io::Result<Option<Self>> {
        let Some(process) = Self::open(pid)? else {
            return Ok(None);
        };
        // Either may have ended since, and its number may be another's by now.
        let is_child = read_stat(pid).is_ok_and(|stat| stat.parent == parent.pid);
        let is_so_still = is_child && !process.has_ended() && !parent.has_ended();
        Ok(is_so_still.then_some(process))
    }

    pub(crate) fn has_ended(&self) -> bool {
        has_ended(&self.pidfd)
    }

    pub(crate) fn signal(&self, signal: Signal) -> Delivery {
        if refusal(self.pid).is_some() {
            // The pid may be another's by now, whom the refusal is about.
            return match self.has_ended() {
                true => Delivery::Gone,
                false => Delivery::Refused,
            };
        }
        match pidfd_send_signal(&self.pidfd, signal) {
            Ok(()) => Delivery::Sent,
            Err(Errno::SRCH) => Delivery::Gone,
            Err(_denied) => Delivery::Denied,
        }
    }
}

/// Blocks until all of `processes` have ended, for `limit` at most.
pub(crate) fn wait_all<'a>(processes: impl Iterator<Item = &'a LivingProcess>, limit: Duration) {
    let until = Instant::now() + limit;
    let mut living: Vec<_> = processes
        .map(|process| PollFd::from_borrowed_fd(process.pidfd.as_fd(), PollFlags::IN))
        .collect();
    while !living.is_empty() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() || !wait_any(&mut living, left) {
            return;
        }
        living.retain(|process| process.revents().is_empty());
    }
}

/// Blocks for `time`. For threads that may block.
pub(crate) fn pause(time: Duration) {
    wait_any(&mut [], time);
}

/// Whether it could be told who of them has ended. The caller looks again in any case.
fn wait_any(fds: &mut [PollFd<'_>], limit: Duration) -> bool {
    let limit = Timespec {
        tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: limit.subsec_nanos().into(),
    };
    poll(fds, Some(&limit)).is_ok()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    #[expect(
        clippy::disallowed_methods,
        reason = "a child of this process's own group is wanted"
    )]
    fn own_group_this_process_and_init_are_refused_through_a_pidfd_too() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let cases = [
            (child.id(), Refusal::OwnGroup),
            (std::process::id(), Refusal::Itself),
            (1, Refusal::Init),
            (0, Refusal::Init),
        ];
        for (pid, why) in cases {
            assert_eq!(refusal(pid), Some(why), "{pid}");
            if let Some(process) = LivingProcess::open(pid).unwrap() {
                assert_eq!(process.signal(Signal::CONT), Delivery::Refused, "{pid}");
            }
        }
        let held = LivingProcess::open(child.id()).unwrap().unwrap();
        drop(child.stdin.take());
        child.wait().unwrap();
        assert_eq!(held.signal(Signal::CONT), Delivery::Gone);
    }
}
