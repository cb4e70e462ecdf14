//! This very binary as a worker with trees, to be killed.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child as Process, Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;

use super::stage;

/// The argument that turns this binary into the worker.
pub(crate) const CHILD: &str = "supervisor-worker";

/// As many as generators may run by default.
pub(super) const TREES: usize = 4;

/// 2 to this power, less the leader, are below each child. All ignore SIGTERM.
const DEPTH: u32 = 3;

/// The worker's process; killed when dropped.
pub(super) struct Worker {
    process: Process,
    pub(super) shims: Vec<u32>,
    /// Everybody below the shims.
    pub(super) members: Vec<u32>,
}

impl Worker {
    /// Starts it and waits for its trees.
    #[expect(
        clippy::disallowed_methods,
        reason = "a measurement starts its own worker"
    )]
    pub(super) fn start(dir: &Path, grace: Duration) -> anyhow::Result<Self> {
        let process = Command::new(std::env::current_exe()?)
            .arg(CHILD)
            .arg(dir)
            .arg(grace.as_millis().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut worker = Self {
            process,
            shims: Vec::new(),
            members: Vec::new(),
        };
        let output = worker.process.stdout.take();
        let mut lines = BufReader::new(output.context("the worker has no output")?).lines();
        for _ in 0..TREES {
            let line = lines.next().context("the worker says no more")??;
            let pids: Result<Vec<u32>, _> = line.split(' ').map(str::parse).collect();
            let pids = pids?;
            worker.shims.extend(pids.first());
            worker.members.extend(&pids[1..]);
        }
        Ok(worker)
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.id()
    }

    pub(super) fn kill(&mut self) -> anyhow::Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ended = self.process.kill();
        let _reaped = self.process.wait();
    }
}

/// The worker's side.
pub(crate) fn main(mut args: impl Iterator<Item = String>) -> anyhow::Result<()> {
    let (Some(dir), Some(grace_ms)) = (args.next(), args.next()) else {
        anyhow::bail!("a directory and the grace");
    };
    let grace = Duration::from_millis(grace_ms.parse()?);
    super::runtime()?.block_on(async {
        let supervisor = stage::open(Path::new(&dir), "1", grace)?;
        let mut children = Vec::new();
        for _ in 0..TREES {
            let args = ["bomb", &DEPTH.to_string()];
            let (child, pids) = stage::tree(&supervisor, &args, 1 << DEPTH).await?;
            let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
            println!("{}", pids.join(" "));
            children.push(child);
        }
        std::io::stdout().flush()?;
        // Ends with the input, which whoever measures holds.
        tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()))
            .await??;
        Ok(())
    })
}
