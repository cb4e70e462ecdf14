//! The sections whose values are used as they stand; what each is for says `default-config.toml`.

use std::collections::BTreeMap;

use serde::Deserialize;
use sessiond_supervisor::ProcessLimits;

use super::command::Program;
use crate::wire::environment::WORKER_PATH;

/// `[http]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// Loopback port; 0: any.
    pub port: u16,
    /// Whether to listen on TCP.
    pub tcp: bool,
    /// Largest body outside hooks.
    pub body_max_bytes: usize,
    /// Largest request line and headers.
    pub head_max_bytes: usize,
    /// Longest wait for a whole head.
    pub head_timeout_ms: u64,
    /// Longest pause within a body.
    pub body_pause_max_ms: u64,
    /// Longest wait for a whole body.
    pub body_timeout_ms: u64,
    /// Longest pause of a client in taking its answer.
    pub answer_pause_max_ms: u64,
    /// TCP connections at once.
    pub tcp_connections_max: usize,
    /// Connections of the unix socket at once.
    pub unix_connections_max: usize,
}

/// `[queue]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Queue {
    /// Bytes of one payload.
    pub payload_max_bytes: usize,
    /// Pending messages of one session.
    pub session_depth_max: i64,
    /// Pending messages in all.
    pub depth_max: i64,
    /// Attempts before a message is dead.
    pub attempt_max: u32,
    /// Rescues before a message is dead.
    pub rescue_max: u32,
    /// First backoff.
    pub backoff_base_ms: u64,
    /// Longest backoff.
    pub backoff_cap_ms: u64,
    /// SQLite's wait for a lock.
    pub busy_timeout_ms: u64,
    /// Days a done or cancelled message is kept; 0: for ever.
    pub done_kept_days: u32,
    /// How many of them are kept; 0: all.
    pub done_kept_max: u32,
    /// Days a dead message is kept; 0: for ever.
    pub dead_kept_days: u32,
    /// How many of them are kept; 0: all.
    pub dead_kept_max: u32,
}

/// `[session]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Session {
    /// Idle time before a session leaves memory.
    pub idle_unload_ms: u64,
    /// Idle time before a generator ends.
    pub generator_idle_end_ms: u64,
    /// Wait for a generator at close.
    pub generator_stop_wait_ms: u64,
    /// Longest drain.
    pub drain_max_ms: u64,
    /// Longest shutdown.
    pub shutdown_deadline_ms: u64,
}

/// `[hook]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hook {
    /// Characters of context.
    pub context_max_chars: usize,
    /// Wait for a closing sibling.
    pub context_wait_ms: u64,
    /// Largest event read.
    pub body_max_bytes: usize,
}

/// `[events]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Events {
    /// Events in memory.
    pub memory_max: usize,
    /// Events on disk.
    pub kept_max: u32,
    /// Readers at once.
    pub readers_max: usize,
    /// Silence after which a reader gets a sign of life.
    pub heartbeat_ms: u64,
}

/// `[worktrees]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Worktrees {
    /// Where they lie; empty: under the home.
    pub root: String,
    /// Git's program.
    pub git: String,
    /// Longest command to git.
    pub git_timeout_ms: u64,
    /// Longest settling of a session's worktrees.
    pub settle_timeout_ms: u64,
}

impl Worktrees {
    /// Why git cannot be run just now, looked for as it is started.
    pub fn git_problem(&self) -> Option<String> {
        let program = Program {
            name: "git".to_owned(),
            words: vec![self.git.clone()],
            env: BTreeMap::new(),
            limits: ProcessLimits::default(),
        };
        let problem = program.missing()?;
        Some(match program.is_looked_up() {
            // Its PATH cannot be set, as a generator's can.
            true => format!("no {} that may be run is in {WORKER_PATH}", self.git),
            false => problem,
        })
    }
}

/// `[clients]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clients {
    /// Whether HTTP and MCP sessions are kept.
    pub enabled: bool,
    /// How long one lasts that is not touched.
    pub ttl_ms: u64,
    /// How long a token lasts.
    pub token_ttl_ms: u64,
    /// From a change to its row.
    pub save_interval_ms: u64,
    /// Clients at once.
    pub clients_max: usize,
    /// Whether what clients send is logged.
    pub log_payloads: bool,
}

/// `[rehearsal]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rehearsal {
    /// Delay of each message.
    pub delay_ms: u64,
    /// Kind that fails; empty: none.
    pub fail_kind: String,
    /// How it fails.
    pub fail_class: FailClass,
    /// The step of a close at which the worker kills itself; empty: none.
    pub kill_at: String,
}

/// How a rehearsed failure fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FailClass {
    /// The attempt failed.
    Retry,
    /// The message is dead.
    Poison,
    /// The provider is away.
    Unavailable,
    /// The generator panics.
    Panic,
}

/// `[log]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// A tracing filter.
    pub filter: String,
    /// Files kept.
    pub files_max: usize,
}
