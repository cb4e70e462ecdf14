//! Opening `state.db`: its pragmas, its schema, and what to do with a file that is damaged.
//!
//! SQLite ignores a pragma it does not know, so each is read back and compared.

use std::ffi::OsString;
use std::fs::{OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use sessiond_queue::ids::Timestamp;
use sqlx::migrate::MigrateError;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Row as _, SqliteConnection, SqlitePool};

use super::migrations::migrator;

/// Reads at once. Each reader is a thread and a cache; what is read here is asked for by people.
const READERS_MAX: u32 = 2;

/// What each connection is given, and what must be read back. NORMAL: a power cut may cost the last
/// commits, but for those of a durable writer. The caches are small, the system caches the file.
const PRAGMAS: [(&str, &str, &str); 7] = [
    ("busy_timeout", "5000", "5000"),
    ("journal_mode", "WAL", "wal"),
    ("synchronous", "NORMAL", "1"),
    ("temp_store", "MEMORY", "2"),
    ("trusted_schema", "OFF", "0"),
    ("journal_size_limit", "8388608", "8388608"),
    ("cache_size", "-512", "-512"),
];

/// What is looked at when the file is opened: short tables that a worker, the end of a session or its
/// tokens rest on. Damage that is met only later would keep each of them from ever being done. The
/// index and the log of events are long, and nothing rests on them.
const CHECKED: [&str; 5] = [
    "clients",
    "agent_processes",
    "worktrees",
    "instances",
    "event_runs",
];

/// The file could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenStateError {
    /// The file cannot be made, read or written.
    #[error("open the worker's state {path}")]
    Open {
        /// The file.
        path: PathBuf,
        /// What the engine or the system said.
        #[source]
        source: sqlx::Error,
    },
    /// The schema could not be brought up to date.
    #[error("migrate the worker's state {path}")]
    Migrate {
        /// The file.
        path: PathBuf,
        /// What the migrator said.
        #[source]
        source: MigrateError,
    },
    /// A newer sessiond has been here; it alone knows what is in the file.
    #[error(
        "open the worker's state {path}: it is of a newer version of sessiond (schema {schema})"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The version of its schema.
        schema: i64,
    },
    /// SQLite did not take a pragma.
    #[error("set pragma {name} of {path}: wanted {wanted}, got {got}")]
    Pragma {
        /// The file.
        path: PathBuf,
        /// The pragma.
        name: &'static str,
        /// What must be read back.
        wanted: &'static str,
        /// What was.
        got: String,
    },
    /// A table is damaged.
    #[error("read table {table} of the worker's state {path}: {problem}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The table.
        table: &'static str,
        /// What SQLite found.
        problem: String,
    },
    /// A damaged file could not be moved out of the way.
    #[error("set the damaged state {path} aside")]
    SetAside {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl OpenStateError {
    /// Whether the file itself is of no use, as opposed to the disk or the rights.
    fn is_damage(&self) -> bool {
        match self {
            Self::Open { source, .. } => is_damage(source),
            Self::Migrate { source, .. } => match source {
                MigrateError::Execute(source) | MigrateError::ExecuteMigration(source, _) => {
                    is_damage(source)
                }
                // A migration that was cut short, or another one of that name.
                _ => true,
            },
            Self::Damaged { .. } => true,
            Self::Newer { .. } | Self::Pragma { .. } | Self::SetAside { .. } => false,
        }
    }
}

/// SQLITE_CORRUPT and SQLITE_NOTADB, whatever their extension.
fn is_damage(error: &sqlx::Error) -> bool {
    let code = error
        .as_database_error()
        .and_then(|error| error.code()?.parse::<u32>().ok());
    matches!(code.map(|code| code & 0xff), Some(11 | 26))
}

pub(super) struct Opened {
    pub(super) writer: SqliteConnection,
    pub(super) pragmas: Vec<(String, String)>,
    pub(super) set_aside: Option<PathBuf>,
}

pub(super) async fn open(path: &Path, now: Timestamp) -> Result<Opened, OpenStateError> {
    let mut set_aside = None;
    let (writer, pragmas) = match writer(path).await {
        Err(error) if error.is_damage() => {
            let aside = move_aside(path, now)?;
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                path = %path.display(),
                aside = %aside.display(),
                "state.db was of no use; it is begun anew"
            );
            set_aside = Some(aside);
            writer(path).await?
        }
        opened => opened?,
    };
    Ok(Opened {
        writer,
        pragmas,
        set_aside,
    })
}

async fn writer(path: &Path) -> Result<(SqliteConnection, Vec<(String, String)>), OpenStateError> {
    keep_private(path).map_err(|error| open_error(path, error.into()))?;
    let mut conn = options(path)
        .connect()
        .await
        .map_err(|error| open_error(path, error))?;
    let pragmas = set_up(&mut conn, path).await?;
    let migrated = migrator().run(&mut conn).await;
    migrated.map_err(|source| {
        let path = path.to_owned();
        match source {
            MigrateError::VersionMissing(schema) => OpenStateError::Newer { path, schema },
            source => OpenStateError::Migrate { path, source },
        }
    })?;
    check(&mut conn, path).await?;
    Ok((conn, pragmas))
}

async fn check(conn: &mut SqliteConnection, path: &Path) -> Result<(), OpenStateError> {
    for table in CHECKED {
        let check = AssertSqlSafe(format!("PRAGMA quick_check({table})"));
        let found: String = sqlx::query_scalar(check)
            .fetch_one(&mut *conn)
            .await
            .map_err(|error| open_error(path, error))?;
        if found != "ok" {
            return Err(OpenStateError::Damaged {
                path: path.to_owned(),
                table,
                problem: found,
            });
        }
    }
    Ok(())
}

/// A pool of readers, opened when they are needed.
pub(super) fn readers(path: &Path) -> SqlitePool {
    let options = options(path).pragma("query_only", "ON");
    let path = path.to_owned();
    SqlitePoolOptions::new()
        .max_connections(READERS_MAX)
        // No timers, so that an idle index never wakes.
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .after_connect(move |conn, _| {
            let path = path.clone();
            Box::pin(async move {
                let set_up = set_up(conn, &path).await;
                set_up
                    .map(drop)
                    .map_err(|error| sqlx::Error::Configuration(error.into()))
            })
        })
        .connect_lazy_with(options)
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .statement_cache_capacity(16)
        .thread_name(|number| format!("state-db-{number}"))
        .disable_statement_logging()
}

async fn set_up(
    conn: &mut SqliteConnection,
    path: &Path,
) -> Result<Vec<(String, String)>, OpenStateError> {
    let mut read_back = Vec::new();
    for (name, value, wanted) in PRAGMAS {
        let set = AssertSqlSafe(format!("PRAGMA {name} = {value}"));
        sqlx::raw_sql(set)
            .execute(&mut *conn)
            .await
            .map_err(|error| open_error(path, error))?;
        let get = AssertSqlSafe(format!("PRAGMA {name}"));
        let got = sqlx::raw_sql(get)
            .fetch_one(&mut *conn)
            .await
            .and_then(|row| row.try_get_unchecked::<String, _>(0))
            .map_err(|error| open_error(path, error))?;
        if got != wanted {
            return Err(OpenStateError::Pragma {
                path: path.to_owned(),
                name,
                wanted,
                got,
            });
        }
        read_back.push((name.to_owned(), got));
    }
    Ok(read_back)
}

/// Creates the file for its owner alone; SQLite gives its log the same rights.
fn keep_private(path: &Path) -> io::Result<()> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))
}

/// Renames the file with its log, so that a new one does not meet the log of another.
fn move_aside(path: &Path, now: Timestamp) -> Result<PathBuf, OpenStateError> {
    let with = |suffix: &str| {
        let mut name = OsString::from(path);
        name.push(suffix);
        PathBuf::from(name)
    };
    let ending = format!(".damaged-{}", now.0);
    for part in ["-wal", "-shm", ""] {
        match std::fs::rename(with(part), with(&format!("{ending}{part}"))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(OpenStateError::SetAside {
                    path: path.to_owned(),
                    source: error,
                });
            }
            _ => {}
        }
    }
    Ok(with(&ending))
}

fn open_error(path: &Path, source: sqlx::Error) -> OpenStateError {
    OpenStateError::Open {
        path: path.to_owned(),
        source,
    }
}
