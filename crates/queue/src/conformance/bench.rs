//! A store on the bench: short ways to feed it and to look at it.

use std::any::Any;
use std::sync::Arc;

use crate::error::SettleError;
use crate::ids::{EventId, Generation, MessageId, SessionId, Timestamp};
use crate::store::Store;
use crate::types::{
    Claim, Claimed, CloseDepth, Closed, Confirm, Dedup, Depth, Effect, Enqueue, Life, Marked,
    Message, MessageFilter, NewResult, OpenSession, Receipt, Release, ReleaseWhy, Released,
    Session, SessionRef, State, Usage,
};

/// A store under test, empty.
pub struct Subject {
    /// The store.
    pub store: Arc<dyn Store>,
    /// What has to live as long, for example its directory.
    pub keep: Box<dyn Any + Send + Sync>,
}

/// A store with its first generation begun.
pub struct Bench {
    /// The store.
    pub store: Arc<dyn Store>,
    /// Its present generation.
    pub owner: Generation,
    _keep: Box<dyn Any + Send + Sync>,
}

/// The agent of all sessions on the bench.
pub(super) const AGENT: &str = "agent";

/// The time on the bench, unless a behaviour says otherwise.
pub(super) const NOW: Timestamp = Timestamp(1_000);

/// The deadline of drains on the bench.
pub(super) const UNTIL: Timestamp = Timestamp(60_000);

/// An event of a session, to be varied.
pub(super) fn event(key: &str) -> Enqueue {
    Enqueue {
        event_id: EventId::mint(),
        session: SessionRef::Key {
            agent: AGENT.to_owned(),
            key: key.to_owned(),
        },
        kind: "PostToolUse".to_owned(),
        agent_id: None,
        payload: "{}".to_owned(),
        dedup: None,
        effect: Effect::None,
        cwd: None,
        project: None,
        accepted_at: NOW,
    }
}

/// An event with a dedup key.
pub(super) fn repeated(
    key: &str,
    dedup: &str,
    window_ms: Option<i64>,
    accepted_at: i64,
) -> Enqueue {
    Enqueue {
        dedup: Some(Dedup {
            key: dedup.to_owned(),
            window_ms,
        }),
        accepted_at: Timestamp(accepted_at),
        ..event(key)
    }
}

/// A result of a kind.
pub(super) fn result(kind: &str) -> NewResult {
    NewResult {
        kind: kind.to_owned(),
        title: "title".to_owned(),
        body: "body".to_owned(),
        files: vec!["a.rs".to_owned()],
        tags: vec!["tag".to_owned()],
    }
}

/// A confirm of a claim with one observation.
pub(super) fn confirm_of(claim: &Claim) -> Confirm {
    Confirm {
        message: claim.message.id,
        fence: claim.fence,
        results: vec![result("observation")],
        checkpoint: None,
        usage: Usage::default(),
    }
}

impl Bench {
    /// Puts an empty store on the bench.
    pub async fn new(subject: Subject) -> Self {
        let owner = subject
            .store
            .begin_generation("1-1", NOW)
            .await
            .expect("a generation begins");
        Self {
            store: subject.store,
            owner,
            _keep: subject.keep,
        }
    }

    /// Compares the counters with a recount, by the store and through its listings.
    pub async fn finish(&self) {
        let Ok(found) = self.store.verify().await else {
            return; // The behaviour has closed it.
        };
        assert!(found.is_sound(), "{found:?}");
        let mut depth = Depth::default();
        for message in self.messages().await {
            *match message.state {
                State::Pending => &mut depth.pending,
                State::Claimed => &mut depth.claimed,
                State::Done => &mut depth.done,
                State::Dead => &mut depth.dead,
                State::Cancelled => &mut depth.cancelled,
            } += 1;
        }
        let stats = self.store.stats().await.expect("stats are read");
        assert_eq!(stats.depth, depth);
    }

    /// Stores an event.
    pub async fn put(&self, event: Enqueue) -> Receipt {
        self.store
            .enqueue(event, NOW)
            .await
            .expect("the event is stored")
    }

    /// Stores so many plain events of a session.
    pub async fn fill(&self, key: &str, events: usize) -> Vec<Receipt> {
        let mut receipts = Vec::new();
        for _ in 0..events {
            receipts.push(self.put(event(key)).await);
        }
        receipts
    }

    /// Stores an event with an effect.
    pub async fn put_effect(&self, key: &str, effect: Effect) -> Receipt {
        let event = Enqueue {
            effect,
            ..event(key)
        };
        self.put(event).await
    }

    /// What a claim finds.
    pub async fn try_claim(&self, session: SessionId) -> Claimed {
        self.claim_at(session, NOW).await
    }

    /// What a claim finds at a time.
    pub async fn claim_at(&self, session: SessionId, now: Timestamp) -> Claimed {
        self.store
            .claim(session, self.owner, now)
            .await
            .expect("the claim is answered")
    }

    /// Claims the head, which is there.
    pub async fn claim(&self, session: SessionId) -> Claim {
        match self.try_claim(session).await {
            Claimed::Message(claim) => *claim,
            other => panic!("session {session} has no head to claim: {other:?}"),
        }
    }

    /// Confirms a claim with one observation.
    pub async fn confirm(&self, claim: &Claim) {
        let confirmed = self.store.confirm(confirm_of(claim), NOW).await;
        confirmed.expect("the claim is confirmed");
    }

    /// Claims and confirms the head.
    pub async fn work(&self, session: SessionId) -> MessageId {
        let claim = self.claim(session).await;
        self.confirm(&claim).await;
        claim.message.id
    }

    /// Claims the head and declares it poison.
    pub async fn poison(&self, session: SessionId) -> MessageId {
        let claim = self.claim(session).await;
        let why = ReleaseWhy::Poison {
            reason: "bad".to_owned(),
        };
        let released = self
            .release(&claim, why)
            .await
            .expect("the claim is released");
        assert_eq!(released, Released::Dead);
        claim.message.id
    }

    /// Releases a claim.
    pub async fn release(&self, claim: &Claim, why: ReleaseWhy) -> Result<Released, SettleError> {
        let release = Release {
            message: claim.message.id,
            fence: claim.fence,
            why,
        };
        self.store.release(release, NOW).await
    }

    /// Opens a session without an event.
    pub async fn open(&self, key: &str) -> Session {
        let open = OpenSession {
            agent: AGENT.to_owned(),
            key: key.to_owned(),
            cwd: None,
            project: None,
            metadata: serde_json::Map::new(),
        };
        self.store
            .open_session(open, NOW)
            .await
            .expect("the session opens")
    }

    /// A session that is there.
    pub async fn session(&self, id: SessionId) -> Session {
        let session = self.store.session(id).await.expect("the session is read");
        session.expect("the session is there")
    }

    /// A message that is there.
    pub async fn message(&self, id: MessageId) -> Message {
        let message = self.store.message(id).await.expect("the message is read");
        message.expect("the message is there")
    }

    /// All messages.
    pub async fn messages(&self) -> Vec<Message> {
        let all = MessageFilter {
            limit: u32::MAX,
            ..MessageFilter::default()
        };
        self.store
            .messages(all)
            .await
            .expect("the messages are listed")
    }

    /// The next generation begins: all claims are those of a dead instance.
    pub async fn next_generation(&self) -> Generation {
        let begun = self.store.begin_generation("2-2", NOW).await;
        begun.expect("a generation begins")
    }

    /// Stores an event that ends the agent's side.
    pub async fn end(&self, key: &str) -> SessionId {
        let effect = Effect::End { drain_until: UNTIL };
        self.put_effect(key, effect).await.session
    }

    /// Marks a session as closing.
    pub async fn mark(&self, session: SessionId, depth: CloseDepth) -> Marked {
        let marked = self.store.mark_closing(session, depth, false, NOW).await;
        marked.expect("the session is marked")
    }

    /// Clears the mark.
    pub async fn finish_close(&self, session: SessionId) -> Closed {
        let closed = self.store.finish_close(session, NOW).await;
        closed.expect("the close is finished")
    }

    /// Closes a session from mark to finish.
    pub async fn close(&self, session: SessionId) -> Closed {
        self.mark(session, CloseDepth::Close).await;
        self.finish_close(session).await
    }

    /// Deletes what a purge deletes.
    pub async fn purge(&self, session: SessionId) {
        let purged = self.store.purge_rows(session, NOW).await;
        purged.expect("the rows are purged");
    }

    /// Where a session is in its life.
    pub async fn life(&self, session: SessionId) -> Life {
        self.session(session).await.life
    }
}
