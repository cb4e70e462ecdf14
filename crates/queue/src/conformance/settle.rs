//! Behaviour of confirm and release: results, attempts. Those that come too late are in `fence`.

use super::LIMITS;
use super::bench::{Bench, NOW, confirm_of, event, result};
use super::fence::assert_lost;
use crate::error::SettleError;
use crate::ids::{ResultId, Timestamp};
use crate::limits::REASON_KEPT_BYTES;
use crate::types::{
    CloseDepth, Confirm, NewResult, ReleaseWhy, Released, ResultFilter, State, StoredResult, Usage,
};

fn retry(reason: &str) -> ReleaseWhy {
    ReleaseWhy::Retry {
        reason: reason.to_owned(),
        not_before: NOW,
    }
}

fn give_back() -> ReleaseWhy {
    ReleaseWhy::GiveBack {
        reason: "shutdown".to_owned(),
        not_before: None,
    }
}

async fn results(q: &Bench) -> Vec<StoredResult> {
    let all = q.store.results(ResultFilter::default()).await;
    all.expect("the results are listed")
}

/// All of it is there at once.
pub async fn confirm_stores_results_checkpoint_and_usage(q: &Bench) {
    let receipt = q.put(event("a")).await;
    let claim = q.claim(receipt.session).await;
    let usage = Usage {
        input_tokens: 10,
        output_tokens: 2,
        cost_usd: 0.25,
    };
    let confirm = Confirm {
        results: vec![result("observation"), result("summary")],
        checkpoint: Some("{\"n\":1}".to_owned()),
        usage,
        ..confirm_of(&claim)
    };
    let later = Timestamp(NOW.0 + 5);
    q.store
        .confirm(confirm, later)
        .await
        .expect("the claim is confirmed");
    let message = q.message(receipt.message).await;
    assert_eq!(
        (message.state, message.finished_at),
        (State::Done, Some(later))
    );
    let stored = results(q).await;
    assert_eq!(stored.len(), 2);
    assert_eq!(stored[0].id, ResultId(1));
    assert_eq!(
        (stored[1].id, stored[1].result.clone()),
        (ResultId(2), result("summary"))
    );
    assert_eq!(
        (stored[0].message, stored[0].seq),
        (receipt.message, receipt.seq)
    );
    assert_eq!((stored[0].accepted_at, stored[0].created_at), (NOW, later));
    let checkpoint = q
        .store
        .checkpoint(receipt.session)
        .await
        .expect("the checkpoint is read");
    assert_eq!(checkpoint.as_deref(), Some("{\"n\":1}"));
    let session = q.session(receipt.session).await;
    assert_eq!((session.usage, session.success_at), (usage, Some(later)));
    assert_eq!((session.active_at, session.pending), (later, 0));
}

/// `None` is not "forget".
pub async fn confirm_without_checkpoint_keeps_it(q: &Bench) {
    let session = q.fill("a", 2).await[0].session;
    for checkpoint in [Some("1".to_owned()), None] {
        let claim = q.claim(session).await;
        let confirm = Confirm {
            checkpoint,
            ..confirm_of(&claim)
        };
        q.store
            .confirm(confirm, NOW)
            .await
            .expect("the claim is confirmed");
    }
    let checkpoint = q
        .store
        .checkpoint(session)
        .await
        .expect("the checkpoint is read");
    assert_eq!(checkpoint.as_deref(), Some("1"));
}

/// The limit itself is allowed; a byte more stores nothing and leaves the claim.
pub async fn oversize_results_leave_the_claim(q: &Bench) {
    let session = q.put(event("a")).await.session;
    let claim = q.claim(session).await;
    let limit = LIMITS.result_max_bytes;
    let sized = |bytes: usize| Confirm {
        results: vec![NewResult {
            body: "x".repeat(bytes),
            ..NewResult::default()
        }],
        ..confirm_of(&claim)
    };
    match q.store.confirm(sized(limit + 1), NOW).await {
        Err(SettleError::TooLarge { field, bytes, .. }) => {
            assert_eq!((field, bytes), ("results", limit + 1));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(results(q).await, []);
    q.store
        .confirm(sized(limit), NOW)
        .await
        .expect("the limit is allowed");
}

/// As for results.
pub async fn oversize_checkpoint_leaves_the_claim(q: &Bench) {
    let session = q.put(event("a")).await.session;
    let claim = q.claim(session).await;
    let limit = LIMITS.result_max_bytes;
    let sized = |bytes: usize| Confirm {
        checkpoint: Some("x".repeat(bytes)),
        ..confirm_of(&claim)
    };
    match q.store.confirm(sized(limit + 1), NOW).await {
        Err(SettleError::TooLarge {
            field,
            limit: named,
            ..
        }) => assert_eq!((field, named), ("checkpoint", limit)),
        other => panic!("{other:?}"),
    }
    q.store
        .confirm(sized(limit), NOW)
        .await
        .expect("the limit is allowed");
}

/// The attempts run out exactly at `attempt_max`.
pub async fn retry_is_dead_at_the_last_attempt(q: &Bench) {
    let receipt = q.put(event("a")).await;
    for attempt in 1..=LIMITS.attempt_max {
        let claim = q.claim(receipt.session).await;
        assert_eq!(claim.message.attempt, attempt);
        let last = attempt == LIMITS.attempt_max;
        let wanted = if last {
            Released::Dead
        } else {
            Released::Pending
        };
        let reason = "é".repeat(REASON_KEPT_BYTES);
        assert_eq!(
            q.release(&claim, retry(&reason))
                .await
                .expect("it is released"),
            wanted
        );
    }
    let message = q.message(receipt.message).await;
    assert_eq!(
        (message.state, message.finished_at),
        (State::Dead, Some(NOW))
    );
    assert_eq!(
        (message.attempt, message.not_before),
        (LIMITS.attempt_max, None)
    );
    assert_eq!(message.last_error, Some("é".repeat(REASON_KEPT_BYTES / 2)));
    let session = q.session(receipt.session).await;
    assert_eq!((session.pending, session.dead), (0, 1));
}

/// However often: it never dies of it, and it is no failure.
pub async fn give_back_returns_the_attempt(q: &Bench) {
    let receipt = q.put(event("a")).await;
    for _ in 0..LIMITS.attempt_max * 2 {
        let claim = q.claim(receipt.session).await;
        assert_eq!(claim.message.attempt, 1);
        let released = q
            .release(&claim, give_back())
            .await
            .expect("the claim is released");
        assert_eq!(released, Released::Pending);
    }
    assert_eq!(q.message(receipt.message).await.attempt, 0);
    assert_eq!(q.session(receipt.session).await.consecutive_failures, 0);
}

/// A provider that says when to come back.
pub async fn give_back_may_delay(q: &Bench) {
    let receipt = q.put(event("a")).await;
    let claim = q.claim(receipt.session).await;
    let not_before = Some(Timestamp(7_000));
    let why = ReleaseWhy::GiveBack {
        reason: "unavailable".to_owned(),
        not_before,
    };
    q.release(&claim, why).await.expect("the claim is released");
    assert_eq!(q.message(receipt.message).await.not_before, not_before);
}

/// Attempts left do not matter, and the next message moves up.
pub async fn poison_is_dead_at_once(q: &Bench) {
    let stored = q.fill("a", 2).await;
    assert_eq!(q.poison(stored[0].session).await, stored[0].message);
    let message = q.message(stored[0].message).await;
    assert_eq!((message.state, message.attempt), (State::Dead, 1));
    assert_eq!(message.last_error.as_deref(), Some("bad"));
    assert_eq!(q.work(stored[0].session).await, stored[1].message);
}

/// The reason of the last failure stays readable after the confirm.
pub async fn failures_are_counted_until_a_confirm(q: &Bench) {
    let session = q.fill("a", 2).await[0].session;
    let claim = q.claim(session).await;
    q.release(&claim, retry("one"))
        .await
        .expect("the claim is released");
    q.poison(session).await;
    let failing = q.session(session).await;
    assert_eq!(
        (failing.consecutive_failures, failing.success_at),
        (2, None)
    );
    assert_eq!(failing.last_error.as_deref(), Some("bad"));
    q.work(session).await;
    let fine = q.session(session).await;
    assert_eq!((fine.consecutive_failures, fine.success_at), (0, Some(NOW)));
    assert_eq!(fine.last_error.as_deref(), Some("bad"));
}

/// After an abort: the attempt is given back and the old holder has lost it.
pub async fn session_release_gives_back_its_claim(q: &Bench) {
    let session = q.fill("a", 2).await[0].session;
    let other = q.put(event("b")).await.session;
    let claim = q.claim(session).await;
    let others = q.claim(other).await;
    let release = || q.store.release_session(session, "aborted", NOW);
    assert_eq!(release().await.expect("the session is released"), 1);
    assert_eq!(release().await.expect("the session is released"), 0);
    assert_lost(q, &claim, "aborted").await;
    let again = q.claim(session).await;
    assert_eq!(
        (again.message.id, again.message.attempt),
        (claim.message.id, 1)
    );
    q.confirm(&others).await;
}

/// A generator that finishes within the wait of a close is not fenced off by the mark.
pub async fn close_mark_does_not_take_a_claim(q: &Bench) {
    let session = q.put(event("a")).await.session;
    let claim = q.claim(session).await;
    let marked = q
        .store
        .mark_closing(session, CloseDepth::Close, false, NOW)
        .await;
    marked.expect("the session is marked");
    q.confirm(&claim).await;
}
