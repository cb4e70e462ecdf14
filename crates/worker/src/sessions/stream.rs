//! A session's messages as a stream of claims, one at a time, in order.
//!
//! The stream waits on its [`Wake`] when nothing is pending, ends after the idle time, and ends at
//! once when it is cancelled or its session drains. It polls nothing: what wakes it is a signal,
//! a due time or its own end.

use std::sync::Arc;
use std::time::Duration;

use async_stream::stream;
use futures::Stream;
use sessiond_queue::error::StoreError;
use sessiond_queue::ids::{SessionId, Timestamp};
use sessiond_queue::types::{Claim, Claimed};
use tokio::time::Instant;

use super::Context;
use super::gate::{Gate, Gated};
use super::run::RunShared;

/// Why a stream has no more messages for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StreamEnd {
    /// Nothing came for the idle time, or the session drains and nothing is pending.
    Idle,
    /// The head is due at a time beyond the idle time.
    Delayed(Timestamp),
    /// The session drains and may not work.
    Blocked(Option<Timestamp>),
    /// The token was cancelled.
    Cancelled,
}

/// What the stream yields.
pub(super) enum Item {
    /// A message to be worked; the next one is claimed only after the stream is polled again.
    Claim(Box<Claim>),
    /// The session has had its turn: its generator is to be closed and its slot given back.
    GiveWay,
    /// The last item.
    End(StreamEnd),
}

/// The stream of `session`'s claims; those of a program go through its gate. An error is the last
/// item as well.
pub(super) fn claims(
    context: Arc<Context>,
    session: SessionId,
    shared: Arc<RunShared>,
    gate: Option<Arc<Gate>>,
) -> impl Stream<Item = Result<Item, StoreError>> {
    stream! {
        let idle_end = Duration::from_millis(context.settings.session.generator_idle_end_ms);
        // Measured from the last message, so that a wake-up without a message does not prolong it.
        let mut idle_since = Instant::now();
        loop {
            // Subscribe first, then look.
            let seen = shared.wake.look();
            if shared.token.is_cancelled() {
                yield Ok(Item::End(StreamEnd::Cancelled));
                return;
            }
            let gated = match &gate {
                // Boxed: most runs have none.
                Some(gate) => Box::pin(gate.claim(seen)).await,
                None => context
                    .store
                    .claim(session, context.generation, context.clock.now())
                    .await
                    .map(Gated::Claimed),
            };
            let found = match gated {
                Ok(Gated::Claimed(found)) => Ok(found),
                Ok(Gated::Again) => continue,
                Ok(Gated::GiveWay) => {
                    yield Ok(Item::GiveWay);
                    continue;
                }
                Ok(Gated::Blocked { until }) => {
                    yield Ok(Item::End(StreamEnd::Blocked(until)));
                    return;
                }
                Err(error) => Err(error),
            };
            let due = match found {
                Ok(Claimed::Message(claim)) => {
                    yield Ok(Item::Claim(claim));
                    idle_since = Instant::now();
                    continue;
                }
                Ok(Claimed::Delayed { until }) => Some(until),
                Ok(Claimed::Empty | Claimed::Busy) => None,
                Err(error) => {
                    yield Err(error);
                    return;
                }
            };
            let idle_at = idle_since + idle_end;
            let due_at = due.map(|until| Instant::now() + until.since(context.clock.now()));
            match (due, due_at) {
                (Some(due), Some(due_at)) if due_at > idle_at => {
                    yield Ok(Item::End(StreamEnd::Delayed(due)));
                    return;
                }
                (None, _) if shared.is_draining() => {
                    yield Ok(Item::End(StreamEnd::Idle));
                    return;
                }
                _ => {}
            }
            tokio::select! {
                () = shared.token.cancelled() => {}
                () = shared.wake.changed(seen) => {}
                () = tokio::time::sleep_until(due_at.unwrap_or(idle_at)) => {
                    if due_at.is_none() {
                        yield Ok(Item::End(StreamEnd::Idle));
                        return;
                    }
                }
            }
        }
    }
}
