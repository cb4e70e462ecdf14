//! Opening the file: who may read it, how each connection is set up, and the schema.
//!
//! SQLite ignores a pragma it does not know and takes some values only at certain times, so each is
//! read back on each connection and compared.

use std::fs::{OpenOptions, Permissions};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _, SqlSafeStr as _,
    SqliteConnection, SqlitePool,
};

use super::schema;
use crate::error::{Cause, OpenError};
use crate::limits::Limits;

/// Readers at once. Each is a thread and a cache; the queries are short.
const READERS_MAX: u32 = 2;

/// Prepared statements kept by a reader.
const READER_STATEMENTS: usize = 16;

/// A file up to this size is rewritten for `auto_vacuum`; a larger one would hold up the start, and
/// take twice its size on disk meanwhile.
const REWRITTEN_MAX_BYTES: u64 = 256 << 20;

/// How a connection is used.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Writer,
    Reader,
}

/// Name, value to set, value to be read back.
pub(super) type Pragma = (&'static str, String, String);

/// The pragmas of a connection.
///
/// The page caches are small because the operating system caches the file anyway. The log is folded
/// into the file by the writer, and keeps its size: a log that is overwritten is synced twice as fast
/// as one that grows.
pub(super) fn pragmas(role: Role, limits: &Limits) -> Vec<Pragma> {
    let pragma = |name, set: &str, read: &str| (name, set.to_owned(), read.to_owned());
    let busy_ms = limits.busy_timeout.as_millis().to_string();
    let mut pragmas = vec![
        ("busy_timeout", busy_ms.clone(), busy_ms),
        pragma("synchronous", "FULL", "2"),
        pragma("foreign_keys", "ON", "1"),
        pragma("temp_store", "MEMORY", "2"),
        pragma("trusted_schema", "OFF", "0"),
        pragma("cell_size_check", "ON", "1"),
        pragma("mmap_size", "0", "0"),
    ];
    match role {
        Role::Writer => pragmas.extend([
            pragma("journal_mode", "WAL", "wal"),
            pragma("wal_autocheckpoint", "0", "0"),
            pragma("journal_size_limit", "67108864", "67108864"),
            pragma("cache_size", "-1024", "-1024"),
        ]),
        Role::Reader => pragmas.extend([
            pragma("query_only", "ON", "1"),
            pragma("cache_size", "-256", "-256"),
        ]),
    }
    pragmas
}

/// Makes the file if it is not there, and brings its schema up to date. The connection is to be closed
/// only once the writer has its own, since the last one folds the log, which may take its time; also
/// returns the value of `auto_vacuum`.
pub(super) async fn make_ready(
    path: &Path,
    limits: &Limits,
) -> Result<(SqliteConnection, String), OpenError> {
    // First: a file that may not be written is an error before anything is made beside it.
    keep_private(path).map_err(|error| open_error(path, error.into()))?;
    schema::prepare(path).await?;
    let mut conn = options(path)
        .connect()
        .await
        .map_err(|error| open_error(path, error))?;
    // First of all, since it takes effect only before the file has any page; in a file that was made
    // without it, it takes a VACUUM.
    let shrinks = set_and_get(&mut conn, "auto_vacuum", "INCREMENTAL")
        .await
        .map_err(|error| open_error(path, error))?;
    set_up(&mut conn, path, &pragmas(Role::Writer, limits)).await?;
    migrator()
        .run(&mut conn)
        .await
        .map_err(|source| OpenError::Migrate {
            path: path.to_owned(),
            source,
        })?;
    let shrinks = if shrinks == "2" {
        shrinks
    } else {
        rewrite(&mut conn, path)
            .await
            .map_err(|error| open_error(path, error))?
    };
    Ok((conn, shrinks))
}

/// Rewrites a file that was made without `auto_vacuum`, once, so that it can shrink; answers the
/// pragma. One that is too large, or finds no room, stays as it is: its unused pages are used again,
/// not given back.
async fn rewrite(conn: &mut SqliteConnection, path: &Path) -> Result<String, sqlx::Error> {
    let bytes = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    if bytes <= REWRITTEN_MAX_BYTES {
        // The copy is not to lie in memory.
        sqlx::raw_sql("PRAGMA temp_store = FILE")
            .execute(&mut *conn)
            .await?;
        if let Err(error) = sqlx::raw_sql("VACUUM").execute(&mut *conn).await {
            tracing::info!(%error, bytes, path = %path.display(), "the database cannot be made to shrink");
        }
        sqlx::raw_sql("PRAGMA temp_store = MEMORY")
            .execute(&mut *conn)
            .await?;
    }
    set_and_get(conn, "auto_vacuum", "INCREMENTAL").await
}

/// A pool of readers, opened when they are needed.
///
/// Their pragmas are set as part of connecting. The pool answers with what fails there; what fails
/// after it, the pool repeats for half a minute and then does not name: that is left to reading
/// them back, for which nothing is read from the disk any more.
pub(super) fn readers(path: &Path, limits: &Limits) -> SqlitePool {
    pool(path, limits, options(path).read_only(true))
}

/// A pool of readers that could write, and may not: on a connection opened for reading only SQLite
/// does not keep the CHECKs of the schema, so its integrity check passes over rows that break them.
/// For a store that is open for writing: such a connection folds the log if it is the last one.
pub(super) fn checkers(path: &Path, limits: &Limits) -> SqlitePool {
    pool(path, limits, options(path))
}

fn pool(path: &Path, limits: &Limits, options: SqliteConnectOptions) -> SqlitePool {
    let (path, pragmas) = (path.to_owned(), pragmas(Role::Reader, limits));
    let mut options = options.statement_cache_capacity(READER_STATEMENTS);
    for (name, value, _) in &pragmas {
        options = options.pragma(*name, value.clone());
    }
    SqlitePoolOptions::new()
        .max_connections(READERS_MAX)
        // No timers, so that an idle store never wakes; two idle readers cost less.
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .after_connect(move |conn, _| {
            let (path, pragmas) = (path.clone(), pragmas.clone());
            Box::pin(async move {
                let read_back = read_back(conn, &path, &pragmas).await;
                read_back
                    .map(drop)
                    .map_err(|error| sqlx::Error::Configuration(error.into()))
            })
        })
        .connect_lazy_with(options)
}

/// Checks that a file that is only read has the schema this code reads; returns the pragmas of the
/// reader.
pub(super) async fn check_reader(
    path: &Path,
    limits: &Limits,
) -> Result<Vec<(String, String)>, OpenError> {
    let options = options(path).read_only(true);
    let mut conn = options
        .connect()
        .await
        .map_err(|error| open_error(path, error))?;
    let pragmas = set_up(&mut conn, path, &pragmas(Role::Reader, limits)).await?;
    let applied = schema::check_version(&mut conn, path).await?;
    conn.close()
        .await
        .map_err(|error| open_error(path, error))?;
    if applied == schema_version() {
        return Ok(pragmas);
    }
    Err(OpenError::Older {
        path: path.to_owned(),
        found: applied,
        known: schema_version(),
    })
}

/// The number of the newest migration.
pub(super) fn schema_version() -> i64 {
    migrator()
        .iter()
        .map(|migration| migration.version)
        .max()
        .unwrap_or_default()
}

pub(super) fn migrator() -> Migrator {
    let migration = |version, description: &'static str, sql: &'static str| {
        let kind = MigrationType::Simple;
        Migration::new(version, description.into(), kind, sql.into_sql_str(), false)
    };
    Migrator::with_migrations(vec![
        migration(1, "init", include_str!("../../migrations/0001_init.sql")),
        migration(
            2,
            "generators",
            include_str!("../../migrations/0002_generators.sql"),
        ),
        migration(
            3,
            "retention",
            include_str!("../../migrations/0003_retention.sql"),
        ),
        migration(4, "speed", include_str!("../../migrations/0004_speed.sql")),
    ])
}

/// Creates the file for its owner alone, or takes others' rights away; SQLite gives its log the
/// same rights.
fn keep_private(path: &Path) -> std::io::Result<()> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))
}

pub(super) fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .thread_name(|number| format!("queue-db-{number}"))
        .disable_statement_logging()
}

/// Sets pragmas and reads them back: names and values.
async fn set_up(
    conn: &mut SqliteConnection,
    path: &Path,
    pragmas: &[Pragma],
) -> Result<Vec<(String, String)>, OpenError> {
    for (name, value, _) in pragmas {
        set(conn, name, value)
            .await
            .map_err(|error| open_error(path, error))?;
    }
    read_back(conn, path, pragmas).await
}

async fn set(conn: &mut SqliteConnection, name: &str, value: &str) -> Result<(), sqlx::Error> {
    let set = AssertSqlSafe(format!("PRAGMA {name} = {value}"));
    sqlx::raw_sql(set).execute(conn).await?;
    Ok(())
}

async fn set_and_get(
    conn: &mut SqliteConnection,
    name: &str,
    value: &str,
) -> Result<String, sqlx::Error> {
    set(conn, name, value).await?;
    get(conn, name).await
}

/// Compares pragmas with what was wanted: names and values.
async fn read_back(
    conn: &mut SqliteConnection,
    path: &Path,
    pragmas: &[Pragma],
) -> Result<Vec<(String, String)>, OpenError> {
    let mut read_back = Vec::new();
    for pragma in pragmas {
        let got = get(conn, pragma.0)
            .await
            .map_err(|error| open_error(path, error))?;
        read_back.push(read_back_as(path, pragma, got)?);
    }
    Ok(read_back)
}

/// Compares what was read back of a pragma with what was wanted: its name and value.
pub(super) fn read_back_as(
    path: &Path,
    (name, _, wanted): &Pragma,
    got: String,
) -> Result<(String, String), OpenError> {
    if got != *wanted {
        return Err(OpenError::Pragma {
            path: path.to_owned(),
            name,
            wanted: wanted.clone(),
            got,
        });
    }
    Ok(((*name).to_owned(), got))
}

async fn get(conn: &mut SqliteConnection, name: &str) -> Result<String, sqlx::Error> {
    let get = AssertSqlSafe(format!("PRAGMA {name}"));
    match sqlx::raw_sql(get).fetch_optional(&mut *conn).await? {
        Some(row) => row.try_get_unchecked(0),
        // SQLite answers a pragma it does not know with no row at all.
        None => Ok("nothing".to_owned()),
    }
}

/// What an error at the opening says of the file.
pub(super) fn open_error(path: &Path, error: sqlx::Error) -> OpenError {
    let code = error
        .as_database_error()
        .and_then(|error| error.code()?.parse().ok());
    open_error_of(path, code, Arc::new(error))
}

/// The same, by SQLite's code: SQLITE_CORRUPT and SQLITE_NOTADB, whatever their extension, say that
/// it is damaged; all others, that it cannot be used now.
pub(super) fn open_error_of(path: &Path, code: Option<i32>, source: Cause) -> OpenError {
    let path = path.to_owned();
    match code.map(|code| code & 0xff) {
        Some(11 | 26) => OpenError::Damaged { path, source },
        _ => OpenError::Open { path, source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(pool: &SqlitePool, pragma: &str) -> String {
        let mut conn = pool.acquire().await.expect("a reader opens");
        let query = AssertSqlSafe(format!("PRAGMA {pragma}"));
        let row = sqlx::raw_sql(query)
            .fetch_one(&mut *conn)
            .await
            .expect("it is read");
        row.try_get_unchecked(0).expect("it has a value")
    }

    #[tokio::test]
    async fn every_reader_has_its_pragmas() {
        let dir = tempfile::tempdir().expect("a directory is made");
        let path = dir.path().join("queue.db");
        let limits = Limits::default();
        let (_conn, _) = make_ready(&path, &limits).await.expect("the file is made");
        let pool = readers(&path, &limits);
        let held = pool.acquire().await.expect("a reader opens");
        // With the first one held, this is the second.
        for (name, wanted) in [
            ("query_only", "1"),
            ("synchronous", "2"),
            ("journal_mode", "wal"),
        ] {
            assert_eq!(read(&pool, name).await, wanted, "{name}");
        }
        drop(held);
        let write = sqlx::query("UPDATE meta SET generation = 7")
            .execute(&pool)
            .await;
        assert!(write.is_err(), "a reader cannot write");
    }

    #[tokio::test]
    async fn pragma_that_did_not_take_is_an_error() {
        let dir = tempfile::tempdir().expect("a directory is made");
        let path = dir.path().join("queue.db");
        let (mut conn, _) = make_ready(&path, &Limits::default())
            .await
            .expect("the file is made");
        for (name, wanted) in [("synchronuos", "nothing"), ("synchronous", "2")] {
            let pragma = (name, "FULL".to_owned(), "3".to_owned());
            match set_up(&mut conn, &path, &[pragma]).await {
                Err(OpenError::Pragma { got, .. }) => assert_eq!(got, wanted),
                other => panic!("{other:?}"),
            }
        }
    }
}
