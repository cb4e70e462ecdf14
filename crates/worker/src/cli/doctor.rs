//! `sessiond doctor`: asks the running worker, or looks at the files when there is none.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use sessiond_queue::SqliteStore;
use sessiond_queue::error::OpenError;
use sessiond_queue::ids::Timestamp;
use sessiond_queue::limits::Limits;
use sessiond_queue::store::Store;

use super::client::Client;
use super::table::{age, ago, bytes, clean, clock_time, or_dash, print, short};
use super::{CliError, Global, clients, processes, spawns};
use crate::clock::Clock;
use crate::doctor::{Listening, Problems, Report, SessionReport, Verdict, examine_files};
use crate::errors::chain;
use crate::occupant::{Occupant, Phase};
use crate::takeover::{Item, ItemKind, ItemOutcome, Predecessor, PredecessorEnd, TakeOverReport};
use crate::words::counted;

pub(super) async fn doctor(global: &Global, deep: bool) -> Result<ExitCode, CliError> {
    let report = examine(global, deep).await?;
    if global.json {
        println!(
            "{}",
            serde_json::to_string_pretty(&report).map_err(anyhow::Error::new)?
        );
    } else {
        show(global, &report);
    }
    Ok(exit_code(report.verdict))
}

/// What the doctor says, in a number.
pub(super) fn exit_code(verdict: Verdict) -> ExitCode {
    match verdict {
        Verdict::Ok => ExitCode::SUCCESS,
        Verdict::Degraded => ExitCode::from(10),
        Verdict::Failing => ExitCode::from(11),
    }
}

/// By the running worker, or by the files when there is none.
pub(super) async fn examine(global: &Global, deep: bool) -> Result<Report, CliError> {
    let client = Client::waiting(global, Duration::ZERO)?;
    let path = "/v1/admin/doctor";
    let answer = if deep {
        // Every row is read.
        let query = [("deep", Some("true".to_owned()))];
        client.send_and_wait(Method::GET, path, &query).await
    } else {
        client.get(path).await
    };
    Ok(match answer {
        Err(CliError::NotRunning | CliError::Unfit(_)) => {
            without_worker(global, Problems::default(), deep).await
        }
        Err(CliError::NotServing(occupant)) => {
            let occupant = Some(occupant);
            let problems = Problems {
                occupant,
                ..Problems::default()
            };
            without_worker(global, problems, deep).await
        }
        Err(CliError::NotAnswering { holder }) => {
            let not_answering = Some(holder);
            let problems = Problems {
                not_answering,
                ..Problems::default()
            };
            without_worker(global, problems, deep).await
        }
        answer => answer?,
    })
}

/// Looks at the files; `problems` holds who has the home's lock and does not answer.
async fn without_worker(global: &Global, problems: Problems, deep: bool) -> Report {
    let path = global.layout.queue_db();
    let mut problems = Problems {
        config: global.config().err().map(|error| chain(&error)),
        ..problems
    };
    let starting =
        |occupant: Option<Occupant>| occupant.filter(|occupant| occupant.phase == Phase::Starting);
    let mut store: Option<Arc<dyn Store>> = None;
    // One that is starting may be making the database just now. Otherwise, what cannot be looked at
    // is not absent.
    if starting(problems.occupant).is_none() && path.try_exists().unwrap_or(true) {
        match SqliteStore::open_read_only(&path, Limits::default()).await {
            Ok(opened) => store = Some(Arc::new(opened)),
            Err(error @ OpenError::Older { .. }) => problems.older_store = Some(chain(&error)),
            Err(error @ OpenError::Newer { .. }) => problems.newer_store = Some(chain(&error)),
            Err(error) => match starting(Occupant::look(&global.layout)) {
                Some(begun_since) => problems.occupant = Some(begun_since),
                None => problems.store = Some(chain(&error)),
            },
        }
    }
    examine_files(&global.layout, store, problems, Clock.now(), deep).await
}

/// The verdict, with its reasons.
pub(super) fn show_verdict(report: &Report) {
    let verdict = match report.verdict {
        Verdict::Ok => "ok: everything handed over is worked or in work",
        Verdict::Degraded => "degraded: it works, and something needs a look",
        Verdict::Failing => "failing: something does not work",
    };
    println!("{verdict}");
    for finding in &report.findings {
        let level = format!("{:?}", finding.level).to_lowercase();
        println!(
            "\n  {level} ({}): {}",
            finding.code,
            clean(&finding.message)
        );
        println!("  -> {}", clean(&finding.advice));
    }
}

fn show(global: &Global, report: &Report) {
    show_verdict(report);
    println!();
    println!("home      {}", global.layout.root().display());
    if let Some(instance) = &report.instance {
        let discovery = &instance.discovery;
        println!(
            "worker    process {}, version {}, up {}, run {} of this home{}",
            discovery.pid,
            discovery.version,
            age(instance.uptime_ms / 1000),
            instance.generation,
            instance
                .rss_bytes
                .map_or_else(String::new, |rss| format!(", {}", bytes(rss))),
        );
        let tcp = match &instance.tcp {
            Listening::Off => "no TCP side".to_owned(),
            Listening::Port(port) => format!("127.0.0.1:{port}"),
            Listening::Problem(problem) => problem.clone(),
        };
        println!("listens   {}, {tcp}", discovery.socket.display());
    }
    if let Some(takeover) = &report.takeover {
        show_takeover(takeover);
    }
    if let Some(store) = &report.store {
        let info = &store.info;
        let pragma = |name: &str| {
            let found = info.pragmas.iter().find(|(known, _)| known == name);
            found.map_or("-", |(_, value)| value.as_str())
        };
        println!(
            "store     {} {}, schema {}, {}, WAL {}; journal_mode {}, synchronous {}",
            info.engine,
            info.engine_version,
            info.schema_version,
            bytes(info.size_bytes),
            bytes(info.wal_bytes),
            pragma("journal_mode"),
            pragma("synchronous"),
        );
    }
    if let Some(queue) = &report.queue {
        let depth = queue.stats.depth;
        let oldest = queue.oldest_age_ms.map_or_else(String::new, |ms| {
            format!(", the oldest for {}", age(ms / 1000))
        });
        println!(
            "queue     {} pending{oldest}, {} in work, {} done, {} dead, {} cancelled; {} duplicates",
            depth.pending,
            depth.claimed,
            depth.done,
            depth.dead,
            depth.cancelled,
            queue.stats.duplicates
        );
    }
    if let Some(upkeep) = &report.upkeep
        && let Some(at) = upkeep.at
    {
        println!(
            "deleted   {} done and {} dead, {} ago",
            upkeep.done,
            upkeep.dead,
            ago(at)
        );
    }
    if let Some(worktrees) = &report.worktrees
        && worktrees.count() > 0
    {
        println!(
            "worktrees {} in use, {} kept, {} unfinished; {} without a directory",
            worktrees.added, worktrees.kept, worktrees.unfinished, worktrees.missing_count
        );
    }
    if let Some(search) = &report.search {
        println!("search    {} behind", counted(search.behind, "result"));
    }
    if let Some(agents) = &report.agents {
        println!(
            "agents    {} watched, {} have ended; {} without a known one",
            agents.watched,
            agents.gone,
            counted(agents.unknown_sessions, "open session")
        );
    }
    if let Some(clients) = &report.clients {
        println!("clients   {}", clients::report(clients));
    }
    let spool = &report.spool;
    println!(
        "spool     {}, {}; {} lost, {} set aside, {} of our own agents dropped",
        counted(spool.files, "file"),
        bytes(spool.bytes),
        spool.lost,
        spool.rejected_count,
        spool.dropped
    );
    if let Some(deep) = &report.deep {
        let sound = if deep.is_sound() {
            "sound; counters agree with a recount"
        } else {
            "NOT sound"
        };
        let unchecked = if deep.checks_rows {
            ""
        } else {
            "; whether each row keeps the rules of its table, only a running worker checks"
        };
        println!("deep      {sound}{unchecked}");
    }
    show_generators(report);
    show_sessions(report);
    for rejected in &report.spool.rejected {
        println!(
            "set aside {} {} {} {} {}",
            clock_time(rejected.at),
            clean(&rejected.agent),
            rejected.reason,
            bytes(rejected.bytes),
            clean(&rejected.path.display().to_string())
        );
    }
}

/// Silent after a worker that stopped in order and left nothing.
fn show_takeover(takeover: &TakeOverReport) {
    let died = takeover.died.first();
    if died.is_none() && takeover.items.is_empty() {
        return;
    }
    let how = |earlier: &Predecessor| {
        let end = match earlier.end {
            PredecessorEnd::Stopped => "stopped".to_owned(),
            PredecessorEnd::Died => "died".to_owned(),
            PredecessorEnd::OtherHost => format!("on host {}: not looked at", earlier.host),
            PredecessorEnd::Unverifiable => "of unknown end".to_owned(),
        };
        format!("worker {} ({end})", earlier.instance)
    };
    let from = died.or(takeover.predecessor.as_ref());
    let from = from.map_or_else(|| "an unknown worker".to_owned(), how);
    let preserved = |item: &&Item| item.outcome == ItemOutcome::PreservedWithWarning;
    let kept = takeover.items.iter().filter(preserved).count();
    println!(
        "took over from {from}: {} in work given back; {} cleaned, {kept} kept",
        counted(takeover.claims_pending + takeover.claims_dead, "message"),
        takeover.items.len() - kept,
    );
    for item in takeover.items.iter().filter(preserved) {
        println!("  {}", clean(&left(item)));
    }
}

/// One thing that a start has found and left as it was, and where more is said of it.
fn left(item: &Item) -> String {
    let (what, hint) = match item.kind {
        ItemKind::Session => ("session", ""),
        ItemKind::Process => ("process", ""),
        ItemKind::Worktree => ("worktree", "; see: sessiond worktree list"),
        ItemKind::Record => ("record", ""),
    };
    let warning = item.warning.as_deref().unwrap_or_default();
    match item.id.as_str() {
        "" => format!("kept {what}: {warning}{hint}"),
        id => format!("kept {what} {id}: {warning}{hint}"),
    }
}

fn state(session: &SessionReport) -> String {
    if session.failing.is_some() {
        return "failing".to_owned();
    }
    session.activity.map_or_else(
        || "dormant".to_owned(),
        |activity| format!("{activity:?}").to_lowercase(),
    )
}

/// What its work waits for, as far as the findings do not tell.
fn waits_for(session: &SessionReport, now: Timestamp) -> String {
    let retry = session.due_at.filter(|due| *due > now);
    let retry = retry.map(|due| format!("next try in {}", age(due.since(now).as_secs() + 1)));
    let waiting = session.waiting.as_deref().map(|why| short(why, 40));
    or_dash(waiting.or(retry))
}

fn show_generators(report: &Report) {
    if let Some(generators) = &report.generators {
        spawns::print_generators(generators);
    }
    processes::print(report);
    if !report.spawns.is_empty() {
        println!();
        spawns::print_spawns(&report.spawns);
    }
}

fn show_sessions(report: &Report) {
    if report.sessions.is_empty() {
        return;
    }
    println!();
    let rows = report
        .sessions
        .iter()
        .map(|session| {
            vec![
                short(&format!("{}:{}", session.agent, session.key), 64),
                format!("{:?}", session.life).to_lowercase(),
                state(session),
                or_dash(session.generator.as_ref().map(spawns::about)),
                session.pending.to_string(),
                waits_for(session, report.at),
                session
                    .success_at
                    .map_or_else(|| "-".to_owned(), |at| format!("{} ago", ago(at))),
                session.consecutive_failures.to_string(),
                session.restarts.to_string(),
            ]
        })
        .collect();
    print(
        &[
            "session",
            "life",
            "state",
            "generator",
            "pending",
            "waits for",
            "success",
            "failures",
            "restarts",
        ],
        rows,
    );
}
