//! Claim and confirm with one result, 16 sessions at once, beside raw claims and deletes.

use std::path::Path;
use std::time::Instant;

use sessiond::clock::Clock;
use sessiond_queue::store::Store as _;

use super::Sizes;
use super::load::{self, Until, consumers, finish};
use crate::raw::Raw;
use crate::table::{Goal, Row, Table, rate, ratios};

const SESSIONS: usize = 16;

/// Of the messages that the queue works, the share that the raw database works: it is slower.
const RAW_SHARE: usize = 4;

pub(super) async fn measure(sizes: &Sizes, dir: &Path, table: &mut Table) -> anyhow::Result<()> {
    let raw = Raw::open(&dir.join("raw-drain.db"))?;
    let store = load::open(&dir.join("drain.db")).await?;
    let generation = store.begin_generation("bench", Clock.now()).await?;
    let sessions: Vec<_> = (0..SESSIONS)
        .map(|number| load::session("drain", number))
        .collect();
    let ids = load::ids(&store, &sessions).await?;
    let (mut floor, mut rates) = (Vec::new(), Vec::new());
    for _ in 0..sizes.repeats {
        let payload = load::payload();
        raw.fill(&payload, sizes.drained / RAW_SHARE)?;
        load::fill(&store, &sessions, sizes.drained, &payload).await?;
        let began = Instant::now();
        while raw.claim_and_delete()? {}
        floor.push((sizes.drained / RAW_SHARE) as f64 / began.elapsed().as_secs_f64());
        let began = Instant::now();
        let tasks = consumers(&store, generation, &ids, Until::Empty);
        let done = finish(tasks, began).await?;
        anyhow::ensure!(done.messages == sizes.drained, "{} worked", done.messages);
        rates.push(done.per_second());
    }
    store.close().await;
    table.row(Row {
        what: "claim + confirm, one result, 16 sessions",
        measured: rate(&rates),
        beside: format!("raw claim+delete {}", rate(&floor)),
        figures: ratios(&rates, &floor),
        unit: "x",
        goal: Goal::AtLeast(4.0),
    });
    table.note("raw: UPDATE of the oldest and DELETE, two commits a message");
    Ok(())
}
