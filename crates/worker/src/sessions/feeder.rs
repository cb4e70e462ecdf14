//! Brings one session's claims to its generator and settles them.
//!
//! Owns the generator: opens it for a claim, from the checkpoint, and closes it whenever its memory
//! is ahead of that.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use sessiond_queue::error::{SessionError, SettleError, StoreError};
use sessiond_queue::ids::{SessionId, Timestamp};
use sessiond_queue::types::{Claim, Confirm, Message, Release, ReleaseWhy, Released};
use tokio::time::Instant;

use super::Context;
use super::gate::Gate;
use super::run::RunShared;
use crate::admission::Next;
use crate::events::{self, Event, Events};
use crate::generator::{
    About, CloseReason, FailureClass, Generator, IdleEnd, OpenError, OpenErrorKind, Outcome,
};

/// How often a store that fails is asked to take a finished message before the run gives up on it.
const SETTLE_TRIES: u32 = 5;

/// How a claim was settled, as far as the run has to know.
pub(super) enum Settled {
    /// Given back until then, since the provider is away.
    Unavailable(Timestamp),
    /// Given back, and no generator is started for the session any more.
    Failing,
    /// In any other way.
    Otherwise,
}

/// What an idle generator is to be closed for.
pub(super) enum Parked {
    /// It has ended.
    Ended,
    /// It asked for its session to be closed.
    CloseSession,
    /// Another session waits for its slot.
    GiveWay,
    /// Its session has work, but may not do it for so long.
    Idle,
}

/// One run's generator, and what is done with it.
pub(super) struct Feeder {
    context: Arc<Context>,
    shared: Arc<RunShared>,
    /// `None`: the generator works in process.
    gate: Option<Arc<Gate>>,
    generator: Option<Opened>,
    /// How often in a row the provider was away; the attempt, which is given back, cannot tell.
    unavailable: u32,
    /// How often in a row the machine lacked something for a start.
    lacking: u32,
    /// The session's prompts when its generator was started last.
    prompt_number: i64,
}

/// A generator that is ready.
struct Opened {
    generator: Box<dyn Generator>,
    end: TellsEnd,
}

/// Tells of a generator's end, once, however it comes: also when its run is aborted.
struct TellsEnd {
    events: Events,
    session: SessionId,
    reason: &'static str,
}

impl TellsEnd {
    fn started(context: &Context, session: SessionId, about: &About) -> Self {
        let about = Box::new(about.clone());
        let events = context.events.clone();
        events.emit(Some(session), Event::GeneratorStarted { about });
        Self {
            events,
            session,
            reason: "aborted",
        }
    }
}

impl Drop for TellsEnd {
    fn drop(&mut self) {
        let reason = self.reason;
        let stopped = Event::GeneratorStopped { reason };
        self.events.emit(Some(self.session), stopped);
    }
}

/// What became of a message.
enum Worked {
    /// The generator's answer.
    Outcome(Outcome),
    /// There was no generator to ask.
    NotReady(OpenError),
    /// The run was told to end before there was one.
    Interrupted,
    /// It was cancelled meanwhile; there is nothing to settle.
    Cancelled,
}

impl Feeder {
    pub(super) fn new(
        context: &Arc<Context>,
        shared: &Arc<RunShared>,
        gate: Option<Arc<Gate>>,
    ) -> Self {
        Self {
            context: Arc::clone(context),
            shared: Arc::clone(shared),
            gate,
            generator: None,
            unavailable: 0,
            lacking: 0,
            prompt_number: 0,
        }
    }

    /// Has the claimed message worked and settles it.
    pub(super) async fn feed(&mut self, claim: &Claim) -> Result<Settled, StoreError> {
        let settled = match self.work(&claim.message).await? {
            Worked::Outcome(outcome) => self.finish(claim, outcome).await,
            Worked::NotReady(error) => match error.kind {
                OpenErrorKind::Lacking => self.lacking(claim, error.reason).await,
                OpenErrorKind::Full => self.full(claim, error.reason).await,
                OpenErrorKind::Again | OpenErrorKind::Final | OpenErrorKind::Stopping => {
                    self.not_ready(claim, error).await
                }
            },
            Worked::Interrupted => {
                let reason = "its generator was stopped before it was ready".to_owned();
                let why = ReleaseWhy::GiveBack {
                    reason,
                    not_before: None,
                };
                self.release(claim, why).await.map(|()| Settled::Otherwise)
            }
            Worked::Cancelled => {
                tracing::info!(message.id = %claim.message.id, "message cancelled while in work");
                self.close(CloseReason::Rewind).await;
                Ok(Settled::Otherwise)
            }
        };
        match settled {
            Ok(settled) => Ok(settled),
            Err(SettleError::Store(error)) => Err(error),
            Err(SettleError::ClaimLost(message)) => {
                tracing::info!(message.id = %message, "claim lost: nothing of it is stored");
                self.close(CloseReason::Rewind).await;
                Ok(Settled::Otherwise)
            }
            Err(error) => {
                self.close(CloseReason::Rewind).await;
                let reason = error.to_string();
                tracing::error!(message.id = %claim.message.id, reason, "results refused");
                match self.release(claim, ReleaseWhy::Poison { reason }).await {
                    Err(SettleError::Store(error)) => Err(error),
                    Ok(()) | Err(_) => Ok(Settled::Otherwise),
                }
            }
        }
    }

    /// Waits until the idle generator is to be closed, or its slot given back; for ever if there is
    /// neither. Cancel-safe.
    pub(super) async fn parked(&mut self) -> Parked {
        let idle_end = Duration::from_millis(self.context.settings.session.generator_idle_end_ms);
        let has_generator = self.generator.is_some();
        let ended = async {
            match &mut self.generator {
                Some(opened) => opened.generator.idle().await,
                None => std::future::pending().await,
            }
        };
        let wanted = async {
            match &self.gate {
                Some(gate) => gate.wanted().await,
                None => std::future::pending().await,
            }
        };
        let idle = async {
            match &self.gate {
                Some(_) if has_generator => tokio::time::sleep(idle_end).await,
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            end = ended => match end {
                IdleEnd::Ended => Parked::Ended,
                IdleEnd::CloseSession => Parked::CloseSession,
            },
            () = wanted => Parked::GiveWay,
            () = idle => Parked::Idle,
        }
    }

    /// Closes the generator and gives its slot to whoever waits for it.
    pub(super) async fn give_way(&mut self) {
        self.close(CloseReason::Slot).await;
        if let Some(gate) = &self.gate {
            gate.leave();
        }
    }

    /// Closes the generator and gives its slot back, unless it is about to get a message.
    pub(super) async fn leave_idle(&mut self) {
        if let Some(gate) = &self.gate
            && gate.is_idle()
        {
            let gate = Arc::clone(gate);
            self.close(CloseReason::Idle).await;
            gate.leave();
        }
    }

    /// Closes the generator, if there is one; the next message opens another from the checkpoint.
    pub(super) async fn close(&mut self, reason: CloseReason) {
        if let Some(Opened { generator, mut end }) = self.generator.take() {
            generator.close(reason).await;
            end.reason = reason.as_str();
            drop(end);
            self.shared.set_about(None);
        }
    }

    async fn work(&mut self, message: &Message) -> Result<Worked, StoreError> {
        let generator = match &mut self.generator {
            Some(opened) => &mut opened.generator,
            None => {
                let store = &self.context.store;
                let session = store.session(message.session).await?.ok_or_else(|| {
                    StoreError::Corrupt(format!("session {} has no row", message.session))
                })?;
                self.prompt_number = session.prompt_number;
                let checkpoint = store.checkpoint(message.session).await?;
                let opened = tokio::select! {
                    opened = self.context.factory.open(&session, checkpoint) => opened,
                    () = self.shared.token.cancelled() => return Ok(Worked::Interrupted),
                };
                match opened {
                    Ok(generator) => {
                        if session.failing.is_some() {
                            // It was another generator's failure: the configuration is another.
                            clear_failing(&self.context, message.session).await?;
                        }
                        self.lacking = 0;
                        self.shared.restarts().ready();
                        let about = generator.about();
                        let end = TellsEnd::started(&self.context, message.session, &about);
                        self.shared.set_about(Some(about));
                        &mut self.generator.insert(Opened { generator, end }).generator
                    }
                    Err(error) if error.kind == OpenErrorKind::Stopping => {
                        // The run is about to be told to end; until then there is no use in
                        // another try.
                        self.shared.token.cancelled().await;
                        return Ok(Worked::Interrupted);
                    }
                    Err(error) => return Ok(Worked::NotReady(error)),
                }
            }
        };
        // A panic is the message's failure, not the worker's: the run goes on.
        tokio::select! {
            biased;
            worked = AssertUnwindSafe(generator.work(message)).catch_unwind() => {
                Ok(Worked::Outcome(worked.unwrap_or_else(|_| Outcome::Failed {
                    class: FailureClass::Retry,
                    reason: "the generator panicked".to_owned(),
                    retry_after: None,
                })))
            }
            () = self.shared.cancelled(message.id) => Ok(Worked::Cancelled),
        }
    }

    async fn finish(&mut self, claim: &Claim, outcome: Outcome) -> Result<Settled, SettleError> {
        let message = &claim.message;
        let (class, reason, retry_after) = match outcome {
            Outcome::Done {
                results,
                checkpoint,
                usage,
            } => {
                self.unavailable = 0;
                if let Some(gate) = &self.gate {
                    gate.provider_is_there();
                }
                let confirm = Confirm {
                    message: message.id,
                    fence: claim.fence,
                    results,
                    checkpoint,
                    usage,
                };
                self.settle(message, Settlement::Confirm(confirm)).await?;
                self.context.index.wake();
                return Ok(Settled::Otherwise);
            }
            Outcome::Failed {
                class,
                reason,
                retry_after,
            } => (class, reason, retry_after),
        };
        if let (Some(gate), FailureClass::Unavailable) = (&self.gate, class) {
            // Before it is closed, which may take a while: nobody else is to ask meanwhile.
            gate.provider_is_away(&reason, retry_after);
        }
        self.close(CloseReason::Rewind).await;
        tracing::warn!(
            session.id = %message.session, message.id = %message.id, attempt = message.attempt,
            ?class, reason, "message not worked"
        );
        let now = self.context.clock.now();
        let after = |failures| retry_after.unwrap_or_else(|| self.context.backoff(failures));
        let (why, settled) = match class {
            FailureClass::Unavailable => {
                self.unavailable += 1;
                let until = now.after(after(self.unavailable));
                // A program waits at its kind's breaker, which another session may close earlier.
                let not_before = self.gate.is_none().then_some(until);
                let why = ReleaseWhy::GiveBack { reason, not_before };
                (why, Settled::Unavailable(until))
            }
            FailureClass::Retry => {
                self.unavailable = 0;
                let not_before = now.after(after(message.attempt));
                (ReleaseWhy::Retry { reason, not_before }, Settled::Otherwise)
            }
            FailureClass::Poison => {
                self.unavailable = 0;
                (ReleaseWhy::Poison { reason }, Settled::Otherwise)
            }
        };
        self.release(claim, why).await?;
        Ok(settled)
    }

    /// No generator became ready: the attempt is given back, and after too many of these nothing
    /// is started any more.
    async fn not_ready(&mut self, claim: &Claim, error: OpenError) -> Result<Settled, SettleError> {
        let message = &claim.message;
        let settings = &self.context.settings.generator;
        let window = Duration::from_millis(settings.restart_window_ms);
        let reason = error.reason;
        let (failures, gives_up) = {
            let mut restarts = self.shared.restarts();
            match restarts.failed(Instant::now(), &reason, settings.restart_max, window) {
                Next::Again { .. } if error.kind == OpenErrorKind::Final => {
                    restarts.ready();
                    (0, true)
                }
                Next::Again { failures } => (failures, false),
                Next::GiveUp => (0, true),
            }
        };
        tracing::warn!(
            session.id = %message.session, message.id = %message.id, failures, gives_up, reason,
            "generator not ready"
        );
        self.tell_failed(message.session, &reason, gives_up);
        let wait = (!gives_up).then(|| self.context.backoff(failures));
        let why = ReleaseWhy::GiveBack {
            reason: reason.clone(),
            not_before: wait.map(|wait| self.context.clock.now().after(wait)),
        };
        self.release(claim, why).await?;
        if !gives_up {
            return Ok(Settled::Otherwise);
        }
        let now = self.context.clock.now();
        let (store, session) = (&self.context.store, message.session);
        match store.set_failing(session, Some(&reason), now).await {
            // A prompt that came during the start has asked for another one.
            Ok(row) if row.prompt_number != self.prompt_number => {
                match store.set_failing(session, None, now).await {
                    Err(SessionError::Store(error)) => Err(SettleError::Store(error)),
                    Ok(_) | Err(_) => Ok(Settled::Otherwise),
                }
            }
            Ok(_) => Ok(Settled::Failing),
            Err(SessionError::Store(error)) => Err(SettleError::Store(error)),
            // It was purged meanwhile.
            Err(_) => Ok(Settled::Failing),
        }
    }

    /// The machine lacks something. Neither the attempt nor the start counts, however long it lasts.
    async fn lacking(&mut self, claim: &Claim, reason: String) -> Result<Settled, SettleError> {
        let message = &claim.message;
        self.lacking += 1;
        let wait = self.context.backoff(self.lacking);
        let (failures, wait_ms) = (self.lacking, wait.as_millis());
        tracing::warn!(
            session.id = %message.session, message.id = %message.id, failures, wait_ms, reason,
            "generator not started: the machine lacks something"
        );
        self.tell_failed(message.session, &reason, false);
        let why = ReleaseWhy::GiveBack {
            reason,
            not_before: Some(self.context.clock.now().after(wait)),
        };
        self.release(claim, why).await?;
        Ok(Settled::Otherwise)
    }

    /// As many programs are there as may be, most of them on their way to their end. The claim is
    /// given back before that is waited for.
    async fn full(&mut self, claim: &Claim, reason: String) -> Result<Settled, SettleError> {
        let session = claim.message.session;
        tracing::info!(session.id = %session, reason, "generator not started: it waits for room");
        let why = ReleaseWhy::GiveBack {
            reason: reason.clone(),
            not_before: None,
        };
        self.release(claim, why).await?;
        self.shared.set_waiting(Some(reason));
        tokio::select! {
            () = self.context.processes.has_room() => {}
            () = self.shared.token.cancelled() => {}
        }
        self.shared.set_waiting(None);
        Ok(Settled::Otherwise)
    }

    fn tell_failed(&self, session: SessionId, reason: &str, gives_up: bool) {
        let reason = events::reason(reason);
        let failed = Event::GeneratorFailed { reason, gives_up };
        self.context.events.emit(Some(session), failed);
    }

    async fn release(&mut self, claim: &Claim, why: ReleaseWhy) -> Result<(), SettleError> {
        let release = Release {
            message: claim.message.id,
            fence: claim.fence,
            why,
        };
        self.settle(&claim.message, Settlement::Release(release))
            .await
    }

    /// Settles, patiently: the work is done, and a store that is full or locked for a moment must
    /// not cause it to be done twice.
    async fn settle(
        &mut self,
        message: &Message,
        settlement: Settlement,
    ) -> Result<(), SettleError> {
        let Message { id, session, .. } = *message;
        let (store, clock) = (&self.context.store, self.context.clock);
        let mut tries = 1;
        loop {
            let settled = match &settlement {
                Settlement::Confirm(confirm) => {
                    let confirmed = store.confirm(confirm.clone(), clock.now()).await;
                    confirmed.map(|()| Event::MessageConfirmed {
                        message: id,
                        results: confirm.results.len(),
                    })
                }
                Settlement::Release(release) => {
                    let released = store.release(release.clone(), clock.now()).await;
                    released.map(|released| {
                        if released == Released::Dead {
                            tracing::error!(message.id = %id, "message is dead");
                        }
                        told_release(release, released)
                    })
                }
            };
            match settled {
                Err(SettleError::Store(StoreError::Database(error))) if tries < SETTLE_TRIES => {
                    let error = crate::errors::chain(&error);
                    tracing::warn!(message.id = %id, tries, error, "not settled; trying again");
                    tokio::time::sleep(self.context.backoff(tries)).await;
                    tries += 1;
                }
                Ok(event) => {
                    self.context.events.emit(Some(session), event);
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
    }
}

async fn clear_failing(context: &Context, session: SessionId) -> Result<(), StoreError> {
    let now = context.clock.now();
    match context.store.set_failing(session, None, now).await {
        Err(SessionError::Store(error)) => Err(error),
        // A session that is gone has nothing to clear.
        Ok(_) | Err(_) => Ok(()),
    }
}

/// A release, as it is told.
fn told_release(release: &Release, released: Released) -> Event {
    let message = release.message;
    let (failed, reason, not_before) = match &release.why {
        ReleaseWhy::Retry { reason, not_before } => (true, reason, Some(*not_before)),
        ReleaseWhy::GiveBack { reason, not_before } => (false, reason, *not_before),
        ReleaseWhy::Poison { reason } => (true, reason, None),
    };
    let reason = events::reason(reason);
    match released {
        Released::Pending => Event::MessageReleased {
            message,
            failed,
            reason,
            not_before,
        },
        Released::Dead => Event::MessageDead { message, reason },
    }
}

/// The end of a claim.
enum Settlement {
    Confirm(Confirm),
    Release(Release),
}
