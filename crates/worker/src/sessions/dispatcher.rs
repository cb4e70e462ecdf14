//! The dispatcher: owns what is in memory of every session and decides what happens next.
//!
//! ```text
//!            Wake                      Ended, nothing new
//!   (absent) ----> Running <----------------------------> Idle
//!                     |   Wake; Ended, but woken since      |
//!                     |                                     | idle for long enough
//!                     +------- Close, drain over -----------+
//!                                      v
//!                                  Closing --Closed--> (absent), or Running when woken meanwhile
//! ```

mod closing;

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use sessiond_queue::ids::{MessageId, SessionId, Timestamp};
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::close::{CloseEnd, RunHandle};
use super::entry::{DrainRequest, Entry, Phase, Reply, Run, entry_of};
use super::reaper::{Nomination, Reaper};
use super::report::{Depth, Live, SessionEvent};
use super::run::{RunEnd, RunShared, run};
use super::{Context, Sessions, left};
use crate::events::Event;

/// How long a session waits after its store or its close failed.
const STORE_RETRY: Duration = Duration::from_secs(1);

/// Left of the shutdown's deadline for what follows the processes' end.
const STOP_RESERVE: Duration = Duration::from_secs(1);

/// What the dispatcher is told.
pub(super) enum Command {
    /// Something is pending.
    Wake(SessionId),
    /// The same, and the agent is there again: a drain on its behalf is off.
    Reopened(SessionId),
    /// The same, and the agent has ended: close once the backlog is worked.
    Drain {
        session: SessionId,
        until: Timestamp,
    },
    Close(CloseRequest),
    /// A run ended by itself.
    Ended {
        session: SessionId,
        serial: u64,
        end: RunEnd,
    },
    /// A close ended.
    Closed {
        session: SessionId,
        end: CloseEnd,
    },
    /// A message was cancelled.
    Cancelled {
        session: SessionId,
        message: MessageId,
    },
    Live(oneshot::Sender<Vec<Live>>),
    Shutdown {
        deadline: Instant,
        reply: oneshot::Sender<()>,
    },
}

pub(super) struct CloseRequest {
    pub(super) session: SessionId,
    pub(super) depth: Depth,
    /// Work the backlog first, until then at the latest.
    pub(super) until: Option<Timestamp>,
    /// Nobody waits for a close that start-up finishes.
    pub(super) reply: Option<Reply>,
}

/// Starts the dispatcher of `handle`.
pub(super) fn start(handle: &Sessions, inbox: mpsc::Receiver<Command>) {
    let dispatcher = Dispatcher {
        context: Arc::clone(&handle.context),
        // Weak: runs and closes report through it, and must not keep the inbox open.
        commands: handle.commands.downgrade(),
        events: handle.events.clone(),
        entries: HashMap::new(),
        reaper: Reaper::default(),
        serial: 0,
        stopping: None,
        stop_wait: Duration::from_millis(handle.context.settings.session.generator_stop_wait_ms),
    };
    tokio::spawn(dispatcher.run(inbox));
}

struct Dispatcher {
    context: Arc<Context>,
    commands: mpsc::WeakSender<Command>,
    events: broadcast::Sender<SessionEvent>,
    entries: HashMap<SessionId, Entry>,
    reaper: Reaper,
    /// Number of the last run; tells a late `Ended` from the present run's.
    serial: u64,
    /// Whom to tell when the last session has left, once the worker is stopping.
    stopping: Option<oneshot::Sender<()>>,
    /// How long a close waits for a generator.
    stop_wait: Duration,
}

impl Dispatcher {
    async fn run(mut self, mut inbox: mpsc::Receiver<Command>) {
        loop {
            tokio::select! {
                command = inbox.recv() => match command {
                    Some(command) => self.handle(command),
                    None => return,
                },
                nomination = self.reaper.next() => self.decide(nomination),
            }
            if self.entries.is_empty()
                && let Some(reply) = self.stopping.take()
            {
                // Nobody listens when the deadline has passed.
                let _deadline_passed = reply.send(());
                return;
            }
        }
    }

    fn handle(&mut self, command: Command) {
        match command {
            Command::Wake(session) => self.wake(session),
            Command::Reopened(session) => {
                self.call_off_drain(session);
                self.wake(session);
            }
            Command::Drain { session, until } => {
                self.drain(session, DrainRequest::of_the_agent(until, Depth::Close));
                self.wake(session);
            }
            Command::Close(request) => self.request_close(request),
            Command::Ended {
                session,
                serial,
                end,
            } => self.ended(session, serial, end),
            Command::Closed { session, end } => self.closed(session, end),
            // The asker may have gone.
            Command::Live(reply) => {
                let _asker_gone = reply.send(self.live());
            }
            Command::Cancelled { session, message } => {
                let entry = self.entries.get(&session);
                if let Some(run) = entry.and_then(Entry::run) {
                    run.shared.cancel(message);
                }
                self.wake(session);
            }
            Command::Shutdown { deadline, reply } => {
                self.stopping = Some(reply);
                let grace = Duration::from_millis(self.context.settings.supervisor.grace_ms);
                let left = deadline.saturating_duration_since(Instant::now());
                self.stop_wait = self
                    .stop_wait
                    .min(left.saturating_sub(grace + STOP_RESERVE));
                let sessions: Vec<_> = self.entries.keys().copied().collect();
                for session in sessions {
                    self.begin_close(session, Depth::Unload, false, Vec::new());
                }
            }
        }
    }

    fn decide(&mut self, nomination: Nomination) {
        match nomination {
            Nomination::Idle(session) => {
                let Some(entry) = self.entries.get_mut(&session) else {
                    return;
                };
                entry.idle = None;
                let idle_unload_ms = self.context.settings.session.idle_unload_ms;
                let idle_ms = self.context.uptime_ms().saturating_sub(entry.active_ms);
                if !matches!(entry.phase, Phase::Idle) || entry.drain.is_some() {
                    // Its run or its close arms the next one.
                    return;
                }
                if entry.due.is_some() || self.context.belongings.is_at_work(session) {
                    // It has work, though not now, or not of its own.
                    self.arm_idle(session, idle_unload_ms);
                } else if idle_ms >= idle_unload_ms {
                    self.begin_close(session, Depth::Unload, false, Vec::new());
                } else {
                    self.arm_idle(session, idle_unload_ms - idle_ms);
                }
            }
            Nomination::DrainOver(session) => {
                let Some(entry) = self.entries.get_mut(&session) else {
                    return;
                };
                if let Some(drain) = &mut entry.drain {
                    drain.timer = None;
                    self.close_drained(session);
                }
            }
            Nomination::Due(session) => {
                if let Some(entry) = self.entries.get_mut(&session) {
                    entry.due = None;
                }
                self.wake(session);
            }
        }
    }

    fn wake(&mut self, session: SessionId) {
        if self.stopping.is_some() {
            // It is on disk, and resumed at the next start.
            return;
        }
        let active_ms = self.context.uptime_ms();
        self.tell_active(session);
        let entry = entry_of(&mut self.entries, session, active_ms);
        entry.active_ms = active_ms;
        match &mut entry.phase {
            Phase::Idle => self.start_run(session),
            Phase::Running(run) => run.shared.wake.signal(),
            Phase::Closing(closing) => closing.woken = true,
        }
    }

    /// Tells that a session comes into memory, unless it is there.
    fn tell_active(&self, session: SessionId) {
        if !self.entries.contains_key(&session) {
            let events = &self.context.events;
            events.emit(Some(session), Event::SessionActive);
        }
    }

    fn start_run(&mut self, session: SessionId) {
        self.serial += 1;
        let serial = self.serial;
        let Some(commands) = self.commands.upgrade() else {
            return;
        };
        let Some(entry) = self.entries.get_mut(&session) else {
            return;
        };
        entry.disarm(&mut self.reaper);
        let shared = Arc::new(RunShared::after(std::mem::take(&mut entry.restarts)));
        let unsettled = std::mem::take(&mut entry.unsettled);
        if entry.drain.is_some() {
            shared.drain();
        }
        let ended = CancellationToken::new();
        let task = {
            let context = Arc::clone(&self.context);
            let shared = Arc::clone(&shared);
            let ended = ended.clone().drop_guard();
            async move {
                let running =
                    AssertUnwindSafe(run(context, session, shared, unsettled)).catch_unwind();
                // A panic outside the generator is a defect of ours; the session must not hang on
                // it.
                let end = running.await.unwrap_or(RunEnd::StoreFailed);
                drop(ended);
                // The dispatcher ends only after every run.
                let _stopped = commands
                    .send(Command::Ended {
                        session,
                        serial,
                        end,
                    })
                    .await;
            }
        };
        let abort = tokio::spawn(task).abort_handle();
        let handle = RunHandle {
            token: shared.token.clone(),
            ended,
            abort,
        };
        entry.phase = Phase::Running(Box::new(Run {
            serial,
            shared,
            handle,
        }));
    }

    fn ended(&mut self, session: SessionId, serial: u64, end: RunEnd) {
        let Some(entry) = self.entries.get_mut(&session) else {
            return;
        };
        let run = match &mut entry.phase {
            Phase::Running(run) if run.serial == serial => run,
            Phase::Closing(closing) => {
                // It keeps its slot until the close is done. What it leaves is for a close that does
                // not come about.
                if let Some(run) = closing.run.as_ref().filter(|run| run.serial == serial) {
                    entry.unsettled |= end.may_hold_a_claim();
                    entry.restarts = std::mem::take(&mut run.shared.restarts());
                }
                return;
            }
            Phase::Idle | Phase::Running(_) => return,
        };
        entry.active_ms = entry.active_ms.max(run.shared.active_ms());
        let has_seen_all = run.shared.wake.has_seen_all();
        entry.restarts = std::mem::take(&mut run.shared.restarts());
        entry.unsettled |= end.may_hold_a_claim();
        entry.phase = Phase::Idle;
        match end {
            // A session that drains does not wait for a head that is due later.
            RunEnd::Quiet { due } if entry.drain.is_some() && (due.is_some() || has_seen_all) => {
                self.close_drained(session);
            }
            RunEnd::Failing | RunEnd::Blocked { .. } if entry.drain.is_some() => {
                self.close_drained(session);
            }
            // Something was stored after the run's last look.
            RunEnd::Quiet { .. } | RunEnd::Failing | RunEnd::Blocked { .. } if !has_seen_all => {
                self.start_run(session);
            }
            RunEnd::Failing => {
                self.arm_idle(session, self.context.settings.session.idle_unload_ms);
            }
            RunEnd::CloseSession => {
                let drain_max = Duration::from_millis(self.context.settings.session.drain_max_ms);
                let until = self.context.clock.now().after(drain_max);
                let request = DrainRequest {
                    forced: true,
                    ..DrainRequest::of_the_agent(until, Depth::Close)
                };
                self.drain(session, request);
                self.wake(session);
            }
            RunEnd::Quiet { due } | RunEnd::Blocked { until: due } => {
                if let Some(due) = due {
                    self.arm_due(session, left(due, self.context.clock));
                }
                self.arm_idle(session, self.context.settings.session.idle_unload_ms);
            }
            RunEnd::StoreFailed | RunEnd::Cancelled => {
                self.arm_due(session, STORE_RETRY);
                self.arm_idle(session, self.context.settings.session.idle_unload_ms);
            }
        }
    }

    fn arm_idle(&mut self, session: SessionId, delay_ms: u64) {
        let Some(entry) = self.entries.get_mut(&session) else {
            return;
        };
        let delay = Duration::from_millis(delay_ms);
        let armed = self.reaper.arm(Nomination::Idle(session), delay);
        if let Some(old) = entry.idle.replace(armed) {
            self.reaper.disarm(&old);
        }
    }

    fn arm_due(&mut self, session: SessionId, delay: Duration) {
        let Some(entry) = self.entries.get_mut(&session) else {
            return;
        };
        let armed = self.reaper.arm(Nomination::Due(session), delay);
        if let Some(old) = entry.due.replace(armed) {
            self.reaper.disarm(&old);
        }
    }

    fn live(&self) -> Vec<Live> {
        let now = self.context.uptime_ms();
        let live = |(session, entry): (&SessionId, &Entry)| {
            let run = entry.run();
            let shown = run.map(|run| run.shared.shown()).unwrap_or_default();
            let restarts = match run {
                Some(run) => run.shared.restarts().clone(),
                None => entry.restarts.clone(),
            };
            Live {
                session: *session,
                activity: entry.activity(),
                working_on: run.and_then(|run| run.shared.working_on()),
                idle_ms: now.saturating_sub(entry.active_ms()),
                about: shown.about,
                waiting: shown.waiting,
                restarts: restarts.count(),
                last_start_error: restarts.reason().map(str::to_owned),
            }
        };
        self.entries.iter().map(live).collect()
    }
}
