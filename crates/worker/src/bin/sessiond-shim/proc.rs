//! What `/proc` says of one process, by a handle that can only ever mean that one.
//!
//! An open `/proc/PID` is bound to the process, not to the number: once the process was reaped,
//! reading below it fails, whoever got the number next. Signals go through the same descriptor,
//! which the kernel takes as a pidfd.

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::sync::OnceLock;

use rustix::fs::{CWD, Mode, OFlags, RawDir, openat};
use rustix::io::{Errno, read};
use rustix::process::{Pid, Signal, getpid, kill_process, pidfd_send_signal};

/// Enough for any `stat`: a short name and some fifty numbers.
const STAT_MAX_BYTES: usize = 1024;
/// Bytes of a list of children, or of directory entries, that are read at a time.
const CHUNK_BYTES: usize = 4096;

const FILE: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC);
const DIRECTORY: OFlags = FILE.union(OFlags::DIRECTORY);

/// One process, also after its end.
pub(crate) struct Process {
    /// Its pid, as long as it is there.
    pub(crate) pid: Pid,
    dir: OwnedFd,
}

/// What is asked of `/proc/PID/stat`.
pub(crate) struct Stat {
    /// `R`, `S`, `T`, `Z` and so on.
    pub(crate) state: u8,
    /// Its parent's pid.
    pub(crate) parent: i32,
    /// How many threads it has.
    pub(crate) threads: u32,
    /// When it started, in clock ticks since the boot.
    pub(crate) start_ticks: u64,
}

impl Process {
    /// The process that has this pid now.
    ///
    /// # Errors
    /// `NOENT`: none has, or there is no `/proc`.
    pub(crate) fn open(pid: Pid) -> Result<Self, Errno> {
        let path = format!("/proc/{pid}");
        let dir = openat(CWD, path, DIRECTORY, Mode::empty())?;
        Ok(Self { pid, dir })
    }

    /// `None` once it was reaped.
    pub(crate) fn stat(&self) -> Option<Stat> {
        let file = openat(&self.dir, "stat", FILE, Mode::empty()).ok()?;
        let mut buffer = [0; STAT_MAX_BYTES];
        let length = read(&file, &mut buffer).ok()?;
        Stat::parse(&buffer[..length])
    }

    /// Hands over the pids of its children, which it has by any of its threads. It may miss some while others of them end, which is
    /// why nobody relies on a single look.
    ///
    /// # Errors
    /// `NOENT`: it was reaped, or this kernel does not list children.
    pub(crate) fn children(&self, threads: u32, mut found: impl FnMut(Pid)) -> Result<(), Errno> {
        if threads <= 1 {
            return self.children_of_thread(self.pid, &mut found);
        }
        let tasks = openat(&self.dir, "task", DIRECTORY, Mode::empty())?;
        let mut result = Ok(());
        for_each_number(&tasks, |thread| {
            // A thread may have ended by now; its children went to another one.
            let listed = self.children_of_thread(thread, &mut found);
            if thread == self.pid {
                result = listed;
            }
        })?;
        result
    }

    fn children_of_thread(&self, thread: Pid, found: &mut impl FnMut(Pid)) -> Result<(), Errno> {
        let path = format!("task/{thread}/children");
        let file = openat(&self.dir, path, FILE, Mode::empty())?;
        let mut buffer = [0; CHUNK_BYTES];
        let mut number = 0_i32;
        loop {
            let length = read(&file, &mut buffer)?;
            for byte in &buffer[..length] {
                if byte.is_ascii_digit() {
                    number = number
                        .saturating_mul(10)
                        .saturating_add(i32::from(byte - b'0'));
                } else if let Some(pid) = Pid::from_raw(std::mem::take(&mut number)) {
                    found(pid);
                }
            }
            if length == 0 {
                return Ok(());
            }
        }
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// `SRCH`: it was reaped. `PERM`: it is not ours to signal.
    pub(crate) fn signal(&self, signal: Signal) -> Result<(), Errno> {
        match pidfd_send_signal(&self.dir, signal) {
            // A kernel before 5.1, or one that imitates it: by the number, then, which was the
            // right process's a moment ago.
            Err(Errno::NOSYS | Errno::INVAL | Errno::BADF) => kill_process(self.pid, signal),
            // The process is not ours to signal, and its number, should it be another's by now,
            // even less. Some sandboxes forbid the call itself with the same word.
            Err(Errno::PERM) if is_forbidden() => kill_process(self.pid, signal),
            result => result,
        }
    }
}

/// Whether this process may signal nobody through a descriptor, not even itself.
fn is_forbidden() -> bool {
    static IS_FORBIDDEN: OnceLock<bool> = OnceLock::new();
    *IS_FORBIDDEN.get_or_init(|| {
        // To one that runs it means nothing.
        let sent = Process::open(getpid()).map(|own| pidfd_send_signal(&own.dir, Signal::CONT));
        sent == Ok(Err(Errno::PERM))
    })
}

impl Stat {
    fn parse(stat: &[u8]) -> Option<Self> {
        // The name may hold anything, brackets and spaces too; nothing behind it does.
        let name_end = stat.windows(2).rposition(|bytes| bytes == b") ")?;
        let fields = str::from_utf8(&stat[name_end + 2..]).ok()?;
        let mut fields = fields.split(' ');
        Some(Self {
            state: *fields.next()?.as_bytes().first()?,
            parent: fields.next()?.parse().ok()?,
            // Counted from the one after the parent.
            threads: fields.nth(15)?.parse().ok()?,
            start_ticks: fields.nth(1)?.parse().ok()?,
        })
    }

    /// Whether it has ended and only waits for its parent. A process whose first thread has ended
    /// while others run looks like a corpse as well.
    pub(crate) fn is_corpse(&self) -> bool {
        matches!(self.state, b'Z' | b'X') && self.threads <= 1
    }

    /// Whether it is stopped: it takes no signal but KILL before it is continued.
    pub(crate) fn is_stopped(&self) -> bool {
        self.state == b'T'
    }
}

/// Every process there is, as (parent, pid), in the order of the parents: for kernels that do not
/// list children.
///
/// # Errors
/// The system's.
pub(crate) fn all_by_parent() -> Result<Vec<(Pid, Pid)>, Errno> {
    let mut all = Vec::new();
    let proc = openat(CWD, "/proc", DIRECTORY, Mode::empty())?;
    for_each_number(&proc, |pid| {
        let stat = Process::open(pid).ok().and_then(|process| process.stat());
        let parent = stat.and_then(|stat| Pid::from_raw(stat.parent));
        all.extend(parent.map(|parent| (parent, pid)));
    })?;
    all.sort_unstable_by_key(|(parent, _)| parent.as_raw_pid());
    Ok(all)
}

/// The entries of a directory that are numbers.
fn for_each_number(dir: &OwnedFd, mut found: impl FnMut(Pid)) -> Result<(), Errno> {
    let mut buffer = [MaybeUninit::uninit(); CHUNK_BYTES];
    let mut entries = RawDir::new(dir, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let number = entry.file_name().to_str().unwrap_or_default();
        if let Some(pid) = number.parse().ok().and_then(Pid::from_raw) {
            found(pid);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::thread;

    use rustix::process::geteuid;

    use super::*;

    const STRANGER: libc::c_long = 65534;

    /// This thread alone is an ordinary user from now on.
    #[expect(unsafe_code, reason = "safe calls change the whole process")]
    fn become_stranger() {
        // SAFETY: numbers alone are handed over, and no other thread is concerned.
        let done = unsafe { libc::syscall(libc::SYS_setresuid, STRANGER, STRANGER, STRANGER) };
        assert_eq!(done, 0);
    }

    fn refused_signal_goes_to_nobody_else() {
        if geteuid().is_root() {
            become_stranger();
        }
        let init = Process::open(Pid::INIT).unwrap();
        // A signal that is ignored unless somebody waits for it.
        if init.signal(Signal::WINCH).is_ok() {
            eprintln!("skipped: this user may signal init");
            return;
        }
        let own = Process::open(getpid()).unwrap();
        assert_eq!(own.signal(Signal::WINCH), Ok(()));
        // The process was refused, and its number has gone to this one meanwhile.
        let reused = Process {
            pid: own.pid,
            dir: init.dir,
        };
        assert_eq!(reused.signal(Signal::WINCH), Err(Errno::PERM));
    }

    #[test]
    fn signal_that_is_refused_is_not_sent_to_the_number() {
        thread::spawn(refused_signal_goes_to_nobody_else)
            .join()
            .unwrap();
    }
}
