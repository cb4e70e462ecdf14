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
mod wakes;

use std::path::Path;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use self::backlog::Pair;
use crate::busy::Watch;
use crate::table::Table;

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

/// Rows that are measured together.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Group {
    Enqueue,
    Drain,
    Both,
    Depth,
    Counts,
    Open,
    Memory,
    Wake,
}

impl Group {
    /// In the order of the table.
    const ALL: [Self; 8] = [
        Self::Enqueue,
        Self::Drain,
        Self::Both,
        Self::Depth,
        Self::Counts,
        Self::Open,
        Self::Memory,
        Self::Wake,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Enqueue => "enqueue",
            Self::Drain => "drain",
            Self::Both => "both",
            Self::Depth => "depth",
            Self::Counts => "counts",
            Self::Open => "open",
            Self::Memory => "memory",
            Self::Wake => "wake",
        }
    }

    fn named(name: &str) -> anyhow::Result<Self> {
        let group = Self::ALL.into_iter().find(|group| group.name() == name);
        group.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            anyhow::anyhow!("no row named {name}: {names}")
        })
    }
}

/// Measures the rows that are named, or all.
pub(crate) fn run(args: impl Iterator<Item = String>) -> anyhow::Result<()> {
    let (options, names): (Vec<_>, Vec<_>) = args.partition(|arg| arg.starts_with('-'));
    let sizes = match options.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => FULL,
        ["--short"] => SHORT,
        _ => anyhow::bail!("the only option is --short"),
    };
    let groups: Vec<_> = names
        .iter()
        .map(|name| Group::named(name))
        .collect::<Result<_, _>>()?;
    measure(&sizes, |group| groups.is_empty() || groups.contains(&group))
}

/// Every row, with less of everything.
pub(crate) fn run_short() -> anyhow::Result<()> {
    measure(&SHORT, |_| true)
}

fn measure(sizes: &Sizes, is_wanted: impl Fn(Group) -> bool) -> anyhow::Result<()> {
    let began = Instant::now();
    let dir = tempfile::tempdir()?;
    println!(
        "Medians of {} repeats, each in turns with what stands beside it.",
        sizes.repeats
    );
    let mut run = Run {
        sizes,
        dir: dir.path(),
        pairs: None,
        table: Table::default(),
    };
    run.table.head();
    let runtime = runtime()?;
    for group in Group::ALL.into_iter().filter(|group| is_wanted(*group)) {
        runtime.block_on(run.group(group))?;
    }
    run.table.foot();
    println!("all of it took {:.0} s", began.elapsed().as_secs_f64());
    Ok(())
}

/// What the groups share.
struct Run<'a> {
    sizes: &'a Sizes,
    dir: &'a Path,
    /// Built for the first that needs them.
    pairs: Option<[Pair; 2]>,
    table: Table,
}

impl Run<'_> {
    async fn group(&mut self, group: Group) -> anyhow::Result<()> {
        let needs_backlog = matches!(
            group,
            Group::Depth | Group::Counts | Group::Open | Group::Memory
        );
        if needs_backlog && self.pairs.is_none() {
            self.pairs = Some(backlog::build(self.sizes, self.dir, &self.table).await?);
        }
        let (sizes, dir, table) = (self.sizes, self.dir, &mut self.table);
        let pairs = self.pairs.as_ref().map_or(&[][..], |pairs| &pairs[..]);
        disk::note(table, dir)?;
        let watch = Watch::start()?;
        match group {
            Group::Enqueue => enqueue::measure(sizes, dir, table).await?,
            Group::Drain => drain::measure(sizes, dir, table).await?,
            Group::Both => both::measure(sizes, dir, table).await?,
            Group::Depth => depth::measure(sizes, pairs, table).await?,
            Group::Counts => counts::measure(sizes, pairs, table).await?,
            Group::Open => open::measure(sizes, pairs, table).await?,
            Group::Memory => memory::measure(sizes, dir, pairs, table).await?,
            Group::Wake => wakes::measure(sizes, table).await?,
        }
        table.others(watch.others_percent()?);
        Ok(())
    }
}

/// As the worker's: two threads, and its allocator.
fn runtime() -> anyhow::Result<Runtime> {
    sessiond::memory::settle();
    Ok(tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?)
}
