//! The seam between the queue's meaning and its engine.
//!
//! A [`Store`] is told the time and the owner: it keeps no clock and does not know which instance
//! it serves. Every engine passes the same suite, `conformance`.

use async_trait::async_trait;

use crate::error::{EnqueueError, MessageError, SessionError, SettleError, StoreError};
use crate::ids::{Generation, MessageId, SessionId, Timestamp};
use crate::types::{
    Attempt, CancelledBacklog, Claimed, CloseDepth, Closed, Confirm, DayUsage, Enqueue, Marked,
    Message, MessageFilter, OpenSession, PurgedDead, Receipt, Redriven, Release, Released, Rescued,
    ResultFilter, Retained, Retention, Session, SessionFilter, Shrunk, Stats, StoreInfo,
    StoredResult, Unfinished, Usage, Verification,
};

/// A durable queue: what a method has answered is on disk, or for reads, was.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Begins a new generation and returns it; `instance` is kept for the doctor.
    async fn begin_generation(
        &self,
        instance: &str,
        now: Timestamp,
    ) -> Result<Generation, StoreError>;

    /// Stores an event as a pending message, or answers the receipt of the one stored before.
    async fn enqueue(&self, event: Enqueue, now: Timestamp) -> Result<Receipt, EnqueueError>;

    /// Takes the head of a session into work and counts its attempt.
    async fn claim(
        &self,
        session: SessionId,
        owner: Generation,
        now: Timestamp,
    ) -> Result<Claimed, StoreError>;

    /// Ends a claim: results, checkpoint, usage (the session's and the day's, that of `now`) and the
    /// message's `done` in one transaction.
    async fn confirm(&self, confirm: Confirm, now: Timestamp) -> Result<(), SettleError>;

    /// Returns a claim without results.
    async fn release(&self, release: Release, now: Timestamp) -> Result<Released, SettleError>;

    /// Gives back whatever a session holds in claim, after its generator was aborted. Returns how
    /// many claims that were.
    async fn release_session(
        &self,
        session: SessionId,
        reason: &str,
        now: Timestamp,
    ) -> Result<u64, StoreError>;

    /// Returns the claims of all generations before `owner`.
    async fn rescue(&self, owner: Generation, now: Timestamp) -> Result<Rescued, StoreError>;

    /// Takes a pending or claimed message out for good. A claim on it is lost.
    async fn cancel(&self, message: MessageId, now: Timestamp) -> Result<Message, MessageError>;

    /// Takes all pending and claimed messages of a session out for good; nothing for a session that
    /// does not exist.
    async fn cancel_session(
        &self,
        session: SessionId,
        now: Timestamp,
    ) -> Result<CancelledBacklog, StoreError>;

    /// Makes a dead message pending again, with fresh attempts.
    async fn redrive(&self, message: MessageId, now: Timestamp) -> Result<Redriven, MessageError>;

    /// Redrives every dead message, of one session or of all, as far as the limits allow.
    async fn redrive_all(
        &self,
        session: Option<SessionId>,
        now: Timestamp,
    ) -> Result<Vec<Redriven>, StoreError>;

    /// Deletes a dead message with its payload and its history. What came of it before stays.
    async fn purge_message(&self, message: MessageId) -> Result<(), MessageError>;

    /// Deletes the first dead messages, of one session or of all: one small batch, to be repeated
    /// while there are more.
    async fn purge_dead(&self, session: Option<SessionId>) -> Result<PurgedDead, StoreError>;

    /// Deletes the oldest finished messages that are over the policy: one small batch, to be
    /// repeated while there is more. Their payloads and histories go with them, and so does what is
    /// known of their event ids and dedup keys; their results stay.
    async fn retain(&self, policy: Retention, now: Timestamp) -> Result<Retained, StoreError>;

    /// Gives a small piece of what deletions have left unused in the file back to the file system,
    /// to be repeated while there is more; some is kept for what comes next.
    async fn shrink(&self) -> Result<Shrunk, StoreError>;

    /// Folds the engine's log into its file and cuts it off. Answers false, at once, when somebody
    /// is reading: then it is as before.
    async fn fold_log(&self) -> Result<bool, StoreError>;

    /// Gets or creates a session; an ended one is open again, a drain is called off.
    async fn open_session(
        &self,
        open: OpenSession,
        now: Timestamp,
    ) -> Result<Session, SessionError>;

    /// Merges names into a session's metadata; `null` removes one.
    async fn patch_metadata(
        &self,
        session: SessionId,
        patch: serde_json::Map<String, serde_json::Value>,
        now: Timestamp,
    ) -> Result<Session, SessionError>;

    /// Sets why no generator is started for a session any more, or clears it with `None`. The reason
    /// is cut to 2 KiB and must not be empty. An accepted prompt clears it too, as does a purge; a
    /// start does not.
    async fn set_failing(
        &self,
        session: SessionId,
        reason: Option<&str>,
        now: Timestamp,
    ) -> Result<Session, SessionError>;

    /// Asks for a drain: the session is to close once its backlog is worked, at `until` at the
    /// latest.
    async fn begin_drain(
        &self,
        session: SessionId,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<(), SessionError>;

    /// Marks a session as closing and begins its next epoch, unless it is marked already: then
    /// the deeper depth counts. A mark that becomes one of a purge forgets the prompt, unless the
    /// session is to be reopened: then the prompt may be one that came since. With `only_if_draining`
    /// nothing happens when the drain was called off.
    async fn mark_closing(
        &self,
        session: SessionId,
        depth: CloseDepth,
        only_if_draining: bool,
        now: Timestamp,
    ) -> Result<Marked, SessionError>;

    /// Deletes messages and results of all epochs before the present one, and forgets checkpoint,
    /// usage and why it was failing; what was spent on a day stays. Idempotent; only for a session
    /// that is closing with depth purge.
    async fn purge_rows(&self, session: SessionId, now: Timestamp) -> Result<(), SessionError>;

    /// Clears the closing mark: the session is ended, open again if a start or a prompt came
    /// meanwhile, or gone if it was purged and nothing came. Idempotent: without a mark it answers
    /// what there is.
    async fn finish_close(
        &self,
        session: SessionId,
        now: Timestamp,
    ) -> Result<Closed, SessionError>;

    /// One session.
    async fn session(&self, session: SessionId) -> Result<Option<Session>, StoreError>;

    /// The sessions of these ids, however many, in their order; one that does not exist is left out.
    async fn sessions_by_id(&self, sessions: &[SessionId]) -> Result<Vec<Session>, StoreError>;

    /// The session of an agent's key.
    async fn find_session(&self, agent: &str, key: &str) -> Result<Option<Session>, StoreError>;

    /// Sessions, newest activity first.
    async fn sessions(&self, filter: SessionFilter) -> Result<Vec<Session>, StoreError>;

    /// Sessions with work, a drain or a close to finish; the one waiting longest first.
    async fn unfinished(&self) -> Result<Vec<Unfinished>, StoreError>;

    /// When the head of a session is due; `None` when nothing is pending, or the head is in work:
    /// whoever holds it looks again when it settles.
    async fn due_at(&self, session: SessionId) -> Result<Option<Timestamp>, StoreError>;

    /// The generator's state after the last confirmed message, JSON text.
    async fn checkpoint(&self, session: SessionId) -> Result<Option<String>, StoreError>;

    /// One message.
    async fn message(&self, message: MessageId) -> Result<Option<Message>, StoreError>;

    /// Messages, by id.
    async fn messages(&self, filter: MessageFilter) -> Result<Vec<Message>, StoreError>;

    /// How the claims of a message ended that were not confirmed, and its redrives: the newest 32,
    /// oldest first. Nothing for a message that does not exist.
    async fn attempts(&self, message: MessageId) -> Result<Vec<Attempt>, StoreError>;

    /// Results, by id.
    async fn results(&self, filter: ResultFilter) -> Result<Vec<StoredResult>, StoreError>;

    /// What was spent on a day, given as [`Timestamp::day`]: nothing, unless something was.
    async fn usage_of_day(&self, day: i64) -> Result<Usage, StoreError>;

    /// The days on which something was spent, newest first; at most `limit`, where 0 means the
    /// default of 100, and 1,000 is the most.
    async fn usage_days(&self, limit: u32) -> Result<Vec<DayUsage>, StoreError>;

    /// The counters.
    async fn stats(&self) -> Result<Stats, StoreError>;

    /// Where and how the data is kept.
    async fn info(&self) -> Result<StoreInfo, StoreError>;

    /// The engine's integrity check and a recount of every counter. Slow. What breaks the rules of a
    /// table (its CHECKs) is found only in a store that is open for writing, though nothing is
    /// written: [`Verification::checks_rows`] says whether it was looked for.
    async fn verify(&self) -> Result<Verification, StoreError>;

    /// Finishes what is under way and closes the store. Idempotent; later calls answer
    /// [`StoreError::Closed`].
    async fn close(&self);
}
