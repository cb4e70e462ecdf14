//! The dispatcher under a storm: many enqueues race with runs that end and sessions that unload.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sessiond_queue::MemoryStore;
use sessiond_queue::ids::{EventId, SessionId};
use sessiond_queue::limits::Limits;
use sessiond_queue::store::Store;
use sessiond_queue::types::{Effect, Enqueue, Message, Session, SessionRef, Usage};
use tokio::time::Instant;

use super::{Context, ResultIndex, Sessions};
use crate::clock::Clock;
use crate::config::Config;
use crate::generator::{Generator, GeneratorFactory, Outcome};
use crate::search::SearchError;

/// Together 100,000 enqueues. The model store looks through all it holds, so each round has a new
/// one.
const ROUNDS: usize = 100;
const ENQUEUES: usize = 1_000;
const PRODUCERS: usize = 8;
const SESSIONS: usize = 32;
/// Of one round. Against hanging; says nothing about speed.
const LIMIT: Duration = Duration::from_secs(30);

/// Runs end and sessions unload after a millisecond, so that many wake-ups meet one that is just
/// going. A lost one leaves its message pending for ever, since nothing else wakes the session.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_message_is_left_behind_by_a_hundred_thousand_racing_enqueues() {
    for round in 0..ROUNDS {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new(Limits::default()));
        let sessions = start(Arc::clone(&store)).await;
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
        sessions.shutdown().await;
    }
}

/// Every eighth event, with pauses in which runs get ahead and end.
async fn produce(producer: usize, sessions: Sessions, store: Arc<dyn Store>) {
    for number in (producer..ENQUEUES).step_by(PRODUCERS) {
        let event = event(number % SESSIONS);
        let receipt = store.enqueue(event, Clock.now()).await.expect("room");
        sessions.wake(receipt.session, &Effect::None).await;
        if number % 100 == producer {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

async fn start(store: Arc<dyn Store>) -> Sessions {
    let mut settings = Config::default();
    settings.session.generator_idle_end_ms = 1;
    settings.session.idle_unload_ms = 1;
    let generation = store
        .begin_generation("test", Clock.now())
        .await
        .expect("a generation");
    Sessions::start(Arc::new(Context {
        store,
        generation,
        clock: Clock,
        settings: Arc::new(settings),
        factory: Arc::new(Nothing),
        index: Arc::new(Nothing),
        started: Instant::now(),
    }))
}

fn event(session: usize) -> Enqueue {
    Enqueue {
        event_id: EventId::mint(),
        session: SessionRef::Key {
            agent: "generic".to_owned(),
            key: session.to_string(),
        },
        kind: "Note".to_owned(),
        agent_id: None,
        payload: "{}".to_owned(),
        dedup: None,
        effect: Effect::None,
        cwd: None,
        project: None,
        accepted_at: Clock.now(),
    }
}

/// Makes nothing of anything.
struct Nothing;

#[async_trait]
impl GeneratorFactory for Nothing {
    async fn open(&self, _: &Session, _: Option<String>) -> Box<dyn Generator> {
        Box::new(Nothing)
    }
}

#[async_trait]
impl Generator for Nothing {
    fn name(&self) -> &'static str {
        "nothing"
    }

    async fn work(&mut self, _: &Message) -> Outcome {
        Outcome::Done {
            results: Vec::new(),
            checkpoint: None,
            usage: Usage::default(),
        }
    }
}

#[async_trait]
impl ResultIndex for Nothing {
    fn wake(&self) {}

    async fn forget(&self, _: SessionId) -> Result<(), SearchError> {
        Ok(())
    }
}
