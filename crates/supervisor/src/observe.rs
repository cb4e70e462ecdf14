//! What the kernel says of a pid now.
//!
//! Gathers facts of one and the same process, however short it lives, and judges nothing. Linux
//! answers through a pidfd and `/proc`; elsewhere every process is out of sight.

/// What the kernel tells of a living process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    /// Start time in clock ticks since boot.
    pub(crate) start_ticks: u64,
    /// Inode of its pidfd, where pidfds have one of their own.
    pub(crate) pidfs_inode: Option<u64>,
}

/// What could be seen.
#[derive(Debug)]
#[cfg_attr(
    not(target_os = "linux"),
    expect(dead_code, reason = "only Linux shows a process")
)]
pub(crate) enum Observation {
    /// It lives.
    Running(Facts),
    /// No such process, or a zombie.
    Ended,
    /// It lives as far as can be told, out of this user's sight.
    Hidden {
        /// Inode of its pidfd.
        pidfs_inode: Option<u64>,
        /// What was refused.
        problem: String,
    },
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn observe(_pid: u32) -> Observation {
    Observation::Hidden {
        pidfs_inode: None,
        problem: "processes cannot be verified on this platform".to_owned(),
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn pid_namespace() -> Option<u64> {
    None
}

/// Whether the process with `pid` only waits for a processor.
#[cfg(not(target_os = "linux"))]
pub(crate) fn is_runnable(_pid: u32) -> bool {
    false
}

/// The pid of its parent.
#[cfg(not(target_os = "linux"))]
pub(crate) fn parent(_pid: u32) -> Option<u32> {
    None
}

#[cfg(target_os = "linux")]
pub(crate) use linux::{
    has_ended, has_pidfs, is_absence, is_own_proc, is_runnable, observe, own_pidfd, parent,
    pid_namespace, read_stat,
};

#[cfg(target_os = "linux")]
mod linux {
    use std::fs;
    use std::io;
    use std::os::fd::{AsFd, OwnedFd};
    use std::os::unix::fs::MetadataExt;
    use std::path::Path;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::fs::{fstat, fstatfs};
    use rustix::io::Errno;
    use rustix::process::{Pid, PidfdFlags, pidfd_open, test_kill_process};

    use super::{Facts, Observation};

    /// `PIDFS_MAGIC` of linux/magic.h ("PIDF"). Before 6.9 a pidfd is an anonymous inode, and all
    /// of those share one number.
    const PIDFS_MAGIC: u64 = 0x5049_4446;

    /// Looks at the process that has `pid` now.
    ///
    /// The pidfd is opened first and asked last: a pid is not given again before its process is
    /// reaped, so as long as the pidfd's process has not ended, `/proc/PID` was that process.
    pub(crate) fn observe(pid: u32) -> Observation {
        let Some(process) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
            return Observation::Ended;
        };
        let pidfd = match pidfd_open(process, PidfdFlags::empty()) {
            Ok(pidfd) => Some(pidfd),
            // The number is free, or a thread of some other process by now.
            Err(Errno::SRCH | Errno::INVAL | Errno::NOENT) => return Observation::Ended,
            // An old kernel, a seccomp filter, no descriptor left: `/proc` alone must do.
            Err(_) => None,
        };
        let pidfs_inode = pidfd.as_ref().and_then(inode);
        // A pidfd goes by this process's namespace and `/proc` by that of its mount: where they
        // differ, one number means two processes.
        let stat = if is_own_proc() {
            read_stat(pid)
        } else {
            Err(io::ErrorKind::NotFound.into())
        };
        if pidfd.as_ref().is_some_and(has_ended) {
            return Observation::Ended;
        }
        let problem = match stat {
            Ok(stat) if stat.is_dead() => return Observation::Ended,
            Ok(stat) => {
                return Observation::Running(Facts {
                    start_ticks: stat.start_ticks,
                    pidfs_inode,
                });
            }
            // With hidepid=2 a stranger's directory seems absent, so absence is asked for twice.
            Err(error) if is_absence(&error) => {
                if pidfd.is_none() && test_kill_process(process) == Err(Errno::SRCH) {
                    return Observation::Ended;
                }
                format!("/proc/{pid} is hidden, or /proc is not that of this pid namespace")
            }
            Err(error) => format!("cannot read /proc/{pid}/stat: {error}"),
        };
        Observation::Hidden {
            pidfs_inode,
            problem,
        }
    }

    /// The inode of the pid namespace that this process lives in.
    pub(crate) fn pid_namespace() -> Option<u64> {
        fs::metadata("/proc/self/ns/pid").ok().map(|it| it.ino())
    }

    /// Whether the pids in `/proc` are those of this process's own namespace.
    pub(crate) fn is_own_proc() -> bool {
        let own_pid = std::process::id().to_string();
        fs::read_link("/proc/self").is_ok_and(|target| target == Path::new(&own_pid))
    }

    /// Whether the process with `pid` only waits for a processor.
    pub(crate) fn is_runnable(pid: u32) -> bool {
        read_stat(pid).is_ok_and(|stat| stat.state == b'R')
    }

    /// The pid of its parent.
    pub(crate) fn parent(pid: u32) -> Option<u32> {
        read_stat(pid).ok().map(|stat| stat.parent)
    }

    /// A pidfd of this process: whether there are any.
    pub(crate) fn own_pidfd() -> io::Result<OwnedFd> {
        let pidfd = pidfd_open(rustix::process::getpid(), PidfdFlags::empty())?;
        Ok(pidfd)
    }

    /// Whether a pidfd has an inode of its own.
    pub(crate) fn has_pidfs(pidfd: &OwnedFd) -> bool {
        // The field's width and sign depend on the architecture; the magic fits all of them.
        fstatfs(pidfd).is_ok_and(|filesystem| filesystem.f_type as u64 == PIDFS_MAGIC)
    }

    fn inode(pidfd: &OwnedFd) -> Option<u64> {
        has_pidfs(pidfd).then(|| fstat(pidfd).ok().map(|stat| stat.st_ino))?
    }

    /// A pidfd is readable once the last thread of its process has ended, reaped or not.
    pub(crate) fn has_ended(pidfd: &OwnedFd) -> bool {
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let mut fds = [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)];
        // A poll that fails leaves the question to the state in `stat`.
        poll(&mut fds, Some(&now)).is_ok_and(|ready| ready > 0)
    }

    pub(crate) fn read_stat(pid: u32) -> io::Result<Stat> {
        let bytes = fs::read(format!("/proc/{pid}/stat"))?;
        Stat::parse(&bytes).ok_or_else(|| io::Error::other("not of the known form"))
    }

    pub(crate) fn is_absence(error: &io::Error) -> bool {
        // ESRCH: it ended between the open and the read.
        error.kind() == io::ErrorKind::NotFound
            || error.raw_os_error() == Some(Errno::SRCH.raw_os_error())
    }

    /// The fields of `/proc/PID/stat` that matter here.
    #[derive(Debug, PartialEq, Eq)]
    pub(crate) struct Stat {
        state: u8,
        pub(crate) parent: u32,
        /// 0: its group's leader is outside of this pid namespace.
        pub(crate) group: u32,
        threads: u64,
        pub(crate) start_ticks: u64,
    }

    impl Stat {
        fn parse(bytes: &[u8]) -> Option<Self> {
            // The name before it is the program's to choose and may hold ") R 1 (".
            let name_end = bytes.iter().rposition(|byte| *byte == b')')?;
            let rest = std::str::from_utf8(&bytes[name_end + 1..]).ok()?;
            // `state` is field 3 of proc_pid_stat(5), then `ppid` and `pgrp`; `num_threads` is 20,
            // `starttime` 22.
            let fields: Vec<&str> = rest.split_ascii_whitespace().take(20).collect();
            Some(Self {
                state: *fields.first()?.as_bytes().first()?,
                parent: fields.get(1)?.parse().ok()?,
                group: fields.get(2)?.parse().ok()?,
                threads: fields.get(17)?.parse().ok()?,
                start_ticks: fields.get(19)?.parse().ok()?,
            })
        }

        /// Whether the process lives and its leader has left.
        pub(crate) fn is_headless(&self) -> bool {
            self.state == b'Z' && !self.is_dead()
        }

        /// A leader that has left while other threads run on is shown as a zombie too; that
        /// process lives.
        pub(crate) fn is_dead(&self) -> bool {
            match self.state {
                b'Z' => self.threads <= 1,
                b'X' | b'x' => true,
                _ => false,
            }
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        fn line(name: &str, state: char, threads: u64) -> Vec<u8> {
            format!(
                "4242 ({name}) {state} 1 4242 4242 0 -1 4194560 96 0 0 0 0 0 0 0 20 0 {threads} 0 \
                 987654 2957312 384 18446744073709551615 1 1\n"
            )
            .into_bytes()
        }

        #[test]
        fn name_of_the_program_cannot_forge_fields() {
            let names = [
                "sh",
                "",
                ") R 1 (",
                "a) Z 1 1 1",
                "two words",
                "tab\tline\n",
            ];
            for name in names {
                let stat = Stat::parse(&line(name, 'S', 3));
                let expected = Stat {
                    state: b'S',
                    parent: 1,
                    group: 4242,
                    threads: 3,
                    start_ticks: 987_654,
                };
                assert_eq!(stat, Some(expected), "{name:?}");
            }
        }

        #[test]
        fn leader_that_left_its_threads_running_is_not_dead() {
            let dead = |state, threads| {
                Stat::parse(&line("sh", state, threads)).map(|stat| stat.is_dead())
            };
            assert_eq!(dead('Z', 1), Some(true));
            assert_eq!(dead('Z', 0), Some(true));
            assert_eq!(dead('X', 0), Some(true));
            assert_eq!(dead('Z', 2), Some(false));
            assert_eq!(dead('T', 1), Some(false));
            assert_eq!(dead('D', 1), Some(false));
        }

        #[test]
        fn text_of_another_form_is_refused() {
            for text in [
                "",
                "4242 (sh",
                "4242 (sh) S 1 2",
                "4242 (sh) S a b c d e f g",
            ] {
                assert_eq!(Stat::parse(text.as_bytes()), None, "{text:?}");
            }
            let whole = line("sh", 'S', 1);
            let cut = whole.iter().rposition(|byte| *byte == b'9').unwrap();
            assert!(Stat::parse(&whole[..60]).is_none());
            assert!(Stat::parse(&whole[..cut]).is_some(), "the tail is not read");
        }
    }
}
