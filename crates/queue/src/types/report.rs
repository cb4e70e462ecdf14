//! Listings, counters and the state of the store.

use serde::{Deserialize, Serialize};

use super::message::State;
use super::session::Life;
use crate::ids::{MessageId, ResultId, SessionId, Timestamp};

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
    /// At most so many; 0 means the default of 100, and 1,000 is the most. Fewer when they would be
    /// over 8 MiB together, but one at least: the last page is the empty one.
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
    /// At most so many; 0 means the default of 100, and 1,000 is the most. Fewer when they would be
    /// over 8 MiB together, but one at least: the last page is the empty one.
    pub limit: u32,
}

/// How many messages are in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = MessageCounts))]
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
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
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
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
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
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StoreInfo {
    /// `sqlite` or `memory`.
    pub engine: String,
    /// File of the database.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
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
    /// Damaged files that were set aside for this one, and are still there.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub damaged: Vec<std::path::PathBuf>,
}

/// What a slow, thorough check found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Verification {
    /// What the engine's own check complains of; empty means sound.
    pub integrity: Vec<String>,
    /// Counters that differ from a recount: name, counter, recount.
    pub miscounts: Vec<(String, i64, i64)>,
    /// Whether that check also held every row against the rules of its table, such as that nothing
    /// is claimed without a holder. A store that is only read, or has no tables, cannot.
    #[serde(default)]
    pub checks_rows: bool,
}

impl Verification {
    /// Whether nothing was found.
    pub fn is_sound(&self) -> bool {
        self.integrity.is_empty() && self.miscounts.is_empty()
    }
}
