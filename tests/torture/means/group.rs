//! A process group of its own, and killpg(2): what a shell does with a job.

use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use tokio::process::Child;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::piped::{self, Pipes};
use super::{Means, Tree, TreeCommand};

pub(super) const NAME: &str = "killpg";

pub(super) struct Group;

struct Started {
    leader: Child,
    pid: u32,
    pipes: Pipes,
}

#[async_trait]
impl Means for Group {
    async fn start(&self, command: &TreeCommand) -> anyhow::Result<Box<dyn Tree>> {
        let mut leader = piped::command(command).spawn()?;
        Ok(Box::new(Started {
            pid: piped::pid(&leader)?,
            pipes: Pipes::of(&mut leader)?,
            leader,
        }))
    }
}

#[async_trait]
impl Tree for Started {
    fn pid(&self) -> u32 {
        self.pid
    }

    async fn line(&mut self) -> Option<String> {
        self.pipes.line().await
    }

    async fn stop(self: Box<Self>, grace: Duration) -> Vec<u32> {
        piped::ended(self.end(grace)).await
    }
}

impl Started {
    async fn end(mut self: Box<Self>, grace: Duration) -> anyhow::Result<()> {
        let leader = Pid::from_raw(self.pid.cast_signed()).context("pid 0 is nobody's")?;
        self.signal(Signal::SIGTERM)?;
        // In its favour: the leader's corpse is left until the last signal was sent, so that its
        // number stays the group's and SIGKILL may follow in any case. Whoever reaps the leader at
        // once cannot send it, since the number may be another group's by then.
        let ended = spawn_blocking(move || {
            let without_reaping = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            waitid(WaitId::Pid(leader), without_reaping)
        });
        if let Ok(ended) = timeout(grace, ended).await {
            ended??;
        }
        self.signal(Signal::SIGKILL)?;
        self.leader.wait().await?;
        Ok(())
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        match killpg(piped::to_signal(self.pid), signal) {
            // A group of corpses answers so on some systems.
            Ok(()) | Err(Errno::ESRCH | Errno::EPERM) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
