//! The one task that writes: it turns requests into batches and batches into transactions.
//!
//! While one batch commits, the next requests gather in the channel, so that a batch is as large as
//! the load makes it and nothing ever waits for company. A batch in which a statement fails is rolled
//! back and its requests are repeated one by one, so that only the one at fault errs; when the
//! transaction itself cannot be begun or committed none of them is, and all of them err.

use sqlx::SqliteConnection;
use tokio::sync::mpsc;

use super::request::Request;
use super::work::Work;
use super::{claim, enqueue, settle, shrink};
use crate::error::StoreError;

/// Works requests until all senders are gone, then hands the connection back to be closed.
pub(super) async fn run(mut work: Work, mut requests: mpsc::Receiver<Request>) -> SqliteConnection {
    let mut batch = Vec::new();
    while let Some(first) = requests.recv().await {
        let mut bytes = first.bytes();
        batch.push(first);
        while batch.len() < work.limits.batch_max && bytes < work.limits.batch_max_bytes {
            let Ok(request) = requests.try_recv() else {
                break;
            };
            bytes += request.bytes();
            batch.push(request);
        }
        let folds: Vec<_> = batch
            .extract_if(.., |request| matches!(request, Request::FoldLog(_)))
            .collect();
        if !batch.is_empty() {
            work_batch(&mut work, &mut batch).await;
        }
        for mut fold in folds {
            if let Request::FoldLog(call) = &mut fold {
                call.answer(shrink::fold_log(&mut work).await);
            }
            fold.finish();
        }
    }
    work.conn
}

/// Works a batch and sends every answer.
async fn work_batch(work: &mut Work, batch: &mut Vec<Request>) {
    match transact(work, batch).await {
        Ok(()) => batch.drain(..).for_each(Request::finish),
        Err(Failure::Request(error)) if batch.len() > 1 => {
            tracing::warn!(%error, requests = batch.len(), "a batch failed, repeat it one by one");
            let mut rest = batch.drain(..);
            while let Some(request) = rest.next() {
                let mut single = [request];
                let outcome = transact(work, &mut single).await;
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

async fn transact(work: &mut Work, batch: &mut [Request]) -> Result<(), Failure> {
    let outcome = match work.begin().await {
        Ok(()) => work_kinds(work, batch).await,
        Err(error) => Err(Failure::Transaction(error)),
    };
    if outcome.is_err() {
        work.rollback().await;
    }
    outcome
}

/// All requests of a batch are under way at once, so any order between them is right; this one
/// lets a claim see the event that was sent with it.
async fn work_kinds(work: &mut Work, batch: &mut [Request]) -> Result<(), Failure> {
    let (mut enqueues, mut settles) = (Vec::new(), Vec::new());
    let (mut claims, mut singles) = (Vec::new(), Vec::new());
    for request in batch {
        match request {
            Request::Enqueue(call) => enqueues.push(call),
            Request::Settle(call) => settles.push(call),
            Request::Claim(call) => claims.push(call),
            Request::Single(call) => singles.push(call),
            Request::FoldLog(_) => unreachable!("it is taken out of the batch"),
        }
    }
    enqueue::run(work, &mut enqueues).await?;
    settle::run(work, &mut settles).await?;
    claim::run(work, &mut claims).await?;
    for call in singles {
        call.run(work).await?;
    }
    work.store_changes().await?;
    work.commit().await.map_err(Failure::Transaction)
}
