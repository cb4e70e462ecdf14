//! Ways to start a program and to end all that came of it: sessiond's, and those that are usual.
//!
//! A way does its best: what it offers for ending a tree is used as its documentation says, and
//! where that leaves a choice it is made in its favour.

mod group;
mod kill_tree;
mod piped;
mod process_wrap;
mod sessiond;
mod tokio_drop;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use async_trait::async_trait;

pub(crate) use self::sessiond::{SESSION, Sessiond};
use crate::options::Programs;

/// A program to start. Its standard output is read by whoever starts it.
#[derive(Clone, Debug)]
pub(crate) struct TreeCommand {
    /// A path.
    pub(crate) program: PathBuf,
    /// Its arguments.
    pub(crate) args: Vec<String>,
    /// Its whole environment.
    pub(crate) env: Vec<(String, String)>,
}

/// One way.
#[async_trait]
pub(crate) trait Means: Send + Sync {
    /// Starts it.
    async fn start(&self, command: &TreeCommand) -> anyhow::Result<Box<dyn Tree>>;

    /// How many files it keeps of trees that it holds to be running.
    fn records(&self) -> anyhow::Result<u64> {
        Ok(0)
    }

    /// What only sessiond can play is played on this.
    fn as_sessiond(&self) -> Option<&Sessiond> {
        None
    }
}

/// A program that was started, with all it starts. Dropping it ends it as this way does that.
#[async_trait]
pub(crate) trait Tree: Send {
    /// Its pid.
    fn pid(&self) -> u32;

    /// The next line of its standard output; `None` at its end. Cancel-safe.
    async fn line(&mut self) -> Option<String>;

    /// Ends all of it as well as this way can: asks, waits for `grace` at most, makes it. Returns
    /// when this way says that it is over, with the pids that it says it could not end.
    async fn stop(self: Box<Self>, grace: Duration) -> Vec<u32>;
}

/// The names of all, sessiond's first.
pub(crate) const NAMES: [&str; 6] = [
    sessiond::NAME,
    tokio_drop::NAME,
    group::NAME,
    process_wrap::GROUP,
    process_wrap::SESSION,
    kill_tree::NAME,
];

/// The way of this name, with `dir` for its files.
///
/// # Errors
/// There is none, or it cannot begin.
pub(crate) fn by_name(
    name: &str,
    programs: &Programs,
    dir: &Path,
    grace: Duration,
) -> anyhow::Result<Arc<dyn Means>> {
    Ok(match name {
        sessiond::NAME => Arc::new(Sessiond::open(&programs.shim()?, dir, grace)?),
        tokio_drop::NAME => Arc::new(tokio_drop::KillOnDrop),
        group::NAME => Arc::new(group::Group),
        process_wrap::GROUP => Arc::new(process_wrap::Wrapper { has_session: false }),
        process_wrap::SESSION => Arc::new(process_wrap::Wrapper { has_session: true }),
        kill_tree::NAME => Arc::new(kill_tree::ByParents),
        other => bail!("no means is named {other}: {}", NAMES.join(", ")),
    })
}
