//! What the model deletes of finished messages: by retention, and dead ones by hand.

use std::time::Duration;

use super::model::Model;
use crate::error::MessageError;
use crate::ids::{MessageId, SessionId, Timestamp};
use crate::limits::{DELETE_BYTES_MAX, DELETE_ROWS_MAX};
use crate::types::{PurgedDead, Retained, Retention, State};

impl Model {
    pub(super) fn retain(&mut self, policy: &Retention, now: Timestamp) -> Retained {
        let done = [State::Done, State::Cancelled];
        let (mut due, next_done) = self.due(&done, policy.done_age, policy.done_max, now);
        let (due_dead, next_dead) = self.due(&[State::Dead], policy.dead_age, policy.dead_max, now);
        due.extend(due_dead);
        let mut retained = Retained::default();
        let mut sum = 0;
        for (place, id) in due.into_iter().enumerate() {
            let message = &self.messages[&id].message;
            sum += message.payload.len();
            if place == DELETE_ROWS_MAX || (place > 0 && sum > DELETE_BYTES_MAX) {
                retained.more = true;
                break;
            }
            match message.state {
                State::Done => retained.done += 1,
                State::Cancelled => retained.cancelled += 1,
                _ => retained.dead += 1,
            }
            self.delete(id);
        }
        if !retained.more {
            retained.next_at = next_done.into_iter().chain(next_dead).min();
        }
        retained
    }

    /// The messages in these states that are over the policy, oldest first, and when the next one
    /// is.
    fn due(
        &self,
        states: &[State],
        age: Option<Duration>,
        most: Option<i64>,
        now: Timestamp,
    ) -> (Vec<MessageId>, Option<Timestamp>) {
        let mut finished: Vec<_> = self
            .messages
            .values()
            .filter(|entry| states.contains(&entry.message.state))
            .filter_map(|entry| Some((entry.message.finished_at?, entry.message.id)))
            .collect();
        finished.sort_unstable();
        let over = most.map_or(0, |most| finished.len() as i64 - most);
        let due_at = |at: Timestamp| age.map(|age| at.after(age));
        let mut due = Vec::new();
        for (place, (at, id)) in finished.into_iter().enumerate() {
            if place as i64 >= over && due_at(at).is_none_or(|due_at| due_at > now) {
                return (due, due_at(at));
            }
            due.push(id);
        }
        (due, None)
    }

    pub(super) fn purge_message(&mut self, id: MessageId) -> Result<(), MessageError> {
        let entry = self.messages.get(&id).ok_or(MessageError::Unknown(id))?;
        if entry.message.state != State::Dead {
            return Err(MessageError::WrongState {
                message: id,
                state: entry.message.state,
                wanted: "purged",
            });
        }
        self.delete(id);
        Ok(())
    }

    pub(super) fn purge_dead(&mut self, session: Option<SessionId>) -> PurgedDead {
        let dead = self.messages.values().filter(|entry| {
            entry.message.state == State::Dead
                && session.is_none_or(|session| entry.message.session == session)
        });
        let dead: Vec<_> = dead
            .map(|entry| (entry.message.id, entry.message.payload.len()))
            .collect();
        let mut purged = PurgedDead::default();
        let mut sum = 0;
        for (place, (id, bytes)) in dead.into_iter().enumerate() {
            sum += bytes;
            if place == DELETE_ROWS_MAX || (place > 0 && sum > DELETE_BYTES_MAX) {
                purged.more = true;
                break;
            }
            purged.messages += 1;
            self.delete(id);
        }
        purged
    }

    fn delete(&mut self, id: MessageId) {
        let Some(entry) = self.messages.remove(&id) else {
            return;
        };
        if entry.was_worked()
            && let Some(session) = self.by_id(entry.message.session)
        {
            session.deleted_seq = session.deleted_seq.max(entry.message.seq);
        }
    }
}
