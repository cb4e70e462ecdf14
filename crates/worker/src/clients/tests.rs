//! Subscribers that misbehave, deadlines, and what becomes of rows that cannot be read or written.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Map, json};
use sessiond_queue::MemoryStore;
use sessiond_queue::limits::Limits;
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::entry::Entry;
use super::*;
use crate::config::Config;

/// Guards against hanging; says nothing about speed.
const LIMIT: Duration = Duration::from_secs(20);

struct Stage {
    clients: Clients,
    state: StateDb,
    stop: CancellationToken,
    keeping: JoinHandle<()>,
    dir: TempDir,
}

impl Stage {
    async fn new(ttl_ms: u64) -> Self {
        Self::on(tempfile::tempdir().expect("a directory"), ttl_ms).await
    }

    async fn on(dir: TempDir, ttl_ms: u64) -> Self {
        let now = Clock.now();
        let state = StateDb::open(&dir.path().join("state.db"), now).await;
        let state = state.expect("the state opens");
        let stop = CancellationToken::new();
        let parts = Parts {
            state: state.clone(),
            store: Arc::new(MemoryStore::new(Limits::default())),
            clock: Clock,
            events: Events::default(),
            settings: config::Clients {
                ttl_ms,
                save_interval_ms: 1,
                ..Config::default().clients
            },
            stop: stop.clone(),
        };
        let (clients, keeping) = Clients::open(parts).await;
        Self {
            clients,
            state,
            stop,
            keeping,
            dir,
        }
    }

    /// Stops as a worker does.
    async fn stop(self) -> TempDir {
        self.stop.cancel();
        self.keeping.await.expect("it ends");
        self.state.close().await;
        self.dir
    }

    fn open(&self, name: &str) -> ClientId {
        let about = About {
            name: name.to_owned(),
            ..About::default()
        };
        let opening = Opening {
            id: None,
            kind: Kind::Mcp,
            about,
        };
        self.clients
            .open_session(opening)
            .expect("opened")
            .client
            .id
    }

    async fn run(&self, sql: &'static str) {
        let mut writer = self.state.writer().await.expect("a writer");
        let run = sqlx::raw_sql(sql).execute(&mut *writer).await;
        run.expect("the statement runs");
    }

    async fn rows(&self) -> i64 {
        let count = sqlx::query_scalar("SELECT count(*) FROM clients");
        count
            .fetch_one(self.state.readers())
            .await
            .expect("a count")
    }

    async fn wait_for_rows(&self, wanted: i64) {
        let wait = async {
            while self.rows().await != wanted {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(LIMIT, wait)
            .await
            .expect("the rows follow");
    }
}

/// What a subscriber does with a client that is gone.
enum Manner {
    Tells(mpsc::UnboundedSender<Gone>),
    Fails,
    Panics,
    Hangs,
}

#[async_trait]
impl GoneHandler for Manner {
    fn name(&self) -> &'static str {
        "test"
    }

    async fn gone(&self, gone: &Gone) -> Result<(), HandlerError> {
        match self {
            Self::Tells(told) => told.send(gone.clone())?,
            Self::Fails => return Err("not today".into()),
            Self::Panics => panic!("a defect"),
            Self::Hangs => std::future::pending().await,
        }
        Ok(())
    }
}

#[tokio::test]
async fn subscriber_that_fails_panics_or_hangs_keeps_no_client_in() {
    let stage = Stage::new(30).await;
    let (told, mut heard) = mpsc::unbounded_channel();
    for manner in [
        Manner::Hangs,
        Manner::Panics,
        Manner::Fails,
        Manner::Tells(told),
    ] {
        stage.clients.on_gone(Arc::new(manner));
    }
    // More than one that hangs is busy with at once.
    let count = 2 * limits::HANDLED_AT_ONCE;
    let opened: Vec<_> = (0..count).map(|_| stage.open("c")).collect();
    for _ in 0..count {
        let gone = tokio::time::timeout(LIMIT, heard.recv()).await;
        let gone = gone.expect("told within the limit").expect("told");
        assert_eq!(gone.why, Why::Expired);
        assert!(opened.contains(&gone.client.id));
        assert_eq!(stage.clients.get(gone.client.id), None);
    }
    assert_eq!(stage.clients.counts(), Counts::default());
    stage.wait_for_rows(0).await;
    stage.stop().await;
}

#[tokio::test]
async fn what_is_open_at_the_end_is_saved_and_open_again_with_the_time_it_has_left() {
    let stage = Stage::new(60_000).await;
    let id = stage.open("editor");
    let patch = Map::from_iter([("a".to_owned(), json!([1, null]))]);
    let before = stage.clients.patch(id, patch).expect("patched");
    let dir = stage.stop().await;
    let stage = Stage::on(dir, 60_000).await;
    assert_eq!(stage.clients.get(id), Some(before));
    stage.stop().await;
}

#[test]
fn touches_of_a_moment_are_one() {
    let (ttl, now) = (Duration::from_secs(60), Clock.now());
    let entry = Entry::new(ClientId::mint(), Kind::Http, About::default(), now, ttl);
    let mut entry = entry.expect("an entry");
    let begun = entry.deadline - ttl;
    let later = |ms| begun + Duration::from_millis(ms);
    assert!(!entry.touch(now, later(99), ttl));
    assert_eq!(entry.deadline, begun + ttl);
    assert!(entry.touch(now, later(100), ttl));
    assert_eq!(entry.deadline, later(100) + ttl);
}

#[tokio::test]
async fn row_that_cannot_be_read_is_kept_aside_until_it_expires() {
    let stage = Stage::new(60_000).await;
    stage.open("sound");
    stage.wait_for_rows(1).await;
    stage
        .run(
            "INSERT INTO clients (id, kind, name, groups, metadata, created_at, touched_at, expires_at)
             VALUES ('no id', 'http', 'x', '[]', '{}', 1, 1, 99999999999999),
                    ('0192d3c4-0000-7000-8000-000000000000', 'http', 'x', '[]', '{', 1, 1, 99999999999999),
                    ('also none', 'http', 'x', '[]', '{}', 1, 1, 2)",
        )
        .await;
    let stage = Stage::on(stage.stop().await, 60_000).await;
    assert_eq!(stage.clients.counts().http + stage.clients.counts().mcp, 1);
    assert_eq!(stage.rows().await, 3, "the expired one is gone");
    assert_eq!(stage.clients.report().skipped, 2);
    assert_eq!(stage.clients.clear(None).await.expect("cleared"), 1);
    assert_eq!(stage.rows().await, 0);
    stage.stop().await;
}

#[tokio::test]
async fn what_could_not_be_saved_is_tried_again() {
    let stage = Stage::new(60_000).await;
    stage.run("ALTER TABLE clients RENAME TO elsewhere").await;
    stage.open("c");
    let failed = async {
        while stage.clients.report().last_error.is_none() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(LIMIT, failed)
        .await
        .expect("it is told");
    stage.run("ALTER TABLE elsewhere RENAME TO clients").await;
    stage.wait_for_rows(1).await;
    stage.stop().await;
}

#[tokio::test]
async fn process_is_watched_once_however_many_clients_it_has() {
    let stage = Stage::new(60_000).await;
    let mut last = None;
    for _ in 0..3 {
        let registration = Registration {
            pid: Some(std::process::id()),
            presence: Some("key".to_owned().into()),
            ..Registration::default()
        };
        let registered = stage.clients.register(registration).await;
        last = Some(registered.expect("registered"));
    }
    let last = last.expect("one");
    let watches = stage.clients.report();
    assert_eq!(watches.watched + watches.swept, 1, "{watches:?}");
    let scope = stage.clients.resolve(&last.token.hash()).expect("known");
    assert_eq!(scope.client, last.client.id);
    let length = stage.clients.with_presence(scope.client, str::len);
    assert_eq!(length, Some(3));
    assert_eq!(stage.clients.clear(None).await.expect("cleared"), 3);
    let watches = stage.clients.report();
    assert_eq!(watches.watched + watches.swept, 0, "{watches:?}");
    stage.stop().await;
}
