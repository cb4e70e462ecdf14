//! Producers and consumers at the same time, beside each alone.

use std::path::Path;
use std::time::Instant;

use sessiond::clock::Clock;
use sessiond_queue::ids::SessionId;
use sessiond_queue::store::Store as _;
use sessiond_queue::types::SessionRef;

use super::Sizes;
use super::load::{self, Queue, Until, consumers, finish, producers};
use crate::stats::{Times, ratio};
use crate::table::{Goal, Row, Table, rate, ratios, us};

/// Of each; they share the sessions, a producer and a consumer in each.
const PAIRS: usize = 8;

pub(super) async fn measure(sizes: &Sizes, dir: &Path, table: &mut Table) -> anyhow::Result<()> {
    let store = load::open(&dir.join("both.db")).await?;
    let generation = store.begin_generation("bench", Clock.now()).await?;
    let sessions: Vec<_> = (0..PAIRS)
        .map(|number| load::session("both", number))
        .collect();
    let ids = load::ids(&store, &sessions).await?;
    let (mut fed_alone, mut fed) = (Vec::new(), Vec::new());
    let (mut worked_alone, mut worked) = (Vec::new(), Vec::new());
    let (mut slowest, mut times) = (Vec::new(), Times::default());
    for _ in 0..sizes.repeats {
        let began = Instant::now();
        let alone = finish(producers(&store, &sessions, sizes.spell), began).await?;
        fed_alone.push(alone.per_second());

        top_up(&store, &sessions, &ids, sizes.ahead).await?;
        let began = Instant::now();
        let until = Until::At(began + sizes.spell);
        let alone = finish(consumers(&store, generation, &ids, until), began).await?;
        worked_alone.push(alone.per_second());

        top_up(&store, &sessions, &ids, sizes.ahead).await?;
        let began = Instant::now();
        let until = Until::At(began + sizes.spell);
        let producing = producers(&store, &sessions, sizes.spell);
        let consuming = consumers(&store, generation, &ids, until);
        let (producing, consuming) =
            tokio::try_join!(finish(producing, began), finish(consuming, began))?;
        fed.push(producing.per_second());
        worked.push(consuming.per_second());
        let mut receipts = producing.times;
        slowest.push(ratio(receipts.percentile(99), receipts.median()));
        times.extend(receipts);
    }
    store.close().await;
    table.row(Row {
        what: "8 producers beside 8 consumers",
        measured: rate(&fed),
        beside: format!("alone {}", rate(&fed_alone)),
        figures: ratios(&fed, &fed_alone),
        unit: "x",
        goal: Goal::AtLeast(0.5),
    });
    table.row(Row {
        what: "8 consumers beside 8 producers",
        measured: rate(&worked),
        beside: format!("alone {}", rate(&worked_alone)),
        figures: ratios(&worked, &worked_alone),
        unit: "x",
        goal: Goal::AtLeast(0.5),
    });
    table.row(Row {
        what: "enqueue beside consumers, p99 over p50",
        measured: us(times.percentile(99)),
        beside: format!("p50 {}", us(times.median())),
        figures: slowest,
        unit: "x",
        goal: Goal::AtMost(5.0),
    });
    Ok(())
}

/// Sees to it that each session has at least `ahead` messages to be worked.
async fn top_up(
    store: &Queue,
    sessions: &[SessionRef],
    ids: &[SessionId],
    ahead: usize,
) -> anyhow::Result<()> {
    let payload = load::payload();
    for (session, id) in sessions.iter().zip(ids) {
        let row = store.session(*id).await?;
        let pending = row.map_or(0, |row| row.pending);
        let missing = ahead.saturating_sub(usize::try_from(pending)?);
        load::fill(store, std::slice::from_ref(session), missing, &payload).await?;
    }
    Ok(())
}
