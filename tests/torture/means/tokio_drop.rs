//! tokio's own: `kill_on_drop`. It knows of the child alone.

use std::time::Duration;

use async_trait::async_trait;
use nix::sys::signal::{Signal, kill};
use tokio::process::Child;
use tokio::time::timeout;

use super::piped::{self, Pipes};
use super::{Means, Tree, TreeCommand};

pub(super) const NAME: &str = "tokio";

pub(super) struct KillOnDrop;

struct Started {
    child: Child,
    pid: u32,
    pipes: Pipes,
}

#[async_trait]
impl Means for KillOnDrop {
    async fn start(&self, command: &TreeCommand) -> anyhow::Result<Box<dyn Tree>> {
        let mut child = piped::command(command).kill_on_drop(true).spawn()?;
        Ok(Box::new(Started {
            pid: piped::pid(&child)?,
            pipes: Pipes::of(&mut child)?,
            child,
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
        // It was not waited for, so the number is still its own.
        kill(piped::to_signal(self.pid), Signal::SIGTERM)?;
        match timeout(grace, self.child.wait()).await {
            Ok(ended) => drop(ended?),
            // In its favour: a plain drop does not wait, and its documentation advises this to
            // whoever wants to.
            Err(_elapsed) => self.child.kill().await?,
        }
        Ok(())
    }
}
