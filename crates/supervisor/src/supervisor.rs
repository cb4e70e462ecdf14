//! Starts children, ends them, and knows them all.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::child::Child;
use crate::command::Command;
use crate::registry;
use crate::report::{SpawnInfo, StopReport, SweepReport, TreeProcess};
use crate::tag::Tag;

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
}

/// The supervisor; clones are the same one.
#[derive(Clone, Debug)]
pub struct Supervisor {}

impl Supervisor {
    /// Opens the registry and the shim. Starts and signals nothing.
    ///
    /// # Errors
    /// [`SupervisorError`].
    pub fn open(_settings: Settings) -> Result<Self, SupervisorError> {
        unimplemented!()
    }

    /// A tag of this install and generation for a new spawn of `session`.
    pub fn tag(&self, _session: &str) -> Tag {
        unimplemented!()
    }

    /// Starts a child. On disk is first the intent, then the process; dropping the future at any
    /// point leaves no process that is not ended.
    ///
    /// # Errors
    /// [`SpawnError`]; nothing runs then.
    pub async fn spawn(&self, _command: Command, _tag: Tag) -> Result<Child, SpawnError> {
        unimplemented!()
    }

    /// Ends every spawn of `session`, in parallel, and waits for all. Idempotent.
    pub async fn reap(&self, _session: &str) -> StopReport {
        unimplemented!()
    }

    /// Refuses every spawn from now on.
    pub fn refuse_spawns(&self) {
        unimplemented!()
    }

    /// The spawns that run.
    pub fn list(&self) -> Vec<SpawnInfo> {
        unimplemented!()
    }

    /// The processes of a spawn's tree, its shim first. Blocks for some milliseconds.
    pub fn tree(&self, _spawn: &SpawnInfo) -> Vec<TreeProcess> {
        unimplemented!()
    }

    /// Begins to end what earlier generations of this install have left. Looking is done when this
    /// returns; ending goes on in the background.
    pub async fn sweep(&self) -> Sweep {
        unimplemented!()
    }
}

/// A sweep under way; clones are the same one.
#[derive(Clone, Debug)]
pub struct Sweep {}

impl Sweep {
    /// Waits until nothing that was found of `session` lives any more, or nothing more can be done
    /// about it.
    pub async fn cleared(&self, _session: &str) {
        unimplemented!()
    }

    /// Waits for the whole sweep.
    pub async fn finished(&self) -> SweepReport {
        unimplemented!()
    }
}

/// A supervisor could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum SupervisorError {
    /// The registry.
    #[error(transparent)]
    Registry(#[from] registry::OpenError),
    /// The shim's program.
    #[error("open the shim {path}")]
    Shim {
        /// Where it was looked for.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A child was not started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// The supervisor refuses spawns: the worker is stopping.
    #[error("start {command}: the worker is stopping")]
    Stopping {
        /// `argv[0]`.
        command: String,
    },
    /// Its program is not there or may not be run.
    #[error("start {command}")]
    Program {
        /// `argv[0]`.
        command: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It could not be recorded, so it was not started.
    #[error("start {command}")]
    Record {
        /// `argv[0]`.
        command: String,
        /// Why.
        #[source]
        source: registry::PutError,
    },
    /// Its shim could not be started, or ended before the child ran.
    #[error("start {command}: its shim did not run")]
    Shim {
        /// `argv[0]`.
        command: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}
