//! The worker that dies, as its parent sees it.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use super::round::LIMIT;
use super::worker::Plan;

/// A worker as a process. It ends with this one.
pub(super) struct Worker {
    process: Child,
    /// Held here: waiting for a process closes what input of it there is.
    stdin: ChildStdin,
    said: Lines<BufReader<ChildStdout>>,
}

impl Worker {
    /// Starts it with this plan.
    pub(super) fn start(runner: &Path, plan: &Plan) -> anyhow::Result<Self> {
        let mut process = Command::new(runner)
            .arg("crash-worker")
            .arg(serde_json::to_string(plan)?)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("start a worker")?;
        let stdin = process.stdin.take().context("a worker has no input")?;
        let stdout = process.stdout.take().context("a worker has no output")?;
        Ok(Self {
            process,
            stdin,
            said: BufReader::new(stdout).lines(),
        })
    }

    /// Waits until it says that its trees stand.
    pub(super) async fn stands(&mut self) -> anyhow::Result<()> {
        match timeout(LIMIT, self.said.next_line()).await {
            Ok(Ok(Some(line))) if line == "stands" => Ok(()),
            other => bail!("the worker does not stand: {other:?}"),
        }
    }

    /// Stops it, by a number that is its own until it is waited for.
    pub(super) fn freeze(&self) -> anyhow::Result<()> {
        let pid = self.process.id().and_then(|pid| i32::try_from(pid).ok());
        let pid = pid
            .and_then(Pid::from_raw)
            .context("a worker without a pid")?;
        kill_process(pid, Signal::STOP).context("stop the worker")
    }

    /// SIGKILL.
    pub(super) fn kill(&mut self) -> anyhow::Result<()> {
        self.process.start_kill().context("kill the worker")
    }

    /// Waits until it was killed.
    pub(super) async fn died(mut self) -> anyhow::Result<()> {
        let status = timeout(LIMIT, self.process.wait()).await;
        let status = status.context("the worker does not die")??;
        let is_killed = status.signal() == Some(Signal::KILL.as_raw());
        ensure!(
            is_killed,
            "the worker ended by {status}, not where it was to"
        );
        Ok(())
    }

    /// Closes its input and waits for its own end.
    pub(super) async fn end_in_order(mut self) -> anyhow::Result<()> {
        drop(self.stdin);
        let status = timeout(LIMIT, self.process.wait()).await;
        let status = status.context("the worker does not end")??;
        ensure!(status.success(), "the worker ended by {status}");
        Ok(())
    }
}
