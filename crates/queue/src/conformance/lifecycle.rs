//! Behaviour of sessions: open, drain, close, reopen and purge.

use serde_json::json;

use super::bench::{AGENT, Bench, NOW, confirm_of, event};
use crate::error::{EnqueueError, SessionError, StoreError};
use crate::ids::{Epoch, Generation, ResultId, Seq, SessionId, Timestamp};
use crate::limits::METADATA_MAX_BYTES;
use crate::types::{
    CloseDepth, Closed, Confirm, Effect, Life, Marked, OpenSession, ResultFilter, Session,
    Unfinished, Usage,
};

const UNTIL: Timestamp = Timestamp(60_000);

async fn end(q: &Bench, key: &str) -> SessionId {
    let effect = Effect::End { drain_until: UNTIL };
    q.put_effect(key, effect).await.session
}

async fn mark(q: &Bench, session: SessionId, depth: CloseDepth) -> Marked {
    let marked = q.store.mark_closing(session, depth, false, NOW).await;
    marked.expect("the session is marked")
}

async fn finish(q: &Bench, session: SessionId) -> Closed {
    q.store
        .finish_close(session, NOW)
        .await
        .expect("the close is finished")
}

async fn close(q: &Bench, session: SessionId) -> Closed {
    mark(q, session, CloseDepth::Close).await;
    finish(q, session).await
}

async fn purge(q: &Bench, session: SessionId) {
    q.store
        .purge_rows(session, NOW)
        .await
        .expect("the rows are purged");
}

async fn life(q: &Bench, session: SessionId) -> Life {
    q.session(session).await.life
}

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
    close(q, session).await;
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
    let session = end(q, "a").await;
    let session = q.session(session).await;
    assert_eq!(
        (session.life, session.drain_until),
        (Life::Open, Some(UNTIL))
    );
}

/// It has come back.
pub async fn start_and_prompt_call_off_a_drain(q: &Bench) {
    for effect in [Effect::Start, Effect::Prompt("hi".to_owned())] {
        let session = end(q, "a").await;
        q.put_effect("a", effect).await;
        assert_eq!(q.session(session).await.drain_until, None);
    }
    let session = end(q, "b").await;
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
    close(q, session).await;
    end(q, "a").await;
    let session = q.session(session).await;
    assert_eq!((session.life, session.drain_until), (Life::Ended, None));
}

/// The prompt won the race against the end of the drain.
pub async fn mark_after_a_drain_called_off_is_refused(q: &Bench) {
    let session = end(q, "a").await;
    q.put_effect("a", Effect::Start).await;
    let marked = q
        .store
        .mark_closing(session, CloseDepth::Close, true, NOW)
        .await;
    assert_eq!(
        marked.expect("the mark is answered"),
        Marked::DrainCalledOff
    );
    let session = q.session(session).await;
    assert_eq!((session.life, session.epoch), (Life::Open, Epoch(0)));
}

/// The drain is over, so the deadline is too.
pub async fn mark_after_a_drain_closes(q: &Bench) {
    let session = end(q, "a").await;
    let marked = q
        .store
        .mark_closing(session, CloseDepth::Close, true, NOW)
        .await;
    assert_eq!(
        marked.expect("the mark is answered"),
        Marked::Closing(CloseDepth::Close)
    );
    let session = q.session(session).await;
    assert_eq!((session.life, session.drain_until), (Life::Closing, None));
    assert_eq!(
        (session.close_depth, session.epoch),
        (Some(CloseDepth::Close), Epoch(1))
    );
}

/// One close, whoever joins it, however deep.
pub async fn second_mark_keeps_the_epoch_and_the_deeper_depth(q: &Bench) {
    let session = q.open("a").await.id;
    for (asked, wanted) in [
        (CloseDepth::Close, CloseDepth::Close),
        (CloseDepth::Purge, CloseDepth::Purge),
        (CloseDepth::Close, CloseDepth::Purge),
    ] {
        assert_eq!(mark(q, session, asked).await, Marked::Closing(wanted));
        assert_eq!(q.session(session).await.close_depth, Some(wanted));
        assert_eq!(q.session(session).await.epoch, Epoch(1));
    }
}

/// Closing is not losing.
pub async fn closed_session_keeps_its_backlog(q: &Bench) {
    let stored = q.fill("a", 2).await;
    let closed = close(q, stored[0].session).await;
    let wanted = Closed {
        life: Some(Life::Ended),
        pending: 2,
    };
    assert_eq!(closed, wanted);
    assert_eq!(q.session(stored[0].session).await.close_depth, None);
    assert_eq!(q.work(stored[0].session).await, stored[0].message);
    assert_eq!(life(q, stored[0].session).await, Life::Ended);
}

/// A hook that ran late.
pub async fn ended_session_works_a_late_event_and_stays_ended(q: &Bench) {
    let session = q.open("a").await.id;
    close(q, session).await;
    let late = q.put(event("a")).await;
    assert_eq!(q.work(session).await, late.message);
    assert_eq!(life(q, session).await, Life::Ended);
}

/// As does a prompt.
pub async fn start_reopens_an_ended_session(q: &Bench) {
    let session = q.open("a").await.id;
    for effect in [Effect::Start, Effect::Prompt("hi".to_owned())] {
        close(q, session).await;
        q.put_effect("a", effect).await;
        assert_eq!(life(q, session).await, Life::Open);
    }
}

/// The close is finished first; then the session is open at once.
pub async fn prompt_while_closing_reopens_at_the_finish(q: &Bench) {
    let session = q.open("a").await.id;
    mark(q, session, CloseDepth::Close).await;
    let prompt = q.put_effect("a", Effect::Prompt("hi".to_owned())).await;
    assert_eq!(life(q, session).await, Life::Closing);
    assert_eq!(q.message(prompt.message).await.epoch, Epoch(1));
    assert_eq!(finish(q, session).await.life, Some(Life::Open));
    close(q, session).await;
    assert_eq!(
        life(q, session).await,
        Life::Ended,
        "the wish to reopen is used up"
    );
}

/// It came and went while the close was on.
pub async fn end_after_a_start_while_closing_ends(q: &Bench) {
    let session = q.open("a").await.id;
    mark(q, session, CloseDepth::Close).await;
    q.put_effect("a", Effect::Start).await;
    end(q, "a").await;
    assert_eq!(finish(q, session).await.life, Some(Life::Ended));
}

/// Each close is an epoch of its own.
pub async fn ended_session_may_be_closed_again(q: &Bench) {
    let session = q.open("a").await.id;
    for _ in 0..2 {
        assert_eq!(close(q, session).await.life, Some(Life::Ended));
    }
    assert_eq!(q.session(session).await.epoch, Epoch(2));
}

/// A close that was finished is finished, even if the answer was lost.
pub async fn finish_without_a_mark_answers_the_life(q: &Bench) {
    let session = q.put(event("a")).await.session;
    let open = Closed {
        life: Some(Life::Open),
        pending: 1,
    };
    assert_eq!(finish(q, session).await, open);
    let gone = Closed {
        life: None,
        pending: 0,
    };
    assert_eq!(finish(q, SessionId::mint()).await, gone);
}

/// Rows of every kind.
pub async fn purged_session_is_gone(q: &Bench) {
    let stored = q.fill("a", 4).await;
    let session = stored[0].session;
    let other = q.put(event("b")).await.session;
    let claim = q.claim(session).await;
    let confirm = Confirm {
        checkpoint: Some("{}".to_owned()),
        ..confirm_of(&claim)
    };
    q.store
        .confirm(confirm, NOW)
        .await
        .expect("the claim is confirmed");
    q.poison(session).await;
    q.claim(session).await;
    mark(q, session, CloseDepth::Purge).await;
    purge(q, session).await;
    purge(q, session).await;
    assert_eq!(finish(q, session).await.life, None);
    assert_eq!(
        q.store
            .session(session)
            .await
            .expect("the session is looked for"),
        None
    );
    let left: Vec<_> = q
        .messages()
        .await
        .iter()
        .map(|message| message.session)
        .collect();
    assert_eq!(left, [other]);
    let results = q
        .store
        .results(ResultFilter::default())
        .await
        .expect("results are listed");
    assert_eq!(results, []);
    assert_eq!(
        q.store
            .checkpoint(session)
            .await
            .expect("the checkpoint is read"),
        None
    );
    q.work(other).await;
    let results = q
        .store
        .results(ResultFilter::default())
        .await
        .expect("results are listed");
    assert_eq!(results[0].id, ResultId(2), "no number is used twice");
}

/// Accepted is accepted.
pub async fn purge_keeps_events_accepted_while_closing(q: &Bench) {
    let session = q
        .put_effect("a", Effect::Prompt("old".to_owned()))
        .await
        .session;
    let claim = q.claim(session).await;
    let confirm = Confirm {
        checkpoint: Some("{}".to_owned()),
        usage: Usage {
            input_tokens: 1,
            ..Usage::default()
        },
        ..confirm_of(&claim)
    };
    q.store
        .confirm(confirm, NOW)
        .await
        .expect("the claim is confirmed");
    mark(q, session, CloseDepth::Close).await;
    let meanwhile = q.put(event("a")).await;
    mark(q, session, CloseDepth::Purge).await;
    purge(q, session).await;
    let closed = Closed {
        life: Some(Life::Ended),
        pending: 1,
    };
    assert_eq!(finish(q, session).await, closed);
    let Session {
        prompt,
        prompt_number,
        usage,
        ..
    } = q.session(session).await;
    assert_eq!((prompt, prompt_number, usage), (None, 0, Usage::default()));
    assert_eq!(
        q.store
            .checkpoint(session)
            .await
            .expect("the checkpoint is read"),
        None
    );
    assert_eq!(q.messages().await.len(), 1);
    assert_eq!(q.work(session).await, meanwhile.message);
}

/// A purge deletes nothing that was not asked to go.
pub async fn purge_is_only_for_a_purge_mark(q: &Bench) {
    let session = q.put(event("a")).await.session;
    purge(q, session).await;
    mark(q, session, CloseDepth::Close).await;
    purge(q, session).await;
    assert_eq!(finish(q, session).await.pending, 1);
}

/// A session of the same key is a new one, even if it was asked for while the old one went.
pub async fn purged_key_begins_anew(q: &Bench) {
    let first = q.put(event("a")).await.session;
    mark(q, first, CloseDepth::Purge).await;
    q.open("a").await;
    purge(q, first).await;
    assert_eq!(
        finish(q, first).await.life,
        Some(Life::Open),
        "an open came while it was closing"
    );
    mark(q, first, CloseDepth::Purge).await;
    purge(q, first).await;
    assert_eq!(finish(q, first).await.life, None);
    let again = q.put(event("a")).await;
    assert_ne!(again.session, first);
    assert_eq!(again.seq, Seq(1));
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
    mark(q, closing, CloseDepth::Purge).await;
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
