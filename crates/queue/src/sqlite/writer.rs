//! The one thread that writes: it turns requests into batches and batches into transactions.
//!
//! While one batch commits, the next requests gather in the inbox, so that a batch is as large as
//! the load makes it and nothing ever waits for company. A batch in which a statement fails is rolled
//! back and its requests are repeated one by one, so that only the one at fault errs; when the
//! transaction itself cannot be begun or committed none of them is, and all of them err.

use super::db::Db;
use super::inbox::Receiver;
use super::request::Request;
use super::work::Work;
use super::{claim, enqueue, settle, shrink};
use crate::error::StoreError;

/// Works requests until the inbox is closed and empty, then hands the connection back to be closed.
pub(super) fn run(mut work: Work, inbox: Receiver<Request>) -> Db {
    let (batch_max, batch_max_bytes) = (work.limits.batch_max, work.limits.batch_max_bytes);
    let mut batch = Vec::new();
    let mut log = Log::default();
    loop {
        let (mut requests, mut bytes) = (0, 0);
        let has_room = |request: &Request| {
            requests += 1;
            bytes += request.bytes();
            requests < batch_max && bytes < batch_max_bytes
        };
        if !inbox.receive(&mut batch, has_room) {
            return work.db;
        }
        let folds: Vec<_> = batch
            .extract_if(.., |request| matches!(request, Request::FoldLog(_)))
            .collect();
        if !batch.is_empty() {
            work_batch(&mut work, &mut batch);
        }
        for mut fold in folds {
            if let Request::FoldLog(call) = &mut fold {
                call.answer(shrink::fold_log(&work));
            }
            fold.finish();
        }
        log.fold_when_due(&work);
    }
}

/// When the log is folded: after the answers, which it would keep waiting.
#[derive(Default)]
struct Log {
    /// Pages it had when a reader, or the disk, kept it from being folded: not to be tried again for
    /// every commit.
    left: u32,
}

impl Log {
    fn fold_when_due(&mut self, work: &Work) {
        let pages = work.db.log_pages();
        if pages < self.left {
            self.left = 0;
        }
        if pages - self.left < work.limits.log_max_pages {
            return;
        }
        self.left = match work.db.fold() {
            Ok(true) => 0,
            Ok(false) => pages,
            Err(error) => {
                tracing::debug!(%error, pages, "the log is not folded");
                pages
            }
        };
    }
}

/// Works a batch and sends every answer.
fn work_batch(work: &mut Work, batch: &mut Vec<Request>) {
    match transact(work, batch) {
        Ok(()) => batch.drain(..).for_each(Request::finish),
        Err(Failure::Request(error)) if batch.len() > 1 => {
            tracing::warn!(%error, requests = batch.len(), "a batch failed, repeat it one by one");
            let mut rest = batch.drain(..);
            while let Some(request) = rest.next() {
                let mut single = [request];
                let outcome = transact(work, &mut single);
                let [request] = single;
                match outcome {
                    Ok(()) => request.finish(),
                    Err(Failure::Request(error)) => request.fail(error),
                    Err(Failure::Transaction(error)) => {
                        fail_all(std::iter::once(request).chain(rest), &error);
                        break;
                    }
                }
            }
        }
        Err(Failure::Request(error) | Failure::Transaction(error)) => {
            fail_all(batch.drain(..), &error);
        }
    }
}

fn fail_all(requests: impl Iterator<Item = Request>, error: &StoreError) {
    requests.for_each(|request| request.fail(error.clone()));
}

/// Why a transaction did not come about.
enum Failure {
    /// A statement of one of its requests failed.
    Request(StoreError),
    /// It could not be begun or committed: the file is locked, or the disk is full.
    Transaction(StoreError),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Request(error)
    }
}

fn transact(work: &mut Work, batch: &mut [Request]) -> Result<(), Failure> {
    let outcome = match work.begin() {
        Ok(()) => work_kinds(work, batch),
        Err(error) => Err(Failure::Transaction(error)),
    };
    if outcome.is_err() {
        work.rollback();
    }
    outcome
}

/// All requests of a batch are under way at once, so any order between them is right; this one
/// lets a claim see the event that was sent with it.
fn work_kinds(work: &mut Work, batch: &mut [Request]) -> Result<(), Failure> {
    let enqueues = batch.iter_mut().filter_map(|request| match request {
        Request::Enqueue(call) => Some(call),
        _ => None,
    });
    enqueue::run(work, &mut enqueues.collect::<Vec<_>>())?;
    for request in &mut *batch {
        if let Request::Settle(call) = request {
            settle::run(work, call)?;
        }
    }
    for request in &mut *batch {
        match request {
            Request::Claim(call) => claim::run(work, call)?,
            Request::Enqueue(_) | Request::Settle(_) | Request::Single(_) => {}
            Request::FoldLog(_) => unreachable!("it is taken out of the batch"),
        }
    }
    for request in batch {
        if let Request::Single(call) = request {
            call.run(work)?;
        }
    }
    work.store_changes()?;
    work.commit().map_err(Failure::Transaction)
}
