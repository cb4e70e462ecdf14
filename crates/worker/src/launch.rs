//! Starting a worker in the background, and what a worker takes over from whoever started it.
//!
//! There is one way into the background: the hook client's. The command line runs that client, so
//! that a worker is the same whether a hook or a person started it.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::wire::environment::{self, START_LOCK_FD};
use crate::wire::layout::Layout;

const HOOK: &str = "sessiond-hook";

/// The variables of `vars` that a worker or one of its helpers may have, with `path_value` as
/// `PATH`. The list is [`crate::wire::environment`]'s.
pub fn clean_environment(
    vars: impl IntoIterator<Item = (OsString, OsString)>,
    path_value: &OsStr,
) -> Vec<(OsString, OsString)> {
    environment::clean(vars, path_value)
}

/// Starts a worker for `layout` in the background, by the hook client that was installed beside
/// `sessiond_exe`. Returns when it is on its way, not when it serves; also when one is there or on
/// its way already. Blocks for a few milliseconds.
///
/// # Errors
/// The hook client cannot be run, or failed.
pub fn start_detached(layout: &Layout, sessiond_exe: &Path) -> io::Result<()> {
    let mut starter = Command::new(sessiond_exe.with_file_name(HOOK));
    starter
        .arg("--start-worker")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if Layout::from_env(|name| env::var_os(name)).as_ref() != Some(layout) {
        starter.env("SESSIOND_HOME", layout.root());
    }
    let status = starter.status()?;
    if !status.success() {
        return Err(io::Error::other(format!("{HOOK} ended with {status}")));
    }
    Ok(())
}

/// The start lock, if whoever started this process handed it over: hold it until the worker
/// serves. To be called once, before anything else opens a file. It is closed on exec, so no child
/// keeps it.
pub fn adopt_start_lock(layout: &Layout) -> Option<OwnedFd> {
    adopt(layout, env::var(START_LOCK_FD).ok()?.parse().ok()?)
}

fn adopt(layout: &Layout, number: RawFd) -> Option<OwnedFd> {
    // The number may be stale or made up, so look at what it names before taking it.
    let named = fs::metadata(format!("/dev/fd/{number}")).ok()?;
    let lock = fs::symlink_metadata(layout.start_lock_file()).ok()?;
    if number < 3 || (named.dev(), named.ino()) != (lock.dev(), lock.ino()) {
        return None;
    }
    #[allow(
        unsafe_code,
        reason = "an inherited descriptor has no owner to take it from"
    )]
    // SAFETY: the descriptor is open, and it is the start lock, which nothing else in this process
    // opens; so nobody else owns it.
    let inherited = unsafe { OwnedFd::from_raw_fd(number) };
    // A copy is closed on exec, unlike the original.
    inherited.try_clone().ok()
}

#[cfg(test)]
mod tests {
    use std::fs::{File, TryLockError};
    use std::os::fd::{AsRawFd, IntoRawFd};

    use super::*;

    #[test]
    fn start_lock_is_held_until_the_adopted_descriptor_is_dropped() {
        let dir = tempfile::tempdir().expect("a directory");
        let layout = Layout::at(dir.path().to_owned());
        let handed_over = File::create(layout.start_lock_file()).expect("create");
        handed_over.lock().expect("lock");
        let adopted = adopt(&layout, handed_over.into_raw_fd()).expect("the start lock");
        let other = File::open(layout.start_lock_file()).expect("open");
        assert!(matches!(other.try_lock(), Err(TryLockError::WouldBlock)));
        drop(adopted);
        // Waits for ever when it is still held; a fork of another test may hold it for a moment.
        other.lock().expect("lock");
    }

    #[test]
    fn descriptor_of_another_file_is_not_adopted() {
        let dir = tempfile::tempdir().expect("a directory");
        let layout = Layout::at(dir.path().to_owned());
        File::create(layout.start_lock_file()).expect("create");
        let another = tempfile::tempfile().expect("a file");
        assert!(adopt(&layout, another.as_raw_fd()).is_none());
        assert!(adopt(&layout, 0).is_none());
        assert!(adopt(&layout, 1_000_000).is_none());
    }

    #[test]
    fn missing_starter_is_an_error() {
        let dir = tempfile::tempdir().expect("a directory");
        let layout = Layout::at(dir.path().to_owned());
        let error = start_detached(&layout, &dir.path().join("sessiond"));
        assert_eq!(
            error.map_err(|error| error.kind()),
            Err(io::ErrorKind::NotFound)
        );
    }
}
