//! What is sent to the writer: a request, and the slot its answer is put in.
//!
//! An answer is kept here until the commit, and only then sent: what was answered is on disk.

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::work::Work;
use crate::error::{EnqueueError, SettleError, StoreError};
use crate::ids::{Generation, SessionId, Timestamp};
use crate::types::{Claimed, Confirm, Enqueue, Receipt, Release, State};
use crate::validate::results_bytes;

/// One request of a batch.
pub(super) enum Request {
    Enqueue(Call<NewEvent, Receipt, EnqueueError>),
    Settle(Call<Settle, State, SettleError>),
    Claim(Call<Take, Claimed, StoreError>),
    Single(Box<dyn Single>),
    /// Worked outside of transactions, after those of its batch.
    FoldLog(Call<(), bool, StoreError>),
}

/// An event to be stored.
pub(super) struct NewEvent {
    pub(super) event: Enqueue,
    pub(super) now: Timestamp,
}

/// A session whose head is to be claimed.
pub(super) struct Take {
    pub(super) session: SessionId,
    pub(super) owner: Generation,
    pub(super) now: Timestamp,
}

/// A claim to be ended; answered with the message's new state.
pub(super) enum Settle {
    Confirm(Confirm, Timestamp),
    Release(Release, Timestamp),
}

/// A question and its reply slot.
pub(super) struct Call<Q, T, E> {
    pub(super) question: Q,
    answer: Option<Result<T, E>>,
    reply: oneshot::Sender<Result<T, E>>,
    /// Its place among the requests under way, which it gives back at its end.
    place: OwnedSemaphorePermit,
}

impl<Q, T, E: From<StoreError>> Call<Q, T, E> {
    pub(super) fn new(
        question: Q,
        reply: oneshot::Sender<Result<T, E>>,
        place: OwnedSemaphorePermit,
    ) -> Self {
        Self {
            question,
            answer: None,
            reply,
            place,
        }
    }

    /// Keeps the answer until the commit.
    pub(super) fn answer(&mut self, answer: Result<T, E>) {
        self.answer = Some(answer);
    }

    fn finish(self) {
        let answer = self
            .answer
            .expect("every request of a committed batch was answered");
        drop(self.place);
        // The caller may have gone; what it asked for is done all the same.
        drop(self.reply.send(answer));
    }

    fn fail(self, error: StoreError) {
        drop(self.place);
        // As above: a caller that has gone does not want to know.
        drop(self.reply.send(Err(error.into())));
    }
}

/// An operation that is not frequent enough to be a kind of its own.
pub(super) trait Operation: Send + Sync + 'static {
    type Answer: Send;
    type Error: From<StoreError> + Send;

    /// Does it. The outer error fails the transaction; the inner one is the operation's answer and
    /// must leave no change.
    fn run(&self, work: &mut Work) -> Result<Result<Self::Answer, Self::Error>, StoreError>;
}

/// An [`Operation`] with its reply slot, whatever it is.
pub(super) trait Single: Send {
    fn run(&mut self, work: &mut Work) -> Result<(), StoreError>;
    fn finish(self: Box<Self>);
    fn fail(self: Box<Self>, error: StoreError);
}

impl<O: Operation> Single for Call<O, O::Answer, O::Error> {
    fn run(&mut self, work: &mut Work) -> Result<(), StoreError> {
        let answer = self.question.run(work)?;
        self.answer(answer);
        Ok(())
    }

    fn finish(self: Box<Self>) {
        Call::finish(*self);
    }

    fn fail(self: Box<Self>, error: StoreError) {
        Call::fail(*self, error);
    }
}

impl Request {
    /// Bytes it adds to the transaction, as far as they matter.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Enqueue(call) => call.question.event.payload.len(),
            Self::Settle(call) => match &call.question {
                Settle::Confirm(confirm, _) => {
                    results_bytes(confirm) + confirm.checkpoint.as_ref().map_or(0, String::len)
                }
                Settle::Release(..) => 0,
            },
            Self::Claim(_) | Self::Single(_) | Self::FoldLog(_) => 0,
        }
    }

    /// Sends the answer: the transaction is committed.
    pub(super) fn finish(self) {
        match self {
            Self::Enqueue(call) => call.finish(),
            Self::Settle(call) => call.finish(),
            Self::Claim(call) => call.finish(),
            Self::Single(call) => call.finish(),
            Self::FoldLog(call) => call.finish(),
        }
    }

    /// Answers that the store failed.
    pub(super) fn fail(self, error: StoreError) {
        match self {
            Self::Enqueue(call) => call.fail(error),
            Self::Settle(call) => call.fail(error),
            Self::Claim(call) => call.fail(error),
            Self::Single(call) => call.fail(error),
            Self::FoldLog(call) => call.fail(error),
        }
    }
}
