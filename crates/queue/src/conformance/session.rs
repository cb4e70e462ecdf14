//! Behaviour of sessions: open, metadata, drain, what start-up finds.

use serde_json::json;

use super::bench::{AGENT, Bench, NOW, UNTIL, event};
use crate::error::{EnqueueError, SessionError, StoreError};
use crate::ids::{Epoch, Generation, SessionId};
use crate::limits::METADATA_MAX_BYTES;
use crate::types::{CloseDepth, Effect, Life, OpenSession, Unfinished};

/// Each start of the worker has its own number.
pub async fn generations_rise(q: &Bench) {
    assert_eq!(q.owner, Generation(1));
    assert_eq!(q.next_generation().await, Generation(2));
}

/// The same key is the same session; names are checked.
pub async fn open_gets_or_creates(q: &Bench) {
    let opened = q.open("a").await;
    assert_eq!(
        (opened.life, opened.pending, opened.epoch),
        (Life::Open, 0, Epoch(0))
    );
    assert_eq!(q.open("a").await, opened);
    assert_ne!(q.open("b").await.id, opened.id);
    assert_eq!(q.put(event("a")).await.session, opened.id);
    let nameless = OpenSession {
        agent: AGENT.to_owned(),
        key: String::new(),
        cwd: None,
        project: None,
        metadata: serde_json::Map::new(),
    };
    let refused = q.store.open_session(nameless.clone(), NOW).await;
    assert!(matches!(
        refused,
        Err(SessionError::InvalidField { field: "key", .. })
    ));
    let ambiguous = OpenSession {
        agent: "a:b".to_owned(),
        key: "c".to_owned(),
        ..nameless.clone()
    };
    let refused = q.store.open_session(ambiguous, NOW).await;
    assert!(matches!(
        refused,
        Err(SessionError::InvalidField { field: "agent", .. })
    ));
    let named = OpenSession {
        key: "b:c".to_owned(),
        ..nameless.clone()
    };
    let opened = q.store.open_session(named, NOW).await;
    assert_eq!(opened.expect("the session opens").key, "b:c");
    let placed = OpenSession {
        key: "a".to_owned(),
        cwd: Some("/p/x".to_owned()),
        project: Some("/p".to_owned()),
        ..nameless
    };
    let placed = q
        .store
        .open_session(placed, NOW)
        .await
        .expect("the session opens");
    assert_eq!(
        (placed.cwd.as_deref(), placed.project.as_deref()),
        (Some("/p/x"), Some("/p"))
    );
}

/// Somebody wants it again.
pub async fn open_calls_off_a_drain(q: &Bench) {
    let session = q.open("a").await.id;
    q.store
        .begin_drain(session, UNTIL, NOW)
        .await
        .expect("the drain begins");
    assert_eq!(q.session(session).await.drain_until, Some(UNTIL));
    assert_eq!(q.open("a").await.drain_until, None);
    q.close(session).await;
    assert_eq!(q.open("a").await.life, Life::Open);
}

fn names(value: serde_json::Value) -> serde_json::Map<String, serde_json::Value> {
    value.as_object().cloned().unwrap_or_default()
}

/// By names, at the top level; `null` removes.
pub async fn metadata_is_merged(q: &Bench) {
    let open = OpenSession {
        agent: AGENT.to_owned(),
        key: "a".to_owned(),
        cwd: None,
        project: None,
        metadata: names(json!({"a": 1, "b": {"x": 1}, "gone": null})),
    };
    let session = q
        .store
        .open_session(open, NOW)
        .await
        .expect("the session opens");
    assert_eq!(session.metadata, names(json!({"a": 1, "b": {"x": 1}})));
    let patch = names(json!({"a": null, "b": {"y": 2}, "c": "é"}));
    let patched = q.store.patch_metadata(session.id, patch, NOW).await;
    let patched = patched.expect("the metadata is merged");
    assert_eq!(patched.metadata, names(json!({"b": {"y": 2}, "c": "é"})));
    assert_eq!(q.session(session.id).await, patched);
}

/// The limit is that of the whole, as JSON text; what is over it changes nothing.
pub async fn metadata_is_limited(q: &Bench) {
    let session = q.open("a").await.id;
    let sized = |bytes: usize| names(json!({"n": "x".repeat(bytes - r#"{"n":""}"#.len())}));
    let patch = |bytes| q.store.patch_metadata(session, sized(bytes), NOW);
    patch(METADATA_MAX_BYTES)
        .await
        .expect("the limit is allowed");
    let refused = patch(METADATA_MAX_BYTES + 1).await;
    assert!(matches!(
        refused,
        Err(SessionError::InvalidField {
            field: "metadata",
            ..
        })
    ));
    assert_eq!(q.session(session).await.metadata, sized(METADATA_MAX_BYTES));
}

/// The agent has gone; the session closes later, by a mark.
pub async fn end_drains_an_open_session(q: &Bench) {
    let session = q.end("a").await;
    let session = q.session(session).await;
    assert_eq!(
        (session.life, session.drain_until),
        (Life::Open, Some(UNTIL))
    );
}

/// It has come back.
pub async fn start_and_prompt_call_off_a_drain(q: &Bench) {
    for effect in [Effect::Start, Effect::Prompt("hi".to_owned())] {
        let session = q.end("a").await;
        q.put_effect("a", effect).await;
        assert_eq!(q.session(session).await.drain_until, None);
    }
    let session = q.end("b").await;
    q.put(event("b")).await;
    assert_eq!(
        q.session(session).await.drain_until,
        Some(UNTIL),
        "any other event does not"
    );
}

/// It is worked, and that is all.
pub async fn late_end_of_an_ended_session_is_nothing(q: &Bench) {
    let session = q.open("a").await.id;
    q.close(session).await;
    q.end("a").await;
    let session = q.session(session).await;
    assert_eq!((session.life, session.drain_until), (Life::Ended, None));
}

/// Each operation says so, and so does an event by id.
pub async fn unknown_sessions_are_refused(q: &Bench) {
    let nobody = SessionId::mint();
    let errors = [
        q.store.begin_drain(nobody, UNTIL, NOW).await.err(),
        q.store
            .mark_closing(nobody, CloseDepth::Close, false, NOW)
            .await
            .err(),
        q.store.purge_rows(nobody, NOW).await.err(),
        q.store
            .patch_metadata(nobody, serde_json::Map::new(), NOW)
            .await
            .err(),
    ];
    for error in errors {
        assert!(
            matches!(error, Some(SessionError::Unknown(id)) if id == nobody),
            "{error:?}"
        );
    }
    assert_eq!(
        q.store
            .session(nobody)
            .await
            .expect("the session is looked for"),
        None
    );
}

/// What start-up has to look after, and nothing else.
pub async fn unfinished_lists_work_drains_and_closes(q: &Bench) {
    q.open("idle").await;
    let working = q.put(event("working")).await.session;
    let draining = q.open("draining").await.id;
    q.store
        .begin_drain(draining, UNTIL, NOW)
        .await
        .expect("the drain begins");
    let closing = q.open("closing").await.id;
    q.mark(closing, CloseDepth::Purge).await;
    let busy = q.put(event("busy")).await.session;
    q.claim(busy).await;
    let idle = Unfinished {
        session: working,
        closing: None,
        drain_until: None,
        due_at: None,
    };
    let wanted = [
        Unfinished {
            due_at: Some(NOW),
            ..idle
        },
        Unfinished {
            session: draining,
            drain_until: Some(UNTIL),
            ..idle
        },
        Unfinished {
            session: closing,
            closing: Some(CloseDepth::Purge),
            ..idle
        },
        Unfinished {
            session: busy,
            ..idle
        },
    ];
    let unfinished = q
        .store
        .unfinished()
        .await
        .expect("the unfinished are listed");
    assert_eq!(unfinished, wanted);
}

/// Reads and writes alike; closing twice is closing once.
pub async fn closed_store_answers_closed(q: &Bench) {
    q.put(event("a")).await;
    q.store.close().await;
    q.store.close().await;
    let refused = q.store.enqueue(event("a"), NOW).await;
    assert!(matches!(
        refused,
        Err(EnqueueError::Store(StoreError::Closed))
    ));
    assert!(matches!(q.store.stats().await, Err(StoreError::Closed)));
    assert!(matches!(q.store.verify().await, Err(StoreError::Closed)));
}
