//! One run: a generator fed with its session's claims, each of them settled.
//!
//! A run owns the generator and nothing else. It ends when its stream ends, and says to the
//! dispatcher why; what follows from that is the dispatcher's decision.

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use sessiond_queue::error::{SettleError, StoreError};
use sessiond_queue::ids::{MessageId, SessionId, Timestamp};
use sessiond_queue::types::{Claim, Confirm, Message, Release, ReleaseWhy, Released};
use tokio_util::sync::CancellationToken;

use super::Context;
use super::stream::{Item, StreamEnd, claims};
use super::wake::Wake;
use crate::generator::{FailureClass, Generator, Outcome};

/// How often a store that fails is asked to take a finished message before the run gives up on it.
const SETTLE_TRIES: u32 = 5;

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
    /// [`Context::uptime_ms`] when a message was last settled.
    active_ms: AtomicU64,
}

impl RunShared {
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
}

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RunEnd {
    /// Nothing is pending, or what is pending is due then.
    Quiet {
        /// When the head is due.
        due: Option<Timestamp>,
    },
    /// It was told to.
    Cancelled,
    /// The store failed; to be tried again later.
    StoreFailed,
}

/// Feeds `session`'s generator until its stream ends. With `unsettled` the claim that an earlier
/// run has left is given back first.
pub(super) async fn run(
    context: Arc<Context>,
    session: SessionId,
    shared: Arc<RunShared>,
    unsettled: bool,
) -> RunEnd {
    if unsettled {
        let now = context.clock.now();
        let reason = "its run ended before it was settled";
        if let Err(error) = context.store.release_session(session, reason, now).await {
            return store_failed(session, &error);
        }
    }
    let mut feeder = Feeder {
        context: &context,
        generator: None,
        unavailable: 0,
    };
    let mut claims = pin!(claims(Arc::clone(&context), session, Arc::clone(&shared)));
    while let Some(item) = claims.next().await {
        let claim = match item {
            Ok(Item::Claim(claim)) => claim,
            Ok(Item::End(StreamEnd::Idle)) => return RunEnd::Quiet { due: None },
            Ok(Item::End(StreamEnd::Delayed(due))) => return RunEnd::Quiet { due: Some(due) },
            Ok(Item::End(StreamEnd::Cancelled)) => return RunEnd::Cancelled,
            Err(error) => return store_failed(session, &error),
        };
        shared
            .working_on
            .store(claim.message.id.0, Ordering::Relaxed);
        let settled = feeder.feed(&claim).await;
        shared.working_on.store(0, Ordering::Relaxed);
        shared
            .active_ms
            .store(context.uptime_ms(), Ordering::Relaxed);
        match settled {
            // A session that is to close does not wait for a provider.
            Ok(Settled::Unavailable(due)) if shared.is_draining() => {
                return RunEnd::Quiet { due: Some(due) };
            }
            Ok(Settled::Unavailable(_) | Settled::Otherwise) => {}
            Err(error) => return store_failed(session, &error),
        }
    }
    RunEnd::Quiet { due: None }
}

fn store_failed(session: SessionId, error: &StoreError) -> RunEnd {
    if !matches!(error, StoreError::Closed) {
        let error = crate::errors::chain(error);
        tracing::error!(session.id = %session, error, "run stopped: the store failed");
    }
    RunEnd::StoreFailed
}

/// How a claim was settled, as far as the run has to know.
enum Settled {
    /// Given back until then, since the provider is away.
    Unavailable(Timestamp),
    /// In any other way.
    Otherwise,
}

/// Brings claims to the generator and settles them.
struct Feeder<'a> {
    context: &'a Context,
    /// Dropped whenever its memory is ahead of the checkpoint, so that the next message reopens it
    /// from there.
    generator: Option<Box<dyn Generator>>,
    /// How often in a row the provider was away; the attempt, which is given back, cannot tell.
    unavailable: u32,
}

impl Feeder<'_> {
    async fn feed(&mut self, claim: &Claim) -> Result<Settled, StoreError> {
        let outcome = self.work(&claim.message).await?;
        if !matches!(
            outcome,
            Outcome::Failed {
                class: FailureClass::Unavailable,
                ..
            }
        ) {
            self.unavailable = 0;
        }
        let settled = match outcome {
            Outcome::Done {
                results,
                checkpoint,
                usage,
            } => {
                let confirm = Confirm {
                    message: claim.message.id,
                    fence: claim.fence,
                    results,
                    checkpoint,
                    usage,
                };
                let settlement = Settlement::Confirm(confirm);
                let settled = self.settle(claim.message.id, settlement).await;
                settled.map(|()| {
                    self.context.index.wake();
                    Settled::Otherwise
                })
            }
            Outcome::Failed {
                class,
                reason,
                retry_after,
            } => {
                self.generator = None;
                self.release(claim, class, reason, retry_after).await
            }
        };
        match settled {
            Ok(settled) => Ok(settled),
            Err(SettleError::TooLarge {
                field,
                bytes,
                limit,
                ..
            }) => {
                self.generator = None;
                let reason = format!("{field} has {bytes} bytes, over the limit of {limit}");
                match self
                    .release(claim, FailureClass::Poison, reason, None)
                    .await
                {
                    Err(SettleError::Store(error)) => Err(error),
                    Ok(_) | Err(_) => Ok(Settled::Otherwise),
                }
            }
            Err(SettleError::ClaimLost(message)) => {
                tracing::info!(message.id = %message, "claim lost: nothing of it is stored");
                self.generator = None;
                Ok(Settled::Otherwise)
            }
            Err(SettleError::Store(error)) => Err(error),
        }
    }

    async fn work(&mut self, message: &Message) -> Result<Outcome, StoreError> {
        let generator = match &mut self.generator {
            Some(generator) => generator,
            None => {
                let store = &self.context.store;
                let session = store.session(message.session).await?.ok_or_else(|| {
                    StoreError::Corrupt(format!("session {} has no row", message.session))
                })?;
                let checkpoint = store.checkpoint(message.session).await?;
                match self.context.factory.open(&session, checkpoint).await {
                    Ok(generator) => self.generator.insert(generator),
                    Err(error) => {
                        return Ok(Outcome::Failed {
                            class: FailureClass::Retry,
                            reason: error.reason,
                            retry_after: None,
                        });
                    }
                }
            }
        };
        // A panic is the message's failure, not the worker's: the run goes on.
        match AssertUnwindSafe(generator.work(message))
            .catch_unwind()
            .await
        {
            Ok(outcome) => Ok(outcome),
            Err(_) => Ok(Outcome::Failed {
                class: FailureClass::Retry,
                reason: "the generator panicked".to_owned(),
                retry_after: None,
            }),
        }
    }

    async fn release(
        &mut self,
        claim: &Claim,
        class: FailureClass,
        reason: String,
        retry_after: Option<Duration>,
    ) -> Result<Settled, SettleError> {
        let message = &claim.message;
        let failures = match class {
            FailureClass::Unavailable => {
                self.unavailable += 1;
                self.unavailable
            }
            FailureClass::Retry | FailureClass::Poison => message.attempt,
        };
        let now = self.context.clock.now();
        let not_before = now.after(retry_after.unwrap_or_else(|| self.context.backoff(failures)));
        tracing::warn!(
            session.id = %message.session, message.id = %message.id, attempt = message.attempt,
            ?class, reason, "message not worked"
        );
        let why = match class {
            FailureClass::Retry => ReleaseWhy::Retry { reason, not_before },
            FailureClass::Poison => ReleaseWhy::Poison { reason },
            FailureClass::Unavailable => ReleaseWhy::GiveBack {
                reason,
                not_before: Some(not_before),
            },
        };
        let release = Release {
            message: message.id,
            fence: claim.fence,
            why,
        };
        self.settle(message.id, Settlement::Release(release))
            .await?;
        Ok(match class {
            FailureClass::Unavailable => Settled::Unavailable(not_before),
            FailureClass::Retry | FailureClass::Poison => Settled::Otherwise,
        })
    }

    /// Settles, patiently: the work is done, and a store that is full or locked for a moment must
    /// not cause it to be done twice.
    async fn settle(
        &mut self,
        message: MessageId,
        settlement: Settlement,
    ) -> Result<(), SettleError> {
        let (store, clock) = (&self.context.store, self.context.clock);
        let mut tries = 1;
        loop {
            let settled = match &settlement {
                Settlement::Confirm(confirm) => store.confirm(confirm.clone(), clock.now()).await,
                Settlement::Release(release) => {
                    let released = store.release(release.clone(), clock.now()).await;
                    released.map(|released| {
                        if released == Released::Dead {
                            tracing::error!(message.id = %message, "message is dead");
                        }
                    })
                }
            };
            match settled {
                Err(SettleError::Store(StoreError::Database(error))) if tries < SETTLE_TRIES => {
                    let error = crate::errors::chain(&error);
                    tracing::warn!(message.id = %message, tries, error, "not settled; trying again");
                    tokio::time::sleep(self.context.backoff(tries)).await;
                    tries += 1;
                }
                settled => return settled,
            }
        }
    }
}

/// The end of a claim.
enum Settlement {
    Confirm(Confirm),
    Release(Release),
}
