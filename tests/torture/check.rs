//! What the kernel says is left: processes that carry a marker, and what this process itself holds.
//!
//! A marker is looked for in the arguments and in the environment of every process there is, since
//! either may be wiped, and the environment may be unreadable. Nothing here asks the means.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::time::sleep;

/// Between two looks for a condition.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// How often one looks for a process that is always a new one. Some such live for 100 µs, and are
/// met every other time.
const PROBES: usize = 16;
/// Pids around the one that was given last which are looked at: others fork as well meanwhile.
const PROBED_BEFORE: u32 = 24;
const PROBED_AFTER: u32 = 8;

/// One process that carries a marker, and lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// Its pid.
    pub(crate) pid: u32,
    /// `R`, `S`, `T` and so on.
    pub(crate) state: char,
    /// Its arguments, with spaces between.
    pub(crate) command: String,
}

/// Every living process with `marker` in its arguments or its environment, except for this one.
/// A corpse is none; a process of which only the first thread has ended is one.
pub(crate) fn living(marker: &str) -> Vec<Found> {
    let mut found = staying(marker);
    let others = (0..PROBES).flat_map(|_| newest_pids());
    let mut passing = others.filter_map(|pid| look(pid, marker));
    // One is enough of what is always another one.
    let one = passing.find(|one| found.iter().all(|known| known.pid != one.pid));
    found.extend(one);
    found
}

/// The same without those that are gone before one can look at them: what forks, leaves its session
/// and lets its parent exit, for ever.
pub(crate) fn staying(marker: &str) -> Vec<Found> {
    let own = std::process::id();
    numbers("/proc")
        .filter(|pid| *pid != own)
        .filter_map(|pid| look(pid, marker))
        .collect()
}

/// Those there are around the pid that was given last. The kernel counts upwards.
fn newest_pids() -> impl Iterator<Item = u32> {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let last = load.split_whitespace().last();
    let last: u32 = last.and_then(|pid| pid.parse().ok()).unwrap_or_default();
    let around = last.saturating_sub(PROBED_BEFORE)..=last.saturating_add(PROBED_AFTER);
    around.filter(|pid| Path::new(&format!("/proc/{pid}")).exists())
}

/// Whether the process lives: there, and no corpse.
pub(crate) fn is_alive(pid: u32) -> bool {
    stat(pid).is_some_and(|stat| !stat.is_corpse())
}

/// Its state, `R`, `S`, `T`, `Z` and so on; `None`: it is not there.
pub(crate) fn state(pid: u32) -> Option<char> {
    Some(stat(pid)?.state)
}

/// Kills every process that carries `marker`, and waits until none is left; who is held is looked
/// at again before the signal. Gives those that live on after `limit`.
pub(crate) async fn kill_all(marker: &str, limit: Duration) -> Vec<Found> {
    let deadline = Instant::now() + limit;
    loop {
        // All stop before any is killed, so that nobody answers the death of others.
        for signal in [Signal::STOP, Signal::KILL] {
            for found in staying(marker) {
                signal_if_marked(found.pid, marker, signal);
            }
        }
        for pid in (0..PROBES).flat_map(|_| newest_pids()) {
            signal_if_marked(pid, marker, Signal::KILL);
        }
        let mut left = living(marker);
        if left.is_empty() {
            // Twice: what is always another one may be missed once.
            left = living(marker);
        }
        if left.is_empty() || Instant::now() >= deadline {
            return left;
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Signals the process that has this pid, if it is held to carry `marker`.
pub(crate) fn signal_if_marked(pid: u32, marker: &str, signal: Signal) {
    let Some(number) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return;
    };
    let Ok(held) = pidfd_open(number, PidfdFlags::empty()) else {
        return;
    };
    if look(pid, marker).is_some() {
        // It may have ended meanwhile, or have other rights: the caller looks again.
        pidfd_send_signal(&held, signal).ok();
    }
}

/// Looks until `look` gives something. `None`: not within `limit`.
pub(crate) async fn wait_for<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if Instant::now() >= deadline {
            return None;
        }
        sleep(LOOK_EVERY).await;
    }
}

/// What this process holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    /// Open descriptors.
    pub(crate) descriptors: usize,
    /// Threads.
    pub(crate) threads: usize,
    /// Children that have ended and were not waited for.
    pub(crate) zombies: Vec<u32>,
}

impl Held {
    /// Now.
    pub(crate) fn look() -> io::Result<Self> {
        let mut zombies = Vec::new();
        for thread in numbers("/proc/self/task") {
            // A thread that has ended has no children.
            let list = fs::read_to_string(format!("/proc/self/task/{thread}/children"));
            let list = list.unwrap_or_default();
            let children = list.split_whitespace().filter_map(|pid| pid.parse().ok());
            zombies.extend(children.filter(|pid| stat(*pid).is_some_and(|stat| stat.is_corpse())));
        }
        Ok(Self {
            descriptors: fs::read_dir("/proc/self/fd")?.count(),
            threads: numbers("/proc/self/task").count(),
            zombies,
        })
    }

    /// Whether there is nothing that was not there before.
    pub(crate) fn is_within(&self, before: &Self) -> bool {
        self.descriptors <= before.descriptors
            && self.threads <= before.threads
            && self
                .zombies
                .iter()
                .all(|zombie| before.zombies.contains(zombie))
    }

    /// Waits until there is no more than in `before`, for `limit` at most; what there is then.
    pub(crate) async fn settle(before: &Self, limit: Duration) -> io::Result<Self> {
        let deadline = Instant::now() + limit;
        loop {
            let now = Self::look()?;
            if now.is_within(before) || Instant::now() >= deadline {
                return Ok(now);
            }
            sleep(LOOK_EVERY).await;
        }
    }
}

/// This process's resident memory in bytes: now, and the most since [`forget_peak`].
pub(crate) fn memory_bytes() -> io::Result<(u64, u64)> {
    let status = fs::read_to_string("/proc/self/status")?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
        Some(kib << 10)
    };
    let both = field("VmRSS:").zip(field("VmHWM:"));
    both.ok_or_else(|| io::Error::other("/proc/self/status tells no memory"))
}

/// Lets the peak of this process's memory begin anew.
pub(crate) fn forget_peak() -> io::Result<()> {
    // 5: the peak of the resident set, see proc(5).
    fs::write("/proc/self/clear_refs", "5")
}

struct Stat {
    state: char,
    threads: u32,
}

impl Stat {
    /// A process whose first thread has ended while others run looks dead as well.
    fn is_corpse(&self) -> bool {
        matches!(self.state, 'Z' | 'X') && self.threads <= 1
    }
}

fn stat(pid: u32) -> Option<Stat> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    // The name before it may hold anything, brackets and spaces too.
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ');
    Some(Stat {
        state: fields.next()?.chars().next()?,
        threads: fields.nth(16)?.parse().ok()?,
    })
}

/// The process, if it carries the marker and lives.
fn look(pid: u32, marker: &str) -> Option<Found> {
    let process = PathBuf::from(format!("/proc/{pid}"));
    let told = look_at(&process, marker).or_else(|| {
        // Without its first thread a process shows nothing of itself, its other threads do.
        let stat = stat(pid)?;
        if !matches!(stat.state, 'Z') || stat.is_corpse() {
            return None;
        }
        let mut threads = numbers(process.join("task"));
        threads.find_map(|thread| look_at(&process.join(format!("task/{thread}")), marker))
    })?;
    let stat = stat(pid).filter(|stat| !stat.is_corpse())?;
    Some(Found {
        pid,
        state: stat.state,
        command: told,
    })
}

/// The arguments, if they or the environment hold the marker.
fn look_at(dir: &Path, marker: &str) -> Option<String> {
    // What has ended meanwhile, or is another user's, shows nothing.
    let arguments = fs::read(dir.join("cmdline")).unwrap_or_default();
    let holds = |bytes: &[u8]| {
        let wanted = marker.as_bytes();
        bytes.windows(wanted.len()).any(|part| part == wanted)
    };
    let is_marked = holds(&arguments) || holds(&fs::read(dir.join("environ")).unwrap_or_default());
    is_marked.then(|| String::from_utf8_lossy(&arguments).replace('\0', " "))
}

fn numbers(dir: impl AsRef<Path>) -> impl Iterator<Item = u32> {
    let entries = fs::read_dir(dir).into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}
