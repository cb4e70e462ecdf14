//! Behaviour of retention, and of the purge of dead messages.

use std::time::Duration;

use super::bench::{Bench, NOW, event, repeated};
use crate::error::MessageError;
use crate::ids::{MessageId, Seq, SessionId, Timestamp};
use crate::limits::DELETE_ROWS_MAX;
use crate::types::{
    CloseDepth, Enqueue, PurgedDead, Receipt, ResultFilter, Retained, Retention, State,
};

const AGE: Duration = Duration::from_millis(500);

/// When a message that was finished at [`NOW`] is too old.
const DUE: Timestamp = Timestamp(1_500);

/// Done messages go by age.
const BY_AGE: Retention = Retention {
    done_age: Some(AGE),
    done_max: None,
    dead_age: None,
    dead_max: None,
};

async fn retain(q: &Bench, policy: Retention, now: Timestamp) -> Retained {
    q.store
        .retain(policy, now)
        .await
        .expect("messages are deleted")
}

async fn is_there(q: &Bench, message: MessageId) -> bool {
    let message = q.store.message(message).await;
    message.expect("the message is read").is_some()
}

/// At its age, not before; and it is told when that is.
pub async fn done_message_goes_at_its_age(q: &Bench) {
    let session = q.fill("a", 2).await[0].session;
    let done = q.work(session).await;
    let early = retain(q, BY_AGE, Timestamp(DUE.0 - 1)).await;
    let wanted = Retained {
        next_at: Some(DUE),
        ..Retained::default()
    };
    assert_eq!(early, wanted);
    assert!(is_there(q, done).await);
    let wanted = Retained {
        done: 1,
        ..Retained::default()
    };
    assert_eq!(retain(q, BY_AGE, DUE).await, wanted);
    assert!(!is_there(q, done).await);
    assert_eq!(retain(q, BY_AGE, DUE).await, Retained::default());
    assert_eq!(q.session(session).await.pending, 1);
}

/// Nobody waits for either.
pub async fn cancelled_message_goes_like_a_done_one(q: &Bench) {
    let receipt = q.put(event("a")).await;
    let cancelled = q.store.cancel(receipt.message, NOW).await;
    cancelled.expect("the message is cancelled");
    let retained = retain(q, BY_AGE, DUE).await;
    assert_eq!((retained.cancelled, retained.messages()), (1, 1));
    assert!(!is_there(q, receipt.message).await);
}

/// Somebody may want to redrive it.
pub async fn dead_message_is_kept_by_bounds_of_its_own(q: &Bench) {
    let session = q.fill("a", 2).await[0].session;
    let dead = q.poison(session).await;
    let done = q.work(session).await;
    let policy = Retention {
        dead_age: Some(2 * AGE),
        ..BY_AGE
    };
    let later = DUE.after(AGE);
    let first = retain(q, policy, DUE).await;
    assert_eq!((first.done, first.dead, first.next_at), (1, 0, Some(later)));
    assert!(!is_there(q, done).await && is_there(q, dead).await);
    assert_eq!(retain(q, policy, later).await.dead, 1);
    assert!(!is_there(q, dead).await);
    assert_eq!(q.session(session).await.dead, 0);
}

/// In the order they were finished in, whatever their age.
pub async fn oldest_go_when_there_are_too_many(q: &Bench) {
    let session = q.fill("a", 3).await[0].session;
    let done = [
        q.work(session).await,
        q.work(session).await,
        q.work(session).await,
    ];
    let policy = Retention {
        done_max: Some(1),
        ..Retention::default()
    };
    let wanted = Retained {
        done: 2,
        ..Retained::default()
    };
    assert_eq!(retain(q, policy, NOW).await, wanted);
    assert_eq!(retain(q, policy, NOW).await, Retained::default());
    assert!(!is_there(q, done[1]).await && is_there(q, done[2]).await);
}

/// For as long as it takes.
pub async fn retention_without_bounds_keeps_all(q: &Bench) {
    let session = q.fill("a", 2).await[0].session;
    q.work(session).await;
    q.poison(session).await;
    let ever = Timestamp(i64::MAX);
    let retained = retain(q, Retention::default(), ever).await;
    assert_eq!(retained, Retained::default());
    assert_eq!(q.messages().await.len(), 2);
}

/// However old it is.
pub async fn backlog_is_never_deleted(q: &Bench) {
    let stored = q.fill("a", 2).await;
    q.claim(stored[0].session).await;
    let all = Retention {
        done_age: Some(Duration::ZERO),
        done_max: Some(0),
        dead_age: Some(Duration::ZERO),
        dead_max: Some(0),
    };
    let retained = retain(q, all, Timestamp(i64::MAX)).await;
    assert_eq!(retained, Retained::default());
    assert_eq!(q.messages().await.len(), 2);
}

/// Each leaves room for those who wait.
pub async fn deletion_comes_in_batches(q: &Bench) {
    let most = DELETE_ROWS_MAX as u64;
    for _ in 0..=most {
        let session = q.put(event("a")).await.session;
        q.work(session).await;
    }
    let first = retain(q, BY_AGE, DUE).await;
    assert_eq!((first.done, first.more, first.next_at), (most, true, None));
    let last = retain(q, BY_AGE, DUE).await;
    assert_eq!((last.done, last.more), (1, false));
}

/// They are what people keep; payload and history are not.
pub async fn results_outlive_their_message(q: &Bench) {
    let session = q.fill("a", 2).await[0].session;
    let dead = q.poison(session).await;
    let done = q.work(session).await;
    let before = q.store.results(ResultFilter::default()).await;
    let all = Retention {
        done_max: Some(0),
        dead_max: Some(0),
        ..Retention::default()
    };
    assert_eq!(retain(q, all, NOW).await.messages(), 2);
    let attempts = q.store.attempts(dead).await.expect("they are read");
    assert!(attempts.is_empty());
    let after = q.store.results(ResultFilter::default()).await;
    let after = after.expect("they are listed");
    assert_eq!(after, before.expect("they are listed"));
    assert_eq!(after[0].message, done);
    let stats = q.store.stats().await.expect("stats are read");
    assert_eq!((stats.accepted, stats.results), (2, 1));
    assert_eq!((stats.depth.done, stats.depth.dead), (0, 0));
    assert_eq!(
        q.put(event("a")).await.seq,
        Seq(3),
        "no place is used twice"
    );
}

/// Neither by its id nor by its key.
pub async fn deleted_event_is_not_remembered(q: &Bench) {
    let first = repeated("a", "x", None, NOW.0);
    let receipt = q.put(first.clone()).await;
    q.work(receipt.session).await;
    assert!(q.put(first.clone()).await.duplicate);
    retain(q, BY_AGE, DUE).await;
    let again = q.put(first).await;
    assert!(!again.duplicate && again.message > receipt.message);
    let by_key = Enqueue {
        dedup: repeated("a", "x", None, NOW.0).dedup,
        ..event("a")
    };
    assert!(q.put(by_key).await.duplicate, "the new one is");
}

async fn kept_place(q: &Bench, dead: &Receipt) -> bool {
    let redriven = q.store.redrive(dead.message, NOW).await;
    redriven.expect("the message is redriven").kept_place
}

/// What was worked and is gone was worked all the same.
pub async fn redriven_message_goes_last_behind_deleted_ones(q: &Bench) {
    let stored = q.fill("a", 3).await;
    let session = stored[0].session;
    q.poison(session).await;
    q.work(session).await;
    q.poison(session).await;
    retain(q, BY_AGE, DUE).await;
    assert!(!kept_place(q, &stored[0]).await);
    assert!(kept_place(q, &stored[2]).await, "nothing was behind it");
    let other = q.fill("b", 2).await;
    q.poison(other[0].session).await;
    let cancelled = q.store.cancel(other[1].message, NOW).await;
    cancelled.expect("the message is cancelled");
    retain(q, BY_AGE, DUE).await;
    assert!(kept_place(q, &other[0]).await, "nobody has worked that one");
}

/// What the messages leave goes with the session.
pub async fn purge_takes_results_of_deleted_messages(q: &Bench) {
    let session = q.put(event("a")).await.session;
    q.work(session).await;
    retain(q, BY_AGE, DUE).await;
    q.mark(session, CloseDepth::Purge).await;
    // Of the new epoch, worked and deleted: its result is not to be purged.
    q.put(event("a")).await;
    q.work(session).await;
    retain(q, BY_AGE, DUE).await;
    q.purge(session).await;
    let results = q.store.results(ResultFilter::default()).await;
    let seqs: Vec<_> = results
        .expect("they are listed")
        .iter()
        .map(|result| result.seq)
        .collect();
    assert_eq!(seqs, [Seq(2)]);
    let closed = q.finish_close(session).await;
    assert!(closed.life.is_some(), "a session with results stays");
}

/// Everything else is somebody's business still.
pub async fn only_dead_messages_are_purged(q: &Bench) {
    let stored = q.fill("a", 2).await;
    let dead = q.poison(stored[0].session).await;
    let purged = q.store.purge_message(dead).await;
    purged.expect("the message is purged");
    assert!(!is_there(q, dead).await);
    let again = q.store.purge_message(dead).await;
    assert!(matches!(again, Err(MessageError::Unknown(_))));
    match q.store.purge_message(stored[1].message).await {
        Err(MessageError::WrongState { state, wanted, .. }) => {
            assert_eq!((state, wanted), (State::Pending, "purged"));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(q.session(stored[0].session).await.dead, 0);
}

/// Or of all of them.
pub async fn purge_of_dead_messages_may_be_of_one_session(q: &Bench) {
    let purge = async |session: Option<SessionId>| {
        let purged = q.store.purge_dead(session).await;
        purged.expect("the messages are purged")
    };
    let a = q.fill("a", 2).await[0].session;
    q.poison(a).await;
    q.poison(a).await;
    let b = q.put(event("b")).await.session;
    let kept = q.poison(b).await;
    let two = PurgedDead {
        messages: 2,
        more: false,
    };
    assert_eq!(purge(Some(a)).await, two);
    assert!(is_there(q, kept).await);
    assert_eq!(purge(Some(a)).await, PurgedDead::default());
    assert_eq!(purge(None).await.messages, 1);
    assert!(!is_there(q, kept).await);
}
