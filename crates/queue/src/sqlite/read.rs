//! What is read outside the writer: single rows, listings, counters and checks.
//!
//! A reader sees the last commit; it neither waits for the writer nor holds it up.

use futures::TryStreamExt as _;
use sqlx::sqlite::SqliteRow;
use sqlx::{Acquire as _, QueryBuilder, Row as _, Sqlite, SqlitePool};

use super::rows::{self, Columns};
use super::statements::{
    DUE_AT, GET_CHECKPOINT, GET_MESSAGE, GET_SESSION, GET_SESSION_BY_KEY, GET_USAGE_DAY,
    LIST_ATTEMPTS, LIST_MESSAGES, LIST_RESULTS, LIST_SESSIONS, LIST_SESSIONS_BY_ID,
    LIST_USAGE_DAYS, RECOUNT, STATS, UNFINISHED,
};
use crate::error::StoreError;
use crate::ids::{MessageId, SessionId, Timestamp};
use crate::limits::{LIST_BYTES_MAX, list_limit};
use crate::types::{
    Attempt, DayUsage, Message, MessageFilter, ResultFilter, Session, SessionFilter, State, Stats,
    StoredResult, Unfinished, Usage, Verification,
};
use crate::validate::result_bytes;

pub(super) async fn session(
    pool: &SqlitePool,
    id: SessionId,
) -> Result<Option<Session>, StoreError> {
    let row = GET_SESSION.query().bind(id.0).fetch_optional(pool).await?;
    row.as_ref().map(rows::session).transpose()
}

pub(super) async fn sessions_by_id(
    pool: &SqlitePool,
    ids: &[SessionId],
) -> Result<Vec<Session>, StoreError> {
    let ids = ids.iter().map(|id| id.0.simple().to_string());
    let ids = serde_json::Value::from_iter(ids).to_string();
    let query = LIST_SESSIONS_BY_ID.query().bind(ids);
    let found = query.fetch_all(pool).await?;
    found.iter().map(rows::session).collect()
}

pub(super) async fn find_session(
    pool: &SqlitePool,
    agent: &str,
    key: &str,
) -> Result<Option<Session>, StoreError> {
    let query = GET_SESSION_BY_KEY
        .query()
        .bind(agent.to_owned())
        .bind(key.to_owned());
    let row = query.fetch_optional(pool).await?;
    row.as_ref().map(rows::session).transpose()
}

pub(super) async fn sessions(
    pool: &SqlitePool,
    filter: SessionFilter,
) -> Result<Vec<Session>, StoreError> {
    list(pool, &mut sessions_query(filter), rows::session).await
}

pub(super) async fn unfinished(pool: &SqlitePool) -> Result<Vec<Unfinished>, StoreError> {
    let found = UNFINISHED.query().fetch_all(pool).await?;
    found.iter().map(rows::unfinished).collect()
}

pub(super) async fn due_at(
    pool: &SqlitePool,
    session: SessionId,
) -> Result<Option<Timestamp>, StoreError> {
    match DUE_AT.query().bind(session.0).fetch_optional(pool).await? {
        None => Ok(None),
        Some(row) => Columns::of(&row).optional_time(),
    }
}

pub(super) async fn checkpoint(
    pool: &SqlitePool,
    session: SessionId,
) -> Result<Option<String>, StoreError> {
    let row = GET_CHECKPOINT
        .query()
        .bind(session.0)
        .fetch_optional(pool)
        .await?;
    row.as_ref().map(|row| Columns::of(row).get()).transpose()
}

pub(super) async fn message(
    pool: &SqlitePool,
    id: MessageId,
) -> Result<Option<Message>, StoreError> {
    let row = GET_MESSAGE.query().bind(id.0).fetch_optional(pool).await?;
    row.as_ref().map(rows::message).transpose()
}

pub(super) async fn messages(
    pool: &SqlitePool,
    filter: MessageFilter,
) -> Result<Vec<Message>, StoreError> {
    let bytes = |message: &Message| message.payload.len();
    list_within_bytes(pool, &mut messages_query(filter), rows::message, bytes).await
}

pub(super) async fn attempts(
    pool: &SqlitePool,
    message: MessageId,
) -> Result<Vec<Attempt>, StoreError> {
    let found = LIST_ATTEMPTS
        .query()
        .bind(message.0)
        .fetch_all(pool)
        .await?;
    found.iter().map(rows::attempt).collect()
}

pub(super) async fn results(
    pool: &SqlitePool,
    filter: ResultFilter,
) -> Result<Vec<StoredResult>, StoreError> {
    let bytes = |stored: &StoredResult| result_bytes(&stored.result);
    let query = &mut results_query(filter);
    list_within_bytes(pool, query, rows::stored_result, bytes).await
}

pub(super) async fn usage_of_day(pool: &SqlitePool, day: i64) -> Result<Usage, StoreError> {
    match GET_USAGE_DAY.query().bind(day).fetch_optional(pool).await? {
        None => Ok(Usage::default()),
        Some(row) => Columns::of(&row).usage(),
    }
}

pub(super) async fn usage_days(pool: &SqlitePool, limit: u32) -> Result<Vec<DayUsage>, StoreError> {
    let query = LIST_USAGE_DAYS.query().bind(list_limit(limit));
    let found = query.fetch_all(pool).await?;
    found.iter().map(rows::day_usage).collect()
}

pub(super) async fn stats(pool: &SqlitePool) -> Result<Stats, StoreError> {
    rows::stats(&STATS.query().fetch_one(pool).await?)
}

pub(super) async fn engine_version(pool: &SqlitePool) -> Result<String, StoreError> {
    Ok(sqlx::query_scalar("SELECT sqlite_version()")
        .fetch_one(pool)
        .await?)
}

/// The engine's checks and the recount, of one snapshot. Whether the CHECKs are among them, which
/// `checks_rows` says, lies in how the pool's connections are opened.
pub(super) async fn verify(
    pool: &SqlitePool,
    checks_rows: bool,
) -> Result<Verification, StoreError> {
    let mut conn = pool.acquire().await?;
    // It has read all of the file and is not needed again soon.
    conn.close_on_drop();
    let mut snapshot = conn.begin().await?;
    let mut found = Verification {
        checks_rows,
        ..Verification::default()
    };
    for row in sqlx::query("PRAGMA integrity_check")
        .fetch_all(&mut *snapshot)
        .await?
    {
        let complaint: String = row.try_get(0)?;
        if complaint != "ok" {
            found.integrity.push(complaint);
        }
    }
    for row in sqlx::query("PRAGMA foreign_key_check")
        .fetch_all(&mut *snapshot)
        .await?
    {
        let table: String = row.try_get(0)?;
        found
            .integrity
            .push(format!("a row of {table} refers to one that is not there"));
    }
    for row in RECOUNT.query().fetch_all(&mut *snapshot).await? {
        let mut c = Columns::of(&row);
        let (name, counter, recount) = (c.get()?, c.get()?, c.get()?);
        if counter != recount {
            found.miscounts.push((name, counter, recount));
        }
    }
    snapshot.rollback().await?;
    Ok(found)
}

async fn list<T>(
    pool: &SqlitePool,
    query: &mut QueryBuilder<Sqlite>,
    read: fn(&SqliteRow) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let found = query.build().fetch_all(pool).await?;
    found.iter().map(read).collect()
}

/// The same, read one by one, up to [`LIST_BYTES_MAX`].
async fn list_within_bytes<T>(
    pool: &SqlitePool,
    query: &mut QueryBuilder<Sqlite>,
    read: fn(&SqliteRow) -> Result<T, StoreError>,
    bytes: fn(&T) -> usize,
) -> Result<Vec<T>, StoreError> {
    let mut rows = query.build().fetch(pool);
    let (mut found, mut total) = (Vec::new(), 0);
    while let Some(row) = rows.try_next().await? {
        let next = read(&row)?;
        total += bytes(&next);
        if total > LIST_BYTES_MAX && !found.is_empty() {
            break;
        }
        found.push(next);
    }
    Ok(found)
}

pub(super) fn sessions_query(filter: SessionFilter) -> QueryBuilder<Sqlite> {
    let mut query = QueryBuilder::new(LIST_SESSIONS.sql());
    if let Some(agent) = filter.agent {
        query.push(" AND agent = ").push_bind(agent);
    }
    if let Some(project) = filter.project {
        query.push(" AND project = ").push_bind(project);
    }
    if let Some(life) = filter.life {
        query.push(" AND life = ").push_bind(life.as_str());
    }
    query
        .push(" ORDER BY active_at DESC, num DESC LIMIT ")
        .push_bind(list_limit(filter.limit));
    query
}

pub(super) fn messages_query(filter: MessageFilter) -> QueryBuilder<Sqlite> {
    let mut query = QueryBuilder::new(LIST_MESSAGES.sql());
    let Some(session) = filter.session else {
        narrow(&mut query, &filter);
        return query;
    };
    // Their numbers first: a session's messages are found by place and sorted by number, and a sort
    // holds all that is selected.
    query
        .push(" AND m.id IN (SELECT id FROM messages AS m WHERE m.session = ")
        .push("(SELECT num FROM sessions WHERE id = ")
        .push_bind(session.0)
        .push(")");
    narrow(&mut query, &filter);
    query.push(") ORDER BY m.id");
    query
}

/// State and place of the messages that are listed, in their order.
fn narrow(query: &mut QueryBuilder<Sqlite>, filter: &MessageFilter) {
    if let Some(state) = filter.state {
        // A literal, because a partial index does not serve a parameter.
        query.push(format_args!(" AND m.state = '{}'", state.as_str()));
    }
    if let Some(after) = filter.after {
        query.push(" AND m.id > ").push_bind(after.0);
    }
    // Few are claimed at once: `+` makes SQLite sort those instead of walking along all ids.
    let order = if filter.state == Some(State::Claimed) {
        "+m.id"
    } else {
        "m.id"
    };
    query
        .push(format_args!(" ORDER BY {order} LIMIT "))
        .push_bind(list_limit(filter.limit));
}

pub(super) fn results_query(filter: ResultFilter) -> QueryBuilder<Sqlite> {
    let mut query = QueryBuilder::new(LIST_RESULTS.sql());
    if let Some(session) = filter.session {
        query.push(" AND s.id = ").push_bind(session.0);
    }
    if let Some(project) = filter.project {
        query.push(" AND s.project = ").push_bind(project);
    }
    if let Some(kind) = filter.kind {
        query.push(" AND r.kind = ").push_bind(kind);
    }
    if let Some(after) = filter.after {
        query.push(" AND r.id > ").push_bind(after.0);
    }
    let order = if filter.newest_first { "DESC" } else { "ASC" };
    query
        .push(format_args!(" ORDER BY r.id {order} LIMIT "))
        .push_bind(list_limit(filter.limit));
    query
}
