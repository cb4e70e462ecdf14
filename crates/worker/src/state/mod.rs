//! `state.db`: everything a worker keeps that is not the queue's.
//!
//! One file with one writing connection, which its users take in turns, and a few readers. Each
//! user has tables of its own: the search index, and what the parts beside it register here with a
//! migration. An ordinary commit survives the death of the worker (WAL, synchronous=NORMAL); what
//! must also survive a power cut is written through [`StateDb::durable_writer`].
//!
//! `connect` opens the file, `migrations` lists the schema.

mod connect;
mod migrations;

use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sessiond_queue::ids::Timestamp;
use sqlx::{SqliteConnection, SqlitePool};
use tokio::sync::{MappedMutexGuard, Mutex, MutexGuard};

pub use connect::OpenStateError;

/// The state could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The database refused a statement or could not write.
    #[error("use the worker's state")]
    Database(#[from] sqlx::Error),
    /// The worker is stopping.
    #[error("use the worker's state: it is closed")]
    Closed,
}

/// The open file. Clones share it.
#[derive(Clone, Debug)]
pub struct StateDb {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// `None` once closed.
    writer: Mutex<Option<Connection>>,
    readers: SqlitePool,
    pragmas: Vec<(String, String)>,
    set_aside: Option<PathBuf>,
}

#[derive(Debug)]
struct Connection {
    conn: SqliteConnection,
    /// Whether each of its commits is synced.
    is_durable: bool,
}

/// The writing connection, for as long as it is held.
pub struct Writer<'a>(MappedMutexGuard<'a, Connection>);

impl Deref for Writer<'_> {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        &self.0.conn
    }
}

impl DerefMut for Writer<'_> {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        &mut self.0.conn
    }
}

impl StateDb {
    /// Opens the file, or makes an empty one. One that is no database or is damaged is set aside
    /// under a name that ends in `now`; one of a newer version is refused and left as it is.
    pub async fn open(path: &Path, now: Timestamp) -> Result<Self, OpenStateError> {
        let opened = connect::open(path, now).await?;
        let writer = Connection {
            conn: opened.writer,
            is_durable: false,
        };
        Ok(Self {
            shared: Arc::new(Shared {
                writer: Mutex::new(Some(writer)),
                readers: connect::readers(path),
                pragmas: opened.pragmas,
                set_aside: opened.set_aside,
            }),
        })
    }

    /// The pragmas of the writing connection, as read back.
    pub fn pragmas(&self) -> &[(String, String)] {
        &self.shared.pragmas
    }

    /// Where [`StateDb::open`] has put a file it could not use.
    pub fn set_aside(&self) -> Option<&Path> {
        self.shared.set_aside.as_deref()
    }

    /// For statements that only read.
    pub fn readers(&self) -> &SqlitePool {
        &self.shared.readers
    }

    /// Waits until nobody else writes. What is committed survives the death of this process.
    pub async fn writer(&self) -> Result<Writer<'_>, StateError> {
        self.writer_with(false).await
    }

    /// The same; what is committed is on disk.
    pub async fn durable_writer(&self) -> Result<Writer<'_>, StateError> {
        self.writer_with(true).await
    }

    async fn writer_with(&self, is_durable: bool) -> Result<Writer<'_>, StateError> {
        let guard = self.shared.writer.lock().await;
        let mut writer =
            MutexGuard::try_map(guard, Option::as_mut).map_err(|_| StateError::Closed)?;
        // Set by whoever needs it, not taken back by whoever has had it: his future may be dropped
        // at any await.
        if writer.is_durable != is_durable {
            let pragma = match is_durable {
                true => "PRAGMA synchronous = FULL",
                false => "PRAGMA synchronous = NORMAL",
            };
            // Until it is known: whoever is cut off here must not leave a writer that is called durable
            // and is not.
            writer.is_durable = false;
            sqlx::raw_sql(pragma).execute(&mut writer.conn).await?;
            writer.is_durable = is_durable;
        }
        Ok(Writer(writer))
    }

    /// Closes the file. Idempotent; later calls fail.
    pub async fn close(&self) {
        let writer = self.shared.writer.lock().await.take();
        self.shared.readers.close().await;
        // Last, so that it folds the log into the file.
        if let Some(writer) = writer
            && let Err(error) = sqlx::Connection::close(writer.conn).await
        {
            tracing::warn!(%error, "state.db was not closed cleanly");
        }
    }
}

#[cfg(test)]
mod tests;
