//! Ends the processes of a spawn that has no shim any more.
//!
//! The net below the shim: used when a shim was killed, and for what earlier workers left. It
//! finds by tag, by the recorded identity of the child itself, and from these on by parentage. It
//! cannot see who wiped its environment and has lost its parent, which is why it is the net and
//! not the means. Blocks, so it runs on a blocking thread. Linux only.

use std::collections::HashMap;
use std::io;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::control::Tally;
use crate::descent::Descent;
use crate::finding::{EMPTY_PAUSE, PROBES};
use crate::identity::ProcessIdentity;
use crate::living::{Delivery, LivingProcess, Refusal, pause, refusal, wait_all};
use crate::observe::is_runnable;
use crate::report::Unkillable;
use crate::tag::Tag;
use crate::tag_reader::{Reading, TagReader};
use crate::unkillable::describe;

/// Between two looks for newcomers, unless all have ended before. A look costs some milliseconds.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Looks after SIGKILL, [`LOOK_EVERY`] apart, at which nobody has died and nobody was new, before
/// whoever is left counts as one that does not die of it. Looks and not a time: a machine that was
/// frozen, or has let this thread wait for seconds, has let the killed wait as well.
const FRUITLESS_MAX: u32 = 20;

/// The same while one of them only waits for a processor: on a busy machine it has not come to it.
const FRUITLESS_BUSY_MAX: u32 = 100;

/// How long killing goes on at most, since whoever cannot be stopped may have children for ever.
const KILLING_MAX: Duration = Duration::from_secs(20);

/// Looks for newcomers while everything known is stopped. Each finds what was forked before its
/// parent stopped, so more than a few means that something hides, and KILL comes anyway.
const STOP_ROUNDS_MAX: u32 = 16;

/// Looks that must find nothing, one after the other, before there is nothing: one may miss a
/// process whose parent ended while the directory was read, or one in the middle of an exec, whose
/// environment is empty for that moment.
const EMPTY_LOOKS: u32 = 2;

/// Looks in a row for one that is always a new process, without any pause, before others are waited
/// for again. Most take a few until it is met while it is still there to be killed.
const CHASES_MAX: u32 = 100;

/// Whom to end.
pub(crate) struct Target<'a> {
    /// Processes with such a tag, and whoever descends from them.
    pub(crate) wanted: &'a dyn Fn(&Tag) -> bool,
    /// Processes that are known to belong to it, such as the recorded child itself, and whoever
    /// descends from them: they may have wiped their environment.
    pub(crate) known: &'a [ProcessIdentity],
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Ending {
    pub(crate) tally: Tally,
    /// Who lives on.
    pub(crate) unkillable: Vec<Unkillable>,
    /// Why those of them were not signalled that carry the tag and could have been, in words.
    pub(crate) barred: Vec<String>,
}

/// Ends a target: SIGTERM to all, newcomers too, until `grace` is over; then SIGSTOP until no more
/// appear, and SIGKILL. Returns when none is left, or when what is left cannot be ended.
///
/// # Errors
/// When it cannot be told who lives: then somebody may.
pub(crate) fn end(target: &Target<'_>, grace: Duration) -> io::Result<Ending> {
    let mut group = Group {
        target,
        reader: TagReader::new()?,
        members: HashMap::new(),
        barred: HashMap::new(),
        others: Vec::new(),
        is_one_met: false,
        is_killing: false,
        ended: 0,
        tally: Tally::default(),
    };
    let _is_over = group.terminate(grace)? || group.kill()?;
    Ok(group.into_ending())
}

struct Group<'a> {
    target: &'a Target<'a>,
    reader: TagReader,
    /// By pid; one that ended is forgotten, so that its pid may come again.
    members: HashMap<u32, Member>,
    /// Who was found by the latest look and is not signalled, with the reason. Nobody waits for
    /// them: they are reported.
    barred: HashMap<u32, String>,
    /// Who was read and carries no such tag, in ascending order. While there are members these are
    /// not read again, which is nearly all of a look; whoever ends is forgotten at the next one.
    others: Vec<u32>,
    /// Whether the latest look has met one that is always a new process.
    is_one_met: bool,
    is_killing: bool,
    /// Members that have ended.
    ended: usize,
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
    fn new(process: LivingProcess) -> Self {
        Self {
            process,
            is_terminated: false,
            is_stopped: false,
            is_killed: false,
            is_denied: false,
        }
    }

    fn signal(&mut self, signal: Signal) -> bool {
        let sent = self.process.signal(signal);
        self.is_denied |= matches!(sent, Delivery::Denied | Delivery::Refused);
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
            // Before it is to be killed it is enough to have seen it.
            self.chase(1)?;
            for member in self.members.values_mut() {
                if !member.is_terminated {
                    member.is_terminated = true;
                    self.tally.terminated += u32::from(member.signal(Signal::TERM));
                    // One that is stopped takes the signal only when it goes on.
                    member.signal(Signal::CONT);
                }
            }
            empty_looks = self.empty_looks_after(empty_looks);
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
        let began_at = Instant::now();
        let (mut empty_looks, mut fruitless_looks) = (0, 0);
        self.is_killing = true;
        loop {
            let before = (self.ended, self.tally.killed);
            self.stop_all()?;
            self.chase(CHASES_MAX)?;
            for member in self.members.values_mut().filter(|member| !member.is_killed) {
                member.is_killed = true;
                self.tally.killed += u32::from(member.signal(Signal::KILL));
            }
            empty_looks = self.empty_looks_after(empty_looks);
            if empty_looks == EMPTY_LOOKS {
                return Ok(true);
            }
            fruitless_looks = match before == (self.ended, self.tally.killed) {
                true => fruitless_looks + 1,
                false => 0,
            };
            let fruitless_max = match self.is_any_runnable() {
                true => FRUITLESS_BUSY_MAX,
                false => FRUITLESS_MAX,
            };
            let is_in_vain = fruitless_looks >= fruitless_max || began_at.elapsed() >= KILLING_MAX;
            if !self.is_empty() && (is_in_vain || self.only_denied()) {
                return Ok(false);
            }
            self.wait(LOOK_EVERY);
        }
    }

    fn empty_looks_after(&self, before: u32) -> u32 {
        match self.is_empty() {
            true => before + 1,
            false => 0,
        }
    }

    fn is_any_runnable(&self) -> bool {
        let mut pids = self.members.keys();
        pids.any(|pid| is_runnable(*pid))
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

    /// Looks for who is always a new process, and in killing kills it, until nobody is met.
    fn chase(&mut self, chases_max: u32) -> io::Result<()> {
        for _chase in 0..chases_max {
            self.is_one_met = self.meet_newest()?;
            if !self.is_one_met {
                break;
            }
        }
        Ok(())
    }

    /// Looks for who is always a new process: it forks and lets its parent exit, for ever, so it is
    /// gone before a look at all comes to it. Tells whether anybody was met.
    fn meet_newest(&mut self) -> io::Result<bool> {
        let mut is_met = false;
        for _probe in 0..PROBES {
            for pid in self.reader.newest()? {
                let is_known = self.members.contains_key(&pid) || self.barred.contains_key(&pid);
                if is_known || self.wanted(pid)? != Some(true) {
                    continue;
                }
                is_met = true;
                let held = LivingProcess::open(pid);
                if self.wanted(pid)? == Some(true) && self.take(pid, held) && self.is_killing {
                    let member = self.members.get_mut(&pid).expect("it was taken");
                    member.is_stopped = true;
                    member.is_killed = true;
                    self.tally.killed += u32::from(member.signal(Signal::KILL));
                }
            }
        }
        Ok(is_met)
    }

    /// Forgets who has ended and takes in who is new.
    fn look(&mut self) -> io::Result<()> {
        let before = self.members.len();
        self.members.retain(|_, member| !member.process.has_ended());
        self.ended += before - self.members.len();
        self.barred.clear();
        if self.members.is_empty() {
            // Nothing is over on the strength of what was read before.
            self.others.clear();
        }
        let pids = self.reader.pids()?;
        let known = std::mem::take(&mut self.others);
        for pid in &pids {
            let is_other = known.binary_search(pid).is_ok() || self.is_other(*pid)?;
            if is_other {
                self.others.push(*pid);
            }
        }
        for known in self.target.known {
            // A member that is alive still has its pid.
            if !self.members.contains_key(&known.pid) {
                self.take(known.pid, LivingProcess::identified(known));
            }
        }
        if self.members.is_empty() {
            return Ok(());
        }
        let descent = Descent::of(&pids);
        let mut ancestors: Vec<u32> = self.members.keys().copied().collect();
        while let Some(ancestor) = ancestors.pop() {
            for pid in descent.children(ancestor) {
                if self.take_if_child(pid, ancestor)? {
                    ancestors.push(pid);
                }
            }
        }
        Ok(())
    }

    /// Takes a process that carries the tag. Tells whether it does not, by its environment.
    fn is_other(&mut self, pid: u32) -> io::Result<bool> {
        if self.members.contains_key(&pid) {
            return Ok(false);
        }
        // Most processes have no tag: no pidfd for them.
        match self.reader.read(pid)? {
            Reading::Tagged { tag, .. } if (self.target.wanted)(&tag) => {}
            Reading::Tagged { .. } | Reading::Untagged => return Ok(true),
            Reading::Empty | Reading::Hidden => return Ok(false),
        }
        let held = LivingProcess::open(pid);
        // Again, now that the pid cannot come to mean another: as long as the pidfd's process has
        // not ended, `/proc/PID` is that process.
        match self.wanted(pid)? {
            Some(is_own) if is_own => self.take(pid, held),
            // A tag alone is not enough against who is, or has become, somebody else.
            Some(_) => self.bar(pid, "it belongs to another user"),
            None => false,
        };
        Ok(false)
    }

    /// Whether the process with `pid` is a member now and was none, for being a child of
    /// `ancestor`, which is one.
    fn take_if_child(&mut self, pid: u32, ancestor: u32) -> io::Result<bool> {
        let Some(parent) = self.members.get(&ancestor) else {
            return Ok(false);
        };
        if self.members.contains_key(&pid) {
            return Ok(false);
        }
        let held = LivingProcess::child_of(&parent.process, pid);
        // Whoever carries the tag of another install or spawn has somebody else to end it, and so
        // have those below it.
        let is_anothers = match self.reader.read(pid)? {
            Reading::Tagged { tag, .. } => !(self.target.wanted)(&tag),
            Reading::Untagged | Reading::Empty | Reading::Hidden => false,
        };
        Ok(!is_anothers && self.take(pid, held))
    }

    /// Makes a process that was verified to belong here a member; tells whether it is new.
    fn take(&mut self, pid: u32, held: io::Result<Option<LivingProcess>>) -> bool {
        let process = match held {
            Ok(Some(process)) if !process.has_ended() => process,
            Ok(_) => return false,
            Err(error) => return self.bar(pid, &format!("it cannot be held: {error}")),
        };
        match refusal(pid) {
            Some(Refusal::Hidden) if process.has_ended() => false,
            Some(refusal) => self.bar(pid, &refusal.to_string()),
            // A member that is alive still has its pid.
            None => {
                let is_new = !self.members.contains_key(&pid);
                // What its tag alone did not allow, its parent does.
                self.barred.remove(&pid);
                self.members
                    .entry(pid)
                    .or_insert_with(|| Member::new(process));
                is_new
            }
        }
    }

    fn bar(&mut self, pid: u32, why: &str) -> bool {
        let text = format!("process {pid} is not signalled: {why}");
        self.barred.insert(pid, text);
        false
    }

    /// Whether a process carries the tag, and if so whether it is this user's.
    fn wanted(&mut self, pid: u32) -> io::Result<Option<bool>> {
        Ok(match self.reader.read(pid)? {
            Reading::Tagged { tag, is_own } => (self.target.wanted)(&tag).then_some(is_own),
            Reading::Untagged | Reading::Empty | Reading::Hidden => None,
        })
    }

    fn is_empty(&self) -> bool {
        self.members.is_empty() && !self.is_one_met
    }

    fn only_denied(&self) -> bool {
        !self.is_one_met && self.members.values().all(|member| member.is_denied)
    }

    /// Until it is worth while to look again: when the members known have all ended, or when there
    /// may be new ones.
    fn wait(&self, limit: Duration) {
        if self.members.is_empty() {
            return pause(EMPTY_PAUSE);
        }
        let members = self.members.values().filter(|member| !member.is_denied);
        let processes = members.map(|member| &member.process);
        wait_all(processes, limit.min(LOOK_EVERY));
    }

    fn into_ending(mut self) -> Ending {
        self.members.retain(|_, member| !member.process.has_ended());
        let members = self.members.iter();
        let mut unkillable: Vec<_> = members
            .map(|(pid, member)| describe(*pid, member.is_denied))
            .chain(self.barred.keys().map(|pid| describe(*pid, true)))
            .collect();
        unkillable.sort_by_key(|process| process.pid);
        // Who gets away each time has no pid to be named by, and lives on.
        let left = unkillable.len().max(usize::from(self.is_one_met));
        self.tally.untouchable = u32::try_from(left).unwrap_or(u32::MAX);
        Ending {
            tally: self.tally,
            unkillable,
            barred: self.barred.into_values().collect(),
        }
    }
}
