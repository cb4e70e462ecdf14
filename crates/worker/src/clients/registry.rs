//! Every client in memory, found by id, token, session and process, with the deadline of each.
//!
//! Plain data under one lock that is never held over an await. There is one way in and one way out;
//! both keep all of it in step, and note which rows do not say the same any more.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use sessiond_queue::ids::SessionId;
use sessiond_supervisor::ProcessIdentity;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tokio_util::time::DelayQueue;

use super::client::{ClientId, Counts};
use super::entry::Entry;
use super::token::TokenHash;

/// The timer wheel reaches a little over two years and panics beyond.
const FARTHEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// How the end of a process comes to be known.
#[derive(Debug)]
pub(super) enum Watch {
    /// The kernel tells it.
    Told {
        _held: OwnedSemaphorePermit,
        _until_dropped: AbortOnDropHandle<()>,
    },
    /// It is looked at from time to time.
    Swept,
    /// It cannot be told, now or later.
    Unverifiable,
}

/// A process with its clients.
#[derive(Debug)]
struct Watched {
    clients: HashSet<ClientId>,
    watch: Watch,
}

/// What the rows in `state.db` do not say yet.
#[derive(Debug, Default)]
pub(super) struct Unsaved {
    /// Clients that are not as their rows are.
    pub(super) changed: HashSet<ClientId>,
    /// Rows whose clients are gone.
    pub(super) gone: HashSet<ClientId>,
}

impl Unsaved {
    pub(super) fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.gone.is_empty()
    }
}

/// All clients.
#[derive(Default)]
pub(super) struct Registry {
    clients: HashMap<ClientId, Box<Entry>>,
    by_token: HashMap<TokenHash, ClientId>,
    by_session: HashMap<SessionId, ClientId>,
    processes: HashMap<Arc<ProcessIdentity>, Watched>,
    timers: DelayQueue<ClientId>,
    counts: Counts,
    pub(super) unsaved: Unsaved,
    /// Rows that could not be read at the start.
    pub(super) skipped: usize,
    /// Why the last attempt to save failed.
    pub(super) last_error: Option<String>,
}

impl Registry {
    /// Takes a client in. Neither its id nor its token nor its session has one yet.
    pub(super) fn insert(&mut self, mut entry: Box<Entry>) {
        let id = entry.id;
        let left = entry.deadline.saturating_duration_since(Instant::now());
        entry.timer = Some(self.timers.insert(id, left.min(FARTHEST)));
        if let Some(token) = entry.token {
            self.by_token.insert(token, id);
        }
        if let Some(session) = entry.session {
            self.by_session.insert(session, id);
        }
        if let Some(process) = &entry.process
            && let Some(watched) = self.processes.get_mut(process)
        {
            watched.clients.insert(id);
        }
        *self.counts.of(entry.kind) += 1;
        let replaced = self.clients.insert(id, entry);
        assert!(replaced.is_none(), "client {id} is in the registry already");
    }

    /// Takes a client out. Its row is still there.
    pub(super) fn remove(&mut self, id: ClientId) -> Option<Box<Entry>> {
        let mut entry = self.clients.remove(&id)?;
        if let Some(timer) = entry.timer.take() {
            self.timers.remove(&timer);
        }
        if let Some(token) = &entry.token {
            self.by_token.remove(token);
        }
        if let Some(session) = &entry.session {
            self.by_session.remove(session);
        }
        if let Some(process) = &entry.process
            && let Some(watched) = self.processes.get_mut(process)
        {
            watched.clients.remove(&id);
            if watched.clients.is_empty() {
                // Its watch ends with it.
                self.processes.remove(process);
            }
        }
        *self.counts.of(entry.kind) -= 1;
        self.unsaved.changed.remove(&id);
        Some(entry)
    }

    pub(super) fn get(&self, id: ClientId) -> Option<&Entry> {
        self.clients.get(&id).map(Box::as_ref)
    }

    pub(super) fn get_mut(&mut self, id: ClientId) -> Option<&mut Entry> {
        self.clients.get_mut(&id).map(Box::as_mut)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Entry> {
        self.clients.values().map(Box::as_ref)
    }

    pub(super) fn of_token(&self, token: &TokenHash) -> Option<&Entry> {
        self.get(*self.by_token.get(token)?)
    }

    pub(super) fn of_session(&self, session: SessionId) -> Option<ClientId> {
        self.by_session.get(&session).copied()
    }

    pub(super) fn of_process(&self, process: &ProcessIdentity) -> Vec<ClientId> {
        let watched = self.processes.get(process);
        watched.map_or_else(Vec::new, |watched| {
            watched.clients.iter().copied().collect()
        })
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    /// The identity that the process's other clients share, if it has any.
    pub(super) fn known_process(&self, process: &ProcessIdentity) -> Option<Arc<ProcessIdentity>> {
        let (shared, _) = self.processes.get_key_value(process)?;
        Some(Arc::clone(shared))
    }

    /// Sets how the end of a process comes to be known.
    pub(super) fn watch(&mut self, process: Arc<ProcessIdentity>, watch: Watch) {
        let clients = self.processes.remove(&process);
        let clients = clients.map_or_else(HashSet::new, |watched| watched.clients);
        self.processes.insert(process, Watched { clients, watch });
    }

    /// The processes that have to be looked at.
    pub(super) fn swept(&self) -> Vec<Arc<ProcessIdentity>> {
        let swept = |watched: &Watched| matches!(watched.watch, Watch::Swept);
        let processes = self.processes.iter().filter(|(_, watched)| swept(watched));
        processes.map(|(process, _)| Arc::clone(process)).collect()
    }

    pub(super) fn has_swept(&self) -> bool {
        let mut watched = self.processes.values();
        watched.any(|watched| matches!(watched.watch, Watch::Swept))
    }

    /// Processes that the kernel tells of, processes that are looked at, and clients of those of
    /// which nothing can be told.
    pub(super) fn watches(&self) -> (usize, usize, usize) {
        let mut found = (0, 0, 0);
        for watched in self.processes.values() {
            match watched.watch {
                Watch::Told { .. } => found.0 += 1,
                Watch::Swept => found.1 += 1,
                Watch::Unverifiable => found.2 += watched.clients.len(),
            }
        }
        found
    }

    /// Takes out the next client whose time is over. One that was touched since its timer was set
    /// gets another timer, which is cheaper than one for each touch.
    pub(super) fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<Box<Entry>> {
        loop {
            let Poll::Ready(Some(due)) = self.timers.poll_expired(cx) else {
                // Nothing is due, or nothing is there: what is inserted wakes the task that asked.
                return Poll::Pending;
            };
            let id = due.into_inner();
            let Some(entry) = self.clients.get_mut(&id) else {
                continue;
            };
            entry.timer = None;
            let left = entry.deadline.saturating_duration_since(Instant::now());
            if !left.is_zero() {
                entry.timer = Some(self.timers.insert(id, left.min(FARTHEST)));
            } else if let Some(over) = self.remove(id) {
                return Poll::Ready(over);
            }
        }
    }
}
