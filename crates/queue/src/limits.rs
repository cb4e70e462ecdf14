//! Every bound of the queue, with its default and the reason for it.

use std::time::Duration;

/// Bounds of one store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one payload. Agents send 800 KB for a 400 KB file write; 1 MiB takes them all.
    pub payload_max_bytes: usize,
    /// Pending and claimed messages of one session: a day of a busy agent.
    pub session_depth_max: i64,
    /// Pending and claimed messages in all.
    pub depth_max: i64,
    /// Attempts before a message is dead.
    pub attempt_max: u32,
    /// Instances that may die over a message before it is dead: a message that kills the worker
    /// must not kill it for ever.
    pub rescue_max: u32,
    /// Requests in one transaction of the writer.
    pub batch_max: usize,
    /// Payload and result bytes in one transaction of the writer.
    pub batch_max_bytes: usize,
    /// Bytes of a checkpoint, and of all results of one confirm.
    pub result_max_bytes: usize,
    /// Pages (of 4 KiB) of the engine's log at which it is folded into the file: what is read again
    /// after a crash, and what the log takes on disk. Folding takes some milliseconds, in which nobody
    /// is served; at 32 MiB that meets fewer than one request in a hundred, whatever the load.
    pub log_max_pages: u32,
    /// How long the engine waits for a lock that another process holds.
    pub busy_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            payload_max_bytes: 1 << 20,
            session_depth_max: 10_000,
            depth_max: 1_000_000,
            attempt_max: 5,
            rescue_max: 10,
            batch_max: 256,
            batch_max_bytes: 4 << 20,
            result_max_bytes: 4 << 20,
            log_max_pages: 8000,
            busy_timeout: Duration::from_secs(5),
        }
    }
}

/// Bytes of an agent's name, a session key, an event kind, an agent id, a dedup key:
/// long enough for every agent seen, short enough for an index.
pub const NAME_MAX_BYTES: usize = 512;

/// Bytes of a path (`cwd`, `project`): what Linux takes.
pub const PATH_MAX_BYTES: usize = 4096;

/// Bytes of a prompt that are kept on the session's row; the whole prompt is in its message.
pub const PROMPT_KEPT_BYTES: usize = 2048;

/// Bytes of a session's metadata.
pub const METADATA_MAX_BYTES: usize = 64 << 10;

/// Bytes of a failure's reason that are kept.
pub const REASON_KEPT_BYTES: usize = 2048;

/// Ended attempts that are kept of a message, the newest: with the default limits two lives of it,
/// each of 5 attempts, 10 rescues and a redrive.
pub const ATTEMPTS_KEPT: usize = 32;

/// Messages that one batch of a deletion takes: as many as a batch of the writer, so that who waits
/// behind it waits no longer than behind any other.
pub const DELETE_ROWS_MAX: usize = 256;

/// Bytes of payloads that one batch of a deletion takes, unless one alone has more: each of their
/// pages is freed one by one.
pub const DELETE_BYTES_MAX: usize = 4 << 20;

/// Rows of a listing when the caller names none.
pub const LIST_DEFAULT: u32 = 100;

/// Rows of a listing at most.
pub const LIST_MAX: u32 = 1000;

/// Bytes of payloads or results in a listing, unless one alone has more: what the worker and its
/// client can hold beside everything else.
pub const LIST_BYTES_MAX: usize = 8 << 20;

/// Rows of a listing for what the caller asked: 0 means the default, and there is a most.
pub(crate) fn list_limit(asked: u32) -> u32 {
    match asked {
        0 => LIST_DEFAULT,
        asked => asked.min(LIST_MAX),
    }
}
