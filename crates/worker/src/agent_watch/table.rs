//! The pairs of sessions and processes in `state.db`.

use sessiond_queue::ids::{SessionId, Timestamp};
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use super::roster::Key;
use crate::state::{StateDb, StateError, Writer};

/// One row.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) session: SessionId,
    pub(super) key: Key,
    pub(super) pidfs_inode: Option<u64>,
}

/// The table. An ordinary commit does: after a power cut no process of it lives, whatever it says.
#[derive(Clone, Debug)]
pub(super) struct Table(pub(super) StateDb);

impl Table {
    /// Adds a row, unless it is there.
    pub(super) async fn insert(&self, row: &Row, since: Timestamp) -> Result<(), StateError> {
        let mut writer = self.0.writer().await?;
        bind_key(
            include_str!("../../queries/agent_watch/insert.sql"),
            &row.key,
        )
        .bind(row.session.to_string())
        .bind(row.pidfs_inode.map(u64::cast_signed))
        .bind(since.0)
        .execute(&mut *writer)
        .await?;
        Ok(())
    }

    /// Removes a process from every session.
    pub(super) async fn delete_process(&self, key: &Key) -> Result<(), StateError> {
        let mut writer = self.0.writer().await?;
        bind_key(
            include_str!("../../queries/agent_watch/delete_process.sql"),
            key,
        )
        .execute(&mut *writer)
        .await?;
        Ok(())
    }

    /// Removes every process of a session.
    pub(super) async fn delete_session(&self, session: SessionId) -> Result<(), StateError> {
        delete_session(self.0.writer().await?, session).await
    }

    /// The same; it is on disk afterwards.
    pub(super) async fn delete_session_durably(
        &self,
        session: SessionId,
    ) -> Result<(), StateError> {
        delete_session(self.0.durable_writer().await?, session).await
    }

    /// Every row, the processes of a session in the order in which they came.
    pub(super) async fn list(&self) -> Result<Vec<Row>, StateError> {
        let rows = sqlx::query(include_str!("../../queries/agent_watch/list.sql"))
            .fetch_all(self.0.readers())
            .await?;
        let rows: Result<_, sqlx::Error> = rows.iter().map(read).collect();
        Ok(rows?)
    }
}

async fn delete_session(mut writer: Writer<'_>, session: SessionId) -> Result<(), StateError> {
    sqlx::query(include_str!("../../queries/agent_watch/delete_session.sql"))
        .bind(session.to_string())
        .execute(&mut *writer)
        .await?;
    Ok(())
}

type Query = sqlx::query::Query<'static, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>;

fn bind_key(statement: &'static str, key: &Key) -> Query {
    sqlx::query(statement)
        .bind(key.pid)
        .bind(key.start_ticks.cast_signed())
        .bind(key.boot.to_string())
        .bind(key.pid_namespace.cast_signed())
}

fn read(row: &SqliteRow) -> Result<Row, sqlx::Error> {
    let id = |name| -> Result<Uuid, sqlx::Error> {
        let text: &str = row.try_get(name)?;
        text.parse()
            .map_err(|error: uuid::Error| sqlx::Error::Decode(error.into()))
    };
    let unsigned = |name| row.try_get(name).map(i64::cast_unsigned);
    let inode: Option<i64> = row.try_get("pidfs_inode")?;
    Ok(Row {
        session: SessionId(id("session")?),
        key: Key {
            pid: row.try_get("pid")?,
            start_ticks: unsigned("start_ticks")?,
            pid_namespace: unsigned("pid_namespace")?,
            boot: id("boot_id")?,
        },
        pidfs_inode: inode.map(i64::cast_unsigned),
    })
}
