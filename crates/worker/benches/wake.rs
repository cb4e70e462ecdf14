//! `wake`: from the moment an event is committed to the moment its generator has the message, which
//! includes the commit of the claim; beside one raw commit.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use sessiond::admission::Admission;
use sessiond::clock::Clock;
use sessiond::config::Config;
use sessiond::events::Events;
use sessiond::generator::{About, Generator, GeneratorFactory, Kind, OpenError, Outcome};
use sessiond::search::SearchError;
use sessiond::sessions::{Context, NoBelongings, NoProcesses, ResultIndex, Sessions};
use sessiond_queue::SqliteStore;
use sessiond_queue::ids::{EventId, SessionId};
use sessiond_queue::store::Store;
use sessiond_queue::types::{Effect, Enqueue, Message, Session, SessionRef, Usage};
use tokio::sync::mpsc;

use crate::raw::Raw;
use crate::stats::{Times, ratio};

const ROUNDS: usize = 1_000;

pub(crate) fn run() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let mut spells = runtime.block_on(measure(1, ROUNDS))?;
    for Spell { wake, commit } in &mut spells {
        wake.print("committed -> generator has the message");
        commit.print("one raw commit, synchronous=FULL");
        let median = ratio(wake.median(), commit.median());
        let p99 = ratio(wake.percentile(99), commit.median());
        println!("p50 = {median:.2} raw commits (to reach: 2.00), p99 = {p99:.2} (to reach: 6.00)");
    }
    Ok(())
}

/// Times of one stretch of rounds, each of an event and a raw commit.
pub(crate) struct Spell {
    /// From the commit of an event to its generator.
    pub(crate) wake: Times,
    /// One raw commit.
    pub(crate) commit: Times,
}

/// Measures so many stretches of so many rounds.
pub(crate) async fn measure(spells: usize, rounds: usize) -> anyhow::Result<Vec<Spell>> {
    let dir = tempfile::tempdir()?;
    let raw = Raw::open(&dir.path().join("raw.db"))?;
    let settings = Config::default();
    let store: Arc<dyn Store> =
        Arc::new(SqliteStore::open(&dir.path().join("queue.db"), settings.limits()).await?);
    let generation = store.begin_generation("bench", Clock.now()).await?;
    let (arrived, mut arrivals) = mpsc::unbounded_channel();
    let admission = Admission::new(&settings.generator);
    let context = Arc::new(Context {
        store: Arc::clone(&store),
        generation,
        clock: Clock,
        settings: Arc::new(settings),
        factory: Arc::new(Probe(arrived)),
        admission,
        processes: Arc::new(NoProcesses),
        index: Arc::new(NoIndex),
        belongings: Arc::new(NoBelongings),
        events: Events::default(),
        started: tokio::time::Instant::now(),
    });
    let sessions = Sessions::start(context);
    let mut measured = Vec::new();
    for spell in 0..spells {
        let (mut wake, mut commit) = (Times::default(), Times::default());
        for round in spell * rounds..(spell + 1) * rounds {
            commit.push(raw.commit(&"x".repeat(1000))?);
            let receipt = store.enqueue(event(round), Clock.now()).await?;
            let committed = Instant::now();
            sessions.wake(receipt.session, &Effect::None).await;
            let at: Instant = arrivals
                .recv()
                .await
                .ok_or_else(|| anyhow::anyhow!("no arrival"))?;
            wake.push(at.saturating_duration_since(committed));
            // The confirm must not be under way when the next one is measured.
            while store.stats().await?.depth.done <= round as i64 {
                tokio::task::yield_now().await;
            }
        }
        measured.push(Spell { wake, commit });
    }
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    tokio::time::timeout_at(deadline, sessions.shutdown(deadline)).await?;
    store.close().await;
    Ok(measured)
}

fn event(round: usize) -> Enqueue {
    Enqueue {
        event_id: EventId::mint(),
        session: SessionRef::Key {
            agent: "generic".to_owned(),
            key: "bench".to_owned(),
        },
        kind: "Note".to_owned(),
        agent_id: None,
        payload: format!(r#"{{"number":{round},"text":"{}"}}"#, "x".repeat(900)),
        dedup: None,
        effect: Effect::None,
        cwd: None,
        project: None,
        accepted_at: Clock.now(),
    }
}

/// Tells when a message arrives.
struct Probe(mpsc::UnboundedSender<Instant>);

#[async_trait]
impl GeneratorFactory for Probe {
    fn kind(&self, _: &Session) -> Kind {
        Kind {
            name: "probe".into(),
            is_program: false,
        }
    }

    async fn open(&self, _: &Session, _: Option<String>) -> Result<Box<dyn Generator>, OpenError> {
        Ok(Box::new(Probe(self.0.clone())))
    }
}

#[async_trait]
impl Generator for Probe {
    fn about(&self) -> About {
        About::default()
    }

    async fn work(&mut self, _: &Message) -> Outcome {
        // The measurement may have ended.
        let _ended = self.0.send(Instant::now());
        Outcome::Done {
            results: Vec::new(),
            checkpoint: None,
            usage: Usage::default(),
        }
    }
}

struct NoIndex;

#[async_trait]
impl ResultIndex for NoIndex {
    fn wake(&self) {}

    async fn forget(&self, _: SessionId) -> Result<(), SearchError> {
        Ok(())
    }
}
