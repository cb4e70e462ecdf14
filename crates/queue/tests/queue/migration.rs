//! A file of an earlier schema: it is brought up to date with all that is in it.

use std::path::Path;

use sessiond_queue::SqliteStore;
use sessiond_queue::error::OpenError;
use sessiond_queue::ids::{Generation, MessageId, SessionId, Timestamp};
use sessiond_queue::limits::Limits;
use sessiond_queue::store::Store;
use sessiond_queue::types::{Claimed, Life, MessageFilter, ResultFilter, State, Usage};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, SqlSafeStr as _};
use uuid::Uuid;

use crate::sqlite::{NOW, new_path, open};

/// A session in the middle of its work, as the first schema kept it: one message done, one dead, one
/// in the hands of an instance that has died, and one waiting.
const ROWS: &str = "
INSERT INTO sessions (num, id, agent, key, project, prompt, prompt_number, created_at, active_at,
                      next_seq, pending, dead, consecutive_failures, last_error,
                      input_tokens, output_tokens, cost_usd)
VALUES (1, x'0000000000000000000000000000000a', 'agent', 'a', '/p', 'go on', 2, 1, 9,
        5, 2, 1, 1, 'bad', 10, 2, 0.25);
INSERT INTO messages (id, session, seq, epoch, event_id, kind, state, attempt, accepted_at,
                      finished_at, generation, claim_seq, last_error)
VALUES (1, 1, 1, 0, x'00000000000000000000000000000001', 'X', 'done', 1, 1, 2, NULL, NULL, NULL),
       (2, 1, 2, 0, x'00000000000000000000000000000002', 'X', 'dead', 3, 1, 4, NULL, NULL, 'bad'),
       (3, 1, 3, 0, x'00000000000000000000000000000003', 'X', 'claimed', 1, 1, NULL, 1, 5, NULL),
       (4, 1, 4, 0, x'00000000000000000000000000000004', 'X', 'pending', 0, 1, NULL, NULL, NULL, NULL);
INSERT INTO payloads (message, body) VALUES (1, '{}'), (2, '{}'), (3, '{}'), (4, '{}');
INSERT INTO checkpoints (session, body) VALUES (1, '{\"n\":1}');
INSERT INTO results (id, session, message, seq, epoch, accepted_at, created_at, kind, title, body,
                     files, tags)
VALUES (1, 1, 1, 1, 0, 1, 2, 'observation', 't', 'b', '[]', '[]');
UPDATE meta SET generation = 1, instance = '1-1', begun_at = 1;
UPDATE counters SET pending = 1, claimed = 1, done = 1, dead = 1, sessions_open = 1,
                    last_session = 1, last_message = 4, last_result = 1, last_claim = 5;
";

/// Makes a file with the first migration alone.
async fn write_first_schema(path: &Path) {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true);
    let mut conn = options.connect().await.expect("the file is made");
    let first = Migration::new(
        1,
        "init".into(),
        MigrationType::Simple,
        include_str!("../../migrations/0001_init.sql").into_sql_str(),
        false,
    );
    let migrated = Migrator::with_migrations(vec![first]).run(&mut conn).await;
    migrated.expect("the schema is made");
    let filled = sqlx::raw_sql(ROWS).execute(&mut conn).await;
    filled.expect("the rows are stored");
    conn.close().await.expect("the file closes");
}

#[tokio::test]
async fn file_of_the_first_schema_keeps_all_that_is_in_it() {
    let (_dir, path) = new_path();
    write_first_schema(&path).await;
    let store = open(&path).await;
    let info = store.info().await.expect("the store is described");
    assert_eq!(info.schema_version, 4);
    let found = store.verify().await.expect("the store is checked");
    assert!(found.is_sound(), "{found:?}");

    let id = SessionId(Uuid::from_u128(10));
    let session = store.session(id).await.expect("the session is read");
    let session = session.expect("the session is there");
    let usage = Usage {
        input_tokens: 10,
        output_tokens: 2,
        cost_usd: 0.25,
    };
    assert_eq!((session.life, session.usage), (Life::Open, usage));
    assert_eq!((session.pending, session.dead), (2, 1));
    assert_eq!(
        (session.prompt.as_deref(), session.failing),
        (Some("go on"), None)
    );
    let messages = store.messages(MessageFilter::default()).await;
    let messages = messages.expect("they are listed");
    let states: Vec<_> = messages.iter().map(|message| message.state).collect();
    assert_eq!(
        states,
        [State::Done, State::Dead, State::Claimed, State::Pending]
    );
    let results = store.results(ResultFilter::default()).await;
    assert_eq!(results.expect("they are listed").len(), 1);
    let checkpoint = store.checkpoint(id).await.expect("it is read");
    assert_eq!(checkpoint.as_deref(), Some("{\"n\":1}"));
    for message in &messages {
        let attempts = store.attempts(message.id).await;
        assert_eq!(attempts.expect("the history is read"), []);
    }
    let days = store.usage_days(0).await.expect("the days are listed");
    assert_eq!(days, [], "nobody knows on which days it was spent");
}

#[tokio::test]
async fn file_of_the_first_schema_is_worked_on() {
    let (_dir, path) = new_path();
    write_first_schema(&path).await;
    let store = open(&path).await;
    let owner = store.begin_generation("2-2", NOW).await.expect("it begins");
    assert_eq!(owner, Generation(2));
    let rescued = store.rescue(owner, NOW).await.expect("claims are rescued");
    assert_eq!(rescued.pending, 1);
    let session = SessionId(Uuid::from_u128(10));
    let claimed = store.claim(session, owner, Timestamp(2_000)).await;
    match claimed.expect("the claim is answered") {
        Claimed::Message(claim) => assert_eq!(claim.message.id, MessageId(3)),
        other => panic!("{other:?}"),
    }
    let attempts = store.attempts(MessageId(3)).await;
    assert_eq!(attempts.expect("the history is read").len(), 1);
    let failing = store.set_failing(session, Some("broken"), NOW).await;
    assert!(failing.expect("the session is there").failing.is_some());
    let found = store.verify().await.expect("the store is checked");
    assert!(found.is_sound(), "{found:?}");
}

/// Sessions of every kind: of these, one is closing, one drains, and one that is ended has work left.
const MORE_ROWS: &str = "
INSERT INTO sessions (num, id, agent, key, life, close_depth, drain_until, created_at, active_at,
                      next_seq, pending)
VALUES (2, x'0000000000000000000000000000000b', 'agent', 'b', 'closing', 'purge', NULL, 1, 2, 1, 0),
       (3, x'0000000000000000000000000000000c', 'agent', 'c', 'open', NULL, 7, 1, 3, 1, 0),
       (4, x'0000000000000000000000000000000d', 'agent', 'd', 'ended', NULL, NULL, 1, 4, 4, 1),
       (5, x'0000000000000000000000000000000e', 'agent', 'e', 'ended', NULL, NULL, 1, 5, 3, 0);
INSERT INTO messages (id, session, seq, epoch, event_id, kind, state, accepted_at, finished_at)
VALUES (5, 4, 1, 0, x'00000000000000000000000000000005', 'X', 'cancelled', 1, 2),
       (6, 4, 2, 0, x'00000000000000000000000000000006', 'X', 'pending', 3, NULL),
       (7, 4, 3, 0, x'00000000000000000000000000000007', 'X', 'cancelled', 1, 2),
       (8, 5, 2, 0, x'00000000000000000000000000000008', 'X', 'cancelled', 1, 2);
INSERT INTO payloads (message, body) VALUES (5, '{}'), (6, '{}'), (7, '{}'), (8, '{}');
UPDATE counters SET pending = 2, cancelled = 3, sessions_open = 2, sessions_closing = 1,
                    sessions_ended = 2, last_session = 5, last_message = 8;
";

#[tokio::test]
async fn unfinished_sessions_of_an_older_file_are_known_by_their_heads() {
    let (_dir, path) = new_path();
    write_first_schema(&path).await;
    let mut stranger = crate::sqlite::stranger(&path).await;
    let filled = sqlx::raw_sql(MORE_ROWS).execute(&mut stranger).await;
    filled.expect("the rows are stored");
    stranger.close().await.expect("the file closes");
    let store = open(&path).await;
    // The CHECKs that it got fit what is stored, too.
    let found = store.verify().await.expect("the store is checked");
    assert!(found.is_sound() && found.checks_rows, "{found:?}");
    let unfinished = store.unfinished().await.expect("they are listed");
    let found = unfinished
        .iter()
        .map(|found| (found.session.0.as_u128(), found.due_at.map(|at| at.0)));
    let wanted = [(10, None), (11, None), (12, None), (13, Some(3))];
    assert_eq!(found.collect::<Vec<_>>(), wanted);
    let mut stranger = crate::sqlite::stranger(&path).await;
    for broken in [
        "unfinished = 1 - unfinished",
        "unfinished = NULL",
        "head_seq = next_seq + 1",
        "life = 'other'",
    ] {
        let update = AssertSqlSafe(format!("UPDATE sessions SET {broken}"));
        let refused = sqlx::raw_sql(update).execute(&mut stranger).await;
        assert!(refused.is_err(), "{broken}");
    }
}

#[tokio::test]
async fn file_of_the_first_schema_is_not_read_as_if_it_were_of_this() {
    let (_dir, path) = new_path();
    write_first_schema(&path).await;
    let opened = SqliteStore::open_read_only(&path, Limits::default()).await;
    assert!(matches!(opened, Err(OpenError::Older { found: 1, .. })));
}

/// The names in a directory, sorted.
fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).expect("the directory is listed");
    let name = |entry: std::io::Result<std::fs::DirEntry>| {
        let name = entry.expect("an entry").file_name();
        name.into_string().expect("a name")
    };
    let mut names: Vec<_> = entries.map(name).collect();
    names.sort();
    names
}

#[tokio::test]
async fn older_file_is_backed_up_before_it_is_migrated() {
    let (dir, path) = new_path();
    write_first_schema(&path).await;
    for old in [
        "queue.db.v1-5.bak",
        "queue.db.v1-40.bak",
        "queue.db.v1-300.bak",
    ] {
        std::fs::write(dir.path().join(old), "").expect("a backup");
    }
    let store = open(&path).await;
    let info = store.info().await.expect("the store is described");
    let shrinks = ("auto_vacuum".to_owned(), "2".to_owned());
    assert!(info.pragmas.contains(&shrinks), "{:?}", info.pragmas);
    store.close().await;
    let names = names(dir.path());
    assert_eq!(names.len(), 4, "three backups are kept: {names:?}");
    assert!(
        !names.contains(&"queue.db.v1-5.bak".to_owned()),
        "{names:?}"
    );
    let newest = |name: &&String| name.starts_with("queue.db.v1-") && name.len() > 24;
    let backup = dir
        .path()
        .join(names.iter().find(newest).expect("a backup"));
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(&backup)
            .expect("it is there")
            .permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);

    // It is the old file, which can be gone back to, and migrated again.
    let gone_back = dir.path().join("back.db");
    std::fs::copy(&backup, &gone_back).expect("it is copied");
    let mut stranger = crate::sqlite::stranger(&gone_back).await;
    let version: i64 = sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations")
        .fetch_one(&mut stranger)
        .await
        .expect("it is read");
    assert_eq!(version, 1);
    stranger.close().await.expect("the file closes");
    let store = open(&gone_back).await;
    let messages = store.messages(MessageFilter::default()).await;
    assert_eq!(messages.expect("they are listed").len(), 4);
}

#[tokio::test]
async fn file_that_cannot_be_backed_up_is_not_migrated() {
    let (dir, path) = new_path();
    write_first_schema(&path).await;
    let before = std::fs::read(&path).expect("the file is read");
    std::fs::create_dir(dir.path().join("queue.db.bak.new")).expect("an obstacle");
    let opened = SqliteStore::open(&path, Limits::default()).await;
    assert!(matches!(opened, Err(OpenError::BackUp { .. })));
    assert!(before == std::fs::read(&path).expect("the file is read"));
}

#[tokio::test]
async fn present_file_is_not_backed_up() {
    let (dir, path) = new_path();
    open(&path).await.close().await;
    open(&path).await.close().await;
    assert_eq!(names(dir.path()), ["queue.db"]);
}

#[tokio::test]
async fn damaged_file_is_set_aside_with_its_log() {
    let (dir, path) = new_path();
    std::fs::write(
        &path,
        "this is no database, and long enough to be sure of it".repeat(99),
    )
    .expect("the file is written");
    std::fs::write(path.with_extension("db-wal"), "no log either").expect("the log is written");
    let opened = SqliteStore::open(&path, Limits::default()).await;
    assert!(matches!(opened, Err(OpenError::Damaged { .. })));
    let opened = SqliteStore::open_or_set_aside(&path, Limits::default(), Timestamp(77_000)).await;
    let (store, aside) = opened.expect("the store opens");
    let wanted = dir.path().join("queue.db.damaged-77000");
    assert_eq!(aside.as_ref(), Some(&wanted));
    let info = store.info().await.expect("the store is described");
    assert_eq!(info.damaged, [wanted]);
    assert!(dir.path().join("queue.db.damaged-77000-wal").exists());
    let begun = store.begin_generation("1-1", NOW).await;
    let wanted = Generation(78);
    assert_eq!(
        begun.expect("it begins"),
        wanted,
        "none of the old file comes again"
    );
    store.close().await;
    let opened = SqliteStore::open_or_set_aside(&path, Limits::default(), NOW).await;
    let (_store, aside) = opened.expect("the store opens");
    assert_eq!(aside, None);
}

#[tokio::test]
async fn damage_that_only_a_check_finds_is_found_after_a_crash() {
    let (dir, path) = new_path();
    let store = open(&path).await;
    for _ in 0..200 {
        let event = crate::sqlite::event("a", "X");
        store
            .enqueue(event, NOW)
            .await
            .expect("the event is stored");
    }
    store.fold_log().await.expect("the log is folded");
    let event = crate::sqlite::event("a", "X");
    store
        .enqueue(event, NOW)
        .await
        .expect("the event is stored");
    // As after a kill: the file as it is, with its log.
    let crashed = dir.path().join("crashed.db");
    let mut bytes = std::fs::read(&path).expect("the file is read");
    let wal = std::fs::read(path.with_extension("db-wal")).expect("the log is read");
    std::fs::write(&crashed, &bytes).expect("it is copied");
    std::fs::write(dir.path().join("crashed.db-wal"), &wal).expect("it is copied");
    let sound = SqliteStore::open(&crashed, Limits::default()).await;
    sound.expect("a crash is no damage").close().await;

    // A page that the log does not have: a frame is a header of 24 bytes, which begins with the page's
    // number, and the page.
    let logged: Vec<usize> = wal[32..]
        .chunks(24 + 4096)
        .map(|frame| u32::from_be_bytes(frame[..4].try_into().expect("a number")) as usize)
        .collect();
    let page = (1..=bytes.len() / 4096).rfind(|page| !logged.contains(page));
    let end = page.expect("a page") * 4096;
    bytes[end - 4096..end].fill(0xA5);
    std::fs::write(&crashed, &bytes).expect("it is copied");
    std::fs::write(dir.path().join("crashed.db-wal"), &wal).expect("it is copied");
    let opened = SqliteStore::open(&crashed, Limits::default()).await;
    match opened {
        Err(OpenError::Damaged { .. }) => {}
        other => panic!("{:?}", other.err()),
    }
}
