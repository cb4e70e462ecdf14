//! The SQLite engine against the model: random steps, the same answers.
//!
//! A case is a random walk: enqueues, claims and all their ends, closes, purges, retention, new
//! generations, and the file closed and opened again. It is done with the model, which is also what
//! the next step is chosen from, and then with the engine; each answer is compared, now and then all
//! that either shows. The ends of claims that are over, and of claims with a forged fence, come
//! often: these must be lost, whatever the model says, and change nothing that can be seen.
//!
//! A case that fails is shrunk to the fewest and simplest steps that still fail. `SESSIOND_SEED` is
//! the seed of the first case, each next one has the next number; a failure prints the seed of its
//! own, which replays it alone with `SESSIOND_MODEL_CASES=1`. That variable sets how many are tried.

mod choice;
mod look;
mod side;
mod step;

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::FutureExt as _;
use proptest::strategy::{BoxedStrategy, Just, Strategy as _};
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestError, TestRunner};
use proptest_state_machine::ReferenceStateMachine;
use sessiond_queue::conformance::LIMITS;
use sessiond_queue::limits::Limits;
use sessiond_queue::store::Store;
use sessiond_queue::types::{Life, State};
use sessiond_queue::{MemoryStore, SqliteStore};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use self::choice::Chances;
use self::side::Side;
use self::step::{Act, Step};
use crate::seed::{number_from, seed};

const CASES: u64 = 200;

/// Many short cases find more than a few long ones, and shrink sooner.
const STEPS_MAX: usize = 60;

/// Tries of a shrink: a few seconds' worth.
const SHRINKS_MAX: u32 = 2_000;

/// A little roomier than the suite's, so that a refusal is not the usual answer.
const ROOMY: Limits = Limits {
    session_depth_max: 6,
    depth_max: 11,
    ..LIMITS
};

#[test]
fn engine_answers_as_the_model_does() {
    let first = seed();
    let cases = number_from("SESSIOND_MODEL_CASES").unwrap_or(CASES);
    let place = Place::new();
    for case in 0..cases {
        let seed = first.wrapping_add(case);
        if let Err(found) = place.try_case(seed) {
            panic!("SESSIOND_SEED={seed} SESSIOND_MODEL_CASES=1 replays it:\n{found}");
        }
    }
    let (steps, late) = (place.steps.get(), place.late.get());
    println!("counted {cases} model cases");
    println!("counted {steps} operations");
    println!("counted {late} late ends of claims");
    assert!(late > 0 || cases < 100, "late ends of claims are tried");
}

/// The model as the machine that steps are chosen from.
struct Reference;

impl ReferenceStateMachine for Reference {
    type State = Side<MemoryStore>;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Self::State> {
        Just(at_once(Side::new(MemoryStore::new(ROOMY)))).boxed()
    }

    fn transitions(state: &Self::State) -> BoxedStrategy<Step> {
        let sessions = at_once(state.store.sessions(Default::default()));
        let sessions = sessions.expect("sessions are listed");
        let closing = sessions
            .iter()
            .filter(|session| session.life == Life::Closing);
        choice::steps(&Chances {
            sessions: state.sessions.len(),
            open_claims: state.claims.iter().filter(|given| !given.over).count(),
            stale_claims: state.stale_claims(),
            claims: state.claims.len(),
            dead: at_once(state.count(State::Dead)),
            closing: closing.count(),
        })
    }

    fn apply(mut state: Self::State, step: &Step) -> Self::State {
        at_once(state.perform(step));
        state
    }
}

/// What the model answers, which waits for nothing.
fn at_once<T>(answer: impl Future<Output = T>) -> T {
    answer.now_or_never().expect("the model waits for nothing")
}

/// Where cases are tried.
struct Place {
    dir: TempDir,
    /// A queue without anything in it, to be copied: to make one takes longer than a case.
    blank: PathBuf,
    runtime: Runtime,
    /// What was done in all.
    steps: Cell<usize>,
    late: Cell<usize>,
}

type Case = (Side<MemoryStore>, Vec<Step>, Option<Arc<AtomicUsize>>);

impl Place {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime is made");
        let dir = tempfile::tempdir().expect("a directory is made");
        let blank = dir.path().join("blank.db");
        runtime.block_on(async { open(&blank).await.close().await });
        Self {
            dir,
            blank,
            runtime,
            steps: Cell::new(0),
            late: Cell::new(0),
        }
    }

    /// Tries the case of a seed; what is wrong with the smallest one like it.
    fn try_case(&self, seed: u64) -> Result<(), String> {
        let mut runner = TestRunner::new(Config {
            cases: 1,
            rng_seed: RngSeed::Fixed(seed),
            max_shrink_iters: SHRINKS_MAX,
            failure_persistence: None,
            ..Config::default()
        });
        let cases = Reference::sequential_strategy(1..STEPS_MAX);
        let tried = runner.run(&cases, |case| {
            let found = self.runtime.block_on(self.run(case));
            found.map_err(TestCaseError::fail)
        });
        match tried {
            Ok(()) => Ok(()),
            Err(TestError::Fail(found, (_, steps, _))) => {
                let steps: Vec<_> = steps.iter().map(|step| format!("    {step:?}")).collect();
                Err(format!("{found}\nafter\n{}", steps.join("\n")))
            }
            Err(TestError::Abort(why)) => Err(why.to_string()),
        }
    }

    async fn run(&self, (mut model, steps, seen): Case) -> Result<(), String> {
        let path = self.dir.path().join("queue.db");
        std::fs::copy(&self.blank, &path).expect("the file is copied");
        let mut engine = Side::new(open(&path).await).await;
        let mut found = Ok(());
        for step in &steps {
            if let Some(seen) = &seen {
                seen.fetch_add(1, Ordering::SeqCst);
            }
            found = self.compare(&mut model, &mut engine, step, &path).await;
            if found.is_err() {
                break;
            }
        }
        if found.is_ok() {
            found = compare_all(&model, &engine).await;
        }
        engine.store.close().await;
        found
    }

    /// Does a step on both sides.
    async fn compare(
        &self,
        model: &mut Side<MemoryStore>,
        engine: &mut Side<SqliteStore>,
        step: &Step,
        path: &Path,
    ) -> Result<(), String> {
        self.steps.set(self.steps.get() + 1);
        if matches!(step.act, Act::Reopen { .. }) {
            engine.store.close().await;
            engine.store = open(path).await;
        }
        let before = if engine.is_late(step) {
            self.late.set(self.late.get() + 1);
            Some(look::at_all(engine).await)
        } else {
            None
        };
        let wanted = at_once(model.perform(step));
        let got = engine.perform(step).await;
        same("answer", &wanted, &got)?;
        let Some(before) = before else {
            return Ok(());
        };
        if got.contains("Ok(") {
            return Err(format!("a late end of a claim was taken: {got}"));
        }
        let after = look::at_all(engine).await;
        same("seen after a late end of a claim", &before, &after)
    }
}

async fn open(path: &Path) -> SqliteStore {
    let opened = SqliteStore::open(path, ROOMY).await;
    opened.expect("the store opens")
}

async fn compare_all(model: &Side<MemoryStore>, engine: &Side<SqliteStore>) -> Result<(), String> {
    let wanted = at_once(look::closely(model));
    same("seen at the end", &wanted, &look::closely(engine).await)?;
    let found = engine.store.verify().await;
    match found {
        Ok(found) if found.is_sound() => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

fn same(what: &str, wanted: &str, got: &str) -> Result<(), String> {
    if wanted == got {
        return Ok(());
    }
    let differ = wanted.lines().zip(got.lines());
    let (wanted, got) = differ
        .into_iter()
        .find(|(wanted, got)| wanted != got)
        .unwrap_or((wanted, got));
    Err(format!("{what}\n  wanted {wanted}\n  got    {got}"))
}
