//! Plays the rounds: canaries, a tree, its end, and a look at what is left and who was hit.
//!
//! What a round plays is in `cases`, how a tree is ended in `means`, what is seen in `check`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use tempfile::TempDir;
use tokio::time::timeout;
use uuid::Uuid;

use crate::canary::Canaries;
use crate::cases::{self, Case, Play, Stands};
use crate::check::{self, Found, Held};
use crate::means::{self, Means, Tree, TreeCommand};
use crate::options::{Programs, Run};
use crate::report::{CaseReport, Took};

/// How long a tree may take to stand, and a means to say that it is over. It only guards against
/// hanging.
const LIMIT: Duration = Duration::from_secs(60);
/// How long after a round until what it held must be given back.
const SETTLE: Duration = Duration::from_secs(3);
/// Growth of this process's memory within a round that is taken for a reader without bounds. What
/// is kept of a child is less than 2 MiB.
const MEMORY_MAX_BYTES: u64 = 32 << 20;
/// Problems that are told of a case.
const PROBLEMS_MAX: usize = 20;
/// The variable that carries the marker.
const MARKER_VARIABLE: &str = "TORTURE_MARKER";

/// Plays what was asked for.
pub(crate) fn main(options: Run) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        // Threads that are kept for later would look like threads that were left.
        .thread_keep_alive(Duration::from_millis(10))
        .enable_all()
        .build()
        .context("start a runtime")?;
    runtime.block_on(async {
        let cases = cases::named(&options.cases)?;
        let mut runner = Runner::new(&options).await?;
        if !options.json {
            println!("{}", CaseReport::heading());
        }
        let mut is_clean = true;
        for case in cases {
            let rounds = options.rounds.unwrap_or(case.cost.rounds(options.short));
            let Some(report) = runner.play(case, rounds).await? else {
                continue;
            };
            is_clean &= report.is_clean();
            match options.json {
                true => println!("{}", serde_json::to_string(&report)?),
                false => println!("{}", report.row()),
            }
        }
        Ok(if is_clean {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    })
}

/// One means, and what all its rounds have in common.
struct Runner {
    means: Arc<dyn Means>,
    means_name: String,
    programs: Programs,
    nasty_child: PathBuf,
    grace: Duration,
    is_short: bool,
    /// What this process held when nothing had been played.
    before: Held,
    /// Says which run a marker is of.
    run: String,
    rounds: u64,
    dir: TempDir,
}

/// What a round has to work with.
pub(crate) struct Scene<'a> {
    pub(crate) means: &'a dyn Means,
    pub(crate) programs: &'a Programs,
    pub(crate) nasty_child: &'a Path,
    /// Whatever carries this is of this round.
    pub(crate) marker: String,
    pub(crate) grace: Duration,
    /// Smaller sizes are asked for.
    pub(crate) is_short: bool,
    /// The round's own, empty.
    pub(crate) dir: &'a Path,
}

/// What came of a round.
#[derive(Clone, Debug, Default)]
pub(crate) struct Played {
    /// From asking for the end to its confirmation; `None`: it ended by itself.
    pub(crate) took: Option<Duration>,
    /// Whom the means says it could not end.
    pub(crate) unkillable: Vec<u32>,
}

impl Scene<'_> {
    /// `nasty-child` with these words, under the round's marker.
    pub(crate) fn nasty(&self, words: &[&str]) -> TreeCommand {
        let mut args: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        args.extend(["--marker".to_owned(), self.marker.clone()]);
        TreeCommand {
            program: self.nasty_child.to_owned(),
            args,
            env: vec![(MARKER_VARIABLE.to_owned(), self.marker.clone())],
        }
    }

    /// Starts `command` and waits until its tree stands.
    pub(crate) async fn start(
        &self,
        command: &TreeCommand,
        stands: Stands,
    ) -> anyhow::Result<Box<dyn Tree>> {
        let mut tree = self.means.start(command).await?;
        if !matches!(stands, Stands::Over) {
            loop {
                match timeout(LIMIT, tree.line()).await {
                    Ok(Some(line)) if line == "ready" => break,
                    Ok(Some(_other)) => {}
                    Ok(None) => bail!("the tree ended without being ready"),
                    Err(_elapsed) => bail!("the tree was not ready within {LIMIT:?}"),
                }
            }
        }
        let pid = tree.pid();
        let stood = check::wait_for(LIMIT, || self.stands(pid, stands).then_some(())).await;
        ensure!(stood.is_some(), "the tree did not stand: {stands:?}");
        Ok(tree)
    }

    fn stands(&self, pid: u32, stands: Stands) -> bool {
        // A shim has the arguments of its child behind its own.
        let members = || {
            let name = self.nasty_child.to_string_lossy();
            let found = check::living(&self.marker).into_iter();
            found.filter(move |found| found.command.starts_with(&*name))
        };
        match stands {
            Stands::Ready => true,
            Stands::Processes(count) => members().count() == count,
            Stands::Stopped(count) => members().filter(|one| one.state == 'T').count() == count,
            Stands::Orphaned | Stands::Over => !check::is_alive(pid),
        }
    }

    /// Ends a tree.
    pub(crate) async fn stop(&self, tree: Box<dyn Tree>) -> anyhow::Result<Played> {
        let asked_at = Instant::now();
        let stopped = timeout(self.grace + LIMIT, tree.stop(self.grace)).await;
        let unkillable = stopped.context("the means did not say that it is over")?;
        Ok(Played {
            took: Some(asked_at.elapsed()),
            unkillable,
        })
    }

    async fn play(&self, play: Play) -> anyhow::Result<Played> {
        match play {
            Play::Tree { words, stands } => {
                let tree = self.start(&self.nasty(words), stands).await?;
                self.stop(tree).await
            }
            Play::Own(own) | Play::Sessiond(own) => own(self).await,
        }
    }
}

impl Runner {
    async fn new(options: &Run) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir().context("make a directory")?;
        let means = means::by_name(
            &options.means,
            &options.programs,
            dir.path(),
            options.grace(),
        )?;
        let mut runner = Self {
            means,
            means_name: options.means.clone(),
            nasty_child: options.programs.nasty_child()?,
            programs: options.programs.clone(),
            grace: options.grace(),
            is_short: options.short,
            before: Held::default(),
            run: format!("torture-{}", Uuid::new_v4()),
            rounds: 0,
            dir,
        };
        // What is opened once, by the first child of a process, is no leak.
        let first = Play::Tree {
            words: &["wait"],
            stands: Stands::Ready,
        };
        let (played, _hits) = runner.play_once(first, runner.dir.path()).await?;
        played.context("the first tree of all")?;
        let idle = Held {
            threads: 0,
            ..Held::default()
        };
        runner.before = Held::settle(&idle, SETTLE / 10).await?;
        Ok(runner)
    }

    /// Plays rounds of a case; `None`: this means cannot.
    async fn play(&mut self, case: &Case, rounds: u32) -> anyhow::Result<Option<CaseReport>> {
        if matches!(case.play, Play::Sessiond(_)) && self.means.as_sessiond().is_none() {
            return Ok(None);
        }
        let mut report = CaseReport {
            case: case.name.to_owned(),
            means: self.means_name.clone(),
            uid: rustix::process::getuid().as_raw(),
            ..CaseReport::default()
        };
        let mut took_ms = Vec::new();
        for _ in 0..rounds {
            took_ms.extend(self.round(case.play, &mut report).await?);
        }
        // A process that was always a new one may have hidden from a look.
        let late = check::living(&self.run);
        if !late.is_empty() {
            report.survivors += late.len() as u64;
            report.problems.push(format!("seen late: {}", told(&late)));
            check::kill_all(&self.run, LIMIT).await;
        }
        report.took_ms = Took::of(took_ms);
        report.problems.truncate(PROBLEMS_MAX);
        Ok(Some(report))
    }

    /// One round; how long the end took.
    async fn round(&mut self, play: Play, report: &mut CaseReport) -> anyhow::Result<Option<u64>> {
        self.rounds += 1;
        report.rounds += 1;
        let round = report.rounds;
        let mut problem = |text: String| report.problems.push(format!("round {round}: {text}"));
        check::forget_peak()?;
        let (memory_before, _) = check::memory_bytes()?;
        let dir = tempfile::tempdir_in(self.dir.path()).context("make a directory")?;

        let (played, hits) = self.play_once(play, dir.path()).await?;

        // The first look of all: what the means calls over is over.
        let marker = self.marker();
        let mut left = check::living(&marker);
        let records = self.means.records()?;
        let (_, peak) = check::memory_bytes()?;
        let took = match &played {
            Ok(played) => {
                left.retain(|found| !played.unkillable.contains(&found.pid));
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
        for hit in &hits {
            problem(hit.clone());
        }
        let held = Held::settle(&self.before, SETTLE).await?;
        if held != self.before {
            let before = &self.before;
            let is_more = held.descriptors > before.descriptors
                || held.threads > before.threads
                || !held.zombies.is_empty();
            if is_more {
                problem(format!("held before {before:?}, now {held:?}"));
            }
        }
        report.survivors += left.len() as u64;
        report.bystanders += hits.len() as u64;
        report.records += records;
        report.descriptors += held.descriptors.saturating_sub(self.before.descriptors) as u64;
        report.threads += held.threads.saturating_sub(self.before.threads) as u64;
        report.zombies += held.zombies.len() as u64;
        report.over_memory += u64::from(peak.saturating_sub(memory_before) > MEMORY_MAX_BYTES);
        // What is left of this round is not to be counted again.
        self.before.descriptors = self.before.descriptors.max(held.descriptors);
        self.before.threads = self.before.threads.max(held.threads);
        let took_ms = took.map(|took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        Ok(took_ms)
    }

    /// Plays beside canaries; what came of it, and how they were hit.
    async fn play_once(
        &self,
        play: Play,
        dir: &Path,
    ) -> anyhow::Result<(anyhow::Result<Played>, Vec<String>)> {
        let canaries = Canaries::start(&self.nasty_child).await?;
        let scene = Scene {
            means: &*self.means,
            programs: &self.programs,
            nasty_child: &self.nasty_child,
            marker: self.marker(),
            grace: self.grace,
            is_short: self.is_short,
            dir,
        };
        let played = scene.play(play).await;
        Ok((played, canaries.end().await))
    }

    fn marker(&self) -> String {
        format!("{}-{:07}", self.run, self.rounds)
    }
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
