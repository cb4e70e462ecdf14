//! `torture reuse`: pids and group numbers given again the moment they are free, to processes that
//! show every signal; counts those that reached one of them.
//!
//! ```text
//! direct    an identity is taken, its process replaced: by what it says, a sweep, `fix`
//! handles   the pids of a shim and its child replaced while handles of them are still used
//! group     a leader's group replaced while a shim ends the rest of its tree
//! race      pids of a tree whose members come and go, replaced while it is being ended
//! ```
//!
//! Each part also does what a naive supervisor would: those controls have to hit, since a look
//! that sees no signal is only worth something where it can see one. Runs in a pid namespace of
//! its own; what that is made of is `namespace`, and `placed` is who sits on a chosen pid.

mod direct;
mod group;
mod handles;
mod placed;
mod race;
mod stage;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context;

use self::stage::{Means, Stage};

use crate::namespace::{self, ExitCodeNumber};
use crate::options::{Amount, Reuse as Options};
use crate::random::Chance;

/// Of the pids of a turn, how many in a hundred each part takes; the rest is `direct`'s, which
/// takes the least time for each.
const HANDLES_PERCENT: u64 = 10;
const GROUP_PERCENT: u64 = 5;
const RACE_PERCENT: u64 = 10;

/// Wrong signals that are shown.
const SHOWN_MAX: usize = 20;

/// Pids of one turn through the parts, where more than that are asked for.
const TURN: u64 = 1000;

/// Forces reuses and prints what came of them.
pub(crate) fn main(options: &Options) -> anyhow::Result<ExitCode> {
    let seed = options.amount.seed();
    let means = Means::find(&options.programs)?;
    let dir = tempfile::tempdir().context("make a directory")?;
    Ok(namespace::run_inside(dir.path(), || {
        let stage = Stage::new(dir.path(), means, Chance::of(seed));
        inside(stage, &options.amount)
    }))
}

fn inside(mut stage: Stage, amount: &Amount) -> ExitCodeNumber {
    let began_at = Instant::now();
    let mut counts = Counts::default();
    // The first wrong signal is enough: what was hit once says no more about the rest.
    while counts.wrong.is_empty()
        && (counts.done(REUSES) < amount.rounds || began_at.elapsed() < amount.time())
    {
        turn(&mut stage, amount.rounds.min(TURN), &mut counts);
    }
    for left in stage.living() {
        counts.wrong(format!("{left:?} lives on"));
    }
    counts.print(began_at)
}

fn turn(stage: &mut Stage, pids: u64, counts: &mut Counts) {
    let part = |percent: u64| (pids * percent).div_ceil(100);
    let (handles, group, race) = (
        part(HANDLES_PERCENT),
        part(GROUP_PERCENT),
        part(RACE_PERCENT),
    );
    let direct = pids.saturating_sub(handles + group + race).max(1);
    direct::run(stage, direct, counts);
    handles::run(stage, handles, counts);
    group::run(stage, group, counts);
    race::run(stage, race, counts);
}

/// What a run has done and seen.
#[derive(Debug, Default)]
struct Counts {
    done: BTreeMap<&'static str, u64>,
    wrong: Vec<String>,
}

impl Counts {
    fn add(&mut self, what: &'static str, number: u64) {
        *self.done.entry(what).or_default() += number;
    }

    fn done(&self, what: &'static str) -> u64 {
        self.done.get(what).copied().unwrap_or_default()
    }

    /// Something that must not be.
    fn wrong(&mut self, what: String) {
        if self.wrong.len() < SHOWN_MAX {
            eprintln!("WRONG: {what}");
        }
        self.wrong.push(what);
    }

    fn print(&self, began_at: Instant) -> ExitCodeNumber {
        for (what, number) in &self.done {
            println!("counted {number} {what}");
        }
        println!("counted {} wrong signals", self.wrong.len());
        println!("took {} ms", began_at.elapsed().as_millis());
        let blind: Vec<_> = CONTROLS
            .iter()
            .filter(|control| self.done(control) == 0)
            .collect();
        for control in &blind {
            eprintln!("BLIND: {control}: none, so a wrong signal would not have been seen");
        }
        u8::from(!self.wrong.is_empty() || !blind.is_empty())
    }
}

/// What has to hit somebody.
const CONTROLS: [&str; 4] = [BY_NUMBER, BY_TICKS, BY_GROUP, BY_LIST];
const BY_NUMBER: &str = "control hits by pid";
const BY_TICKS: &str = "control hits by pid and start ticks";
const BY_GROUP: &str = "control hits by group";
const BY_LIST: &str = "control hits by a list of pids";

/// What is counted as forced.
const REUSES: &str = "forced reuses";
const COLLISIONS: &str = "of them within one tick";
