//! The one deadline over everything a hook does, and the only ways it waits.

use std::ffi::OsString;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;

use crate::wire::limits::{HOOK_DEADLINE, HOOK_DEADLINE_MAX};

/// When the hook has to be done. Monotonic: a set clock must not hang an agent.
#[derive(Debug)]
pub(crate) struct Deadline {
    started: Instant,
    limit: Duration,
    is_overridden: bool,
}

impl Deadline {
    /// Starts the default deadline, or the one that the environment asks for in milliseconds.
    pub(crate) fn start(override_ms: Option<OsString>) -> Self {
        let asked = override_ms
            .and_then(|text| text.to_str()?.parse().ok())
            .map(Duration::from_millis);
        Self {
            started: Instant::now(),
            limit: asked.unwrap_or(HOOK_DEADLINE).min(HOOK_DEADLINE_MAX),
            is_overridden: asked.is_some(),
        }
    }

    /// Gives more time from the start, unless the environment has fixed it.
    pub(crate) fn extend_to(&mut self, limit: Duration) {
        if !self.is_overridden {
            self.limit = limit;
        }
    }

    /// What is left.
    pub(crate) fn remaining(&self) -> Duration {
        self.limit.saturating_sub(self.started.elapsed())
    }

    /// Waits until `fd` can do one of `flags`, has hung up or has failed, but not beyond the
    /// deadline or `at_most`. `None`: it did not.
    pub(crate) fn ready(
        &self,
        fd: BorrowedFd<'_>,
        flags: PollFlags,
        at_most: Duration,
    ) -> Option<PollFlags> {
        let until = Instant::now() + at_most.min(self.remaining());
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let left = Timespec::try_from(left).ok()?;
            let mut fds = [PollFd::from_borrowed_fd(fd, flags)];
            match rustix::event::poll(&mut fds, Some(&left)) {
                Ok(0) => return None,
                Ok(_) => return Some(fds[0].revents()),
                Err(Errno::INTR) => {}
                Err(_) => return None,
            }
        }
    }
}

/// Lets others run for a moment, between two tries of something that cannot be waited for.
#[expect(
    clippy::disallowed_methods,
    reason = "this program has one thread and no runtime to hold up"
)]
pub(crate) fn pause() {
    std::thread::sleep(Duration::from_millis(1));
}
