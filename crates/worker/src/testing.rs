//! A store in memory with results in it, for this crate's unit tests.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use sessiond_queue::MemoryStore;
use sessiond_queue::ids::{EventId, Generation, ResultId, SessionId, Timestamp};
use sessiond_queue::limits::Limits;
use sessiond_queue::store::Store;
use sessiond_queue::types::{
    Claimed, Confirm, Effect, Enqueue, NewResult, OpenSession, ResultFilter, SessionRef, Usage,
};

/// Results that went the whole way through the queue; each is confirmed a second after the last.
pub(crate) struct Recorded {
    pub(crate) store: Arc<dyn Store>,
    now: AtomicI64,
}

impl Default for Recorded {
    fn default() -> Self {
        Self {
            store: Arc::new(MemoryStore::new(Limits::default())),
            now: AtomicI64::new(1_795_245_600_000),
        }
    }
}

impl Recorded {
    /// On a store of the caller's.
    pub(crate) fn on(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            ..Self::default()
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp(self.now.fetch_add(1_000, Ordering::Relaxed))
    }

    /// A session of Claude Code in a project.
    pub(crate) async fn session(&self, key: &str, project: &str) -> SessionId {
        let open = OpenSession {
            agent: "claude-code".to_owned(),
            key: key.to_owned(),
            cwd: Some(project.to_owned()),
            project: Some(project.to_owned()),
            metadata: serde_json::Map::new(),
        };
        let opened = self.store.open_session(open, self.now()).await;
        opened.expect("open a session").id
    }

    /// One result of a session.
    pub(crate) async fn result(
        &self,
        session: SessionId,
        kind: &str,
        title: &str,
        body: &str,
        tags: &[&str],
    ) -> ResultId {
        let result = NewResult {
            kind: kind.to_owned(),
            title: title.to_owned(),
            body: body.to_owned(),
            files: Vec::new(),
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        };
        self.results(session, vec![result]).await
    }

    /// The results of one message of a session; answers the last one's id.
    pub(crate) async fn results(&self, session: SessionId, results: Vec<NewResult>) -> ResultId {
        let accepted_at = self.now();
        let event = Enqueue {
            event_id: EventId::mint(),
            session: SessionRef::Id(session),
            kind: "Stop".to_owned(),
            agent_id: None,
            payload: "{}".to_owned(),
            dedup: None,
            effect: Effect::None,
            cwd: None,
            project: None,
            accepted_at,
        };
        self.store
            .enqueue(event, accepted_at)
            .await
            .expect("enqueue");
        let claimed = self.store.claim(session, Generation(1), accepted_at).await;
        let Claimed::Message(claim) = claimed.expect("claim") else {
            panic!("the message just stored is not at the head");
        };
        let confirm = Confirm {
            message: claim.message.id,
            fence: claim.fence,
            results,
            checkpoint: None,
            usage: Usage::default(),
        };
        self.store
            .confirm(confirm, accepted_at)
            .await
            .expect("confirm");
        let newest = self
            .store
            .results(ResultFilter {
                newest_first: true,
                limit: 1,
                ..ResultFilter::default()
            })
            .await;
        newest.expect("results").first().expect("one").id
    }

    /// Deletes a session as a purge does.
    pub(crate) async fn purge(&self, session: SessionId) {
        use sessiond_queue::types::CloseDepth::Purge;
        let (store, now) = (&self.store, self.now());
        store
            .mark_closing(session, Purge, false, now)
            .await
            .expect("mark");
        store.purge_rows(session, now).await.expect("purge");
        store.finish_close(session, now).await.expect("finish");
    }
}
