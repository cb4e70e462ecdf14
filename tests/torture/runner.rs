//! One means and its rounds: canaries, a tree, its end, and a look at what is left and who was hit.
//!
//! What a round plays is in `cases`, how a tree is ended in `means`, what is seen in `check`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tempfile::TempDir;
use uuid::Uuid;

use crate::canary::Canaries;
use crate::cases::{Case, Cost, Play, Stands};
use crate::check::{self, Found, Held};
use crate::means::{self, Means};
use crate::options::{Programs, Run};
use crate::random::mixed;
use crate::report::CaseReport;
use crate::scene::{LIMIT, Played, Scene};

/// How long after a round until what it held must be given back.
const SETTLE: Duration = Duration::from_secs(3);
/// For trees that end when they are asked to. Nobody waits for it, unless somebody was not asked.
const LONG_GRACE: Duration = Duration::from_secs(20);
/// Growth of this process's memory within a round that is taken for a reader without bounds. What
/// is kept of a child is less than 2 MiB.
const MEMORY_MAX_BYTES: u64 = 32 << 20;
/// Problems that are told of a case.
const PROBLEMS_MAX: usize = 20;

/// One means, and what all its rounds have in common.
pub(crate) struct Runner {
    name: String,
    /// With the grace that was asked for.
    means: Arc<dyn Means>,
    grace: Duration,
    /// With a long grace.
    patient: Arc<dyn Means>,
    programs: Programs,
    nasty_child: PathBuf,
    is_short: bool,
    seed: u64,
    /// What this process held when nothing had been played, and what was left since.
    before: Held,
    /// Files that were left in registries.
    records: u64,
    /// Says which run a marker is of.
    run: String,
    /// All that were played.
    rounds: u64,
    dir: TempDir,
}

impl Runner {
    /// Opens the means, and plays once what is not counted: the first child of a process opens what
    /// stays open.
    pub(crate) async fn new(options: &Run, seed: u64) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir().context("make a directory")?;
        let programs = options.programs.clone();
        let open = |name: &str, grace| {
            let dir = dir.path().join(name);
            std::fs::create_dir(&dir).with_context(|| format!("make {}", dir.display()))?;
            means::by_name(&options.means, &programs, &dir, grace)
        };
        let mut runner = Self {
            name: options.means.clone(),
            means: open("means", options.grace())?,
            grace: options.grace(),
            patient: open("patient", LONG_GRACE)?,
            nasty_child: programs.nasty_child()?,
            programs,
            is_short: options.short,
            seed,
            before: Held::default(),
            records: 0,
            run: format!("torture-{}", Uuid::new_v4()),
            rounds: 0,
            dir,
        };
        for needs_no_kill in [false, true] {
            let first = Case {
                name: "first",
                about: "",
                cost: Cost::Cheap,
                needs_no_kill,
                play: Play::Tree {
                    words: &["wait"],
                    in_short: &["wait"],
                    stands: Stands::Ready,
                },
            };
            let (played, _hits) = runner.play_once(&first, runner.dir.path(), 0).await?;
            played.context("the first tree of all")?;
        }
        runner.before = Held::settle(&Held::default(), SETTLE / 10).await?;
        Ok(runner)
    }

    /// Why a case cannot be played, if so.
    pub(crate) fn obstacle(&self, case: &Case) -> Option<&'static str> {
        let needs_sessiond = matches!(case.play, Play::Sessiond(_) | Play::SetUserId(_));
        if needs_sessiond && self.means.as_sessiond().is_none() {
            return Some("only sessiond can play it");
        }
        let needs_rights = matches!(case.play, Play::SetUserId(_));
        if needs_rights && (self.programs.setuid_program.is_none() || uid() == 0) {
            return Some("it takes an ordinary user and --setuid-program");
        }
        None
    }

    /// Plays rounds of a case.
    pub(crate) async fn play(&mut self, case: &Case, rounds: u64) -> anyhow::Result<CaseReport> {
        let mut report = CaseReport {
            case: case.name.to_owned(),
            means: self.name.clone(),
            uid: uid(),
            ..CaseReport::default()
        };
        let mut took_ms = Vec::new();
        for _ in 0..rounds {
            took_ms.extend(self.round(case, &mut report).await?);
        }
        // One that was started too late for the look of its round.
        let late = check::living(&self.run);
        if !late.is_empty() {
            report.survivors += late.len() as u64;
            report.problems.push(format!("seen late: {}", told(&late)));
            check::kill_all(&self.run, LIMIT).await;
        }
        report.take_times(took_ms);
        report.problems.truncate(PROBLEMS_MAX);
        Ok(report)
    }

    /// One round; how long the end took.
    async fn round(&mut self, case: &Case, report: &mut CaseReport) -> anyhow::Result<Option<u64>> {
        self.rounds += 1;
        report.rounds += 1;
        let round = report.rounds;
        let mut problem = |text: String| report.problems.push(format!("round {round}: {text}"));
        check::forget_peak()?;
        let (memory_before, _) = check::memory_bytes()?;
        let dir = tempfile::tempdir_in(self.dir.path()).context("make a directory")?;

        let (played, hits) = self.play_once(case, dir.path(), round).await?;

        let marker = self.marker();
        if played.is_err() {
            // Its tree was dropped, and is ended beside this.
            let limit = self.grace + SETTLE;
            check::wait_for(limit, || check::living(&marker).is_empty().then_some(())).await;
        }
        // Else at once: what the means calls over is over.
        let left = check::living(&marker);
        let records = self.means.records()? + self.patient.records()?;
        let (_, peak) = check::memory_bytes()?;
        let took = match &played {
            Ok(played) => {
                if !played.unkillable.is_empty() {
                    // A case in which that is right sees to it, and tells of nobody.
                    problem(format!("not ended, it says: {:?}", played.unkillable));
                }
                if case.needs_no_kill && played.took.is_some_and(|took| took >= LONG_GRACE) {
                    problem("the whole grace was needed: somebody was not asked".to_owned());
                }
                played.took
            }
            Err(error) => {
                problem(format!("{error:#}"));
                None
            }
        };
        if !left.is_empty() {
            problem(format!("left: {}", told(&left)));
            let immortal = check::kill_all(&marker, LIMIT).await;
            if !immortal.is_empty() {
                problem(format!("not killed: {}", told(&immortal)));
            }
        }
        report.survivors += left.len() as u64;
        report.bystanders += hits.len() as u64;
        report.over_memory += u64::from(peak.saturating_sub(memory_before) > MEMORY_MAX_BYTES);
        report.records += records.saturating_sub(self.records);
        self.records = records;
        hits.into_iter().for_each(problem);
        self.settle(report).await?;
        let took_ms = took.map(|took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        Ok(took_ms)
    }

    /// Waits until a round has given back what it held, and counts what it has not. That is not
    /// counted again after the next one.
    async fn settle(&mut self, report: &mut CaseReport) -> anyhow::Result<()> {
        let before = &self.before;
        let held = Held::settle(before, SETTLE).await?;
        if held.is_within(before) {
            return Ok(());
        }
        let round = report.rounds;
        let told = format!("round {round}: held before {before:?}, now {held:?}");
        report.problems.push(told);
        let more = |now: usize, before: usize| now.saturating_sub(before) as u64;
        report.descriptors += more(held.descriptors, before.descriptors);
        report.threads += more(held.threads, before.threads);
        let is_new = |zombie: &&u32| !before.zombies.contains(zombie);
        report.zombies += held.zombies.iter().filter(is_new).count() as u64;
        self.before = Held {
            descriptors: held.descriptors.max(before.descriptors),
            threads: held.threads.max(before.threads),
            zombies: held.zombies,
        };
        Ok(())
    }

    /// Plays beside canaries; what came of it, and how they were hit.
    async fn play_once(
        &self,
        case: &Case,
        dir: &Path,
        round: u64,
    ) -> anyhow::Result<(anyhow::Result<Played>, Vec<String>)> {
        let canaries = Canaries::start(&self.nasty_child).await?;
        // Whether the grace was needed is asked of sessiond alone.
        let is_patient = case.needs_no_kill && self.means.as_sessiond().is_some();
        let (means, grace) = match is_patient {
            true => (&self.patient, LONG_GRACE),
            false => (&self.means, self.grace),
        };
        let scene = Scene {
            means: &**means,
            programs: &self.programs,
            nasty_child: &self.nasty_child,
            marker: self.marker(),
            grace,
            is_short: self.is_short,
            dir,
            seed: mixed(self.seed ^ mixed(round)),
        };
        let played = scene.play(case.play).await;
        Ok((played, canaries.end().await))
    }

    fn marker(&self) -> String {
        format!("{}-{:07}", self.run, self.rounds)
    }
}

fn uid() -> u32 {
    rustix::process::getuid().as_raw()
}

fn told(found: &[Found]) -> String {
    let mut told: Vec<String> = found
        .iter()
        .take(5)
        .map(|one| format!("{} {} {}", one.pid, one.state, one.command.trim()))
        .collect();
    if found.len() > told.len() {
        told.push(format!("and {} more", found.len() - told.len()));
    }
    told.join("; ")
}
