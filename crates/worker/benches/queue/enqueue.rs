//! Durable enqueue in process: callers that each wait for their receipt, beside raw inserts.

use std::path::Path;
use std::time::Instant;

use sessiond_queue::store::Store as _;

use super::Sizes;
use super::load::{self, finish, producers};
use crate::raw::Raw;
use crate::stats::Times;
use crate::table::{Goal, Row, Table, rate, ratios};

/// Callers, and how many times the raw rate they are to reach together.
const CALLERS: [(usize, f64); 4] = [(1, 0.65), (16, 3.0), (64, 6.0), (256, 10.0)];

pub(super) async fn measure(sizes: &Sizes, dir: &Path, table: &mut Table) -> anyhow::Result<()> {
    let raw = Raw::open(&dir.join("raw-enqueue.db"))?;
    let store = load::open(&dir.join("enqueue.db")).await?;
    let mut floor = Vec::new();
    let mut reached = CALLERS.map(|_| (Vec::new(), Times::default()));
    // The first repeat warms up.
    for repeat in 0..=sizes.repeats {
        let began = Instant::now();
        let (mut commits, payload) = (0, load::payload());
        while began.elapsed() < sizes.spell {
            raw.commit(&payload)?;
            commits += 1;
        }
        let raw_rate = f64::from(commits) / began.elapsed().as_secs_f64();
        if repeat > 0 {
            floor.push(raw_rate);
        }
        for ((rates, times), (callers, _)) in reached.iter_mut().zip(CALLERS) {
            let name = format!("callers-{callers}");
            let sessions: Vec<_> = (0..callers)
                .map(|number| load::session(&name, number))
                .collect();
            let began = Instant::now();
            let done = finish(producers(&store, &sessions, sizes.spell), began).await?;
            if repeat > 0 {
                rates.push(done.per_second());
                times.extend(done.times);
            }
        }
    }
    store.close().await;
    for ((callers, goal), (rates, mut times)) in CALLERS.into_iter().zip(reached) {
        let plural = if callers == 1 { "" } else { "s" };
        table.row(Row {
            what: &format!("enqueue, {callers} caller{plural}, 1 KiB"),
            measured: rate(&rates),
            beside: format!("raw inserts {}", rate(&floor)),
            figures: ratios(&rates, &floor),
            unit: "x",
            goal: Goal::AtLeast(goal),
        });
        let (p50, p99) = (times.median(), times.percentile(99));
        table.note(&format!("receipt after p50 {p50:.0?}, p99 {p99:.0?}"));
    }
    Ok(())
}
