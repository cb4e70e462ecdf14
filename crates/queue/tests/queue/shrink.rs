//! The file grows with a burst, and shrinks after it.

use sessiond_queue::SqliteStore;
use sessiond_queue::limits::Limits;
use sessiond_queue::store::Store;
use sessiond_queue::types::{Claimed, Confirm, Enqueue, Retention, Shrunk, Usage};

use crate::sqlite::{NOW, event, new_path, open, stranger};

/// Stores and works so many messages of a MiB each.
async fn work_mib(store: &SqliteStore, mib: usize) {
    let owner = store.begin_generation("1-1", NOW).await.expect("it begins");
    for _ in 0..mib {
        let event = Enqueue {
            payload: "x".repeat(1 << 20),
            ..event("a", "X")
        };
        let stored = store.enqueue(event, NOW).await;
        let stored = stored.expect("the event is stored");
        let claimed = store.claim(stored.session, owner, NOW).await;
        let Ok(Claimed::Message(claim)) = claimed else {
            panic!("{claimed:?}");
        };
        let confirm = Confirm {
            message: stored.message,
            fence: claim.fence,
            results: Vec::new(),
            checkpoint: None,
            usage: Usage::default(),
        };
        store.confirm(confirm, NOW).await.expect("it is confirmed");
    }
}

#[tokio::test]
async fn file_grows_with_a_burst_and_shrinks_after_it() {
    const MIB: u64 = 1 << 20;
    let (_dir, path) = new_path();
    let store = open(&path).await;
    work_mib(&store, 16).await;
    let sizes = async || {
        let info = store.info().await.expect("the store is described");
        (info.size_bytes, info.wal_bytes)
    };
    assert!(sizes().await.1 > MIB, "{:?}", sizes().await);
    assert!(store.fold_log().await.expect("the log is folded"));
    let full = sizes().await;
    assert!(full.0 > 16 * MIB && full.1 == 0, "{full:?}");
    let none = Retention {
        done_max: Some(0),
        ..Retention::default()
    };
    let mut batches = 1;
    while store
        .retain(none, NOW)
        .await
        .expect("they are deleted")
        .more
    {
        batches += 1;
    }
    assert_eq!(batches, 4, "of 4 MiB each");
    let (mut freed, mut steps) = (0, 1);
    loop {
        let shrunk = store.shrink().await.expect("the file shrinks");
        freed += shrunk.bytes;
        if !shrunk.more {
            break;
        }
        steps += 1;
    }
    assert!(
        freed > 11 * MIB && steps > 10,
        "{freed} bytes in {steps} steps"
    );
    assert!(store.fold_log().await.expect("the log is folded"));
    let small = sizes().await;
    assert!(small.0 < 6 * MIB && small.1 == 0, "{small:?}");
    assert_eq!(
        store.shrink().await.expect("it is asked"),
        Shrunk::default()
    );
    assert!(
        store
            .verify()
            .await
            .expect("the store is checked")
            .is_sound()
    );
}

#[tokio::test]
async fn log_is_not_folded_under_a_reader_and_nobody_waits_for_it() {
    let (_dir, path) = new_path();
    let store = open(&path).await;
    work_mib(&store, 1).await;
    let mut reader = stranger(&path).await;
    for sql in ["BEGIN", "SELECT count(*) FROM messages"] {
        sqlx::raw_sql(sql)
            .execute(&mut reader)
            .await
            .expect("it reads");
    }
    let begun = std::time::Instant::now();
    work_mib(&store, 1).await;
    assert!(!store.fold_log().await.expect("it is asked"));
    assert!(begun.elapsed() < Limits::default().busy_timeout);
    sqlx::raw_sql("COMMIT")
        .execute(&mut reader)
        .await
        .expect("it ends");
    assert!(store.fold_log().await.expect("the log is folded"));
    let info = store.info().await.expect("the store is described");
    assert_eq!(info.wal_bytes, 0);
}
