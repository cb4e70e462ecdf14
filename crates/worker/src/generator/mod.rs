//! What turns a session's messages into results.
//!
//! A generator is a reducer: its whole state is the checkpoint that is committed with each
//! confirm, so that a crash anywhere gives the same results. It knows nothing of the queue; a run
//! (see [`crate::sessions`]) feeds it and settles its claims.

mod digest;
mod rehearsal;

use std::time::Duration;

use async_trait::async_trait;
use sessiond_queue::types::{Message, NewResult, Session, Usage};

pub use digest::DigestFactory;
pub use rehearsal::RehearsalFactory;

/// Opens a generator for a session.
#[async_trait]
pub trait GeneratorFactory: Send + Sync + 'static {
    /// A generator that goes on from `checkpoint`.
    async fn open(&self, session: &Session, checkpoint: Option<String>) -> Box<dyn Generator>;
}

/// One session's generator, in work or waiting for it.
#[async_trait]
pub trait Generator: Send {
    /// What it is called in reports.
    fn name(&self) -> &'static str;

    /// Works one message. Dropping the future abandons the message.
    async fn work(&mut self, message: &Message) -> Outcome;
}

/// What became of a message in a generator's hands.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It was worked.
    Done {
        /// What was made of it.
        results: Vec<NewResult>,
        /// The state after it, JSON text; `None` keeps the stored one.
        checkpoint: Option<String>,
        /// What it cost.
        usage: Usage,
    },
    /// It was not.
    Failed {
        /// What kind of failure that is.
        class: FailureClass,
        /// What failed.
        reason: String,
        /// When to try again; `None`: by the backoff.
        retry_after: Option<Duration>,
    },
}

/// What a failure says about the next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureClass {
    /// Another attempt may succeed.
    Retry,
    /// No attempt will succeed.
    Poison,
    /// The generator's provider is away; the attempt does not count.
    Unavailable,
}
