//! Plays one round: trees under a worker, its death, and the look at what the next one finds.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use rustix::process::Signal;
use sessiond_supervisor::{Supervisor, SweepReport};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::Outcome;
use super::damage::damage;
use super::kinds::{Hiding, Kind, Victims};
use super::process::Worker;
use super::traces::{carried_tags, file_names, recorded_tags, records};
use super::worker::{Death, Plan, Task};
use crate::canary::Canary;
use crate::check::{self, Found};
use crate::options::Programs;
use crate::random::Chance;

/// From SIGTERM to SIGKILL.
const GRACE: Duration = Duration::from_millis(150);

/// It only guards against hanging: far longer than a shim may be silent.
pub(super) const LIMIT: Duration = Duration::from_secs(60);

/// A worker that dies at any moment dies within this time: it takes about half of it to start.
const SOMETIME_MAX_MS: u64 = 250;

/// The generation that dies, and the one that follows.
const FIRST: &str = "1";
const NEXT: &str = "2";

/// Trees of which something ignores SIGTERM from the first on.
const STUBBORN: [&[&str]; 4] = [
    &["ignore-term"],
    &["respawn"],
    &["bomb", "3"],
    &["headless"],
];

/// Those, and others.
const TREES: [&[&str]; 13] = [
    &["ignore-term"],
    &["respawn"],
    &["bomb", "3"],
    &["headless"],
    &["wait"],
    &["double-fork"],
    &["setsid-chain", "4"],
    &["fork-on-term", "3"],
    &["stopped"],
    &["threads"],
    &["hold-stdout"],
    &["children", "5"],
    &["zombies", "5"],
];

/// Trees of one worker at most.
const TREES_MAX: u64 = 3;

/// The programs.
pub(super) struct Means {
    shim: PathBuf,
    nasty_child: PathBuf,
    runner: PathBuf,
    /// With another user's set-user-id bit; `None`: such a bit means nothing here.
    pub(super) setuid_program: Option<PathBuf>,
}

impl Means {
    pub(super) fn find(programs: &Programs) -> anyhow::Result<Self> {
        Ok(Self {
            shim: programs.shim()?,
            nasty_child: programs.nasty_child()?,
            setuid_program: programs.setuid_program.clone(),
            runner: std::env::current_exe().context("find this program")?,
        })
    }
}

/// One round, with an install of its own.
pub(super) struct Round<'a> {
    means: &'a Means,
    kind: Kind,
    chance: Chance,
    install: String,
    /// Whatever carries it is of this round.
    marker: String,
    is_stubborn: bool,
    outcome: Outcome,
}

impl<'a> Round<'a> {
    pub(super) fn new(means: &'a Means, kind: Kind, mut chance: Chance) -> Self {
        Self {
            means,
            kind,
            is_stubborn: chance.below(2) == 0,
            chance,
            install: Uuid::new_v4().to_string(),
            marker: format!("crash-{}", Uuid::new_v4()),
            outcome: Outcome::default(),
        }
    }

    pub(super) async fn play(mut self) -> anyhow::Result<Outcome> {
        let dir = tempfile::tempdir().context("make a directory")?;
        let played = self.play_in(&dir).await;
        // Whatever went wrong, nothing of it may meet the next round.
        let left = check::kill_all(&self.marker, LIMIT).await;
        played?;
        ensure!(left.is_empty(), "these cannot be killed: {left:?}");
        Ok(self.outcome)
    }

    async fn play_in(&mut self, dir: &TempDir) -> anyhow::Result<()> {
        let nasty = &self.means.nasty_child;
        let other = format!("{}-other:1:session:spawn", self.install);
        let mut canaries = vec![
            Canary::start(nasty, "canary", None, "without a tag").await?,
            Canary::start(nasty, "canary-apart", Some(&other), "of another install").await?,
        ];

        // As long as this is open an entitled child stays, and not a moment longer.
        mkfifo(&fifo(dir), Mode::S_IRUSR | Mode::S_IWUSR).context("make a fifo")?;
        let held = OpenOptions::new().read(true).write(true).open(fifo(dir))?;
        let plan = self.plan(dir);
        self.let_die(&plan).await?;
        let died_at = Instant::now();
        let recorded = recorded_tags(&plan.registry_dir).context("read the registry")?;
        self.look_for_untracked(&recorded);
        let must_be_swept = self.must_be_swept(&recorded);
        if !self.kind.needs_sweep() && self.chance.below(2) == 0 {
            self.wait_gone(&plan, died_at).await?;
        }
        let damaged = match self.kind {
            Kind::Damaged => damage(&plan.registry_dir, &mut self.chance)?,
            _ => BTreeSet::new(),
        };
        if self.kind == Kind::AmidSweep {
            self.kill_amid_sweep(&plan).await?;
        }

        // Only now, since it would be of an earlier generation for anybody before.
        let own = format!("{}:{NEXT}:session:spawn", self.install);
        let nasty = &self.means.nasty_child;
        canaries
            .push(Canary::start(nasty, "canary-apart", Some(&own), "of the next worker").await?);
        let report = self.sweep(&plan).await?;
        self.judge(&plan, &report, &must_be_swept, &damaged)?;
        drop(held);
        for canary in canaries {
            let name = canary.name;
            for hit in canary.end().await {
                self.problem(format!("canary {name}: {hit}"));
            }
        }
        Ok(())
    }

    fn problem(&mut self, problem: String) {
        self.outcome.problems.push(problem);
    }

    fn plan(&mut self, dir: &TempDir) -> Plan {
        let count = 1 + self.chance.below(TREES_MAX);
        let death = match self.kind {
            Kind::At(step, victims) => Some(Death {
                step: step as usize,
                passed: self.chance.below(count),
                with_shims: victims == Victims::ShimsFirst,
            }),
            _ => None,
        };
        let trees = match self.kind {
            Kind::Hidden(hiding) => vec![self.hidden_tree(hiding, &fifo(dir))],
            _ => (0..count).map(|_| self.tree()).collect(),
        };
        Plan {
            install: self.install.clone(),
            generation: FIRST.to_owned(),
            registry_dir: dir.path().join("registry"),
            shim: self.means.shim.clone(),
            grace_ms: u64::try_from(GRACE.as_millis()).expect("a short time"),
            task: Task::Spawn {
                trees,
                is_at_once: self.chance.below(2) == 0,
                death,
                is_restless: matches!(self.kind, Kind::Sometime(_)),
            },
        }
    }

    fn tree(&mut self) -> Vec<String> {
        let words = match self.is_stubborn {
            true => self.chance.one_of(&STUBBORN),
            false => self.chance.one_of(&TREES),
        };
        let program = self.means.nasty_child.to_string_lossy().into_owned();
        let words = words.iter().map(|word| (*word).to_owned());
        let marker = ["--marker".to_owned(), self.marker.clone()];
        std::iter::once(program)
            .chain(words)
            .chain(marker)
            .collect()
    }

    /// A tree of which somebody ignores SIGTERM and has no environment; who it is of is told by
    /// its arguments.
    fn hidden_tree(&self, hiding: Hiding, fifo: &Path) -> Vec<String> {
        let nasty = self.means.nasty_child.display();
        let marker = &self.marker;
        let wiped = format!("env -i {nasty} ignore-term --marker {marker}");
        let script = match hiding {
            Hiding::Leader => format!("exec {wiped}"),
            Hiding::Member => format!("trap '' TERM; {wiped} & while :; do wait; done"),
            Hiding::Orphan | Hiding::OrphanUnderShim => {
                format!("(setsid {wiped} &); exec {nasty} wait --marker {marker}")
            }
            Hiding::Entitled => {
                let program = self.means.setuid_program.as_deref();
                let program = program.unwrap_or(&self.means.nasty_child).display();
                let fifo = fifo.display();
                format!("exec {nasty} beside {program} {fifo} --marker {marker}")
            }
        };
        ["sh", "-c", &script].map(str::to_owned).to_vec()
    }

    /// Lets a worker come as far as the round says, and makes its death and that of its shims.
    async fn let_die(&mut self, plan: &Plan) -> anyhow::Result<()> {
        let mut worker = Worker::start(&self.means.runner, plan)?;
        match self.kind {
            Kind::At(..) => {}
            Kind::Sometime(_) => {
                sleep(Duration::from_millis(self.chance.below(SOMETIME_MAX_MS))).await;
            }
            Kind::ShimsOnly => {
                worker.stands().await?;
                self.kill_shims();
                return worker.end_in_order().await;
            }
            Kind::AmidSweep | Kind::Damaged => worker.stands().await?,
            Kind::Hidden(_) => {
                worker.stands().await?;
                self.wait_hidden(plan).await?;
            }
        }
        if !matches!(self.kind, Kind::At(..)) {
            if self.kind.victims() == Victims::ShimsFirst {
                // It must not end by itself what its shims were to end.
                worker.freeze()?;
                self.kill_shims();
            }
            worker.kill()?;
        }
        worker.died().await?;
        if self.kind.victims() == Victims::ShimsLast {
            self.kill_shims();
        }
        Ok(())
    }

    /// Waits until the tree hides as it should, and the record tells all it will.
    async fn wait_hidden(&self, plan: &Plan) -> anyhow::Result<()> {
        let is_hidden = || {
            let records = records(&plan.registry_dir).ok()?;
            let is_recorded = records.iter().all(|record| record.leader.is_some());
            let living = check::living(&self.marker).into_iter();
            let mut nasty = living.filter(is_nasty);
            let is_wiped = nasty.any(|found| carried_tags(&[found]).is_empty());
            (is_recorded && is_wiped).then_some(())
        };
        let hidden = check::wait_for(LIMIT, is_hidden).await;
        hidden.context("nobody hides, or the child is not recorded")
    }

    fn kill_shims(&self) {
        for found in check::living(&self.marker) {
            if found.command.starts_with("sessiond-shim ") {
                check::signal_if_marked(found.pid, &self.marker, Signal::KILL);
            }
        }
    }

    /// Who lives of the trees, and apart from them their shims. A shim alone is no tree: it may be
    /// about to end by itself, having removed its record, or by the signal that it was sent.
    fn members_and_shims(&self) -> (Vec<Found>, Vec<Found>) {
        let living = check::living(&self.marker).into_iter();
        living.partition(|found| !found.command.starts_with("sessiond-shim "))
    }

    /// Whoever runs under a tag must be in a record: that is what the next worker goes by. The
    /// records were read before: a shim ends its tree before it removes its record.
    fn look_for_untracked(&mut self, recorded: &BTreeSet<String>) {
        let (members, _shims) = self.members_and_shims();
        for tag in carried_tags(&members).difference(recorded) {
            self.problem(format!("{tag} runs and is in no record"));
        }
    }

    /// The tags that the sweep has to name: what runs under them does not end by itself.
    fn must_be_swept(&self, recorded: &BTreeSet<String>) -> BTreeSet<String> {
        match self.kind {
            Kind::At(..) | Kind::Damaged if self.is_stubborn && self.kind.needs_sweep() => {
                let (members, shims) = self.members_and_shims();
                // One that was started while the others were killed ends its tree itself.
                let by_shims = carried_tags(&shims);
                let mut tags = carried_tags(&members);
                tags.retain(|tag| !by_shims.contains(tag));
                tags
            }
            Kind::Hidden(_) if self.kind.needs_sweep() => recorded.clone(),
            _ => BTreeSet::new(),
        }
    }

    /// Without a next worker: the shims end everything, and forget it.
    async fn wait_gone(&mut self, plan: &Plan, died_at: Instant) -> anyhow::Result<()> {
        let marker = &self.marker;
        let gone = check::wait_for(LIMIT, || check::living(marker).is_empty().then_some(())).await;
        match gone {
            Some(()) => {
                self.outcome.gone_after_ms = Some(beyond_grace_ms(died_at));
                self.outcome.done.push("of them without a next worker");
            }
            None => {
                let left = check::living(&self.marker);
                self.problem(format!("without a next worker these live on: {left:?}"));
            }
        }
        for record in records(&plan.registry_dir)? {
            // A bare intent may have had no shim at all.
            if record.identity.is_some() {
                self.problem(format!("without a next worker there is {record:?}"));
            }
        }
        Ok(())
    }

    async fn kill_amid_sweep(&mut self, plan: &Plan) -> anyhow::Result<()> {
        let plan = Plan {
            generation: "1-swept".to_owned(),
            task: Task::Sweep,
            ..plan.clone()
        };
        let mut worker = Worker::start(&self.means.runner, &plan)?;
        worker.stands().await?;
        let grace_ms = plan.grace_ms;
        sleep(Duration::from_millis(self.chance.below(2 * grace_ms))).await;
        worker.kill()?;
        worker.died().await
    }

    async fn sweep(&mut self, plan: &Plan) -> anyhow::Result<SweepReport> {
        let mut settings = plan.settings();
        settings.generation = NEXT.to_owned();
        let began_at = Instant::now();
        let supervisor = Supervisor::open(settings).context("open the next worker's supervisor")?;
        let sweep = supervisor.sweep().await;
        let report = timeout(LIMIT, sweep.finished()).await;
        let report = report.context("the sweep does not end")?;
        if self.kind.needs_sweep() {
            self.outcome.swept_after_ms = Some(beyond_grace_ms(began_at));
        }
        Ok(report)
    }

    fn judge(
        &mut self,
        plan: &Plan,
        report: &SweepReport,
        must_be_swept: &BTreeSet<String>,
        damaged: &BTreeSet<String>,
    ) -> anyhow::Result<()> {
        let left = check::living(&self.marker);
        let lost: BTreeSet<String> = report.shims_lost.iter().cloned().collect();
        let unkillable = || report.stopped.iter().flat_map(|it| &it.unkillable);
        let is_reported = match self.kind {
            // Who has neither a tag nor a parent that can be found is beyond a sweep, which has to
            // say that somebody may be.
            Kind::Hidden(Hiding::Orphan) => must_be_swept == &lost,
            // It is named, and its record is for the worker after this.
            Kind::Hidden(Hiding::Entitled) => {
                left.len() == 1 && unkillable().all(|it| it.pid == left[0].pid && it.is_denied)
            }
            _ => false,
        };
        match (left.is_empty(), is_reported) {
            (true, _) => {}
            (false, true) => self
                .outcome
                .done
                .push("of them with survivors, as reported"),
            (false, false) => {
                self.problem(format!("these live on: {left:?}; the sweep: {report:?}"));
            }
        }
        if matches!(self.kind, Kind::Hidden(_)) && must_be_swept != &lost {
            self.problem(format!("lost shims are not reported: {report:?}"));
        }
        let kills_no_shim = !self.kind.needs_sweep() && self.kind != Kind::ShimsOnly;
        if kills_no_shim && !lost.is_empty() {
            self.problem(format!("no shim was lost: {report:?}"));
        }
        let named: BTreeSet<String> = report.stopped.iter().map(|it| it.tag.clone()).collect();
        for tag in must_be_swept.difference(&named) {
            self.problem(format!(
                "the sweep ended {tag} and does not say so: {report:?}"
            ));
        }
        let doubtful = report.doubtful.join("\n");
        for name in file_names(&plan.registry_dir)? {
            let stem = name.trim_end_matches(".json");
            if self.kind == Kind::Hidden(Hiding::Entitled) && !left.is_empty() {
                self.outcome.done.push("of them with a record that is kept");
            } else if !damaged.contains(&name) {
                self.problem(format!("record {name} is left: {report:?}"));
            } else if !doubtful.contains(stem) {
                self.problem(format!("file {name} is left unsaid: {report:?}"));
            }
        }
        Ok(())
    }
}

/// What an entitled child waits for.
fn fifo(dir: &TempDir) -> PathBuf {
    dir.path().join("fifo")
}

/// Whether it is of the tree itself: neither a shim nor a shell.
fn is_nasty(found: &Found) -> bool {
    let program = found.command.split(' ').next().unwrap_or_default();
    program.contains("nasty-child")
}

fn beyond_grace_ms(since: Instant) -> u64 {
    let beyond = since.elapsed().saturating_sub(GRACE);
    u64::try_from(beyond.as_millis()).unwrap_or(u64::MAX)
}
