//! Clients as rows of `state.db`: every statement, and how a row is read and written.

use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use sessiond_queue::ids::{SessionId, Timestamp};
use sessiond_supervisor::ProcessIdentity;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection, SqlitePool};
use tokio::time::Instant;

use super::client::{ClientId, Kind};
use super::entry::Entry;
use super::token::TokenHash;

/// A row on its way to the database.
#[derive(Serialize)]
struct Row<'a> {
    id: ClientId,
    kind: Kind,
    token: Option<String>,
    session: Option<SessionId>,
    project: Option<&'a str>,
    name: &'a str,
    version: Option<&'a str>,
    cwd: Option<&'a str>,
    role: Option<&'a str>,
    groups: &'a [Box<str>],
    metadata: &'a RawValue,
    process: Option<&'a ProcessIdentity>,
    created_at: Timestamp,
    touched_at: Timestamp,
    expires_at: Timestamp,
}

/// Rows as the one parameter of a statement.
pub(super) struct Batch(String);

impl Batch {
    /// Of these clients.
    pub(super) fn of<'a>(entries: impl Iterator<Item = &'a Entry>) -> Result<Self, sqlx::Error> {
        let encode = |error: serde_json::Error| sqlx::Error::Encode(error.into());
        let rows = entries.map(|entry| {
            Ok(Row {
                id: entry.id,
                kind: entry.kind,
                token: entry.token.map(TokenHash::to_hexadecimal),
                session: entry.session,
                project: entry.project.as_deref(),
                name: &entry.name,
                version: entry.version.as_deref(),
                cwd: entry.cwd.as_deref(),
                role: entry.role.as_deref(),
                groups: &entry.groups,
                metadata: serde_json::from_str(&entry.metadata)?,
                process: entry.process.as_deref(),
                created_at: entry.created_at,
                touched_at: entry.touched_at,
                expires_at: entry.expires_at,
            })
        });
        let rows: Result<Vec<Row<'_>>, serde_json::Error> = rows.collect();
        let batch = rows.and_then(|rows| serde_json::to_string(&rows));
        batch.map(Self).map_err(encode)
    }
}

/// Writes clients, new ones and those that have changed.
pub(super) async fn save(conn: &mut SqliteConnection, batch: &Batch) -> Result<(), sqlx::Error> {
    let save = include_str!("../../queries/clients/save.sql");
    sqlx::query(save)
        .bind(&batch.0)
        .execute(conn)
        .await
        .map(drop)
}

/// Deletes clients.
pub(super) async fn delete(
    conn: &mut SqliteConnection,
    ids: impl Iterator<Item = ClientId>,
) -> Result<(), sqlx::Error> {
    let ids: Vec<ClientId> = ids.collect();
    let ids = serde_json::to_string(&ids).map_err(|error| sqlx::Error::Encode(error.into()))?;
    let delete = include_str!("../../queries/clients/delete.sql");
    sqlx::query(delete).bind(ids).execute(conn).await.map(drop)
}

/// Deletes what is stored of a session's clients.
pub(super) async fn delete_of_session(
    conn: &mut SqliteConnection,
    session: SessionId,
) -> Result<u64, sqlx::Error> {
    let delete = include_str!("../../queries/clients/delete_of_session.sql");
    let delete = sqlx::query(delete).bind(session.to_string());
    Ok(delete.execute(conn).await?.rows_affected())
}

/// Deletes what is stored under a token.
pub(super) async fn delete_of_token(
    conn: &mut SqliteConnection,
    token: TokenHash,
) -> Result<(), sqlx::Error> {
    let delete = include_str!("../../queries/clients/delete_of_token.sql");
    let delete = sqlx::query(delete).bind(token.to_hexadecimal());
    delete.execute(conn).await.map(drop)
}

/// Deletes all clients, of a kind or at all; what cannot be read, too.
pub(super) async fn clear(
    conn: &mut SqliteConnection,
    kind: Option<Kind>,
) -> Result<(), sqlx::Error> {
    let clear = include_str!("../../queries/clients/clear.sql");
    let clear = sqlx::query(clear).bind(kind.map(Kind::as_str));
    clear.execute(conn).await.map(drop)
}

/// Deletes those whose time is over.
pub(super) async fn delete_expired(
    conn: &mut SqliteConnection,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    let delete = include_str!("../../queries/clients/delete_expired.sql");
    sqlx::query(delete)
        .bind(now.0)
        .execute(conn)
        .await
        .map(drop)
}

/// Every row: a client, or what is wrong with the row of this id. What cannot be read and is over
/// anyway is left out.
pub(super) async fn load(
    readers: &SqlitePool,
    now: Timestamp,
) -> Result<Vec<Result<Entry, (String, String)>>, sqlx::Error> {
    let load = include_str!("../../queries/clients/load.sql");
    let rows = sqlx::query(load).fetch_all(readers).await?;
    let read = |row: &SqliteRow| {
        let is_over = time(row, "expires_at").is_ok_and(|at| at <= now);
        match entry(row, now) {
            Err(_) if is_over => None,
            Err(problem) => Some(Err((row.try_get("id").unwrap_or_default(), problem))),
            Ok(entry) => Some(Ok(entry)),
        }
    };
    Ok(rows.iter().filter_map(read).collect())
}

fn entry(row: &SqliteRow, now: Timestamp) -> Result<Entry, String> {
    let session = text(row, "session")?;
    let groups: Vec<Box<str>> = json(row, "groups")?;
    // Its form is checked; the text is what is kept.
    let _is_an_object: Map<String, Value> = json(row, "metadata")?;
    let process = match text(row, "process")? {
        Some(_) => Some(Arc::new(json::<ProcessIdentity>(row, "process")?)),
        None => None,
    };
    let token = text(row, "token")?.map(|token| {
        TokenHash::from_hexadecimal(&token).ok_or_else(|| "its token is no hash".to_owned())
    });
    let boxed = |name| Ok::<_, String>(text(row, name)?.map(String::into_boxed_str));
    let expires_at = time(row, "expires_at")?;
    Ok(Entry {
        id: parsed(&required(row, "id")?, "id")?,
        kind: kind(&required(row, "kind")?)?,
        token: token.transpose()?,
        session: session.map(|text| parsed(&text, "session")).transpose()?,
        project: text(row, "project")?.map(Arc::from),
        name: required(row, "name")?.into_boxed_str(),
        version: boxed("version")?,
        cwd: boxed("cwd")?,
        role: boxed("role")?,
        groups: groups.into_boxed_slice(),
        metadata: required(row, "metadata")?.into_boxed_str(),
        presence: None,
        process,
        created_at: time(row, "created_at")?,
        touched_at: time(row, "touched_at")?,
        expires_at,
        deadline: Instant::now() + expires_at.since(now),
        timer: None,
    })
}

fn kind(text: &str) -> Result<Kind, String> {
    [Kind::Registered, Kind::Http, Kind::Mcp]
        .into_iter()
        .find(|kind| kind.as_str() == text)
        .ok_or_else(|| "its kind is not known".to_owned())
}

fn text(row: &SqliteRow, name: &str) -> Result<Option<String>, String> {
    row.try_get(name)
        .map_err(|error| format!("its {name}: {error}"))
}

fn required(row: &SqliteRow, name: &str) -> Result<String, String> {
    text(row, name)?.ok_or_else(|| format!("it has no {name}"))
}

fn time(row: &SqliteRow, name: &str) -> Result<Timestamp, String> {
    let time = row
        .try_get(name)
        .map_err(|error| format!("its {name}: {error}"))?;
    Ok(Timestamp(time))
}

fn parsed<T: std::str::FromStr>(text: &str, name: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("its {name} is malformed"))
}

/// What was wrong is told without the value, which may be anything.
fn json<T: serde::de::DeserializeOwned>(row: &SqliteRow, name: &str) -> Result<T, String> {
    let text = required(row, name)?;
    serde_json::from_str(&text).map_err(|_| format!("its {name} is not the JSON it was"))
}
