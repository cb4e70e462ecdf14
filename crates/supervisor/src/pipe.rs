//! The worker's end of a pipe that a child writes to.
//!
//! Knows when to stop reading although somebody still holds the other end, and whether somebody
//! does. What the bytes mean is
//! for others.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::ioctl_fionread;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::watch;
use tokio::task::coop::consume_budget;

use crate::spawn::{Spawn, SpawnState, Stage};

/// Bytes of one read: a quarter of a pipe, so that it is not emptied in many small steps.
pub(crate) const CHUNK_BYTES: usize = 16 << 10;

/// A pipe's read end.
#[derive(Debug)]
pub(crate) struct PipeReader {
    receiver: Arc<Receiver>,
    states: watch::Receiver<SpawnState>,
    /// From this stage on nobody whose output matters writes any more.
    last_stage: Stage,
    /// Bytes that were in the pipe when that stage was reached and are not read yet.
    left: Option<u64>,
    /// What the last read gave.
    chunk: Box<[u8]>,
}

impl PipeReader {
    /// Reads until the end of file or, from `last_stage` of `spawn` on, what is still there.
    pub(crate) fn new(pipe: OwnedFd, spawn: &Arc<Spawn>, last_stage: Stage) -> io::Result<Self> {
        Ok(Self {
            receiver: Arc::new(Receiver::from_owned_fd(pipe)?),
            states: spawn.states(),
            last_stage,
            left: None,
            chunk: vec![0; CHUNK_BYTES].into_boxed_slice(),
        })
    }

    /// A way to ask about the other end that keeps nothing open.
    pub(crate) fn far_end(&self) -> FarEnd {
        FarEnd(Arc::downgrade(&self.receiver))
    }

    /// The next bytes; `None` at the end. Cancel-safe: bytes are taken from the pipe only when
    /// they are returned.
    pub(crate) async fn read(&mut self) -> Option<&[u8]> {
        let bytes = self.fill().await?;
        Some(&self.chunk[..bytes])
    }

    async fn fill(&mut self) -> Option<usize> {
        loop {
            // A flood is always readable; without this it would hold its runtime thread.
            consume_budget().await;
            if self.left.is_none() && self.states.borrow().stage >= self.last_stage {
                // What comes later is written by others, who could go on for ever.
                self.left = Some(ioctl_fionread(&*self.receiver).unwrap_or(0));
            }
            if let Some(left) = self.left {
                return self.read_rest(left);
            }
            match self.receiver.try_read(&mut self.chunk) {
                Ok(0) => return None,
                Ok(bytes) => return Some(bytes),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_broken) => return None,
            }
            let last_stage = self.last_stage;
            tokio::select! {
                ready = self.receiver.readable() => ready.ok()?,
                // Either answer is looked at above.
                _changed = self.states.wait_for(|state| state.stage >= last_stage) => {}
            }
        }
    }

    fn read_rest(&mut self, left: u64) -> Option<usize> {
        let wanted = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(self.chunk.len());
        // Not through the runtime, which may not have seen yet that the pipe is readable.
        let read = rustix::io::retry_on_intr(|| {
            rustix::io::read(&*self.receiver, &mut self.chunk[..wanted])
        });
        let bytes = read.ok().filter(|bytes| *bytes > 0)?;
        self.left = Some(left - bytes as u64);
        Some(bytes)
    }
}

/// The end that is written to.
#[derive(Debug)]
pub(crate) struct FarEnd(Weak<Receiver>);

impl FarEnd {
    /// Whether somebody holds it. Nobody counts as holding what nobody reads any more.
    pub(crate) fn is_held(&self) -> bool {
        let Some(receiver) = self.0.upgrade() else {
            return false;
        };
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // A pipe without writers says so whether or not something is left in it.
        let mut fds = [PollFd::new(&*receiver, PollFlags::empty())];
        let polled = rustix::io::retry_on_intr(|| poll(&mut fds, Some(&now)));
        polled.is_ok() && !fds[0].revents().contains(PollFlags::HUP)
    }
}
