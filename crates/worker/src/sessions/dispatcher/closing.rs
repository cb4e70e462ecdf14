//! The dispatcher's half that ends sessions: drains, closes, and what follows them.

use std::sync::Arc;

use sessiond_queue::error::SessionError;
use sessiond_queue::ids::SessionId;

use super::super::close::{Close, CloseEnd, close};
use super::super::entry::{Closing, Drain, DrainRequest, Entry, Phase, Reply, Run, entry_of};
use super::super::reaper::Nomination;
use super::super::report::{CloseReport, Depth, SessionEvent};
use super::super::{CloseError, left};
use super::{CloseRequest, Command, Dispatcher, STORE_RETRY};
use crate::events::{Event, Who};

impl Dispatcher {
    /// Lets a session close once its backlog is worked.
    pub(super) fn drain(&mut self, session: SessionId, request: DrainRequest) {
        if self.stopping.is_some() {
            request.waiters.into_iter().for_each(refuse);
            return;
        }
        let active_ms = self.context.uptime_ms();
        self.tell_active(session);
        let entry = entry_of(&mut self.entries, session, active_ms);
        match &mut entry.phase {
            Phase::Closing(closing) => {
                match &mut closing.drain {
                    Some(drain) => drain.join(request),
                    None => closing.drain = Some(request),
                }
                return;
            }
            Phase::Running(run) => run.shared.drain(),
            Phase::Idle => {}
        }
        match &mut entry.drain {
            Some(drain) => drain.request.join(request),
            None => {
                let delay = left(request.until, self.context.clock);
                let timer = self.reaper.arm(Nomination::DrainOver(session), delay);
                entry.drain = Some(Box::new(Drain {
                    timer: Some(timer),
                    request,
                }));
            }
        }
    }

    /// The agent is there again. A drain that somebody asked for goes on: the answer is owed.
    pub(super) fn call_off_drain(&mut self, session: SessionId) {
        let Some(entry) = self.entries.get_mut(&session) else {
            return;
        };
        if let Phase::Closing(closing) = &mut entry.phase {
            closing.drain.take_if(|drain| drain.is_the_agents());
        }
        let agents = entry.drain.take_if(|drain| drain.request.is_the_agents());
        let Some(drain) = agents else {
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
        let only_if_draining = drain.request.is_the_agents();
        let DrainRequest { depth, waiters, .. } = drain.request;
        self.begin_close(session, depth, only_if_draining, waiters);
    }

    pub(super) fn request_close(&mut self, request: CloseRequest) {
        let CloseRequest {
            session,
            depth,
            until,
            reply,
        } = request;
        let waiters: Vec<Reply> = reply.into_iter().collect();
        if self.stopping.is_some() {
            waiters.into_iter().for_each(refuse);
            return;
        }
        match until {
            Some(until) => {
                let drain = DrainRequest {
                    until,
                    depth,
                    waiters,
                    forced: true,
                };
                self.drain(session, drain);
                self.wake(session);
            }
            None => self.begin_close(session, depth, false, waiters),
        }
    }

    /// Begins a close, joins the one under way, or queues behind a shallower one.
    pub(super) fn begin_close(
        &mut self,
        session: SessionId,
        mut depth: Depth,
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
                drain.request.waiters.into_iter().for_each(refuse);
            } else {
                depth = depth.max(drain.request.depth);
                waiters.extend(drain.request.waiters);
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
        let order = Close {
            session,
            depth,
            run: run.as_ref().map(|run| run.handle.clone()),
            unsettled: entry.unsettled,
            only_if_draining,
            wait: self.stop_wait,
        };
        entry.phase = Phase::Closing(Box::new(Closing {
            run,
            depth,
            only_if_draining,
            waiters,
            another: None,
            drain: None,
            woken: false,
        }));
        let context = Arc::clone(&self.context);
        tokio::spawn(async move {
            let end = close(context, order).await;
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
            only_if_draining,
            waiters,
            mut another,
            mut drain,
            mut woken,
        } = closing;
        match end {
            CloseEnd::Done {
                report,
                drain_until,
                who,
            } => {
                // Before anybody who waits for it hears of it.
                self.tell_closed(&report, who);
                // What an abort gave back or a drain left is worked on; the session stays ended.
                woken |= report.depth > Depth::Unload && report.pending_left > 0;
                if report.depth > Depth::Unload {
                    // The agent's end is done with; who waits for a drain is answered by one.
                    drain.take_if(|drain| drain.is_the_agents());
                } else if let (None, Some(until)) = (&drain, drain_until) {
                    // An end and a start were told in another order than they were stored in.
                    drain = Some(DrainRequest::of_the_agent(until, Depth::Close));
                }
                answer(waiters, || Ok(report.clone()));
                // Nobody may be listening.
                let _nobody = self.events.send(SessionEvent::Closed(report));
            }
            CloseEnd::DrainCalledOff => {
                woken = true;
                if let Some(run) = &run {
                    run.shared.stop_draining();
                }
                self.keep(session, entry, run);
                if !waiters.is_empty() {
                    // They asked for a close without a condition and joined this one.
                    let (wanted, others) = another.get_or_insert_with(|| (depth, Vec::new()));
                    *wanted = depth.max(*wanted);
                    others.extend(waiters);
                }
            }
            CloseEnd::Failed(error) => {
                answer(waiters, || Err(error.clone()));
                let is_unknown = matches!(
                    &error,
                    CloseError::Session(error) if matches!(**error, SessionError::Unknown(_))
                );
                // At a stop the next start takes it up.
                if !is_unknown && self.stopping.is_none() {
                    let until = self.context.clock.now().after(STORE_RETRY);
                    let again = DrainRequest {
                        forced: !only_if_draining,
                        ..DrainRequest::of_the_agent(until, depth)
                    };
                    self.try_again(session, entry, run, again);
                }
            }
        }
        if self.stopping.is_some() {
            let others = another.into_iter().flat_map(|(_, waiters)| waiters);
            let drained = drain.into_iter().flat_map(|drain| drain.waiters);
            others.chain(drained).for_each(refuse);
            // The run of a drain that was called off: it is ended like the others.
            if self.entries.contains_key(&session) {
                self.begin_close(session, Depth::Unload, false, Vec::new());
            }
            return;
        }
        if let Some((depth, waiters)) = another {
            self.begin_close(session, depth, false, waiters);
        }
        if let Some(drain) = drain {
            self.drain(session, drain);
            woken = true;
        }
        if woken {
            self.wake(session);
        }
    }

    fn tell_closed(&self, report: &CloseReport, who: Option<Box<Who>>) {
        let event = match report.depth {
            Depth::Unload => Event::SessionDormant {
                pending: report.pending_left,
            },
            Depth::Close | Depth::Purge => Event::SessionEnded {
                who,
                report: Box::new(report.clone()),
            },
        };
        self.context.events.emit(Some(report.session), event);
    }

    /// Takes a session back into memory whose close did not come about.
    fn keep(&mut self, session: SessionId, mut entry: Entry, run: Option<Run>) {
        match run {
            // Nothing will be heard of it, or only what is not asked any more: it was aborted, or
            // has ended just now.
            Some(run) if run.handle.ended.is_cancelled() => entry.unsettled = true,
            Some(run) => entry.phase = Phase::Running(Box::new(run)),
            None => {}
        }
        self.entries.insert(session, entry);
    }

    /// Lets a close that failed be begun again after a while. Its run, if it has not ended yet,
    /// is kept: there is never a second one beside it.
    fn try_again(
        &mut self,
        session: SessionId,
        mut entry: Entry,
        run: Option<Run>,
        again: DrainRequest,
    ) {
        entry.unsettled = true;
        self.keep(session, entry, run);
        if again.depth == Depth::Unload {
            self.arm_idle(session, self.context.settings.session.idle_unload_ms);
            return;
        }
        self.drain(session, again);
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
