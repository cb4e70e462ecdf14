//! Resident memory with a big backlog, beside that of the same process without one: of a process
//! that has the queue alone, and of a real worker whose generators are slow.

use std::path::Path;
use std::time::Duration;

use super::Sizes;
use super::backlog::{Home, Pair};
use super::child::{Child, Role};
use crate::proc::{kib, ticks};
use crate::stats::median;
use crate::table::{Goal, Row, Table};
use crate::worker::Worker;

const MOST_MIB: f64 = 20.0;

/// How long a worker may take to have looked at all of its sessions.
const QUIET_LIMIT: Duration = Duration::from_secs(60);
/// Without any processor time for so long, it has.
const QUIET: Duration = Duration::from_secs(1);

pub(super) async fn measure(
    sizes: &Sizes,
    dir: &Path,
    pairs: &[Pair],
    table: &mut Table,
) -> anyhow::Result<()> {
    let empty = Home::build(dir.join("empty"), 0, 0).await?;
    tokio::task::block_in_place(|| {
        compare("the queue", sizes.repeats, &empty, pairs, table, child_mib)?;
        // A worker takes seconds to come to rest, and its memory hardly varies.
        compare("a worker", 1, &empty, pairs, table, worker_mib)
    })
}

fn compare(
    what: &str,
    repeats: usize,
    empty: &Home,
    pairs: &[Pair],
    table: &mut Table,
    mib_of: fn(&Home) -> anyhow::Result<f64>,
) -> anyhow::Result<()> {
    let mut without = Vec::new();
    let mut with: Vec<_> = pairs.iter().map(|_| Vec::new()).collect();
    for _ in 0..repeats {
        without.push(mib_of(empty)?);
        for (with, pair) in with.iter_mut().zip(pairs) {
            with.push(mib_of(&pair.big)?);
        }
    }
    for (with, pair) in with.iter().zip(pairs) {
        table.row(Row {
            what: &format!("memory of {what}, {}", pair.name),
            measured: format!("{:.1} MiB", median(with.clone())),
            beside: format!("empty {:.1} MiB", median(without.clone())),
            figures: with.iter().zip(&without).map(|(a, b)| a - b).collect(),
            unit: "MiB",
            goal: Goal::AtMost(MOST_MIB),
        });
    }
    Ok(())
}

/// Of a process that has the queue alone, after a few claims.
fn child_mib(home: &Home) -> anyhow::Result<f64> {
    let child = Child::start(Role::Resting, home)?;
    let mib = resident_mib(child.pid())?;
    child.end()?;
    Ok(mib)
}

/// Of a worker that has taken up all sessions, with a generator in each that never ends.
fn worker_mib(home: &Home) -> anyhow::Result<f64> {
    let settings = [("SESSIOND_REHEARSAL_DELAY_MS", "3600000")];
    let worker = Worker::start_at(home.path().to_owned(), &settings)?;
    let is_quiet = || {
        ticks(worker.pid()).is_ok_and(|before| {
            pause(QUIET);
            ticks(worker.pid()).is_ok_and(|after| after == before)
        })
    };
    worker.wait_for("quiet", QUIET_LIMIT, is_quiet)?;
    resident_mib(worker.pid())
}

fn resident_mib(pid: u32) -> anyhow::Result<f64> {
    Ok(kib(pid, "status", "VmRSS:")? / 1024.0)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the condition is that nothing happens meanwhile"
)]
fn pause(duration: Duration) {
    std::thread::sleep(duration);
}
