//! Behaviour of claim: order, one at a time, delays.

use std::collections::HashSet;

use futures::future::join_all;

use super::bench::{Bench, NOW, event};
use crate::ids::{Epoch, SessionId, Timestamp};
use crate::types::{Claimed, Enqueue, ReleaseWhy, State};

/// First in, first out, whatever the firing times say.
pub async fn messages_are_claimed_in_order_of_acceptance(q: &Bench) {
    let mut stored = Vec::new();
    for accepted_at in [30, 10, 20] {
        let event = Enqueue {
            accepted_at: Timestamp(accepted_at),
            ..event("a")
        };
        stored.push(q.put(event).await);
    }
    for receipt in &stored {
        assert_eq!(q.work(receipt.session).await, receipt.message);
    }
    assert_eq!(q.try_claim(stored[0].session).await, Claimed::Empty);
}

/// The head in work keeps those behind it waiting.
pub async fn one_claim_a_session_at_a_time(q: &Bench) {
    let session = q.fill("a", 2).await[0].session;
    let claim = q.claim(session).await;
    assert_eq!(q.try_claim(session).await, Claimed::Busy);
    q.confirm(&claim).await;
    q.claim(session).await;
}

/// Each session has a head of its own.
pub async fn sessions_do_not_wait_for_each_other(q: &Bench) {
    let a = q.put(event("a")).await;
    let b = q.put(event("b")).await;
    assert_eq!(q.claim(a.session).await.message.id, a.message);
    assert_eq!(q.claim(b.session).await.message.id, b.message);
}

/// A backoff holds up the session, to the millisecond, and no other.
pub async fn delayed_head_blocks_its_session_only(q: &Bench) {
    let session = q.fill("a", 2).await[0].session;
    let other = q.put(event("b")).await.session;
    let claim = q.claim(session).await;
    let until = Timestamp(NOW.0 + 500);
    let why = ReleaseWhy::Retry {
        reason: "later".to_owned(),
        not_before: until,
    };
    q.release(&claim, why).await.expect("the claim is released");
    assert_eq!(q.try_claim(session).await, Claimed::Delayed { until });
    let just_before = Timestamp(until.0 - 1);
    assert_eq!(
        q.claim_at(session, just_before).await,
        Claimed::Delayed { until }
    );
    q.claim(other).await;
    match q.claim_at(session, until).await {
        Claimed::Message(again) => assert_eq!(again.message.id, claim.message.id),
        other => panic!("{other:?}"),
    }
}

/// What the holder sees is what is stored.
pub async fn attempt_is_counted_at_the_claim(q: &Bench) {
    let receipt = q.put(event("a")).await;
    assert_eq!(q.message(receipt.message).await.attempt, 0);
    let later = Timestamp(NOW.0 + 7);
    let Claimed::Message(claim) = q.claim_at(receipt.session, later).await else {
        panic!("the head is claimed");
    };
    assert_eq!(
        (claim.message.attempt, claim.message.state),
        (1, State::Claimed)
    );
    assert_eq!(
        (claim.fence.generation, claim.fence.epoch),
        (q.owner, Epoch(0))
    );
    assert_eq!(q.message(receipt.message).await, claim.message);
    assert_eq!(q.session(receipt.session).await.active_at, NOW);
}

/// Of claims that arrive together, one gets the head; over sessions, all do, each with its number.
pub async fn claims_sent_together_get_one_message(q: &Bench) {
    let a = q.fill("a", 2).await[0].session;
    let b = q.put(event("b")).await.session;
    let claimed = join_all([a, a, a, b].map(|session| q.try_claim(session))).await;
    let claims: HashSet<_> = claimed
        .iter()
        .filter_map(|claimed| match claimed {
            Claimed::Message(claim) => Some((claim.message.session, claim.fence.claim_seq)),
            _ => None,
        })
        .collect();
    assert_eq!(claims.len(), 2, "{claimed:?}");
    let busy = claimed.iter().filter(|claimed| **claimed == Claimed::Busy);
    assert_eq!(busy.count(), 2, "{claimed:?}");
}

/// Nothing is pending where nothing is.
pub async fn claim_of_an_unknown_session_is_empty(q: &Bench) {
    assert_eq!(q.try_claim(SessionId::mint()).await, Claimed::Empty);
    let open = q.open("a").await.id;
    assert_eq!(q.try_claim(open).await, Claimed::Empty);
}

/// A fresh head is due since it fired, a delayed one when its delay ends, one in work not at all.
pub async fn due_at_is_that_of_the_head(q: &Bench) {
    let session = q.fill("a", 2).await[0].session;
    let due_at = || async { q.store.due_at(session).await.expect("the head is read") };
    assert_eq!(due_at().await, Some(NOW));
    let claim = q.claim(session).await;
    assert_eq!(due_at().await, None);
    let not_before = Some(Timestamp(5_000));
    let why = ReleaseWhy::GiveBack {
        reason: "shutdown".to_owned(),
        not_before,
    };
    q.release(&claim, why).await.expect("the claim is released");
    assert_eq!(due_at().await, not_before);
    let nobody = q
        .store
        .due_at(SessionId::mint())
        .await
        .expect("the head is looked for");
    assert_eq!(nobody, None);
}
