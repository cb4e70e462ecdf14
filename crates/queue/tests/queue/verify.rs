//! What the thorough check finds in a file that somebody else has written to.

use futures::FutureExt as _;
use sessiond_queue::SqliteStore;
use sessiond_queue::error::StoreError;
use sessiond_queue::limits::Limits;
use sessiond_queue::store::Store;
use sqlx::Connection as _;

use crate::sqlite::{NOW, event, new_path, open, stranger};

#[tokio::test]
async fn row_that_breaks_a_rule_of_its_table_is_found_where_it_can_be() {
    let (_dir, path) = new_path();
    let store = open(&path).await;
    let stored = store.enqueue(event("a", "X"), NOW).await;
    stored.expect("the event is stored");
    let sound = store.verify().await.expect("the store is checked");
    assert!(sound.is_sound() && sound.checks_rows, "{sound:?}");
    // Nothing that is counted: the rule alone forbids it.
    let broken = "PRAGMA ignore_check_constraints = ON; UPDATE sessions SET prompt_number = -4";
    let mut stranger = stranger(&path).await;
    let done = sqlx::raw_sql(broken).execute(&mut stranger).await;
    done.expect("the row is broken");
    stranger.close().await.expect("the file closes");

    let found = store.verify().await.expect("the store is checked");
    assert!(found.miscounts.is_empty(), "{found:?}");
    let [complaint] = found.integrity.as_slice() else {
        panic!("{found:?}");
    };
    assert_eq!(complaint, "CHECK constraint failed in sessions");

    // SQLite does not keep CHECKs for who only reads; then this is said.
    let reader = SqliteStore::open_read_only(&path, Limits::default()).await;
    let reader = reader.expect("the store opens");
    let found = reader.verify().await.expect("the store is checked");
    assert!(found.is_sound() && !found.checks_rows, "{found:?}");
}

#[tokio::test]
async fn check_leaves_the_end_of_the_file_to_the_writer() {
    let (_dir, path) = new_path();
    let log = path.with_extension("db-wal");
    let store = open(&path).await;
    let stored = store.enqueue(event("a", "X"), NOW).await;
    stored.expect("the event is stored");
    store.verify().await.expect("the store is checked");
    // One that is under way, and one that was given up.
    let (checked, ()) = tokio::join!(store.verify(), store.close());
    assert!(
        matches!(&checked, Ok(found) if found.is_sound())
            || matches!(checked, Err(StoreError::Closed)),
        "{checked:?}"
    );
    assert!(!log.exists(), "a clean close folds the log in");
    let store = open(&path).await;
    let stored = store.enqueue(event("a", "X"), NOW).await;
    stored.expect("the event is stored");
    assert!(store.verify().now_or_never().is_none());
    store.close().await;
    assert!(!log.exists(), "a clean close folds the log in");
}
