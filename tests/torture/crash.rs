//! `torture crash`: workers that die at exactly one step of a spawn, or at any moment, with their
//! shims or without; counts what is left of their trees and of their records, and who else was hit.
//!
//! ```text
//! worker (a process) ── spawns trees ──x dies          shims end the trees, or were killed too
//! runner ── looks: is all that runs recorded? ── may damage the registry ── sweeps as the next
//! worker ── looks: nothing lives, no record is left, what was ended is named, no canary was hit
//! ```
//!
//! `kinds` says what may happen in a round, `round` plays one, `worker` is the process that dies.

mod damage;
mod kinds;
mod process;
mod round;
mod traces;
mod worker;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context;
use futures::{StreamExt, stream};

use self::kinds::Kind;
use self::round::{Means, Round};
pub(crate) use self::worker::main as worker_main;
use crate::options::Crash as Options;
use crate::random::Chance;
use crate::user;

/// Rounds that are played at once. Most of a round is waiting for a grace.
const AT_ONCE: usize = 4;

/// Problems that are shown.
const SHOWN_MAX: usize = 20;

/// Plays the rounds and prints what came of them.
pub(crate) fn main(options: &Options) -> anyhow::Result<ExitCode> {
    if let Some(uid) = options.as_user {
        let args = options.amount.shared_args();
        return user::run_as(uid, "crash", &args, &options.programs);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("start a runtime")?;
    runtime.block_on(play(options))
}

async fn play(options: &Options) -> anyhow::Result<ExitCode> {
    let amount = &options.amount;
    let (seed, began_at) = (amount.seed(), Instant::now());
    let means = Means::find(&options.programs)?;
    let numbers = (0_u64..)
        .take_while(|number| *number < amount.rounds || began_at.elapsed() < amount.time());
    let rounds = numbers.map(|number| {
        let mut chance = Chance::of(seed.wrapping_add(number));
        let kind = Kind::of_round(number, means.setuid_program.is_some(), &mut chance);
        let round = Round::new(&means, kind, chance);
        async move { (number, kind, round.play().await) }
    });
    let mut counts = Counts::default();
    let mut played = stream::iter(rounds).buffer_unordered(AT_ONCE);
    while let Some((number, kind, outcome)) = played.next().await {
        let outcome = outcome.unwrap_or_else(|error| Outcome {
            problems: vec![format!("{error:#}")],
            ..Outcome::default()
        });
        counts.take(number, kind, outcome);
    }
    Ok(counts.print(began_at))
}

/// What came of one round.
#[derive(Debug, Default)]
struct Outcome {
    /// What must not be, in words.
    problems: Vec<String>,
    /// Things that were done, by name.
    done: Vec<&'static str>,
    /// From the worker's death to the end of its trees, beyond the grace; only where their shims
    /// had to do it alone.
    gone_after_ms: Option<u64>,
    /// The same from the start of the sweep, where shims and worker were killed.
    swept_after_ms: Option<u64>,
}

#[derive(Debug, Default)]
struct Counts {
    done: BTreeMap<String, u64>,
    gone_after_ms: Vec<u64>,
    swept_after_ms: Vec<u64>,
    problems: u64,
}

impl Counts {
    fn take(&mut self, number: u64, kind: Kind, outcome: Outcome) {
        let names = ["crash rounds".to_owned(), format!("of them {kind}")];
        let done = outcome.done.into_iter().map(str::to_owned);
        for name in names.into_iter().chain(done) {
            *self.done.entry(name).or_default() += 1;
        }
        self.gone_after_ms.extend(outcome.gone_after_ms);
        self.swept_after_ms.extend(outcome.swept_after_ms);
        for problem in outcome.problems {
            self.problems += 1;
            if self.problems <= SHOWN_MAX as u64 {
                eprintln!("round {number}, {kind}: {problem}");
            }
        }
    }

    fn print(mut self, began_at: Instant) -> ExitCode {
        for (what, number) in &self.done {
            println!("counted {number} {what}");
        }
        println!("counted {} violations after crashes", self.problems);
        for (what, times) in [
            ("gone after the worker's death", &mut self.gone_after_ms),
            ("gone after the next start", &mut self.swept_after_ms),
        ] {
            times.sort_unstable();
            if let (Some(p50), Some(max)) = (times.get(times.len() / 2), times.last()) {
                println!("{what}: grace + {p50} ms (p50), grace + {max} ms (max)");
            }
        }
        println!("took {} ms", began_at.elapsed().as_millis());
        match self.problems {
            0 => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        }
    }
}
