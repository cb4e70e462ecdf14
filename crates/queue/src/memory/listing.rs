//! What is listed and counted of the model, by filtering all of it.

use std::cmp::Reverse;

use super::model::Model;
use crate::ids::SessionId;
use crate::limits::{LIST_BYTES_MAX, list_limit};
use crate::types::{
    DayUsage, Depth, Life, LifeCounts, Message, MessageFilter, ResultFilter, Session,
    SessionFilter, State, Stats, StoredResult, Unfinished,
};
use crate::validate::result_bytes;

impl Model {
    pub(super) fn list_sessions(&self, filter: &SessionFilter) -> Vec<Session> {
        let newest_first = self.sessions.values().rev();
        let mut found: Vec<_> = newest_first.map(|entry| self.read(entry)).collect();
        found.retain(|session| {
            filter
                .agent
                .as_ref()
                .is_none_or(|agent| session.agent == *agent)
                && filter
                    .project
                    .as_ref()
                    .is_none_or(|p| session.project.as_ref() == Some(p))
                && filter.life.is_none_or(|life| session.life == life)
        });
        found.sort_by_key(|session| Reverse(session.active_at));
        found.truncate(list_limit(filter.limit) as usize);
        found
    }

    pub(super) fn unfinished(&mut self) -> Vec<Unfinished> {
        let mut sessions: Vec<_> = self
            .sessions
            .values()
            .map(|entry| self.read(entry))
            .collect();
        sessions.retain(|session| {
            session.life == Life::Closing || session.drain_until.is_some() || session.pending > 0
        });
        sessions.sort_by_cached_key(|session| {
            let head = self.head(session.id);
            head.map_or(session.active_at, |head| head.message.accepted_at)
        });
        let unfinished = sessions.into_iter().map(|session| Unfinished {
            session: session.id,
            closing: session.close_depth,
            drain_until: session.drain_until,
            due_at: self.due_at(session.id),
        });
        unfinished.collect()
    }

    pub(super) fn list_messages(&self, filter: &MessageFilter) -> Vec<Message> {
        let found = self
            .messages
            .values()
            .map(|entry| &entry.message)
            .filter(|message| {
                filter
                    .session
                    .is_none_or(|session| message.session == session)
                    && filter.state.is_none_or(|state| message.state == state)
                    && filter.after.is_none_or(|after| message.id > after)
            });
        let found = found.take(list_limit(filter.limit) as usize).cloned();
        within_bytes(found, |message| message.payload.len())
    }

    pub(super) fn list_results(&self, filter: &ResultFilter) -> Vec<StoredResult> {
        let mut found: Vec<_> = self.results.values().cloned().collect();
        found.retain(|result| {
            filter
                .session
                .is_none_or(|session| result.session == session)
                && filter
                    .kind
                    .as_ref()
                    .is_none_or(|kind| result.result.kind == *kind)
                && filter.after.is_none_or(|after| result.id > after)
                && filter
                    .project
                    .as_ref()
                    .is_none_or(|p| self.project(result.session) == Some(p))
        });
        if filter.newest_first {
            found.reverse();
        }
        found.truncate(list_limit(filter.limit) as usize);
        within_bytes(found.into_iter(), |stored| result_bytes(&stored.result))
    }

    pub(super) fn list_days(&self, limit: u32) -> Vec<DayUsage> {
        let newest_first = self.days.iter().rev();
        let days = newest_first.map(|(day, usage)| DayUsage {
            day: *day,
            usage: *usage,
        });
        days.take(list_limit(limit) as usize).collect()
    }

    pub(super) fn stats(&self) -> Stats {
        let backlog = self.messages.values().map(|entry| &entry.message);
        let backlog = backlog.filter(|m| matches!(m.state, State::Pending | State::Claimed));
        Stats {
            depth: Depth {
                pending: self.count(None, &[State::Pending]),
                claimed: self.count(None, &[State::Claimed]),
                done: self.count(None, &[State::Done]),
                dead: self.count(None, &[State::Dead]),
                cancelled: self.count(None, &[State::Cancelled]),
            },
            accepted: self.last_message.0,
            duplicates: self.duplicates,
            results: self.last_result.0,
            sessions: LifeCounts {
                open: self.lives(Life::Open),
                closing: self.lives(Life::Closing),
                ended: self.lives(Life::Ended),
            },
            oldest_pending_at: backlog.map(|message| message.accepted_at).min(),
        }
    }

    fn project(&self, session: SessionId) -> Option<&String> {
        let entry = self
            .sessions
            .values()
            .find(|entry| entry.session.id == session)?;
        entry.session.project.as_ref()
    }

    fn lives(&self, life: Life) -> i64 {
        let of_life = self
            .sessions
            .values()
            .filter(|entry| entry.session.life == life);
        of_life.count() as i64
    }
}

/// As many as have room together, the first in any case.
fn within_bytes<T>(found: impl Iterator<Item = T>, bytes: impl Fn(&T) -> usize) -> Vec<T> {
    let mut total = 0;
    let has_room = |(place, one): &(usize, T)| {
        total += bytes(one);
        *place == 0 || total <= LIST_BYTES_MAX
    };
    let listed = found.enumerate().take_while(has_room);
    listed.map(|(_, one)| one).collect()
}
