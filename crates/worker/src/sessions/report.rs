//! What is said about sessions: their live state, and what a close did.

use serde::{Deserialize, Serialize};
use sessiond_queue::ids::{MessageId, SessionId};
use sessiond_queue::types::{CloseDepth, Life, Session};
use sessiond_supervisor::Stopped;

use crate::generator::About;
use crate::worktrees::SettledWorktree;

/// How deep a close goes. Each depth includes the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = CloseReportDepth))]
#[serde(rename_all = "lowercase")]
pub enum Depth {
    /// Out of memory; the rows stay and the agent's life goes on.
    Unload,
    /// The session ends; the rows stay.
    Close,
    /// The rows go too.
    Purge,
}

impl Depth {
    /// The durable mark of this depth; an unload needs none.
    pub fn mark(self) -> Option<CloseDepth> {
        match self {
            Self::Unload => None,
            Self::Close => Some(CloseDepth::Close),
            Self::Purge => Some(CloseDepth::Purge),
        }
    }
}

impl From<CloseDepth> for Depth {
    fn from(depth: CloseDepth) -> Self {
        match depth {
            CloseDepth::Close => Self::Close,
            CloseDepth::Purge => Self::Purge,
        }
    }
}

/// What became of the generator in a close.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum GeneratorEnd {
    /// None was running.
    None,
    /// It finished its message and ended.
    Stopped,
    /// It did not end in time and was aborted; its claim was given back.
    Aborted,
}

/// What a close did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct CloseReport {
    /// The session.
    pub session: SessionId,
    /// How deep it went.
    pub depth: Depth,
    /// What became of the generator.
    pub generator: GeneratorEnd,
    /// How long the generator was waited for.
    pub waited_ms: u64,
    /// The programs that ran for it, and how each ended with all it had started.
    pub reaped: Vec<Stopped>,
    /// Claims given back: of a generator that was aborted, or whose store had failed.
    pub released: u64,
    /// Messages left pending.
    pub pending_left: i64,
    /// Tokens of it that are refused from now on.
    #[serde(default)]
    pub tokens_revoked: u64,
    /// What became of its worktrees; those that are kept are where they were.
    #[serde(default)]
    pub worktrees: Vec<SettledWorktree>,
    /// The session's life afterwards; `null`: its row is gone, or it never had one.
    pub life: Option<Life>,
}

/// What a session in memory is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Activity {
    /// No generator.
    Idle,
    /// A generator waits for messages.
    Waiting,
    /// A generator works on a message.
    Working,
    /// It closes as soon as its backlog is worked.
    Draining,
    /// It is being unloaded, closed or purged.
    Closing,
}

/// One session in memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct Live {
    /// The session.
    pub session: SessionId,
    /// What it is doing.
    pub activity: Activity,
    /// The message in work.
    pub working_on: Option<MessageId>,
    /// How long nothing has happened.
    pub idle_ms: u64,
    /// The generator that is open.
    pub about: Option<About>,
    /// Why it may not work just now, though it has work: a slot, a breaker, a budget.
    pub waiting: Option<String>,
    /// Starts of its generator that failed in a row.
    pub restarts: u32,
    /// Why the last of them failed.
    pub last_start_error: Option<String>,
}

/// What a restart by hand did.
#[derive(Clone, Debug)]
pub struct Restarted {
    /// The session, which is not failing any more.
    pub session: Session,
    /// Whether its provider was away, and is asked at once.
    pub asks_provider: bool,
}

/// What subscribers are told.
#[derive(Clone, Debug)]
pub enum SessionEvent {
    /// A session left memory, ended or is gone.
    Closed(CloseReport),
}
