//! The writer's side of the spool: an event that the worker did not take goes to disk.
//!
//! One file a session keeps the session's order. The worker unlinks a file, under its lock, once
//! it has all of it; a writer that waited for that lock holds a file nobody will read again, so it
//! compares what it has locked with what the path names now, and opens anew when they differ.

use std::env;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::agent_process;
use crate::deadline;
use crate::event::Event;
use crate::wire::agent_process::AgentProcess;
use crate::wire::environment;
use crate::wire::frame::{self, Frame};
use crate::wire::layout::Layout;
use crate::wire::limits::{SPOOL_MAX_BYTES, SPOOL_SESSION_MAX_BYTES};
use crate::wire::spool_name::spool_file_name;

/// How long the lock is waited for even when the deadline is over: losing the event is worse. The
/// worker and other hooks hold it for a few milliseconds.
const LOCK_WAIT_MIN: Duration = Duration::from_millis(100);

/// Whether events of this session are waiting in a spool file.
pub(crate) fn has_file(layout: &Layout, event: &Event) -> bool {
    fs::symlink_metadata(file_path(layout, event)).is_ok()
}

/// Appends the event to its session's file, waiting for the file's lock for `lock_wait` or a little
/// longer; on success the event is on disk.
///
/// # Errors
/// A limit is reached (`QuotaExceeded`), the lock is not to be had (`TimedOut`), or the disk does
/// not take it. The file is then as it was.
pub(crate) fn append(layout: &Layout, event: &Event, lock_wait: Duration) -> io::Result<()> {
    // It may be read after a boot, in which the pid is another's.
    let process = event.agent_process.as_ref().and_then(|process| {
        let boot_id = Some(agent_process::boot_id()?);
        Some(
            AgentProcess {
                boot_id,
                ..process.clone()
            }
            .to_string(),
        )
    });
    let bytes = frame::encode(&Frame {
        event_id: &event.id,
        fired_at_ms: event.fired_at_ms,
        agent: &event.agent,
        agent_process: process.as_deref(),
        payload: &event.payload,
    });
    let path = file_path(layout, event);
    let until = Instant::now() + lock_wait.max(LOCK_WAIT_MIN);
    let mut file = open_locked(layout, &path, until)?;
    let length_before = file.metadata()?.len();
    check_limits(&layout.spool_dir(), length_before, bytes.len() as u64)?;
    let written = file.write_all(&bytes).and_then(|()| file.sync_data());
    if let Err(error) = written {
        // A reader copes with half a frame if this fails too.
        file.set_len(length_before).ok();
        return Err(error);
    }
    if length_before == 0 {
        sync_dir(&layout.spool_dir())?;
    }
    Ok(())
}

/// Adds one to a counter that is a file's length: appending needs no lock.
pub(crate) fn count(path: &Path) {
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path);
    // On a full disk a file can still be made longer, as long as nothing is written. If that fails
    // too, there is nobody to tell, and the agent must not be bothered.
    file.and_then(|mut file| {
        file.write_all(b".")
            .or_else(|_| file.set_len(file.metadata()?.len() + 1))
    })
    .ok();
}

/// Makes the install's directory and those above it, for this user only.
pub(crate) fn create_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn file_path(layout: &Layout, event: &Event) -> PathBuf {
    let name = spool_file_name(&event.agent, event.session_key.as_deref());
    layout.spool_dir().join(name)
}

/// The file that `path` names, with its lock.
fn open_locked(layout: &Layout, path: &Path, until: Instant) -> io::Result<File> {
    loop {
        let file = match open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                create_dir(&layout.spool_dir())?;
                sync_dir(layout.root())?;
                open(path)?
            }
            opened => opened?,
        };
        while let Err(error) = file.try_lock() {
            if matches!(error, fs::TryLockError::Error(_)) || Instant::now() >= until {
                return Err(ErrorKind::TimedOut.into());
            }
            deadline::pause();
        }
        let locked = file.metadata()?;
        match fs::symlink_metadata(path) {
            Ok(named) if (named.dev(), named.ino()) == (locked.dev(), locked.ino()) => {
                return Ok(file);
            }
            _ if Instant::now() >= until => return Err(ErrorKind::TimedOut.into()),
            _ => {}
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)
}

fn check_limits(dir: &Path, file_bytes: u64, added: u64) -> io::Result<()> {
    let limit = |name: &str, default: u64| {
        env::var(name)
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(default)
    };
    let session_max = limit(
        environment::SPOOL_SESSION_MAX_BYTES,
        SPOOL_SESSION_MAX_BYTES,
    );
    let max = limit(environment::SPOOL_MAX_BYTES, SPOOL_MAX_BYTES);
    if file_bytes + added > session_max || dir_bytes(dir)? + added > max {
        return Err(ErrorKind::QuotaExceeded.into());
    }
    Ok(())
}

fn dir_bytes(dir: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        // A file that has just gone takes no room.
        bytes += entry?.metadata().map_or(0, |metadata| metadata.len());
    }
    Ok(bytes)
}

/// Puts the names in a directory on disk.
fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
