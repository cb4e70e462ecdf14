//! The dispatcher by itself, over stores in memory: a storm of wake-ups, and stores that fail at
//! the wrong moment. What a user sees of sessions is tested over the real binary.

mod faults;
mod flaky;
mod program;
mod program_storm;
mod programs;
mod storm;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use sessiond_queue::ids::{EventId, Generation, SessionId};
use sessiond_queue::store::Store;
use sessiond_queue::types::{Effect, Enqueue, Message, Session, SessionRef, Usage};
use tokio::time::Instant;

use super::{Context, NoBelongings, NoProcesses, ResultIndex, Sessions};
use crate::admission::Admission;
use crate::clock::Clock;
use crate::config::Config;
use crate::events::Events;
use crate::generator::{
    About, FailureClass, Generator, GeneratorFactory, Kind, OpenError, Outcome,
};
use crate::search::SearchError;

/// Against hanging; says nothing about speed.
const LIMIT: Duration = Duration::from_secs(30);

/// The parts beside the store: a generator and an index, made to order.
#[derive(Default)]
struct Part {
    /// How long each message takes.
    delay_ms: u64,
    /// The next message fails.
    fail_work: AtomicBool,
    /// The next purge cannot clear the index.
    fail_forget: AtomicBool,
    /// Generators that are open.
    generators: AtomicU64,
}

/// A dispatcher over `store`, with short backoffs.
fn start(store: Arc<dyn Store>, part: Arc<Part>, tune: impl FnOnce(&mut Config)) -> Sessions {
    let factory = Arc::new(Factory(Arc::clone(&part)));
    Sessions::start(context(store, factory, part, tune))
}

fn context(
    store: Arc<dyn Store>,
    factory: Arc<dyn GeneratorFactory>,
    part: Arc<Part>,
    tune: impl FnOnce(&mut Config),
) -> Arc<Context> {
    let mut settings = Config::default();
    settings.queue.backoff_base_ms = 5;
    tune(&mut settings);
    Arc::new(Context {
        store,
        generation: Generation(1),
        clock: Clock,
        admission: Admission::new(&settings.generator),
        settings: Arc::new(settings),
        factory,
        processes: Arc::new(NoProcesses),
        index: Arc::new(Index(part)),
        belongings: Arc::new(NoBelongings),
        events: Events::default(),
        started: Instant::now(),
    })
}

fn event(key: &str, effect: Effect) -> Enqueue {
    Enqueue {
        event_id: EventId::mint(),
        session: SessionRef::Key {
            agent: "generic".to_owned(),
            key: key.to_owned(),
        },
        kind: "Note".to_owned(),
        agent_id: None,
        payload: "{}".to_owned(),
        dedup: None,
        effect,
        cwd: None,
        project: None,
        accepted_at: Clock.now(),
    }
}

struct Factory(Arc<Part>);

#[async_trait]
impl GeneratorFactory for Factory {
    fn kind(&self, _: &Session) -> Kind {
        Kind {
            name: "test".into(),
            is_program: false,
        }
    }

    async fn open(&self, _: &Session, _: Option<String>) -> Result<Box<dyn Generator>, OpenError> {
        self.0.generators.fetch_add(1, Ordering::SeqCst);
        Ok(Box::new(Opened(Arc::clone(&self.0))))
    }
}

struct Opened(Arc<Part>);

impl Drop for Opened {
    fn drop(&mut self) {
        self.0.generators.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl Generator for Opened {
    fn about(&self) -> About {
        About::default()
    }

    async fn work(&mut self, _: &Message) -> Outcome {
        tokio::time::sleep(Duration::from_millis(self.0.delay_ms)).await;
        if self.0.fail_work.swap(false, Ordering::SeqCst) {
            return Outcome::Failed {
                class: FailureClass::Retry,
                reason: "ordered".to_owned(),
                retry_after: None,
            };
        }
        Outcome::Done {
            results: Vec::new(),
            checkpoint: None,
            usage: Usage::default(),
        }
    }
}

struct Index(Arc<Part>);

#[async_trait]
impl ResultIndex for Index {
    fn wake(&self) {}

    async fn forget(&self, _: SessionId) -> Result<(), SearchError> {
        if self.0.fail_forget.swap(false, Ordering::SeqCst) {
            return Err(SearchError::Database(sqlx::Error::PoolTimedOut));
        }
        Ok(())
    }
}
