//! The queue's database as it lies on disk, read-only, with or without a worker.

use std::path::PathBuf;

use sessiond::wire::layout::Layout;
use sessiond_queue::SqliteStore;
use sessiond_queue::ids::{Generation, MessageId, ResultId, SessionId};
use sessiond_queue::limits::{LIST_MAX, Limits};
use sessiond_queue::store::Store;
use sessiond_queue::types::{
    Message, MessageFilter, ResultFilter, Session, SessionFilter, Stats, StoredResult, Verification,
};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Row};
use tokio::runtime::Runtime;

/// An open database.
pub struct Database {
    store: SqliteStore,
    layout: Layout,
    runtime: Runtime,
}

/// `state.db`, which nobody else can write to.
pub struct HeldState {
    _holder: rusqlite::Connection,
}

impl Database {
    /// Opens the database of a home whose worker has run.
    #[track_caller]
    pub fn open(layout: &Layout) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let path = layout.queue_db();
        let open = SqliteStore::open_read_only(&path, Limits::default());
        let store = runtime.block_on(open).expect("the database opens");
        Self {
            store,
            layout: layout.clone(),
            runtime,
        }
    }

    /// Every message, by id.
    pub fn messages(&self) -> Vec<Message> {
        let mut all: Vec<Message> = Vec::new();
        loop {
            let after = all.last().map(|message| message.id);
            let filter = MessageFilter {
                after,
                limit: LIST_MAX,
                ..MessageFilter::default()
            };
            let page = self
                .runtime
                .block_on(self.store.messages(filter))
                .expect("messages");
            if page.is_empty() {
                return all;
            }
            all.extend(page);
        }
    }

    /// One message.
    pub fn message(&self, id: MessageId) -> Option<Message> {
        self.runtime
            .block_on(self.store.message(id))
            .expect("a message")
    }

    /// Every result of a session, by id.
    pub fn results(&self, session: SessionId) -> Vec<StoredResult> {
        let mut all: Vec<StoredResult> = Vec::new();
        loop {
            let after: Option<ResultId> = all.last().map(|result| result.id);
            let filter = ResultFilter {
                session: Some(session),
                after,
                limit: LIST_MAX,
                ..ResultFilter::default()
            };
            let page = self
                .runtime
                .block_on(self.store.results(filter))
                .expect("results");
            if page.is_empty() {
                return all;
            }
            all.extend(page);
        }
    }

    /// Up to a thousand sessions, the last active first.
    pub fn sessions(&self) -> Vec<Session> {
        let filter = SessionFilter {
            limit: LIST_MAX,
            ..SessionFilter::default()
        };
        self.runtime
            .block_on(self.store.sessions(filter))
            .expect("sessions")
    }

    /// The session of an agent's key.
    pub fn session(&self, agent: &str, key: &str) -> Option<Session> {
        self.runtime
            .block_on(self.store.find_session(agent, key))
            .expect("a session")
    }

    /// The counters.
    pub fn stats(&self) -> Stats {
        self.runtime.block_on(self.store.stats()).expect("stats")
    }

    /// The thorough check.
    pub fn verify(&self) -> Verification {
        self.runtime
            .block_on(self.store.verify())
            .expect("a verification")
    }

    /// A number by a statement of the test's own, for what the store does not tell.
    pub fn number(&self, sql: &'static str) -> i64 {
        self.number_of(self.layout.queue_db(), sql)
    }

    /// The same of `state.db`.
    pub fn state_number(&self, sql: &'static str) -> i64 {
        self.number_of(self.layout.state_db(), sql)
    }

    /// Changes what no worker would.
    pub fn change(&self, sql: &'static str) {
        self.change_in(self.layout.queue_db(), sql);
    }

    /// The same in `state.db`.
    pub fn change_state(&self, sql: &'static str) {
        self.change_in(self.layout.state_db(), sql);
    }

    /// Keeps everybody else from writing to `state.db` until it is dropped.
    pub fn hold_state(&self) -> HeldState {
        let holder = rusqlite::Connection::open(self.layout.state_db()).expect("state.db");
        holder.execute_batch("BEGIN IMMEDIATE").expect("it is held");
        HeldState { _holder: holder }
    }

    fn number_of(&self, path: PathBuf, sql: &'static str) -> i64 {
        let options = SqliteConnectOptions::new().filename(path).read_only(true);
        self.runtime.block_on(async {
            let mut conn = options.connect().await.expect("the database opens");
            let row = sqlx::query(sql).fetch_one(&mut conn).await.expect("a row");
            row.get::<i64, _>(0)
        })
    }

    fn change_in(&self, path: PathBuf, sql: &'static str) {
        let options = SqliteConnectOptions::new().filename(path);
        self.runtime.block_on(async {
            let mut conn = options.connect().await.expect("the database opens");
            let changed = sqlx::query(sql).execute(&mut conn).await;
            changed.expect("the database is changed");
        });
    }

    /// How many times a worker has started here.
    pub fn generation(&self) -> Generation {
        Generation(self.number("SELECT generation FROM meta"))
    }
}
