//! Ways to start a program and to end all that came of it: sessiond's, and those that are usual.
//!
//! A way does its best: what it offers for ending a tree is used as its documentation says.

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;

/// A program to start. Its standard output is read by whoever starts it.
#[derive(Clone, Debug)]
pub(crate) struct TreeCommand {
    /// A path.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its whole environment.
    pub env: Vec<(String, String)>,
}

/// One way.
#[async_trait]
pub(crate) trait Means: Send + Sync {
    /// Starts it.
    async fn start(&self, command: &TreeCommand) -> anyhow::Result<Box<dyn Tree>>;
}

/// A program that was started, with all it starts.
#[async_trait]
pub(crate) trait Tree: Send {
    /// Its pid.
    fn pid(&self) -> u32;

    /// The next line of its standard output; `None` at its end. Cancel-safe.
    async fn line(&mut self) -> Option<String>;

    /// Ends all of it as well as this way can: asks, waits for `grace` at most, makes it. Returns
    /// when this way says that it is over.
    async fn stop(self: Box<Self>, grace: Duration);
}
