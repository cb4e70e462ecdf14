//! The agent watch: a session whose agent dies without a word ends as if it had said so.
//!
//! # Theory of operation
//!
//! ```text
//!  event that names a process ──> seen ──> verify ──> state.db ──> roster
//!                                                                    │ pidfd, one task a process
//!           session drains <── agent_gone <── keeper <───────────────┘
//! ```
//!
//! Each session has a set of processes: those that its events have named and that have not ended. When
//! a set becomes empty its session drains, unless it is ending anyway; a prompt or a start calls that
//! off. An event that ends the session clears the set, and so does a close.
//!
//! A process that is new to a session is stored before its event is answered, so that the next worker
//! knows whose end it has missed; one that is known costs a look into a map. While `state.db` cannot be
//! written for a moment or at all, the row follows behind the event: events are taken by the queue, and
//! wait for nothing else. Whoever has ended already when it is named (its events come from the spool),
//! or between two workers, becomes a member as any other and leaves by the ordinary way, once nothing
//! has named it for a moment.
//!
//! Deciding that a set is empty excludes every event that is being taken in (`order`): otherwise one of
//! another process, stored but not yet in the set, would lose its session. Nobody who holds `order` to
//! write waits for `state.db`, and no event for longer than `ROW_WAIT`.
//!
//! What cannot be verified (another pid namespace, a hidden `/proc`) is a member whose end is never
//! known: its session is left to the idle reaper. The same goes for what is beyond the bounds.
//!
//! Modules in reading order: `roster` (who belongs to whom), `verify` (who is there), `table` (what is
//! stored), `keeper` (what follows from an end).

mod keeper;
mod roster;
mod table;
mod verify;

#[cfg(test)]
mod tests;

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sessiond_queue::ids::SessionId;
use sessiond_supervisor::ExitWatch;
use tokio::sync::{Notify, RwLock, RwLockReadGuard, mpsc};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

pub use keeper::Keeper;

use self::roster::{Hold, Key, Roster};
use self::table::{Row, Table};
use self::verify::{Place, Verified};
use crate::clock::Clock;
use crate::events::{Event, Events};
use crate::state::{StateDb, StateError};
use crate::wire::agent_process::AgentProcess;

/// Ends that wait for the keeper; beyond it those who noticed them wait.
const ENDS_MAX: usize = 256;

/// Of the descriptors that this process may have, one in so many is for agents, and one for clients.
/// The rest is for connections, programs and databases.
const DESCRIPTORS_PART: u64 = 4;

/// Processes that are waited for at most, whatever the descriptors allow.
const WAITED_MAX: u64 = 10_000;

/// How long an event waits for its agent's row: longer than others write at a time, and well within
/// the deadline of a hook.
const ROW_WAIT: Duration = Duration::from_millis(100);

/// The watch. Clones share it.
#[derive(Clone, Debug)]
pub struct AgentWatch {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// `None`: the kernel does not show processes, and no agent is known.
    place: Option<Place>,
    table: Table,
    clock: Clock,
    events: Events,
    /// The mutex is held for map operations only, never over an await.
    roster: Mutex<Roster>,
    /// Read by whoever takes an event in, from before it is stored until its process is a member;
    /// written by whoever decides on an empty set.
    order: RwLock<()>,
    ends: mpsc::Sender<Key>,
    /// Somebody has to be looked at who need not be before. Carries no data.
    unheld: Notify,
    malformed: AtomicU64,
    over_bound: AtomicU64,
    gone: AtomicU64,
}

/// Agents' processes, as the doctor tells of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct AgentsReport {
    /// Processes that are watched.
    pub watched: u64,
    /// Of these, the ones that can only be looked at every few seconds.
    pub looked_at: u64,
    /// Processes that were named and cannot be verified.
    pub unseen: u64,
    /// Open sessions none of whose events has named a process, or whose process has been forgotten.
    pub unknown_sessions: u64,
    /// Processes that were not taken since there were too many, since the start.
    pub over_bound: u64,
    /// Events that named a process in a form that is not known, since the start.
    pub malformed: u64,
    /// Processes that have ended while they were watched, since the start.
    pub gone: u64,
}

/// Held while an event is taken in.
#[must_use]
pub struct Taking<'a>(#[expect(dead_code, reason = "held")] RwLockReadGuard<'a, ()>);

impl AgentWatch {
    /// A watch that knows of nobody yet, and what becomes its keeper.
    pub fn new(state: StateDb, events: Events) -> (Self, Keeper) {
        let (ends, ended) = mpsc::channel(ENDS_MAX);
        let shared = Arc::new(Shared {
            place: Place::own(),
            table: Table(state),
            clock: Clock,
            events,
            roster: Mutex::new(Roster::new(waited_max())),
            order: RwLock::new(()),
            ends,
            unheld: Notify::new(),
            malformed: AtomicU64::new(0),
            over_bound: AtomicU64::new(0),
            gone: AtomicU64::new(0),
        });
        let watch = Self { shared };
        let keeper = Keeper::new(watch.clone(), ended);
        (watch, keeper)
    }

    /// Takes up what earlier workers have stored. Whoever has ended since is seen to by the keeper.
    ///
    /// # Errors
    /// The table cannot be read.
    pub async fn load(&self) -> Result<(), StateError> {
        let Some(place) = &self.shared.place else {
            return Ok(());
        };
        for row in self.shared.table.list().await? {
            let verified = place.verify(&row.key, row.pidfs_inode);
            self.add(row.session, row.key, verified);
        }
        Ok(())
    }

    /// To be held from before an event is stored until its process was [`seen`](Self::seen).
    pub async fn taking(&self) -> Taking<'_> {
        Taking(self.shared.order.read().await)
    }

    /// An event of `session` has named a process, in the form of
    /// [`agent_process`](crate::wire::agent_process). Nothing about it is a reason to refuse the event.
    pub async fn seen(&self, session: SessionId, named: &str) {
        let Some(place) = &self.shared.place else {
            return;
        };
        let Ok(named) = named.parse::<AgentProcess>() else {
            self.shared.malformed.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(session.id = %session, "an event names its agent's process in no known form");
            return;
        };
        let Some(key) = place.key(&named) else {
            return;
        };
        {
            let mut roster = self.roster();
            if roster.knows(session, &key, Instant::now()) {
                return;
            }
            if !roster.has_room(session, &key) {
                if roster.note_others(session) {
                    self.shared.over_bound.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!(
                        session.id = %session, pid = key.pid,
                        "too many agents: this session's end will not be noticed"
                    );
                }
                return;
            }
        }
        let verified = place.verify(&key, None);
        let row = Row {
            session,
            key,
            pidfs_inode: match &verified {
                Verified::Held(identity, _) | Verified::NotHeld(identity) => identity.pidfs_inode,
                Verified::Ended | Verified::Unseen => None,
            },
        };
        let (table, since) = (self.shared.table.clone(), self.shared.clock.now());
        write(session, async move { table.insert(&row, since).await }).await;
        self.add(session, key, verified);
        let pid = key.pid;
        self.shared
            .events
            .emit(Some(session), Event::AgentSeen { pid });
    }

    /// An event has ended `session`: whose agent it was does not matter any more.
    pub async fn left(&self, session: SessionId) {
        if self.roster().remove_session(session) {
            let table = self.shared.table.clone();
            write(session, async move { table.delete_session(session).await }).await;
        }
    }

    /// Forgets a session that is being closed, on disk too.
    ///
    /// # Errors
    /// The table cannot be written.
    pub async fn settle(&self, session: SessionId) -> Result<(), StateError> {
        // Whose event is being taken in now is a member afterwards.
        drop(self.shared.order.write().await);
        // Most have ended by an event, and nothing is known of them.
        let Some(known) = self.roster().members(session) else {
            return Ok(());
        };
        let table = &self.shared.table;
        // While it is a member, so that what fails here is found again.
        table.delete_session_durably(session).await?;
        let is_as_known = {
            let _order = self.shared.order.write().await;
            let mut roster = self.roster();
            let members = roster.members(session);
            roster.remove_session(session);
            members.is_none_or(|members| members == known)
        };
        if !is_as_known {
            // Of who came meanwhile.
            table.delete_session_durably(session).await?;
        }
        Ok(())
    }

    /// The processes of a session that live, as far as is known.
    pub fn pids(&self, session: SessionId) -> Vec<u32> {
        self.roster().pids(session)
    }

    /// What there is; of `open_sessions` sessions that are open.
    pub fn report(&self, open_sessions: i64) -> AgentsReport {
        let counts = self.roster().counts();
        let counter = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let open = u64::try_from(open_sessions).unwrap_or_default();
        AgentsReport {
            watched: (counts.waited + counts.looked_at) as u64,
            looked_at: counts.looked_at as u64,
            unseen: counts.unseen as u64,
            unknown_sessions: open.saturating_sub(counts.sessions as u64),
            over_bound: counter(&self.shared.over_bound),
            malformed: counter(&self.shared.malformed),
            gone: counter(&self.shared.gone),
        }
    }

    fn add(&self, session: SessionId, key: Key, verified: Verified) {
        let is_unheld = matches!(verified, Verified::NotHeld(_) | Verified::Ended);
        self.roster().add(session, key, || match verified {
            Verified::Held(_, watch) => Hold::Waited(self.wait_for(key, watch)),
            Verified::NotHeld(identity) => Hold::LookedAt(identity),
            Verified::Ended => Hold::Ended(Instant::now()),
            Verified::Unseen => Hold::Unseen,
        });
        if is_unheld {
            self.shared.unheld.notify_one();
        }
    }

    /// Tells the keeper of a process's end.
    fn wait_for(&self, key: Key, watch: ExitWatch) -> AbortOnDropHandle<()> {
        let ends = self.shared.ends.clone();
        AbortOnDropHandle::new(tokio::spawn(async move {
            watch.exited().await;
            // The keeper ends when the worker stops; the next one finds the process gone.
            let _stopping = ends.send(key).await;
        }))
    }

    fn roster(&self) -> MutexGuard<'_, Roster> {
        let roster = self.shared.roster.lock();
        roster.unwrap_or_else(PoisonError::into_inner)
    }
}

/// Has rows follow what is known, and waits for that, but not for long. Rows are written in the order
/// in which that was begun, waited for or not.
async fn write(
    session: SessionId,
    rows: impl Future<Output = Result<(), StateError>> + Send + 'static,
) {
    let written = tokio::spawn(async move {
        if let Err(error) = rows.await {
            let error = crate::errors::chain(&error);
            tracing::error!(session.id = %session, error, "what is stored of a session's agents is not up to date");
        }
    });
    if tokio::time::timeout(ROW_WAIT, written).await.is_err() {
        tracing::debug!(session.id = %session, "state.db is busy: an agent's row follows its event");
    }
}

/// How many descriptors may go to agents; likewise to clients.
pub(crate) fn waited_max() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let part = limit.map_or(WAITED_MAX, |limit| limit / DESCRIPTORS_PART);
    usize::try_from(part.min(WAITED_MAX)).unwrap_or(usize::MAX)
}
