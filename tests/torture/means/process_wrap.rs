//! The crate process-wrap: `KillOnDrop` with `ProcessGroup`, and with `ProcessSession`.
//!
//! Asked, waited for and killed as watchexec does, for which it is made.

use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use nix::libc::SIGTERM;
use process_wrap::tokio::{ChildWrapper, CommandWrap, KillOnDrop, ProcessGroup, ProcessSession};
use tokio::time::timeout;

use super::piped::{self, Pipes};
use super::{Means, Tree, TreeCommand};

pub(super) const GROUP: &str = "process-wrap";
pub(super) const SESSION: &str = "process-wrap-session";

pub(super) struct Wrapper {
    pub(super) has_session: bool,
}

struct Started {
    child: Box<dyn ChildWrapper>,
    pid: u32,
    pipes: Pipes,
}

#[async_trait]
impl Means for Wrapper {
    async fn start(&self, command: &TreeCommand) -> anyhow::Result<Box<dyn Tree>> {
        let mut wrap = CommandWrap::from(piped::plain(command));
        wrap.wrap(KillOnDrop);
        // Not both: its documentation calls that unnecessary, and says that it may misbehave.
        if self.has_session {
            wrap.wrap(ProcessSession);
        } else {
            wrap.wrap(ProcessGroup::leader());
        }
        let mut child = wrap.spawn()?;
        let (stdin, stdout) = (child.stdin().take(), child.stdout().take());
        Ok(Box::new(Started {
            pid: child.id().context("the child was waited for already")?,
            pipes: Pipes::new(stdin, stdout)?,
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
        self.child.signal(SIGTERM)?;
        if timeout(grace, self.child.wait()).await.is_err() {
            self.child.start_kill()?;
            self.child.wait().await?;
        }
        // Not once more when the leader has ended in time: it is reaped then, and the number by
        // which this crate would signal the group may be another's.
        Ok(())
    }
}
