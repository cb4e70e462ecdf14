//! Sessions in the same trouble, told of at once: a program that is broken breaks all of its
//! sessions for one reason, and nobody reads forty paragraphs of it.

use sessiond_queue::ids::SessionId;

use super::super::report::{Finding, Level, SessionReport};
use super::finding;
use crate::words::counted;

/// What troubles a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// No generator is started for it any more.
    Failing {
        /// Whether its life is over, so that no prompt is to be expected.
        is_ended: bool,
    },
    /// Its generator did not start, and is tried again.
    Restarts,
    /// Its messages are not worked, and are tried again.
    Failures,
}

/// The sessions with one trouble for one reason.
struct Group<'a> {
    level: Level,
    trouble: Trouble,
    why: Option<&'a str>,
    sessions: Vec<&'a SessionReport>,
}

/// All groups, in the order in which they were met.
#[derive(Default)]
pub(super) struct Alike<'a>(Vec<Group<'a>>);

/// A session as people name it.
pub(super) fn name_of(session: &SessionReport) -> String {
    format!("session {}:{}", session.agent, session.key)
}

impl<'a> Alike<'a> {
    pub(super) fn add(
        &mut self,
        level: Level,
        trouble: Trouble,
        why: Option<&'a str>,
        session: &'a SessionReport,
    ) {
        let known = self
            .0
            .iter_mut()
            .find(|group| (group.level, group.trouble, group.why) == (level, trouble, why));
        match known {
            Some(group) => group.sessions.push(session),
            None => self.0.push(Group {
                level,
                trouble,
                why,
                sessions: vec![session],
            }),
        }
    }

    /// How grave the troubles of the session are that was added last.
    pub(super) fn gravest_of(&self, session: SessionId) -> Option<Level> {
        let of_it = |group: &&Group<'_>| group.sessions.last().is_some_and(|s| s.id == session);
        self.0.iter().filter(of_it).map(|group| group.level).max()
    }

    /// One finding a group.
    pub(super) fn findings(&self) -> impl Iterator<Item = Finding> {
        self.0.iter().map(Group::finding)
    }
}

impl Group<'_> {
    fn finding(&self) -> Finding {
        let first = self.sessions[0];
        let is_one = self.sessions.len() == 1;
        let count = counted(self.sessions.len() as u64, "session");
        let most = |number: fn(&SessionReport) -> i64| {
            let numbers = self.sessions.iter().map(|session| number(session));
            let up_to = if is_one { "" } else { "up to " };
            format!("{up_to}{}", counted(numbers.max().unwrap_or(0), "time"))
        };
        // `restart --all` is for failing sessions; what else is told stands for each.
        let (code, what, advice) = match self.trouble {
            Trouble::Failing { is_ended } => {
                let waiting = self.sessions.iter().map(|session| session.pending).sum();
                let waiting = counted::<i64>(waiting, "message");
                let what = if is_one {
                    format!("{} is failing, {waiting} waiting", name_of(first))
                } else {
                    format!("{count} are failing, {waiting} waiting")
                };
                ("session_failing", what, self.ways_out(is_ended))
            }
            Trouble::Restarts => {
                let times = most(|session| i64::from(session.restarts));
                let whose = if is_one {
                    format!("the generator of {}", name_of(first))
                } else {
                    format!("the generators of {count}")
                };
                let advice = format!(
                    "it is tried again by itself; see what it said with: sessiond session output {}",
                    first.id
                );
                (
                    "restarts",
                    format!("{whose} failed to start {times} in a row"),
                    advice,
                )
            }
            Trouble::Failures => {
                let times = most(|session| session.consecutive_failures);
                let who = if is_one { name_of(first) } else { count };
                let advice = "mend the cause; it is tried again by itself".to_owned();
                ("failures", format!("{who} failed {times} in a row"), advice)
            }
        };
        let why = match (self.why, self.trouble) {
            (Some(why), _) => format!(": {why}"),
            (None, Trouble::Failures) => ": for an unknown reason".to_owned(),
            (None, _) => String::new(),
        };
        let first = if is_one {
            String::new()
        } else {
            format!(" (the first: {})", name_of(first))
        };
        finding(self.level, code, format!("{what}{first}{why}"), advice)
    }

    /// What helps failing sessions. Of those whose life is over no prompt is to be expected.
    fn ways_out(&self, is_ended: bool) -> String {
        let id = self.sessions[0].id;
        let restart = match self.sessions.len() {
            1 => format!("`sessiond session restart {id}`"),
            _ => format!(
                "`sessiond session restart --all` (the first alone: `sessiond session restart {id}`)"
            ),
        };
        if is_ended {
            format!(
                "mend the cause; then {restart} tries again; or give the messages up: `sessiond \
                 messages cancel MESSAGE` for one, `sessiond purge {id}` for a session"
            )
        } else {
            format!("mend the cause; then {restart}, or a session's next prompt, tries again")
        }
    }
}
