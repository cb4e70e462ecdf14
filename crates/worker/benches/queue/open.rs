//! From opening a file with a backlog to the answer to the first claim, after a clean stop and after
//! kill -9: the steps that the worker takes.

use std::time::{Duration, Instant};

use sessiond::clock::Clock;
use sessiond_queue::store::Store as _;

use super::Sizes;
use super::backlog::{Home, Pair};
use super::child::{Child, Role};
use super::load;
use crate::stats::median;
use crate::table::{Goal, Row, Table};

const CLEAN_MS: f64 = 100.0;
const KILLED_MS: f64 = 300.0;

pub(super) async fn measure(
    sizes: &Sizes,
    pairs: &[Pair],
    table: &mut Table,
) -> anyhow::Result<()> {
    for pair in pairs {
        let (mut clean, mut killed) = (Vec::new(), Vec::new());
        // The first repeat warms up.
        for repeat in 0..=sizes.repeats {
            let after_close = open(&pair.big).await?;
            tokio::task::block_in_place(|| Child::start(Role::Busy, &pair.big).map(drop))?;
            let after_kill = open(&pair.big).await?;
            anyhow::ensure!(after_kill.log_bytes > 0, "the child left no log");
            if repeat > 0 {
                clean.push(after_close);
                killed.push(after_kill);
            }
        }
        row(sizes, table, pair, "a clean stop", &clean, CLEAN_MS);
        row(sizes, table, pair, "kill -9", &killed, KILLED_MS);
    }
    Ok(())
}

/// The steps of a start, each with its time.
struct Start {
    log_bytes: u64,
    rescued: u64,
    open: Duration,
    begin: Duration,
    rescue: Duration,
    list: Duration,
    claim: Duration,
}

impl Start {
    fn took(&self) -> Duration {
        self.open + self.begin + self.rescue + self.list + self.claim
    }
}

async fn open(home: &Home) -> anyhow::Result<Start> {
    let mut log = home.queue().into_os_string();
    log.push("-wal");
    let log_bytes = std::fs::metadata(log).map_or(0, |file| file.len());
    let mut lap = Lap(Instant::now());
    let store = load::open(&home.queue()).await?;
    let open = lap.take();
    let generation = store.begin_generation("bench", Clock.now()).await?;
    let begin = lap.take();
    let rescued = store.rescue(generation, Clock.now()).await?;
    let rescue = lap.take();
    let waiting = store.unfinished().await?;
    let list = lap.take();
    let first = waiting.first().map(|item| item.session);
    let first = first.ok_or_else(|| anyhow::anyhow!("nothing is pending"))?;
    let held = load::claim(&store, first, generation).await?;
    let claim = lap.take();
    store.release(load::given_back(&held), Clock.now()).await?;
    store.close().await;
    Ok(Start {
        log_bytes,
        rescued: rescued.pending,
        open,
        begin,
        rescue,
        list,
        claim,
    })
}

/// Measures one step after the other.
struct Lap(Instant);

impl Lap {
    fn take(&mut self) -> Duration {
        let began = std::mem::replace(&mut self.0, Instant::now());
        self.0 - began
    }
}

fn row(sizes: &Sizes, table: &mut Table, pair: &Pair, after: &str, starts: &[Start], most_ms: f64) {
    let middle =
        |step: fn(&Start) -> Duration| median(starts.iter().map(|s| ms(step(s))).collect());
    table.row(Row {
        what: &format!("first claim after {after}, {}", pair.name),
        measured: format!("{:.1} ms", middle(Start::took)),
        beside: format!("{} pending", sizes.big),
        figures: starts.iter().map(|start| ms(start.took())).collect(),
        unit: "ms",
        goal: Goal::AtMost(most_ms),
    });
    let largest = |number: fn(&Start) -> u64| starts.iter().map(number).max().unwrap_or_default();
    table.note(&format!(
        "open {:.1} ms, generation {:.1}, rescue {:.1}, list of unfinished {:.1}, claim {:.1}; log up to {:.1} MiB, {} claims rescued at most",
        middle(|start| start.open),
        middle(|start| start.begin),
        middle(|start| start.rescue),
        middle(|start| start.list),
        middle(|start| start.claim),
        largest(|start| start.log_bytes) as f64 / (1 << 20) as f64,
        largest(|start| start.rescued),
    ));
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
