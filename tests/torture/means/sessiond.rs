//! sessiond's own way: under a shim, by the supervisor that the worker has.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use sessiond_supervisor::{
    Child, Command, Line, ProcessLimits, Settings, Step, StepHook, Supervisor, Tag,
};
use uuid::Uuid;

use super::{Means, Tree, TreeCommand};

pub(super) const NAME: &str = "sessiond";

/// The session of all trees.
pub(crate) const SESSION: &str = "torture";

/// Bytes of a line that are read; of a longer one nothing is kept.
const LINE_MAX_BYTES: usize = 1 << 20;
/// More than any case starts at once.
const CHILDREN_MAX: usize = 4096;

/// A supervisor, as a worker opens it once and has it until it ends.
pub(crate) struct Sessiond {
    /// The supervisor.
    pub(crate) supervisor: Supervisor,
    /// What it was told.
    pub(crate) settings: Settings,
    /// Called at each step of each spawn.
    pub(crate) steps: Steps,
}

impl Sessiond {
    /// One with its registry below `dir`.
    pub(crate) fn open(shim: &Path, dir: &Path, grace: Duration) -> anyhow::Result<Self> {
        let steps = Steps::default();
        let settings = Settings {
            install: Uuid::new_v4().to_string(),
            generation: "1".to_owned(),
            registry_dir: dir.join("registry"),
            shim: shim.to_owned(),
            grace,
            output_file_max_bytes: 1 << 20,
            children_max: CHILDREN_MAX,
            spawns_per_s_max: u32::MAX,
            on_step: Some(steps.hook()),
            observer: None,
        };
        let supervisor = Supervisor::open(settings.clone()).context("open a supervisor")?;
        Ok(Self {
            supervisor,
            settings,
            steps,
        })
    }

    /// The command in the supervisor's words.
    pub(crate) fn command(command: &TreeCommand) -> Command {
        Command {
            program: command.program.clone().into(),
            args: command.args.iter().map(Into::into).collect(),
            env: command
                .env
                .iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
            cwd: PathBuf::from("/"),
            output_dir: None,
            line_max_bytes: LINE_MAX_BYTES,
            limits: ProcessLimits::default(),
            is_errand: false,
        }
    }
}

#[async_trait]
impl Means for Sessiond {
    async fn start(&self, command: &TreeCommand) -> anyhow::Result<Box<dyn Tree>> {
        let tag = self.supervisor.tag(SESSION);
        let child = self.supervisor.spawn(Self::command(command), tag).await?;
        Ok(Box::new(SessiondTree { child }))
    }

    fn records(&self) -> anyhow::Result<u64> {
        let dir = &self.settings.registry_dir;
        let entries = fs::read_dir(dir).with_context(|| format!("read {}", dir.display()))?;
        Ok(entries.count() as u64)
    }

    fn as_sessiond(&self) -> Option<&Sessiond> {
        Some(self)
    }
}

struct SessiondTree {
    child: Child,
}

#[async_trait]
impl Tree for SessiondTree {
    fn pid(&self) -> u32 {
        self.child.control.pid()
    }

    async fn line(&mut self) -> Option<String> {
        Some(match self.child.stdout.next().await? {
            Line::Bytes(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Line::TooLong { bytes } => format!("a line of {bytes} bytes"),
        })
    }

    /// The grace is the supervisor's.
    async fn stop(self: Box<Self>, _grace: Duration) -> Vec<u32> {
        let stopped = self.child.control.stop().await;
        stopped.unkillable.iter().map(|one| one.pid).collect()
    }
}

type OnStep = Arc<dyn Fn(Step, &Tag) + Send + Sync>;

/// What is called at each step, which a round may set; nothing at first.
#[derive(Clone, Default)]
pub(crate) struct Steps(Arc<Mutex<Option<OnStep>>>);

impl Steps {
    /// Calls `on_step` from now on; `None`: nothing.
    pub(crate) fn set(&self, on_step: Option<OnStep>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = on_step;
    }

    fn hook(&self) -> StepHook {
        let steps = self.clone();
        StepHook::new(move |step, tag| {
            // Not under the lock: it may block until another step has come.
            let on_step = steps
                .0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone();
            if let Some(on_step) = on_step {
                on_step(step, tag);
            }
        })
    }
}

impl fmt::Debug for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Steps")
    }
}
