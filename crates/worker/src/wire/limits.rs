//! The bounds of the way from an agent's hook to the worker, each with its reason.

use std::time::Duration;

/// How long a hook may take in all, reading its input included. The agent waits for it.
pub const HOOK_DEADLINE: Duration = Duration::from_millis(250);

/// The same for the start of a session, whose answer carries context that the worker looks up.
pub const SESSION_START_DEADLINE: Duration = Duration::from_secs(1);

/// The longest deadline that can be asked for: no agent should hang for longer on a mistyped one.
pub const HOOK_DEADLINE_MAX: Duration = Duration::from_secs(60);

/// Bytes of input that a hook reads; the rest is cut off. Agents send 800 KB for a 400 KB write.
pub const INPUT_MAX_BYTES: usize = 32 << 20;

/// Bytes of an answer for the agent. Agents cap theirs at 10,000 characters.
pub const OUTPUT_MAX_BYTES: usize = 1 << 20;

/// Bytes of one session's spool file: a day of a busy session.
pub const SPOOL_SESSION_MAX_BYTES: u64 = 64 << 20;

/// Bytes of all spool files: what a home directory can spare.
pub const SPOOL_MAX_BYTES: u64 = 1 << 30;

/// Bytes of an agent's name that travel; the queue takes no longer ones either.
pub const AGENT_MAX_BYTES: usize = 512;
