//! When processes have ended, seen from outside: by a pidfd of each, opened while it lived.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// Processes that were alive when this was made. Killed when dropped, so that a measurement that
/// fails leaves nobody.
pub(super) struct Watched(Vec<OwnedFd>);

impl Watched {
    pub(super) fn these(pids: &[u32]) -> anyhow::Result<Self> {
        let open = |pid: &u32| {
            let pid = Pid::from_raw(pid.cast_signed()).context("pid 0 is nobody's")?;
            Ok(pidfd_open(pid, PidfdFlags::empty())?)
        };
        pids.iter()
            .map(open)
            .collect::<anyhow::Result<_>>()
            .map(Self)
    }

    /// How many have not ended.
    pub(super) fn alive(&self) -> anyhow::Result<usize> {
        let mut alive = 0;
        for pidfd in &self.0 {
            alive += usize::from(!has_ended(pidfd, Duration::ZERO)?);
        }
        Ok(alive)
    }

    /// Waits until all have ended and tells when that was.
    pub(super) fn all_ended(&self, limit: Duration) -> anyhow::Result<Instant> {
        let until = Instant::now() + limit;
        for pidfd in &self.0 {
            // One after the other: the last one's end is the end of all.
            let left = until.saturating_duration_since(Instant::now());
            anyhow::ensure!(
                has_ended(pidfd, left)?,
                "{} processes live on after {limit:?}",
                self.alive()?
            );
        }
        Ok(Instant::now())
    }

    pub(super) fn signal(&self, signal: Signal) {
        for pidfd in &self.0 {
            // It fails only for one that has ended.
            pidfd_send_signal(pidfd, signal).ok();
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

fn has_ended(pidfd: &OwnedFd, limit: Duration) -> anyhow::Result<bool> {
    let mut watched = [PollFd::new(pidfd, PollFlags::IN)];
    let limit = Timespec::try_from(limit)?;
    Ok(poll(&mut watched, Some(&limit))? > 0)
}
