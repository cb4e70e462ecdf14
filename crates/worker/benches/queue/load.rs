//! What the rows are made of: stores, events, callers.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use sessiond::clock::Clock;
use sessiond_queue::SqliteStore;
use sessiond_queue::ids::{EventId, Generation, SessionId};
use sessiond_queue::limits::Limits;
use sessiond_queue::store::Store as _;
use sessiond_queue::types::{
    Claim, Claimed, Confirm, Effect, Enqueue, NewResult, OpenSession, Release, ReleaseWhy,
    SessionRef, Usage,
};
use tokio::task::JoinSet;

use crate::stats::Times;

pub(super) type Queue = Arc<SqliteStore>;

/// Events under way while a store is filled, which is not measured.
const FILL_WIDTH: usize = 4096;

/// Payload of events that are measured.
pub(super) fn payload() -> String {
    format!(r#"{{"text":"{}"}}"#, "x".repeat(1024 - 11))
}

/// Opens a store that takes any number of events.
pub(super) async fn open(path: &Path) -> anyhow::Result<Queue> {
    open_with(path, Limits::default().batch_max).await
}

/// The same for filling it: with larger batches.
pub(super) async fn open_to_fill(path: &Path) -> anyhow::Result<Queue> {
    open_with(path, FILL_WIDTH).await
}

async fn open_with(path: &Path, batch_max: usize) -> anyhow::Result<Queue> {
    let limits = Limits {
        session_depth_max: i64::MAX,
        depth_max: i64::MAX,
        batch_max,
        ..Limits::default()
    };
    Ok(Arc::new(SqliteStore::open(path, limits).await?))
}

/// Names the session with this number.
pub(super) fn session(name: &str, number: usize) -> SessionRef {
    SessionRef::Key {
        agent: "generic".to_owned(),
        key: format!("{name}-{number}"),
    }
}

pub(super) fn event(session: SessionRef, payload: &str) -> Enqueue {
    Enqueue {
        event_id: EventId::mint(),
        session,
        kind: "Note".to_owned(),
        agent_id: None,
        payload: payload.to_owned(),
        dedup: None,
        effect: Effect::None,
        cwd: None,
        project: None,
        accepted_at: Clock.now(),
    }
}

/// Stores `events` events, one session after the other and round again.
pub(super) async fn fill(
    store: &Queue,
    sessions: &[SessionRef],
    events: usize,
    payload: &str,
) -> anyhow::Result<()> {
    stream::iter(0..events)
        .map(|number| {
            let session = sessions[number % sessions.len()].clone();
            store.enqueue(event(session, payload), Clock.now())
        })
        .buffer_unordered(FILL_WIDTH)
        .try_for_each(|_| std::future::ready(Ok(())))
        .await?;
    Ok(())
}

/// The ids of sessions, created where they are not known.
pub(super) async fn ids(store: &Queue, sessions: &[SessionRef]) -> anyhow::Result<Vec<SessionId>> {
    let opened = stream::iter(sessions)
        .map(|session| open_session(store, session))
        .buffered(256);
    opened.try_collect().await
}

async fn open_session(store: &Queue, session: &SessionRef) -> anyhow::Result<SessionId> {
    match session {
        SessionRef::Id(id) => Ok(*id),
        SessionRef::Key { agent, key } => {
            let open = OpenSession {
                agent: agent.clone(),
                key: key.clone(),
                cwd: None,
                project: None,
                metadata: serde_json::Map::new(),
            };
            Ok(store.open_session(open, Clock.now()).await?.id)
        }
    }
}

/// What callers did together.
#[derive(Default)]
pub(super) struct Done {
    pub(super) messages: usize,
    pub(super) took: Duration,
    /// Of each call that is timed.
    pub(super) times: Times,
}

impl Done {
    pub(super) fn per_second(&self) -> f64 {
        self.messages as f64 / self.took.as_secs_f64()
    }
}

/// Tasks, one a session, that each enqueue one event after the other for as long as `spell` lasts.
pub(super) fn producers(
    store: &Queue,
    sessions: &[SessionRef],
    spell: Duration,
) -> JoinSet<anyhow::Result<Times>> {
    let until = Instant::now() + spell;
    let mut tasks = JoinSet::new();
    for session in sessions {
        let (store, session, payload) = (Arc::clone(store), session.clone(), payload());
        tasks.spawn(async move {
            let mut times = Times::default();
            while Instant::now() < until {
                let event = event(session.clone(), &payload);
                let began = Instant::now();
                store.enqueue(event, Clock.now()).await?;
                times.push(began.elapsed());
            }
            Ok(times)
        });
    }
    tasks
}

/// When a consumer stops.
#[derive(Clone, Copy)]
pub(super) enum Until {
    /// When its session has nothing left.
    Empty,
    /// At that moment; it is an error to find nothing before.
    At(Instant),
}

/// Tasks, one a session, that each claim a message and confirm it with one result, over and over.
pub(super) fn consumers(
    store: &Queue,
    generation: Generation,
    sessions: &[SessionId],
    until: Until,
) -> JoinSet<anyhow::Result<Times>> {
    let mut tasks = JoinSet::new();
    for session in sessions {
        let (store, session) = (Arc::clone(store), *session);
        tasks.spawn(async move {
            let mut times = Times::default();
            loop {
                if matches!(until, Until::At(end) if Instant::now() >= end) {
                    return Ok(times);
                }
                let began = Instant::now();
                match (store.claim(session, generation, Clock.now()).await?, until) {
                    (Claimed::Message(claim), _) => {
                        store.confirm(confirmed(&claim), Clock.now()).await?;
                        times.push(began.elapsed());
                    }
                    (Claimed::Empty, Until::Empty) => return Ok(times),
                    (other, _) => anyhow::bail!("a consumer found {other:?}"),
                }
            }
        });
    }
    tasks
}

/// Waits for tasks that began at `began`.
pub(super) async fn finish(
    mut tasks: JoinSet<anyhow::Result<Times>>,
    began: Instant,
) -> anyhow::Result<Done> {
    let mut done = Done::default();
    while let Some(times) = tasks.join_next().await {
        done.times.extend(times??);
    }
    done.took = began.elapsed();
    done.messages = done.times.len();
    Ok(done)
}

/// The end of a claim, with one result.
pub(super) fn confirmed(claim: &Claim) -> Confirm {
    Confirm {
        message: claim.message.id,
        fence: claim.fence,
        results: vec![NewResult {
            kind: "observation".to_owned(),
            title: "what happened".to_owned(),
            body: "y".repeat(200),
            files: Vec::new(),
            tags: Vec::new(),
        }],
        checkpoint: None,
        usage: Usage::default(),
    }
}

/// The return of a claim, as if it had never been.
pub(super) fn given_back(claim: &Claim) -> Release {
    Release {
        message: claim.message.id,
        fence: claim.fence,
        why: ReleaseWhy::GiveBack {
            reason: "measured".to_owned(),
            not_before: None,
        },
    }
}

/// Claims the head of a session that has one.
pub(super) async fn claim(
    store: &Queue,
    session: SessionId,
    generation: Generation,
) -> anyhow::Result<Claim> {
    match store.claim(session, generation, Clock.now()).await? {
        Claimed::Message(claim) => Ok(*claim),
        other => anyhow::bail!("session {session}: nothing to claim, {other:?}"),
    }
}
