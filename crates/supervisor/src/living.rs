//! A process that is held by its pidfd, and the one place that sends signals.
//!
//! Linux only. A pidfd means one process for ever, so what was verified through it stays true.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, fstat, open, openat};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, geteuid, pidfd_open, pidfd_send_signal};

use crate::identity::{ProcessIdentity, Standing};
use crate::observe::has_ended;
use crate::tag::Tag;

/// Bytes of an environment that are read. The kernel's own limit for arguments and environment
/// together is a quarter of the stack's, 2 MiB usually, and 6 MiB at most.
const ENVIRON_MAX_BYTES: usize = 6 << 20;

/// Bytes that most environments fit into.
const ENVIRON_USUAL_BYTES: usize = 16 << 10;

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
        reader: &mut TagReader,
    ) -> io::Result<Option<(Tag, Self)>> {
        // Most processes have no tag: no pidfd for them.
        if !reader.tag_of(pid).is_some_and(|tag| wanted(&tag)) {
            return Ok(None);
        }
        let Some(process) = Self::open(pid)? else {
            return Ok(None);
        };
        // Again, now that the pid cannot come to mean another: as long as the pidfd's process has
        // not ended, `/proc/PID` is that process.
        let tag = reader.tag_of(pid).filter(wanted);
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

/// Reads tags; holds what is needed again for each of thousands of processes.
#[derive(Debug)]
pub(crate) struct TagReader {
    proc_dir: OwnedFd,
    own_user: u32,
    block: Vec<u8>,
}

impl TagReader {
    pub(crate) fn new() -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self {
            proc_dir: open("/proc", flags, Mode::empty())?,
            own_user: geteuid().as_raw(),
            block: vec![0; ENVIRON_USUAL_BYTES],
        })
    }

    /// The tag of a process of this user; `None` also for what cannot be read.
    fn tag_of(&mut self, pid: u32) -> Option<Tag> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let path = format!("{pid}/environ");
        let file = openat(&self.proc_dir, path, flags, Mode::empty()).ok()?;
        let bytes = self.read(&file).ok()?;
        let tag = Tag::from_environ_block(&self.block[..bytes])?;
        let is_own = fstat(&file).ok()?.st_uid == self.own_user;
        is_own.then_some(tag)
    }

    fn read(&mut self, file: &OwnedFd) -> rustix::io::Result<usize> {
        let mut end = 0;
        loop {
            let read = rustix::io::read(file, &mut self.block[end..])?;
            end += read;
            // Only the end makes a read of this file short.
            if end < self.block.len() || end >= ENVIRON_MAX_BYTES {
                return Ok(end);
            }
            self.block.resize(2 * end, 0);
        }
    }
}
