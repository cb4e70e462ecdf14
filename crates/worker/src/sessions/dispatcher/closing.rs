//! The dispatcher's half that ends sessions: drains, closes, and what follows them.

use std::sync::Arc;

use sessiond_queue::ids::{SessionId, Timestamp};

use super::super::close::{CloseEnd, close};
use super::super::entry::{Closing, Drain, Phase, Reply, entry_of};
use super::super::reaper::Nomination;
use super::super::report::{CloseReport, Depth, SessionEvent};
use super::super::{CloseError, left};
use super::{CloseRequest, Command, Dispatcher};

impl Dispatcher {
    /// Lets a session close once its backlog is worked.
    pub(super) fn drain(
        &mut self,
        session: SessionId,
        depth: Depth,
        until: Timestamp,
        reply: Option<Reply>,
    ) {
        if self.stopping.is_some() {
            return;
        }
        let active_ms = self.context.uptime_ms();
        let entry = entry_of(&mut self.entries, session, active_ms);
        if let Phase::Closing(closing) = &mut entry.phase {
            // What is pending is worked when that close is done.
            closing.join(depth, reply);
            return;
        }
        if let Phase::Running(run) = &entry.phase {
            run.shared.drain();
        }
        let drain = entry.drain.get_or_insert_with(|| {
            let delay = left(until, self.context.clock);
            let timer = self.reaper.arm(Nomination::DrainOver(session), delay);
            Box::new(Drain {
                timer: Some(timer),
                depth,
                waiters: Vec::new(),
            })
        });
        drain.depth = drain.depth.max(depth);
        drain.waiters.extend(reply);
    }

    /// The agent is there again. A drain that somebody asked for goes on: the answer is owed.
    pub(super) fn call_off_drain(&mut self, session: SessionId) {
        let Some(entry) = self.entries.get_mut(&session) else {
            return;
        };
        let Some(drain) = entry.drain.take_if(|drain| drain.waiters.is_empty()) else {
            return;
        };
        if let Some(timer) = &drain.timer {
            self.reaper.disarm(timer);
        }
        if let Phase::Running(run) = &entry.phase {
            run.shared.stop_draining();
        }
    }

    /// Closes a session whose drain is over.
    pub(super) fn close_drained(&mut self, session: SessionId) {
        let Some(entry) = self.entries.get_mut(&session) else {
            return;
        };
        let Some(drain) = entry.drain.take() else {
            return;
        };
        if let Some(timer) = &drain.timer {
            self.reaper.disarm(timer);
        }
        // A prompt may have called the drain off in the store before we hear of it.
        let only_if_draining = drain.waiters.is_empty();
        self.begin_close(session, drain.depth, only_if_draining, drain.waiters);
    }

    pub(super) fn request_close(&mut self, request: CloseRequest) {
        let CloseRequest {
            session,
            depth,
            until,
            reply,
        } = request;
        if self.stopping.is_some() {
            reply.into_iter().for_each(refuse);
            return;
        }
        match until {
            Some(until) => {
                self.drain(session, depth, until, reply);
                self.wake(session);
            }
            None => self.begin_close(session, depth, false, reply.into_iter().collect()),
        }
    }

    /// Begins a close, joins the one under way, or queues behind a shallower one.
    pub(super) fn begin_close(
        &mut self,
        session: SessionId,
        depth: Depth,
        only_if_draining: bool,
        mut waiters: Vec<Reply>,
    ) {
        let Some(commands) = self.commands.upgrade() else {
            return;
        };
        let active_ms = self.context.uptime_ms();
        let entry = entry_of(&mut self.entries, session, active_ms);
        entry.disarm(&mut self.reaper);
        if let Some(drain) = entry.drain.take() {
            if let Some(timer) = &drain.timer {
                self.reaper.disarm(timer);
            }
            if depth == Depth::Unload {
                // Asked to end, and only unloaded, because the worker stops: the drain is on disk
                // and goes on at the next start.
                drain.waiters.into_iter().for_each(refuse);
            } else {
                waiters.extend(drain.waiters);
            }
        }
        let run = match std::mem::replace(&mut entry.phase, Phase::Idle) {
            Phase::Closing(mut closing) => {
                closing.join(depth, waiters);
                entry.phase = Phase::Closing(closing);
                return;
            }
            Phase::Running(run) => Some(*run),
            Phase::Idle => None,
        };
        let handle = run.as_ref().map(|run| run.handle.clone());
        entry.phase = Phase::Closing(Box::new(Closing {
            run,
            depth,
            waiters,
            another: None,
            woken: false,
        }));
        let context = Arc::clone(&self.context);
        tokio::spawn(async move {
            let end = close(context, session, handle, depth, only_if_draining).await;
            // The dispatcher ends only after every close, or with the process.
            let _stopped = commands.send(Command::Closed { session, end }).await;
        });
    }

    pub(super) fn closed(&mut self, session: SessionId, end: CloseEnd) {
        let Some(mut entry) = self.entries.remove(&session) else {
            return;
        };
        let closing = match std::mem::replace(&mut entry.phase, Phase::Idle) {
            Phase::Closing(closing) => *closing,
            phase => unreachable!("session {session} ended a close in phase {}", phase.name()),
        };
        let Closing {
            run,
            depth,
            waiters,
            mut another,
            mut woken,
        } = closing;
        match end {
            CloseEnd::Done(report) => {
                // What an abort gave back or a drain left is worked on; the session stays ended.
                woken |= report.depth > Depth::Unload && report.pending_left > 0;
                answer(waiters, || Ok(report.clone()));
                // Nobody may be listening.
                let _nobody = self.events.send(SessionEvent::Closed(report));
            }
            CloseEnd::DrainCalledOff => {
                woken = true;
                if let Some(run) = run {
                    run.shared.stop_draining();
                    entry.phase = Phase::Running(Box::new(run));
                }
                self.entries.insert(session, entry);
                if !waiters.is_empty() {
                    // They asked for a close without a condition and joined this one.
                    let (wanted, others) = another.get_or_insert_with(|| (depth, Vec::new()));
                    *wanted = depth.max(*wanted);
                    others.extend(waiters);
                }
            }
            CloseEnd::Failed(error) => {
                answer(waiters, || Err(error.clone()));
            }
        }
        match another {
            Some((_, waiters)) if self.stopping.is_some() => waiters.into_iter().for_each(refuse),
            Some((depth, waiters)) => {
                self.begin_close(session, depth, false, waiters);
                if woken {
                    self.wake(session);
                }
                return;
            }
            None => {}
        }
        if self.stopping.is_some() {
            // Also the run of a drain that was called off: it is ended like the others.
            if self.entries.contains_key(&session) {
                self.begin_close(session, Depth::Unload, false, Vec::new());
            }
        } else if woken {
            self.wake(session);
        }
    }
}

fn answer(waiters: Vec<Reply>, what: impl Fn() -> Result<CloseReport, CloseError>) {
    for waiter in waiters {
        // The asker may have gone.
        let _asker_gone = waiter.send(what());
    }
}

fn refuse(waiter: Reply) {
    answer(vec![waiter], || Err(CloseError::Stopping));
}
