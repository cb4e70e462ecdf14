//! The queue as plain collections: whatever can be counted is counted when it is asked for.
//!
//! Written for being obviously right, not for speed, and apart from the SQLite engine, so that the
//! two check each other.

use std::collections::BTreeMap;

use crate::error::{EnqueueError, MessageError};
use crate::ids::{ClaimSeq, Epoch, Generation, MessageId, ResultId, Seq, SessionId, Timestamp};
use crate::limits::{ATTEMPTS_KEPT, Limits, PROMPT_KEPT_BYTES, REASON_KEPT_BYTES};
use crate::types::{
    Attempt, AttemptOutcome, Effect, Enqueue, Fence, Life, Message, Receipt, Redriven, Session,
    SessionRef, State, StoredResult, Usage,
};
use crate::validate::{self, kept};

/// All of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    pub(super) limits: Limits,
    pub(super) closed: bool,
    pub(super) generation: Generation,
    /// By the order of creation.
    pub(super) sessions: BTreeMap<i64, SessionEntry>,
    pub(super) messages: BTreeMap<MessageId, MessageEntry>,
    pub(super) results: BTreeMap<ResultId, StoredResult>,
    /// Of each result, the epoch of its message, which may be gone.
    pub(super) result_epochs: BTreeMap<ResultId, Epoch>,
    /// What was spent, by day.
    pub(super) days: BTreeMap<i64, Usage>,
    pub(super) last_session: i64,
    pub(super) last_message: MessageId,
    pub(super) last_result: ResultId,
    pub(super) last_claim: ClaimSeq,
    pub(super) duplicates: i64,
}

/// A session; its counts are filled in when it is read.
#[derive(Clone, Debug)]
pub(super) struct SessionEntry {
    pub(super) session: Session,
    pub(super) reopen: bool,
    pub(super) next_seq: Seq,
    /// The highest place of a message that was worked and deleted since.
    pub(super) deleted_seq: Seq,
    pub(super) checkpoint: Option<String>,
}

/// A message, with what its reader does not see.
#[derive(Clone, Debug)]
pub(super) struct MessageEntry {
    pub(super) message: Message,
    pub(super) dedup_key: Option<String>,
    pub(super) claim: Option<(Generation, ClaimSeq)>,
    /// Oldest first.
    pub(super) attempts: Vec<Attempt>,
}

impl SessionEntry {
    pub(super) fn start(&mut self) {
        self.session.drain_until = None;
        match self.session.life {
            Life::Open => {}
            Life::Closing => self.reopen = true,
            Life::Ended => self.session.life = Life::Open,
        }
    }

    pub(super) fn drain(&mut self, until: Timestamp) {
        match self.session.life {
            Life::Open => self.session.drain_until = Some(until),
            Life::Closing => self.reopen = false,
            Life::Ended => {}
        }
    }

    pub(super) fn refresh(&mut self, cwd: Option<&String>, project: Option<&String>) {
        if let Some(cwd) = cwd {
            self.session.cwd = Some(cwd.clone());
        }
        if let Some(project) = project {
            self.session.project = Some(project.clone());
        }
    }

    fn apply(&mut self, effect: &Effect) {
        match effect {
            Effect::None => {}
            Effect::Start => self.start(),
            Effect::Prompt(prompt) => {
                self.start();
                self.session.failing = None;
                self.session.prompt = Some(kept(prompt, PROMPT_KEPT_BYTES).to_owned());
                self.session.prompt_number += 1;
            }
            Effect::End { drain_until } => self.drain(*drain_until),
        }
    }
}

impl MessageEntry {
    pub(super) fn is_held_by(&self, fence: Fence) -> bool {
        self.message.epoch == fence.epoch && self.claim == Some((fence.generation, fence.claim_seq))
    }

    /// Moves the message to a state, with what each state implies.
    pub(super) fn set_state(&mut self, state: State, now: Timestamp) {
        self.message.state = state;
        self.claim = None;
        self.message.not_before = None;
        let finished = matches!(state, State::Done | State::Dead | State::Cancelled);
        self.message.finished_at = finished.then_some(now);
    }

    /// Remembers how the present attempt ended, and forgets the oldest when there are too many.
    pub(super) fn ended(&mut self, outcome: AttemptOutcome, reason: Option<&str>, now: Timestamp) {
        self.attempts.push(Attempt {
            attempt: self.message.attempt,
            ended_at: now,
            outcome,
            reason: reason.map(|reason| kept(reason, REASON_KEPT_BYTES).to_owned()),
        });
        if self.attempts.len() > ATTEMPTS_KEPT {
            self.attempts.remove(0);
        }
    }

    pub(super) fn was_worked(&self) -> bool {
        matches!(
            self.message.state,
            State::Claimed | State::Done | State::Dead
        ) || self.message.attempt > 0
    }
}

impl Model {
    pub(super) fn by_id(&mut self, id: SessionId) -> Option<&mut SessionEntry> {
        self.sessions
            .values_mut()
            .find(|entry| entry.session.id == id)
    }

    pub(super) fn by_key(&mut self, agent: &str, key: &str) -> Option<&mut SessionEntry> {
        self.sessions
            .values_mut()
            .find(|entry| entry.session.agent == agent && entry.session.key == key)
    }

    /// How many messages are in one of these states, of a session or in all.
    pub(super) fn count(&self, session: Option<SessionId>, states: &[State]) -> i64 {
        let counted = self.messages.values().filter(|entry| {
            states.contains(&entry.message.state)
                && session.is_none_or(|session| entry.message.session == session)
        });
        counted.count() as i64
    }

    pub(super) fn backlog(&self, session: Option<SessionId>) -> i64 {
        self.count(session, &[State::Pending, State::Claimed])
    }

    /// The first message of a session that is pending or claimed.
    pub(super) fn head(&mut self, session: SessionId) -> Option<&mut MessageEntry> {
        self.messages
            .values_mut()
            .filter(|entry| entry.message.session == session)
            .filter(|entry| matches!(entry.message.state, State::Pending | State::Claimed))
            .min_by_key(|entry| entry.message.seq)
    }

    /// A session with its counts.
    pub(super) fn read(&self, entry: &SessionEntry) -> Session {
        Session {
            pending: self.backlog(Some(entry.session.id)),
            dead: self.count(Some(entry.session.id), &[State::Dead]),
            ..entry.session.clone()
        }
    }

    pub(super) fn session(&self, id: SessionId) -> Option<Session> {
        let entry = self
            .sessions
            .values()
            .find(|entry| entry.session.id == id)?;
        Some(self.read(entry))
    }

    /// When the head of a session is due, unless it is in work.
    pub(super) fn due_at(&mut self, session: SessionId) -> Option<Timestamp> {
        let head = &self.head(session)?.message;
        let due_at = head.not_before.unwrap_or(head.accepted_at);
        (head.state == State::Pending).then_some(due_at)
    }

    pub(super) fn create(&mut self, agent: &str, key: &str, now: Timestamp) -> SessionId {
        let id = SessionId::mint();
        self.last_session += 1;
        let entry = SessionEntry {
            session: Session {
                id,
                agent: agent.to_owned(),
                key: key.to_owned(),
                life: Life::Open,
                close_depth: None,
                drain_until: None,
                epoch: Epoch(0),
                project: None,
                cwd: None,
                prompt: None,
                prompt_number: 0,
                metadata: serde_json::Map::new(),
                created_at: now,
                active_at: now,
                pending: 0,
                dead: 0,
                success_at: None,
                consecutive_failures: 0,
                last_error: None,
                failing: None,
                usage: Usage::default(),
            },
            reopen: false,
            next_seq: Seq(1),
            deleted_seq: Seq(0),
            checkpoint: None,
        };
        self.sessions.insert(self.last_session, entry);
        id
    }

    pub(super) fn enqueue(
        &mut self,
        event: &Enqueue,
        now: Timestamp,
    ) -> Result<Receipt, EnqueueError> {
        validate::event(event, &self.limits)?;
        let known = match &event.session {
            SessionRef::Id(id) => self.by_id(*id),
            SessionRef::Key { agent, key } => self.by_key(agent, key),
        };
        let known = known.map(|entry| entry.session.id);
        if let Some(first) = self.first_of(event, known) {
            self.duplicates += 1;
            return Ok(first);
        }
        if let (SessionRef::Id(id), None) = (&event.session, known) {
            return Err(EnqueueError::UnknownSession(*id));
        }
        let Limits {
            session_depth_max,
            depth_max,
            ..
        } = self.limits;
        if let Some(session) = known
            && self.backlog(Some(session)) >= session_depth_max
        {
            return Err(EnqueueError::SessionFull {
                session,
                limit: session_depth_max,
            });
        }
        if self.backlog(None) >= depth_max {
            return Err(EnqueueError::QueueFull { limit: depth_max });
        }
        let session = match (&event.session, known) {
            (SessionRef::Key { agent, key }, None) => self.create(agent, key, now),
            (SessionRef::Id(id), _) => *id,
            (_, Some(id)) => id,
        };
        let receipt = self.add(event, session, now);
        Ok(Receipt {
            session_created: known.is_none(),
            ..receipt
        })
    }

    /// The receipt of the message that an event repeats.
    fn first_of(&self, event: &Enqueue, session: Option<SessionId>) -> Option<Receipt> {
        let same_event = |entry: &&MessageEntry| entry.message.event_id == event.event_id;
        let by_event = self.messages.values().find(same_event);
        let by_key = || {
            let dedup = event.dedup.as_ref()?;
            let last = self.messages.values().rev().find(|entry| {
                Some(entry.message.session) == session
                    && entry.dedup_key.as_ref() == Some(&dedup.key)
            })?;
            let apart = (event.accepted_at.0 - last.message.accepted_at.0).abs();
            dedup
                .window_ms
                .is_none_or(|window| apart <= window)
                .then_some(last)
        };
        let first = &by_event.or_else(by_key)?.message;
        Some(Receipt {
            message: first.id,
            session: first.session,
            seq: first.seq,
            duplicate: true,
            session_created: false,
        })
    }

    fn add(&mut self, event: &Enqueue, session: SessionId, now: Timestamp) -> Receipt {
        let entry = self.by_id(session).expect("the session was found or made");
        entry.apply(&event.effect);
        entry.refresh(event.cwd.as_ref(), event.project.as_ref());
        entry.session.active_at = now;
        let (seq, epoch) = (entry.next_seq, entry.session.epoch);
        entry.next_seq = seq.next();
        self.last_message = self.last_message.next();
        let id = self.last_message;
        let message = Message {
            id,
            session,
            seq,
            epoch,
            event_id: event.event_id,
            kind: event.kind.clone(),
            agent_id: event.agent_id.clone(),
            payload: event.payload.clone(),
            state: State::Pending,
            attempt: 0,
            rescues: 0,
            accepted_at: event.accepted_at,
            not_before: None,
            finished_at: None,
            last_error: None,
        };
        let entry = MessageEntry {
            message,
            dedup_key: event.dedup.as_ref().map(|dedup| dedup.key.clone()),
            claim: None,
            attempts: Vec::new(),
        };
        self.messages.insert(id, entry);
        Receipt {
            message: id,
            session,
            seq,
            duplicate: false,
            session_created: false,
        }
    }

    /// Which limit keeps a dead message from becoming pending, given what is about to be.
    pub(super) fn full(&self, id: MessageId, taken: &[MessageId]) -> Result<(), MessageError> {
        let session = self.messages[&id].message.session;
        let of_session = |taken: &&MessageId| self.messages[taken].message.session == session;
        let more = taken.iter().filter(of_session).count() as i64;
        let (name, limit) = if self.backlog(Some(session)) + more >= self.limits.session_depth_max {
            ("session_depth_max", self.limits.session_depth_max)
        } else if self.backlog(None) + taken.len() as i64 >= self.limits.depth_max {
            ("depth_max", self.limits.depth_max)
        } else {
            return Ok(());
        };
        Err(MessageError::Full {
            message: id,
            limit,
            name,
        })
    }

    /// Makes these dead messages pending; those with worked ones behind them go to the tail.
    pub(super) fn redrive(&mut self, dead: &[MessageId], now: Timestamp) -> Vec<Redriven> {
        let mut redriven = Vec::new();
        let mut in_place: Vec<_> = dead
            .iter()
            .map(|id| self.messages[id].message.clone())
            .collect();
        in_place.sort_by_key(|message| (message.session, message.seq));
        for message in &in_place {
            redriven.push(Redriven {
                message: message.id,
                session: message.session,
                kept_place: !self.sessions.values().any(|entry| {
                    entry.session.id == message.session && entry.deleted_seq > message.seq
                }) && !self.messages.values().any(|other| {
                    other.message.session == message.session
                        && other.message.seq > message.seq
                        && !dead.contains(&other.message.id)
                        && other.was_worked()
                }),
            });
        }
        for answer in &redriven {
            let mut seq = self.messages[&answer.message].message.seq;
            if !answer.kept_place
                && let Some(session) = self.by_id(answer.session)
            {
                seq = session.next_seq;
                session.next_seq = seq.next();
            }
            if let Some(entry) = self.messages.get_mut(&answer.message) {
                entry.set_state(State::Pending, now);
                entry.message.seq = seq;
                entry.message.attempt = 0;
                entry.ended(AttemptOutcome::Redriven, None, now);
                entry.message.rescues = 0;
            }
        }
        redriven.sort_by_key(|answer| answer.message);
        redriven
    }
}
