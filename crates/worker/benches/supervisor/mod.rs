//! `supervisor`: how soon trees are gone, what children cost, that nobody wakes for nothing; and who
//! is left by other ways to end a tree, beside sessiond's.
//!
//! `supervisor ROW...` measures only those rows; `--short` all the same with less of everything, as
//! a test. Trees are those of `tests/child`, whose program has to be built: `cargo build --examples`.

pub(crate) mod child;
mod gone;
mod idle;
mod killed;
mod large;
mod many;
mod rivals;
mod spawn;
mod stage;
mod sweep;

use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use crate::busy::Watch;
use crate::table::Table;

/// How much of everything.
struct Sizes {
    /// From SIGTERM to SIGKILL.
    grace: Duration,
    /// Rounds of each case of the torture suite, by each means.
    rounds: u32,
    /// Whether the cases are cut to what takes little time.
    is_short: bool,
    /// Ends of a small tree.
    small: usize,
    /// Ends of a large tree, and of many.
    large: usize,
    /// The large tree has 2 to this power.
    depth: u32,
    /// Children that are stopped in parallel.
    children: usize,
    /// Kills of the worker, and of worker and shims.
    kills: usize,
    /// Turns with and without the ballast.
    turns: usize,
    /// Starts in each.
    starts: usize,
    /// What the worker holds more.
    ballast_bytes: usize,
    /// Processes on the machine, and the most milliseconds that a sweep may take then.
    populations: &'static [(usize, f64)],
    /// Sweeps of each.
    sweeps: usize,
    /// How long an idle worker is watched.
    watched: Duration,
}

const FULL: Sizes = Sizes {
    grace: Duration::from_millis(500),
    rounds: 3,
    is_short: false,
    small: 20,
    large: 5,
    depth: 10,
    children: 1_000,
    kills: 10,
    turns: 5,
    starts: 40,
    ballast_bytes: 1 << 30,
    populations: &[(300, 5.0), (2_000, 40.0)],
    sweeps: 21,
    watched: Duration::from_secs(30),
};

const SHORT: Sizes = Sizes {
    grace: Duration::from_millis(100),
    rounds: 1,
    is_short: true,
    small: 3,
    large: 1,
    depth: 6,
    children: 30,
    kills: 1,
    turns: 2,
    starts: 3,
    ballast_bytes: 64 << 20,
    populations: &[(150, 5.0)],
    sweeps: 3,
    watched: Duration::from_secs(2),
};

/// Rows that are measured together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Group {
    Survivors,
    Small,
    Large,
    Many,
    Killed,
    Spawn,
    Sweep,
    Idle,
    Rivals,
}

impl Group {
    /// In the order of the table.
    const ALL: [Self; 9] = [
        Self::Survivors,
        Self::Small,
        Self::Large,
        Self::Many,
        Self::Killed,
        Self::Spawn,
        Self::Sweep,
        Self::Idle,
        Self::Rivals,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Survivors => "survivors",
            Self::Small => "small",
            Self::Large => "large",
            Self::Many => "many",
            Self::Killed => "killed",
            Self::Spawn => "spawn",
            Self::Sweep => "sweep",
            Self::Idle => "idle",
            Self::Rivals => "rivals",
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
    measure(&sizes, |group| groups.is_empty() || groups.contains(&group))?;
    Ok(())
}

/// What is quick of it, with less of everything. The suite of trees has tests of its own.
pub(crate) fn run_short() -> anyhow::Result<()> {
    let is_apart = |group| matches!(group, Group::Survivors | Group::Rivals);
    measure(&SHORT, |group| !is_apart(group))?.ensure_zeros()
}

fn measure(sizes: &Sizes, is_wanted: impl Fn(Group) -> bool) -> anyhow::Result<Table> {
    let began = Instant::now();
    stage::raise_descriptor_limit()?;
    let mut table = Table::default();
    table.head();
    let runtime = runtime()?;
    for group in Group::ALL.into_iter().filter(|group| is_wanted(*group)) {
        let watch = Watch::start()?;
        runtime.block_on(one(group, sizes, &mut table))?;
        table.others(watch.others_percent()?);
    }
    table.foot();
    println!("all of it took {:.0} s", began.elapsed().as_secs_f64());
    Ok(table)
}

async fn one(group: Group, sizes: &Sizes, table: &mut Table) -> anyhow::Result<()> {
    match group {
        Group::Survivors => rivals::survivors(sizes, table).await,
        Group::Small => large::small(sizes, table).await,
        Group::Large => large::large(sizes, table).await,
        Group::Many => many::measure(sizes, table).await,
        Group::Killed => killed::measure(sizes, table).await,
        Group::Spawn => spawn::measure(sizes, table).await,
        Group::Sweep => sweep::measure(sizes, table).await,
        Group::Idle => idle::measure(sizes, table),
        Group::Rivals => rivals::measure(sizes, table).await,
    }
}

/// As the worker's: two threads.
fn runtime() -> anyhow::Result<Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?)
}
