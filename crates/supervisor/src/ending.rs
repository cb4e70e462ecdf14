//! Ends processes that are known by nothing but their tag.
//!
//! The net below the shim: used when a shim was killed, and for what earlier workers left. It
//! cannot see a process that wiped its environment, which is why it is the net and not the means.
//! Blocks, so it runs on a blocking thread. Linux only.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::control::Tally;
use crate::identity::ProcessIdentity;
use crate::living::{Delivery, LivingProcess, TagReader, wait_any};
use crate::tag::Tag;

/// Between two looks for newcomers, when nothing ends meanwhile. A look costs some milliseconds.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How long a process may take to die of SIGKILL before it counts as one that does not.
const KILL_MAX: Duration = Duration::from_secs(2);

/// Looks for newcomers while everything known is stopped. Each finds what was forked before its
/// parent stopped, so more than a few means that something hides, and KILL comes anyway.
const STOP_ROUNDS_MAX: u32 = 16;

/// Looks that must find nothing, one after the other, before there is nothing: one may miss a
/// process whose parent ended while the directory was read, or one in the middle of an exec, whose
/// environment is empty for that moment.
const EMPTY_LOOKS: u32 = 2;

/// Between two looks that found nothing: longer than an exec has no environment.
const EMPTY_PAUSE: Duration = Duration::from_millis(20);

/// Whom a look found.
#[derive(Debug, Default)]
pub(crate) struct Tagged {
    /// The tags, each once.
    pub(crate) tags: HashSet<Tag>,
    /// Processes with such a tag that could not be held, and are left alone.
    pub(crate) unverified: u32,
}

/// The tags that are `wanted` of this user's processes, but for this one and init.
///
/// # Errors
/// When `/proc` cannot be read.
pub(crate) fn tags_alive(wanted: &dyn Fn(&Tag) -> bool) -> io::Result<Tagged> {
    let found = find_tagged(wanted)?;
    let tags = found.processes.into_iter().map(|(_pid, tag, _)| tag);
    Ok(Tagged {
        tags: tags.collect(),
        unverified: found.unverified,
    })
}

/// Waits for the end of the process that `identity` was taken of, for `limit` at most. Signals
/// nothing.
pub(crate) fn wait_gone(identity: &ProcessIdentity, limit: Duration) {
    if let Some(process) = LivingProcess::identified(identity) {
        wait_any(std::iter::once(&process), limit);
    }
}

#[derive(Debug, Default)]
struct Found {
    processes: Vec<(u32, Tag, LivingProcess)>,
    unverified: u32,
}

fn find_tagged(wanted: &dyn Fn(&Tag) -> bool) -> io::Result<Found> {
    let own_pid = std::process::id();
    let mut reader = TagReader::new()?;
    let mut found = Found::default();
    for entry in fs::read_dir("/proc")? {
        // An entry that vanishes while it is read is no process any more.
        let Ok(name) = entry.map(|entry| entry.file_name()) else {
            continue;
        };
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        if pid <= 1 || pid == own_pid {
            continue;
        }
        match LivingProcess::tagged(pid, wanted, &mut reader) {
            Ok(Some((tag, process))) => found.processes.push((pid, tag, process)),
            Ok(None) => {}
            Err(_cannot_be_held) => found.unverified += 1,
        }
    }
    Ok(found)
}

/// Ends every process with a tag that is `wanted`: SIGTERM to all, newcomers too, until `grace` is
/// over; then SIGSTOP until no more appear, and SIGKILL. Returns when none is left, or when what
/// is left cannot be ended.
///
/// # Errors
/// When `/proc` cannot be read: then nothing is known of what lives.
pub(crate) fn end_tagged(wanted: &dyn Fn(&Tag) -> bool, grace: Duration) -> io::Result<Tally> {
    let mut group = Group {
        wanted,
        members: HashMap::new(),
        unverified: 0,
        tally: Tally::default(),
    };
    if group.terminate(grace)? || group.kill()? {
        return Ok(group.tally);
    }
    let left = u32::try_from(group.members.len()).unwrap_or(u32::MAX);
    group.tally.untouchable = left.saturating_add(group.unverified);
    Ok(group.tally)
}

struct Group<'a> {
    wanted: &'a dyn Fn(&Tag) -> bool,
    /// By pid; one that ended is forgotten, so that its pid may come again.
    members: HashMap<u32, Member>,
    unverified: u32,
    tally: Tally,
}

struct Member {
    process: LivingProcess,
    is_terminated: bool,
    is_stopped: bool,
    is_killed: bool,
    is_denied: bool,
}

impl Member {
    fn signal(&mut self, signal: Signal) -> bool {
        let sent = self.process.signal(signal);
        self.is_denied |= sent == Delivery::Denied;
        sent == Delivery::Sent
    }
}

impl Group<'_> {
    /// Whether all have ended within `grace`.
    fn terminate(&mut self, grace: Duration) -> io::Result<bool> {
        let kill_at = Instant::now() + grace;
        let mut empty_looks = 0;
        loop {
            self.look()?;
            for member in self.members.values_mut() {
                if !member.is_terminated {
                    member.is_terminated = true;
                    self.tally.terminated += u32::from(member.signal(Signal::TERM));
                    // One that is stopped takes the signal only when it goes on.
                    member.signal(Signal::CONT);
                }
            }
            empty_looks = if self.is_empty() { empty_looks + 1 } else { 0 };
            if empty_looks == EMPTY_LOOKS {
                return Ok(true);
            }
            let left = kill_at.saturating_duration_since(Instant::now());
            if !self.is_empty() && (left.is_zero() || self.only_denied()) {
                return Ok(false);
            }
            self.wait(left);
        }
    }

    /// Whether all are dead.
    fn kill(&mut self) -> io::Result<bool> {
        let give_up_at = Instant::now() + KILL_MAX;
        let mut empty_looks = 0;
        loop {
            self.stop_all()?;
            for member in self.members.values_mut().filter(|member| !member.is_killed) {
                member.is_killed = true;
                self.tally.killed += u32::from(member.signal(Signal::KILL));
            }
            empty_looks = if self.is_empty() { empty_looks + 1 } else { 0 };
            if empty_looks == EMPTY_LOOKS {
                return Ok(true);
            }
            let left = give_up_at.saturating_duration_since(Instant::now());
            if !self.is_empty() && (left.is_zero() || self.only_denied()) {
                return Ok(false);
            }
            self.wait(left);
        }
    }

    /// Stops everything, so that nothing forks between the last look and the kill.
    fn stop_all(&mut self) -> io::Result<()> {
        for _round in 0..STOP_ROUNDS_MAX {
            self.look()?;
            let mut newcomers = 0;
            for member in self
                .members
                .values_mut()
                .filter(|member| !member.is_stopped)
            {
                member.is_stopped = true;
                newcomers += u32::from(member.signal(Signal::STOP));
            }
            if newcomers == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Forgets who has ended and takes in who is new.
    fn look(&mut self) -> io::Result<()> {
        self.members.retain(|_, member| !member.process.has_ended());
        let found = find_tagged(self.wanted)?;
        self.unverified = found.unverified;
        for (pid, _tag, process) in found.processes {
            // A member that is alive still has its pid.
            self.members.entry(pid).or_insert(Member {
                process,
                is_terminated: false,
                is_stopped: false,
                is_killed: false,
                is_denied: false,
            });
        }
        Ok(())
    }

    fn is_empty(&self) -> bool {
        self.members.is_empty() && self.unverified == 0
    }

    fn only_denied(&self) -> bool {
        self.unverified == 0 && self.members.values().all(|member| member.is_denied)
    }

    fn wait(&self, limit: Duration) {
        let limit = match self.is_empty() {
            true => EMPTY_PAUSE,
            false => limit.min(LOOK_EVERY),
        };
        let members = self.members.values().filter(|member| !member.is_denied);
        wait_any(members.map(|member| &member.process), limit);
    }
}
