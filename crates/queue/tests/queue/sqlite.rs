//! What is SQLite's alone: the file, the pragmas, the batches.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::future::join_all;
use sessiond_queue::error::{EnqueueError, OpenError, StoreError};
use sessiond_queue::ids::{EventId, Generation, MessageId, ResultId, Timestamp};
use sessiond_queue::limits::Limits;
use sessiond_queue::store::Store;
use sessiond_queue::types::{
    Claimed, Confirm, Effect, Enqueue, MessageFilter, NewResult, Receipt, ResultFilter, SessionRef,
    Usage,
};
use sessiond_queue::{MemoryStore, SqliteStore};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};
use tempfile::TempDir;

pub(crate) const NOW: Timestamp = Timestamp(1_000);

pub(crate) fn event(key: &str, kind: &str) -> Enqueue {
    Enqueue {
        event_id: EventId::mint(),
        session: SessionRef::Key {
            agent: "agent".to_owned(),
            key: key.to_owned(),
        },
        kind: kind.to_owned(),
        agent_id: None,
        payload: "{}".to_owned(),
        dedup: None,
        effect: Effect::None,
        cwd: None,
        project: None,
        accepted_at: NOW,
    }
}

pub(crate) fn new_path() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a directory is made");
    let path = dir.path().join("queue.db");
    (dir, path)
}

pub(crate) async fn open(path: &Path) -> SqliteStore {
    SqliteStore::open(path, Limits::default())
        .await
        .expect("the store opens")
}

/// A connection of a stranger, to look at the file and to break it.
pub(crate) async fn stranger(path: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(path);
    options.connect().await.expect("the file opens")
}

#[tokio::test]
async fn writer_has_its_pragmas() {
    let (_dir, path) = new_path();
    let info = open(&path)
        .await
        .info()
        .await
        .expect("the store is described");
    for wanted in [
        ("journal_mode", "wal"),
        ("synchronous", "2"),
        ("foreign_keys", "1"),
        ("auto_vacuum", "2"),
    ] {
        let pragma = (wanted.0.to_owned(), wanted.1.to_owned());
        assert!(
            info.pragmas.contains(&pragma),
            "{wanted:?} in {:?}",
            info.pragmas
        );
    }
    assert_eq!((info.engine.as_str(), info.schema_version), ("sqlite", 4));
    assert!(info.size_bytes > 0 && !info.engine_version.is_empty());
}

#[tokio::test]
async fn file_and_its_log_are_private() {
    let (_dir, path) = new_path();
    std::fs::write(&path, "").expect("the file is made");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644))
        .expect("it is opened up");
    let store = open(&path).await;
    store
        .enqueue(event("a", "X"), NOW)
        .await
        .expect("the event is stored");
    for file in [
        path.clone(),
        path.with_extension("db-wal"),
        path.with_extension("db-shm"),
    ] {
        let mode = std::fs::metadata(&file)
            .expect("the file is there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{}", file.display());
    }
}

#[tokio::test]
async fn missing_directory_is_an_open_error() {
    let (dir, _) = new_path();
    let opened = SqliteStore::open(dir.path().join("no/queue.db"), Limits::default()).await;
    assert!(matches!(opened, Err(OpenError::Open { .. })));
}

#[tokio::test]
async fn reopened_store_goes_on_where_it_was() {
    let (_dir, path) = new_path();
    let first = open(&path).await;
    assert_eq!(
        first
            .begin_generation("1-1", NOW)
            .await
            .expect("it begins")
            .0,
        1
    );
    let stored = first
        .enqueue(event("a", "X"), NOW)
        .await
        .expect("the event is stored");
    first.close().await;
    assert!(
        !path.with_extension("db-wal").exists(),
        "a clean close folds the log in"
    );
    let second = open(&path).await;
    assert_eq!(
        second
            .begin_generation("2-2", NOW)
            .await
            .expect("it begins")
            .0,
        2
    );
    let next = second
        .enqueue(event("a", "X"), NOW)
        .await
        .expect("the event is stored");
    assert_eq!(
        (next.message, next.seq),
        (stored.message.next(), stored.seq.next())
    );
    assert_eq!(next.session, stored.session);
    assert!(
        second
            .verify()
            .await
            .expect("the store is checked")
            .is_sound()
    );
}

#[tokio::test]
async fn read_only_store_reads_beside_the_writer_and_refuses_writes() {
    let (_dir, path) = new_path();
    let missing = SqliteStore::open_read_only(&path, Limits::default()).await;
    assert!(matches!(missing, Err(OpenError::Open { .. })));
    assert!(!path.exists(), "reading makes no file");
    let writer = open(&path).await;
    let reader = SqliteStore::open_read_only(&path, Limits::default()).await;
    let reader = reader.expect("the store opens");
    let stored = writer
        .enqueue(event("a", "X"), NOW)
        .await
        .expect("the event is stored");
    let seen = reader
        .message(stored.message)
        .await
        .expect("the message is read");
    assert!(seen.is_some());
    let refused = reader.enqueue(event("a", "X"), NOW).await;
    assert!(matches!(
        refused,
        Err(EnqueueError::Store(StoreError::ReadOnly))
    ));
    reader.close().await;
    let refused = reader.enqueue(event("a", "X"), NOW).await;
    assert!(matches!(
        refused,
        Err(EnqueueError::Store(StoreError::Closed))
    ));
}

#[tokio::test]
async fn read_only_store_reads_without_a_writer_what_is_in_the_log_too() {
    let (dir, path) = new_path();
    let writer = open(&path).await;
    let stored = writer.enqueue(event("a", "X"), NOW).await;
    let stored = stored.expect("the event is stored");
    // As a killed writer leaves it: everything is in the log still.
    let left = dir.path().join("left.db");
    for (ending, to) in [("db", "left.db"), ("db-wal", "left.db-wal")] {
        let copied = std::fs::copy(path.with_extension(ending), dir.path().join(to));
        assert!(copied.expect("it is copied") > 0);
    }
    writer.close().await;
    for file in [path, left] {
        let reader = SqliteStore::open_read_only(&file, Limits::default()).await;
        let reader = reader.expect("the store opens");
        let seen = reader.message(stored.message).await;
        assert!(seen.expect("the message is read").is_some());
        reader.close().await;
    }
}

#[tokio::test]
async fn unknown_schema_is_not_opened() {
    let (_dir, path) = new_path();
    open(&path).await.close().await;
    let mut stranger = stranger(&path).await;
    let newer =
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
                 VALUES (999, 'newer', 1, x'00', 0)";
    sqlx::raw_sql(newer)
        .execute(&mut stranger)
        .await
        .expect("the file is changed");
    stranger.close().await.expect("the file closes");
    let before = std::fs::read(&path).expect("the file is read");
    let refused = [
        SqliteStore::open(&path, Limits::default()).await,
        SqliteStore::open_read_only(&path, Limits::default()).await,
        SqliteStore::open_or_set_aside(&path, Limits::default(), NOW)
            .await
            .map(|(store, _)| store),
    ];
    for opened in refused {
        match opened {
            Err(error @ OpenError::Newer { .. }) => {
                let text = error.to_string();
                assert!(text.contains("999") && text.contains("knows 4"), "{text}");
            }
            other => panic!("{:?}", other.err()),
        }
    }
    assert!(before == std::fs::read(&path).expect("the file is read"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_enqueuers_get_distinct_ids_and_gapless_places() {
    let (_dir, path) = new_path();
    let store = Arc::new(open(&path).await);
    let producers = (0..16).map(|producer| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut receipts = Vec::new();
            for _ in 0..50 {
                let event = event(&format!("k{}", producer % 4), "X");
                receipts.push(
                    store
                        .enqueue(event, NOW)
                        .await
                        .expect("the event is stored"),
                );
            }
            receipts
        })
    });
    let receipts: Vec<Receipt> = join_all(producers)
        .await
        .into_iter()
        .flat_map(|receipts| receipts.expect("the producer ends"))
        .collect();
    let ids: BTreeSet<_> = receipts.iter().map(|receipt| receipt.message.0).collect();
    assert_eq!(ids, (1..=800).collect());
    let places: BTreeSet<_> = receipts.iter().map(|r| (r.session, r.seq.0)).collect();
    let sessions: BTreeSet<_> = receipts.iter().map(|receipt| receipt.session).collect();
    assert_eq!(sessions.len(), 4);
    for session in sessions {
        assert!(
            (1..=200).all(|seq| places.contains(&(session, seq))),
            "{session} has a gap"
        );
    }
    assert!(
        store
            .verify()
            .await
            .expect("the store is checked")
            .is_sound()
    );
}

#[tokio::test]
async fn batches_of_every_size_are_stored_and_worked() {
    for sessions in [1, 3, 5, 17, 65, 300] {
        let (_dir, path) = new_path();
        let store = open(&path).await;
        let owner = store.begin_generation("1-1", NOW).await.expect("it begins");
        let events = (0..sessions).map(|key| event(&format!("k{key}"), "X"));
        let stored = join_all(events.map(|event| store.enqueue(event, NOW))).await;
        let stored = stored
            .into_iter()
            .map(|stored| stored.expect("the event is stored"));
        let claimed =
            join_all(stored.map(|receipt| store.claim(receipt.session, owner, NOW))).await;
        let confirms = claimed.into_iter().map(|claimed| match claimed {
            Ok(Claimed::Message(claim)) => Confirm {
                message: claim.message.id,
                fence: claim.fence,
                results: vec![NewResult::default(); 2],
                checkpoint: Some(claim.message.id.to_string()),
                usage: Usage::default(),
            },
            other => panic!("{other:?}"),
        });
        let confirmed = join_all(confirms.map(|confirm| store.confirm(confirm, NOW))).await;
        assert!(confirmed.iter().all(Result::is_ok), "{confirmed:?}");
        let stats = store.stats().await.expect("stats are read");
        assert_eq!((stats.depth.done, stats.results), (sessions, 2 * sessions));
        let found = store.verify().await.expect("the store is checked");
        assert!(found.is_sound(), "{found:?}");
        for message in store
            .messages(MessageFilter::default())
            .await
            .expect("they are listed")
        {
            let checkpoint = store.checkpoint(message.session).await.expect("it is read");
            assert_eq!(checkpoint, Some(message.id.to_string()));
        }
    }
}

#[tokio::test]
async fn failing_request_leaves_the_others_of_its_batch_stored() {
    let (_dir, path) = new_path();
    let store = open(&path).await;
    store
        .enqueue(event("a", "X"), NOW)
        .await
        .expect("the event is stored");
    let trap = "CREATE TRIGGER trap BEFORE INSERT ON messages WHEN NEW.kind = 'bad'
                BEGIN SELECT RAISE(ABORT, 'trap'); END";
    let mut stranger = stranger(&path).await;
    sqlx::raw_sql(trap)
        .execute(&mut stranger)
        .await
        .expect("the trap is set");
    // Far more than the writer begins with: the bad one shares its batch with others.
    let kinds = (0..60).map(|number| if number == 30 { "bad" } else { "X" });
    let stored = join_all(kinds.map(|kind| store.enqueue(event("a", kind), NOW))).await;
    let (stored, refused): (Vec<_>, Vec<_>) = stored.into_iter().partition(Result::is_ok);
    let seqs = stored.iter().flatten().map(|receipt| receipt.seq.0);
    let seqs: Vec<_> = seqs.collect();
    let places: Vec<_> = (2..=60).collect();
    assert_eq!(seqs, places, "and the bad one takes no place");
    assert!(matches!(
        refused.as_slice(),
        [Err(EnqueueError::Store(StoreError::Database(_)))]
    ));
    let messages = store
        .messages(MessageFilter::default())
        .await
        .expect("they are listed");
    assert_eq!(messages.len(), 60);
    assert!(
        store
            .verify()
            .await
            .expect("the store is checked")
            .is_sound()
    );
}

#[tokio::test]
async fn nothing_is_acknowledged_while_the_file_is_locked() {
    let (_dir, path) = new_path();
    let limits = Limits {
        busy_timeout: std::time::Duration::from_millis(1),
        ..Limits::default()
    };
    let store = SqliteStore::open(&path, limits)
        .await
        .expect("the store opens");
    let mut stranger = stranger(&path).await;
    sqlx::raw_sql("BEGIN IMMEDIATE")
        .execute(&mut stranger)
        .await
        .expect("the file is locked");
    let refused = join_all((0..60).map(|_| store.enqueue(event("a", "X"), NOW))).await;
    let mut errors: Vec<_> = refused
        .iter()
        .map(|refused| match refused {
            Err(EnqueueError::Store(StoreError::Database(error))) => error,
            other => panic!("{other:?}"),
        })
        .collect();
    errors.dedup_by(|one, other| Arc::ptr_eq(one, other));
    assert!(
        errors.len() < 60,
        "a file that is locked is waited for once a batch: {errors:?}"
    );
    sqlx::raw_sql("ROLLBACK")
        .execute(&mut stranger)
        .await
        .expect("the file is unlocked");
    let stored = store
        .enqueue(event("a", "X"), NOW)
        .await
        .expect("the event is stored");
    assert_eq!(stored.message.0, 1);
}

#[tokio::test]
async fn schema_refuses_states_the_diagram_does_not_have() {
    let (_dir, path) = new_path();
    let store = open(&path).await;
    store
        .enqueue(event("a", "X"), NOW)
        .await
        .expect("the event is stored");
    let mut stranger = stranger(&path).await;
    for spoil in [
        "UPDATE messages SET state = 'claimed'",
        "UPDATE messages SET claim_seq = 1",
        "UPDATE messages SET state = 'done'",
        "UPDATE messages SET finished_at = 1",
        "UPDATE messages SET state = 'lost'",
        "UPDATE sessions SET life = 'closing'",
        "UPDATE sessions SET close_depth = 'close'",
        "UPDATE sessions SET reopen = 1",
        "UPDATE sessions SET life = 'ended', drain_until = 1",
        "UPDATE sessions SET pending = -1",
    ] {
        let spoilt = sqlx::raw_sql(spoil).execute(&mut stranger).await;
        assert!(spoilt.is_err(), "{spoil}");
    }
    let wrong = "UPDATE sessions SET pending = 7";
    sqlx::raw_sql(wrong)
        .execute(&mut stranger)
        .await
        .expect("the counter is spoilt");
    let found = store.verify().await.expect("the store is checked");
    assert_eq!(
        found.miscounts,
        [("pending of session agent:a".to_owned(), 7, 1)]
    );
}

#[tokio::test]
async fn listing_is_bounded_by_bytes_but_never_stuck() {
    const MIB: usize = 1 << 20;
    let (_dir, path) = new_path();
    let limits = Limits {
        payload_max_bytes: 9 * MIB,
        result_max_bytes: 9 * MIB,
        ..Limits::default()
    };
    let sqlite = SqliteStore::open(&path, limits).await;
    let stores: [Box<dyn Store>; 2] = [
        Box::new(sqlite.expect("the store opens")),
        Box::new(MemoryStore::new(limits)),
    ];
    for store in stores {
        // What fits exactly is taken whole; what never fits comes alone.
        for mib in [5, 3, 1, 9, 1] {
            let event = Enqueue {
                payload: "x".repeat(mib * MIB),
                ..event("a", "X")
            };
            let stored = store
                .enqueue(event, NOW)
                .await
                .expect("the event is stored");
            let claimed = store.claim(stored.session, Generation(1), NOW).await;
            let Ok(Claimed::Message(claim)) = claimed else {
                panic!("{claimed:?}");
            };
            let result = NewResult {
                kind: String::new(),
                title: String::new(),
                body: "x".repeat(mib * MIB),
                files: Vec::new(),
                tags: Vec::new(),
            };
            let confirm = Confirm {
                message: stored.message,
                fence: claim.fence,
                results: vec![result],
                checkpoint: None,
                usage: Usage::default(),
            };
            store.confirm(confirm, NOW).await.expect("it is confirmed");
        }
        for (after, wanted) in [(0, vec![1, 2]), (2, vec![3]), (3, vec![4]), (4, vec![5])] {
            let filter = MessageFilter {
                after: Some(MessageId(after)),
                ..MessageFilter::default()
            };
            let listed = store.messages(filter).await.expect("they are listed");
            let ids: Vec<_> = listed.iter().map(|message| message.id.0).collect();
            assert_eq!(ids, wanted);
            let filter = ResultFilter {
                after: Some(ResultId(after)),
                ..ResultFilter::default()
            };
            let listed = store.results(filter).await.expect("they are listed");
            let ids: Vec<_> = listed.iter().map(|result| result.id.0).collect();
            assert_eq!(ids, wanted);
        }
        store.close().await;
    }
}
