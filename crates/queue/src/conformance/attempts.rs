//! Behaviour of the history: which ends of a claim are kept, how many, and until when.

use futures::future::join_all;

use super::LIMITS;
use super::bench::{Bench, NOW, event};
use crate::ids::{MessageId, Timestamp};
use crate::limits::{ATTEMPTS_KEPT, REASON_KEPT_BYTES};
use crate::types::{Attempt, AttemptOutcome, Claim, CloseDepth, Release, ReleaseWhy};

fn retry(reason: &str) -> ReleaseWhy {
    ReleaseWhy::Retry {
        reason: reason.to_owned(),
        not_before: NOW,
    }
}

fn give_back(reason: &str) -> ReleaseWhy {
    ReleaseWhy::GiveBack {
        reason: reason.to_owned(),
        not_before: None,
    }
}

fn attempt(attempt: u32, outcome: AttemptOutcome, reason: Option<&str>) -> Attempt {
    Attempt {
        attempt,
        ended_at: NOW,
        outcome,
        reason: reason.map(str::to_owned),
    }
}

async fn history(q: &Bench, message: MessageId) -> Vec<Attempt> {
    let attempts = q.store.attempts(message).await;
    attempts.expect("the history is read")
}

async fn release(q: &Bench, claim: &Claim, why: ReleaseWhy) {
    let released = q.release(claim, why).await;
    released.expect("the claim is released");
}

/// In the order they happened, each with the number it had: one that is given back does not count.
pub async fn ends_of_attempts_are_kept_in_order(q: &Bench) {
    let receipt = q.put(event("a")).await;
    assert_eq!(history(q, receipt.message).await, []);
    for why in [retry("one"), give_back("two"), give_back("three")] {
        release(q, &q.claim(receipt.session).await, why).await;
    }
    let last = q.claim(receipt.session).await;
    let later = Timestamp(NOW.0 + 5);
    let poison = Release {
        message: last.message.id,
        fence: last.fence,
        why: ReleaseWhy::Poison {
            reason: "four".to_owned(),
        },
    };
    let released = q.store.release(poison, later).await;
    released.expect("the claim is released");
    let wanted = [
        attempt(1, AttemptOutcome::Retry, Some("one")),
        attempt(2, AttemptOutcome::Unavailable, Some("two")),
        attempt(2, AttemptOutcome::Unavailable, Some("three")),
        Attempt {
            ended_at: later,
            ..attempt(2, AttemptOutcome::Poison, Some("four"))
        },
    ];
    assert_eq!(history(q, receipt.message).await, wanted);
}

/// What went well has its results; what failed before stays to be read.
pub async fn confirm_leaves_no_attempt(q: &Bench) {
    let receipt = q.put(event("a")).await;
    release(q, &q.claim(receipt.session).await, retry("one")).await;
    q.work(receipt.session).await;
    let wanted = [attempt(1, AttemptOutcome::Retry, Some("one"))];
    assert_eq!(history(q, receipt.message).await, wanted);
}

/// Whoever has lost a claim did not end it.
pub async fn lost_release_leaves_no_attempt(q: &Bench) {
    let receipt = q.put(event("a")).await;
    let claim = q.claim(receipt.session).await;
    release(q, &claim, give_back("one")).await;
    assert!(q.release(&claim, retry("late")).await.is_err());
    let wanted = [attempt(1, AttemptOutcome::Unavailable, Some("one"))];
    assert_eq!(history(q, receipt.message).await, wanted);
}

/// Claims that are ended by others than their holder are in it too.
pub async fn claims_taken_back_are_kept(q: &Bench) {
    let receipt = q.put(event("a")).await;
    q.claim(receipt.session).await;
    let released = q.store.release_session(receipt.session, "aborted", NOW);
    assert_eq!(released.await.expect("the session is released"), 1);
    q.claim(receipt.session).await;
    let owner = q.next_generation().await;
    let rescued = q.store.rescue(owner, NOW).await;
    assert_eq!(rescued.expect("claims are rescued").pending, 1);
    let wanted = [
        attempt(1, AttemptOutcome::Unavailable, Some("aborted")),
        attempt(1, AttemptOutcome::Rescued, None),
    ];
    assert_eq!(history(q, receipt.message).await, wanted);
}

/// The history is that of claims: a message that was not in work has none to end.
pub async fn cancel_ends_a_claim_only(q: &Bench) {
    let stored = q.fill("a", 2).await;
    q.claim(stored[0].session).await;
    for receipt in &stored {
        let cancelled = q.store.cancel(receipt.message, NOW).await;
        cancelled.expect("the message is cancelled");
    }
    let wanted = [attempt(1, AttemptOutcome::Cancelled, None)];
    assert_eq!(history(q, stored[0].message).await, wanted);
    assert_eq!(history(q, stored[1].message).await, []);
}

/// The attempts start anew, and the history says where.
pub async fn redrive_divides_the_history(q: &Bench) {
    let receipt = q.put(event("a")).await;
    q.poison(receipt.session).await;
    let redriven = q.store.redrive(receipt.message, NOW).await;
    redriven.expect("the message is redriven");
    release(q, &q.claim(receipt.session).await, retry("again")).await;
    let wanted = [
        attempt(1, AttemptOutcome::Poison, Some("bad")),
        attempt(0, AttemptOutcome::Redriven, None),
        attempt(1, AttemptOutcome::Retry, Some("again")),
    ];
    assert_eq!(history(q, receipt.message).await, wanted);
}

/// A message that is given back for days has a history of a bounded size.
pub async fn oldest_attempts_go_first(q: &Bench) {
    let receipt = q.put(event("a")).await;
    let other = q.put(event("b")).await;
    release(q, &q.claim(other.session).await, give_back("other")).await;
    let rounds = ATTEMPTS_KEPT + 3;
    for round in 0..rounds {
        let why = give_back(&round.to_string());
        release(q, &q.claim(receipt.session).await, why).await;
        assert_eq!(
            history(q, receipt.message).await.len(),
            ATTEMPTS_KEPT.min(round + 1)
        );
    }
    let reasons: Vec<_> = history(q, receipt.message)
        .await
        .into_iter()
        .filter_map(|attempt| attempt.reason)
        .collect();
    let wanted: Vec<_> = (3..rounds).map(|round| round.to_string()).collect();
    assert_eq!(reasons, wanted);
    assert_eq!(history(q, other.message).await.len(), 1, "each has its own");
}

/// Where a character ends.
pub async fn reason_of_an_attempt_is_cut(q: &Bench) {
    let receipt = q.put(event("a")).await;
    let reason = "é".repeat(REASON_KEPT_BYTES);
    release(q, &q.claim(receipt.session).await, give_back(&reason)).await;
    let kept = "é".repeat(REASON_KEPT_BYTES / 2);
    let wanted = [attempt(1, AttemptOutcome::Unavailable, Some(&kept))];
    assert_eq!(history(q, receipt.message).await, wanted);
}

/// Claims that end at the same time end each for itself.
pub async fn attempts_ended_together_are_told_apart(q: &Bench) {
    let mut claims = Vec::new();
    for key in ["a", "b", "c", "d", "e"] {
        claims.push(q.claim(q.put(event(key)).await.session).await);
    }
    let reason = |claim: &Claim| claim.message.id.to_string();
    join_all(
        claims
            .iter()
            .map(|claim| release(q, claim, retry(&reason(claim)))),
    )
    .await;
    for claim in &claims {
        let wanted = [attempt(1, AttemptOutcome::Retry, Some(&reason(claim)))];
        assert_eq!(history(q, claim.message.id).await, wanted);
    }
}

/// With the message; those of a later epoch stay, as their messages do.
pub async fn purge_takes_the_history(q: &Bench) {
    let old = q.put(event("a")).await;
    for attempt in 1..=LIMITS.attempt_max {
        release(q, &q.claim(old.session).await, retry(&attempt.to_string())).await;
    }
    q.mark(old.session, CloseDepth::Purge).await;
    let new = q.put(event("a")).await;
    release(q, &q.claim(new.session).await, retry("new")).await;
    q.purge(old.session).await;
    assert_eq!(history(q, old.message).await, []);
    assert_eq!(history(q, new.message).await.len(), 1);
    assert_eq!(history(q, MessageId(99)).await, []);
}
