//! Both databases as they lie on disk, by statements of the test's own: what is counted here nobody
//! has counted before.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rusqlite::{Connection, OpenFlags};
use sessiond::wire::layout::Layout;
use uuid::Uuid;

/// The databases, read-only.
pub(super) struct Stored {
    queue: Connection,
    state: Connection,
}

/// Tables that may name a session which is gone.
/// - `event_log` is what happened; it holds no content, and newer events push it out.
/// - `worktrees`: those that were kept outlive their session, and are looked at apart.
const OUTLIVING: [&str; 2] = ["event_log", "worktrees"];

/// What is never empty: what was done and how much, not what belongs to a session.
const NOT_OF_SESSIONS: [&str; 7] = [
    "_sqlx_migrations",
    "counters",
    "event_log",
    "event_runs",
    "instances",
    "meta",
    "search_watermark",
];

impl Stored {
    pub(super) fn open(layout: &Layout) -> Self {
        Self {
            queue: connect(&layout.queue_db()),
            state: connect(&layout.state_db()),
        }
    }

    /// Life by id of every session.
    pub(super) fn sessions(&self) -> BTreeMap<String, (String, String)> {
        let mut rows = prepare(&self.queue, "SELECT id, key, life FROM sessions");
        let rows = rows.query_map([], |row| {
            let id: Vec<u8> = row.get(0)?;
            let id = Uuid::from_slice(&id).expect("an id has 16 bytes");
            Ok((id.to_string(), (row.get(1)?, row.get(2)?)))
        });
        let rows = rows.expect("rows");
        rows.map(|row| row.expect("a row")).collect()
    }

    pub(super) fn messages(&self) -> BTreeSet<i64> {
        let mut rows = prepare(&self.queue, "SELECT id FROM messages");
        let rows = rows.query_map([], |row| row.get(0)).expect("rows");
        rows.map(|row| row.expect("a row")).collect()
    }

    /// A count of `queue.db`.
    pub(super) fn of_queue(&self, sql: &str) -> i64 {
        count(&self.queue, sql)
    }

    /// A count of `state.db`.
    pub(super) fn of_state(&self, sql: &str) -> i64 {
        count(&self.state, sql)
    }

    /// Texts of `state.db`.
    pub(super) fn texts(&self, sql: &str) -> BTreeSet<String> {
        let mut rows = prepare(&self.state, sql);
        let rows = rows.query_map([], |row| row.get(0)).expect("rows");
        rows.map(|row| row.expect("a row")).collect()
    }

    /// Processes of agents, each with its session.
    pub(super) fn agents(&self) -> BTreeSet<(u32, String)> {
        let mut rows = prepare(&self.state, "SELECT pid, session FROM agent_processes");
        let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
        let rows = rows.expect("rows");
        rows.map(|row| row.expect("a row")).collect()
    }

    /// Rows of whatever table that name a session which has no row, or hang on one that is gone.
    pub(super) fn orphans(&self, sessions: &BTreeMap<String, (String, String)>) -> Vec<String> {
        let mut found = Vec::new();
        for table in with_sessions(&self.queue) {
            let sql = format!(
                "SELECT count(*) FROM {table} WHERE session NOT IN (SELECT num FROM sessions)"
            );
            if self.of_queue(&sql) > 0 {
                found.push(format!("queue.db {table}"));
            }
        }
        for table in ["payloads", "attempts"] {
            let sql = format!(
                "SELECT count(*) FROM {table} WHERE message NOT IN (SELECT id FROM messages)"
            );
            if self.of_queue(&sql) > 0 {
                found.push(format!("queue.db {table}"));
            }
        }
        for table in with_sessions(&self.state) {
            if OUTLIVING.contains(&table.as_str()) {
                continue;
            }
            let sql = format!("SELECT DISTINCT session FROM {table} WHERE session IS NOT NULL");
            for session in self.texts(&sql) {
                if !sessions.contains_key(&session) {
                    found.push(format!("state.db {table}: {session}"));
                }
            }
        }
        let kept = "SELECT DISTINCT session FROM worktrees WHERE state <> 'kept'";
        for session in self.texts(kept) {
            if !sessions.contains_key(&session) {
                found.push(format!("state.db worktrees: {session}"));
            }
        }
        found
    }

    /// Tables that have rows although there is no session.
    pub(super) fn not_empty(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (name, database) in [("queue.db", &self.queue), ("state.db", &self.state)] {
            for table in tables(database) {
                let is_exempt = NOT_OF_SESSIONS.contains(&table.as_str())
                    || table == "usage_days"
                    // The index's own pages; its rows are those of search_text.
                    || table.starts_with("search_text_");
                let sql = format!("SELECT count(*) FROM {table}");
                if !is_exempt && count(database, &sql) > 0 {
                    found.push(format!("{name} {table}"));
                }
            }
        }
        found
    }
}

fn connect(path: &Path) -> Connection {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY);
    let connection = connection.expect("the database opens");
    let patience = connection.busy_timeout(std::time::Duration::from_secs(5));
    patience.expect("it may be set");
    connection
}

fn prepare<'a>(database: &'a Connection, sql: &str) -> rusqlite::Statement<'a> {
    database.prepare(sql).expect("a statement")
}

fn count(database: &Connection, sql: &str) -> i64 {
    let count = database.query_row(sql, [], |row| row.get(0));
    count.unwrap_or_else(|error| panic!("{error} in {sql}"))
}

fn tables(database: &Connection) -> Vec<String> {
    let sql = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'";
    let mut rows = prepare(database, sql);
    let rows = rows.query_map([], |row| row.get(0)).expect("rows");
    rows.map(|row| row.expect("a row")).collect()
}

/// Tables with a column `session`: found, not named, so that the next one is looked at too.
fn with_sessions(database: &Connection) -> Vec<String> {
    let mut found = tables(database);
    found.retain(|table| {
        let sql =
            format!("SELECT count(*) FROM pragma_table_info('{table}') WHERE name = 'session'");
        count(database, &sql) > 0
    });
    assert!(!found.is_empty());
    found
}
