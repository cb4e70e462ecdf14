//! Gathers what the doctor reports: from the running worker's parts, or from the files of a home
//! whose worker is not running or does not answer.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use sessiond_queue::error::StoreError;
use sessiond_queue::ids::Timestamp;
use sessiond_queue::store::Store;

use super::environment::leaks;
use super::report::{
    DepthLimits, InstanceReport, Listening, Problems, QueueReport, RejectedReport, Report,
    SearchReport, SpoolReport, StoreReport, Verdict,
};
use super::sessions::{self, Running};
use super::told::ToldVerdict;
use super::verdict::judge;
use super::{generators, processes};
use crate::config::Config;
use crate::errors::chain;
use crate::home;
use crate::http::Api;
use crate::instance::Discovery;
use crate::set_aside::SetAside;
use crate::spool::SpoolStatus;
use crate::wire::layout::Layout;
use crate::worktrees::WorktreesReport;

/// Rejected events in a report.
const REJECTED_MAX: usize = 20;

/// Examines a running worker.
pub struct Doctor {
    /// Where the files are.
    pub layout: Layout,
    /// As published.
    pub discovery: Discovery,
    /// Id of the install.
    pub install: String,
    /// The TCP side.
    pub tcp: Listening,
    /// Events that could not be accepted.
    pub set_aside: Arc<SetAside>,
    /// The verdict, as it was told last.
    pub told: ToldVerdict,
}

impl Doctor {
    /// Looks at everything; with `deep` also at every row.
    pub async fn examine(&self, api: &Api, deep: bool) -> Report {
        let now = api.context.clock.now();
        let store = api.context.store.as_ref();
        let (swept_at, sweep) = api.processes.swept().unzip();
        let takeover = match api.takeover.get() {
            Some(takeover) => {
                let worktrees = api.worktrees.taken_over();
                Some(takeover.report(store, sweep.as_ref(), worktrees).await)
            }
            None => None,
        };
        let mut report = Report {
            takeover,
            instance: Some(InstanceReport {
                discovery: self.discovery.clone(),
                generation: api.context.generation.0,
                install: self.install.clone(),
                uptime_ms: api.context.uptime_ms(),
                rss_bytes: rss_bytes(),
                ready: api.ready.load(Ordering::Acquire),
                tcp: self.tcp.clone(),
            }),
            spool: spool_report(&self.layout, Arc::clone(&self.set_aside)).await,
            search: search_report(api).await,
            worktrees: worktrees_report(api).await,
            upkeep: Some(api.upkeep.status()),
            clients: Some(api.clients.report()),
            generators: Some(generators::generators(&api.context, &api.processes)),
            spawns: generators::spawns(&api.processes, None, now).await,
            sweep,
            processes: Some(processes::of_worker(&api.processes, swept_at).await),
            environment_leaks: leaks(
                std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()),
            ),
            ..empty(now)
        };
        // Somebody may have written it since this worker started.
        let next = Config::load(self.layout.config_file(), Config::variables());
        report.problems.config = next.err().map(|error| chain(&error));
        if let Err(error) = examine_store(&mut report, store, Some(api), deep).await {
            let error = chain(&error);
            tracing::error!(error, "the doctor cannot read the store");
            report.problems.store = Some(error);
        }
        judge(&mut report);
        self.told.note(&report, &api.context.events);
        report
    }

    /// What hooks left.
    pub async fn spool_status(&self) -> io::Result<SpoolStatus> {
        let layout = self.layout.clone();
        tokio::task::spawn_blocking(move || SpoolStatus::read(&layout)).await?
    }
}

/// Examines the files of a home; `store` reads its database, if there is one. `problems` holds
/// what its caller found already.
pub async fn examine_files(
    layout: &Layout,
    store: Option<Arc<dyn Store>>,
    problems: Problems,
    now: Timestamp,
    deep: bool,
) -> Report {
    let set_aside = Arc::new(SetAside::new(layout.rejected_dir()));
    let mut report = Report {
        spool: spool_report(layout, set_aside).await,
        problems: Problems {
            home: home::problem(layout),
            spool: home::obstacle(&layout.spool_dir()),
            ..problems
        },
        ..empty(now)
    };
    // Whoever is just starting or stopping looks after them itself.
    if report.problems.occupant.is_none() {
        match processes::of_home(layout).await {
            Ok(found) => report.processes = found,
            Err(error) => report.problems.processes = Some(chain(&error)),
        }
    }
    if let Some(store) = store
        && let Err(error) = examine_store(&mut report, store.as_ref(), None, deep).await
    {
        report.problems.store = Some(chain(&error));
    }
    judge(&mut report);
    report
}

fn empty(at: Timestamp) -> Report {
    Report {
        verdict: Verdict::Failing,
        findings: Vec::new(),
        at,
        problems: Problems::default(),
        instance: None,
        store: None,
        queue: None,
        sessions: Vec::new(),
        generators: None,
        spawns: Vec::new(),
        sweep: None,
        takeover: None,
        processes: None,
        agents: None,
        spool: SpoolReport::default(),
        search: None,
        worktrees: None,
        upkeep: None,
        clients: None,
        environment_leaks: Vec::new(),
        deep: None,
    }
}

async fn search_report(api: &Api) -> Option<SearchReport> {
    let status = api.indexer.status();
    let behind = match api.search.behind(api.context.store.as_ref()).await {
        Ok(behind) => behind,
        Err(error) => {
            tracing::error!(error = chain(&error), "the doctor cannot read the index");
            return None;
        }
    };
    Some(SearchReport {
        behind,
        consecutive_failures: status.consecutive_failures,
        last_error: status.last_error,
        set_aside: api.state.set_aside().map(Path::to_owned),
    })
}

async fn worktrees_report(api: &Api) -> Option<WorktreesReport> {
    let report = api.worktrees.report().await;
    report
        .inspect_err(|error| {
            tracing::error!(error = chain(error), "the doctor cannot read the worktrees");
        })
        .ok()
}

async fn examine_store(
    report: &mut Report,
    store: &dyn Store,
    worker: Option<&Api>,
    deep: bool,
) -> Result<(), StoreError> {
    let info = store.info().await?;
    let free_bytes = info.path.as_deref().and_then(free_bytes);
    report.store = Some(StoreReport { info, free_bytes });
    let stats = store.stats().await?;
    let age = |at: Timestamp| u64::try_from(report.at.since(at).as_millis()).unwrap_or(u64::MAX);
    report.agents = worker.map(|api| api.agent_watch.report(stats.sessions.open));
    report.queue = Some(QueueReport {
        stats,
        oldest_age_ms: stats.oldest_pending_at.map(age),
        depth_limits: worker.map(|api| {
            let limits = &api.context.settings.queue;
            DepthLimits {
                session: limits.session_depth_max,
                all: limits.depth_max,
            }
        }),
    });
    if let Some(generators) = &mut report.generators {
        generators.today = store.usage_of_day(report.at.day()).await?;
    }
    report.sessions = match worker {
        Some(api) => {
            let today = report.generators.as_ref().map(|found| found.today);
            let running = Running {
                context: &api.context,
                live: api.sessions.live().await,
                today: today.unwrap_or_default(),
                now: report.at,
            };
            sessions::sessions(store, Some(running)).await?
        }
        None => sessions::sessions(store, None).await?,
    };
    if deep {
        report.deep = Some(store.verify().await?);
    }
    Ok(())
}

async fn spool_report(layout: &Layout, set_aside: Arc<SetAside>) -> SpoolReport {
    let layout = layout.clone();
    let read = move || {
        let status = SpoolStatus::read(&layout)?;
        let rejected = set_aside.list()?;
        Ok(SpoolReport {
            files: status.files,
            bytes: status.bytes,
            oldest_at: status.oldest_at,
            lost: status.lost,
            dropped: status.dropped,
            rejected_count: rejected.len() as u64 + set_aside.forgotten(),
            rejected: rejected
                .into_iter()
                .rev()
                .take(REJECTED_MAX)
                .map(|rejected| RejectedReport {
                    at: rejected.at,
                    agent: rejected.agent,
                    reason: rejected.reason,
                    bytes: rejected.bytes,
                    path: rejected.path,
                })
                .collect(),
            problem: None,
        })
    };
    let read = tokio::task::spawn_blocking(read)
        .await
        .unwrap_or_else(|error| Err(error.into()));
    read.unwrap_or_else(|error: io::Error| SpoolReport {
        problem: Some(error.to_string()),
        ..SpoolReport::default()
    })
}

fn free_bytes(path: &Path) -> Option<u64> {
    let dir: PathBuf = path.parent()?.to_owned();
    let stat = nix::sys::statvfs::statvfs(&dir).ok()?;
    #[allow(
        clippy::unnecessary_cast,
        reason = "the fields' widths differ between systems"
    )]
    Some(stat.blocks_available() as u64 * stat.fragment_size() as u64)
}

/// Resident memory of this process.
fn rss_bytes() -> Option<u64> {
    let pid = sysinfo::get_current_pid().ok()?;
    let mut system = sysinfo::System::new().ok()?;
    let only = sysinfo::ProcessesToUpdate::Some(&[pid]);
    let memory = sysinfo::ProcessRefreshKind::nothing()
        .with_memory()
        .without_tasks();
    system.refresh_processes_specifics(only, true, memory);
    Some(system.process(pid)?.memory())
}
