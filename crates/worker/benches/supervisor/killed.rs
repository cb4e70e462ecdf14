//! SIGKILL to the worker, and to the worker with all its shims: how long after the grace nothing of
//! its trees is left. In the first case the shims see to it, in the second the next start.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use super::Sizes;
use super::child::{TREES, Worker};
use super::gone::Watched;
use super::stage::{self, LIMIT};
use crate::stats::Times;
use crate::table::{Goal, Row, Table, ms};

const WORKER_OVER: Duration = Duration::from_millis(250);
const BOTH_OVER: Duration = Duration::from_secs(1);

/// Shims whose worker is dead begin to end their trees; they must not be done before they are
/// killed too.
const LONG_GRACE: Duration = Duration::from_secs(60);

pub(super) async fn measure(sizes: &Sizes, table: &mut Table) -> anyhow::Result<()> {
    let (mut worker_alone, mut both) = (Times::default(), Times::default());
    let (mut survivors, mut records) = (0, 0);
    for _ in 0..sizes.kills {
        worker_alone.push(kill_worker(sizes.grace)?);
        let after = kill_both(sizes.grace).await?;
        both.push(after.beyond);
        survivors += after.survivors;
        records += after.records;
    }
    let grace = ms(sizes.grace);
    let rows = [
        ("worker", &mut worker_alone, WORKER_OVER, "its death"),
        ("both", &mut both, BOTH_OVER, "the next start"),
    ];
    for (who, times, over, since) in rows {
        table.row(Row {
            what: &format!("{who} killed: {TREES} trees gone after the grace"),
            measured: format!("p50 {}", ms(times.median())),
            beside: format!("{grace} from {since}"),
            figures: times.milliseconds(),
            unit: "ms",
            goal: Goal::Never {
                over: over.as_secs_f64() * 1000.0,
            },
        });
    }
    table.zero("worker and shims killed: processes left", survivors);
    table.zero("worker and shims killed: records left", records);
    Ok(())
}

fn kill_worker(grace: Duration) -> anyhow::Result<Duration> {
    let dir = TempDir::new()?;
    let mut worker = Worker::start(dir.path(), grace)?;
    let watched = Watched::these(&[&worker.shims[..], &worker.members].concat())?;
    let began = Instant::now();
    worker.kill()?;
    let ended = watched.all_ended(LIMIT)?;
    Ok((ended - began).saturating_sub(grace))
}

struct After {
    beyond: Duration,
    survivors: usize,
    records: usize,
}

async fn kill_both(grace: Duration) -> anyhow::Result<After> {
    let dir = TempDir::new()?;
    let mut worker = Worker::start(dir.path(), LONG_GRACE)?;
    let shims = Watched::these(&worker.shims)?;
    let members = Watched::these(&worker.members)?;
    // It must not see the shims' ends and act on them.
    Watched::these(&[worker.pid()])?.signal(Signal::STOP);
    shims.signal(Signal::KILL);
    worker.kill()?;
    shims.all_ended(LIMIT)?;
    anyhow::ensure!(
        members.alive()? == worker.members.len(),
        "somebody ended them before the next start"
    );
    let began = Instant::now();
    let supervisor = stage::open(dir.path(), "2", grace)?;
    let report = supervisor.sweep().await.finished().await;
    let took = began.elapsed();
    let survivors = members.alive()?;
    anyhow::ensure!(report.stopped.len() == TREES, "{report:?}");
    Ok(After {
        beyond: took.saturating_sub(grace),
        survivors,
        records: std::fs::read_dir(stage::registry(dir.path()))?.count(),
    })
}
