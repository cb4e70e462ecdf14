//! The judgement: a pure function of what was found.
//!
//! It never says `ok` while work is stuck: what is pending must be in work, be due later for a
//! known reason, or have arrived a moment ago.
//!
//! Here the worker as a whole is judged; `sessions` judges each session, `alike` tells of
//! those in the same trouble at once, `agents` of whose end will not be noticed, `clients` of who is
//! registered, `generators` what keeps several of them from their work, `processes` what runs for
//! them, `worktrees` what git made for them.

mod agents;
mod alike;
mod clients;
mod generators;
mod processes;
mod sessions;
mod worktrees;

use std::time::Duration;

use super::report::{Finding, Level, Listening, QueueReport, Report, SessionReport, Verdict};
use crate::occupant::{Occupant, Phase};
use crate::words::{are, counted};

/// Pending work that nobody has begun after so long is stuck.
const STUCK: Duration = Duration::from_secs(5);
/// A message in work, or a backlog, that is older than this deserves a look ...
const SLOW: Duration = Duration::from_secs(60);
/// ... and after this it is a failure.
const TOO_SLOW: Duration = Duration::from_secs(600);
/// Results that search may lag behind in a burst.
const INDEX_BEHIND: i64 = 10_000;
/// A write-ahead log larger than this is not being checkpointed.
const WAL_BYTES: u64 = 256 << 20;
/// With less disk than this writes are about to fail.
const FREE_BYTES: u64 = 256 << 20;

/// Judges a report: its verdict, and its findings, gravest first.
pub(super) fn judge(report: &mut Report) {
    let mut findings = Vec::new();
    instance(report, &mut findings);
    store(report, &mut findings);
    queue(report, &mut findings);
    search(report, &mut findings);
    agents::judge(report, &mut findings);
    generators::judge(report, &mut findings);
    processes::judge(report, &mut findings);
    worktrees::judge(report, &mut findings);
    clients::judge(report, &mut findings);
    // Before the list of sessions is cut: it tells which of them is full.
    let of_spool = spool(report);
    let of_sessions = sessions::judge(report);
    findings.extend(of_sessions);
    findings.extend(of_spool);
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.level));
    report.verdict = match findings.first().map(|finding| finding.level) {
        Some(Level::Failing) => Verdict::Failing,
        Some(Level::Degraded) => Verdict::Degraded,
        Some(Level::Note) | None => Verdict::Ok,
    };
    report.findings = findings;
}

fn instance(report: &Report, findings: &mut Vec<Finding>) {
    match &report.instance {
        None => absence(report, findings),
        Some(instance) => {
            if !instance.ready {
                findings.push(finding(
                    Level::Degraded,
                    "starting",
                    "start-up is not done yet",
                    "ask again in a moment; if it stays so, see: sessiond logs",
                ));
            }
            if let Listening::Problem(problem) = &instance.tcp {
                findings.push(finding(
                    Level::Degraded,
                    "tcp",
                    format!("no TCP side: {problem}"),
                    "set http.port to another port, or to 0 for any; hooks are not affected",
                ));
            }
            if let Some(problem) = &report.problems.config {
                findings.push(finding(
                    Level::Degraded,
                    "config",
                    format!("the next start cannot use the configuration: {problem}"),
                    "mend what it names; this worker goes on with what it read at its start",
                ));
            }
        }
    }
    if !report.environment_leaks.is_empty() {
        findings.push(finding(
            Level::Degraded,
            "environment",
            format!(
                "the worker's environment holds what is not for it: {}",
                report.environment_leaks.join(", ")
            ),
            "start it with `sessiond start`, which passes an allow-list on, not with `sessiond run`",
        ));
    }
}

/// Why nobody answers, gravest first.
fn absence(report: &Report, findings: &mut Vec<Finding>) {
    let problems = &report.problems;
    if let Some(pid) = &problems.not_answering {
        findings.push(finding(
            Level::Failing,
            "not_answering",
            format!("process {pid} holds the lock but does not answer"),
            format!("if it stays so, end it with: kill -9 {pid}; nothing accepted is lost"),
        ));
    }
    let mut keeps_from_starting = |code, problem: &Option<String>, what: &str, advice: &str| {
        if let Some(problem) = problem {
            let message = format!("no worker can start: {what}{problem}");
            findings.push(finding(Level::Failing, code, message, advice));
        }
        problem.is_some()
    };
    let mend = "mend what it names";
    let is_kept = [
        keeps_from_starting("home", &problems.home, "", mend),
        keeps_from_starting("config", &problems.config, "", mend),
        keeps_from_starting(
            "store",
            &problems.store,
            "the database cannot be read: ",
            mend,
        ),
        keeps_from_starting(
            "newer_store",
            &problems.newer_store,
            "the database is of a newer version: ",
            "install the version of sessiond that wrote it, or a newer one; the file is as it was",
        ),
    ]
    .contains(&true);
    if let Some(older) = &problems.older_store {
        findings.push(finding(
            Level::Degraded,
            "older_store",
            format!("the database is of an older version, what is in it is not looked at: {older}"),
            "start the worker, which backs it up beside itself and migrates it: sessiond start",
        ));
    }
    if let Some(problem) = &problems.spool {
        findings.push(finding(
            Level::Failing,
            "no_spool",
            format!("hooks cannot spool either, their events are lost: {problem}"),
            "mend what it names",
        ));
    }
    if let Some(occupant) = &problems.occupant {
        findings.push(passing(occupant));
    }
    if problems.not_answering.is_some() || problems.occupant.is_some() {
        return;
    }
    let left = |queue: &QueueReport| queue.stats.depth.pending + queue.stats.depth.claimed;
    let is_waited_for = report.spool.files > 0
        || report.spool.problem.is_some()
        || report.queue.as_ref().is_some_and(|queue| left(queue) > 0);
    let (level, message, advice) = if is_kept {
        let advice = "mend what is named above, then: sessiond start";
        (Level::Failing, "no worker is running", advice)
    } else if is_waited_for {
        let message = "no worker is running, and work waits for one; hooks spool their events";
        (Level::Failing, message, "start it with: sessiond start")
    } else {
        let message = "no worker is running and nothing waits for one; the next hook starts it";
        let advice = "nothing needs to be done; to start it now: sessiond start";
        (Level::Degraded, message, advice)
    };
    findings.push(finding(level, "not_running", message, advice));
}

/// A worker between two states, which is soon over.
fn passing(occupant: &Occupant) -> Finding {
    let message = occupant.to_string();
    if occupant.phase == Phase::Starting {
        let advice = "ask again in a moment; if it stays so, see: sessiond logs";
        return finding(Level::Degraded, "starting", message, advice);
    }
    let advice = if occupant.is_followed {
        "nothing needs to be done; hooks spool their events until the next one serves"
    } else {
        "nothing needs to be done; the next hook starts the next one, or now: sessiond start"
    };
    finding(Level::Degraded, "stopping", message, advice)
}

fn store(report: &Report, findings: &mut Vec<Finding>) {
    if let Some(store) = &report.store {
        for path in &store.info.damaged {
            findings.push(finding(
                Level::Degraded,
                "damaged",
                format!(
                    "the queue's database was damaged and begun anew; the old one is {}",
                    path.display()
                ),
                "save what can be read of it (sqlite3 FILE .recover), then remove it, its -wal and -shm",
            ));
        }
        if store.info.wal_bytes > WAL_BYTES {
            findings.push(finding(
                Level::Degraded,
                "wal",
                format!("the write-ahead log has {} MiB", store.info.wal_bytes >> 20),
                "look for another program that keeps queue.db open, and end it",
            ));
        }
        if let Some(free) = store.free_bytes.filter(|free| *free < FREE_BYTES) {
            findings.push(finding(
                Level::Failing,
                "disk",
                format!("{} MiB are free on the store's file system", free >> 20),
                "make room; until then events stay in the spool, or are lost when it cannot grow",
            ));
        }
    }
    if report.instance.is_some()
        && let Some(problem) = &report.problems.store
    {
        findings.push(finding(
            Level::Failing,
            "store",
            format!("the store does not answer: {problem}"),
            "see the last errors with: sessiond logs",
        ));
    }
    if let Some(problem) = report
        .upkeep
        .as_ref()
        .and_then(|kept| kept.last_error.as_ref())
    {
        findings.push(finding(
            Level::Degraded,
            "upkeep",
            format!("finished messages are not being deleted: {problem}"),
            "mend the cause; it is tried again after the next work",
        ));
    }
    if let Some(deep) = &report.deep {
        for problem in &deep.integrity {
            findings.push(finding(
                Level::Failing,
                "integrity",
                format!("the database is damaged: {problem}"),
                "stop the worker, keep a copy of the home, and restore queue.db from a backup",
            ));
        }
        for (name, counter, recount) in &deep.miscounts {
            findings.push(finding(
                Level::Failing,
                "miscount",
                format!("counter {name} says {counter}, a recount {recount}"),
                "this is a defect of sessiond; please report it with this output",
            ));
        }
    }
}

fn queue(report: &Report, findings: &mut Vec<Finding>) {
    let Some(queue) = &report.queue else { return };
    if queue.stats.depth.dead > 0 {
        findings.push(finding(
            Level::Degraded,
            "dead",
            format!(
                "{} {} dead",
                counted(queue.stats.depth.dead, "message"),
                are(queue.stats.depth.dead)
            ),
            "see why with `sessiond dead list`; mend the cause; then `sessiond dead redrive --all`",
        ));
    }
    let age = Duration::from_millis(queue.oldest_age_ms.unwrap_or(0));
    if report.instance.is_some() && age >= SLOW {
        let level = if age >= TOO_SLOW && !is_held_by_budgets(report) {
            Level::Failing
        } else {
            Level::Degraded
        };
        let waiting = queue.stats.depth.pending + queue.stats.depth.claimed;
        findings.push(finding(
            level,
            "backlog",
            format!(
                "{} waiting, the oldest for {} s",
                counted(waiting, "message"),
                age.as_secs()
            ),
            "see which sessions wait, and why, in the list of sessions",
        ));
    }
}

/// Whether all that waits does so because somebody set a budget.
fn is_held_by_budgets(report: &Report) -> bool {
    let has_work = |session: &&SessionReport| session.pending > 0;
    let mut waiting = report.sessions.iter().filter(has_work).peekable();
    waiting.peek().is_some() && waiting.all(|session| session.over_budget.is_some())
}

fn search(report: &Report, findings: &mut Vec<Finding>) {
    let Some(search) = &report.search else {
        if report.instance.is_some() {
            findings.push(finding(
                Level::Degraded,
                "index",
                "the search index does not answer",
                "see why with `sessiond logs`, then run: sessiond search --rebuild",
            ));
        }
        return;
    };
    if search.consecutive_failures > 0 {
        let why = search
            .last_error
            .as_deref()
            .unwrap_or("for an unknown reason");
        findings.push(finding(
            Level::Degraded,
            "index",
            format!("results are not being indexed: {why}"),
            "mend the cause; it is tried again by itself; nothing but search is affected",
        ));
    }
    if search.behind > INDEX_BEHIND {
        findings.push(finding(
            Level::Degraded,
            "index",
            format!(
                "search does not know the last {} results yet",
                search.behind
            ),
            "wait; if the number does not fall, run: sessiond search --rebuild",
        ));
    }
    if let Some(path) = &search.set_aside {
        findings.push(finding(
            Level::Note,
            "index",
            format!(
                "the search index was damaged and made anew; the old one is {}",
                path.display()
            ),
            "remove it when you do not need it; it held nothing that is not in the queue",
        ));
    }
}

/// Why the queue does not take more in, and what makes it; `None`: it does.
fn full(report: &Report) -> Option<(String, &'static str)> {
    let queue = report.queue.as_ref()?;
    let limits = queue.depth_limits?;
    let waiting = queue.stats.depth.pending + queue.stats.depth.claimed;
    if waiting >= limits.all {
        let why = format!("the queue is full, with {}", counted(waiting, "message"));
        return Some((why, "queue.depth_max"));
    }
    let is_full = |session: &&SessionReport| session.pending >= limits.session;
    let session = report.sessions.iter().find(is_full)?;
    let why = format!(
        "session {}:{} is full, with {}",
        session.agent,
        session.key,
        counted(session.pending, "message")
    );
    Some((why, "queue.session_depth_max"))
}

fn spool(report: &Report) -> Vec<Finding> {
    let mut findings = Vec::new();
    let spool = &report.spool;
    if spool.lost > 0 {
        findings.push(finding(
            Level::Failing,
            "lost",
            format!(
                "{} lost: the spool was full or could not be written",
                counted(spool.lost, "event")
            ),
            "make room or mend the directory's mode; then remove the file `lost` in the home",
        ));
    }
    if spool.rejected_count > 0 {
        // Of the newest; all of them are listed in the report.
        let mut reasons: Vec<&str> = spool.rejected.iter().map(|it| it.reason.as_str()).collect();
        reasons.sort_unstable();
        reasons.dedup();
        findings.push(finding(
            Level::Degraded,
            "rejected",
            format!(
                "{} could not be accepted, set aside for: {}",
                counted(spool.rejected_count, "event"),
                reasons.join(", ")
            ),
            match reasons[..] {
                // The hook's own deadline, or nothing was written.
                ["payload_empty"] => {
                    "let the hook have its input sooner, or set SESSIOND_HOOK_DEADLINE_MS higher: none had \
                     come when its time was over; then remove them under rejected/ in the home"
                }
                _ => "look at them under rejected/ in the home, mend the hook, and remove them",
            },
        ));
    }
    if let Some(problem) = &spool.problem {
        findings.push(finding(
            Level::Failing,
            "spool_unreadable",
            format!("the spool cannot be read: {problem}"),
            "mend the modes of spool/ and rejected/ in the home",
        ));
    }
    let age = spool
        .oldest_at
        .map_or(Duration::ZERO, |at| report.at.since(at));
    // What lay there before the worker came, the worker has had its uptime for.
    let had = report.instance.as_ref().map_or(Duration::ZERO, |instance| {
        Duration::from_millis(instance.uptime_ms)
    });
    // A file whose age cannot be read is one the worker cannot read either; an empty one is being
    // made.
    let is_unreadable = spool.oldest_at.is_none() && spool.bytes > 0;
    let waited = if is_unreadable { had } else { age.min(had) };
    if spool.files > 0 && waited >= STUCK {
        let files = counted(spool.files, "spool file");
        let oldest = if is_unreadable {
            "their events cannot be read".to_owned()
        } else {
            format!("the oldest for {} s", age.as_secs())
        };
        let what = format!("{files} {} not taken in, {oldest}", are(spool.files));
        let (message, advice) = match full(report) {
            Some((why, limit)) => (
                format!("{what}: {why}"),
                format!(
                    "they are taken in as soon as there is room; raise {limit} and start the \
                     worker again, or give messages up: sessiond messages cancel"
                ),
            ),
            None => (what, "see why with: sessiond logs".to_owned()),
        };
        findings.push(finding(Level::Failing, "spool", message, advice));
    }
    findings
}

fn finding(
    level: Level,
    code: &str,
    message: impl Into<String>,
    advice: impl Into<String>,
) -> Finding {
    Finding {
        level,
        code: code.to_owned(),
        message: message.into(),
        advice: advice.into(),
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
