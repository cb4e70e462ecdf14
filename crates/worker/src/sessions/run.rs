//! One run: a generator fed with its session's claims, each of them settled.
//!
//! A run ends when its stream ends, and says to the dispatcher why; what follows from that is the
//! dispatcher's decision. What is done with a claim is [`Feeder`]'s.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::StreamExt;
use sessiond_queue::error::StoreError;
use sessiond_queue::ids::{MessageId, SessionId, Timestamp};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::Context;
use super::feeder::{Feeder, Parked, Settled};
use super::gate::Gate;
use super::stream::{Item, StreamEnd, claims};
use super::wake::Wake;
use crate::admission::{Restarts, Slot};
use crate::events::Event;
use crate::generator::{About, CloseReason};

/// What a run and the dispatcher share.
#[derive(Debug, Default)]
pub(super) struct RunShared {
    /// Rung by the dispatcher.
    pub(super) wake: Wake,
    /// Cancelled to stop the run after the message in work.
    pub(super) token: CancellationToken,
    /// Whether the run is to end as soon as nothing is due.
    draining: AtomicBool,
    /// The message in work; 0: none.
    working_on: AtomicI64,
    /// The message that was cancelled last; 0: none.
    cancelled: AtomicI64,
    /// Rings when it was.
    cancel: Notify,
    /// [`Context::uptime_ms`] when a message was last settled.
    active_ms: AtomicU64,
    /// The starts of its generator that failed lately, earlier runs' too.
    restarts: Mutex<Restarts>,
    /// The slot of its program. Here, so that a run that is aborted keeps it until its close has
    /// ended the program.
    slot: Mutex<Option<Arc<Slot>>>,
    /// What people are told of the run.
    shown: Mutex<Shown>,
}

/// What people are told of a run.
#[derive(Clone, Debug, Default)]
pub(super) struct Shown {
    /// The generator that is open.
    pub(super) about: Option<About>,
    /// Why the session may not work just now.
    pub(super) waiting: Option<String>,
}

impl RunShared {
    /// Of a run that goes on counting the failed starts of the one before it.
    pub(super) fn after(restarts: Restarts) -> Self {
        let shared = Self::default();
        *shared.restarts() = restarts;
        shared
    }

    /// The starts of its generator that failed lately, earlier runs' too.
    pub(super) fn restarts(&self) -> MutexGuard<'_, Restarts> {
        self.restarts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The slot of its program.
    pub(super) fn slot(&self) -> MutexGuard<'_, Option<Arc<Slot>>> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the run end as soon as nothing is due.
    pub(super) fn drain(&self) {
        self.draining.store(true, Ordering::Release);
        self.wake.signal();
    }

    /// Lets it wait for messages again.
    pub(super) fn stop_draining(&self) {
        self.draining.store(false, Ordering::Release);
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// [`Context::uptime_ms`] when a message was last settled.
    pub(super) fn active_ms(&self) -> u64 {
        self.active_ms.load(Ordering::Relaxed)
    }

    /// The message in work.
    pub(super) fn working_on(&self) -> Option<MessageId> {
        match self.working_on.load(Ordering::Relaxed) {
            0 => None,
            id => Some(MessageId(id)),
        }
    }

    /// Tells that a message was cancelled. If it is in work, the work is abandoned.
    pub(super) fn cancel(&self, message: MessageId) {
        if self.working_on().is_some_and(|other| other != message) {
            // It stood behind that one, whose own cancel must not be forgotten for it.
            return;
        }
        self.cancelled.store(message.0, Ordering::Release);
        self.cancel.notify_one();
    }

    /// Waits until `message` is cancelled. Cancel-safe.
    pub(super) async fn cancelled(&self, message: MessageId) {
        while self.cancelled.load(Ordering::Acquire) != message.0 {
            self.cancel.notified().await;
        }
    }

    pub(super) fn shown(&self) -> Shown {
        self.with_shown(|shown| shown.clone())
    }

    pub(super) fn set_about(&self, about: Option<About>) {
        self.with_shown(|shown| shown.about = about);
    }

    pub(super) fn set_waiting(&self, waiting: Option<String>) {
        self.with_shown(|shown| shown.waiting = waiting);
    }

    fn with_shown<T>(&self, look: impl FnOnce(&mut Shown) -> T) -> T {
        look(&mut self.shown.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RunEnd {
    /// Nothing is pending, or what is pending is due then.
    Quiet {
        /// When the head is due.
        due: Option<Timestamp>,
    },
    /// No generator is started for the session before a prompt or somebody's hand.
    Failing,
    /// The session is draining and may not work.
    Blocked {
        /// When it may; `None`: nobody knows.
        until: Option<Timestamp>,
    },
    /// Its generator asked for the session to be closed.
    CloseSession,
    /// It was told to.
    Cancelled,
    /// The store failed; to be tried again later.
    StoreFailed,
}

impl RunEnd {
    /// Whether a claim may be left: one that could not be settled, or that was on its way and was
    /// not waited for.
    pub(super) fn may_hold_a_claim(self) -> bool {
        match self {
            Self::StoreFailed | Self::Cancelled | Self::CloseSession => true,
            Self::Quiet { .. } | Self::Failing | Self::Blocked { .. } => false,
        }
    }
}

/// Feeds `session`'s generator until its stream ends. With `unsettled` the claim that an earlier
/// run has left is given back first.
pub(super) async fn run(
    context: Arc<Context>,
    session: SessionId,
    shared: Arc<RunShared>,
    unsettled: bool,
) -> RunEnd {
    match prepare(&context, session, &shared, unsettled).await {
        Ok(Prepared::Gate(gate)) => feed_all(&context, session, &shared, gate).await,
        Ok(Prepared::End(end)) => end,
        Err(error) => store_failed(session, &error),
    }
}

enum Prepared {
    /// It may begin; a program through its gate.
    Gate(Option<Arc<Gate>>),
    End(RunEnd),
}

async fn prepare(
    context: &Arc<Context>,
    session: SessionId,
    shared: &Arc<RunShared>,
    unsettled: bool,
) -> Result<Prepared, StoreError> {
    if unsettled {
        let now = context.clock.now();
        let reason = "its run ended before it was settled";
        context.store.release_session(session, reason, now).await?;
    }
    // What an earlier instance started for the session may still be at work.
    tokio::select! {
        () = context.processes.cleared(session) => {}
        () = shared.token.cancelled() => return Ok(Prepared::End(RunEnd::Cancelled)),
    }
    if !context.settings.generator.has_programs() {
        return Ok(Prepared::Gate(None));
    }
    // Look before the row is read: whatever would make it another one wakes the run after it. Its
    // end says so of a session that was purged or is failing, or it would be run again and again.
    shared.wake.look();
    let Some(row) = context.store.session(session).await? else {
        // It was purged since it was woken.
        return Ok(Prepared::End(RunEnd::Quiet { due: None }));
    };
    if row.failing.is_some() {
        return Ok(Prepared::End(RunEnd::Failing));
    }
    let kind = context.factory.kind(&row);
    let gate = kind.is_program.then(|| {
        let gate = Gate::new(Arc::clone(context), session, kind, Arc::clone(shared));
        Arc::new(gate)
    });
    Ok(Prepared::Gate(gate))
}

async fn feed_all(
    context: &Arc<Context>,
    session: SessionId,
    shared: &Arc<RunShared>,
    gate: Option<Arc<Gate>>,
) -> RunEnd {
    let mut feeder = Feeder::new(context, shared, gate.clone());
    let mut claims = pin!(claims(
        Arc::clone(context),
        session,
        Arc::clone(shared),
        gate.clone()
    ));
    let end = loop {
        let item = tokio::select! {
            biased;
            item = claims.next() => item,
            parked = feeder.parked() => match parked {
                Parked::Ended => {
                    feeder.close(CloseReason::Idle).await;
                    continue;
                }
                Parked::GiveWay => {
                    feeder.give_way().await;
                    continue;
                }
                Parked::Idle => {
                    feeder.leave_idle().await;
                    continue;
                }
                Parked::CloseSession => break RunEnd::CloseSession,
            },
        };
        let claim = match item {
            Some(Ok(Item::Claim(claim))) => claim,
            Some(Ok(Item::GiveWay)) => {
                feeder.give_way().await;
                continue;
            }
            Some(Ok(Item::End(StreamEnd::Idle))) | None => break RunEnd::Quiet { due: None },
            Some(Ok(Item::End(StreamEnd::Delayed(due)))) => break RunEnd::Quiet { due: Some(due) },
            Some(Ok(Item::End(StreamEnd::Blocked(until)))) => break RunEnd::Blocked { until },
            Some(Ok(Item::End(StreamEnd::Cancelled))) => break RunEnd::Cancelled,
            Some(Err(error)) => break store_failed(session, &error),
        };
        let message = claim.message.id;
        shared.working_on.store(message.0, Ordering::Relaxed);
        let claimed = Event::MessageClaimed {
            message,
            seq: claim.message.seq,
            attempt: claim.message.attempt,
        };
        context.events.emit(Some(session), claimed);
        // Boxed: a run that waits is not to hold the room for it.
        let settled = Box::pin(feeder.feed(&claim)).await;
        shared.working_on.store(0, Ordering::Relaxed);
        let now_ms = context.uptime_ms();
        shared.active_ms.store(now_ms, Ordering::Relaxed);
        match settled {
            // A session that is to close does not wait for a provider.
            Ok(Settled::Unavailable(until)) if shared.is_draining() => {
                break RunEnd::Blocked { until: Some(until) };
            }
            Ok(Settled::Unavailable(_) | Settled::Otherwise) => {}
            Ok(Settled::Failing) => break RunEnd::Failing,
            Err(error) => break store_failed(session, &error),
        }
    };
    let reason = match end {
        RunEnd::Quiet { .. } if !shared.is_draining() => CloseReason::Idle,
        _ => CloseReason::Session,
    };
    feeder.close(reason).await;
    if let Some(gate) = gate
        && !shared.token.is_cancelled()
    {
        // Otherwise a start that was interrupted may still be on its way to its end, and the close
        // waits for that.
        gate.leave();
    }
    end
}

fn store_failed(session: SessionId, error: &StoreError) -> RunEnd {
    if !matches!(error, StoreError::Closed) {
        let error = crate::errors::chain(error);
        tracing::error!(session.id = %session, error, "run stopped: the store failed");
    }
    RunEnd::StoreFailed
}
