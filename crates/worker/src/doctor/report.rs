//! What the doctor says.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sessiond_queue::ids::{MessageId, SessionId, Timestamp};
use sessiond_queue::types::{Life, Stats, StoreInfo, Usage, Verification};
use sessiond_supervisor::{
    Counts, Headroom, SpawnInfo, StaleRecord, Stray, SweepReport, TierReport, TreeProcess,
    UnreadableRecord,
};

use crate::admission::{BreakerStatus, OverBudget, SlotCounts};
use crate::agent_watch::AgentsReport;
use crate::clients::ClientsReport;
use crate::generator::About;
use crate::instance::Discovery;
use crate::occupant::Occupant;
use crate::sessions::Activity;
use crate::takeover::TakeOverReport;
use crate::upkeep::UpkeepStatus;
use crate::worktrees::WorktreesReport;

/// Everything the doctor found.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = DoctorReport))]
pub struct Report {
    /// The whole in one word.
    pub verdict: Verdict,
    /// Why it is not `ok`, gravest first, and what else is worth knowing.
    pub findings: Vec<Finding>,
    /// When this was found.
    pub at: Timestamp,
    /// What keeps a worker from starting or answering.
    pub problems: Problems,
    /// The worker; `null`: none is running.
    pub instance: Option<InstanceReport>,
    /// The database; `null`: there is none, or it cannot be read.
    pub store: Option<StoreReport>,
    /// The queue; `null` like the store.
    pub queue: Option<QueueReport>,
    /// Sessions in memory and sessions with work or failures; at most 100.
    pub sessions: Vec<SessionReport>,
    /// Which programs may work, and what limits them; `null`: no worker is running.
    pub generators: Option<GeneratorsReport>,
    /// The programs that run, each with all it has started.
    pub spawns: Vec<SpawnReport>,
    /// What this start found of processes of earlier ones; `null`: it is still ending them, or no
    /// worker is running.
    pub sweep: Option<SweepReport>,
    /// What this start took over from those before it; `null`: it has not looked yet, or no worker is
    /// running.
    pub takeover: Option<TakeOverReport>,
    /// Whether the processes that run and the records of them agree; `null`: no worker has been
    /// here yet, it is just starting or stopping, or `problems` says why it cannot be told.
    pub processes: Option<ProcessesReport>,
    /// Whose agents are watched; `null`: no worker is running.
    pub agents: Option<AgentsReport>,
    /// What hooks left because they could not hand it over.
    pub spool: SpoolReport,
    /// The search index.
    pub search: Option<SearchReport>,
    /// Sessions' worktrees; `null`: no worker is running, or its rows cannot be read.
    #[serde(default)]
    pub worktrees: Option<WorktreesReport>,
    /// What was deleted of finished messages since the start; `null`: no worker is running.
    pub upkeep: Option<UpkeepStatus>,
    /// Registered processes and connections; `null`: no worker is running.
    #[serde(default)]
    pub clients: Option<ClientsReport>,
    /// Names of variables in the worker's environment that do not belong there.
    pub environment_leaks: Vec<String>,
    /// Result of `--deep`.
    pub deep: Option<Verification>,
}

/// What keeps a worker from starting or answering, each in words; all `null` when nothing does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct Problems {
    /// The process that holds the home's lock and does not answer.
    pub not_answering: Option<String>,
    /// The process that has the home and does not answer because it is starting or stopping.
    pub occupant: Option<Occupant>,
    /// Why the home cannot be used.
    pub home: Option<String>,
    /// Why the next start cannot use the configuration.
    pub config: Option<String>,
    /// Why the database cannot be read.
    pub store: Option<String>,
    /// Of what older version the database is: nothing is known of what is in it, and the next start
    /// migrates it.
    pub older_store: Option<String>,
    /// Of what newer version the database is: only that version can use it.
    pub newer_store: Option<String>,
    /// Why processes and their records cannot be looked at.
    pub processes: Option<String>,
    /// Why hooks cannot spool either.
    pub spool: Option<String>,
}

/// The whole in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// All work is done or under way.
    Ok,
    /// It works, and something needs a look.
    Degraded,
    /// Something does not work.
    Failing,
}

/// How grave a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Worth knowing.
    Note,
    /// Makes the verdict `degraded`.
    Degraded,
    /// Makes the verdict `failing`.
    Failing,
}

/// One thing found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct Finding {
    /// How grave it is.
    pub level: Level,
    /// A word for programs.
    pub code: String,
    /// What is so.
    pub message: String,
    /// What to do about it.
    pub advice: String,
}

/// The running worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct InstanceReport {
    /// As in the discovery file.
    #[serde(flatten)]
    pub discovery: Discovery,
    /// Number of this run.
    pub generation: i64,
    /// Id of the install.
    pub install: String,
    /// How long it has run.
    pub uptime_ms: u64,
    /// Resident memory in bytes; `null` where it cannot be read.
    pub rss_bytes: Option<u64>,
    /// Whether start-up is done.
    pub ready: bool,
    /// The TCP side.
    pub tcp: Listening,
}

/// The TCP side of the API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Listening {
    /// Not wanted.
    Off,
    /// On this port.
    Port(u16),
    /// Wanted, and not possible.
    Problem(String),
}

/// The database.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct StoreReport {
    /// As the store tells it.
    #[serde(flatten)]
    pub info: StoreInfo,
    /// Free bytes on its file system; `null` where they cannot be read.
    pub free_bytes: Option<u64>,
}

/// The queue.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct QueueReport {
    /// Its counters.
    #[serde(flatten)]
    pub stats: Stats,
    /// How long the oldest message has waited.
    pub oldest_age_ms: Option<u64>,
    /// Messages that may be pending in one session, and in all; `null`: no worker is running.
    pub depth_limits: Option<DepthLimits>,
}

/// How many messages may be pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct DepthLimits {
    /// In one session (`queue.session_depth_max`).
    pub session: i64,
    /// In all (`queue.depth_max`).
    pub all: i64,
}

/// One session.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct SessionReport {
    /// Its id.
    pub id: SessionId,
    /// Its agent.
    pub agent: String,
    /// The agent's id of it.
    pub key: String,
    /// The agent's life.
    pub life: Life,
    /// What it does; `null`: dormant.
    pub activity: Option<Activity>,
    /// What works its messages, by the configuration; `null`: no worker is running.
    pub kind: Option<String>,
    /// The generator that is really open.
    pub generator: Option<About>,
    /// Why it may not work just now, though it has work: a slot, its provider, a budget.
    pub waiting: Option<String>,
    /// Why no generator is started for it any more, until a prompt or a restart by hand.
    pub failing: Option<String>,
    /// Starts of its generator that failed in a row.
    pub restarts: u32,
    /// Why the last of them failed.
    pub last_start_error: Option<String>,
    /// The message in work.
    pub working_on: Option<MessageId>,
    /// What its results have cost so far.
    pub usage: Usage,
    /// The budget that keeps it from its work.
    pub over_budget: Option<OverBudget>,
    /// Messages pending or claimed.
    pub pending: i64,
    /// Dead messages.
    pub dead: i64,
    /// When something was last accepted, claimed or confirmed.
    pub active_at: Timestamp,
    /// Last confirm.
    pub success_at: Option<Timestamp>,
    /// Failed attempts since.
    pub consecutive_failures: i64,
    /// Why the last one failed.
    pub last_error: Option<String>,
    /// When it closes whatever is left of its backlog.
    pub drain_until: Option<Timestamp>,
    /// When its head is due; `null`: it has none, or it is in work.
    pub due_at: Option<Timestamp>,
    /// How long nothing has happened in it, while it is in memory.
    pub idle_ms: Option<u64>,
}

/// Which programs may work, and what limits them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct GeneratorsReport {
    /// Names of the configured programs; with none of them, the digest works everything.
    pub programs: Vec<String>,
    /// Why no program can be started.
    pub problem: Option<String>,
    /// How many of them run and wait.
    pub slots: SlotCounts,
    /// The kinds whose provider was last unavailable.
    pub breakers: Vec<BreakerStatus>,
    /// What all sessions have spent today (UTC).
    pub today: Usage,
    /// What may be spent.
    pub budgets: BudgetsReport,
}

/// What may be spent, each `null` without a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct BudgetsReport {
    /// Dollars of one session.
    pub session_usd: Option<f64>,
    /// Tokens of one session.
    pub session_tokens: Option<i64>,
    /// Dollars of all sessions in a day (UTC).
    pub day_usd: Option<f64>,
    /// Tokens of all sessions in a day (UTC).
    pub day_tokens: Option<i64>,
}

/// One program that runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct SpawnReport {
    /// As the supervisor tells it.
    #[serde(flatten)]
    pub info: SpawnInfo,
    /// How long ago it was started.
    pub age_ms: u64,
    /// Resident memory of its whole tree.
    pub rss_bytes: u64,
    /// Processor time its whole tree has used; what has ended is not in it.
    pub cpu_ms: u64,
    /// Its tree, its shim first; empty where processes cannot be looked at.
    pub processes: Vec<TreeProcess>,
}

/// Processes of this install, and the records of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct ProcessesReport {
    /// How well processes can be told apart and ended here, and why not better.
    pub tier: TierReport,
    /// Tagged processes that nobody knows.
    pub strays: Vec<Stray>,
    /// Records whose process is gone.
    pub stale: Vec<StaleRecord>,
    /// What cannot be told, in words; it is never signalled.
    pub unverifiable: Vec<String>,
    /// Files among the records that are none.
    pub unreadable: Vec<UnreadableRecord>,
    /// Processes and threads there are, and may be, by whatever limit is nearest.
    pub headroom: Headroom,
    /// How long looking took.
    pub took_ms: u64,
    /// What only a worker knows; `null`: none is running.
    pub worker: Option<WorkerProcesses>,
}

/// What only the running worker knows of processes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct WorkerProcesses {
    /// What has happened since its start, as the supervisor counts it.
    #[serde(flatten)]
    pub counts: Counts,
    /// Its children that have ended and are not waited for, by pid.
    pub zombies: Vec<u32>,
    /// Descriptors that it has open, and may have.
    pub descriptors: Headroom,
    /// When it looked for what earlier ones have left; `null`: what it found is still being ended.
    pub swept_at: Option<Timestamp>,
}

/// What hooks left.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct SpoolReport {
    /// Files waiting to be taken in.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When the oldest was last written.
    pub oldest_at: Option<Timestamp>,
    /// Events dropped because the spool was full or could not be written.
    pub lost: u64,
    /// Events of the worker's own agents, dropped on purpose.
    pub dropped: u64,
    /// Events that could not be accepted, newest first; at most 20.
    pub rejected: Vec<RejectedReport>,
    /// How many there ever were, with those that made room for newer ones.
    pub rejected_count: u64,
    /// Why the rest could not be read.
    pub problem: Option<String>,
}

/// One event that could not be accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct RejectedReport {
    /// When.
    pub at: Timestamp,
    /// From which agent.
    pub agent: String,
    /// Why, in a word for programs.
    pub reason: String,
    /// Its size.
    pub bytes: u64,
    /// Where it lies.
    #[cfg_attr(test, schema(value_type = String))]
    pub path: PathBuf,
}

/// The search index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct SearchReport {
    /// Results it does not hold yet.
    pub behind: i64,
    /// Rounds of indexing that failed in a row.
    pub consecutive_failures: u32,
    /// Why the last of them failed.
    pub last_error: Option<String>,
    /// Where this start has put a file that could not be used.
    #[cfg_attr(test, schema(value_type = Option<String>))]
    pub set_aside: Option<PathBuf>,
}
