//! Resident memory with a big backlog, beside that of the same process without one: of a process
//! that has the queue alone, and of a real worker whose generators are slow.

use std::path::Path;
use std::time::Duration;

use super::Sizes;
use super::backlog::{Home, Pair};
use super::child::{Child, Role};
use super::table::{Goal, Row, Table};
use crate::proc::{kib, ticks};
use crate::stats::median;
use crate::worker::Worker;

const MOST_MIB: f64 = 20.0;

/// How long a worker may take to have looked at all of its sessions.
const QUIET_LIMIT: Duration = Duration::from_secs(60);
/// Without any processor time for so long, it has.
const QUIET: Duration = Duration::from_millis(1500);

pub(super) async fn measure(
    sizes: &Sizes,
    dir: &Path,
    pairs: &[Pair],
    table: &mut Table,
) -> anyhow::Result<()> {
    let empty = Home::build(dir.join("empty"), 0, 0).await?;
    for pair in pairs {
        let of = |home: &Home| {
            let child = Child::start(Role::Resting, home)?;
            let mib = resident_mib(child.pid())?;
            child.end()?;
            Ok(mib)
        };
        let what = format!("memory of the queue, {}", pair.name);
        repeat(sizes.repeats, &what, &empty, pair, table, of)?;
    }
    for pair in pairs {
        let what = format!("memory of a worker, {}", pair.name);
        repeat(1, &what, &empty, pair, table, worker_mib)?;
    }
    Ok(())
}

fn repeat(
    repeats: usize,
    what: &str,
    empty: &Home,
    pair: &Pair,
    table: &mut Table,
    of: impl Fn(&Home) -> anyhow::Result<f64>,
) -> anyhow::Result<()> {
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for _ in 0..repeats {
        without.push(tokio::task::block_in_place(|| of(empty))?);
        with.push(tokio::task::block_in_place(|| of(&pair.big))?);
    }
    table.row(Row {
        what,
        measured: format!("{:.1} MiB", median(with.clone())),
        beside: format!("empty {:.1} MiB", median(without.clone())),
        figures: with.iter().zip(&without).map(|(a, b)| a - b).collect(),
        unit: "MiB",
        goal: Goal::AtMost(MOST_MIB),
    });
    Ok(())
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
