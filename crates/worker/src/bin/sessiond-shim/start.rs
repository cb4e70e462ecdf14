//! What the shim makes of itself, and the start of its child. The only `unsafe` code of it.

use std::env;
use std::ffi::CString;
use std::fs::OpenOptions;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawnp};
use nix::sys::prctl;
use nix::sys::signal::SigSet;
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{dup2_stderr, dup2_stdout};
use rustix::io::Errno;
use rustix::process::{Pid, chdir, set_child_subreaper, setsid};

/// Signal numbers end below this.
const SIGNAL_END: libc::c_int = 65;

/// The first descriptor that is not the child's.
const OTHER_FD_MIN: libc::c_int = 3;

/// Leaves the worker's session and everything else that was inherited without being meant.
pub(crate) fn leave_worker() {
    // Fails only for a group's leader, which is apart from the worker's group already.
    setsid().ok();
    // Executed from a descriptor, it would be called by that one's number.
    prctl::set_name(c"sessiond-shim").ok();
    default_signals();
    close_other_descriptors();
}

/// The worker ignores SIGHUP and SIGPIPE, and what is ignored stays so across exec. An ignored
/// SIGCHLD would even let children vanish unseen.
#[expect(unsafe_code, reason = "no safe call sets a signal's disposition")]
fn default_signals() {
    for signal in 1..SIGNAL_END {
        // SAFETY: a default disposition runs no code; KILL, STOP and libc's own are refused.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// Descriptors from 3 up are leaks of whoever came before: neither the shim nor the child may keep
/// somebody's pipe open.
#[expect(unsafe_code, reason = "closes what nothing here owns")]
fn close_other_descriptors() {
    // SAFETY: called before anything is opened here, so none of them has an owner in this process.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, OTHER_FD_MIN, libc::c_int::MAX, 0) };
    if closed == 0 {
        return;
    }
    // Kernels before 5.9.
    // SAFETY: as above; closing a number that is not open does nothing.
    unsafe {
        let end = libc::sysconf(libc::_SC_OPEN_MAX).clamp(256, 1 << 20) as libc::c_int;
        for fd in OTHER_FD_MIN..end {
            libc::close(fd);
        }
    }
}

/// Becomes the reaper of all that will descend from the child, and takes every signal as data from
/// now on, so that none can end the shim while its tree lives.
///
/// # Errors
/// The system's; nothing may be started then.
pub(crate) fn signals() -> Result<SignalFd, Errno> {
    set_child_subreaper(Some(rustix::process::getpid()))?;
    let all = SigSet::all();
    all.thread_set_mask().map_err(errno)?;
    SignalFd::with_flags(&all, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).map_err(errno)
}

/// Starts the child with a group of its own, so that its `kill(0, ...)` misses the shim, and with
/// nothing but its three descriptors. It runs the program when this returns.
///
/// # Errors
/// Why the program does not run, as `exec` says it.
pub(crate) fn child(arguments: &[CString], stdin: &OwnedFd) -> Result<Pid, Errno> {
    let environment: Vec<CString> = env::vars_os()
        .filter_map(|(name, value)| {
            let mut assignment = name.into_vec();
            assignment.push(b'=');
            assignment.extend(value.into_vec());
            CString::new(assignment).ok()
        })
        .collect();
    let spawn = || {
        let mut files = PosixSpawnFileActions::init()?;
        files.add_dup2(stdin.as_raw_fd(), libc::STDIN_FILENO)?;
        let mut attributes = PosixSpawnAttr::init()?;
        attributes.set_flags(
            PosixSpawnFlags::POSIX_SPAWN_SETPGROUP | PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK,
        )?;
        attributes.set_pgroup(nix::unistd::Pid::from_raw(0))?;
        attributes.set_sigmask(&SigSet::empty())?;
        posix_spawnp(&arguments[0], &files, &attributes, arguments, &environment)
    };
    let pid = spawn().map_err(errno)?;
    Pid::from_raw(pid.as_raw()).ok_or(Errno::CHILD)
}

/// Gives up what belongs to the child alone: its output, which ends with its last holder, and its
/// directory, which may be about to be removed.
pub(crate) fn let_go_of_output(instead: &impl AsFd) {
    chdir("/").ok();
    // Without /dev/null any other descriptor will do: nothing is printed from here on.
    match OpenOptions::new().read(true).write(true).open("/dev/null") {
        Ok(null) => replace_output(&null),
        Err(_) => replace_output(instead),
    }
}

fn replace_output(with: &impl AsFd) {
    // Both numbers are open, so there is no way to fail.
    dup2_stdout(with).ok();
    dup2_stderr(with).ok();
}

fn errno(error: nix::errno::Errno) -> Errno {
    Errno::from_raw_os_error(error as i32)
}
