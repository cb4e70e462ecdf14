//! A pid namespace of the runner's own, in which any free pid can be given to a new process.
//!
//! Needs no root: the runner becomes root of a user namespace of its own. Who is put onto a pid,
//! and what is looked at then, is left to the caller.
#![allow(
    unsafe_code,
    reason = "namespaces, mounts and fork are the very thing; one thread until the body runs"
)]

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;

use crate::EXIT_OBSTACLE;

/// Runs `body` as an ordinary process of a new pid namespace, with `/proc` of it and an empty
/// memory file system on `dir`, and gives its exit code, or that of an obstacle where the system
/// does not permit it. Whatever the body leaves there ends.
///
/// To be called while this process has one thread.
pub(crate) fn run_inside(dir: &Path, body: impl FnOnce() -> ExitCodeNumber) -> ExitCode {
    if let Err(error) = become_root_inside() {
        return obstacle("a user and pid namespace of its own", &error);
    }
    let code = fork_and_wait(|| {
        // Init: it adopts every orphan here, and must not leave before the body is done.
        match prepare(dir) {
            Ok(()) => fork_and_wait(body),
            Err(error) => {
                obstacle("mounts in a namespace of its own", &error);
                EXIT_OBSTACLE
            }
        }
    });
    ExitCode::from(code)
}

/// What a process exits with. `ExitCode` cannot be taken apart.
pub(crate) type ExitCodeNumber = u8;

fn obstacle(what: &str, error: &io::Error) -> ExitCode {
    eprintln!("this takes {what}: {error}");
    ExitCode::from(EXIT_OBSTACLE)
}

fn become_root_inside() -> io::Result<()> {
    // SAFETY: plain calls.
    let (user, group) = unsafe { (libc::geteuid(), libc::getegid()) };
    // SAFETY: one thread, and nothing here relies on the namespaces that are left.
    checked(unsafe {
        libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWPID | libc::CLONE_NEWNS)
    })?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("0 {user} 1"))?;
    fs::write("/proc/self/gid_map", format!("0 {group} 1"))
}

fn prepare(dir: &Path) -> io::Result<()> {
    // What is mounted here must not be seen outside.
    mount("none", Path::new("/"), "", libc::MS_REC | libc::MS_PRIVATE)?;
    let flags = libc::MS_NOSUID | libc::MS_NODEV;
    mount("proc", Path::new("/proc"), "proc", flags)?;
    mount("tmpfs", dir, "tmpfs", flags)
}

fn mount(source: &str, target: &Path, kind: &str, flags: libc::c_ulong) -> io::Result<()> {
    let source = CString::new(source)?;
    let target = CString::new(target.as_os_str().as_bytes())?;
    let kind = CString::new(kind)?;
    // SAFETY: the strings live until it returns; no data is asked for.
    checked(unsafe {
        libc::mount(
            source.as_ptr(),
            target.as_ptr(),
            kind.as_ptr(),
            flags,
            std::ptr::null(),
        )
    })
}

/// Runs `body` in a child that ends with this process, waits for it and for every orphan that
/// comes here meanwhile, and gives its exit code.
fn fork_and_wait(body: impl FnOnce() -> ExitCodeNumber) -> ExitCodeNumber {
    // SAFETY: one thread, so nobody holds a lock that the child would wait for.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: a plain call. The parent is there: it waits.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        std::process::exit(body().into());
    }
    loop {
        let mut status = 0;
        // SAFETY: waits for any child; the status is written to a number of this frame.
        let ended = unsafe { libc::wait(&raw mut status) };
        if ended == child || ended < 0 {
            return match libc::WIFEXITED(status) && ended == child {
                true => u8::try_from(libc::WEXITSTATUS(status)).unwrap_or(u8::MAX),
                false => u8::MAX,
            };
        }
    }
}

fn checked(result: libc::c_int) -> io::Result<()> {
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
