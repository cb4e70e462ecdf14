//! `queue`: the table of the queue's speed and what of it is to be reached; each row beside its floor
//! from the same run, in turns with it.
//!
//! `queue ROW...` measures only those rows; `--short` all the same with less of everything, to see
//! that they work, not to judge by.

mod backlog;
mod both;
pub(crate) mod child;
mod counts;
mod depth;
mod disk;
mod drain;
mod enqueue;
mod load;
mod memory;
mod open;
mod table;
mod wakes;

use std::path::Path;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use self::backlog::Pair;
use self::table::Table;

/// How much of everything.
struct Sizes {
    /// Of each measurement, in turns with its floor.
    repeats: usize,
    /// How long callers call.
    spell: Duration,
    /// Messages worked in one repeat of `drain`.
    drained: usize,
    /// Messages that each consumer of `both` has before it.
    ahead: usize,
    /// Pending messages of the small files.
    small: usize,
    /// Pending messages of the big files.
    big: usize,
    /// Sessions of the files with many.
    sessions: usize,
    /// Claims in one repeat of `depth`.
    claims: usize,
    /// Examinations of the doctor in one repeat of `counts`.
    examinations: usize,
    /// Wakes in one repeat of `wake`.
    wakes: usize,
}

const FULL: Sizes = Sizes {
    repeats: 5,
    spell: Duration::from_millis(700),
    drained: 4_000,
    ahead: 3_000,
    small: 1_000,
    big: 1_000_000,
    sessions: 10_000,
    claims: 300,
    examinations: 3,
    wakes: 300,
};

const SHORT: Sizes = Sizes {
    repeats: 3,
    spell: Duration::from_millis(100),
    drained: 400,
    ahead: 500,
    small: 200,
    big: 20_000,
    sessions: 400,
    claims: 50,
    examinations: 2,
    wakes: 50,
};

/// The rows by name, in the order of the table.
const ROWS: [&str; 8] = [
    "enqueue", "drain", "both", "depth", "counts", "open", "memory", "wake",
];

/// Measures the rows that are named, or all.
pub(crate) fn run(args: impl Iterator<Item = String>) -> anyhow::Result<()> {
    let (options, mut rows): (Vec<_>, Vec<_>) = args.partition(|arg| arg.starts_with('-'));
    for row in &rows {
        let known = ROWS.contains(&row.as_str());
        anyhow::ensure!(known, "no row named {row}: {}", ROWS.join(", "));
    }
    if rows.is_empty() {
        rows = ROWS.map(str::to_owned).to_vec();
    }
    let sizes = match options.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => FULL,
        ["--short"] => SHORT,
        _ => anyhow::bail!("the only option is --short"),
    };
    measure(&sizes, &rows)
}

/// Every row, with less of everything.
pub(crate) fn run_short() -> anyhow::Result<()> {
    measure(&SHORT, &ROWS.map(str::to_owned))
}

fn measure(sizes: &Sizes, rows: &[String]) -> anyhow::Result<()> {
    let began = Instant::now();
    let dir = tempfile::tempdir()?;
    let mut table = Table::default();
    println!(
        "Medians of {} repeats, each in turns with what stands beside it.",
        sizes.repeats
    );
    table.head();
    let runtime = runtime()?;
    runtime.block_on(rows_of(sizes, rows, dir.path(), &mut table))?;
    table.foot();
    println!("all of it took {:.0} s", began.elapsed().as_secs_f64());
    Ok(())
}

async fn rows_of(
    sizes: &Sizes,
    rows: &[String],
    dir: &Path,
    table: &mut Table,
) -> anyhow::Result<()> {
    let mut pairs: Option<[Pair; 2]> = None;
    for name in ROWS
        .into_iter()
        .filter(|name| rows.iter().any(|row| row == name))
    {
        if pairs.is_none() && ["depth", "counts", "open", "memory"].contains(&name) {
            pairs = Some(backlog::build(sizes, dir, table).await?);
        }
        let pairs = pairs.as_ref().map_or(&[][..], |pairs| &pairs[..]);
        disk::note(table, dir)?;
        match name {
            "enqueue" => enqueue::measure(sizes, dir, table).await?,
            "drain" => drain::measure(sizes, dir, table).await?,
            "both" => both::measure(sizes, dir, table).await?,
            "depth" => depth::measure(sizes, pairs, table).await?,
            "counts" => counts::measure(sizes, pairs, table).await?,
            "open" => open::measure(sizes, pairs, table).await?,
            "memory" => memory::measure(sizes, dir, pairs, table).await?,
            _ => wakes::measure(sizes, table).await?,
        }
    }
    Ok(())
}

/// As the worker's: two threads, and its allocator.
fn runtime() -> anyhow::Result<Runtime> {
    sessiond::memory::settle();
    Ok(tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?)
}
