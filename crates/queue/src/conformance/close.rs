//! Behaviour of close, reopen and purge.

use super::bench::{Bench, NOW, confirm_of, event};
use crate::ids::{Epoch, ResultId, Seq, SessionId};
use crate::types::{
    CloseDepth, Closed, Confirm, Effect, Life, Marked, ResultFilter, Session, Usage,
};

/// The prompt won the race against the end of the drain.
pub async fn mark_after_a_drain_called_off_is_refused(q: &Bench) {
    let session = q.end("a").await;
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
    let session = q.end("a").await;
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
        assert_eq!(q.mark(session, asked).await, Marked::Closing(wanted));
        assert_eq!(q.session(session).await.close_depth, Some(wanted));
        assert_eq!(q.session(session).await.epoch, Epoch(1));
    }
}

/// Closing is not losing.
pub async fn closed_session_keeps_its_backlog(q: &Bench) {
    let stored = q.fill("a", 2).await;
    let closed = q.close(stored[0].session).await;
    let wanted = Closed {
        life: Some(Life::Ended),
        pending: 2,
    };
    assert_eq!(closed, wanted);
    assert_eq!(q.session(stored[0].session).await.close_depth, None);
    assert_eq!(q.work(stored[0].session).await, stored[0].message);
    assert_eq!(q.life(stored[0].session).await, Life::Ended);
}

/// A hook that ran late.
pub async fn ended_session_works_a_late_event_and_stays_ended(q: &Bench) {
    let session = q.open("a").await.id;
    q.close(session).await;
    let late = q.put(event("a")).await;
    assert_eq!(q.work(session).await, late.message);
    assert_eq!(q.life(session).await, Life::Ended);
}

/// As does a prompt.
pub async fn start_reopens_an_ended_session(q: &Bench) {
    let session = q.open("a").await.id;
    for effect in [Effect::Start, Effect::Prompt("hi".to_owned())] {
        q.close(session).await;
        q.put_effect("a", effect).await;
        assert_eq!(q.life(session).await, Life::Open);
    }
}

/// The close is finished first; then the session is open at once.
pub async fn prompt_while_closing_reopens_at_the_finish(q: &Bench) {
    let session = q.open("a").await.id;
    q.mark(session, CloseDepth::Close).await;
    let prompt = q.put_effect("a", Effect::Prompt("hi".to_owned())).await;
    assert_eq!(q.life(session).await, Life::Closing);
    assert_eq!(q.message(prompt.message).await.epoch, Epoch(1));
    assert_eq!(q.finish_close(session).await.life, Some(Life::Open));
    q.close(session).await;
    assert_eq!(
        q.life(session).await,
        Life::Ended,
        "the wish to reopen is used up"
    );
}

/// It came and went while the close was on.
pub async fn end_after_a_start_while_closing_ends(q: &Bench) {
    let session = q.open("a").await.id;
    q.mark(session, CloseDepth::Close).await;
    q.put_effect("a", Effect::Start).await;
    q.end("a").await;
    assert_eq!(q.finish_close(session).await.life, Some(Life::Ended));
}

/// Each close is an epoch of its own.
pub async fn ended_session_may_be_closed_again(q: &Bench) {
    let session = q.open("a").await.id;
    for _ in 0..2 {
        assert_eq!(q.close(session).await.life, Some(Life::Ended));
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
    assert_eq!(q.finish_close(session).await, open);
    let gone = Closed {
        life: None,
        pending: 0,
    };
    assert_eq!(q.finish_close(SessionId::mint()).await, gone);
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
    q.mark(session, CloseDepth::Purge).await;
    q.purge(session).await;
    q.purge(session).await;
    assert_eq!(q.finish_close(session).await.life, None);
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
    q.mark(session, CloseDepth::Close).await;
    let meanwhile = q.put(event("a")).await;
    q.mark(session, CloseDepth::Purge).await;
    q.purge(session).await;
    let closed = Closed {
        life: Some(Life::Ended),
        pending: 1,
    };
    assert_eq!(q.finish_close(session).await, closed);
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

/// Neither the one that came after the mark of the purge, nor one before the mark became one.
pub async fn purge_keeps_the_prompt_that_came_while_closing(q: &Bench) {
    let prompt = |text: &str| Effect::Prompt(text.to_owned());
    let session = q.put_effect("a", prompt("old")).await.session;
    q.mark(session, CloseDepth::Purge).await;
    assert_eq!(q.session(session).await.prompt, None);
    q.put_effect("a", prompt("new")).await;
    q.mark(session, CloseDepth::Purge).await;
    q.purge(session).await;
    assert_eq!(q.finish_close(session).await.life, Some(Life::Open));
    let kept = q.session(session).await;
    assert_eq!(
        (kept.prompt.as_deref(), kept.prompt_number),
        (Some("new"), 1)
    );

    q.mark(session, CloseDepth::Close).await;
    q.put_effect("a", prompt("newer")).await;
    q.mark(session, CloseDepth::Purge).await;
    q.purge(session).await;
    q.finish_close(session).await;
    assert_eq!(q.session(session).await.prompt.as_deref(), Some("newer"));
}

/// A purge deletes nothing that was not asked to go.
pub async fn purge_is_only_for_a_purge_mark(q: &Bench) {
    let session = q.put(event("a")).await.session;
    q.purge(session).await;
    q.mark(session, CloseDepth::Close).await;
    q.purge(session).await;
    assert_eq!(q.finish_close(session).await.pending, 1);
}

/// A session of the same key is a new one, even if it was asked for while the old one went.
pub async fn purged_key_begins_anew(q: &Bench) {
    let first = q.put(event("a")).await.session;
    q.mark(first, CloseDepth::Purge).await;
    q.open("a").await;
    q.purge(first).await;
    assert_eq!(
        q.finish_close(first).await.life,
        Some(Life::Open),
        "an open came while it was closing"
    );
    q.mark(first, CloseDepth::Purge).await;
    q.purge(first).await;
    assert_eq!(q.finish_close(first).await.life, None);
    let again = q.put(event("a")).await;
    assert_ne!(again.session, first);
    assert_eq!(again.seq, Seq(1));
}
