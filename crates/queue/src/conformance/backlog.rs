//! Behaviour of rescue, cancel and redrive.

use super::LIMITS;
use super::bench::{Bench, NOW, confirm_of, event};
use crate::error::{MessageError, SettleError};
use crate::ids::{MessageId, Seq, SessionId, Timestamp};
use crate::types::{CancelledBacklog, Claimed, Message, Redriven, Rescued, State};

/// The instance died: no attempt is lost, and its claim is.
pub async fn rescue_returns_claims_of_earlier_generations(q: &Bench) {
    let stored = q.fill("a", 2).await;
    let claim = q.claim(stored[0].session).await;
    let owner = q.next_generation().await;
    let rescued = q
        .store
        .rescue(owner, NOW)
        .await
        .expect("claims are rescued");
    assert_eq!(
        rescued,
        Rescued {
            pending: 1,
            dead: 0
        }
    );
    let message = q.message(stored[0].message).await;
    assert_eq!(
        (message.state, message.attempt, message.rescues),
        (State::Pending, 0, 1)
    );
    let late = q.store.confirm(confirm_of(&claim), NOW).await;
    assert!(matches!(late, Err(SettleError::ClaimLost(_))));
    let again = q
        .store
        .claim(stored[0].session, owner, NOW)
        .await
        .expect("the claim is answered");
    match again {
        Claimed::Message(again) => assert_eq!(again.message.id, claim.message.id, "order holds"),
        other => panic!("{other:?}"),
    }
}

/// What is in work now is not touched.
pub async fn rescue_leaves_its_own_generation(q: &Bench) {
    let session = q.put(event("a")).await.session;
    let claim = q.claim(session).await;
    let rescued = q
        .store
        .rescue(q.owner, NOW)
        .await
        .expect("claims are rescued");
    assert_eq!(rescued, Rescued::default());
    q.confirm(&claim).await;
}

/// A message that kills its worker is given up.
pub async fn rescue_max_kills(q: &Bench) {
    let receipt = q.put(event("a")).await;
    let mut owner = q.owner;
    for rescues in 1..=LIMITS.rescue_max {
        q.store
            .claim(receipt.session, owner, NOW)
            .await
            .expect("the claim is answered");
        owner = q.next_generation().await;
        let rescued = q
            .store
            .rescue(owner, NOW)
            .await
            .expect("claims are rescued");
        let last = rescues == LIMITS.rescue_max;
        assert_eq!(
            (rescued.pending, rescued.dead),
            (u64::from(!last), u64::from(last))
        );
    }
    let message = q.message(receipt.message).await;
    assert_eq!(
        (message.state, message.rescues),
        (State::Dead, LIMITS.rescue_max)
    );
    assert!(message.last_error.is_some(), "a dead letter says why");
    assert_eq!(q.session(receipt.session).await.dead, 1);
}

async fn cancel(q: &Bench, message: MessageId) -> Result<Message, MessageError> {
    q.store.cancel(message, NOW).await
}

/// The one behind it moves up.
pub async fn cancelled_pending_message_is_skipped(q: &Bench) {
    let stored = q.fill("a", 2).await;
    let cancelled = cancel(q, stored[0].message)
        .await
        .expect("the message is cancelled");
    assert_eq!(
        (cancelled.state, cancelled.finished_at),
        (State::Cancelled, Some(NOW))
    );
    assert_eq!(q.message(stored[0].message).await, cancelled);
    assert_eq!(q.session(stored[0].session).await.pending, 1);
    assert_eq!(q.work(stored[0].session).await, stored[1].message);
}

/// Its holder stores nothing.
pub async fn cancelled_claim_is_lost(q: &Bench) {
    let receipt = q.put(event("a")).await;
    let claim = q.claim(receipt.session).await;
    cancel(q, receipt.message)
        .await
        .expect("the message is cancelled");
    let late = q.store.confirm(confirm_of(&claim), NOW).await;
    assert!(matches!(late, Err(SettleError::ClaimLost(_))));
    assert_eq!(q.try_claim(receipt.session).await, Claimed::Empty);
}

/// Done, dead and cancelled are the end of it; so is not being there.
pub async fn finished_message_cannot_be_cancelled(q: &Bench) {
    let session = q.fill("a", 3).await[0].session;
    let done = q.work(session).await;
    let dead = q.poison(session).await;
    let cancelled = MessageId(3);
    cancel(q, cancelled)
        .await
        .expect("the message is cancelled");
    let finished = [
        (done, State::Done),
        (dead, State::Dead),
        (cancelled, State::Cancelled),
    ];
    for (message, was) in finished {
        match cancel(q, message).await {
            Err(MessageError::WrongState { state, wanted, .. }) => {
                assert_eq!((state, wanted), (was, "cancelled"));
            }
            other => panic!("{other:?}"),
        }
    }
    let unknown = cancel(q, MessageId(99)).await;
    assert!(matches!(unknown, Err(MessageError::Unknown(MessageId(99)))));
}

/// With what is in work, and nothing of other sessions.
pub async fn cancelled_backlog_leaves_nothing_to_claim(q: &Bench) {
    let stored = q.fill("a", 3).await;
    let other = q.fill("b", 1).await[0];
    let session = stored[0].session;
    let done = q.work(session).await;
    let claim = q.claim(session).await;
    let cancel = async |session| {
        let cancelled = q.store.cancel_session(session, NOW).await;
        cancelled.expect("the backlog is cancelled")
    };
    let wanted = CancelledBacklog {
        messages: 2,
        claimed: Some(claim.message.id),
    };
    assert_eq!(cancel(session).await, wanted);
    assert_eq!(cancel(session).await, CancelledBacklog::default());
    let unknown = SessionId(uuid::Uuid::nil());
    assert_eq!(cancel(unknown).await, CancelledBacklog::default());
    let late = q.store.confirm(confirm_of(&claim), NOW).await;
    assert!(matches!(late, Err(SettleError::ClaimLost(_))));
    assert_eq!(q.try_claim(session).await, Claimed::Empty);
    assert_eq!(q.message(done).await.state, State::Done);
    assert_eq!(q.session(session).await.pending, 0);
    assert_eq!(q.work(other.session).await, other.message);
}

async fn redrive(q: &Bench, message: MessageId) -> Redriven {
    q.store
        .redrive(message, NOW)
        .await
        .expect("the message is redriven")
}

/// Nothing behind it was worked, so it is the head again.
pub async fn redriven_message_keeps_its_place(q: &Bench) {
    let stored = q.fill("a", 2).await;
    q.poison(stored[0].session).await;
    let redriven = redrive(q, stored[0].message).await;
    let wanted = Redriven {
        message: stored[0].message,
        session: stored[0].session,
        kept_place: true,
    };
    assert_eq!(redriven, wanted);
    assert_eq!(q.message(stored[0].message).await.seq, stored[0].seq);
    assert_eq!(q.work(stored[0].session).await, stored[0].message);
}

/// A later one was worked, or is in work: going first now would break the order twice.
pub async fn redriven_message_goes_last_behind_worked_ones(q: &Bench) {
    let stored = q.fill("a", 3).await;
    let session = stored[0].session;
    q.poison(session).await;
    let claim = q.claim(session).await;
    assert!(!redrive(q, stored[0].message).await.kept_place);
    assert_eq!(q.message(stored[0].message).await.seq, Seq(4));
    q.confirm(&claim).await;
    assert_eq!(q.work(session).await, stored[2].message);
    assert_eq!(q.work(session).await, stored[0].message);
    assert_eq!(q.put(event("a")).await.seq, Seq(5));
}

/// Like new, but for its error.
pub async fn redrive_starts_attempts_anew(q: &Bench) {
    let receipt = q.put(event("a")).await;
    q.poison(receipt.session).await;
    redrive(q, receipt.message).await;
    let message = q.message(receipt.message).await;
    assert_eq!(
        (message.state, message.attempt, message.rescues),
        (State::Pending, 0, 0)
    );
    assert_eq!((message.finished_at, message.not_before), (None, None));
    assert_eq!(message.last_error.as_deref(), Some("bad"));
    let session = q.session(receipt.session).await;
    assert_eq!((session.pending, session.dead), (1, 0));
}

/// Everything else is where it should be.
pub async fn only_dead_messages_are_redriven(q: &Bench) {
    let stored = q.fill("a", 2).await;
    let claimed = q.claim(stored[0].session).await.message.id;
    for (message, was) in [
        (claimed, State::Claimed),
        (stored[1].message, State::Pending),
    ] {
        match q.store.redrive(message, NOW).await {
            Err(MessageError::WrongState { state, wanted, .. }) => {
                assert_eq!((state, wanted), (was, "redriven"));
            }
            other => panic!("{other:?}"),
        }
    }
    let unknown = q.store.redrive(MessageId(99), NOW).await;
    assert!(matches!(unknown, Err(MessageError::Unknown(MessageId(99)))));
}

/// A dead letter gave its room away.
pub async fn redrive_obeys_the_session_depth(q: &Bench) {
    let stored = q.fill("a", 4).await;
    q.poison(stored[0].session).await;
    q.put(event("a")).await;
    match q.store.redrive(stored[0].message, NOW).await {
        Err(MessageError::Full { limit, name, .. }) => {
            assert_eq!(
                (limit, name),
                (LIMITS.session_depth_max, "session_depth_max")
            );
        }
        other => panic!("{other:?}"),
    }
    q.work(stored[0].session).await;
    redrive(q, stored[0].message).await;
}

/// The same for all sessions together.
pub async fn redrive_obeys_the_queue_depth(q: &Bench) {
    let stored = q.fill("a", 1).await;
    q.poison(stored[0].session).await;
    let other = q.fill("b", 4).await[0].session;
    q.fill("c", 2).await;
    match q.store.redrive(stored[0].message, NOW).await {
        Err(MessageError::Full { limit, name, .. }) => {
            assert_eq!((limit, name), (LIMITS.depth_max, "depth_max"));
        }
        other => panic!("{other:?}"),
    }
    q.work(other).await;
    redrive(q, stored[0].message).await;
}

async fn redrive_all(q: &Bench) -> Vec<(MessageId, bool)> {
    let redriven = q
        .store
        .redrive_all(None, NOW)
        .await
        .expect("dead letters are redriven");
    redriven
        .iter()
        .map(|redriven| (redriven.message, redriven.kept_place))
        .collect()
}

/// Dead letters redriven together do not count as worked for each other.
pub async fn redrive_all_keeps_the_order(q: &Bench) {
    let stored = q.fill("a", 4).await;
    let session = stored[0].session;
    q.poison(session).await;
    q.work(session).await;
    q.poison(session).await;
    let [first, _, third, fourth] = [0, 1, 2, 3].map(|at| stored[at].message);
    assert_eq!(redrive_all(q).await, [(first, false), (third, true)]);
    for wanted in [third, fourth, first] {
        assert_eq!(q.work(session).await, wanted);
    }
}

/// What finds no room stays dead.
pub async fn redrive_all_stops_at_the_limit(q: &Bench) {
    let stored = q.fill("a", 4).await;
    for _ in 0..2 {
        q.poison(stored[0].session).await;
    }
    q.put(event("a")).await;
    assert_eq!(redrive_all(q).await, [(stored[0].message, false)]);
    assert_eq!(q.message(stored[1].message).await.state, State::Dead);
    assert_eq!(redrive_all(q).await, []);
}

/// A session's own dead letters.
pub async fn redrive_all_of_one_session_leaves_others(q: &Bench) {
    let a = q.put(event("a")).await;
    let b = q.put(event("b")).await;
    q.poison(a.session).await;
    q.poison(b.session).await;
    let later = Timestamp(NOW.0 + 1);
    let redriven = q.store.redrive_all(Some(a.session), later).await;
    let redriven = redriven.expect("dead letters are redriven");
    assert_eq!(
        redriven.iter().map(|r| r.message).collect::<Vec<_>>(),
        [a.message]
    );
    assert_eq!(q.message(b.message).await.state, State::Dead);
}
