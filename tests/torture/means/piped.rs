//! What the usual ways have in common: a command of tokio's, and its output line by line.

use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt as _, BufReader, Split};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::sleep;

use super::TreeCommand;

/// How long those who were killed have to be gone.
const DYING: Duration = Duration::from_millis(200);

/// The command with its pipes, in a process group of its own. That is in favour of those who do not
/// ask for one: a child that kills its own group would kill whoever has started it.
pub(super) fn command(command: &TreeCommand) -> Command {
    let mut grouped = plain(command);
    grouped.process_group(0);
    grouped
}

/// The same for those who choose the group. Standard error is thrown away: nobody asks for it.
pub(super) fn plain(command: &TreeCommand) -> Command {
    let mut piped = Command::new(&command.program);
    piped
        .args(&command.args)
        .env_clear()
        .envs(command.env.iter().cloned())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    piped
}

/// The worker's ends of a child's pipes.
pub(super) struct Pipes {
    /// Held open, as sessiond does, so that no child ends because of its end.
    _stdin: Option<ChildStdin>,
    stdout: Split<BufReader<ChildStdout>>,
}

impl Pipes {
    pub(super) fn of(child: &mut Child) -> anyhow::Result<Self> {
        Self::new(child.stdin.take(), child.stdout.take())
    }

    pub(super) fn new(
        stdin: Option<ChildStdin>,
        stdout: Option<ChildStdout>,
    ) -> anyhow::Result<Self> {
        let stdout = stdout.context("its output was not piped")?;
        Ok(Self {
            _stdin: stdin,
            stdout: BufReader::new(stdout).split(b'\n'),
        })
    }

    pub(super) async fn line(&mut self) -> Option<String> {
        let line = self.stdout.next_segment().await.ok()??;
        Some(String::from_utf8_lossy(&line).into_owned())
    }
}

/// The pid of a child that nobody has waited for.
pub(super) fn pid(child: &Child) -> anyhow::Result<u32> {
    child.id().context("the child was waited for already")
}

/// The same as signals want it.
pub(super) fn to_signal(pid: u32) -> Pid {
    Pid::from_raw(pid.cast_signed())
}

/// Sees an end through. What these ways say of whom they could not end is nothing; when one fails,
/// it leaves somebody, who is counted.
pub(super) async fn ended(end: impl Future<Output = anyhow::Result<()>>) -> Vec<u32> {
    end.await.ok();
    // In their favour: none of them can tell when those below the child are dead.
    sleep(DYING).await;
    Vec::new()
}
