//! The time of a start, and that it does not grow with the worker's memory: with and without a
//! ballast, in turns; beside a plain start, and beside one that runs code between fork and exec.

use std::process::Stdio;
use std::time::{Duration, Instant};

use process_wrap::tokio::{CommandWrap, KillOnDrop, ProcessSession};
use tokio::process::Command;

use super::Sizes;
use super::stage::{Stage, example};
use crate::stats::{Times, ratio};
use crate::table::{Goal, Row, Table, us};

const OVER: f64 = 1.2;
const PAGE_BYTES: usize = 4 << 10;

/// Times of one kind of start, over all turns.
#[derive(Default)]
struct Kind {
    light: Times,
    heavy: Times,
    ratios: Vec<f64>,
}

impl Kind {
    fn turn(&mut self, mut light: Times, mut heavy: Times) {
        self.ratios.push(ratio(heavy.median(), light.median()));
        self.light.extend(light);
        self.heavy.extend(heavy);
    }

    fn text(&mut self) -> String {
        let (light, heavy) = (self.light.median(), self.heavy.median());
        format!("{} -> {}", light.as_micros(), us(heavy))
    }
}

pub(super) async fn measure(sizes: &Sizes, table: &mut Table) -> anyhow::Result<()> {
    let stage = Stage::new(sizes.grace)?;
    let (mut supervised, mut plain, mut forked) =
        (Kind::default(), Kind::default(), Kind::default());
    // The first turn warms up.
    for turn in 0..=sizes.turns {
        let light = starts(&stage, sizes.starts).await?;
        let ballast = ballast(sizes.ballast_bytes);
        let heavy = starts(&stage, sizes.starts).await?;
        anyhow::ensure!(
            ballast.len() == sizes.ballast_bytes,
            "the ballast was there"
        );
        drop(ballast);
        if turn > 0 {
            supervised.turn(light.supervised, heavy.supervised);
            plain.turn(light.plain, heavy.plain);
            forked.turn(light.forked, heavy.forked);
        }
    }
    table.row(Row {
        what: &format!(
            "start with {} MiB more in the worker",
            sizes.ballast_bytes >> 20
        ),
        measured: supervised.text(),
        beside: format!("posix_spawn {}", plain.text()),
        figures: supervised.ratios,
        unit: "x",
        goal: Goal::AtMost(OVER),
    });
    let forked = forked.text();
    table.note(&format!("(with pre_exec, which is avoided: {forked})"));
    Ok(())
}

/// Memory of which every page is there.
fn ballast(bytes: usize) -> Vec<u8> {
    let mut ballast = vec![0; bytes];
    for page in ballast.chunks_mut(PAGE_BYTES) {
        page[0] = 1;
    }
    std::hint::black_box(ballast)
}

/// Times of one turn.
#[derive(Default)]
struct Starts {
    supervised: Times,
    plain: Times,
    forked: Times,
}

async fn starts(stage: &Stage, count: usize) -> anyhow::Result<Starts> {
    let mut starts = Starts::default();
    for _ in 0..count {
        let began = Instant::now();
        let child = stage.spawn(&["wait"]).await?;
        starts.supervised.push(began.elapsed());
        child.control.stop().await;
        starts.plain.push(plainly().await?);
    }
    // Apart: copying the tables of all memory leaves the processor's caches cold for whoever is next.
    for _ in 0..count {
        starts.forked.push(by_fork().await?);
    }
    Ok(starts)
}

async fn plainly() -> anyhow::Result<Duration> {
    let mut command = command()?;
    let began = Instant::now();
    let mut child = command.kill_on_drop(true).spawn()?;
    let took = began.elapsed();
    child.kill().await?;
    Ok(took)
}

/// process-wrap's session is made between fork and exec.
async fn by_fork() -> anyhow::Result<Duration> {
    let mut wrap = CommandWrap::from(command()?);
    wrap.wrap(KillOnDrop).wrap(ProcessSession);
    let began = Instant::now();
    let mut child = wrap.spawn()?;
    let took = began.elapsed();
    child.start_kill()?;
    child.wait().await?;
    Ok(took)
}

fn command() -> anyhow::Result<Command> {
    let mut command = Command::new(example("nasty-child")?);
    command.arg("wait").env_clear().stdout(Stdio::null());
    Ok(command)
}
