//! What `/proc` says of a process, and the signals that tests send.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::wait::{LIMIT, ok_if, wait_until};

/// A process of a test, by its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: u32,
}

impl Process {
    /// Every process whose environment has `assignment` (`NAME=value`).
    pub fn all_with(assignment: &str) -> Vec<Self> {
        Self::all_where(|own| own == assignment)
    }

    /// Every process whose environment has such an assignment (`NAME=value`).
    pub fn all_where(is_wanted: impl Fn(&str) -> bool) -> Vec<Self> {
        let processes = fs::read_dir("/proc")
            .expect("/proc is mounted")
            .filter_map(|entry| {
                let pid = entry.ok()?.file_name().to_str()?.parse().ok()?;
                Some(Self { pid })
            });
        processes
            .filter(|process| process.environment().iter().any(|own| is_wanted(own)))
            .collect()
    }

    /// Its environment, `NAME=value` each; empty once it has ended.
    pub fn environment(self) -> Vec<String> {
        let bytes = fs::read(self.path("environ")).unwrap_or_default();
        let parts = bytes
            .split(|byte| *byte == 0)
            .filter(|part| !part.is_empty());
        parts
            .map(|part| String::from_utf8_lossy(part).into_owned())
            .collect()
    }

    /// Its command line, for messages.
    pub fn command_line(self) -> String {
        let bytes = fs::read(self.path("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).replace('\0', " ")
    }

    /// What its open descriptors lead to, by number.
    pub fn descriptors(self) -> Vec<(u32, PathBuf)> {
        let Ok(entries) = fs::read_dir(self.path("fd")) else {
            return Vec::new();
        };
        let mut found: Vec<_> = entries
            .filter_map(|entry| {
                let entry = entry.ok()?;
                let number = entry.file_name().to_str()?.parse().ok()?;
                Some((number, fs::read_link(entry.path()).ok()?))
            })
            .collect();
        found.sort();
        found
    }

    /// `R`, `S`, `T`, `Z` and so on; `None` once it is gone.
    pub fn state(self) -> Option<char> {
        self.stat(0)?.chars().next()
    }

    /// Its parent's id.
    pub fn parent(self) -> Option<u32> {
        self.stat(1)?.parse().ok()
    }

    /// Its process group.
    pub fn group(self) -> Option<u32> {
        self.stat(2)?.parse().ok()
    }

    /// Its session (of terminals, not of agents).
    pub fn session(self) -> Option<u32> {
        self.stat(3)?.parse().ok()
    }

    /// Whether it runs, or could: a corpse that waits for its parent does not.
    pub fn is_alive(self) -> bool {
        !matches!(self.state(), None | Some('Z' | 'X'))
    }

    /// Sends a signal; a process that is gone has had it.
    pub fn signal(self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.pid).expect("a process id"));
        // It may have ended by itself meanwhile.
        kill(pid, signal).ok();
    }

    /// Stops it in its tracks, and returns when it has stopped.
    #[track_caller]
    pub fn freeze(self) {
        self.signal(Signal::SIGSTOP);
        wait_until("the process stops", LIMIT, || {
            let state = self.state();
            ok_if(state == Some('T'), state)
        });
    }

    /// Lets it go on.
    pub fn thaw(self) {
        self.signal(Signal::SIGCONT);
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait_gone(self, limit: Duration) {
        wait_until("the process ends", limit, || {
            ok_if(!self.is_alive(), self.command_line())
        });
    }

    fn path(self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{name}", self.pid))
    }

    /// A field of `stat`, counted from the state as 0.
    fn stat(self, index: usize) -> Option<String> {
        let stat = fs::read_to_string(self.path("stat")).ok()?;
        // The name before it may hold anything, brackets and spaces too.
        let (_, fields) = stat.rsplit_once(") ")?;
        fields.split(' ').nth(index).map(str::to_owned)
    }
}
