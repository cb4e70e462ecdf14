//! The floor: one writer, raw SQLite calls, WAL, synchronous=FULL, one commit a statement.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension as _, params};

/// A database that does nothing but store one text a commit.
pub(crate) struct Raw(Connection);

impl Raw {
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let connection = Connection::open(path)?;
        connection.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
             CREATE TABLE event (
                 id INTEGER PRIMARY KEY, at INTEGER, payload TEXT, claimed INTEGER
             ) STRICT;",
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
    /// Stores `payload` so many times in one commit.
    pub(crate) fn fill(&self, payload: &str, events: usize) -> anyhow::Result<()> {
        self.0.execute_batch("BEGIN")?;
        for _ in 0..events {
            self.commit(payload)?;
        }
        self.0.execute_batch("COMMIT")?;
        Ok(())
    }

    /// Claims the oldest event in one commit and deletes it in another; whether there was one.
    pub(crate) fn claim_and_delete(&self) -> anyhow::Result<bool> {
        let claimed: Option<(i64, String)> = self
            .0
            .prepare_cached(
                "UPDATE event SET claimed = 1 WHERE id = (SELECT min(id) FROM event)
                 RETURNING id, payload",
            )?
            .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let Some((id, _payload)) = claimed else {
            return Ok(false);
        };
        let mut delete = self.0.prepare_cached("DELETE FROM event WHERE id = ?1")?;
        Ok(delete.execute([id])? == 1)
    }
}
