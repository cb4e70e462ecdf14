//! What goes into the queue and what comes out of it.
//!
//! The shapes are shared by every store; how they are kept is the store's own business.

use serde::{Deserialize, Serialize};

use crate::ids::{
    ClaimSeq, Epoch, EventId, Generation, MessageId, ResultId, Seq, SessionId, Timestamp,
};

/// One event on its way into the queue.
#[derive(Clone, Debug)]
pub struct Enqueue {
    /// Identity of this firing; storing the same one again answers the first receipt.
    pub event_id: EventId,
    /// The session it belongs to; by key it is created when it is not known.
    pub session: SessionRef,
    /// The agent's own name of the event, for example `PostToolUse`.
    pub kind: String,
    /// The subagent it came from, if any.
    pub agent_id: Option<String>,
    /// The event as the agent sent it: JSON text.
    pub payload: String,
    /// Second identity, for agents that really repeat an event under a new firing.
    pub dedup: Option<Dedup>,
    /// What the event means for the session's life.
    pub effect: Effect,
    /// Working directory to remember for the session; `None` keeps what is known.
    pub cwd: Option<String>,
    /// Project to remember for the session; `None` keeps what is known.
    pub project: Option<String>,
    /// When the hook fired: for an event from the spool, the time it was spooled.
    pub accepted_at: Timestamp,
}

/// Names a session, for an enqueue or an open.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SessionRef {
    /// A session that must exist.
    Id(SessionId),
    /// A session that is created when it does not exist.
    Key {
        /// The agent, for example `claude-code`.
        agent: String,
        /// The agent's own id of the session.
        key: String,
    },
}

/// Identity of an event over several firings within one session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dedup {
    /// Two events of a session with equal keys are one.
    pub key: String,
    /// Only while the earlier one was accepted at most this long before; `None`: for ever.
    pub window_ms: Option<i64>,
}

/// What an event means for its session's life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing: an ended session is worked and stays ended.
    None,
    /// The agent started or resumed: reopens an ended session, calls off a drain.
    Start,
    /// The user spoke: like `Start`, and refreshes prompt and prompt number. Holds the prompt.
    Prompt(String),
    /// The agent ended: the session is to drain until then at the latest, and to close.
    End {
        /// When it closes even if work is left.
        drain_until: Timestamp,
    },
}

/// What was answered to an enqueue, once it is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The stored message; of a duplicate, the one stored first.
    pub message: MessageId,
    /// Its session.
    pub session: SessionId,
    /// Its place in the session.
    pub seq: Seq,
    /// Whether it had been stored before.
    pub duplicate: bool,
}

/// Get-or-create of a session without a message.
#[derive(Clone, Debug)]
pub struct OpenSession {
    /// The agent, for example `claude-code`.
    pub agent: String,
    /// The agent's own id of the session.
    pub key: String,
    /// As in [`Enqueue::cwd`].
    pub cwd: Option<String>,
    /// As in [`Enqueue::project`].
    pub project: Option<String>,
    /// Merged into the session's metadata; `null` removes a name.
    pub metadata: serde_json::Map<String, serde_json::Value>,
}

/// The agent's side of a session's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Life {
    /// In use, or it may be used again.
    Open,
    /// Being closed; start-up finishes it.
    Closing,
    /// The agent is gone; a start or a prompt reopens it.
    Ended,
}

impl Life {
    /// Every stage, in the order of a session's life.
    pub const ALL: [Self; 3] = [Self::Open, Self::Closing, Self::Ended];

    /// The word used in SQL, HTTP and the CLI.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closing => "closing",
            Self::Ended => "ended",
        }
    }
}

/// How deep a durable close goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CloseDepth {
    /// The session ends; its rows stay.
    Close,
    /// Its rows of the epochs before the mark go too.
    Purge,
}

impl CloseDepth {
    /// Every depth, the shallow one first.
    pub const ALL: [Self; 2] = [Self::Close, Self::Purge];

    /// The word used in SQL, HTTP and the CLI.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Close => "close",
            Self::Purge => "purge",
        }
    }
}

/// One session, as stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// The agent, for example `claude-code`.
    pub agent: String,
    /// The agent's own id of the session.
    pub key: String,
    /// Where it is in its life.
    pub life: Life,
    /// Set exactly while `life` is `closing`.
    pub close_depth: Option<CloseDepth>,
    /// Set while the session drains before it closes.
    pub drain_until: Option<Timestamp>,
    /// Its present epoch.
    pub epoch: Epoch,
    /// Root of the project it works in.
    pub project: Option<String>,
    /// Last known working directory.
    pub cwd: Option<String>,
    /// Last prompt.
    pub prompt: Option<String>,
    /// How many prompts there were.
    pub prompt_number: i64,
    /// Free names and values, merged by PATCH.
    pub metadata: serde_json::Map<String, serde_json::Value>,
    /// When it was first seen.
    pub created_at: Timestamp,
    /// When something was last accepted, claimed or confirmed.
    pub active_at: Timestamp,
    /// Messages that are pending or claimed.
    pub pending: i64,
    /// Messages of it that are dead.
    pub dead: i64,
    /// When a message was last confirmed.
    pub success_at: Option<Timestamp>,
    /// Failed attempts since the last confirm.
    pub consecutive_failures: i64,
    /// Why the last failed attempt failed.
    pub last_error: Option<String>,
    /// What its results have cost so far.
    pub usage: Usage,
}

/// Tokens and money spent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens read by the model.
    pub input_tokens: i64,
    /// Tokens written by the model.
    pub output_tokens: i64,
    /// United States dollars.
    pub cost_usd: f64,
}

/// Where a message is in its life; the diagram is in the crate's documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Waits for its turn.
    Pending,
    /// In work.
    Claimed,
    /// Worked; its results are stored.
    Done,
    /// Given up; kept for a redrive.
    Dead,
    /// Taken out by hand.
    Cancelled,
}

impl State {
    /// Every state, in the order of a message's life.
    pub const ALL: [Self; 5] = [
        Self::Pending,
        Self::Claimed,
        Self::Done,
        Self::Dead,
        Self::Cancelled,
    ];

    /// The word used in SQL, HTTP and the CLI.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Claimed => "claimed",
            Self::Done => "done",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
        }
    }
}

/// One message, as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Its id.
    pub id: MessageId,
    /// Its session.
    pub session: SessionId,
    /// Its place in the session.
    pub seq: Seq,
    /// The session's epoch when it was accepted.
    pub epoch: Epoch,
    /// Identity of its firing.
    pub event_id: EventId,
    /// The agent's name of the event.
    pub kind: String,
    /// The subagent it came from.
    pub agent_id: Option<String>,
    /// JSON text.
    pub payload: String,
    /// Where it is in its life.
    pub state: State,
    /// How many attempts were begun and not given back.
    pub attempt: u32,
    /// How often an instance died over it.
    pub rescues: u32,
    /// When its hook fired.
    pub accepted_at: Timestamp,
    /// Not to be claimed before then.
    pub not_before: Option<Timestamp>,
    /// When it became done, dead or cancelled.
    pub finished_at: Option<Timestamp>,
    /// Why its last attempt failed.
    pub last_error: Option<String>,
}

/// What proves that a claim is still its holder's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Fence {
    /// The instance that claimed.
    pub generation: Generation,
    /// The epoch of the claimed message.
    pub epoch: Epoch,
    /// The claim itself.
    pub claim_seq: ClaimSeq,
}

/// One message in work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The message, its attempt already counted.
    pub message: Message,
    /// To be shown at confirm and release.
    pub fence: Fence,
}

/// What a claim found at the head of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// The head; it is the caller's now.
    Message(Box<Claim>),
    /// The head waits out its backoff, and all behind it wait with it.
    Delayed {
        /// When it is due.
        until: Timestamp,
    },
    /// The head is in work already.
    Busy,
    /// Nothing is pending.
    Empty,
}

/// A result, before it is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewResult {
    /// For example `observation` or `summary`.
    pub kind: String,
    /// One line.
    pub title: String,
    /// Any text.
    pub body: String,
    /// Files it is about.
    #[serde(default)]
    pub files: Vec<String>,
    /// Words to find it by.
    #[serde(default)]
    pub tags: Vec<String>,
}

/// One result, as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredResult {
    /// Its id.
    pub id: ResultId,
    /// The session it belongs to.
    pub session: SessionId,
    /// The message it was made from.
    pub message: MessageId,
    /// That message's place in its session.
    pub seq: Seq,
    /// When that message's hook fired.
    pub accepted_at: Timestamp,
    /// When it was stored.
    pub created_at: Timestamp,
    /// What it says.
    #[serde(flatten)]
    pub result: NewResult,
}

/// The end of a message's work: all of it is stored in one transaction, or none of it.
#[derive(Clone, Debug)]
pub struct Confirm {
    /// The claimed message.
    pub message: MessageId,
    /// The claim's fence.
    pub fence: Fence,
    /// What was made of it.
    pub results: Vec<NewResult>,
    /// The generator's state after it, JSON text; `None` keeps the stored one.
    pub checkpoint: Option<String>,
    /// What it cost.
    pub usage: Usage,
}

/// The return of a claim without results.
#[derive(Clone, Debug)]
pub struct Release {
    /// The claimed message.
    pub message: MessageId,
    /// The claim's fence.
    pub fence: Fence,
    /// Why, and so what becomes of it.
    pub why: ReleaseWhy,
}

/// Why a claim is returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReleaseWhy {
    /// The attempt failed and counts; at `attempt_max` the message is dead.
    Retry {
        /// What failed.
        reason: String,
        /// When it is due again.
        not_before: Timestamp,
    },
    /// The attempt was cut short (cancel, shutdown, provider unavailable) and is given back.
    GiveBack {
        /// What cut it short.
        reason: String,
        /// When it is due again; `None`: at once.
        not_before: Option<Timestamp>,
    },
    /// The message can never be worked: dead at once.
    Poison {
        /// What is wrong with it.
        reason: String,
    },
}

/// What became of a released message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Released {
    /// It waits for its next attempt.
    Pending,
    /// It is dead.
    Dead,
}

/// What became of the claims of earlier generations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Rescued {
    /// Messages that are pending again.
    pub pending: u64,
    /// Messages that reached `rescue_max` and are dead.
    pub dead: u64,
}

/// Where a redriven message stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redriven {
    /// The message.
    pub message: MessageId,
    /// Its session, to be woken.
    pub session: SessionId,
    /// Whether it kept its place; otherwise it is last, since later ones were worked already.
    pub kept_place: bool,
}

/// What a `closing` mark found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marked {
    /// The session is closing, at this depth (the deeper of the asked and the marked one).
    Closing(CloseDepth),
    /// A drain was the reason, and it was called off meanwhile: nothing was changed.
    DrainCalledOff,
}

/// What a finished close left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    /// The session's life afterwards; `None`: its row is gone.
    pub life: Option<Life>,
    /// Messages that are left pending.
    pub pending: i64,
}

/// A session that start-up has to look after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// The session.
    pub session: SessionId,
    /// The close to be finished.
    pub closing: Option<CloseDepth>,
    /// The drain to be finished.
    pub drain_until: Option<Timestamp>,
    /// When its head is due, if it has one.
    pub due_at: Option<Timestamp>,
}

/// Which sessions to list; newest activity first.
#[derive(Clone, Debug, Default)]
pub struct SessionFilter {
    /// Only of this agent.
    pub agent: Option<String>,
    /// Only of this project.
    pub project: Option<String>,
    /// Only in this stage of life.
    pub life: Option<Life>,
    /// At most so many; 0 means the default of 100, and 1,000 is the most.
    pub limit: u32,
}

/// Which messages to list; by id, oldest first.
#[derive(Clone, Debug, Default)]
pub struct MessageFilter {
    /// Only of this session.
    pub session: Option<SessionId>,
    /// Only in this state.
    pub state: Option<State>,
    /// Only after this one, for paging.
    pub after: Option<MessageId>,
    /// At most so many; 0 means the default of 100, and 1,000 is the most.
    pub limit: u32,
}

/// Which results to list.
#[derive(Clone, Debug, Default)]
pub struct ResultFilter {
    /// Only of this session.
    pub session: Option<SessionId>,
    /// Only of sessions of this project.
    pub project: Option<String>,
    /// Only of this kind.
    pub kind: Option<String>,
    /// Only after this one.
    pub after: Option<ResultId>,
    /// Newest first instead of oldest first.
    pub newest_first: bool,
    /// At most so many; 0 means the default of 100, and 1,000 is the most.
    pub limit: u32,
}

/// How many messages are in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Depth {
    /// See [`State::Pending`].
    pub pending: i64,
    /// See [`State::Claimed`].
    pub claimed: i64,
    /// See [`State::Done`].
    pub done: i64,
    /// See [`State::Dead`].
    pub dead: i64,
    /// See [`State::Cancelled`].
    pub cancelled: i64,
}

/// The queue's counters, each read in O(1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Messages by state.
    pub depth: Depth,
    /// Messages ever stored.
    pub accepted: i64,
    /// Enqueues that met their own duplicate.
    pub duplicates: i64,
    /// Results ever stored.
    pub results: i64,
    /// Sessions, by life.
    pub sessions: LifeCounts,
    /// When the oldest pending or claimed message was accepted.
    pub oldest_pending_at: Option<Timestamp>,
}

/// How many sessions are in each stage of life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LifeCounts {
    /// See [`Life::Open`].
    pub open: i64,
    /// See [`Life::Closing`].
    pub closing: i64,
    /// See [`Life::Ended`].
    pub ended: i64,
}

/// Where and how a store keeps its data, for the doctor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreInfo {
    /// `sqlite` or `memory`.
    pub engine: String,
    /// File of the database.
    pub path: Option<std::path::PathBuf>,
    /// Bytes of that file.
    pub size_bytes: u64,
    /// Bytes of its write-ahead log.
    pub wal_bytes: u64,
    /// Number of the newest migration applied.
    pub schema_version: i64,
    /// Version of the library.
    pub engine_version: String,
    /// Pragmas of the writing connection, as read back.
    pub pragmas: Vec<(String, String)>,
}

/// What a slow, thorough check found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verification {
    /// What the engine's own check complains of; empty means sound.
    pub integrity: Vec<String>,
    /// Counters that differ from a recount: name, counter, recount.
    pub miscounts: Vec<(String, i64, i64)>,
}

impl Verification {
    /// Whether nothing was found.
    pub fn is_sound(&self) -> bool {
        self.integrity.is_empty() && self.miscounts.is_empty()
    }
}
