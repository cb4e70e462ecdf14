//! The life of sessions in memory: one dispatcher, a run a session with work, one way to close.
//!
//! # Theory of operation
//!
//! ```text
//!  API, ingest --Wake/Drain/Close--> dispatcher --starts--> run: stream of claims -> generator
//!                                        ^  ^                  |
//!                             reaper ----+  +--- Ended --------+   close: mark, stop, settle
//!                          (nominates)      +--- Closed -----------+
//! ```
//!
//! The dispatcher is the only owner of what is in memory; everyone else sends it a command and may
//! leave a reply slot. It never waits for a run, a close or the store: they are tasks of their own
//! and report back. So all decisions fall in one place, one after the other, and no lock is held.
//!
//! Modules in reading order: `dispatcher` (decides), `entry` (what it keeps), `run` and `feeder`
//! (work), `stream` (claims), `gate` (whether a program may), `wake` (the wake-up between them),
//! `close` (ends), `reaper` (deadlines), `report` (what is said).

mod close;
mod dispatcher;
mod entry;
mod feeder;
mod gate;
mod reaper;
mod report;
mod run;
mod stream;
mod sync;
mod wake;

#[cfg(test)]
mod tests;
#[cfg(test)]
#[expect(
    clippy::duplicate_mod,
    reason = "the model checker runs `wake` over its own primitives"
)]
mod wake_model;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use sessiond_queue::error::{SessionError, StoreError};
use sessiond_queue::ids::{Generation, SessionId, Timestamp};
use sessiond_queue::store::Store;
use sessiond_queue::types::{CloseDepth, Effect, Life, Message, Session, SessionFilter};
use sessiond_supervisor::Stopped;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::time::Instant;

pub(crate) use self::close::rehearse;
pub use self::report::{Activity, CloseReport, Depth, GeneratorEnd, Live, Restarted, SessionEvent};
use crate::admission::Admission;
use crate::clock::Clock;
use crate::config::Config;
use crate::events::Events;
use crate::generator::GeneratorFactory;
use crate::search::SearchError;
use crate::state::StateError;
use crate::worktrees::SettledWorktree;

/// Commands waiting for the dispatcher; beyond it senders wait, which slows enqueues down instead
/// of filling memory.
const COMMANDS_MAX: usize = 4096;

/// Events a subscriber may lag behind.
const EVENTS_MAX: usize = 256;

/// Sessions resumed at once at start-up, and the pause after them: a worker that comes back to
/// thousands of backlogs must not starve the hooks of today.
const RESUME_BATCH: usize = 64;
const RESUME_PAUSE: Duration = Duration::from_millis(20);

/// Sessions, of those last active, that are looked at for failing ones without work.
const LAST_ACTIVE_MAX: u32 = 1_000;

/// What follows the results besides the store's rows.
#[async_trait]
pub trait ResultIndex: Send + Sync + 'static {
    /// There are new results.
    fn wake(&self);

    /// Removes everything of a purged session, durably.
    async fn forget(&self, session: SessionId) -> Result<(), SearchError>;
}

/// The processes of sessions.
#[async_trait]
pub trait Processes: Send + Sync + 'static {
    /// Waits until nothing that an earlier instance has left runs for a session.
    async fn cleared(&self, session: SessionId);

    /// Ends, once it is awaited, everything that runs for a session, and waits for it. Tells of all
    /// that runs now, also if it ends before that.
    fn reaping(&self, session: SessionId) -> BoxFuture<'static, Vec<Stopped>>;

    /// Waits until another program may be there.
    async fn has_room(&self);

    /// Removes the output of a purged session.
    async fn forget(&self, session: SessionId);
}

/// For generators that are no programs: nothing runs.
#[derive(Clone, Copy, Debug)]
pub struct NoProcesses;

#[async_trait]
impl Processes for NoProcesses {
    async fn cleared(&self, _: SessionId) {}

    fn reaping(&self, _: SessionId) -> BoxFuture<'static, Vec<Stopped>> {
        Box::pin(async { Vec::new() })
    }

    async fn has_room(&self) {}

    async fn forget(&self, _: SessionId) {}
}

/// What belongs to a session besides its rows and its processes, and goes when it ends.
#[async_trait]
pub trait Belongings: Send + Sync + 'static {
    /// Whether something runs for a session that must not be ended because the session is idle.
    fn is_at_work(&self, session: SessionId) -> bool;

    /// Gives up what does not outlive a session, once nothing of it runs any more. What was given up
    /// is so for good: it is on disk. May be repeated.
    async fn settle(&self, session: SessionId, depth: CloseDepth) -> Result<Settled, StateError>;
}

/// What was given up at the end of a session, and what was not.
#[derive(Clone, Debug, Default)]
pub struct Settled {
    /// Tokens that are refused from now on.
    pub tokens_revoked: u64,
    /// What became of its worktrees.
    pub worktrees: Vec<SettledWorktree>,
}

/// Sessions that own nothing else.
#[derive(Clone, Copy, Debug)]
pub struct NoBelongings;

#[async_trait]
impl Belongings for NoBelongings {
    fn is_at_work(&self, _: SessionId) -> bool {
        false
    }

    async fn settle(&self, _: SessionId, _: CloseDepth) -> Result<Settled, StateError> {
        Ok(Settled::default())
    }
}

/// What every part of this module works with.
pub struct Context {
    /// The queue.
    pub store: Arc<dyn Store>,
    /// The instance's number.
    pub generation: Generation,
    /// The wall clock.
    pub clock: Clock,
    /// The configuration.
    pub settings: Arc<Config>,
    /// Opens generators.
    pub factory: Arc<dyn GeneratorFactory>,
    /// Decides whether programs may work.
    pub admission: Admission,
    /// What runs for sessions.
    pub processes: Arc<dyn Processes>,
    /// Follows the results.
    pub index: Arc<dyn ResultIndex>,
    /// What else belongs to sessions.
    pub belongings: Arc<dyn Belongings>,
    /// Where it is told what happens.
    pub events: Events,
    /// When the worker started.
    pub started: Instant,
}

impl Context {
    /// Milliseconds since the start, monotonic.
    pub fn uptime_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The wait after the `failures`-th failure in a row: doubles up to the cap, minus up to a
    /// quarter, so that what failed together does not come back together.
    pub(crate) fn backoff(&self, failures: u32) -> Duration {
        let queue = &self.settings.queue;
        let doublings = failures.saturating_sub(1).min(20);
        let full_ms = (queue.backoff_base_ms << doublings).min(queue.backoff_cap_ms);
        let jitter_ms = uuid::Uuid::new_v4().as_u128() as u64 % (full_ms / 4 + 1);
        Duration::from_millis(full_ms - jitter_ms)
    }
}

/// A close was not done. What it had begun is finished when it is asked for again, or at the next
/// start.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CloseError {
    /// The session does not exist, or the store failed.
    #[error(transparent)]
    Session(Arc<SessionError>),
    /// The search index could not forget the session.
    #[error(transparent)]
    Index(Arc<SearchError>),
    /// What belongs to the session could not be given up.
    #[error(transparent)]
    State(Arc<StateError>),
    /// A step of it panicked, which is a defect of sessiond.
    #[error("close the session: a step of it panicked")]
    Panicked,
    /// The worker is stopping; the close can be asked for after the next start.
    #[error("close the session: the worker is stopping")]
    Stopping,
}

impl From<SessionError> for CloseError {
    fn from(error: SessionError) -> Self {
        Self::Session(Arc::new(error))
    }
}

impl From<SearchError> for CloseError {
    fn from(error: SearchError) -> Self {
        Self::Index(Arc::new(error))
    }
}

impl From<StateError> for CloseError {
    fn from(error: StateError) -> Self {
        Self::State(Arc::new(error))
    }
}

/// The handle to the dispatcher.
#[derive(Clone)]
pub struct Sessions {
    commands: mpsc::Sender<dispatcher::Command>,
    events: broadcast::Sender<SessionEvent>,
    context: Arc<Context>,
}

impl Sessions {
    /// Starts the dispatcher.
    pub fn start(context: Arc<Context>) -> Self {
        let (commands, inbox) = mpsc::channel(COMMANDS_MAX);
        let (events, _) = broadcast::channel(EVENTS_MAX);
        let handle = Self {
            commands,
            events,
            context,
        };
        dispatcher::start(&handle, inbox);
        handle
    }

    /// Tells that something was enqueued for a session. What it was only matters for the drain.
    pub async fn wake(&self, session: SessionId, effect: &Effect) {
        let command = match effect {
            Effect::None => dispatcher::Command::Wake(session),
            Effect::Start | Effect::Prompt(_) => dispatcher::Command::Reopened(session),
            Effect::End { drain_until } => dispatcher::Command::Drain {
                session,
                until: *drain_until,
            },
        };
        self.send(command).await;
    }

    /// Closes a session; with `drain` once its backlog is worked. Requests for one session are one
    /// close, and the deepest of them counts.
    pub async fn close(
        &self,
        session: SessionId,
        depth: Depth,
        drain: bool,
    ) -> Result<CloseReport, CloseError> {
        let mut until = None;
        if drain && depth > Depth::Unload {
            let now = self.context.clock.now();
            let drain_max = Duration::from_millis(self.context.settings.session.drain_max_ms);
            until = Some(now.after(drain_max));
            self.context
                .store
                .begin_drain(session, now.after(drain_max), now)
                .await?;
        }
        let (reply, answer) = oneshot::channel();
        let request = dispatcher::CloseRequest {
            session,
            depth,
            until,
            reply: Some(reply),
        };
        self.send(dispatcher::Command::Close(request)).await;
        answer.await.unwrap_or(Err(CloseError::Stopping))
    }

    /// The agent of a session has gone without saying so: the session drains as if it had. Answers
    /// whether it does because of this.
    ///
    /// # Errors
    /// The session does not exist, or the store failed.
    pub async fn agent_gone(&self, session: SessionId) -> Result<bool, SessionError> {
        let store = &self.context.store;
        let row = store.session(session).await?;
        let row = row.ok_or(SessionError::Unknown(session))?;
        if row.life == Life::Ended || row.drain_until.is_some() {
            return Ok(false);
        }
        let now = self.context.clock.now();
        let drain_max = Duration::from_millis(self.context.settings.session.drain_max_ms);
        let until = now.after(drain_max);
        // Of one that is closing, it takes back that somebody has come since.
        store.begin_drain(session, until, now).await?;
        self.send(dispatcher::Command::Drain { session, until })
            .await;
        Ok(row.life == Life::Open)
    }

    /// Tells that a message was cancelled: work on it is abandoned, and what stood behind it may be
    /// due.
    pub async fn cancelled(&self, message: &Message) {
        let (session, message) = (message.session, message.id);
        self.send(dispatcher::Command::Cancelled { session, message })
            .await;
    }

    /// Lets a failing session start generators again, and its provider be asked at once if it was
    /// away.
    pub async fn restart(&self, session: SessionId) -> Result<Restarted, SessionError> {
        let (store, now) = (&self.context.store, self.context.clock.now());
        let session = store.set_failing(session, None, now).await?;
        let kind = self.context.factory.kind(&session);
        let breakers = &self.context.admission.breakers;
        let asks_provider = kind.is_program && breakers.retry_now(&kind.name);
        self.send(dispatcher::Command::Wake(session.id)).await;
        Ok(Restarted {
            session,
            asks_provider,
        })
    }

    /// The same for every failing session that has work, or was active lately.
    pub async fn restart_failing(&self) -> Result<Vec<SessionId>, SessionError> {
        let store = &self.context.store;
        let last_active = SessionFilter {
            limit: LAST_ACTIVE_MAX,
            ..SessionFilter::default()
        };
        let failing = |row: &Session| row.failing.is_some();
        let last_active = store.sessions(last_active).await?.into_iter();
        let mut wanted: Vec<SessionId> = last_active.filter(failing).map(|row| row.id).collect();
        for item in store.unfinished().await? {
            let row = store.session(item.session).await?;
            if row.as_ref().is_some_and(failing) && !wanted.contains(&item.session) {
                wanted.push(item.session);
            }
        }
        let mut restarted = Vec::new();
        for session in wanted {
            match self.restart(session).await {
                Ok(_) => restarted.push(session),
                // It was purged meanwhile.
                Err(SessionError::Unknown(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(restarted)
    }

    /// Every session in memory.
    pub async fn live(&self) -> Vec<Live> {
        let (reply, answer) = oneshot::channel();
        self.send(dispatcher::Command::Live(reply)).await;
        answer.await.unwrap_or_default()
    }

    /// What happens from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<SessionEvent> {
        self.events.subscribe()
    }

    /// Takes up what earlier instances left: closes, drains, backlogs; paced.
    pub async fn resume(&self) -> Result<usize, StoreError> {
        let unfinished = self.context.store.unfinished().await?;
        for batch in unfinished.chunks(RESUME_BATCH) {
            for item in batch {
                let session = item.session;
                let command = match (item.closing, item.drain_until) {
                    (Some(depth), _) => dispatcher::Command::Close(dispatcher::CloseRequest {
                        session,
                        depth: depth.into(),
                        until: None,
                        reply: None,
                    }),
                    (None, Some(until)) => dispatcher::Command::Drain { session, until },
                    (None, None) => dispatcher::Command::Wake(session),
                };
                self.send(command).await;
            }
            tokio::time::sleep(RESUME_PAUSE).await;
        }
        Ok(unfinished.len())
    }

    /// Unloads every session in parallel and ends the dispatcher. Returns when all are out of
    /// memory. Generators are waited for so long that what does not end by itself can be made to
    /// before `deadline`, which the caller enforces.
    pub async fn shutdown(&self, deadline: Instant) {
        let (reply, answer) = oneshot::channel();
        self.send(dispatcher::Command::Shutdown { deadline, reply })
            .await;
        // An error means that the dispatcher has ended already.
        let _ended = answer.await;
    }

    async fn send(&self, command: dispatcher::Command) {
        // The dispatcher ends only at shutdown; what is not delivered then is on disk and is
        // resumed at the next start.
        let _stopped = self.commands.send(command).await;
    }
}

/// Time left until `until`.
fn left(until: Timestamp, clock: Clock) -> Duration {
    until.since(clock.now())
}
