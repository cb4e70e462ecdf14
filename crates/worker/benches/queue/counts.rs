//! The counters, and all that the doctor reads of a home, at a small and a big depth.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sessiond::clock::Clock;
use sessiond::doctor::{Problems, examine_files};
use sessiond::wire::layout::Layout;
use sessiond_queue::store::Store;

use super::Sizes;
use super::backlog::{self, Home, Pair};
use crate::stats::{Times, ratio};
use crate::table::{Goal, Row, Table, us};

/// Calls of `stats` for one examination of the doctor, which is longer.
const STATS_SHARE: usize = 20;

pub(super) async fn measure(
    sizes: &Sizes,
    pairs: &[Pair],
    table: &mut Table,
) -> anyhow::Result<()> {
    for pair in pairs {
        let small = Counted::open(&pair.small).await?;
        let big = Counted::open(&pair.big).await?;
        let (mut stats, mut doctor) = (Beside::default(), Beside::default());
        // The first repeat warms up.
        for repeat in 0..=sizes.repeats {
            let (mut counted, mut examined) = (Both::default(), Both::default());
            for _ in 0..sizes.examinations {
                for _ in 0..STATS_SHARE {
                    counted.small.push(small.stats().await?);
                    counted.big.push(big.stats().await?);
                }
                examined.small.push(small.doctor().await?);
                examined.big.push(big.doctor().await?);
            }
            if repeat > 0 {
                stats.add(counted);
                doctor.add(examined);
            }
        }
        let listed = format!(
            "the doctor lists each session with work: {}, and {} at {}",
            big.sessions, small.sessions, sizes.small
        );
        small.store.close().await;
        big.store.close().await;
        stats.row(sizes, "stats", pair, table);
        doctor.row(sizes, "doctor", pair, table);
        table.note(&listed);
    }
    Ok(())
}

/// A store whose counters are read.
struct Counted {
    store: Arc<dyn Store>,
    layout: Layout,
    sessions: usize,
}

impl Counted {
    async fn open(home: &Home) -> anyhow::Result<Self> {
        let opened = backlog::open(home).await?;
        Ok(Self {
            store: opened.store,
            layout: Layout::at(home.path().to_owned()),
            sessions: opened.sessions.len(),
        })
    }

    async fn stats(&self) -> anyhow::Result<Duration> {
        let began = Instant::now();
        self.store.stats().await?;
        Ok(began.elapsed())
    }

    /// What `sessiond doctor` does without a worker.
    async fn doctor(&self) -> anyhow::Result<Duration> {
        let store = Some(Arc::clone(&self.store));
        let began = Instant::now();
        let report =
            examine_files(&self.layout, store, Problems::default(), Clock.now(), false).await;
        let took = began.elapsed();
        anyhow::ensure!(report.queue.is_some(), "{:?}", report.problems.store);
        Ok(took)
    }
}

/// Times of one repeat.
#[derive(Default)]
struct Both {
    small: Times,
    big: Times,
}

/// Times of all repeats, and the ratio of each.
#[derive(Default)]
struct Beside {
    all: Both,
    figures: Vec<f64>,
}

impl Beside {
    fn add(&mut self, mut repeat: Both) {
        let figure = ratio(repeat.big.median(), repeat.small.median());
        self.figures.push(figure);
        self.all.small.extend(repeat.small);
        self.all.big.extend(repeat.big);
    }

    fn row(mut self, sizes: &Sizes, what: &str, pair: &Pair, table: &mut Table) {
        table.row(Row {
            what: &format!("{what} at {} pending, {}", sizes.big, pair.name),
            measured: us(self.all.big.median()),
            beside: format!("at {} {}", sizes.small, us(self.all.small.median())),
            figures: self.figures,
            unit: "x",
            goal: Goal::AtMost(1.5),
        });
    }
}
