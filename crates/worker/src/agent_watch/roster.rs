//! Who belongs to whom: the processes of each session, and the sessions of each process.
//!
//! Data and the questions about it. What a process is worth and what follows from its end is decided
//! elsewhere. Both maps are always two sides of the same pairs.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use sessiond_queue::ids::SessionId;
use sessiond_supervisor::ProcessIdentity;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

/// Processes of one session at most. Several at once are an agent that was resumed elsewhere while
/// the first one still ran.
pub(super) const MEMBERS_MAX: usize = 16;

/// Pairs of a session and a process at most: what ten thousand open sessions need, in 3 MiB.
pub(super) const PAIRS_MAX: usize = 20_000;

/// How long nothing may have named a process that has ended before its sessions hear of it. Events
/// that it has left in the spool come in one after the other, and its sessions are to end once.
pub(super) const QUIET: Duration = Duration::from_millis(500);

/// What is told of a process by those who name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) pid: u32,
    pub(super) start_ticks: u64,
    pub(super) pid_namespace: u64,
    pub(super) boot: Uuid,
}

/// How the end of a process comes to be known.
#[derive(Debug)]
pub(super) enum Hold {
    /// A task waits for it.
    Waited(
        #[expect(dead_code, reason = "held: the task and its descriptor go with it")]
        AbortOnDropHandle<()>,
    ),
    /// It cannot be waited for, only looked at.
    LookedAt(ProcessIdentity),
    /// It has ended already; last named at this moment.
    Ended(Instant),
    /// Not at all: it is out of sight. Its sessions are the idle reaper's.
    Unseen,
}

#[derive(Debug)]
struct Process {
    sessions: Vec<SessionId>,
    hold: Hold,
}

#[derive(Debug, Default)]
struct Members {
    processes: Vec<Key>,
    /// There are more than could be kept: the end of those that are kept says nothing.
    has_others: bool,
}

/// What a process's end leaves of one of its sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Left {
    pub(super) session: SessionId,
    /// Members that are left.
    pub(super) others: usize,
    /// Nobody is left, as far as can be told.
    pub(super) is_empty: bool,
}

/// What there is, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) waited: usize,
    pub(super) looked_at: usize,
    pub(super) unseen: usize,
    pub(super) sessions: usize,
}

/// The pairs.
#[derive(Debug)]
pub(super) struct Roster {
    sessions: HashMap<SessionId, Members>,
    processes: HashMap<Key, Process>,
    pairs: usize,
    waited: usize,
    waited_max: usize,
    /// Those with [`Hold::LookedAt`] and [`Hold::Ended`].
    looked_at: HashSet<Key>,
    ended: HashSet<Key>,
}

impl Roster {
    /// Nobody; `waited_max` processes are waited for at most.
    pub(super) fn new(waited_max: usize) -> Self {
        Self {
            sessions: HashMap::new(),
            processes: HashMap::new(),
            pairs: 0,
            waited: 0,
            waited_max,
            looked_at: HashSet::new(),
            ended: HashSet::new(),
        }
    }

    /// Whether the process is known to be the session's. One that has ended is noted to be named.
    pub(super) fn knows(&mut self, session: SessionId, key: &Key, now: Instant) -> bool {
        let members = self.sessions.get(&session);
        let is_known = members.is_some_and(|members| members.processes.contains(key));
        if is_known
            && !self.ended.is_empty()
            && self.ended.contains(key)
            && let Some(process) = self.processes.get_mut(key)
        {
            process.hold = Hold::Ended(now);
        }
        is_known
    }

    /// Whether the process may become the session's.
    pub(super) fn has_room(&self, session: SessionId, key: &Key) -> bool {
        let members = self.sessions.get(&session);
        let members = members.map_or(0, |members| members.processes.len());
        members < MEMBERS_MAX
            && self.pairs < PAIRS_MAX
            && (self.waited < self.waited_max || self.processes.contains_key(key))
    }

    /// Notes that the session has members who are not kept. Answers whether that is news.
    pub(super) fn note_others(&mut self, session: SessionId) -> bool {
        let members = self.sessions.entry(session).or_default();
        !std::mem::replace(&mut members.has_others, true)
    }

    /// The processes of a session that are kept; `None`: nothing is known of it.
    pub(super) fn members(&self, session: SessionId) -> Option<Vec<Key>> {
        let members = self.sessions.get(&session)?;
        Some(members.processes.clone())
    }

    /// Every session of which anything is known.
    pub(super) fn sessions(&self) -> Vec<SessionId> {
        self.sessions.keys().copied().collect()
    }

    /// The process is the session's. One that is held already needs no other `hold`.
    pub(super) fn add(&mut self, session: SessionId, key: Key, hold: impl FnOnce() -> Hold) {
        let members = self.sessions.entry(session).or_default();
        if members.processes.contains(&key) {
            return;
        }
        members.processes.push(key);
        self.pairs += 1;
        let process = self.processes.entry(key).or_insert_with(|| {
            let hold = hold();
            match &hold {
                Hold::Waited(_) => self.waited += 1,
                Hold::LookedAt(_) => drop(self.looked_at.insert(key)),
                Hold::Ended(_) => drop(self.ended.insert(key)),
                Hold::Unseen => {}
            }
            Process {
                sessions: Vec::new(),
                hold,
            }
        });
        process.sessions.push(session);
    }

    /// The sessions of a process that has ended, and what they would be without it.
    pub(super) fn without(&self, key: &Key) -> Vec<Left> {
        let sessions = self.processes.get(key).map(|process| &process.sessions);
        let left = |session: &SessionId| {
            let members = &self.sessions[session];
            let others = members.processes.len() - 1;
            Left {
                session: *session,
                others,
                is_empty: others == 0 && !members.has_others,
            }
        };
        sessions.into_iter().flatten().map(left).collect()
    }

    /// Forgets a process.
    pub(super) fn remove_process(&mut self, key: &Key) {
        let Some(process) = self.processes.remove(key) else {
            return;
        };
        self.forget_hold(key, &process.hold);
        for session in process.sessions {
            self.pairs -= 1;
            if let Some(members) = self.sessions.get_mut(&session) {
                members.processes.retain(|member| member != key);
                if members.processes.is_empty() && !members.has_others {
                    self.sessions.remove(&session);
                }
            }
        }
    }

    /// Forgets a session. Answers whether anything was known of it.
    pub(super) fn remove_session(&mut self, session: SessionId) -> bool {
        let Some(members) = self.sessions.remove(&session) else {
            return false;
        };
        for key in members.processes {
            self.pairs -= 1;
            let process = self.processes.get_mut(&key);
            let process = process.expect("the two maps hold the same pairs");
            process.sessions.retain(|its| *its != session);
            if process.sessions.is_empty()
                && let Some(process) = self.processes.remove(&key)
            {
                self.forget_hold(&key, &process.hold);
            }
        }
        true
    }

    fn forget_hold(&mut self, key: &Key, hold: &Hold) {
        match hold {
            Hold::Waited(_) => self.waited -= 1,
            Hold::LookedAt(_) => drop(self.looked_at.remove(key)),
            Hold::Ended(_) => drop(self.ended.remove(key)),
            Hold::Unseen => {}
        }
    }

    /// A process's end could not be seen to: it is taken up again, a little after `at`.
    pub(super) fn keep_ended(&mut self, key: &Key, at: Instant) {
        let Some(process) = self.processes.get_mut(key) else {
            return;
        };
        let hold = std::mem::replace(&mut process.hold, Hold::Ended(at));
        self.forget_hold(key, &hold);
        self.ended.insert(*key);
    }

    /// When the first process that has ended will have been quiet for long enough.
    pub(super) fn quiet_at(&self) -> Option<Instant> {
        self.ended.iter().filter_map(|key| self.quiet_of(key)).min()
    }

    /// Those that have been quiet for long enough.
    pub(super) fn quiet(&self, now: Instant) -> Vec<Key> {
        let is_quiet = |key: &&Key| self.quiet_of(key).is_some_and(|at| at <= now);
        self.ended.iter().filter(is_quiet).copied().collect()
    }

    fn quiet_of(&self, key: &Key) -> Option<Instant> {
        match self.processes.get(key)?.hold {
            Hold::Ended(named_at) => Some(named_at + QUIET),
            _ => None,
        }
    }

    /// Whether any process has to be looked at from time to time.
    pub(super) fn has_looked_at(&self) -> bool {
        !self.looked_at.is_empty()
    }

    /// Those that have to be looked at.
    pub(super) fn looked_at(&self) -> Vec<(Key, ProcessIdentity)> {
        let identity = |key: &Key| match &self.processes.get(key)?.hold {
            Hold::LookedAt(identity) => Some((*key, identity.clone())),
            _ => None,
        };
        self.looked_at.iter().filter_map(identity).collect()
    }

    /// The pids of a session's processes that are not known to have ended.
    pub(super) fn pids(&self, session: SessionId) -> Vec<u32> {
        let members = self.sessions.get(&session);
        let keys = members.into_iter().flat_map(|members| &members.processes);
        keys.filter(|key| !self.ended.contains(key))
            .map(|key| key.pid)
            .collect()
    }

    pub(super) fn counts(&self) -> Counts {
        let looked_at = self.looked_at.len();
        Counts {
            waited: self.waited,
            looked_at,
            unseen: self.processes.len() - self.waited - looked_at - self.ended.len(),
            sessions: self.sessions.len(),
        }
    }
}
