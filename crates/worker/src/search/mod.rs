//! Full-text search over results: an index in `state.db`, derived from the queue's results.
//!
//! [`Indexer`] is the one that writes: it follows the results with a watermark that is committed
//! together with what it indexed. [`SearchIndex`] reads. The index may be lost at any time; it is
//! then built again from the results.
//!
//! `query` turns what a user typed into an expression, `write` holds the writing statements,
//! `indexer` the task.

mod indexer;
mod query;
mod write;

use sessiond_queue::error::StoreError;
use sessiond_queue::ids::{ResultId, Seq, SessionId, Timestamp};
use sessiond_queue::store::Store;
use sessiond_queue::types::ResultFilter;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

pub use indexer::{Indexer, IndexerStatus};
pub use query::QUERY_MAX_BYTES;

use crate::state::{StateDb, StateError};

/// Hits when the caller names no number.
pub const HITS_DEFAULT: u32 = 20;

/// Hits at most.
pub const HITS_MAX: u32 = 200;

/// What to look for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SearchQuery {
    /// Words that must all occur, the last one perhaps unfinished; `"a phrase"` stays together.
    /// At most [`QUERY_MAX_BYTES`].
    pub text: String,
    /// Only in this project.
    pub project: Option<String>,
    /// Only in this session.
    pub session: Option<SessionId>,
    /// Only of this agent.
    pub agent: Option<String>,
    /// Only results of this kind.
    pub kind: Option<String>,
    /// Also results tagged `trace`, which carry no news.
    pub include_trace: bool,
    /// At most so many; 0 means [`HITS_DEFAULT`], and [`HITS_MAX`] is the most.
    pub limit: u32,
}

/// One result that was found.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct Hit {
    /// The result.
    pub result: ResultId,
    /// Its session.
    pub session: SessionId,
    /// That session's project.
    pub project: Option<String>,
    /// That session's agent.
    pub agent: String,
    /// The result's kind.
    pub kind: String,
    /// The place of its message in the session.
    pub seq: Seq,
    /// When its message's hook fired.
    pub accepted_at: Timestamp,
    /// The result's title.
    pub title: String,
    /// A part of its body, around what was found if that is in the body.
    pub snippet: String,
    /// The lower, the better; comparable within one search only.
    pub rank: f64,
}

/// A search, or a request to the index, failed.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// A named field of the query is empty or too long.
    #[error("field {field} {problem}")]
    InvalidField {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The database refused a statement or could not write.
    #[error("use the search index")]
    Database(#[from] sqlx::Error),
    /// The results could not be read.
    #[error("read the results for the search index")]
    Store(#[from] StoreError),
    /// The indexer has ended.
    #[error("use the search index: it is closed")]
    Closed,
}

/// The index. Clones share it.
#[derive(Clone, Debug)]
pub struct SearchIndex {
    state: StateDb,
}

impl From<StateError> for SearchError {
    fn from(error: StateError) -> Self {
        match error {
            StateError::Database(error) => Self::Database(error),
            StateError::Closed => Self::Closed,
        }
    }
}

impl SearchIndex {
    /// The index in `state`. One that was lost with its file is empty, and filled by the indexer.
    pub fn new(state: StateDb) -> Self {
        Self { state }
    }

    /// Finds results, best first; among equals the newest first.
    pub async fn search(&self, query: &SearchQuery) -> Result<Vec<Hit>, SearchError> {
        let expression = query::expression(&query.text)?;
        let limit = match query.limit {
            0 => HITS_DEFAULT,
            limit => limit.min(HITS_MAX),
        };
        let rows = sqlx::query(include_str!("../../queries/search/search.sql"))
            .bind(expression)
            .bind(query.project.as_deref())
            .bind(query.session.map(|session| session.to_string()))
            .bind(query.agent.as_deref())
            .bind(query.kind.as_deref())
            .bind(query.include_trace)
            .bind(limit)
            .fetch_all(self.state.readers())
            .await?;
        let hits: Result<Vec<Hit>, sqlx::Error> = rows.iter().map(hit).collect();
        Ok(hits?)
    }

    /// The last result that was considered.
    pub async fn watermark(&self) -> Result<ResultId, SearchError> {
        let result = sqlx::query_scalar(include_str!("../../queries/search/get_watermark.sql"))
            .fetch_one(self.state.readers())
            .await?;
        Ok(ResultId(result))
    }

    /// How far the index is behind the store's newest result: 0 when it has considered all, and
    /// at least the number of results that are still to come.
    pub async fn behind(&self, store: &dyn Store) -> Result<i64, SearchError> {
        let newest = newest_result(store).await?;
        Ok((newest.0 - self.watermark().await?.0).max(0))
    }
}

async fn newest_result(store: &dyn Store) -> Result<ResultId, StoreError> {
    let newest = store
        .results(ResultFilter {
            newest_first: true,
            limit: 1,
            ..ResultFilter::default()
        })
        .await?;
    Ok(newest.first().map(|result| result.id).unwrap_or_default())
}

fn hit(row: &SqliteRow) -> Result<Hit, sqlx::Error> {
    let session: &str = row.try_get("session")?;
    Ok(Hit {
        result: ResultId(row.try_get("id")?),
        session: session
            .parse()
            .map_err(|error: uuid::Error| sqlx::Error::Decode(error.into()))?,
        project: row.try_get("project")?,
        agent: row.try_get("agent")?,
        kind: row.try_get("kind")?,
        seq: Seq(row.try_get("seq")?),
        accepted_at: Timestamp(row.try_get("accepted_at")?),
        title: row.try_get("title")?,
        snippet: row.try_get("snippet")?,
        rank: row.try_get("score")?,
    })
}

#[cfg(test)]
mod tests;
