//! From the commit of an event to its generator, beside one raw commit: `scripts/bench wake` as rows.

use super::Sizes;
use crate::stats::{Times, ratio};
use crate::table::{Goal, Row, Table, us};
use crate::wake::{self, Spell};

pub(super) async fn measure(sizes: &Sizes, table: &mut Table) -> anyhow::Result<()> {
    let (mut middle, mut slowest) = (Vec::new(), Vec::new());
    let (mut wakes, mut commits) = (Times::default(), Times::default());
    for Spell {
        mut wake,
        mut commit,
    } in wake::measure(sizes.repeats, sizes.wakes).await?
    {
        middle.push(ratio(wake.median(), commit.median()));
        slowest.push(ratio(wake.percentile(99), commit.median()));
        wakes.extend(wake);
        commits.extend(commit);
    }
    let commit = format!("raw commit p50 {}", us(commits.median()));
    table.row(Row {
        what: "committed -> stream yields, p50",
        measured: us(wakes.median()),
        beside: commit.clone(),
        figures: middle,
        unit: "x",
        goal: Goal::AtMost(2.0),
    });
    table.row(Row {
        what: "committed -> stream yields, p99",
        measured: us(wakes.percentile(99)),
        beside: commit,
        figures: slowest,
        unit: "x",
        goal: Goal::AtMost(6.0),
    });
    Ok(())
}
