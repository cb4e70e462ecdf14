//! Processor time of the look that every start takes at all processes, when there is nothing to end:
//! without records, and with those that a crash leaves.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use rustix::time::{ClockId, clock_gettime};
use sessiond_supervisor::{ProcessIdentity, Registry, SpawnRecord, Tag, host_name};
use tempfile::TempDir;

use super::Sizes;
use super::child::TREES;
use super::stage::{self, SESSION, environment, example};
use crate::stats::Times;
use crate::table::{Goal, Row, Table, ms};

pub(super) async fn measure(sizes: &Sizes, table: &mut Table) -> anyhow::Result<()> {
    for &(processes, over_ms) in sizes.populations {
        let _sleepers = Sleepers::up_to(processes)?;
        let (mut without, mut with) = (Times::default(), Times::default());
        for _ in 0..sizes.sweeps {
            without.push(sweep(sizes.grace, 0).await?);
            with.push(sweep(sizes.grace, TREES).await?);
        }
        let others = [
            (0, &mut without, "nothing recorded"),
            (TREES, &mut with, "all records stale"),
        ];
        for (records, times, beside) in others {
            table.row(Row {
                what: &format!("sweep of {processes} processes, {records} records: CPU"),
                measured: ms(times.median()),
                beside: beside.to_owned(),
                figures: times.milliseconds(),
                unit: "ms",
                goal: Goal::AtMost(over_ms),
            });
        }
    }
    Ok(())
}

/// The processor time of one sweep.
async fn sweep(grace: Duration, records: usize) -> anyhow::Result<Duration> {
    let dir = TempDir::new()?;
    let supervisor = stage::open(dir.path(), "2", grace)?;
    leave_records(dir.path(), records)?;
    let before = cpu()?;
    let report = supervisor.sweep().await.finished().await;
    let took = cpu()?.saturating_sub(before);
    anyhow::ensure!(
        report.stopped.is_empty() && report.cleared == records as u64,
        "it was to find nothing: {report:?}"
    );
    Ok(took)
}

/// Records of an earlier generation whose processes have ended.
fn leave_records(dir: &Path, count: usize) -> anyhow::Result<()> {
    let registry = Registry::open(stage::registry(dir))?;
    let mut gone = ProcessIdentity::own()?;
    // This one, as it was before it started.
    gone.start_ticks -= 1;
    for spawn in 0..count {
        let tag = Tag::new(
            &stage::install(dir),
            "1",
            SESSION,
            &format!("spawn-{spawn}"),
        )?;
        let record = SpawnRecord::intent(tag, "generator".to_owned(), 0, host_name());
        registry.put(&record.with_identity(gone.clone()))?;
    }
    Ok(())
}

/// What all threads of this process have used.
fn cpu() -> anyhow::Result<Duration> {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    Ok(Duration::new(
        used.tv_sec.try_into()?,
        used.tv_nsec.try_into()?,
    ))
}

/// Processes that do nothing; killed when dropped.
struct Sleepers(Option<Child>);

impl Sleepers {
    /// As many as this machine lacks of so many.
    #[expect(
        clippy::disallowed_methods,
        reason = "the processes of others are no children of a supervisor"
    )]
    fn up_to(processes: usize) -> anyhow::Result<Self> {
        let lacking = processes.saturating_sub(present()?);
        if lacking < 2 {
            return Ok(Self(None));
        }
        // The leader is one of them.
        let mut leader = Command::new(example("nasty-child")?)
            .args(["children", &(lacking - 1).to_string()])
            .env_clear()
            .envs(environment())
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = leader.stdout.take();
        let sleepers = Self(Some(leader));
        let mut ready = [0; 6];
        let mut output = output.ok_or_else(|| anyhow::anyhow!("it has no output"))?;
        std::io::Read::read_exact(&mut output, &mut ready)?;
        Ok(sleepers)
    }
}

/// How many processes there are.
fn present() -> anyhow::Result<usize> {
    let mut count = 0;
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let is_pid = name
            .to_str()
            .is_some_and(|name| name.parse::<u32>().is_ok());
        count += usize::from(is_pid);
    }
    Ok(count)
}

impl Drop for Sleepers {
    fn drop(&mut self) {
        let Some(leader) = &mut self.0 else { return };
        // The leader was not waited for, so the group's number is its own.
        let group = Pid::from_raw(leader.id().cast_signed());
        // Both fail only when they have ended already.
        let _ended = killpg(group, Signal::SIGKILL);
        let _reaped = leader.wait();
    }
}
