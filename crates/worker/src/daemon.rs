//! Builds the worker's parts, starts them in order, and stops them in order.
//!
//! ```text
//! start: lock -> stores -> serve -> rescue claims -> sweep processes -> ingest spool
//!        -> resume sessions
//! stop:  stop listening -> refuse to start programs -> unload all sessions, one deadline
//!        -> close stores -> unlock
//! ```
//!
//! The worker stops when it is asked to, and when the queue's writer has failed.

use std::future::Future;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use sessiond_queue::SqliteStore;
use sessiond_queue::error::{OpenError, StoreError};
use sessiond_queue::ids::SessionId;
use sessiond_queue::store::Store;
use sessiond_supervisor::registry;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::accept::Acceptor;
use crate::admission::Admission;
use crate::agent_watch::AgentWatch;
use crate::belongings::SessionBelongings;
use crate::clients::{self, Clients};
use crate::clock::Clock;
use crate::config::Config;
use crate::doctor::{Doctor, Listening, ToldVerdict, follow_the_verdict};
use crate::errors::chain;
use crate::events::{self, Event, Events, Feed};
use crate::generator::{
    DigestFactory, GeneratorFactory, ProgramFactory, ProgramSettings, RehearsalFactory,
};
use crate::http::{Api, BindError, ConnectionLimits, Listeners, Side, router, serve};
use crate::instance::{ClaimError, Discovery, Place};
use crate::launch::adopt_start_lock;
use crate::processes::SessionProcesses;
use crate::search::{Indexer, SearchError, SearchIndex};
use crate::sessions::{Context, ResultIndex, Sessions};
use crate::set_aside::SetAside;
use crate::spool_intake::SpoolIntake;
use crate::state::{OpenStateError, StateDb};
use crate::takeover::{Instances, PredecessorEnd, TakeOver};
use crate::upkeep::{self, Upkeep};
use crate::wire::layout::Layout;
use crate::worktrees::{self, Worktrees};

/// How long requests that are under way may take once the worker stops.
const REQUESTS_END: Duration = Duration::from_secs(2);

/// How long all of the stop may take once the queue cannot be written any more: nothing that is in
/// work can be stored, and events are accepted again only by the next worker.
const FAILED_END: Duration = Duration::from_secs(2);

/// The worker could not run.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// Another worker runs, or the home is not usable.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// The queue's database cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// What is not the queue's cannot be opened.
    #[error(transparent)]
    State(#[from] OpenStateError),
    /// The queue's database cannot be used.
    #[error("start on the queue")]
    Store(#[from] StoreError),
    /// The queue's writer has panicked, after the start.
    #[error("the queue's writer has ended by itself; the next worker takes up what is left")]
    WriterFailed,
    /// The records of processes cannot be used.
    #[error(transparent)]
    Registry(#[from] registry::OpenError),
    /// The unix socket cannot be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
}

/// Runs the worker of a home until `stop` is cancelled. It cancels that itself when the queue cannot
/// be written any more.
pub async fn run(
    layout: Layout,
    place: &Place,
    config: Config,
    stop: CancellationToken,
) -> Result<(), DaemonError> {
    let clock = Clock;
    let started = Instant::now();
    let started_at = clock.now();
    let settings = Arc::new(config);
    let stop_behind = CancellationToken::new();

    let (store, _told_by_the_doctor) =
        SqliteStore::open_or_set_aside(&layout.queue_db(), settings.limits(), started_at).await?;
    let worked = store.worked();
    let writer_failed = store.writer_failed();
    let store: Arc<dyn Store> = Arc::new(store);
    let state = StateDb::open(&layout.state_db(), started_at).await?;
    let search = SearchIndex::new(state.clone());
    let wanted_port = settings.http.tcp.then_some(settings.http.port);
    let listeners = Listeners::bind(&layout, wanted_port).await?;
    let port = listeners
        .tcp
        .as_ref()
        .and_then(|tcp| tcp.local_addr().ok())
        .map(|addr| addr.port());
    let discovery = Discovery::own(&layout, started_at, port);
    let generation = store
        .begin_generation(&discovery.instance, started_at)
        .await?;
    tracing::info!(
        instance = discovery.instance, generation = generation.0, home = %layout.root().display(),
        port, version = discovery.version, "worker started"
    );

    let instances = Instances::new(state.clone(), generation);
    let earlier = instances.begin(&discovery).await.unwrap_or_else(|error| {
        // Nor is anything else of `state.db` a reason not to take events.
        tracing::error!(error = chain(&error), "earlier runs are not known");
        Vec::new()
    });
    for died in earlier
        .iter()
        .filter(|it| it.end != PredecessorEnd::Stopped)
    {
        tracing::warn!(
            instance = died.instance, host = died.host, end = ?died.end,
            "an earlier worker did not end in order"
        );
    }

    let (indexer, indexing) =
        Indexer::start(search.clone(), Arc::clone(&store), stop_behind.clone());
    let events = Events::new(generation, settings.events.memory_max);
    let processes =
        SessionProcesses::open(&layout, place.install(), generation.0, &settings, &events)?;
    let (feed, telling) = Feed::start(events::Parts {
        events: events.clone(),
        state: state.clone(),
        store: Arc::clone(&store),
        settings: settings.events.clone(),
        cancel: stop_behind.clone(),
    })
    .await;
    let (agent_watch, agent_keeper) = AgentWatch::new(state.clone(), events.clone());
    if let Err(error) = agent_watch.load().await {
        let error = chain(&error);
        tracing::error!(
            error,
            "who the agents of earlier sessions were is not known"
        );
    }
    let (clients, keeping_clients) = Clients::open(clients::Parts {
        state: state.clone(),
        store: Arc::clone(&store),
        clock,
        events: events.clone(),
        settings: settings.clients.clone(),
        stop: stop_behind.clone(),
    })
    .await;
    let worktrees = Worktrees::new(worktrees::Parts {
        state: state.clone(),
        store: Arc::clone(&store),
        processes: processes.clone(),
        events: events.clone(),
        generation: generation.0,
        settings: Arc::clone(&settings),
        layout: layout.clone(),
    });
    let context = Arc::new(Context {
        store: Arc::clone(&store),
        generation,
        clock,
        settings: Arc::clone(&settings),
        factory: factory(&settings, &layout, &store, &processes),
        admission: Admission::new(&settings.generator),
        processes: Arc::new(processes.clone()),
        index: Arc::new(Index(indexer.clone())),
        belongings: Arc::new(SessionBelongings {
            agent_watch: agent_watch.clone(),
            clients: clients.clone(),
            worktrees: worktrees.clone(),
        }),
        events: events.clone(),
        started,
    });
    let sessions = Sessions::start(Arc::clone(&context));
    let set_aside = Arc::new(SetAside::new(layout.rejected_dir()));
    let acceptor = Arc::new(Acceptor::new(
        Arc::clone(&context),
        sessions.clone(),
        agent_watch.clone(),
        Arc::clone(&set_aside),
    ));
    let (upkeep, keep_up) = Upkeep::new(upkeep::Parts {
        store: Arc::clone(&store),
        worked,
        policy: settings.retention(),
        every: upkeep::ROUND_EVERY,
        quiet: upkeep::QUIET,
        cancel: stop_behind.clone(),
    });
    let parting = CancellationToken::new();
    let api = Arc::new(Api {
        context: Arc::clone(&context),
        sessions: sessions.clone(),
        acceptor: Arc::clone(&acceptor),
        agent_watch,
        state: state.clone(),
        clients,
        search,
        indexer,
        upkeep,
        processes: processes.clone(),
        feed,
        worktrees: worktrees.clone(),
        doctor: Doctor {
            layout: layout.clone(),
            discovery: discovery.clone(),
            install: place.install().to_owned(),
            tcp: match (listeners.tcp_problem.clone(), port) {
                (Some(problem), _) => Listening::Problem(problem),
                (None, Some(port)) => Listening::Port(port),
                (None, None) => Listening::Off,
            },
            set_aside: Arc::clone(&set_aside),
            told: ToldVerdict::default(),
        },
        takeover: OnceLock::new(),
        stop: stop.clone(),
        parting: parting.clone(),
        ready: AtomicBool::new(false),
    });

    // From here on hooks are served; those that wait for a start are let go.
    let token = place.token()?;
    let servers = serve_all(Arc::clone(&api), listeners, &token, &stop);
    place.publish(&discovery)?;
    drop(adopt_start_lock(&layout));

    let rescued = store.rescue(generation, clock.now()).await?;
    if rescued.pending + rescued.dead > 0 {
        tracing::info!(
            rescued.pending,
            rescued.dead,
            "claims of earlier instances rescued"
        );
    }
    events.emit(
        None,
        Event::WorkerStarted {
            instance: discovery.instance.as_str().into(),
            rescued: rescued.pending,
            dead: rescued.dead,
        },
    );
    processes.sweep(clock.now(), &events).await;
    let unfinished = store.unfinished().await?;
    let closing = unfinished.iter().filter(|left| left.closing.is_some());
    let takeover = TakeOver {
        earlier,
        rescued,
        closing: closing.map(|left| left.session).collect(),
        set_aside: place.set_aside().map(Path::to_owned),
    };
    // Set here only, and once.
    let _set_already = api.takeover.set(takeover);
    let intake = SpoolIntake::start(layout.clone(), acceptor, set_aside, stop.clone()).await;
    let resumed = sessions.resume().await?;
    let keeping = agent_keeper.run(Arc::clone(&store), sessions.clone(), stop_behind.clone());
    let keeping = tokio::spawn(keeping);
    tracing::info!(resumed, start_ms = context.uptime_ms(), "worker ready");
    api.ready.store(true, Ordering::Release);
    let upkeep = tokio::spawn(keep_up);
    let judging = tokio::spawn(follow_the_verdict(Arc::clone(&api), stop_behind.clone()));
    let taking_over = tokio::spawn(take_over(worktrees));

    let (outcome, may_take) = tokio::select! {
        () = stop.cancelled() => (
            Ok(()),
            Duration::from_millis(settings.session.shutdown_deadline_ms),
        ),
        () = writer_failed => {
            tracing::error!("the queue's writer has ended by itself: the worker stops");
            stop.cancel();
            (Err(DaemonError::WriterFailed), FAILED_END)
        }
    };
    events.emit(None, Event::WorkerStopping);
    parting.cancel();
    place.withdraw();
    processes.supervisor().refuse_spawns();
    let deadline = Instant::now() + may_take;
    within(
        deadline.min(Instant::now() + REQUESTS_END),
        "requests",
        finish_all(servers),
    )
    .await;
    within(deadline, "sessions", sessions.shutdown(deadline)).await;
    within(deadline, "spool", intake.finished()).await;
    // Whatever it is at, the next start takes it up again.
    taking_over.abort();
    stop_behind.cancel();
    within(deadline, "agent watch", finish(keeping)).await;
    within(deadline, "indexer", finish(indexing)).await;
    within(deadline, "upkeep", finish(upkeep)).await;
    within(deadline, "clients", finish(keeping_clients)).await;
    within(deadline, "doctor", finish(judging)).await;
    within(deadline, "events", finish(telling)).await;
    if outcome.is_ok()
        && let Err(error) = instances.stop(clock.now()).await
    {
        tracing::warn!(
            error = chain(&error),
            "that this run ends in order is not recorded"
        );
    }
    within(deadline, "state", state.close()).await;
    within(deadline, "store", store.close()).await;
    tracing::info!("worker stopped");
    outcome
}

fn factory(
    settings: &Arc<Config>,
    layout: &Layout,
    store: &Arc<dyn Store>,
    processes: &SessionProcesses,
) -> Arc<dyn GeneratorFactory> {
    let factory: Arc<dyn GeneratorFactory> = if settings.generator.has_programs() {
        let program_settings = ProgramSettings {
            generator: settings.generator.clone(),
            stop_wait: Duration::from_millis(settings.session.generator_stop_wait_ms),
            home: layout.root().to_owned(),
            own_env: std::env::vars_os().collect(),
        };
        let supervisor = processes.supervisor().clone();
        Arc::new(ProgramFactory::new(
            supervisor,
            Arc::clone(store),
            program_settings,
        ))
    } else {
        Arc::new(DigestFactory)
    };
    let rehearsal = &settings.rehearsal;
    if rehearsal.delay_ms == 0 && rehearsal.fail_kind.is_empty() {
        return factory;
    }
    tracing::warn!(
        ?rehearsal,
        "rehearsal: the generator is slow or fails on purpose"
    );
    Arc::new(RehearsalFactory::new(factory, rehearsal.clone()))
}

/// Serves until `stop`; then the listeners close and requests under way are finished.
fn serve_all(
    api: Arc<Api>,
    listeners: Listeners,
    token: &str,
    stop: &CancellationToken,
) -> JoinSet<()> {
    let settings = &api.context.settings.http;
    let (tcp_limits, unix_limits) = (
        ConnectionLimits::tcp(settings),
        ConnectionLimits::unix(settings),
    );
    let mut servers = JoinSet::new();
    if let Some(tcp) = listeners.tcp {
        let port = tcp.local_addr().map_or(0, |address| address.port());
        let guarded = router(Arc::clone(&api), Side::Tcp(port), token);
        servers.spawn(serve(tcp, guarded, tcp_limits, stop.clone()));
    }
    let guarded = router(api, Side::Unix, token);
    servers.spawn(serve(listeners.unix, guarded, unix_limits, stop.clone()));
    servers
}

async fn finish_all(mut servers: JoinSet<()>) {
    while let Some(ended) = servers.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "a listener panicked");
        }
    }
}

async fn finish(task: JoinHandle<()>) {
    if let Err(error) = task.await {
        tracing::error!(%error, "a task panicked");
    }
}

async fn within(deadline: Instant, part: &'static str, stopping: impl Future<Output = ()>) {
    if tokio::time::timeout_at(deadline, stopping).await.is_err() {
        tracing::warn!(
            part,
            "did not stop in time; the next start takes up what it left"
        );
    }
}

/// Looks after the worktrees of earlier instances, behind everything else.
async fn take_over(worktrees: Worktrees) {
    match worktrees.take_over().await {
        Ok(taken) if taken.is_empty() => {}
        Ok(taken) => tracing::info!(?taken, "worktrees of earlier instances taken over"),
        Err(error) => tracing::error!(
            error = chain(&error),
            "worktrees of earlier instances cannot be taken over"
        ),
    }
}

/// The search index as sessions see it.
struct Index(Indexer);

#[async_trait]
impl ResultIndex for Index {
    fn wake(&self) {
        self.0.wake();
    }

    async fn forget(&self, session: SessionId) -> Result<(), SearchError> {
        self.0.remove_session(session).await
    }
}
