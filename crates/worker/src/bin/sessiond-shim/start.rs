//! What the shim makes of itself, and the start of its child. The only `unsafe` code of it.

use std::env;
use std::ffi::{CString, OsString};
use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use nix::sys::prctl;
use nix::sys::signal::SigSet;
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{ForkResult, dup2_stderr, dup2_stdin, dup2_stdout, execve, fork};
use rustix::io::Errno;
use rustix::process::{
    Pid, Resource, Rlimit, WaitOptions, chdir, getrlimit, nice, set_child_subreaper, setpgid,
    setrlimit, setsid, waitpid,
};

use crate::options::{Limits, Options};

/// Signal numbers end below this.
const SIGNAL_END: libc::c_int = 65;

/// The first descriptor that is not the child's.
const OTHER_FD_MIN: libc::c_int = 3;

/// Where programs are looked up without a `PATH`, as the C library does it.
const DEFAULT_PATH: &[u8] = b"/bin:/usr/bin";

/// The exit code of a child that could not become its program. Nobody sees it but `ps`.
const EXIT_NOT_RUN: libc::c_int = 127;

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

/// Starts the child with a group of its own, so that its `kill(0, ...)` misses the shim, with
/// nothing but its three descriptors, and within its limits. It runs the program when this returns.
///
/// # Errors
/// Why the program does not run, as `fork`, `setrlimit` or `exec` says it.
#[expect(
    unsafe_code,
    reason = "there is no other way to set limits for a child alone"
)]
pub(crate) fn child(options: &Options, stdin: &OwnedFd) -> Result<Pid, Errno> {
    let program = Program::new(&options.arguments);
    // Closed by the exec, which is how its success is seen.
    let (mut failure, mut failed) = io::pipe().map_err(io_errno)?;
    // SAFETY: the shim has one thread, so nothing is locked or half changed in its child.
    match unsafe { fork() }.map_err(errno)? {
        ForkResult::Child => {
            let errno = program.run(&options.limits, stdin);
            // Without a reader the shim is gone as well.
            failed.write_all(&errno.raw_os_error().to_ne_bytes()).ok();
            // SAFETY: ends this process, without what the shim would do at its own end.
            unsafe { libc::_exit(EXIT_NOT_RUN) }
        }
        ForkResult::Parent { child } => {
            drop(failed);
            let child = Pid::from_raw(child.as_raw()).ok_or(Errno::CHILD)?;
            let mut errno = [0; size_of::<i32>()];
            match failure.read_exact(&mut errno) {
                Ok(()) => {
                    // It has ended, or is about to.
                    waitpid(Some(child), WaitOptions::empty()).ok();
                    Err(Errno::from_raw_os_error(i32::from_ne_bytes(errno)))
                }
                Err(_end_of_file) => Ok(child),
            }
        }
    }
}

/// Everything that `exec` needs, made before the fork.
struct Program<'a> {
    /// Where it may be found, in this order.
    paths: Vec<CString>,
    arguments: &'a [CString],
    environment: Vec<CString>,
}

impl<'a> Program<'a> {
    fn new(arguments: &'a [CString]) -> Self {
        let environment = env::vars_os().filter_map(|(name, value)| {
            let mut assignment = name.into_vec();
            assignment.push(b'=');
            assignment.extend(value.into_vec());
            CString::new(assignment).ok()
        });
        let path = env::var_os("PATH").map_or_else(|| DEFAULT_PATH.to_vec(), OsString::into_vec);
        Self {
            paths: paths(&arguments[0], &path),
            arguments,
            environment: environment.collect(),
        }
    }

    /// Makes this process the program. Returns why it could not.
    fn run(&self, limits: &Limits, stdin: &OwnedFd) -> Errno {
        let prepared = dup2_stdin(stdin)
            .map_err(errno)
            .and_then(|()| setpgid(None, None))
            .and_then(|()| limit(limits))
            .and_then(|()| SigSet::empty().thread_set_mask().map_err(errno));
        match prepared {
            Ok(()) => self.exec(),
            Err(errno) => errno,
        }
    }

    /// As `posix_spawnp` does it: a file that is no program is an error, and not a shell's script.
    fn exec(&self) -> Errno {
        let mut failure = Errno::NOENT;
        for path in &self.paths {
            let Err(error) = execve(path, self.arguments, &self.environment);
            match errno(error) {
                // One that may not be run counts only if there is no other.
                Errno::ACCESS => failure = Errno::ACCESS,
                missing @ (Errno::NOENT
                | Errno::NOTDIR
                | Errno::STALE
                | Errno::NODEV
                | Errno::TIMEDOUT) => {
                    if failure != Errno::ACCESS {
                        failure = missing;
                    }
                }
                other => return other,
            }
        }
        failure
    }
}

/// Where a program may be found: where it says, or in the directories of `path`.
fn paths(program: &CString, path: &[u8]) -> Vec<CString> {
    let name = program.as_bytes();
    if name.is_empty() || name.contains(&b'/') {
        return vec![program.clone()];
    }
    let found = path.split(|byte| *byte == b':').filter_map(|directory| {
        let mut file = directory.to_vec();
        // An empty one is the working directory.
        if !file.is_empty() {
            file.push(b'/');
        }
        file.extend(name);
        CString::new(file).ok()
    });
    found.collect()
}

/// Lowers what this process may use. What is lower already stays so: an ordinary user may not raise
/// it, and a program that runs is worth more than one that is refused.
fn limit(limits: &Limits) -> Result<(), Errno> {
    let resources = [
        (Resource::As, limits.address_space),
        (Resource::Nofile, limits.open_files),
        (Resource::Nproc, limits.processes),
    ];
    for (resource, limit) in resources {
        if let Some(limit) = limit {
            let hard = getrlimit(resource).maximum;
            let limit = Some(hard.map_or(limit, |hard| limit.min(hard)));
            setrlimit(
                resource,
                Rlimit {
                    current: limit,
                    maximum: limit,
                },
            )?;
        }
    }
    if let Some(increment) = limits.nice {
        nice(increment)?;
    }
    Ok(())
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

fn io_errno(error: io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}

fn errno(error: nix::errno::Errno) -> Errno {
    Errno::from_raw_os_error(error as i32)
}
