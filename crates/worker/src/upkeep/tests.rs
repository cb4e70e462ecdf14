//! When the upkeep deletes, over the store in memory.

use sessiond_queue::MemoryStore;
use sessiond_queue::ids::{EventId, MessageId};
use sessiond_queue::limits::Limits;
use sessiond_queue::types::{Effect, Enqueue, MessageFilter, SessionRef};

use super::*;

/// Longer than anything here takes.
const LIMIT: Duration = Duration::from_secs(10);

struct Kept {
    store: Arc<MemoryStore>,
    worked: Arc<Notify>,
    upkeep: Upkeep,
    cancel: CancellationToken,
}

impl Kept {
    /// A store with one cancelled message, and its upkeep.
    async fn start(policy: Retention, every: Duration, finished_at: Timestamp) -> Self {
        let store = Arc::new(MemoryStore::new(Limits::default()));
        finish(&store, finished_at).await;
        let (worked, cancel) = (Arc::new(Notify::new()), CancellationToken::new());
        let (upkeep, task) = Upkeep::new(Parts {
            store: store.clone(),
            worked: worked.clone(),
            policy,
            every,
            quiet: Duration::ZERO,
            cancel: cancel.clone(),
        });
        tokio::spawn(task);
        Self {
            store,
            worked,
            upkeep,
            cancel,
        }
    }

    async fn messages(&self) -> usize {
        let all = self.store.messages(MessageFilter::default()).await;
        all.expect("the messages are listed").len()
    }

    async fn wait_for_none(&self) {
        let gone = async {
            while self.messages().await > 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let gone = tokio::time::timeout(LIMIT, gone).await;
        gone.expect("the messages are deleted");
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

/// Adds a cancelled message.
async fn finish(store: &MemoryStore, at: Timestamp) -> MessageId {
    let event = Enqueue {
        event_id: EventId::mint(),
        session: SessionRef::Key {
            agent: "agent".to_owned(),
            key: "a".to_owned(),
        },
        kind: "X".to_owned(),
        agent_id: None,
        payload: "{}".to_owned(),
        dedup: None,
        effect: Effect::None,
        cwd: None,
        project: None,
        accepted_at: at,
    };
    let stored = store.enqueue(event, at).await;
    let message = stored.expect("the event is stored").message;
    let cancelled = store.cancel(message, at).await;
    cancelled.expect("the message is cancelled");
    message
}

const NONE: Retention = Retention {
    done_age: None,
    done_max: Some(0),
    dead_age: None,
    dead_max: None,
};

#[tokio::test]
async fn round_follows_the_start_and_then_work_alone() {
    let kept = Kept::start(NONE, Duration::ZERO, Clock.now()).await;
    kept.wait_for_none().await;
    let status = kept.upkeep.status();
    assert_eq!((status.done, status.dead, status.last_error), (1, 0, None));
    assert!(status.at.is_some());

    finish(&kept.store, Clock.now()).await;
    for _ in 0..1_000 {
        // A round would come in here, on the one thread there is.
        tokio::task::yield_now().await;
    }
    assert_eq!(kept.messages().await, 1, "nothing wakes what is at rest");
    kept.worked.notify_one();
    kept.wait_for_none().await;
}

#[tokio::test]
async fn rounds_keep_their_distance() {
    const EVERY: Duration = Duration::from_millis(300);
    let begun = Instant::now();
    let kept = Kept::start(NONE, EVERY, Clock.now()).await;
    kept.wait_for_none().await;
    finish(&kept.store, Clock.now()).await;
    kept.worked.notify_one();
    kept.wait_for_none().await;
    assert!(begun.elapsed() >= EVERY);
}

#[tokio::test]
async fn message_that_becomes_too_old_needs_no_work_to_go() {
    let age = Duration::from_secs(3600);
    let policy = Retention {
        done_age: Some(age),
        done_max: None,
        ..NONE
    };
    let soon = Timestamp(Clock.now().0 + 50 - 3_600_000);
    let kept = Kept::start(policy, Duration::ZERO, soon).await;
    kept.wait_for_none().await;
    assert!(Clock.now() >= soon.after(age), "not before its time");
}

#[tokio::test]
async fn failure_is_told() {
    let kept = Kept::start(Retention::default(), Duration::ZERO, Clock.now()).await;
    kept.store.close().await;
    let told = async {
        while kept.upkeep.status().last_error.is_none() {
            kept.worked.notify_one();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let told = tokio::time::timeout(LIMIT, told).await;
    told.expect("the doctor is told");
}
