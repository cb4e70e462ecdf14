//! The dispatcher under a storm: many enqueues race with runs that end and sessions that unload.

use std::sync::Arc;
use std::time::Duration;

use sessiond_queue::MemoryStore;
use sessiond_queue::limits::Limits;
use sessiond_queue::store::Store;
use sessiond_queue::types::Effect;
use tokio::time::Instant;

use super::{LIMIT, Part, event, start};
use crate::clock::Clock;
use crate::sessions::Sessions;

/// Together 100,000 enqueues. The model store looks through all it holds, so each round has a new
/// one.
const ROUNDS: usize = 100;
const ENQUEUES: usize = 1_000;
const PRODUCERS: usize = 8;
const SESSIONS: usize = 32;

/// Runs end and sessions unload after a millisecond, so that many wake-ups meet one that is just
/// going. A lost one leaves its message pending for ever, since nothing else wakes the session.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_message_is_left_behind_by_a_hundred_thousand_racing_enqueues() {
    for round in 0..ROUNDS {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new(Limits::default()));
        let sessions = start(Arc::clone(&store), Arc::new(Part::default()), |settings| {
            settings.session.generator_idle_end_ms = 1;
            settings.session.idle_unload_ms = 1;
        });
        let producers = (0..PRODUCERS)
            .map(|producer| tokio::spawn(produce(producer, sessions.clone(), Arc::clone(&store))));
        for producer in futures::future::join_all(producers).await {
            producer.expect("no panic");
        }
        let deadline = Instant::now() + LIMIT;
        loop {
            let stats = store.stats().await.expect("stats");
            if stats.depth.done == ENQUEUES as i64 {
                break;
            }
            let is_late = Instant::now() >= deadline;
            assert!(
                !is_late,
                "round {round}: {stats:?}, {:?}",
                sessions.live().await
            );
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        sessions.shutdown(Instant::now() + LIMIT).await;
    }
}

/// Every eighth event, with pauses in which runs get ahead and end.
async fn produce(producer: usize, sessions: Sessions, store: Arc<dyn Store>) {
    for number in (producer..ENQUEUES).step_by(PRODUCERS) {
        let event = event(&(number % SESSIONS).to_string(), Effect::None);
        let receipt = store.enqueue(event, Clock.now()).await.expect("room");
        sessions.wake(receipt.session, &Effect::None).await;
        if number % 100 == producer {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}
