//! A process on a pid of the runner's choice, which shows every signal that reaches it.
//!
//! It blocks all signals from before it exists, so what is sent to it stays pending for whoever
//! looks; SIGKILL and SIGSTOP, which cannot be blocked, are seen by what they do to it.
#![allow(unsafe_code, reason = "clone3 onto a chosen pid is the very thing")]

use std::fs;
use std::io;
use std::time::{Duration, Instant};

/// A child of this process on a pid that was asked for; it is ended and reaped when dropped.
#[derive(Debug)]
pub(super) struct Placed {
    pub(super) pid: u32,
}

impl Placed {
    /// Puts one on `pid`, in a group of its own: whoever is of this process's group is never
    /// signalled from here, for that reason alone.
    ///
    /// # Errors
    /// `AlreadyExists` while the pid means anybody, a process, a group or a session.
    pub(super) fn on(pid: u32) -> io::Result<Self> {
        Self::apart(start(Some(pid))?)
    }

    /// The same on whatever pid the kernel gives.
    pub(super) fn anywhere() -> io::Result<Self> {
        Self::apart(start(None)?)
    }

    fn apart(pid: u32) -> io::Result<Self> {
        let placed = Self { pid };
        placed.join_group(pid)?;
        Ok(placed)
    }

    /// The same as soon as `pid` is free; `None` when it is not within `limit`.
    pub(super) fn when_free(pid: u32, limit: Duration) -> Option<Self> {
        let deadline = Instant::now() + limit;
        loop {
            // A refused clone costs as much as one that is granted, a look does not.
            if !is_taken(pid) {
                match Self::on(pid) {
                    Ok(placed) => return Some(placed),
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                    Err(error) => panic!("put a process on {pid}: {error}"),
                }
            }
            if Instant::now() >= deadline {
                return None;
            }
            std::thread::yield_now();
        }
    }

    /// Makes it a member of `group`, which is its own pid or that of one that leads a group.
    pub(super) fn join_group(&self, group: u32) -> io::Result<()> {
        // SAFETY: plain call; a child that has executed nothing may be moved by its parent.
        match unsafe { libc::setpgid(raw(self.pid), raw(group)) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// What has reached it, in words.
    pub(super) fn hit(&self) -> Option<String> {
        let pid = self.pid;
        let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else {
            return Some(format!("process {pid} was reaped by somebody else"));
        };
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next().map(str::to_owned)
        };
        let state = field("State:").unwrap_or_default();
        if !matches!(state.as_str(), "S" | "R") {
            return Some(format!("process {pid} is in state {state}"));
        }
        ["SigPnd:", "ShdPnd:"].into_iter().find_map(|name| {
            let pending = u64::from_str_radix(&field(name)?, 16).ok()?;
            (pending != 0).then(|| format!("process {pid} was sent signals, mask {pending:x}"))
        })
    }

    /// Sends `signal` to whoever has the pid, as one does who trusts numbers.
    pub(super) fn kill_by_number(pid: u32, signal: libc::c_int) {
        // SAFETY: a process of this runner, in a pid namespace of its own.
        unsafe { libc::kill(raw(pid), signal) };
    }

    /// Sends `signal` to whoever has the group's number.
    pub(super) fn kill_by_group(group: u32, signal: libc::c_int) {
        // SAFETY: as above.
        unsafe { libc::kill(-raw(group), signal) };
    }

    /// Start time in clock ticks, field 22 of `stat`.
    pub(super) fn start_ticks(&self) -> Option<u64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).ok()?;
        let (_, fields) = stat.rsplit_once(") ")?;
        fields.split(' ').nth(19)?.parse().ok()
    }
}

impl Drop for Placed {
    fn drop(&mut self) {
        let mut status = 0;
        // SAFETY: it is a child of this process that nobody else reaps, so the pid is still its.
        unsafe {
            libc::kill(raw(self.pid), libc::SIGKILL);
            libc::waitpid(raw(self.pid), &raw mut status, 0);
        }
    }
}

fn raw(pid: u32) -> libc::pid_t {
    libc::pid_t::try_from(pid).expect("a pid")
}

/// Whether the pid means a process, dead or alive.
pub(super) fn is_taken(pid: u32) -> bool {
    // SAFETY: signal 0 only asks.
    unsafe { libc::kill(raw(pid), 0) == 0 }
}

/// Starts a child that does nothing but wait, and holds nothing of this process; gives its pid.
fn start(pid: Option<u32>) -> io::Result<u32> {
    let wanted = pid.map_or(0, raw);
    // SAFETY: all zero is the empty request.
    let mut request: libc::clone_args = unsafe { std::mem::zeroed() };
    request.exit_signal = u64::try_from(libc::SIGCHLD).expect("a small number");
    if pid.is_some() {
        request.set_tid = &raw const wanted as u64;
        request.set_tid_size = 1;
    }
    // SAFETY: the sets and the request live on this frame. The child is a copy with one thread,
    // which makes system calls and nothing else: it needs no lock that another thread may hold.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        let mut before: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
        let child = libc::syscall(
            libc::SYS_clone3,
            &raw const request,
            size_of::<libc::clone_args>(),
        );
        if child == 0 {
            // The lifelines of shims and the pipes of their children among them.
            libc::syscall(libc::SYS_close_range, 0, libc::c_int::MAX, 0);
            loop {
                libc::pause();
            }
        }
        let error = io::Error::last_os_error();
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, std::ptr::null_mut());
        u32::try_from(child).map_err(|_| error)
    }
}
