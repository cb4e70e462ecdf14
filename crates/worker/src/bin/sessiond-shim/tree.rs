//! Who descends from the shim, and signals to exactly these.
//!
//! A scan walks down from the shim by the lists of children, with each process held open while it
//! is looked at. A process belongs to the tree when its parent, read through that handle, is the
//! one that listed it, or the shim, which inherits orphans. So a number that somebody else got
//! meanwhile is never signalled.

use std::fs::read_link;
use std::mem::take;
use std::path::Path;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, getpid, kill_process};

use crate::control::{Tally, UNTOUCHABLE_MAX, Untouchable};
use crate::proc::{Process, Stat, all_by_parent};

/// The most processes that one scan visits; who is beyond is found when these are gone.
const VISITED_MAX: usize = 1 << 16;

/// What a scan does to whom it finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    /// Asks to end (SIGTERM), once: to many programs a second time means "at once". Whoever is
    /// stopped is continued, since it could not do as it is asked.
    Ask,
    /// Stops, so that nobody starts others, or answers the death of others.
    Stop,
    /// Kills.
    Kill,
    /// Only looks.
    Look,
}

/// What a scan has found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// Processes that are alive.
    pub(crate) alive: u32,
    /// Those of them to whom the deed was new.
    pub(crate) new: u32,
}

/// The processes below the shim.
pub(crate) struct Tree {
    own: Pid,
    /// The child itself, until it was reaped.
    leader: Option<Pid>,
    /// How children are found; `None`: `/proc` is not there, or is of another pid namespace.
    source: Option<Source>,
    /// Who was found by the latest scan, by pid.
    members: Vec<Member>,
    /// How many were signalled, for the report.
    pub(crate) tally: Tally,
}

/// Where lists of children come from.
#[derive(Clone, Copy, Debug)]
enum Source {
    /// `/proc/PID/task/TID/children`.
    Lists,
    /// The parent in every process's `stat`, for kernels without these files.
    Parents,
}

/// One process, and what was done to it.
#[derive(Clone, Copy)]
struct Member {
    pid: Pid,
    /// Tells it from an earlier one with its pid.
    start_ticks: u64,
    /// Its state at the latest scan, as `/proc` has it; `?` without `/proc`.
    state: u8,
    asked: bool,
    stopped: bool,
    killed: bool,
    /// Whether it may not be killed.
    denied: bool,
}

impl Tree {
    /// The tree of this process, whose child is `leader`.
    pub(crate) fn new(leader: Pid) -> Self {
        let own = getpid();
        let is_our_proc = read_link("/proc/self")
            .is_ok_and(|target| target == Path::new(&own.as_raw_pid().to_string()));
        Self {
            own,
            leader: Some(leader),
            source: is_our_proc.then(|| Source::of_this_kernel(own)),
            members: Vec::new(),
            tally: Tally::default(),
        }
    }

    /// The leader was reaped: its pid means nothing any more.
    pub(crate) fn forget_leader(&mut self) {
        self.leader = None;
    }

    /// Looks for everybody once and does `deed`.
    pub(crate) fn scan(&mut self, deed: Deed) -> Found {
        let Some(source) = self.source else {
            return self.treat_leader(deed);
        };
        let everybody = match source {
            Source::Lists => Vec::new(),
            Source::Parents => all_by_parent().unwrap_or_default(),
        };
        let before = take(&mut self.members);
        let mut found = Found::default();
        let mut listed = Vec::with_capacity(before.len() + 16);
        let own = Process::open(self.own).ok();
        if let Some((own, stat)) = own.and_then(|own| own.stat().map(|stat| (own, stat))) {
            list_children(&own, stat.threads, &everybody, source, &mut listed);
        }
        let mut visited = 0;
        while visited < listed.len().min(VISITED_MAX) {
            let (pid, lister) = listed[visited];
            visited += 1;
            let Some((process, stat)) = self.verify(pid, lister) else {
                continue;
            };
            // Before the signal: once it is dead they are the shim's, whose list was read.
            list_children(&process, stat.threads, &everybody, source, &mut listed);
            let mut member = before
                .binary_search_by_key(&pid.as_raw_pid(), |member| member.pid.as_raw_pid())
                .map(|at| before[at])
                .ok()
                .filter(|known| known.start_ticks == stat.start_ticks)
                .unwrap_or_else(|| Member::new(pid, stat.start_ticks));
            member.state = stat.state;
            let send = |signal| process.signal(signal);
            let is_new = member.treat(deed, stat.is_stopped(), &mut self.tally, send);
            found.alive += 1;
            found.new += u32::from(is_new);
            self.members.push(member);
        }
        self.members
            .sort_unstable_by_key(|member| member.pid.as_raw_pid());
        found
    }

    /// Whether one that was killed only waits for a processor, as of the latest scan.
    pub(crate) fn is_any_killed_runnable(&self) -> bool {
        let mut killed = self.members.iter().filter(|one| one.killed && !one.denied);
        killed.any(|member| member.state == b'R')
    }

    /// Looks once more, counts those that live in spite of everything, and names some of them.
    pub(crate) fn give_up(&mut self) -> Vec<Untouchable> {
        // Nobody seen is somebody all the same: otherwise the shim would be done.
        self.tally.untouchable = self.scan(Deed::Look).alive.max(1);
        let named = self.members.iter().take(UNTOUCHABLE_MAX);
        named.map(Member::untouchable).collect()
    }

    /// The process that has this pid, if it lives and belongs to the tree.
    fn verify(&self, pid: Pid, lister: Pid) -> Option<(Process, Stat)> {
        if pid == self.own || pid == Pid::INIT {
            return None;
        }
        let process = Process::open(pid).ok()?;
        let stat = process.stat()?;
        let is_ours = [lister, self.own]
            .iter()
            .any(|parent| parent.as_raw_pid() == stat.parent);
        (is_ours && !stat.is_corpse()).then_some((process, stat))
    }

    /// Without `/proc` only the leader is known. A child that was not reaped keeps its pid, so the
    /// number is safe.
    fn treat_leader(&mut self, deed: Deed) -> Found {
        let Some(leader) = self.leader else {
            // Somebody is there, otherwise the shim would be done.
            return Found { alive: 1, new: 0 };
        };
        let known = self.members.first().copied();
        let mut member = known.unwrap_or_else(|| Member::new(leader, 0));
        let send = |signal| kill_process(leader, signal);
        let is_new = member.treat(deed, false, &mut self.tally, send);
        self.members = vec![member];
        Found {
            alive: 1,
            new: u32::from(is_new),
        }
    }
}

impl Source {
    fn of_this_kernel(own: Pid) -> Self {
        let lists = Process::open(own).and_then(|process| process.children(1, |_| ()));
        if lists.is_ok() {
            Self::Lists
        } else {
            Self::Parents
        }
    }
}

impl Member {
    fn new(pid: Pid, start_ticks: u64) -> Self {
        Self {
            pid,
            start_ticks,
            state: b'?',
            asked: false,
            stopped: false,
            killed: false,
            denied: false,
        }
    }

    fn untouchable(&self) -> Untouchable {
        Untouchable {
            pid: self.pid.as_raw_pid().unsigned_abs(),
            start_ticks: self.start_ticks,
            state: char::from(self.state),
            is_denied: self.denied,
        }
    }

    /// Does the deed; returns whether it was new to this one. A signal that fails has met a process
    /// that is gone, or one that is not ours to signal: that one is alive in the end, and counted.
    fn treat(
        &mut self,
        deed: Deed,
        is_stopped: bool,
        tally: &mut Tally,
        send: impl Fn(Signal) -> Result<(), Errno>,
    ) -> bool {
        match deed {
            Deed::Ask => {
                let is_new = !std::mem::replace(&mut self.asked, true);
                if is_new && send(Signal::TERM).is_ok() {
                    tally.terminated += 1;
                }
                if is_new || is_stopped {
                    send(Signal::CONT).ok();
                }
                is_new
            }
            Deed::Stop => {
                if !is_stopped {
                    send(Signal::STOP).ok();
                }
                !std::mem::replace(&mut self.stopped, true)
            }
            Deed::Kill => {
                let is_new = !std::mem::replace(&mut self.killed, true);
                match send(Signal::KILL) {
                    Ok(()) => tally.killed += u32::from(is_new),
                    Err(error) => self.denied = error == Errno::PERM,
                }
                is_new
            }
            Deed::Look => false,
        }
    }
}

/// Adds the children of a process, each with who listed it.
fn list_children(
    process: &Process,
    threads: u32,
    everybody: &[(Pid, Pid)],
    source: Source,
    listed: &mut Vec<(Pid, Pid)>,
) {
    let parent = process.pid;
    match source {
        // It may have ended meanwhile; its children are the shim's then, and found next time.
        Source::Lists => process
            .children(threads, |child| listed.push((child, parent)))
            .unwrap_or_default(),
        Source::Parents => {
            let first =
                everybody.partition_point(|(other, _)| other.as_raw_pid() < parent.as_raw_pid());
            let own = everybody[first..]
                .iter()
                .take_while(|(other, _)| *other == parent);
            listed.extend(own.map(|(_, child)| (*child, parent)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};
    use std::time::{Duration, Instant};

    use rustix::process::{WaitOptions, set_child_subreaper, wait};

    use super::*;
    use crate::ending::Ending;

    fn tree(source: Source, leader: &Child) -> Tree {
        let mut tree = Tree::new(Pid::from_child(leader));
        assert!(tree.source.is_some(), "/proc is ours");
        tree.source = Some(source);
        tree
    }

    /// One test, since a scan finds the children of every test of this process.
    #[test]
    #[expect(
        clippy::disallowed_methods,
        reason = "a scan wants children of its own process"
    )]
    fn a_tree_is_found_without_lists_of_children_and_its_leader_without_proc() {
        // Orphans come to this process, as they come to the shim.
        set_child_subreaper(Some(getpid())).unwrap();
        let mut leader = Command::new("sh")
            .args(["-c", "sleep 1000 & sleep 1000 & echo; wait"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = [0];
        std::io::Read::read_exact(leader.stdout.as_mut().unwrap(), &mut line).unwrap();
        let everybody = Found { alive: 3, new: 0 };
        for source in [Source::Lists, Source::Parents] {
            assert_eq!(
                tree(source, &leader).scan(Deed::Look),
                everybody,
                "{source:?}"
            );
        }
        let mut tree = tree(Source::Parents, &leader);
        assert_eq!(tree.scan(Deed::Stop).new, 3);
        assert_eq!(tree.scan(Deed::Stop).new, 0);
        assert_eq!(tree.scan(Deed::Kill).new, 3);
        assert_eq!(tree.tally.killed, 3);
        leader.wait().unwrap();
        for _orphan in 0..2 {
            wait(WaitOptions::empty()).unwrap();
        }

        let mut leader = Command::new("sleep").arg("1000").spawn().unwrap();
        let mut tree = Tree::new(Pid::from_child(&leader));
        tree.source = None;
        assert_eq!(tree.scan(Deed::Kill), Found { alive: 1, new: 1 });
        leader.wait().unwrap();
        tree.forget_leader();
        assert_eq!(tree.scan(Deed::Kill), Found { alive: 1, new: 0 });
        assert_eq!(tree.tally.killed, 1);

        // A machine that was frozen right after the kill has let the killed wait too.
        let began_at = Instant::now();
        let mut ending = Ending::new(began_at, Duration::ZERO);
        assert!(ending.advance(&mut tree, began_at, false).is_none());
        let thawed_at = began_at + Duration::from_hours(1);
        assert!(ending.advance(&mut tree, thawed_at, false).is_none());
        let last_look_at = thawed_at + Duration::from_secs(1);
        assert!(ending.advance(&mut tree, last_look_at, false).is_some());
    }
}
