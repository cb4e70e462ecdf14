//! What becomes of the file: damaged, newer, closed; and which commits are synced.

use super::*;

const NOW: Timestamp = Timestamp(77);

async fn synchronous(mut writer: Writer<'_>) -> i64 {
    let read = sqlx::query_scalar("PRAGMA synchronous").fetch_one(&mut *writer);
    read.await.expect("it is read")
}

#[tokio::test]
async fn damaged_file_is_set_aside_and_begun_anew() {
    let home = tempfile::tempdir().expect("tempdir");
    let path = home.path().join("state.db");
    let rubbish = "this is no database, whatever its name says".repeat(100);
    std::fs::write(&path, &rubbish).expect("write");
    let state = StateDb::open(&path, NOW).await.expect("open");
    let aside = state.set_aside().expect("set aside").to_owned();
    assert_eq!(aside, home.path().join("state.db.damaged-77"));
    assert_eq!(std::fs::read_to_string(aside).expect("kept"), rubbish);
    state.close().await;
    let state = StateDb::open(&path, NOW).await.expect("open");
    assert_eq!(state.set_aside(), None);
    state.close().await;
}

#[tokio::test]
async fn file_with_a_damaged_table_is_set_aside_too() {
    let home = tempfile::tempdir().expect("tempdir");
    let path = home.path().join("state.db");
    let state = StateDb::open(&path, NOW).await.expect("open");
    let mut writer = state.writer().await.expect("a writer");
    let root = "SELECT rootpage FROM sqlite_schema WHERE name = 'clients'";
    let root: i64 = sqlx::query_scalar(root)
        .fetch_one(&mut *writer)
        .await
        .expect("it has a page");
    drop(writer);
    state.close().await;
    let mut bytes = std::fs::read(&path).expect("read");
    let page = 4096 * (usize::try_from(root).expect("small") - 1);
    bytes[page..page + 4096].fill(0xAB);
    std::fs::write(&path, &bytes).expect("write");
    let state = StateDb::open(&path, NOW).await.expect("open");
    assert!(state.set_aside().is_some());
    state.close().await;
}

#[tokio::test]
async fn newer_file_is_refused_and_left_as_it_is() {
    let home = tempfile::tempdir().expect("tempdir");
    let path = home.path().join("state.db");
    let state = StateDb::open(&path, NOW).await.expect("open");
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, \
                 execution_time) VALUES (999, 'newer', TRUE, x'00', 0)";
    let mut writer = state.writer().await.expect("a writer");
    sqlx::raw_sql(newer)
        .execute(&mut *writer)
        .await
        .expect("written");
    drop(writer);
    state.close().await;
    let before = std::fs::read(&path).expect("read");
    let error = StateDb::open(&path, NOW).await.expect_err("refused");
    assert!(
        matches!(error, OpenStateError::Newer { schema: 999, .. }),
        "{error:?}"
    );
    assert_eq!(std::fs::read(&path).expect("read"), before);
}

#[tokio::test]
async fn only_a_durable_writer_syncs_its_commits() {
    let home = tempfile::tempdir().expect("tempdir");
    let path = home.path().join("state.db");
    let state = StateDb::open(&path, NOW).await.expect("open");
    let has = |name: &str, value: &str| {
        let pragma = (name.to_owned(), value.to_owned());
        state.pragmas().contains(&pragma)
    };
    assert!(has("journal_mode", "wal") && has("synchronous", "1"));
    assert_eq!(
        synchronous(state.writer().await.expect("a writer")).await,
        1
    );
    let durable = state.durable_writer().await.expect("a writer");
    assert_eq!(synchronous(durable).await, 2);
    assert_eq!(
        synchronous(state.writer().await.expect("a writer")).await,
        1
    );
    state.close().await;
    assert!(matches!(state.writer().await, Err(StateError::Closed)));
}

#[tokio::test]
async fn writer_that_nobody_waited_for_leaves_the_next_durable_one_durable() {
    let home = tempfile::tempdir().expect("tempdir");
    let path = home.path().join("state.db");
    let state = StateDb::open(&path, NOW).await.expect("open");
    // Now and then it is there at once.
    for _ in 0..50 {
        drop(state.durable_writer().await.expect("a writer"));
        drop(futures::poll!(Box::pin(state.writer())));
        let durable = state.durable_writer().await.expect("a writer");
        assert_eq!(synchronous(durable).await, 2);
    }
    state.close().await;
}
