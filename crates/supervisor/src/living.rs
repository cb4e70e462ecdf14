//! A process that is held by its pidfd, and the one place that sends signals.
//!
//! Linux only. A pidfd means one process for ever, so what was verified through it stays true.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::identity::{ProcessIdentity, Standing};
use crate::observe::has_ended;
use crate::tag::Tag;

/// Bytes of an environment that are read. The kernel's own limit for arguments and environment
/// together is a quarter of the stack's, 2 MiB usually.
const ENVIRON_MAX_BYTES: u64 = 6 << 20;

/// A process that was alive and known for what it is when it was taken.
#[derive(Debug)]
pub(crate) struct LivingProcess {
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
}

impl LivingProcess {
    /// The process with `pid`, if it carries a tag that is `wanted`. An error: it carries one, and
    /// cannot be held.
    pub(crate) fn tagged(
        pid: u32,
        wanted: &dyn Fn(&Tag) -> bool,
    ) -> io::Result<Option<(Tag, Self)>> {
        // Most processes have no tag: no pidfd for them.
        if !tag_of(pid).is_some_and(|tag| wanted(&tag)) {
            return Ok(None);
        }
        let Some(process) = Self::open(pid)? else {
            return Ok(None);
        };
        // Again, now that the pid cannot come to mean another: as long as the pidfd's process has
        // not ended, `/proc/PID` is that process.
        let tag = tag_of(pid).filter(wanted);
        if process.has_ended() {
            return Ok(None);
        }
        Ok(tag.map(|tag| (tag, process)))
    }

    /// The process that `identity` was taken of, if it can be told that it lives.
    pub(crate) fn identified(identity: &ProcessIdentity) -> Option<Self> {
        let process = Self::open(identity.pid).ok()??;
        (identity.check() == Standing::Alive && !process.has_ended()).then_some(process)
    }

    fn open(pid: u32) -> io::Result<Option<Self>> {
        let Some(process) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
            return Ok(None);
        };
        match pidfd_open(process, PidfdFlags::empty()) {
            Ok(pidfd) => Ok(Some(Self { pidfd })),
            Err(Errno::SRCH | Errno::INVAL | Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn has_ended(&self) -> bool {
        has_ended(&self.pidfd)
    }

    pub(crate) fn signal(&self, signal: Signal) -> Delivery {
        match pidfd_send_signal(&self.pidfd, signal) {
            Ok(()) => Delivery::Sent,
            Err(Errno::SRCH) => Delivery::Gone,
            Err(_denied) => Delivery::Denied,
        }
    }
}

/// Blocks until one of `processes` has ended, for `limit` at most.
pub(crate) fn wait_any<'a>(processes: impl Iterator<Item = &'a LivingProcess>, limit: Duration) {
    let mut fds: Vec<_> = processes
        .map(|process| PollFd::from_borrowed_fd(process.pidfd.as_fd(), PollFlags::IN))
        .collect();
    let limit = Timespec {
        tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: limit.subsec_nanos().into(),
    };
    // The caller looks again in any case.
    let _interrupted = poll(&mut fds, Some(&limit));
}

/// The tag of a process of this user; `None` also for what cannot be read.
fn tag_of(pid: u32) -> Option<Tag> {
    let file = File::open(format!("/proc/{pid}/environ")).ok()?;
    if file.metadata().ok()?.uid() != rustix::process::geteuid().as_raw() {
        return None;
    }
    let mut block = Vec::new();
    file.take(ENVIRON_MAX_BYTES).read_to_end(&mut block).ok()?;
    Tag::from_environ_block(&block)
}
