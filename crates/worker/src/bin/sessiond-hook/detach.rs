//! Runs a program that has nothing left to do with whoever started it.
//!
//! Agents kill a hook's whole process tree when it times out, wait for whoever holds its output,
//! and die with their terminal. So: two forks (the program's parent is gone, and it leaves the
//! tree), a session of its own, no descriptor but one, the root directory, default signals. The
//! only `unsafe` code of this binary.
#![allow(
    unsafe_code,
    reason = "fork, exec and what lies between have no safe form"
)]

use std::ffi::{CString, c_char, c_int};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::ptr;

/// The number under which the program finds the descriptor that it inherits.
pub(crate) const INHERITED_FD: RawFd = 3;

/// Above every number that is given out below, so that no copy hits what it is copied from.
const PARKED_FD_MIN: c_int = 10;

/// Signal numbers end below this on every system.
const SIGNAL_END: c_int = 65;

/// What to run.
pub(crate) struct Program {
    /// The executable.
    pub(crate) path: CString,
    /// Its arguments, its own name first.
    pub(crate) arguments: Vec<CString>,
    /// Its whole environment, `NAME=value` each.
    pub(crate) environment: Vec<CString>,
}

/// Starts the program, which inherits `inherited` (and the lock on it) as [`INHERITED_FD`].
///
/// # Errors
/// The first fork failed. Later failures end the child without a word.
pub(crate) fn start(program: &Program, inherited: File) -> io::Result<()> {
    let null = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    let arguments = pointers(&program.arguments);
    let environment = pointers(&program.environment);
    // SAFETY: this process has one thread, so the child's copy of every lock and of the allocator
    // is consistent; the child ends in `exec` or `_exit`.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            // SAFETY: as above; the two pointer lists end in a null pointer and their strings
            // outlive the call.
            unsafe { become_program(program, &arguments, &environment, &null, &inherited) }
        }
        first_child => {
            // SAFETY: waits for the child made above, which ends at once; no status is asked for.
            while unsafe { libc::waitpid(first_child, ptr::null_mut(), 0) } == -1
                && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
            {}
            Ok(())
        }
    }
}

/// A list for `execve`.
fn pointers(texts: &[CString]) -> Vec<*const c_char> {
    let ends = std::iter::once(ptr::null());
    texts.iter().map(|text| text.as_ptr()).chain(ends).collect()
}

/// The children's side: the first one leaves as soon as the second, in a session that the first
/// leads, is on its way. Not leading it, the program cannot get a terminal by accident.
///
/// # Safety
/// Only in a freshly forked child of a process with one thread. `arguments` and `environment` end
/// in a null pointer, and what they point to is alive.
unsafe fn become_program(
    program: &Program,
    arguments: &[*const c_char],
    environment: &[*const c_char],
    null: &File,
    inherited: &File,
) -> ! {
    // SAFETY: plain system calls on this process's own state; see above for the pointers.
    unsafe {
        libc::setsid();
        if libc::fork() != 0 {
            libc::_exit(0);
        }
        arrange_descriptors(null.as_raw_fd(), inherited.as_raw_fd());
        libc::chdir(c"/".as_ptr());
        // Ignored signals stay ignored across exec, and the standard library ignores SIGPIPE.
        for signal in 1..SIGNAL_END {
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut none = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &none, ptr::null_mut());
        libc::execve(
            program.path.as_ptr(),
            arguments.as_ptr(),
            environment.as_ptr(),
        );
        libc::_exit(127)
    }
}

/// 0, 1 and 2 become `null`, [`INHERITED_FD`] becomes `inherited`, everything else is closed.
///
/// # Safety
/// Only in a freshly forked child: descriptors are closed behind the back of their owners.
unsafe fn arrange_descriptors(null: RawFd, inherited: RawFd) {
    // SAFETY: plain system calls; on failure the child ends, since a descriptor of the agent's
    // would otherwise stay open.
    unsafe {
        let null = libc::fcntl(null, libc::F_DUPFD, PARKED_FD_MIN);
        let inherited = libc::fcntl(inherited, libc::F_DUPFD, PARKED_FD_MIN);
        for fd in 0..INHERITED_FD {
            if libc::dup2(null, fd) == -1 {
                libc::_exit(126);
            }
        }
        if libc::dup2(inherited, INHERITED_FD) == -1 {
            libc::_exit(126);
        }
        close_from(INHERITED_FD + 1);
    }
}

/// # Safety
/// As for [`arrange_descriptors`].
unsafe fn close_from(first: RawFd) {
    // SAFETY: closing a number that is not open does nothing.
    unsafe {
        #[cfg(target_os = "linux")]
        if libc::syscall(libc::SYS_close_range, first, c_int::MAX, 0) == 0 {
            return;
        }
        // Kernels before 5.9, and other systems.
        let end = libc::sysconf(libc::_SC_OPEN_MAX).clamp(256, 1 << 20) as c_int;
        for fd in first..end {
            libc::close(fd);
        }
    }
}
