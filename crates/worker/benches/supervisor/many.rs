//! Many children at once, each with its shim, that end when they are asked to: how long until the
//! last one's end is verified, beside children without any of it; and what each costs the worker.

use std::time::Instant;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

use super::Sizes;
use super::gone::Watched;
use super::stage::{LIMIT, SESSION, Stage, environment, example};
use crate::proc::kib;
use crate::stats::median;
use crate::table::{Goal, Row, Table, ms_of};

/// Starts under way at once.
const STARTING: usize = 16;
const LIMIT_MS: f64 = 1_000.0;

pub(super) async fn measure(sizes: &Sizes, table: &mut Table) -> anyhow::Result<()> {
    let count = sizes.children;
    let (mut supervised, mut direct) = (Vec::new(), Vec::new());
    let mut survivors = 0;
    let mut held = None;
    for _ in 0..sizes.large {
        let stage = Stage::new(sizes.grace)?;
        let own = std::process::id();
        let (descriptors_before, rss_before) = (descriptors()?, kib(own, "status", "VmRSS:")?);
        let children: Vec<_> = stream::iter(0..count)
            .map(|_| stage.spawn(&["wait"]))
            .buffer_unordered(STARTING)
            .try_collect()
            .await?;
        held.get_or_insert((
            (descriptors()? - descriptors_before) as f64 / count as f64,
            (kib(own, "status", "VmRSS:")? - rss_before) / count as f64,
        ));
        let infos = stage.supervisor.list();
        let pids = infos
            .iter()
            .flat_map(|info| [Some(info.shim_pid), info.pid]);
        let watched = Watched::these(&pids.flatten().collect::<Vec<_>>())?;
        let began = Instant::now();
        let report = stage.supervisor.reap(SESSION).await;
        supervised.push(began.elapsed().as_secs_f64() * 1000.0);
        survivors += watched.alive()?;
        anyhow::ensure!(
            report.stopped.len() == count,
            "{} ended",
            report.stopped.len()
        );
        drop(children);

        direct.push(directly(count).await?);
    }
    table.row(Row {
        what: &format!("{count} cooperative children stopped in parallel"),
        measured: ms_of(median(supervised.clone())),
        beside: format!("direct children {}", ms_of(median(direct))),
        figures: supervised,
        unit: "ms",
        goal: Goal::Never { over: LIMIT_MS },
    });
    table.zero(&format!("{count} cooperative children: left"), survivors);
    if let Some((descriptors, kib)) = held {
        table.note(&format!(
            "a running child takes {descriptors:.1} descriptors and {kib:.0} KiB of the worker"
        ));
    }
    Ok(())
}

/// How many this process has open.
fn descriptors() -> anyhow::Result<usize> {
    Ok(std::fs::read_dir("/proc/self/fd")?.count())
}

/// Milliseconds from SIGTERM to the last child reaped, when the worker does it itself.
async fn directly(count: usize) -> anyhow::Result<f64> {
    let program = example("nasty-child")?;
    let start = || {
        let mut command = Command::new(&program);
        command.arg("wait").env_clear().envs(environment());
        command.stdout(std::process::Stdio::null());
        command.kill_on_drop(true).spawn()
    };
    let mut children: Vec<Child> = (0..count).map(|_| start()).collect::<Result<_, _>>()?;
    let began = Instant::now();
    for pid in children.iter().filter_map(Child::id) {
        kill(Pid::from_raw(pid.cast_signed()), Signal::SIGTERM)?;
    }
    for child in &mut children {
        tokio::time::timeout(LIMIT, child.wait()).await??;
    }
    Ok(began.elapsed().as_secs_f64() * 1000.0)
}
