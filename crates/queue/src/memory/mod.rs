//! The queue in memory: the model that the SQLite engine is compared with, and a store for tests
//! that need no file.
//!
//! Nothing of it survives the process. Every operation holds one lock from beginning to end.

mod delete;
mod listing;
mod model;
mod settle;

use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use serde_json::{Map, Value};

use self::model::Model;
use crate::error::{EnqueueError, MessageError, SessionError, SettleError, StoreError};
use crate::ids::{Generation, MessageId, SessionId, Timestamp};
use crate::limits::Limits;
use crate::store::Store;
use crate::types::{
    Attempt, AttemptOutcome, CancelledBacklog, Claim, Claimed, CloseDepth, Closed, Confirm,
    DayUsage, Enqueue, Fence, Life, Marked, Message, MessageFilter, OpenSession, PurgedDead,
    Receipt, Redriven, Release, Released, Rescued, ResultFilter, Retained, Retention, Session,
    SessionFilter, Shrunk, State, Stats, StoreInfo, StoredResult, Unfinished, Usage, Verification,
};
use crate::validate;

/// A queue that is gone with its process.
#[derive(Debug)]
pub struct MemoryStore {
    model: Mutex<Model>,
}

impl MemoryStore {
    /// An empty queue.
    pub fn new(limits: Limits) -> Self {
        Self {
            model: Mutex::new(Model {
                limits,
                ..Model::default()
            }),
        }
    }

    fn model(&self) -> Result<MutexGuard<'_, Model>, StoreError> {
        let model = self.model.lock().unwrap_or_else(PoisonError::into_inner);
        if model.closed {
            Err(StoreError::Closed)
        } else {
            Ok(model)
        }
    }
}

/// A queue of its own, which goes on from where this one is.
impl Clone for MemoryStore {
    fn clone(&self) -> Self {
        let model = self.model.lock().unwrap_or_else(PoisonError::into_inner);
        Self {
            model: Mutex::new(model.clone()),
        }
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn begin_generation(
        &self,
        _instance: &str,
        _now: Timestamp,
    ) -> Result<Generation, StoreError> {
        let mut model = self.model()?;
        model.generation = model.generation.next();
        Ok(model.generation)
    }

    async fn enqueue(&self, event: Enqueue, now: Timestamp) -> Result<Receipt, EnqueueError> {
        self.model()?.enqueue(&event, now)
    }

    async fn claim(
        &self,
        session: SessionId,
        owner: Generation,
        now: Timestamp,
    ) -> Result<Claimed, StoreError> {
        let mut model = self.model()?;
        let claim_seq = model.last_claim.next();
        let Some(head) = model.head(session) else {
            return Ok(Claimed::Empty);
        };
        if head.message.state == State::Claimed {
            return Ok(Claimed::Busy);
        }
        if let Some(until) = head.message.not_before
            && now < until
        {
            return Ok(Claimed::Delayed { until });
        }
        head.set_state(State::Claimed, now);
        head.message.attempt += 1;
        head.claim = Some((owner, claim_seq));
        let claim = Claim {
            message: head.message.clone(),
            fence: Fence {
                generation: owner,
                epoch: head.message.epoch,
                claim_seq,
            },
        };
        model.last_claim = claim_seq;
        Ok(Claimed::Message(Box::new(claim)))
    }

    async fn confirm(&self, confirm: Confirm, now: Timestamp) -> Result<(), SettleError> {
        self.model()?.confirm(confirm, now)
    }

    async fn release(&self, release: Release, now: Timestamp) -> Result<Released, SettleError> {
        self.model()?.release(release, now)
    }

    async fn release_session(
        &self,
        session: SessionId,
        reason: &str,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        Ok(self.model()?.release_session(session, reason, now))
    }

    async fn rescue(&self, owner: Generation, now: Timestamp) -> Result<Rescued, StoreError> {
        Ok(self.model()?.rescue(owner, now))
    }

    async fn cancel(&self, message: MessageId, now: Timestamp) -> Result<Message, MessageError> {
        let mut model = self.model()?;
        let Some(entry) = model.messages.get_mut(&message) else {
            return Err(MessageError::Unknown(message));
        };
        if !matches!(entry.message.state, State::Pending | State::Claimed) {
            return Err(MessageError::WrongState {
                message,
                state: entry.message.state,
                wanted: "cancelled",
            });
        }
        if entry.message.state == State::Claimed {
            entry.ended(AttemptOutcome::Cancelled, None, now);
        }
        entry.set_state(State::Cancelled, now);
        Ok(entry.message.clone())
    }

    async fn cancel_session(
        &self,
        session: SessionId,
        now: Timestamp,
    ) -> Result<CancelledBacklog, StoreError> {
        let mut model = self.model()?;
        let mut cancelled = CancelledBacklog::default();
        let of_session = model.messages.values_mut().filter(|entry| {
            entry.message.session == session
                && matches!(entry.message.state, State::Pending | State::Claimed)
        });
        for entry in of_session {
            cancelled.messages += 1;
            if entry.message.state == State::Claimed {
                cancelled.claimed = Some(entry.message.id);
                entry.ended(AttemptOutcome::Cancelled, None, now);
            }
            entry.set_state(State::Cancelled, now);
        }
        Ok(cancelled)
    }

    async fn redrive(&self, message: MessageId, now: Timestamp) -> Result<Redriven, MessageError> {
        let mut model = self.model()?;
        let Some(entry) = model.messages.get(&message) else {
            return Err(MessageError::Unknown(message));
        };
        if entry.message.state != State::Dead {
            return Err(MessageError::WrongState {
                message,
                state: entry.message.state,
                wanted: "redriven",
            });
        }
        model.full(message, &[])?;
        Ok(model.redrive(&[message], now)[0])
    }

    async fn redrive_all(
        &self,
        session: Option<SessionId>,
        now: Timestamp,
    ) -> Result<Vec<Redriven>, StoreError> {
        let mut model = self.model()?;
        let mut taken = Vec::new();
        for (id, entry) in &model.messages {
            let wanted = session.is_none_or(|session| entry.message.session == session);
            if wanted && entry.message.state == State::Dead && model.full(*id, &taken).is_ok() {
                taken.push(*id);
            }
        }
        Ok(model.redrive(&taken, now))
    }

    async fn purge_message(&self, message: MessageId) -> Result<(), MessageError> {
        self.model()?.purge_message(message)
    }

    async fn purge_dead(&self, session: Option<SessionId>) -> Result<PurgedDead, StoreError> {
        Ok(self.model()?.purge_dead(session))
    }

    async fn retain(&self, policy: Retention, now: Timestamp) -> Result<Retained, StoreError> {
        Ok(self.model()?.retain(&policy, now))
    }

    async fn shrink(&self) -> Result<Shrunk, StoreError> {
        drop(self.model()?);
        Ok(Shrunk::default())
    }

    async fn fold_log(&self) -> Result<bool, StoreError> {
        drop(self.model()?);
        Ok(true)
    }

    async fn open_session(
        &self,
        open: OpenSession,
        now: Timestamp,
    ) -> Result<Session, SessionError> {
        let mut model = self.model()?;
        validate::open(&open)?;
        let known = model.by_key(&open.agent, &open.key);
        let mut metadata = known
            .map(|entry| entry.session.metadata.clone())
            .unwrap_or_default();
        validate::merge_metadata(&mut metadata, &open.metadata)?;
        if model.by_key(&open.agent, &open.key).is_none() {
            model.create(&open.agent, &open.key, now);
        }
        let entry = model
            .by_key(&open.agent, &open.key)
            .expect("it was made if it was not there");
        entry.start();
        entry.refresh(open.cwd.as_ref(), open.project.as_ref());
        entry.session.active_at = now;
        entry.session.metadata = metadata;
        let id = entry.session.id;
        model.session(id).ok_or(SessionError::Unknown(id))
    }

    async fn patch_metadata(
        &self,
        session: SessionId,
        patch: Map<String, Value>,
        _now: Timestamp,
    ) -> Result<Session, SessionError> {
        let mut model = self.model()?;
        let entry = model.by_id(session).ok_or(SessionError::Unknown(session))?;
        let mut metadata = entry.session.metadata.clone();
        validate::merge_metadata(&mut metadata, &patch)?;
        entry.session.metadata = metadata;
        model.session(session).ok_or(SessionError::Unknown(session))
    }

    async fn set_failing(
        &self,
        session: SessionId,
        reason: Option<&str>,
        _now: Timestamp,
    ) -> Result<Session, SessionError> {
        let mut model = self.model()?;
        let failing = validate::failing(reason)?;
        let entry = model.by_id(session).ok_or(SessionError::Unknown(session))?;
        entry.session.failing = failing;
        model.session(session).ok_or(SessionError::Unknown(session))
    }

    async fn begin_drain(
        &self,
        session: SessionId,
        until: Timestamp,
        _now: Timestamp,
    ) -> Result<(), SessionError> {
        let mut model = self.model()?;
        model
            .by_id(session)
            .ok_or(SessionError::Unknown(session))?
            .drain(until);
        Ok(())
    }

    async fn mark_closing(
        &self,
        session: SessionId,
        depth: CloseDepth,
        only_if_draining: bool,
        _now: Timestamp,
    ) -> Result<Marked, SessionError> {
        let mut model = self.model()?;
        let entry = model.by_id(session).ok_or(SessionError::Unknown(session))?;
        let session = &mut entry.session;
        if session.life != Life::Closing {
            if only_if_draining && session.drain_until.is_none() {
                return Ok(Marked::DrainCalledOff);
            }
            session.life = Life::Closing;
            session.epoch = session.epoch.next();
            session.drain_until = None;
        }
        let deeper = session
            .close_depth
            .map_or(depth, |marked| marked.max(depth));
        let begins_purge = deeper == CloseDepth::Purge && session.close_depth != Some(deeper);
        if begins_purge && !entry.reopen {
            session.prompt = None;
            session.prompt_number = 0;
        }
        session.close_depth = Some(deeper);
        Ok(Marked::Closing(deeper))
    }

    async fn purge_rows(&self, session: SessionId, _now: Timestamp) -> Result<(), SessionError> {
        let mut model = self.model()?;
        let entry = model.by_id(session).ok_or(SessionError::Unknown(session))?;
        if entry.session.close_depth != Some(CloseDepth::Purge) {
            return Ok(());
        }
        entry.checkpoint = None;
        entry.session.usage = Usage::default();
        entry.session.failing = None;
        let epoch = entry.session.epoch;
        let model = &mut *model;
        let epochs = &model.result_epochs;
        model
            .results
            .retain(|id, result| result.session != session || epochs[id] >= epoch);
        model
            .messages
            .retain(|_, entry| entry.message.session != session || entry.message.epoch >= epoch);
        Ok(())
    }

    async fn finish_close(
        &self,
        session: SessionId,
        _now: Timestamp,
    ) -> Result<Closed, SessionError> {
        let mut model = self.model()?;
        let left = model
            .messages
            .values()
            .any(|entry| entry.message.session == session)
            || model.results.values().any(|of| of.session == session);
        let pending = model.backlog(Some(session));
        let Some(entry) = model.by_id(session) else {
            return Ok(Closed {
                life: None,
                pending: 0,
            });
        };
        let depth = entry.session.close_depth.take();
        let reopen = std::mem::take(&mut entry.reopen);
        if depth.is_some() {
            entry.session.life = if reopen { Life::Open } else { Life::Ended };
        }
        let mut life = Some(entry.session.life);
        if depth == Some(CloseDepth::Purge) && !reopen && !left {
            model
                .sessions
                .retain(|_, entry| entry.session.id != session);
            life = None;
        }
        Ok(Closed { life, pending })
    }

    async fn session(&self, session: SessionId) -> Result<Option<Session>, StoreError> {
        Ok(self.model()?.session(session))
    }

    async fn sessions_by_id(&self, sessions: &[SessionId]) -> Result<Vec<Session>, StoreError> {
        let model = self.model()?;
        let found = sessions.iter().filter_map(|id| model.session(*id));
        Ok(found.collect())
    }

    async fn find_session(&self, agent: &str, key: &str) -> Result<Option<Session>, StoreError> {
        let mut model = self.model()?;
        let id = model.by_key(agent, key).map(|entry| entry.session.id);
        Ok(id.and_then(|id| model.session(id)))
    }

    async fn sessions(&self, filter: SessionFilter) -> Result<Vec<Session>, StoreError> {
        Ok(self.model()?.list_sessions(&filter))
    }

    async fn unfinished(&self) -> Result<Vec<Unfinished>, StoreError> {
        Ok(self.model()?.unfinished())
    }

    async fn due_at(&self, session: SessionId) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.model()?.due_at(session))
    }

    async fn checkpoint(&self, session: SessionId) -> Result<Option<String>, StoreError> {
        let mut model = self.model()?;
        Ok(model
            .by_id(session)
            .and_then(|entry| entry.checkpoint.clone()))
    }

    async fn message(&self, message: MessageId) -> Result<Option<Message>, StoreError> {
        let model = self.model()?;
        Ok(model
            .messages
            .get(&message)
            .map(|entry| entry.message.clone()))
    }

    async fn messages(&self, filter: MessageFilter) -> Result<Vec<Message>, StoreError> {
        Ok(self.model()?.list_messages(&filter))
    }

    async fn attempts(&self, message: MessageId) -> Result<Vec<Attempt>, StoreError> {
        let model = self.model()?;
        let entry = model.messages.get(&message);
        Ok(entry
            .map(|entry| entry.attempts.clone())
            .unwrap_or_default())
    }

    async fn results(&self, filter: ResultFilter) -> Result<Vec<StoredResult>, StoreError> {
        Ok(self.model()?.list_results(&filter))
    }

    async fn usage_of_day(&self, day: i64) -> Result<Usage, StoreError> {
        let usage = self.model()?.days.get(&day).copied();
        Ok(usage.unwrap_or_default())
    }

    async fn usage_days(&self, limit: u32) -> Result<Vec<DayUsage>, StoreError> {
        Ok(self.model()?.list_days(limit))
    }

    async fn stats(&self) -> Result<Stats, StoreError> {
        Ok(self.model()?.stats())
    }

    async fn info(&self) -> Result<StoreInfo, StoreError> {
        drop(self.model()?);
        Ok(StoreInfo {
            engine: "memory".to_owned(),
            ..StoreInfo::default()
        })
    }

    async fn verify(&self) -> Result<Verification, StoreError> {
        drop(self.model()?);
        Ok(Verification::default())
    }

    async fn close(&self) {
        self.model
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .closed = true;
    }
}
