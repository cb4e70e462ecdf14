//! What turns a session's messages into results.
//!
//! A generator is a reducer: its whole state is the checkpoint that is committed with each
//! confirm, so that a crash anywhere gives the same results. It knows nothing of the queue; a run
//! (see [`crate::sessions`]) feeds it and settles its claims.

mod digest;
mod program;
mod protocol;
mod rehearsal;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use sessiond_queue::types::{Message, NewResult, Session, Usage};

pub use digest::DigestFactory;
pub use program::{ProgramFactory, ProgramSettings, output_dir, output_root};
pub use rehearsal::RehearsalFactory;

/// Opens generators, and knows which one a session gets.
#[async_trait]
pub trait GeneratorFactory: Send + Sync + 'static {
    /// Which generator works this session.
    fn kind(&self, session: &Session) -> Kind;

    /// A generator that goes on from `checkpoint`, ready for its first message.
    ///
    /// # Errors
    /// [`OpenError`]; nothing of it is left behind then.
    async fn open(
        &self,
        session: &Session,
        checkpoint: Option<String>,
    ) -> Result<Box<dyn Generator>, OpenError>;
}

/// Which generator works a session.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Kind {
    /// What it is called in the configuration and in reports; a breaker's name.
    pub name: Arc<str>,
    /// Whether it is a program: it takes a slot, may fail to start, and costs.
    pub is_program: bool,
}

/// What a generator says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct About {
    /// Its name.
    pub name: String,
    /// Whose model it asks.
    pub provider: Option<String>,
    /// The model.
    pub model: Option<String>,
    /// Its process.
    pub pid: Option<u32>,
}

/// A generator did not become ready. The attempt is given back.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{reason}")]
pub struct OpenError {
    /// What failed, for people: how it ended and the last line of its standard error.
    pub reason: String,
    /// What follows from it.
    pub kind: OpenErrorKind,
}

/// What follows from a generator that did not become ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenErrorKind {
    /// Another start may succeed. It is counted as a restart.
    Again,
    /// No start will succeed before something is mended: its program is missing or may not be run,
    /// or an earlier one could not be ended.
    Final,
    /// The machine lacks something for now, which says nothing of the generator.
    Lacking,
    /// As many programs are there as may be: another start is of use when one of them has ended.
    Full,
    /// The worker is stopping, or the session is being closed.
    Stopping,
}

/// Why a waiting generator is not to be given a message any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdleEnd {
    /// It ended by itself; the next message opens another one.
    Ended,
    /// It asked for its session to be closed.
    CloseSession,
}

/// One session's generator, in work or waiting for it.
#[async_trait]
pub trait Generator: Send {
    /// What it says of itself.
    fn about(&self) -> About;

    /// Works one message. Dropping the future abandons the message; the generator is closed then.
    async fn work(&mut self, message: &Message) -> Outcome;

    /// Waits until it is not to be given messages any more; for ever, if that does not happen.
    /// Cancel-safe.
    async fn idle(&mut self) -> IdleEnd {
        std::future::pending().await
    }

    /// Asks it to end, waits for it, and makes sure that nothing of it is left. Dropping the future
    /// leaves that to the supervisor.
    async fn close(self: Box<Self>, _reason: CloseReason) {}
}

/// Why a generator is closed; told to programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// It had no work for long enough.
    Idle,
    /// Its session unloads, closes or is purged, or the worker stops.
    Session,
    /// Another session waits for its slot.
    Slot,
    /// Its memory is ahead of the checkpoint: a message was cancelled, or not confirmed.
    Rewind,
}

impl CloseReason {
    /// The word in the protocol.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Session => "session",
            Self::Slot => "slot",
            Self::Rewind => "rewind",
        }
    }
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
