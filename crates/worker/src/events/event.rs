//! Everything that is told, one variant a kind.
//!
//! An event says what a reader needs to understand it, and never a prompt, a payload or a secret.
//! Which session it happened in stands beside it, and that session's names are added when it is read.

use std::path::PathBuf;

use serde::Serialize;
use sessiond_queue::ids::{MessageId, Seq, SessionId, Timestamp};
use sessiond_queue::types::CloseDepth;
use sessiond_supervisor::{StopEnd, Stopped};
use uuid::Uuid;

use crate::clients::{ClientId, Kind, Why};
use crate::doctor::Verdict;
use crate::generator::About;
use crate::sessions::CloseReport;
use crate::worktrees::Reason;

/// Characters of a reason, which a generator may make as long as it likes.
const REASON_MAX_CHARS: usize = 500;

/// One event in the log.
#[derive(Clone, Debug)]
pub struct Told {
    /// Its number in this generation, from 1, without gaps.
    pub number: u64,
    /// When it happened.
    pub at: Timestamp,
    /// The session it happened in.
    pub session: Option<SessionId>,
    /// What happened.
    pub event: Event,
}

/// Whose session it is, and where it works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// The agent.
    pub agent: String,
    /// The agent's own id of the session.
    pub key: String,
    /// Root of the project.
    pub project: Option<String>,
}

/// What happened. Its name, `type` in JSON, says whom it is about before what.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type")]
pub enum Event {
    /// The worker has done its start-up's first steps and takes up what is left.
    #[serde(rename = "worker.started")]
    WorkerStarted {
        /// The instance.
        instance: Box<str>,
        /// Claims of earlier instances that were given back.
        rescued: u64,
        /// Those of them that are dead now.
        dead: u64,
    },
    /// The worker stops.
    #[serde(rename = "worker.stopping")]
    WorkerStopping,

    /// A session was seen for the first time.
    #[serde(rename = "session.created")]
    SessionCreated {
        /// Its names, which are shown where every event has them.
        #[serde(skip)]
        who: Box<Who>,
    },
    /// A session came into memory.
    #[serde(rename = "session.active")]
    SessionActive,
    /// A session left memory; it may come back.
    #[serde(rename = "session.dormant")]
    SessionDormant {
        /// Messages left pending.
        pending: i64,
    },
    /// The end of a session was marked; it will come about, also after a crash.
    #[serde(rename = "session.closing")]
    SessionClosing {
        /// How deep it goes.
        depth: CloseDepth,
    },
    /// A session ended, or was purged: the report says which. It has left memory.
    #[serde(rename = "session.ended")]
    SessionEnded {
        /// Its names, if nobody can ask for them any more.
        #[serde(skip)]
        who: Option<Box<Who>>,
        /// What the close did.
        report: Box<CloseReport>,
    },
    /// All that was pending of a session was cancelled.
    #[serde(rename = "session.backlog_cancelled")]
    BacklogCancelled {
        /// How many messages.
        messages: u64,
    },

    /// A worktree was made for a session.
    #[serde(rename = "worktree.added")]
    WorktreeAdded {
        /// Its id.
        worktree: Uuid,
        /// Where it is.
        path: PathBuf,
        /// Its branch.
        branch: String,
    },
    /// A worktree is gone, with its branch if that had no commits of its own.
    #[serde(rename = "worktree.removed")]
    WorktreeRemoved {
        /// Its id.
        worktree: Uuid,
        /// Where it was.
        path: PathBuf,
        /// Its branch.
        branch: String,
    },
    /// A worktree outlives its session, because something would be lost.
    #[serde(rename = "worktree.kept")]
    WorktreeKept {
        /// Its id.
        worktree: Uuid,
        /// Where it is.
        path: PathBuf,
        /// Its branch.
        branch: String,
        /// What would be lost.
        reasons: Vec<Reason>,
    },
    /// An event of the session was the first to name this process as its agent.
    #[serde(rename = "agent.seen")]
    AgentSeen {
        /// The process.
        pid: u32,
    },
    /// An agent of the session has ended without saying so.
    #[serde(rename = "agent.gone")]
    AgentGone {
        /// The process.
        pid: u32,
        /// Other agents of the session.
        others: usize,
        /// Whether the session drains because of it.
        drains: bool,
    },

    /// A process has registered, or an HTTP or MCP session was opened.
    #[serde(rename = "client.registered")]
    ClientRegistered {
        /// The client.
        client: ClientId,
        /// What it is.
        kind: Kind,
        /// What it is called.
        name: String,
    },
    /// A client is gone.
    #[serde(rename = "client.gone")]
    ClientGone {
        /// The client.
        client: ClientId,
        /// What it was.
        kind: Kind,
        /// Why it is gone.
        why: Why,
    },

    /// A message is on disk.
    #[serde(rename = "message.accepted")]
    MessageAccepted {
        /// The message.
        message: MessageId,
        /// Its place in the session.
        seq: Seq,
        /// The agent's name of the event.
        kind: Box<str>,
    },
    /// A message is in work.
    #[serde(rename = "message.claimed")]
    MessageClaimed {
        /// The message.
        message: MessageId,
        /// Its place in the session.
        seq: Seq,
        /// Which attempt it is.
        attempt: u32,
    },
    /// A message was worked, and its results are stored.
    #[serde(rename = "message.confirmed")]
    MessageConfirmed {
        /// The message.
        message: MessageId,
        /// How many results.
        results: usize,
    },
    /// A message was given back and waits for another attempt.
    #[serde(rename = "message.released")]
    MessageReleased {
        /// The message.
        message: MessageId,
        /// Whether the attempt failed; otherwise it was cut short and does not count.
        failed: bool,
        /// Why.
        reason: Box<str>,
        /// When it is due again; `null`: at once.
        not_before: Option<Timestamp>,
    },
    /// A message is dead; it can be redriven.
    #[serde(rename = "message.dead")]
    MessageDead {
        /// The message.
        message: MessageId,
        /// Why.
        reason: Box<str>,
    },
    /// A message was taken out by hand.
    #[serde(rename = "message.cancelled")]
    MessageCancelled {
        /// The message.
        message: MessageId,
    },
    /// A dead message is pending again.
    #[serde(rename = "message.redriven")]
    MessageRedriven {
        /// The message.
        message: MessageId,
        /// Whether it kept its place; otherwise it is last.
        kept_place: bool,
    },
    /// Dead messages were deleted.
    #[serde(rename = "message.purged")]
    DeadPurged {
        /// How many.
        messages: u64,
    },

    /// A generator is ready.
    #[serde(rename = "generator.started")]
    GeneratorStarted {
        /// What it says of itself.
        about: Box<About>,
    },
    /// A generator did not become ready.
    #[serde(rename = "generator.failed")]
    GeneratorFailed {
        /// Why.
        reason: Box<str>,
        /// Whether none is started any more before a prompt or somebody's hand.
        gives_up: bool,
    },
    /// A generator that was ready is closed.
    #[serde(rename = "generator.stopped")]
    GeneratorStopped {
        /// `idle`, `session`, `slot` or `rewind`, as programs are told; `aborted` when it did not end.
        reason: &'static str,
    },

    /// A program runs.
    #[serde(rename = "process.spawned")]
    ProcessSpawned {
        /// `<install>:<generation>:<session>:<spawn>`.
        tag: Box<str>,
        /// `argv[0]` alone.
        command: Box<str>,
        /// Its pid.
        pid: u32,
    },
    /// A program and all that it had started was ended, by itself or by the worker.
    #[serde(rename = "process.reaped")]
    ProcessReaped(Box<Stopped>),

    /// The doctor's verdict is another one.
    #[serde(rename = "doctor.verdict")]
    DoctorVerdict {
        /// What it is now.
        verdict: Verdict,
        /// What it was; `null`: nobody had asked yet.
        before: Option<Verdict>,
        /// Why it is not `ok`, gravest first.
        reasons: Vec<String>,
    },
}

impl Event {
    /// The names of the session it happened in, if it carries them.
    pub(super) fn who(&self) -> Option<&Who> {
        match self {
            Self::SessionCreated { who } => Some(who),
            Self::SessionEnded { who, .. } => who.as_deref(),
            _ => None,
        }
    }

    /// Whether the doctor may judge otherwise now; `is_troubled`: its verdict was not `ok`.
    pub(super) fn may_change_the_verdict(&self, is_troubled: bool) -> bool {
        match self {
            Self::MessageDead { .. }
            | Self::MessageReleased { .. }
            | Self::MessageRedriven { .. }
            | Self::DeadPurged { .. }
            | Self::GeneratorFailed { .. } => true,
            Self::ProcessReaped(stopped) => {
                matches!(stopped.end, StopEnd::Unkillable | StopEnd::Swept)
            }
            Self::MessageConfirmed { .. }
            | Self::MessageCancelled { .. }
            | Self::BacklogCancelled { .. }
            | Self::GeneratorStarted { .. }
            | Self::SessionDormant { .. }
            | Self::SessionEnded { .. } => is_troubled,
            _ => false,
        }
    }
}

/// A reason, cut to what an event may hold.
pub fn reason(text: &str) -> Box<str> {
    match text.char_indices().nth(REASON_MAX_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]).into(),
        None => text.into(),
    }
}
