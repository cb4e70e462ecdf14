//! Programs as generators: which one a session gets, and how it is started.
//!
//! A program runs under the supervisor, which ends it and all it started. It speaks the protocol
//! of `docs/generator-protocol.md`: `protocol` has its lines, `conversation` what they mean at
//! their moment, `running` the process and the waiting.

mod conversation;
mod environment;
mod running;

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sessiond_queue::ids::SessionId;
use sessiond_queue::store::Store;
use sessiond_queue::types::{NewResult, ResultFilter, Session};
use sessiond_supervisor::{Command, SpawnError, Supervisor, Unkillable};

use self::running::{Patience, Running};
use super::{DigestFactory, Generator, GeneratorFactory, Kind, OpenError, OpenErrorKind, protocol};
use crate::config;
use crate::errors::chain;

/// Results that a program is shown when it starts, and their bytes: enough to go on with a
/// thought, little enough for a model's context.
const RECENT_MAX: u32 = 20;
const RECENT_MAX_BYTES: usize = 256 << 10;

/// What a [`ProgramFactory`] has to be told.
#[derive(Clone, Debug)]
pub struct ProgramSettings {
    /// Which program works which session, and its limits.
    pub generator: config::Generator,
    /// How long a program may take to end once it was asked to.
    pub stop_wait: Duration,
    /// The state directory: the programs' working directory.
    pub home: PathBuf,
    /// The worker's own environment, of which the basic variables are handed on.
    pub own_env: Vec<(OsString, OsString)>,
}

/// Opens the program that is configured for a session, or the digest.
pub struct ProgramFactory {
    supervisor: Supervisor,
    store: Arc<dyn Store>,
    settings: ProgramSettings,
    digest: DigestFactory,
}

/// Where a session's programs leave their output, as `stdout.log` and `stderr.log`.
pub fn output_dir(home: &Path, session: SessionId) -> PathBuf {
    output_root(home).join(session.to_string())
}

/// The directory of all sessions' output.
pub fn output_root(home: &Path) -> PathBuf {
    home.join("output")
}

impl ProgramFactory {
    /// Programs that run under `supervisor`; `store` has the results they are shown.
    pub fn new(supervisor: Supervisor, store: Arc<dyn Store>, settings: ProgramSettings) -> Self {
        Self {
            supervisor,
            store,
            settings,
            digest: DigestFactory,
        }
    }

    fn command(&self, program: &config::Program, session: &Session) -> Command {
        let (name, args) = program
            .words
            .split_first()
            .expect("a configured program has at least one word");
        Command {
            program: name.into(),
            args: args.iter().map(OsString::from).collect(),
            env: environment::environment(&self.settings.own_env, &program.env),
            cwd: self.settings.home.clone(),
            output_dir: Some(output_dir(&self.settings.home, session.id)),
            line_max_bytes: self.settings.generator.line_max_bytes,
            limits: program.limits,
            is_errand: false,
        }
    }

    /// The newest results of a session, newest last: whole ones, as many as the limits allow.
    async fn recent_results(&self, session: SessionId) -> Result<Vec<NewResult>, OpenError> {
        let newest = ResultFilter {
            session: Some(session),
            newest_first: true,
            limit: RECENT_MAX,
            ..ResultFilter::default()
        };
        let newest = self.store.results(newest).await;
        let newest = newest.map_err(|error| passing(chain(&error)))?;
        let mut bytes = 0;
        let mut recent: Vec<NewResult> = newest
            .into_iter()
            .map(|stored| stored.result)
            .take_while(|result| {
                bytes += protocol::bytes(result);
                bytes <= RECENT_MAX_BYTES
            })
            .collect();
        recent.reverse();
        Ok(recent)
    }
}

#[async_trait]
impl GeneratorFactory for ProgramFactory {
    fn kind(&self, session: &Session) -> Kind {
        match self.settings.generator.program_of(session) {
            Some(program) => Kind {
                name: program.name.into(),
                is_program: true,
            },
            None => self.digest.kind(session),
        }
    }

    async fn open(
        &self,
        session: &Session,
        checkpoint: Option<String>,
    ) -> Result<Box<dyn Generator>, OpenError> {
        let Some(program) = self.settings.generator.program_of(session) else {
            return self.digest.open(session, checkpoint).await;
        };
        let survivors = self.supervisor.unkillable(&session.id.to_string());
        if let Some(survivor) = survivors.first() {
            return Err(not_alone(survivor));
        }
        let recent = self.recent_results(session.id).await?;
        let open = protocol::open(session, checkpoint.as_deref(), &recent).map_err(|error| {
            // The store holds what a generator sent, and that was JSON.
            passing(format!("its checkpoint is not JSON: {error}"))
        })?;
        let tag = self.supervisor.tag(&session.id.to_string());
        let child = self.supervisor.spawn(self.command(&program, session), tag);
        let child = child.await.map_err(|error| not_started(&error, &program))?;
        let limits = &self.settings.generator;
        let patience = Patience {
            ready: Duration::from_millis(limits.ready_timeout_ms),
            progress: Duration::from_millis(limits.progress_timeout_ms),
            stop: self.settings.stop_wait,
        };
        let running = Running::open(child, session.id, &program, patience, &open).await?;
        Ok(Box::new(running))
    }
}

/// A program was not started.
fn not_started(error: &SpawnError, program: &config::Program) -> OpenError {
    let kind = match error {
        SpawnError::Program { .. } => OpenErrorKind::Final,
        SpawnError::Exhausted { .. } => OpenErrorKind::Lacking,
        SpawnError::Full { .. } => OpenErrorKind::Full,
        SpawnError::Stopping { .. } | SpawnError::Ended { .. } => OpenErrorKind::Stopping,
        SpawnError::Record { .. } | SpawnError::Shim { .. } => OpenErrorKind::Again,
    };
    let mut reason = chain(error);
    if let SpawnError::Program { source, .. } = error
        && source.kind() == io::ErrorKind::NotFound
        && program.is_looked_up()
    {
        // The worker's own PATH, and where it stands, do not count.
        let path = program.search_path();
        reason.push_str(&format!("; it was looked for in {path} and nowhere else"));
    }
    OpenError { reason, kind }
}

/// Something of an earlier program of the session lives on. Two would work on one session, and a
/// third after them, until the machine is full of such.
fn not_alone(survivor: &Unkillable) -> OpenError {
    OpenError {
        reason: format!(
            "an earlier program of this session could not be ended, so no other is started: \
             {survivor}"
        ),
        kind: OpenErrorKind::Final,
    }
}

/// A failure to open that another try may not meet.
fn passing(reason: String) -> OpenError {
    OpenError {
        reason,
        kind: OpenErrorKind::Again,
    }
}
