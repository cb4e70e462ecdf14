//! Clients: the registered processes and connections that the worker knows.
//!
//! # Theory of operation
//!
//! ```text
//!  register, remove, revoke --state.db's writer--> committed --> registry (memory)   answered
//!  open, touch, patch ---------------------------------------> registry --dirty--> saver, in batches
//!  expirer (timer queue), processes (pidfd; sweep) ----------> registry --gone---> saver, event, subscribers
//!  resolve(token) <------------------------------------------- registry
//! ```
//!
//! The registry in memory is what counts; `state.db` is what the next worker begins with. What a
//! token opens, and that it does so no more, is on disk before it is answered, and whoever changes
//! that holds the writer from the first look to the change in memory, so that both are in one order.
//! What merely lasts as long as it is used (HTTP and MCP sessions) is written in batches, and a crash
//! may forget the last seconds of it.
//!
//! A client leaves on one path, whatever the reason: out of the registry at once, then its row, the
//! event and the subscribers. Nothing of that can keep it in.
//!
//! Modules in reading order: `client` (what is shown), `about` and `limits` (what may be said),
//! `token`, `entry` and `registry` (what is kept), `register` and `session` (who comes), `leave` (who
//! goes), `watch` (whose process ends), `keeper` (what happens by itself), `rows` (the database),
//! `gone` (who is told).

mod about;
mod client;
mod entry;
mod gone;
mod keeper;
mod leave;
pub mod limits;
mod register;
mod registry;
mod rows;
mod session;
#[cfg(test)]
mod tests;
mod token;
mod watch;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sessiond_queue::ids::SessionId;
use sessiond_queue::store::Store;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use about::{About, InvalidField};
pub use client::{Client, ClientId, ClientsReport, Counts, Gone, Kind, Why};
pub use gone::{GoneHandler, HandlerError};
pub use leave::RemoveError;
pub use register::{RegisterError, Registered, Registration};
pub use session::{ChangeError, OpenError, Opened, Opening};
pub use token::{Token, TokenHash, UnfitToken};

use self::gone::Subscriber;
use self::limits::{LIST_DEFAULT, LIST_MAX};
use self::registry::Registry;
use crate::agent_watch::waited_max;
use crate::agents::Projects;
use crate::clock::Clock;
use crate::config;
use crate::events::Events;
use crate::state::StateDb;

/// What the registry works with.
pub struct Parts {
    /// Where rows are kept.
    pub state: StateDb,
    /// Tells whether a session is open.
    pub store: Arc<dyn Store>,
    /// The wall clock.
    pub clock: Clock,
    /// Where it is told who comes and goes.
    pub events: Events,
    /// Lifetimes and bounds.
    pub settings: config::Clients,
    /// Ends it; what is not stored yet is stored then.
    pub stop: CancellationToken,
}

/// The registry. Clones share it.
#[derive(Clone)]
pub struct Clients {
    shared: Arc<Shared>,
}

struct Shared {
    state: StateDb,
    store: Arc<dyn Store>,
    clock: Clock,
    events: Events,
    settings: config::Clients,
    projects: Projects,
    registry: Mutex<Registry>,
    subscribers: Mutex<Vec<Subscriber>>,
    /// One a process that is held: whoever finds none left is looked at from time to time.
    held: Arc<Semaphore>,
    /// There is something to be saved.
    unsaved: Notify,
    /// There is a process to be looked at from time to time.
    swept: Notify,
}

/// What the bearer of a client's token may reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// The client.
    pub client: ClientId,
    /// Its session.
    pub session: Option<SessionId>,
    /// Its project.
    pub project: Option<Arc<str>>,
}

/// Which clients are wanted.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only of this kind.
    pub kind: Option<Kind>,
    /// Only that of this session.
    pub session: Option<SessionId>,
    /// Only of this project.
    pub project: Option<String>,
    /// Only those behind this one.
    pub after: Option<ClientId>,
    /// At most so many; 0 means [`LIST_DEFAULT`], and [`LIST_MAX`] is the most.
    pub limit: usize,
}

impl Clients {
    /// Takes up what an earlier worker has left, as far as it is still there, and starts what happens
    /// by itself, which is to be joined before the state is closed. When nothing can be read it begins
    /// with nobody: that is no reason not to take events.
    pub async fn open(parts: Parts) -> (Self, JoinHandle<()>) {
        let shared = Arc::new(Shared {
            state: parts.state,
            store: parts.store,
            clock: parts.clock,
            events: parts.events,
            settings: parts.settings,
            projects: Projects::default(),
            registry: Mutex::default(),
            subscribers: Mutex::default(),
            held: Arc::new(Semaphore::new(waited_max())),
            unsaved: Notify::new(),
            swept: Notify::new(),
        });
        if let Err(error) = shared.restore().await {
            let error = crate::errors::chain(&error);
            tracing::error!(error, "stored clients cannot be taken up as they should");
            shared.registry().last_error = Some(error);
        }
        let keeping = tokio::spawn(keeper::keep(Arc::clone(&shared), parts.stop));
        (Self { shared }, keeping)
    }

    /// Has `handler` told of every client that is gone from now on.
    pub fn on_gone(&self, handler: Arc<dyn GoneHandler>) {
        let subscriber = Subscriber::start(handler);
        self.shared.subscribers().push(subscriber);
    }

    /// Whose token it is; `None`: nobody's, or nobody's any more.
    pub fn resolve(&self, token: &TokenHash) -> Option<Scope> {
        let now = self.shared.clock.now();
        let registry = self.shared.registry();
        let entry = registry.of_token(token)?;
        (!entry.is_over(now)).then(|| Scope {
            client: entry.id,
            session: entry.session,
            project: entry.project.clone(),
        })
    }

    /// One client.
    pub fn get(&self, id: ClientId) -> Option<Client> {
        let now = self.shared.clock.now();
        let registry = self.shared.registry();
        let entry = registry.get(id).filter(|entry| !entry.is_over(now))?;
        Some(entry.shown())
    }

    /// Clients by id, which is the order in which they came as far as the ids were minted here; and
    /// how many are wanted in all.
    pub fn list(&self, filter: &Filter) -> (Vec<Client>, usize) {
        let now = self.shared.clock.now();
        let limit = match filter.limit {
            0 => LIST_DEFAULT,
            limit => limit.min(LIST_MAX),
        };
        let registry = self.shared.registry();
        let wanted = registry.all().filter(|entry| {
            !entry.is_over(now)
                && filter.kind.is_none_or(|kind| entry.kind == kind)
                && filter
                    .session
                    .is_none_or(|session| entry.session == Some(session))
                && (filter.project.is_none()
                    || entry.project.as_deref() == filter.project.as_deref())
        });
        let mut wanted: Vec<_> = wanted.collect();
        let count = wanted.len();
        wanted.retain(|entry| filter.after.is_none_or(|after| entry.id > after));
        wanted.sort_unstable_by_key(|entry| entry.id);
        let page = wanted.into_iter().take(limit);
        (page.map(|entry| entry.shown()).collect(), count)
    }

    /// How many there are.
    pub fn counts(&self) -> Counts {
        self.shared.registry().counts()
    }

    /// Looks at a client's presence where it lies. It is not to be copied, logged or answered.
    pub fn with_presence<T>(&self, id: ClientId, look: impl FnOnce(&str) -> T) -> Option<T> {
        use secrecy::ExposeSecret as _;

        let registry = self.shared.registry();
        let presence = registry.get(id)?.presence.as_ref()?;
        Some(look(presence.expose_secret()))
    }

    /// How it fares, for the doctor.
    pub fn report(&self) -> ClientsReport {
        let registry = self.shared.registry();
        let (watched, swept, unverifiable) = registry.watches();
        ClientsReport {
            counts: registry.counts(),
            watched,
            swept,
            unverifiable,
            skipped: registry.skipped,
            last_error: registry.last_error.clone(),
        }
    }
}

impl Shared {
    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn subscribers(&self) -> MutexGuard<'_, Vec<Subscriber>> {
        self.subscribers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn ttl(&self) -> Duration {
        Duration::from_millis(self.settings.ttl_ms)
    }

    fn token_ttl(&self) -> Duration {
        Duration::from_millis(self.settings.token_ttl_ms)
    }
}
