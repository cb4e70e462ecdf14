//! The end of a store on SQLite: who waits for it, and what becomes of those who do not.

use std::pin::pin;
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use futures::future::join_all;
use sessiond_queue::SqliteStore;
use sessiond_queue::error::{EnqueueError, SettleError, StoreError};
use sessiond_queue::ids::Generation;
use sessiond_queue::limits::Limits;
use sessiond_queue::store::Store;
use sessiond_queue::types::{Claim, Claimed, Confirm, SessionFilter, Usage};
use sqlx::Connection as _;

use crate::sqlite::{NOW, event, new_path, open, stranger};

/// Until what has to happen, has happened.
const LIMIT: Duration = Duration::from_secs(10);

async fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < LIMIT, "{what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn everyone_who_closes_waits_until_the_file_is_closed() {
    let (_dir, path) = new_path();
    let log = path.with_extension("db-wal");
    let store = open(&path).await;
    let stored = join_all((0..100).map(|_| store.enqueue(event("a", "X"), NOW))).await;
    assert!(stored.iter().all(Result::is_ok));
    assert!(log.exists());
    let close = async || {
        store.close().await;
        assert!(!log.exists(), "a clean close folds the log in");
    };
    tokio::join!(close(), close(), close());
    store.close().await;
}

#[tokio::test]
async fn close_that_was_given_up_is_finished_by_the_next() {
    let (_dir, path) = new_path();
    let log = path.with_extension("db-wal");
    let store = open(&path).await;
    let mut stranger = stranger(&path).await;
    let locked = sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut stranger);
    locked.await.expect("the file is locked");
    let asked = store.enqueue(event("a", "X"), NOW).now_or_never();
    assert!(asked.is_none() && store.close().now_or_never().is_none());
    stranger.close().await.expect("the file is unlocked");
    store.close().await;
    assert!(!log.exists(), "a clean close folds the log in");
}

#[tokio::test]
async fn store_that_is_dropped_finishes_what_was_asked_and_closes_the_file() {
    let (_dir, path) = new_path();
    let store = open(&path).await;
    let asked = (0..300).map(|_| store.enqueue(event("a", "X"), NOW).now_or_never());
    assert!(asked.last().is_some());
    drop(store);
    let log = path.with_extension("db-wal");
    wait_until("the file is closed", || !log.exists()).await;
    let stats = open(&path).await.stats().await.expect("they are read");
    assert_eq!(stats.accepted, 300);
}

#[tokio::test]
async fn writer_that_panics_leaves_nobody_waiting_and_nothing_half_done() {
    let (_dir, path) = new_path();
    let store = open(&path).await;
    let mut writer_failed = pin!(store.writer_failed());
    store
        .enqueue(event("a", "X"), NOW)
        .await
        .expect("it is stored");
    let claim = claim_head(&store).await;
    assert_eq!(writer_failed.as_mut().now_or_never(), None);
    // A state that the schema forbids: the writer takes it for its own mistake.
    let mut stranger = stranger(&path).await;
    let broken = sqlx::raw_sql(
        "PRAGMA ignore_check_constraints = ON; UPDATE messages SET state = 'done', finished_at = 1",
    );
    broken
        .execute(&mut stranger)
        .await
        .expect("the row is broken");
    stranger.close().await.expect("the file closes");
    let confirm = Confirm {
        message: claim.message.id,
        fence: claim.fence,
        results: Vec::new(),
        checkpoint: None,
        usage: Usage::default(),
    };
    let (confirmed, stored) = tokio::join!(
        store.confirm(confirm, NOW),
        store.enqueue(event("b", "X"), NOW)
    );
    assert!(matches!(
        confirmed,
        Err(SettleError::Store(StoreError::Closed))
    ));
    assert!(matches!(
        stored,
        Err(EnqueueError::Store(StoreError::Closed))
    ));
    let told = tokio::time::timeout(LIMIT, writer_failed).await;
    told.expect("whoever asked is told");
    let told = store.writer_failed().now_or_never();
    assert_eq!(told, Some(()), "whoever asks later is told too");
    let refused = store.enqueue(event("b", "X"), NOW).await;
    assert!(matches!(
        refused,
        Err(EnqueueError::Store(StoreError::Closed))
    ));
    let stats = store.stats().await.expect("they are read");
    assert_eq!(stats.accepted, 1, "its transaction is rolled back");
    store.close().await;
    let store = open(&path).await;
    let stored = store.enqueue(event("b", "X"), NOW).await;
    assert_eq!(stored.expect("it is stored").message.0, 2);
}

#[tokio::test]
async fn writer_that_ends_because_it_is_told_to_has_not_failed() {
    let (_dir, path) = new_path();
    let store = open(&path).await;
    let writer_failed = store.writer_failed();
    store.close().await;
    assert_eq!(writer_failed.now_or_never(), None, "it was closed");
    let store = open(&path).await;
    let writer_failed = store.writer_failed();
    drop(store);
    let log = path.with_extension("db-wal");
    wait_until("the thread closes the file", || !log.exists()).await;
    assert_eq!(writer_failed.now_or_never(), None, "it was dropped");
    let reader = SqliteStore::open_read_only(&path, Limits::default()).await;
    let reader = reader.expect("the store opens");
    assert_eq!(reader.writer_failed().now_or_never(), None, "it has none");
}

async fn claim_head(store: &SqliteStore) -> Claim {
    let sessions = store.sessions(SessionFilter::default()).await;
    let session = sessions.expect("they are listed")[0].id;
    match store.claim(session, Generation(1), NOW).await {
        Ok(Claimed::Message(claim)) => *claim,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn requests_of_callers_that_have_gone_are_bounded() {
    let (_dir, path) = new_path();
    let limits = Limits {
        batch_max: 4,
        ..Limits::default()
    };
    let store = SqliteStore::open(&path, limits).await;
    let store = store.expect("the store opens");
    let mut stranger = stranger(&path).await;
    let locked = sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut stranger);
    locked.await.expect("the file is locked");
    for _ in 0..100 {
        let asked = store.enqueue(event("a", "X"), NOW).now_or_never();
        assert!(asked.is_none());
    }
    stranger.close().await.expect("the file is unlocked");
    let stored = store.enqueue(event("a", "X"), NOW).await;
    let stored = stored.expect("it is stored").message.0;
    assert_eq!(stored, 9, "two batches, and this one");
}
