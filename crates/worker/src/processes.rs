//! The supervisor as sessions see it: by session, with their output's place.
//!
//! What is started, and when, is the generator's and the sessions' business.

use std::path::PathBuf;

use async_trait::async_trait;
use futures::FutureExt;
use futures::future::BoxFuture;
use sessiond_queue::ids::{SessionId, Timestamp};
use sessiond_supervisor::registry::OpenError;
use sessiond_supervisor::{Life, Observer, Settings, Stopped, Supervisor, Sweep, SweepReport, Tag};
use tokio::sync::watch;

use crate::config::Config;
use crate::events::{Event, Events};
use crate::generator::output_dir;
use crate::sessions::Processes;
use crate::wire::layout::Layout;

/// The shim's program, installed beside the worker's own.
const SHIM: &str = "sessiond-shim";

/// Every process that runs for a session.
#[derive(Clone, Debug)]
pub struct SessionProcesses {
    supervisor: Supervisor,
    home: PathBuf,
    /// What earlier instances left, and when it was looked for; `None` until then.
    sweep: watch::Sender<Option<(Timestamp, Sweep)>>,
}

/// What a home's supervisor has to be told.
pub fn supervisor_settings(
    layout: &Layout,
    install: &str,
    generation: &str,
    settings: &Config,
) -> Settings {
    // Without a path of its own there is nothing beside it either; the error names the shim.
    let own = std::env::current_exe().unwrap_or_default();
    Settings {
        install: install.to_owned(),
        generation: generation.to_owned(),
        registry_dir: layout.process_dir(),
        shim: own.with_file_name(SHIM),
        grace: std::time::Duration::from_millis(settings.supervisor.grace_ms),
        output_file_max_bytes: settings.supervisor.output_file_max_bytes,
        children_max: settings.supervisor.children_max,
        spawns_per_s_max: settings.supervisor.spawns_per_s_max,
        on_step: None,
        observer: None,
    }
}

impl SessionProcesses {
    /// Opens the supervisor of a home, which tells what it starts and ends. Starts and signals
    /// nothing yet.
    ///
    /// # Errors
    /// When the records of processes cannot be used.
    pub fn open(
        layout: &Layout,
        install: &str,
        generation: i64,
        settings: &Config,
        events: &Events,
    ) -> Result<Self, OpenError> {
        let generation = generation.to_string();
        let settings = Settings {
            observer: Some(observer(events.clone())),
            ..supervisor_settings(layout, install, &generation, settings)
        };
        let supervisor = Supervisor::open(settings)?;
        Ok(Self {
            supervisor,
            home: layout.root().to_owned(),
            sweep: watch::Sender::new(None),
        })
    }

    /// Who starts and ends them.
    pub fn supervisor(&self) -> &Supervisor {
        &self.supervisor
    }

    /// Begins to end what earlier instances have left. Sessions wait for it before they claim. What
    /// was ended is told when all of it is.
    pub async fn sweep(&self, now: Timestamp, events: &Events) {
        let sweep = self.supervisor.sweep().await;
        let (found, events) = (sweep.clone(), events.clone());
        tokio::spawn(async move {
            for stopped in found.finished().await.stopped {
                tell_reaped(&events, &stopped);
            }
        });
        self.sweep.send_replace(Some((now, sweep)));
    }

    /// When the sweep began, and what it found; `None`: it goes on.
    pub fn swept(&self) -> Option<(Timestamp, SweepReport)> {
        let (at, sweep) = self.sweep.borrow().clone()?;
        Some((at, sweep.finished().now_or_never()?))
    }
}

/// Tells of each program's beginning and end.
fn observer(events: Events) -> Observer {
    Observer::new(move |life| match life {
        Life::Spawned { tag, command, pid } => {
            let session = tag.session().parse().ok();
            let spawned = Event::ProcessSpawned {
                tag: tag.to_string().into(),
                command: command.into(),
                pid,
            };
            events.emit(session, spawned);
        }
        Life::Reaped { stopped, .. } => tell_reaped(&events, stopped),
    })
}

fn tell_reaped(events: &Events, stopped: &Stopped) {
    let session = stopped
        .tag
        .parse::<Tag>()
        .ok()
        .and_then(|tag| tag.session().parse().ok());
    events.emit(session, Event::ProcessReaped(Box::new(stopped.clone())));
}

#[async_trait]
impl Processes for SessionProcesses {
    async fn cleared(&self, session: SessionId) {
        let mut seen = self.sweep.subscribe();
        // The sender is ours: it lives.
        let Ok(sweep) = seen
            .wait_for(Option::is_some)
            .await
            .map(|sweep| sweep.clone())
        else {
            return;
        };
        if let Some((_, sweep)) = sweep {
            sweep.cleared(&session.to_string()).await;
        }
    }

    fn reaping(&self, session: SessionId) -> BoxFuture<'static, Vec<Stopped>> {
        let reaping = self.supervisor.reaping(&session.to_string());
        Box::pin(async { reaping.await.stopped })
    }

    async fn has_room(&self) {
        self.supervisor.has_room().await;
    }

    async fn forget(&self, session: SessionId) {
        let dir = output_dir(&self.home, session);
        match tokio::fs::remove_dir_all(&dir).await {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::error!(session.id = %session, %error, "cannot remove its output");
            }
        }
    }
}
