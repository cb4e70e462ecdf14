//! Who has a home, told from its locks by anybody who asks: a process that starts, serves or stops.
//!
//! That the lock is held only the kernel tells; by whom, and what for, its holder has written into
//! it. Whether a process that serves really answers is found out by asking it, not here.

use std::fmt;
use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use sessiond_supervisor::{IdentityError, ProcessIdentity};

use crate::wire::layout::Layout;

/// How long a lock is looked at whose note names a dead process: its next holder is about to write
/// its own. A holder in another pid namespace seems dead for ever.
const NOTE_WAIT: Duration = Duration::from_millis(100);
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// More than any note has.
const NOTE_MAX: usize = 64;

/// What a worker is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// It does not listen yet.
    Starting,
    /// It listens.
    Serving,
    /// It does not listen any more, and lets what is in work end.
    Stopping,
}

/// The worker of a home, seen from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct Occupant {
    /// Its process, once it has said so.
    pub pid: Option<u32>,
    /// What it is about.
    pub phase: Phase,
    /// Whether the next one waits already for its end.
    pub is_followed: bool,
}

/// What the holder of the lock has written into it: `PID PHASE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Note {
    pub(crate) pid: u32,
    pub(crate) phase: Phase,
}

impl Occupant {
    /// Whoever has the home now, or is about to take it; `None`: nobody. May block for
    /// `NOTE_WAIT`. Makes nothing, and holds each lock only for as long as it takes to see that
    /// it is free.
    pub fn look(layout: &Layout) -> Option<Self> {
        // Looked at first: it is held until its worker holds the other.
        let is_next_under_way = is_held(&layout.start_lock_file());
        let given_up_at = Instant::now() + NOTE_WAIT;
        loop {
            if !is_held(&layout.lock_file()) {
                return is_next_under_way.then_some(Self {
                    pid: None,
                    phase: Phase::Starting,
                    is_followed: false,
                });
            }
            let note = File::open(layout.lock_file())
                .ok()
                .and_then(|lock| Note::read(&lock));
            if note.is_some_and(|note| !is_dead(note.pid)) || Instant::now() >= given_up_at {
                let phase = note.map_or(Phase::Starting, |note| note.phase);
                return Some(Self {
                    pid: note.map(|note| note.pid),
                    phase,
                    is_followed: phase == Phase::Stopping && is_next_under_way,
                });
            }
            pause();
        }
    }

    /// Whether it, or who follows it, will serve soon.
    pub fn is_coming(&self) -> bool {
        self.phase == Phase::Starting || self.is_followed
    }
}

impl fmt::Display for Occupant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pid {
            Some(pid) => write!(f, "process {pid} ")?,
            None => f.write_str("a worker ")?,
        }
        f.write_str(match (self.phase, self.is_followed) {
            (Phase::Starting, _) => "is starting",
            (Phase::Serving, _) => "serves",
            (Phase::Stopping, false) => "is stopping",
            (Phase::Stopping, true) => "is stopping, and the next one waits for its end",
        })
    }
}

impl Note {
    /// Of this process.
    pub(crate) fn own(phase: Phase) -> Self {
        Self {
            pid: std::process::id(),
            phase,
        }
    }

    /// In one write, and before the rest is cut off: whoever reads meanwhile finds the old first
    /// line or the new one.
    pub(crate) fn write(self, lock: &File) -> io::Result<()> {
        let line = format!("{} {}\n", self.pid, self.phase.word());
        lock.write_all_at(line.as_bytes(), 0)?;
        lock.set_len(line.len() as u64)
    }

    pub(crate) fn read(lock: &File) -> Option<Self> {
        let mut bytes = [0; NOTE_MAX];
        let length = lock.read_at(&mut bytes, 0).ok()?;
        let text = str::from_utf8(&bytes[..length]).ok()?;
        let mut words = text.lines().next()?.split_whitespace();
        let pid = words.next()?.parse().ok()?;
        // An older worker says only who it is, and nearly all its life it serves.
        let phase = match words.next() {
            Some("starting") => Phase::Starting,
            Some("stopping") => Phase::Stopping,
            _ => Phase::Serving,
        };
        Some(Self { pid, phase })
    }
}

impl Phase {
    fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Serving => "serving",
            Self::Stopping => "stopping",
        }
    }
}

/// Whether no process has this pid, as far as can be told here.
pub(crate) fn is_dead(pid: u32) -> bool {
    matches!(ProcessIdentity::of(pid), Err(IdentityError::Gone(_)))
}

#[expect(
    clippy::disallowed_methods,
    reason = "also used before there is a runtime, and nothing tells of a lock's release but another try"
)]
pub(crate) fn pause() {
    std::thread::sleep(LOOK_EVERY);
}

fn is_held(path: &Path) -> bool {
    File::open(path)
        .is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A home whose lock is held and has this text.
    fn held(text: &str) -> (tempfile::TempDir, Layout, File) {
        let dir = tempfile::tempdir().expect("a directory");
        let layout = Layout::at(dir.path().to_owned());
        std::fs::write(layout.lock_file(), text).expect("write");
        let lock = File::options()
            .read(true)
            .write(true)
            .open(layout.lock_file())
            .expect("open");
        lock.lock().expect("lock");
        (dir, layout, lock)
    }

    #[test]
    fn holder_is_what_it_wrote_last() {
        let (_dir, layout, lock) = held("1234567890 stopping\n");
        for phase in [Phase::Starting, Phase::Serving, Phase::Stopping] {
            Note::own(phase).write(&lock).expect("write");
            let expected = Occupant {
                pid: Some(std::process::id()),
                phase,
                is_followed: false,
            };
            assert_eq!(Occupant::look(&layout), Some(expected));
        }
        drop(lock);
        assert_eq!(Occupant::look(&layout), None, "a note alone is nobody");
    }

    #[test]
    fn holder_of_an_older_version_serves() {
        let (_dir, layout, _lock) = held(&std::process::id().to_string());
        let found = Occupant::look(&layout).expect("it is held");
        assert_eq!(found.phase, Phase::Serving);
    }

    #[test]
    fn start_lock_tells_of_one_that_comes_and_of_one_that_follows() {
        let (_dir, layout, lock) = held("");
        let start = File::create(layout.start_lock_file()).expect("create");
        start.lock().expect("lock");
        Note::own(Phase::Stopping).write(&lock).expect("write");
        let stopping = Occupant::look(&layout).expect("it is held");
        assert!(stopping.is_followed && stopping.is_coming());
        drop(lock);
        let starting = Occupant::look(&layout).expect("the other is held");
        assert_eq!((starting.pid, starting.phase), (None, Phase::Starting));
    }
}
