//! The crate kill_tree: looks for the children of the child, and theirs, and signals each.

use std::time::Duration;

use async_trait::async_trait;
use kill_tree::Config;
use kill_tree::tokio::{kill_tree, kill_tree_with_config};
use tokio::process::Child;
use tokio::time::timeout;

use super::piped::{self, Pipes};
use super::{Means, Tree, TreeCommand};

pub(super) const NAME: &str = "kill_tree";

pub(super) struct ByParents;

struct Started {
    child: Child,
    pid: u32,
    pipes: Pipes,
}

#[async_trait]
impl Means for ByParents {
    async fn start(&self, command: &TreeCommand) -> anyhow::Result<Box<dyn Tree>> {
        let mut child = piped::command(command).spawn()?;
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
        kill_tree(self.pid).await?;
        if timeout(grace, self.child.wait()).await.is_err() {
            let config = Config {
                signal: "SIGKILL".to_owned(),
                ..Config::default()
            };
            kill_tree_with_config(self.pid, &config).await?;
            self.child.wait().await?;
        }
        // Without the child there is no tree any more: those below it have other parents now.
        Ok(())
    }
}
