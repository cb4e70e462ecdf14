//! The writing side of the index: one transaction for each step, the watermark within it.

use sessiond_queue::ids::{ResultId, SessionId};
use sessiond_queue::types::{Session, StoredResult};
use sqlx::{Connection as _, Row as _, SqliteConnection};

use super::{SearchError, SearchIndex};
use crate::digest::TRACE;

/// Characters of a body that are indexed: a program's result may be megabytes long, and nobody
/// searches for what stands so far behind.
const BODY_CHARS_MAX: usize = 64 << 10;

/// A result on its way into the index.
#[derive(serde::Serialize)]
pub(super) struct Entry {
    id: ResultId,
    session: SessionId,
    project: Option<String>,
    agent: String,
    kind: String,
    seq: i64,
    accepted_at: i64,
    trace: i64,
    title: String,
    body: String,
    files: String,
    tags: String,
}

impl Entry {
    pub(super) fn new(stored: StoredResult, session: &Session) -> Self {
        let result = stored.result;
        let mut body = result.body;
        if let Some((end, _)) = body.char_indices().nth(BODY_CHARS_MAX) {
            body.truncate(end);
        }
        Self {
            id: stored.id,
            session: stored.session,
            project: session.project.clone(),
            agent: session.agent.clone(),
            trace: i64::from(result.tags.iter().any(|tag| tag == TRACE)),
            kind: result.kind,
            seq: stored.seq.0,
            accepted_at: stored.accepted_at.0,
            title: result.title,
            body,
            files: result.files.join("\n"),
            tags: result.tags.join("\n"),
        }
    }
}

impl SearchIndex {
    /// Adds entries and moves the watermark, in one transaction.
    pub(super) async fn add(
        &self,
        entries: &[Entry],
        watermark: ResultId,
    ) -> Result<(), SearchError> {
        let batch =
            serde_json::to_string(entries).map_err(|error| sqlx::Error::Encode(error.into()))?;
        let mut writer = self.state.writer().await?;
        let mut transaction = writer.begin().await?;
        if !entries.is_empty() {
            for insert in [
                include_str!("../../queries/search/insert_entries.sql"),
                include_str!("../../queries/search/insert_text.sql"),
            ] {
                sqlx::query(insert)
                    .bind(&batch)
                    .execute(&mut *transaction)
                    .await?;
            }
        }
        set_watermark(&mut transaction, watermark).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Takes out a session, for good: the commit is on disk afterwards.
    pub(super) async fn remove(&self, session: SessionId) -> Result<(), SearchError> {
        // A purge must not come undone.
        let mut writer = self.state.durable_writer().await?;
        Ok(delete_session(&mut writer, session).await?)
    }

    /// Empties the index and begins again with the first result.
    pub(super) async fn clear(&self) -> Result<(), SearchError> {
        let mut writer = self.state.writer().await?;
        let mut transaction = writer.begin().await?;
        for clear in [
            include_str!("../../queries/search/clear_text.sql"),
            include_str!("../../queries/search/clear_entries.sql"),
        ] {
            sqlx::query(clear).execute(&mut *transaction).await?;
        }
        set_watermark(&mut transaction, ResultId(0)).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// The newest result that is in the index, and its session.
    pub(super) async fn newest_entry(&self) -> Result<Option<(ResultId, String)>, SearchError> {
        let row = sqlx::query(include_str!("../../queries/search/newest_entry.sql"))
            .fetch_optional(self.state.readers())
            .await?;
        let entry = row.map(|row| {
            Ok::<_, sqlx::Error>((ResultId(row.try_get("id")?), row.try_get("session")?))
        });
        Ok(entry.transpose()?)
    }
}

async fn delete_session(
    conn: &mut SqliteConnection,
    session: SessionId,
) -> Result<(), sqlx::Error> {
    let mut transaction = conn.begin().await?;
    for delete in [
        include_str!("../../queries/search/delete_session_text.sql"),
        include_str!("../../queries/search/delete_session_entries.sql"),
    ] {
        sqlx::query(delete)
            .bind(session.to_string())
            .execute(&mut *transaction)
            .await?;
    }
    transaction.commit().await
}

async fn set_watermark(
    conn: &mut SqliteConnection,
    watermark: ResultId,
) -> Result<(), sqlx::Error> {
    sqlx::query(include_str!("../../queries/search/set_watermark.sql"))
        .bind(watermark.0)
        .execute(conn)
        .await
        .map(drop)
}
