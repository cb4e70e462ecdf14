//! Behaviour of enqueue: identity, places, limits and effects on the session's row.

use futures::future::join_all;

use super::LIMITS;
use super::bench::{AGENT, Bench, NOW, event, repeated};
use crate::error::EnqueueError;
use crate::ids::{Seq, SessionId, Timestamp};
use crate::limits::{NAME_MAX_BYTES, PATH_MAX_BYTES, PROMPT_KEPT_BYTES};
use crate::types::{Dedup, Effect, Enqueue, Receipt, SessionRef};

/// The same event id answers the first receipt.
pub async fn one_firing_is_stored_once(q: &Bench) {
    let first = q.put(event("a")).await;
    assert!(!first.duplicate && first.session_created);
    let firing = event("a");
    let stored = q.put(firing.clone()).await;
    assert!(!stored.session_created, "its session was there");
    let again = q.put(firing).await;
    assert_eq!(
        again,
        Receipt {
            duplicate: true,
            ..stored
        }
    );
    assert_eq!(q.messages().await.len(), 2);
    let stats = q.store.stats().await.expect("stats are read");
    assert_eq!((stats.accepted, stats.duplicates), (2, 1));
}

/// A repeated prompt counts once and does not reopen what has ended since.
pub async fn duplicate_applies_no_effect(q: &Bench) {
    let prompt = Enqueue {
        effect: Effect::Prompt("hello".to_owned()),
        ..event("a")
    };
    let session = q.put(prompt.clone()).await.session;
    let until = Timestamp(9_000);
    q.put_effect("a", Effect::End { drain_until: until }).await;
    assert!(q.put(prompt).await.duplicate);
    let session = q.session(session).await;
    assert_eq!(
        (session.prompt_number, session.drain_until),
        (1, Some(until))
    );
}

/// An event id is one over the whole queue, and a repeat makes no session.
pub async fn duplicate_is_found_in_any_session(q: &Bench) {
    let firing = event("a");
    let first = q.put(firing.clone()).await;
    let elsewhere = Enqueue {
        session: event("b").session,
        ..firing
    };
    let again = q.put(elsewhere).await;
    assert_eq!(
        (again.message, again.session, again.duplicate),
        (first.message, first.session, true)
    );
    let other = q
        .store
        .find_session(AGENT, "b")
        .await
        .expect("the session is looked for");
    assert_eq!(other, None);
}

/// Only a key creates a session.
pub async fn unknown_session_id_is_refused(q: &Bench) {
    let nobody = SessionId::mint();
    let refused = q.store.enqueue(by_id(nobody), NOW).await;
    assert!(matches!(refused, Err(EnqueueError::UnknownSession(id)) if id == nobody));
    let known = q.open("a").await.id;
    assert_eq!(q.put(by_id(known)).await.session, known);
}

fn by_id(id: SessionId) -> Enqueue {
    Enqueue {
        session: SessionRef::Id(id),
        ..event("a")
    }
}

/// Any event makes its session, with times of its own.
pub async fn session_is_created_from_its_key(q: &Bench) {
    let late = Enqueue {
        accepted_at: Timestamp(5),
        ..event("a")
    };
    let receipt = q.put(late).await;
    let session = q.session(receipt.session).await;
    assert_eq!((session.agent.as_str(), session.key.as_str()), (AGENT, "a"));
    assert_eq!((session.created_at, session.active_at), (NOW, NOW));
    assert_eq!(session.pending, 1);
    let message = q.message(receipt.message).await;
    assert_eq!(
        message.accepted_at,
        Timestamp(5),
        "the time of the firing is kept"
    );
    let found = q
        .store
        .find_session(AGENT, "a")
        .await
        .expect("the session is looked for");
    assert_eq!(found, Some(session));
}

/// Places count from one in each session, whatever comes between.
pub async fn seq_has_no_gaps_within_a_session(q: &Bench) {
    let mut places = Vec::new();
    for key in ["a", "b", "a", "b", "a"] {
        let firing = event(key);
        places.push(q.put(firing.clone()).await.seq);
        q.put(firing).await;
    }
    assert_eq!(places, [1, 1, 2, 2, 3].map(Seq));
}

/// Without a window a key is one message for ever, done or not.
pub async fn dedup_key_without_window_holds_for_ever(q: &Bench) {
    let first = q.put(repeated("a", "k", None, 0)).await;
    q.work(first.session).await;
    let again = q.put(repeated("a", "k", None, i64::MAX / 2)).await;
    assert_eq!((again.message, again.duplicate), (first.message, true));
    assert!(!q.put(repeated("a", "other", None, 0)).await.duplicate);
}

/// The same key in another session is another event.
pub async fn dedup_key_is_of_one_session(q: &Bench) {
    q.put(repeated("a", "k", None, 0)).await;
    assert!(!q.put(repeated("b", "k", None, 0)).await.duplicate);
}

/// A window reaches to its last millisecond, back and forth, from the last event of the key.
pub async fn dedup_window_is_inclusive(q: &Bench) {
    q.put(repeated("a", "k", Some(2_000), 10_000)).await;
    assert!(
        q.put(repeated("a", "k", Some(2_000), 12_000))
            .await
            .duplicate
    );
    assert!(
        q.put(repeated("a", "k", Some(2_000), 8_000))
            .await
            .duplicate
    );
    assert!(
        !q.put(repeated("a", "k", Some(2_000), 12_001))
            .await
            .duplicate
    );
    assert!(
        q.put(repeated("a", "k", Some(2_000), 14_001))
            .await
            .duplicate
    );
}

/// Events sent together are deduplicated among themselves.
pub async fn dedup_holds_within_a_batch(q: &Bench) {
    let firing = event("a");
    let same_firing = join_all((0..3).map(|_| q.put(firing.clone()))).await;
    assert_eq!(
        same_firing
            .iter()
            .filter(|receipt| !receipt.duplicate)
            .count(),
        1
    );
    let same_key = join_all((0..3).map(|_| q.put(repeated("a", "k", None, 0)))).await;
    assert_eq!(
        same_key.iter().filter(|receipt| !receipt.duplicate).count(),
        1
    );
    assert_eq!(q.messages().await.len(), 2);
}

/// The limit itself is allowed, a byte more is not.
pub async fn payload_at_its_limit_is_taken(q: &Bench) {
    let limit = LIMITS.payload_max_bytes;
    let sized = |bytes: usize| Enqueue {
        payload: "x".repeat(bytes),
        ..event("a")
    };
    q.put(sized(limit)).await;
    match q.store.enqueue(sized(limit + 1), NOW).await {
        Err(EnqueueError::PayloadTooLarge {
            bytes,
            limit: named,
        }) => assert_eq!((bytes, named), (limit + 1, limit)),
        other => panic!("{other:?}"),
    }
}

/// Names have a length, and the error says which field it was.
pub async fn fields_that_are_empty_long_or_ambiguous_are_refused(q: &Bench) {
    let name = |extra: usize| "n".repeat(NAME_MAX_BYTES + extra);
    let path = |extra: usize| "p".repeat(PATH_MAX_BYTES + extra);
    let full = Enqueue {
        session: key(&name(0), &name(0)),
        kind: name(0),
        agent_id: Some(name(0)),
        dedup: Some(dedup(name(0))),
        cwd: Some(path(0)),
        project: Some(path(0)),
        ..event("a")
    };
    q.put(full.clone()).await;
    type Spoil = fn(&mut Enqueue, String);
    let names: [(&str, Spoil); 5] = [
        ("agent", |event, text| event.session = key(&text, "k")),
        ("key", |event, text| event.session = key("a", &text)),
        ("kind", |event, text| event.kind = text),
        ("agent_id", |event, text| event.agent_id = Some(text)),
        ("dedup_key", |event, text| event.dedup = Some(dedup(text))),
    ];
    let paths: [(&str, Spoil); 2] = [
        ("cwd", |event, text| event.cwd = Some(text)),
        ("project", |event, text| event.project = Some(text)),
    ];
    let payload: (&str, Spoil) = ("payload", |event, text| event.payload = text);
    let too_long = names.iter().map(|spoil| (spoil, name(1)));
    let too_long = too_long.chain(paths.iter().map(|spoil| (spoil, path(1))));
    let empty = names
        .iter()
        .chain([&payload])
        .map(|spoil| (spoil, String::new()));
    let colon = names.iter().take(1).map(|spoil| (spoil, "a:b".to_owned()));
    for ((wanted, spoil), text) in too_long.chain(empty).chain(colon) {
        let mut event = event("a");
        spoil(&mut event, text);
        match q.store.enqueue(event, NOW).await {
            Err(EnqueueError::InvalidField { field, .. }) => assert_eq!(field, *wanted),
            other => panic!("{wanted}: {other:?}"),
        }
    }
    assert_eq!(q.messages().await.len(), 1);
}

fn key(agent: &str, key: &str) -> SessionRef {
    SessionRef::Key {
        agent: agent.to_owned(),
        key: key.to_owned(),
    }
}

fn dedup(key: String) -> Dedup {
    Dedup {
        key,
        window_ms: None,
    }
}

/// Pending and claimed messages count; done ones make room.
pub async fn session_depth_is_limited(q: &Bench) {
    let limit = LIMITS.session_depth_max;
    let session = q.fill("a", limit as usize).await[0].session;
    let claim = q.claim(session).await;
    match q.store.enqueue(event("a"), NOW).await {
        Err(EnqueueError::SessionFull {
            session: full,
            limit: named,
        }) => assert_eq!((full, named), (session, limit)),
        other => panic!("{other:?}"),
    }
    q.put(event("b")).await;
    q.confirm(&claim).await;
    assert_eq!(
        q.put(event("a")).await.seq,
        Seq(limit + 1),
        "a refused event takes no place"
    );
}

/// The limit of all sessions together; a refused event makes no session.
pub async fn queue_depth_is_limited(q: &Bench) {
    let session = q.fill("a", 4).await[0].session;
    q.fill("b", 2).await;
    let refused = q.store.enqueue(event("c"), NOW).await;
    assert!(matches!(refused, Err(EnqueueError::QueueFull { limit }) if limit == LIMITS.depth_max));
    let other = q
        .store
        .find_session(AGENT, "c")
        .await
        .expect("the session is looked for");
    assert_eq!(other, None);
    q.work(session).await;
    q.put(event("c")).await;
}

/// A retry of what is stored is no new load.
pub async fn duplicate_is_answered_when_full(q: &Bench) {
    let firing = event("a");
    q.put(firing.clone()).await;
    q.fill("a", 3).await;
    q.fill("b", 2).await;
    assert!(q.put(firing).await.duplicate);
}

/// The session keeps the beginning of the last prompt, whole characters only.
pub async fn prompt_is_counted_and_cut(q: &Bench) {
    let session = q
        .put_effect("a", Effect::Prompt("first".to_owned()))
        .await
        .session;
    let long = format!("{}é", "x".repeat(PROMPT_KEPT_BYTES - 1));
    q.put_effect("a", Effect::Prompt(long)).await;
    q.put(event("a")).await;
    let session = q.session(session).await;
    assert_eq!(session.prompt_number, 2);
    assert_eq!(session.prompt, Some("x".repeat(PROMPT_KEPT_BYTES - 1)));
}

/// `None` keeps what is known.
pub async fn cwd_and_project_are_refreshed(q: &Bench) {
    let at = |cwd: Option<&str>, project: Option<&str>| Enqueue {
        cwd: cwd.map(str::to_owned),
        project: project.map(str::to_owned),
        ..event("a")
    };
    let session = q.put(at(Some("/a/x"), Some("/a"))).await.session;
    q.put(at(Some("/a/y"), None)).await;
    q.put(at(None, None)).await;
    let session = q.session(session).await;
    assert_eq!(
        (session.cwd.as_deref(), session.project.as_deref()),
        (Some("/a/y"), Some("/a"))
    );
}
