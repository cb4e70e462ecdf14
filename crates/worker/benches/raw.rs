//! The floor: one writer, raw SQLite calls, WAL, synchronous=FULL, one commit an event.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, params};

/// A database that does nothing but store one text a commit.
pub(crate) struct Raw(Connection);

impl Raw {
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let connection = Connection::open(path)?;
        connection.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
             CREATE TABLE event (id INTEGER PRIMARY KEY, at INTEGER, payload TEXT) STRICT;",
        )?;
        Ok(Self(connection))
    }

    /// Stores `payload` durably; how long that took.
    pub(crate) fn commit(&self, payload: &str) -> anyhow::Result<Duration> {
        let began = Instant::now();
        self.0
            .prepare_cached("INSERT INTO event (at, payload) VALUES (?1, ?2)")?
            .execute(params![0, payload])?;
        Ok(began.elapsed())
    }
}
