//! Behaviour of `failing`: who sets it, and what clears it.

use super::bench::{AGENT, Bench, NOW, event};
use crate::error::SessionError;
use crate::ids::SessionId;
use crate::limits::REASON_KEPT_BYTES;
use crate::types::{CloseDepth, Effect, Enqueue, Session, SessionFilter};

async fn set(q: &Bench, session: SessionId, reason: Option<&str>) -> Session {
    let set = q.store.set_failing(session, reason, NOW).await;
    set.expect("the session is there")
}

async fn failing(q: &Bench, session: SessionId) -> Option<String> {
    q.session(session).await.failing
}

fn prompt() -> Effect {
    Effect::Prompt("go on".to_owned())
}

/// The answer is the session as it is stored, however it is read.
pub async fn failing_is_set_and_cleared(q: &Bench) {
    let opened = q.open("a").await;
    assert_eq!(opened.failing, None);
    for reason in [Some("no python3"), Some("no python4"), None, None] {
        let wanted = Session {
            failing: reason.map(str::to_owned),
            ..opened.clone()
        };
        assert_eq!(set(q, opened.id, reason).await, wanted);
        assert_eq!(q.session(opened.id).await, wanted);
        let found = q.store.find_session(AGENT, "a").await;
        assert_eq!(found.expect("it is looked for"), Some(wanted.clone()));
        let listed = q.store.sessions(SessionFilter::default()).await;
        assert_eq!(listed.expect("they are listed"), [wanted]);
    }
}

/// The user is there and wants an answer: it is tried again.
pub async fn prompt_clears_failing(q: &Bench) {
    let session = q.open("a").await.id;
    set(q, session, Some("broken")).await;
    q.put_effect("a", prompt()).await;
    assert_eq!(failing(q, session).await, None);
}

/// Sessions start by themselves, work goes on, and nothing of that mends a program.
pub async fn nothing_but_a_prompt_clears_failing(q: &Bench) {
    let session = q.put(event("a")).await.session;
    set(q, session, Some("broken")).await;
    q.work(session).await;
    q.put_effect("a", Effect::Start).await;
    q.open("a").await;
    q.close(session).await;
    q.put_effect("a", Effect::Start).await;
    assert_eq!(failing(q, session).await.as_deref(), Some("broken"));
}

/// It was accepted before the session began to fail.
pub async fn duplicate_prompt_leaves_failing(q: &Bench) {
    let first = Enqueue {
        effect: prompt(),
        ..event("a")
    };
    let session = q.put(first.clone()).await.session;
    set(q, session, Some("broken")).await;
    assert!(q.put(first).await.duplicate);
    assert_eq!(failing(q, session).await.as_deref(), Some("broken"));
}

/// Another session's prompt is not for this one.
pub async fn prompt_of_another_session_leaves_failing(q: &Bench) {
    let session = q.open("a").await.id;
    set(q, session, Some("broken")).await;
    q.put_effect("b", prompt()).await;
    assert_eq!(failing(q, session).await.as_deref(), Some("broken"));
}

/// Its work is not forgotten: start-up has to know of it.
pub async fn failing_session_is_unfinished(q: &Bench) {
    let session = q.put(event("a")).await.session;
    set(q, session, Some("broken")).await;
    let unfinished = q.store.unfinished().await.expect("they are listed");
    assert_eq!(
        unfinished.iter().map(|u| u.session).collect::<Vec<_>>(),
        [session]
    );
}

/// The session begins anew, even if its row stays.
pub async fn purge_clears_failing(q: &Bench) {
    let session = q.put(event("a")).await.session;
    set(q, session, Some("broken")).await;
    q.mark(session, CloseDepth::Purge).await;
    q.put(event("a")).await;
    assert_eq!(failing(q, session).await.as_deref(), Some("broken"));
    q.purge(session).await;
    q.finish_close(session).await;
    assert_eq!(failing(q, session).await, None);
}

/// Cut where a character ends.
pub async fn failing_is_limited(q: &Bench) {
    let session = q.open("a").await.id;
    let reason = "é".repeat(REASON_KEPT_BYTES);
    let kept = "é".repeat(REASON_KEPT_BYTES / 2);
    assert_eq!(set(q, session, Some(&reason)).await.failing, Some(kept));
}

/// A session has to be there, and a reason has to say something.
pub async fn failing_is_checked(q: &Bench) {
    let session = q.open("a").await.id;
    let nobody = SessionId(uuid::Uuid::nil());
    let refused = q.store.set_failing(nobody, Some("broken"), NOW).await;
    assert!(matches!(refused, Err(SessionError::Unknown(id)) if id == nobody));
    let refused = q.store.set_failing(session, Some(""), NOW).await;
    assert!(matches!(
        refused,
        Err(SessionError::InvalidField {
            field: "failing",
            ..
        })
    ));
    assert_eq!(failing(q, session).await, None);
}
