//! Starts a detached worker, once for all the hooks that miss it at the same moment.
//!
//! The start lock goes with the worker as an inherited descriptor: it is held until the worker
//! serves and drops it, or dies. So there is no moment in which a second hook could start another.

use std::env;
use std::ffi::{CString, OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::client;
use crate::detach::{self, INHERITED_FD, Program};
use crate::spool::create_dir;
use crate::wire::environment::{self, START_LOCK_FD, WORKER_PATH};
use crate::wire::layout::Layout;

const WORKER: &str = "sessiond";

/// Starts a worker unless one is there, or is being started by another. Returns at once.
pub(crate) fn start_worker(layout: &Layout) {
    let Some(lock) = take_start_lock(layout) else {
        return;
    };
    // The one that held the lock before may just have finished its start.
    if !client::is_absent(&layout.socket()) {
        return;
    }
    if let Some(program) = worker_program() {
        // When it fails, the event is on disk, and the next hook tries again.
        detach::start(&program, lock).ok();
    }
}

fn take_start_lock(layout: &Layout) -> Option<File> {
    create_dir(layout.root()).ok()?;
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(layout.start_lock_file())
        .ok()?;
    file.try_lock().ok()?;
    Some(file)
}

fn worker_program() -> Option<Program> {
    let path = find_worker()?;
    let mut environment = environment::clean(env::vars_os(), OsStr::new(WORKER_PATH));
    environment.push((START_LOCK_FD.into(), INHERITED_FD.to_string().into()));
    let environment = environment.into_iter().map(|(name, value)| {
        let mut assignment = name.into_vec();
        assignment.push(b'=');
        assignment.extend(value.into_vec());
        OsString::from_vec(assignment)
    });
    Some(Program {
        arguments: c_strings([path.clone().into_os_string(), "launch".into()])?,
        environment: c_strings(environment)?,
        path: CString::new(path.into_os_string().into_vec()).ok()?,
    })
}

/// The worker that was installed with this program, else one from the worker's own `PATH`: the
/// agent's may lead into a project.
fn find_worker() -> Option<PathBuf> {
    let own = env::current_exe().and_then(|path| path.canonicalize()).ok();
    let beside = own.and_then(|path| Some(path.parent()?.join(WORKER)));
    let on_path = env::split_paths(WORKER_PATH).map(|dir| dir.join(WORKER));
    beside
        .into_iter()
        .chain(on_path)
        .find(|path| is_executable(path))
}

fn is_executable(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

fn c_strings(texts: impl IntoIterator<Item = OsString>) -> Option<Vec<CString>> {
    texts
        .into_iter()
        .map(|text| CString::new(text.as_bytes()).ok())
        .collect()
}
