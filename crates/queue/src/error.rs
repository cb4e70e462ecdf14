//! One error type for each operation, one variant for each thing a caller may do something about.

use std::path::PathBuf;
use std::sync::Arc;

use crate::ids::{MessageId, SessionId};
use crate::types::State;

/// What the database engine or the system said.
pub type Cause = Arc<dyn std::error::Error + Send + Sync>;

/// The store itself could not do it; the operation had no effect and may be repeated. (When a disk
/// fails to sync and the process is killed right then, the next one may find it done all the same,
/// as a whole: repeated, it is a duplicate or a lost claim.)
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The database refused a statement or could not write; all requests of a transaction share
    /// what it said.
    #[error("use the queue's database")]
    Database(#[source] Cause),
    /// A stored row is not of the shape the code expects.
    #[error("read a stored row: {0}")]
    Corrupt(String),
    /// It was opened for reading only.
    #[error("write to the queue: it is open for reading only")]
    ReadOnly,
    /// The store is closed, or its writer has ended.
    #[error("use the queue: it is closed")]
    Closed,
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(Arc::new(error))
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(Arc::new(error))
    }
}

/// A store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file is not there and may not be made, or cannot be read.
    #[error("open the database {path}")]
    Open {
        /// The database file.
        path: PathBuf,
        /// What the engine said.
        #[source]
        source: Cause,
    },
    /// A newer version has written the file; it is as it was.
    #[error("open the database {path}: its schema is {found}, this version knows {known}")]
    Newer {
        /// The database file.
        path: PathBuf,
        /// The schema it has.
        found: i64,
        /// The newest one that is known.
        known: i64,
    },
    /// An older version has written the file; whoever opens it for writing backs it up and migrates it.
    #[error("read the database {path}: its schema is {found}, this version reads {known}")]
    Older {
        /// The database file.
        path: PathBuf,
        /// The schema it has; 0 when it has none yet.
        found: i64,
        /// The one that is read.
        known: i64,
    },
    /// The file is not a database any more.
    #[error("open the database {path}: it is damaged")]
    Damaged {
        /// The database file.
        path: PathBuf,
        /// What the engine said.
        #[source]
        source: Cause,
    },
    /// A damaged file could not be moved out of the way.
    #[error("set the damaged database {path} aside")]
    SetAside {
        /// The database file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The file has to be migrated and could not be backed up; it is as it was.
    #[error("back up the database {path} before it is migrated")]
    BackUp {
        /// The database file.
        path: PathBuf,
        /// What the engine or the system said.
        #[source]
        source: std::io::Error,
    },
    /// A migration failed; the file is as it was.
    #[error("migrate the database {path}")]
    Migrate {
        /// The database file.
        path: PathBuf,
        /// What the migrator said.
        #[source]
        source: sqlx::migrate::MigrateError,
    },
    /// SQLite did not take a pragma: it ignores those it does not know.
    #[error("set pragma {name} of {path}: wanted {wanted}, got {got}")]
    Pragma {
        /// The database file.
        path: PathBuf,
        /// The pragma.
        name: &'static str,
        /// What was asked for.
        wanted: String,
        /// What was read back.
        got: String,
    },
}

/// An event was not stored.
#[derive(Debug, thiserror::Error)]
pub enum EnqueueError {
    /// The payload is over its limit.
    #[error("payload has {bytes} bytes, over the limit of {limit} (payload_max_bytes)")]
    PayloadTooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// A named field is empty, too long, or not what it must be.
    #[error("field {field} {problem}")]
    InvalidField {
        /// The field.
        field: &'static str,
        /// What is wrong with it, with the limit if there is one.
        problem: String,
    },
    /// The session's backlog is full.
    #[error("session {session} has {limit} messages pending, its limit (session_depth_max)")]
    SessionFull {
        /// The session.
        session: SessionId,
        /// The limit.
        limit: i64,
    },
    /// The whole backlog is full.
    #[error("the queue has {limit} messages pending, its limit (depth_max)")]
    QueueFull {
        /// The limit.
        limit: i64,
    },
    /// There is no such session.
    #[error("session {0} does not exist")]
    UnknownSession(SessionId),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A claim could not be confirmed or released.
#[derive(Debug, thiserror::Error)]
pub enum SettleError {
    /// The claim is no longer the caller's; nothing was stored.
    #[error("settle message {0}: the claim is lost")]
    ClaimLost(MessageId),
    /// A result or the checkpoint is over its limit; the claim stands.
    #[error("settle message {message}: field {field} has {bytes} bytes, over the limit of {limit}")]
    TooLarge {
        /// The message.
        message: MessageId,
        /// The field.
        field: &'static str,
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A session could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// There is no such session.
    #[error("session {0} does not exist")]
    Unknown(SessionId),
    /// A named field is empty, too long, or not what it must be.
    #[error("field {field} {problem}")]
    InvalidField {
        /// The field.
        field: &'static str,
        /// What is wrong with it, with the limit if there is one.
        problem: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A message could not be cancelled, redriven or purged.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// There is no such message.
    #[error("message {0} does not exist")]
    Unknown(MessageId),
    /// The message is in a state from which that is not possible.
    #[error("message {message} is {} and cannot be {wanted}", .state.as_str())]
    WrongState {
        /// The message.
        message: MessageId,
        /// Its state.
        state: State,
        /// What was asked for: `cancelled`, `redriven` or `purged`.
        wanted: &'static str,
    },
    /// A redrive would put the backlog over a limit.
    #[error("redrive message {message}: {limit} messages are pending, the limit ({name})")]
    Full {
        /// The message.
        message: MessageId,
        /// The limit.
        limit: i64,
        /// The limit's name in the configuration.
        name: &'static str,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
