//! Starts children, ends them, and knows them all.
//!
//! The entrance: each call is handed to the part that does it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use uuid::Uuid;

use crate::actor;
use crate::boot::host_name;
use crate::capture::Capture;
use crate::child::Child;
use crate::command::Command;
use crate::counters::Counters;
use crate::errors::chain;
use crate::fix;
use crate::inspect::{self, Fix, Inspection};
use crate::observer::{Life, Observer};
use crate::output_file::OutputFile;
use crate::pace::Pace;
use crate::recorder::Recorder;
use crate::registry::{self, Registry};
use crate::report::{Counts, SpawnInfo, StopReport, TreeProcess, Unkillable};
use crate::shim::ShimProgram;
use crate::spawn::{Refusal, Spawn, Stage, Table};
use crate::spawn_error::SpawnError;
use crate::step::{Step, StepHook};
use crate::survivors::Survivors;
use crate::sweep::{Sweep, Sweeping};
use crate::tag::Tag;
use crate::tier::{self, TierReport};
use crate::tree;

/// Characters of `argv[0]` that are kept. The longest path has 4096 bytes.
const NAME_MAX_CHARS: usize = 4096;

/// What a supervisor has to be told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The install part of its tags.
    pub install: String,
    /// The generation part of its tags. Tags of other generations are swept.
    pub generation: String,
    /// Where the records are kept.
    pub registry_dir: PathBuf,
    /// The shim's program; opened once, so that an upgrade cannot pull it away.
    pub shim: PathBuf,
    /// From SIGTERM to SIGKILL.
    pub grace: Duration,
    /// Size at which an output file is put aside as `NAME.1`.
    pub output_file_max_bytes: u64,
    /// Spawns that may be there at once.
    pub children_max: usize,
    /// Spawns that may be started within a second; later ones wait.
    pub spawns_per_s_max: u32,
    /// Called at each step of each spawn's life, by rehearsals.
    pub on_step: Option<StepHook>,
    /// Told of each child's beginning and end.
    pub observer: Option<Observer>,
}

/// The supervisor; clones are the same one.
#[derive(Clone, Debug)]
pub struct Supervisor {
    inner: Arc<Inner>,
}

/// What the supervisor, its actors and its sweep share.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) settings: Settings,
    pub(crate) registry: Arc<Registry>,
    pub(crate) recorder: Recorder,
    /// Or why it could not be opened.
    pub(crate) shim: io::Result<ShimProgram>,
    /// This host's name, for records.
    pub(crate) host: String,
    pub(crate) pace: Pace,
    pub(crate) counters: Counters,
    pub(crate) survivors: Survivors,
    pub(crate) tier: TierReport,
    pub(crate) sweeping: Sweeping,
    table: Arc<Table>,
}

impl Supervisor {
    /// Opens the registry and the shim. Starts and signals nothing. Without a shim it is good for
    /// all but spawns.
    ///
    /// # Errors
    /// When the registry cannot be opened.
    pub fn open(settings: Settings) -> Result<Self, registry::OpenError> {
        let registry = Registry::open(&settings.registry_dir)?;
        Ok(Self::with_registry(settings, registry))
    }

    /// The same for [`inspect`](Self::inspect) alone, from beside whoever may have the registry now:
    /// makes and changes nothing in it.
    ///
    /// # Errors
    /// When the registry is not there, or is refused.
    pub fn open_to_look(settings: Settings) -> Result<Self, registry::OpenError> {
        let registry = Registry::open_to_look(&settings.registry_dir)?;
        Ok(Self::with_registry(settings, registry))
    }

    fn with_registry(settings: Settings, registry: Registry) -> Self {
        let registry = Arc::new(registry);
        let shim = ShimProgram::open(&settings.shim);
        let inner = Inner {
            recorder: Recorder::new(Arc::clone(&registry)),
            tier: tier::probe(&shim, &settings.shim),
            sweeping: Sweeping::default(),
            registry,
            shim,
            host: host_name(),
            pace: Pace::new(settings.spawns_per_s_max),
            counters: Counters::default(),
            survivors: Survivors::default(),
            table: Arc::default(),
            settings,
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// A tag of this install and generation for a new spawn of `session`.
    ///
    /// # Panics
    /// When `session`, or a part from the settings, is none that a tag can hold.
    pub fn tag(&self, session: &str) -> Tag {
        let Settings {
            install,
            generation,
            ..
        } = &self.inner.settings;
        let spawn = Uuid::now_v7().to_string();
        Tag::new(install, generation, session, &spawn)
            .expect("install, generation and session are ids of the tag's alphabet")
    }

    /// Starts a child. On disk is first the intent, then the process; dropping the future at any
    /// point leaves no process that is not ended. To be called within a tokio runtime.
    ///
    /// # Errors
    /// [`SpawnError`]; nothing runs then.
    pub async fn spawn(&self, command: Command, tag: Tag) -> Result<Child, SpawnError> {
        let name = short_name(&command);
        let file = |stream| {
            let dir = command.output_dir.clone()?;
            let max_bytes = self.inner.settings.output_file_max_bytes;
            let dropped = self.inner.counters.output_dropped_bytes.clone();
            Some(OutputFile::new(dir, stream, max_bytes, dropped))
        };
        let spawn = Spawn::new(
            tag,
            name.clone(),
            now_ms(),
            Capture::of_stdout(file("stdout.log")),
            Capture::of_stderr(file("stderr.log")),
        );
        let failed = |source| SpawnError::Shim {
            command: name.clone(),
            source,
        };
        let children_max = self.inner.settings.children_max;
        // From here on everything belongs to the actor, and this future only waits.
        let answer = match self.inner.table.enter(spawn, children_max) {
            Ok(entry) => actor::start(Arc::clone(&self.inner), entry, command),
            Err(Refusal::Stopping) => return Err(SpawnError::Stopping { command: name }),
            Err(Refusal::Full { live }) => {
                self.inner.counters.refused.add(1);
                return Err(SpawnError::Full {
                    command: name,
                    live,
                    children_max,
                });
            }
            Err(Refusal::TagInUse) => {
                return Err(failed(io::Error::other("another spawn has its tag")));
            }
        };
        answer
            .await
            .unwrap_or_else(|gone| Err(failed(io::Error::other(gone))))
    }

    /// Waits until another spawn may be there, after [`SpawnError::Full`]. Others may wait for the
    /// same. Cancel-safe.
    pub async fn has_room(&self) {
        let children_max = self.inner.settings.children_max;
        self.inner.table.has_room(children_max).await;
    }

    /// The processes that were started for `session`, could not be ended, and live still. Reads a
    /// few files of `/proc` if there are any.
    pub fn unkillable(&self, session: &str) -> Vec<Unkillable> {
        self.inner.living_survivors(|tag| tag.session() == session)
    }

    /// Ends every spawn of `session`, in parallel, and waits for all; those that are just being
    /// started too. Idempotent.
    pub async fn reap(&self, session: &str) -> StopReport {
        self.reaping(session).await
    }

    /// The same for later: does nothing before it is awaited, and tells then also of the spawns
    /// that run now and have ended meanwhile.
    pub fn reaping(&self, session: &str) -> impl Future<Output = StopReport> + Send + 'static {
        let mut spawns = self.spawns_of(session);
        let (supervisor, session) = (self.clone(), session.to_owned());
        async move {
            for newer in supervisor.spawns_of(&session) {
                if !spawns.iter().any(|spawn| Arc::ptr_eq(spawn, &newer)) {
                    spawns.push(newer);
                }
            }
            for spawn in &spawns {
                spawn.request_stop();
            }
            let mut report = StopReport::default();
            for spawn in spawns {
                // One that never ran has nothing to tell.
                report
                    .stopped
                    .extend(spawn.reached(Stage::Over).await.stopped);
            }
            report
        }
    }

    fn spawns_of(&self, session: &str) -> Vec<Arc<Spawn>> {
        let mut spawns = self.inner.table.all();
        spawns.retain(|spawn| spawn.tag.session() == session);
        spawns
    }

    /// Why nothing can be started, if the shim could not be opened.
    pub fn shim_problem(&self) -> Option<String> {
        let error = self.inner.shim.as_ref().err()?;
        Some(without_shim(&self.inner.settings.shim, error).to_string())
    }

    /// Refuses every spawn from now on.
    pub fn refuse_spawns(&self) {
        self.inner.table.refuse();
    }

    /// The spawns that run, the oldest first.
    pub fn list(&self) -> Vec<SpawnInfo> {
        let spawns = self.inner.table.all();
        let mut infos: Vec<_> = spawns.iter().filter_map(|spawn| spawn.info()).collect();
        infos.sort_by(|a, b| (a.spawned_at_ms, &a.tag).cmp(&(b.spawned_at_ms, &b.tag)));
        infos
    }

    /// The processes of a spawn's tree, its shim first. Blocks for some milliseconds.
    pub fn tree(&self, spawn: &SpawnInfo) -> Vec<TreeProcess> {
        // Once the spawn has left the table its pids may be others'.
        match self.inner.table.get(&spawn.tag) {
            Some(_lives) => tree::of(spawn.shim_pid),
            None => Vec::new(),
        }
    }

    /// What has happened since the start, and what of it still matters. Reads a few files of
    /// `/proc` where something could not be ended.
    pub fn counts(&self) -> Counts {
        let counters = &self.inner.counters;
        Counts {
            live: self.inner.table.live() as u64,
            live_max: self.inner.settings.children_max as u64,
            refused: counters.refused.get(),
            paced: counters.paced.get(),
            shims_lost: counters.shims_lost.get(),
            pipes_leaked: counters.pipes_leaked.get(),
            output_dropped_bytes: counters.output_dropped_bytes.get(),
            unkillable: self.inner.living_survivors(|_| true),
        }
    }

    /// Looks whether what runs and what is recorded agree. Signals nothing and changes nothing.
    pub async fn inspect(&self) -> Inspection {
        inspect::inspect(Arc::clone(&self.inner)).await
    }

    /// Mends what [`inspect`](Self::inspect) finds now, or only says what it would do. No
    /// process that cannot be verified is touched.
    pub async fn fix(&self, is_dry: bool) -> Vec<Fix> {
        fix::fix(Arc::clone(&self.inner), is_dry).await
    }

    /// Begins to end what earlier generations of this install have left. Looking is done when this
    /// returns; ending goes on in the background.
    pub async fn sweep(&self) -> Sweep {
        Sweep::begin(Arc::clone(&self.inner)).await
    }
}

impl Inner {
    /// Every spawn that is being started, runs, or is being ended.
    pub(crate) fn spawns(&self) -> Vec<Arc<Spawn>> {
        self.table.all()
    }

    pub(crate) fn step(&self, step: Step, tag: &Tag) {
        if let Some(hook) = &self.settings.on_step {
            hook.call(step, tag);
        }
    }

    pub(crate) fn tell(&self, life: Life<'_>) {
        if let Some(observer) = &self.settings.observer {
            observer.tell(life);
        }
    }

    /// Whether something of the spawn of `tag` could not be ended and lives still.
    pub(crate) fn has_survivors(&self, tag: &Tag) -> bool {
        !self.living_survivors(|its| its == tag).is_empty()
    }

    /// Those that could not be ended and live still; the records of the others go.
    fn living_survivors(&self, is_wanted: impl Fn(&Tag) -> bool) -> Vec<Unkillable> {
        for tag in self.survivors.forget_gone() {
            if let Err(error) = self.registry.remove(&tag) {
                tracing::warn!(spawn.tag = %tag, error = chain(&error), "a record stays behind");
            }
        }
        self.survivors.of(is_wanted)
    }
}

/// `argv[0]` as text, short enough for a record.
fn short_name(command: &Command) -> String {
    let name = command.program.to_string_lossy();
    name.chars().take(NAME_MAX_CHARS).collect()
}

#[expect(
    clippy::disallowed_methods,
    reason = "the worker's clock is out of reach here, and nothing is decided by this time"
)]
fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// The error of everything that needs the shim.
pub(crate) fn without_shim(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("open {}: {error}", path.display()))
}
