//! What is looked at before a file is opened for writing: whose schema it has, and whether it can be
//! read at all. A file of a newer schema is left as it is; one of an older schema is backed up beside
//! itself before it is migrated; one that is damaged can be set aside.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};

use super::connect::{migrator, open_error, options, schema_version};
use crate::error::OpenError;
use crate::ids::Timestamp;

/// Backups kept: a few versions back, for whoever has to go back.
const BACKUPS_KEPT: usize = 3;

/// A file that was not closed cleanly is checked as a whole up to this size (16 MiB take 30 ms): a
/// larger one would hold up the start, and is checked when the doctor is asked for it.
const CHECKED_MAX_BYTES: u64 = 16 << 20;

/// Looks at a file before it is opened for writing, and backs it up if it is to be migrated. A file
/// that is not there, or empty, is fine: it is going to be made.
pub(super) async fn prepare(path: &Path) -> Result<(), OpenError> {
    if bytes_of(path) == 0 {
        return Ok(());
    }
    let is_unclean = bytes_of(&with(path, "-wal")) > 0;
    let (mut conn, version) = match look(path, true).await {
        // A crash while the file was made has left a journal, which whoever reads must roll back.
        Err(error) if needs_writing(&error) => look(path, false).await?,
        looked => looked?,
    };
    if is_unclean && bytes_of(path) <= CHECKED_MAX_BYTES {
        check_pages(&mut conn, path).await?;
    }
    if (1..schema_version()).contains(&version) {
        back_up(&mut conn, path, version)
            .await
            .map_err(|source| OpenError::BackUp {
                path: path.to_owned(),
                source,
            })?;
    }
    conn.close().await.map_err(|error| open_error(path, error))
}

/// Opens a file that is there; also returns its schema.
async fn look(path: &Path, read_only: bool) -> Result<(SqliteConnection, i64), OpenError> {
    let mut conn = options(path)
        .read_only(read_only)
        .connect()
        .await
        .map_err(|error| open_error(path, error))?;
    let version = check_version(&mut conn, path).await?;
    Ok((conn, version))
}

/// Whether SQLite says that it can read only once it may write: SQLITE_READONLY, whatever its
/// extension.
fn needs_writing(error: &OpenError) -> bool {
    const SQLITE_READONLY: i32 = 8;
    let OpenError::Open { source, .. } = error else {
        return false;
    };
    let source = source.downcast_ref::<sqlx::Error>();
    let code = source.and_then(|source| source.as_database_error()?.code());
    let code = code.and_then(|code| code.parse::<i32>().ok());
    code.is_some_and(|code| code & 0xff == SQLITE_READONLY)
}

/// The schema a file has, 0 when it has none; a newer one than this code's is an error.
pub(super) async fn check_version(
    conn: &mut SqliteConnection,
    path: &Path,
) -> Result<i64, OpenError> {
    let query = "SELECT count(*) FROM sqlite_schema WHERE name = '_sqlx_migrations'";
    let tables: i64 = sqlx::query_scalar(query)
        .fetch_one(&mut *conn)
        .await
        .map_err(|error| open_error(path, error))?;
    if tables == 0 {
        return Ok(0);
    }
    let found = sqlx::query_scalar("SELECT coalesce(max(version), 0) FROM _sqlx_migrations")
        .fetch_one(&mut *conn)
        .await
        .map_err(|error| open_error(path, error))?;
    if found > schema_version() {
        return Err(OpenError::Newer {
            path: path.to_owned(),
            found,
            known: schema_version(),
        });
    }
    Ok(found)
}

async fn check_pages(conn: &mut SqliteConnection, path: &Path) -> Result<(), OpenError> {
    let found: String = sqlx::query_scalar("PRAGMA quick_check(1)")
        .fetch_one(conn)
        .await
        .map_err(|error| open_error(path, error))?;
    if found == "ok" {
        return Ok(());
    }
    Err(OpenError::Damaged {
        path: path.to_owned(),
        source: Arc::new(sqlx::Error::Protocol(found)),
    })
}

/// Copies a file as it would be read, log and all, to `{name}.v{version}-{ms}.bak`, where `ms` is
/// when it was last written. The copy has its name only once it is whole and on disk.
async fn back_up(conn: &mut SqliteConnection, path: &Path, version: i64) -> io::Result<()> {
    let written = std::fs::metadata(path)?.modified()?;
    let written_ms = written
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_millis();
    let copy = with(path, ".bak.new");
    // It may be what an earlier attempt has left; and it is made here, for its owner alone.
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&copy)?;
    let name = copy
        .to_str()
        .ok_or_else(|| io::Error::other("its path is not UTF-8"))?;
    sqlx::query("VACUUM INTO ?")
        .bind(name.to_owned())
        .execute(conn)
        .await
        .map_err(io::Error::other)?;
    file.sync_all()?;
    let backup = with(path, &format!(".v{version}-{written_ms}.bak"));
    std::fs::rename(&copy, &backup)?;
    if let Some(dir) = path.parent() {
        File::open(dir)?.sync_all()?;
    }
    tracing::info!(backup = %backup.display(), from = version, to = schema_version(),
        steps = migrator().iter().count(), "the database is backed up and migrated");
    forget_oldest(path)
}

/// Removes the oldest backups beyond those that are kept.
fn forget_oldest(path: &Path) -> io::Result<()> {
    let mut backups: Vec<_> = beside(path, ".v")?
        .into_iter()
        .filter_map(|(ending, backup)| {
            let (_, written_ms) = ending.strip_suffix(".bak")?.split_once('-')?;
            Some((written_ms.parse::<u64>().ok()?, backup))
        })
        .collect();
    backups.sort_unstable();
    let too_many = backups.len().saturating_sub(BACKUPS_KEPT);
    for (_, backup) in &backups[..too_many] {
        std::fs::remove_file(backup)?;
    }
    Ok(())
}

/// Renames a damaged file with its log, so that a new one does not meet the log of another.
pub(super) fn set_aside(path: &Path, now: Timestamp) -> Result<PathBuf, OpenError> {
    let ending = format!("{DAMAGED}{}", now.0);
    // The file goes last: as long as it is there, the next start finds it damaged again.
    for part in ["-wal", "-shm", ""] {
        match std::fs::rename(with(path, part), with(path, &format!("{ending}{part}"))) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(OpenError::SetAside {
                    path: path.to_owned(),
                    source,
                });
            }
            _ => {}
        }
    }
    Ok(with(path, &ending))
}

const DAMAGED: &str = ".damaged-";

/// The damaged files that were set aside and are still there, oldest first.
pub(super) fn damaged(path: &Path) -> Vec<PathBuf> {
    // A directory that cannot be listed is told of by whoever opens the file.
    let mut found: Vec<_> = beside(path, DAMAGED)
        .unwrap_or_default()
        .into_iter()
        .filter(|(ending, _)| ending.parse::<u64>().is_ok())
        .map(|(_, file)| file)
        .collect();
    found.sort_unstable();
    found
}

/// The files whose names are that of the database and this ending, with what follows it.
fn beside(path: &Path, ending: &str) -> io::Result<Vec<(String, PathBuf)>> {
    let start = with(Path::new(path.file_name().unwrap_or_default()), ending);
    let start = start.to_string_lossy().into_owned();
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path.parent().unwrap_or(Path::new(".")))? {
        let entry = entry?;
        if let Some(rest) = entry.file_name().to_string_lossy().strip_prefix(&start) {
            found.push((rest.to_owned(), entry.path()));
        }
    }
    Ok(found)
}

fn with(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    PathBuf::from(name)
}

/// Bytes of a file, 0 when it is not there.
fn bytes_of(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len())
}
