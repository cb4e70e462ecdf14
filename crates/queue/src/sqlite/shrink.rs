//! Giving back what the file does not need any more: its unused pages, and its log.
//!
//! Pages that deletions have freed are used again by what comes next; only what is beyond that goes
//! back to the file system, in small steps, since each moves pages from the file's end into its gaps.

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

impl Operation for Shrink {
    type Answer = Shrunk;
    type Error = StoreError;

    fn run(&self, work: &mut Work) -> Result<Result<Shrunk, StoreError>, StoreError> {
        let db = &work.db;
        let unused = db.pragma_number("freelist_count")?;
        // 2: incremental. A file that was made without it can only be rewritten as a whole.
        if unused <= KEPT_PAGES || db.pragma_number("auto_vacuum")? != 2 {
            return Ok(Ok(Shrunk::default()));
        }
        let step = STEP_PAGES.min(unused - KEPT_PAGES);
        db.pragma_number(&format!("incremental_vacuum({step})"))?;
        let left = db.pragma_number("freelist_count")?;
        let page_bytes = db.pragma_number("page_size")?;
        Ok(Ok(Shrunk {
            bytes: u64::try_from((unused - left) * page_bytes).unwrap_or(0),
            more: left > KEPT_PAGES && left < unused,
        }))
    }
}

/// Folds the log into the file and cuts it off, unless somebody reads.
pub(super) fn fold_log(work: &Work) -> Result<bool, StoreError> {
    let db = &work.db;
    // A reader is not waited for, since meanwhile nobody could write.
    db.pragma_number("busy_timeout = 0")?;
    let busy = db.pragma_number("wal_checkpoint(TRUNCATE)");
    let busy_ms = work.limits.busy_timeout.as_millis();
    db.pragma_number(&format!("busy_timeout = {busy_ms}"))?;
    Ok(busy? == 0)
}
