//! Giving back what the file does not need any more: its unused pages, and its log.
//!
//! Pages that deletions have freed are used again by what comes next; only what is beyond that goes
//! back to the file system, in small steps, since each moves pages from the file's end into its gaps.

use async_trait::async_trait;
use sqlx::{AssertSqlSafe, Row as _, SqliteConnection};

use super::request::Operation;
use super::work::Work;
use crate::error::StoreError;
use crate::types::Shrunk;

/// Unused pages that are kept (4 MiB): what a busy hour stores, so that the file does not shrink and
/// grow by turns.
const KEPT_PAGES: i64 = 1024;

/// Pages moved in one step (1 MiB): a transaction no larger than a usual batch.
const STEP_PAGES: i64 = 256;

/// One step.
pub(super) struct Shrink;

#[async_trait]
impl Operation for Shrink {
    type Answer = Shrunk;
    type Error = StoreError;

    async fn run(&self, work: &mut Work) -> Result<Result<Shrunk, StoreError>, StoreError> {
        let conn = &mut work.conn;
        let unused = number(conn, "PRAGMA freelist_count").await?;
        // 2: incremental. A file that was made without it can only be rewritten as a whole.
        if unused <= KEPT_PAGES || number(conn, "PRAGMA auto_vacuum").await? != 2 {
            return Ok(Ok(Shrunk::default()));
        }
        let step = STEP_PAGES.min(unused - KEPT_PAGES);
        let vacuum = AssertSqlSafe(format!("PRAGMA incremental_vacuum({step})"));
        sqlx::raw_sql(vacuum).execute(&mut *conn).await?;
        let left = number(conn, "PRAGMA freelist_count").await?;
        let page_bytes = number(conn, "PRAGMA page_size").await?;
        Ok(Ok(Shrunk {
            bytes: u64::try_from((unused - left) * page_bytes).unwrap_or(0),
            more: left > KEPT_PAGES && left < unused,
        }))
    }
}

/// Folds the log into the file and cuts it off, unless somebody reads.
pub(super) async fn fold_log(work: &mut Work) -> Result<bool, StoreError> {
    let conn = &mut work.conn;
    // A reader is not waited for, since meanwhile nobody could write.
    sqlx::raw_sql("PRAGMA busy_timeout = 0")
        .execute(&mut *conn)
        .await?;
    let busy = number(conn, "PRAGMA wal_checkpoint(TRUNCATE)").await;
    let busy_ms = work.limits.busy_timeout.as_millis();
    let restore = AssertSqlSafe(format!("PRAGMA busy_timeout = {busy_ms}"));
    sqlx::raw_sql(restore).execute(&mut *conn).await?;
    Ok(busy? == 0)
}

/// The first column of a pragma's answer.
async fn number(conn: &mut SqliteConnection, pragma: &'static str) -> Result<i64, StoreError> {
    let row = sqlx::raw_sql(pragma).fetch_one(conn).await?;
    Ok(row.try_get_unchecked(0)?)
}
