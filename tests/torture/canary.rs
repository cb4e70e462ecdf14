//! Bystanders: processes of the same program that no means may ever touch.
//!
//! A canary tells every signal that it can catch, so that a hit is seen even if it was survived;
//! SIGKILL shows in its end, SIGSTOP in its state.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use crate::check;

/// Enough on a busy machine; who takes longer was stopped.
const LIMIT: Duration = Duration::from_secs(30);

/// What tells that a process belongs to an install: here, to none that there is.
const FOREIGN_TAG: &str = "torture-canary-of-another-install:1:session:spawn";

/// The canaries of one round.
pub(crate) struct Canaries([Canary; 2]);

impl Canaries {
    /// Starts one in this process's session and group, and one in a session of its own under the
    /// tag of another install. They end with this process.
    pub(crate) async fn start(nasty_child: &Path) -> anyhow::Result<Self> {
        let tag = Some(FOREIGN_TAG);
        let beside = Canary::start(nasty_child, "canary", tag, "beside the runner").await?;
        let apart = Canary::start(nasty_child, "canary-apart", tag, "of another install").await?;
        Ok(Self([beside, apart]))
    }

    /// Ends them; who was hit, in words.
    pub(crate) async fn end(self) -> Vec<String> {
        let mut hits = Vec::new();
        for canary in self.0 {
            let name = canary.name;
            let told = canary.end().await;
            hits.extend(told.into_iter().map(|hit| format!("canary {name}: {hit}")));
        }
        hits
    }
}

/// One of them.
pub(crate) struct Canary {
    pub(crate) name: &'static str,
    pid: u32,
    child: Child,
    stdin: ChildStdin,
    said: Lines<BufReader<ChildStdout>>,
}

impl Canary {
    /// Starts one under `tag`, or without one.
    pub(crate) async fn start(
        nasty_child: &Path,
        command: &str,
        tag: Option<&str>,
        name: &'static str,
    ) -> anyhow::Result<Self> {
        let mut child = Command::new(nasty_child)
            .arg(command)
            .env_clear()
            .envs(tag.map(|tag| ("SESSIOND_TAG", tag)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start {}", nasty_child.display()))?;
        let pid = child.id().context("a canary has no pid")?;
        let stdin = child.stdin.take().context("a canary has no input")?;
        let stdout = child.stdout.take().context("a canary has no output")?;
        let mut said = BufReader::new(stdout).lines();
        match timeout(LIMIT, said.next_line()).await {
            Ok(Ok(Some(line))) if line == "ready" => {}
            other => bail!("a canary is not ready: {other:?}"),
        }
        Ok(Self {
            name,
            pid,
            child,
            stdin,
            said,
        })
    }

    /// Ends it; how it was hit, in words.
    pub(crate) async fn end(mut self) -> Vec<String> {
        let mut hits = Vec::new();
        if check::state(self.pid) == Some('T') {
            hits.push("it is stopped".to_owned());
            // So that it is waited for all the same.
            self.child.start_kill().ok();
        }
        // It tells what has come until now, and ends.
        drop(self.stdin);
        loop {
            match timeout(LIMIT, self.said.next_line()).await {
                Ok(Ok(Some(hit))) => hits.push(hit),
                Ok(Ok(None)) => break,
                other => {
                    hits.push(format!("it does not answer: {other:?}"));
                    self.child.start_kill().ok();
                    break;
                }
            }
        }
        match timeout(LIMIT, self.child.wait()).await {
            Ok(Ok(status)) if status.success() => {}
            Ok(Ok(status)) => hits.push(format!("it ended by {status}")),
            // Somebody else has waited for it, or nobody can.
            other => hits.push(format!("it cannot be waited for: {other:?}")),
        }
        hits
    }
}
