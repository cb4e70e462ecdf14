//! What the dispatcher keeps of one session.
//!
//! Data and the few questions about it; every decision is the dispatcher's.

use std::collections::HashMap;
use std::sync::Arc;

use sessiond_queue::ids::{SessionId, Timestamp};
use tokio::sync::oneshot;
use tokio_util::time::delay_queue::Key;

use super::CloseError;
use super::close::RunHandle;
use super::reaper::Reaper;
use super::report::{Activity, CloseReport, Depth};
use super::run::RunShared;
use crate::admission::Restarts;

/// Where a close is answered.
pub(super) type Reply = oneshot::Sender<Result<CloseReport, CloseError>>;

/// One session in memory. Small: there may be ten thousand idle ones.
pub(super) struct Entry {
    pub(super) phase: Phase,
    /// [`super::Context::uptime_ms`] of the last event.
    pub(super) active_ms: u64,
    /// Armed while the session is idle.
    pub(super) idle: Option<Key>,
    /// Armed while the session has work that is not due yet.
    pub(super) due: Option<Key>,
    /// Set while the session is to close as soon as its backlog is worked.
    pub(super) drain: Option<Box<Drain>>,
    /// Whether a run ended without settling its claim; it is given back before the next claim.
    pub(super) unsettled: bool,
    /// The failed starts of its generator, while no run counts them.
    pub(super) restarts: Restarts,
}

/// Whether and how a session is in work.
pub(super) enum Phase {
    Idle,
    Running(Box<Run>),
    Closing(Box<Closing>),
}

/// A generator's run.
pub(super) struct Run {
    /// Tells a late end from the present run's.
    pub(super) serial: u64,
    pub(super) shared: Arc<RunShared>,
    pub(super) handle: RunHandle,
}

/// A close that waits for the backlog.
pub(super) struct Drain {
    /// `None` once it has fired.
    pub(super) timer: Option<Key>,
    pub(super) request: DrainRequest,
}

/// What a drain is to come to.
pub(super) struct DrainRequest {
    /// When it is over even if work is left.
    pub(super) until: Timestamp,
    pub(super) depth: Depth,
    /// Those who wait for the close.
    pub(super) waiters: Vec<Reply>,
    /// Whether somebody asked for the close, so that a start or a prompt does not take it back.
    pub(super) forced: bool,
}

/// A close under way.
pub(super) struct Closing {
    /// The run that is being stopped, or has been.
    pub(super) run: Option<Run>,
    pub(super) depth: Depth,
    /// Whether a start or a prompt takes it back.
    pub(super) only_if_draining: bool,
    pub(super) waiters: Vec<Reply>,
    /// A close that has to follow, since it was asked for meanwhile and goes deeper.
    pub(super) another: Option<(Depth, Vec<Reply>)>,
    /// A drain that was asked for meanwhile.
    pub(super) drain: Option<DrainRequest>,
    /// Whether something came meanwhile; it is worked afterwards.
    pub(super) woken: bool,
}

/// The entry of a session, which comes into memory if it is not there.
pub(super) fn entry_of(
    entries: &mut HashMap<SessionId, Entry>,
    session: SessionId,
    active_ms: u64,
) -> &mut Entry {
    entries.entry(session).or_insert_with(|| Entry {
        phase: Phase::Idle,
        active_ms,
        idle: None,
        due: None,
        drain: None,
        unsettled: false,
        restarts: Restarts::default(),
    })
}

impl Entry {
    /// Takes back the nominations of an idle session.
    pub(super) fn disarm(&mut self, reaper: &mut Reaper) {
        for key in [self.idle.take(), self.due.take()].into_iter().flatten() {
            reaper.disarm(&key);
        }
    }

    /// The run that works, or that a close is stopping.
    pub(super) fn run(&self) -> Option<&Run> {
        match &self.phase {
            Phase::Idle => None,
            Phase::Running(run) => Some(run),
            Phase::Closing(closing) => closing.run.as_ref(),
        }
    }

    /// [`super::Context::uptime_ms`] of the last event or settled message.
    pub(super) fn active_ms(&self) -> u64 {
        self.run()
            .map_or(0, |run| run.shared.active_ms())
            .max(self.active_ms)
    }

    pub(super) fn activity(&self) -> Activity {
        match &self.phase {
            Phase::Closing(_) => Activity::Closing,
            _ if self.drain.is_some() => Activity::Draining,
            Phase::Running(run) if run.shared.working_on().is_some() => Activity::Working,
            Phase::Running(_) => Activity::Waiting,
            Phase::Idle => Activity::Idle,
        }
    }
}

impl Phase {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Running(_) => "running",
            Self::Closing(_) => "closing",
        }
    }
}

impl DrainRequest {
    /// The agent has ended; nobody waits.
    pub(super) fn of_the_agent(until: Timestamp, depth: Depth) -> Self {
        Self {
            until,
            depth,
            waiters: Vec::new(),
            forced: false,
        }
    }

    /// Adds what another one asks for; the first deadline counts.
    pub(super) fn join(&mut self, other: Self) {
        self.depth = self.depth.max(other.depth);
        self.waiters.extend(other.waiters);
        self.forced |= other.forced;
    }

    /// Whether only the agent's end is behind it, which a start or a prompt takes back.
    pub(super) fn is_the_agents(&self) -> bool {
        !self.forced
    }
}

impl Closing {
    /// Lets others wait for this close, or for a deeper one after it.
    pub(super) fn join(&mut self, depth: Depth, waiters: impl IntoIterator<Item = Reply>) {
        if depth <= self.depth {
            self.waiters.extend(waiters);
            return;
        }
        let (deepest, others) = self.another.get_or_insert_with(|| (depth, Vec::new()));
        *deepest = depth.max(*deepest);
        others.extend(waiters);
    }
}
