//! The latency of a claim at a small and a big depth, one after the other.

use std::time::{Duration, Instant};

use sessiond::clock::Clock;
use sessiond_queue::store::Store as _;

use super::Sizes;
use super::backlog::{self, Opened, Pair};
use super::load;
use crate::stats::{Times, ratio};
use crate::table::{Goal, Row, Table, us};

pub(super) async fn measure(
    sizes: &Sizes,
    pairs: &[Pair],
    table: &mut Table,
) -> anyhow::Result<()> {
    for pair in pairs {
        let small = backlog::open(&pair.small).await?;
        let big = backlog::open(&pair.big).await?;
        let (mut over_small, mut over_big) = (Times::default(), Times::default());
        let mut figures = Vec::new();
        // The first repeat warms up.
        for repeat in 0..=sizes.repeats {
            let (mut at_small, mut at_big) = (Times::default(), Times::default());
            for claim in 0..sizes.claims {
                let number = repeat * sizes.claims + claim;
                // Turn about, so that neither is always the one after a pause.
                if claim % 2 == 0 {
                    at_small.push(one(&small, number).await?);
                    at_big.push(one(&big, number).await?);
                } else {
                    at_big.push(one(&big, number).await?);
                    at_small.push(one(&small, number).await?);
                }
            }
            if repeat > 0 {
                figures.push(ratio(at_big.median(), at_small.median()));
                over_small.extend(at_small);
                over_big.extend(at_big);
            }
        }
        small.store.close().await;
        big.store.close().await;
        table.row(Row {
            what: &format!("claim at {} pending, {}", sizes.big, pair.name),
            measured: us(over_big.median()),
            beside: format!("at {} {}", sizes.small, us(over_small.median())),
            figures,
            unit: "x",
            goal: Goal::AtMost(1.2),
        });
        table.note(&format!(
            "p99 {}, at {} {}",
            us(over_big.percentile(99)),
            sizes.small,
            us(over_small.percentile(99))
        ));
    }
    Ok(())
}

/// One claim, given back outside of what is measured.
async fn one(opened: &Opened, number: usize) -> anyhow::Result<Duration> {
    let Opened {
        store,
        generation,
        sessions,
    } = opened;
    let session = sessions[number % sessions.len()];
    let began = Instant::now();
    let claim = load::claim(store, session, *generation).await?;
    let took = began.elapsed();
    store.release(load::given_back(&claim), Clock.now()).await?;
    Ok(took)
}
