//! How long after the grace a tree is gone whose processes all ignore SIGTERM: a small one, and one
//! of a thousand under one shim.

use std::time::Duration;

use super::Sizes;
use super::gone::Watched;
use super::stage::Stage;
use crate::stats::Times;
use crate::table::{Goal, Row, Table, ms};

const SMALL_DEPTH: u32 = 3;
const SMALL_OVER: Duration = Duration::from_millis(250);
const LARGE_OVER: Duration = Duration::from_millis(1_500);

pub(super) async fn small(sizes: &Sizes, table: &mut Table) -> anyhow::Result<()> {
    measure(sizes, SMALL_DEPTH, sizes.small, SMALL_OVER, table).await
}

pub(super) async fn large(sizes: &Sizes, table: &mut Table) -> anyhow::Result<()> {
    measure(sizes, sizes.depth, sizes.large, LARGE_OVER, table).await
}

async fn measure(
    sizes: &Sizes,
    depth: u32,
    rounds: usize,
    over: Duration,
    table: &mut Table,
) -> anyhow::Result<()> {
    let stage = Stage::new(sizes.grace)?;
    let processes = 1 << depth;
    let mut survivors = 0;
    let mut beyond = Times::default();
    for _ in 0..rounds {
        let args = ["bomb", &depth.to_string()];
        let (child, pids) = stage.tree(&args, processes).await?;
        let watched = Watched::these(&pids[1..])?;
        let began = std::time::Instant::now();
        let stopped = child.control.stop().await;
        beyond.push(began.elapsed().saturating_sub(sizes.grace));
        survivors += watched.alive()?;
        anyhow::ensure!(stopped.killed as usize >= processes, "{stopped:?}");
    }
    let grace = sizes.grace;
    table.row(Row {
        what: &format!("{processes} that ignore SIGTERM: gone after the grace"),
        measured: format!("p50 {}", ms(beyond.median())),
        beside: format!("the grace is {}", ms(grace)),
        figures: beyond.milliseconds(),
        unit: "ms",
        goal: Goal::Never {
            over: over.as_secs_f64() * 1000.0,
        },
    });
    table.zero(&format!("{processes} that ignore SIGTERM: left"), survivors);
    Ok(())
}
