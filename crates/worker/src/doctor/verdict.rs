//! The judgement: a pure function of what was found.
//!
//! It never says `ok` while work is stuck: what is pending must be in work, be due later for a
//! known reason, or have arrived a moment ago.

use std::time::Duration;

use sessiond_queue::ids::Timestamp;

use super::report::{Finding, Level, Listening, Report, SessionReport, Verdict};
use crate::sessions::Activity;

/// Pending work that nobody has begun after so long is stuck.
const STUCK: Duration = Duration::from_secs(5);
/// A message in work, or a backlog, that is older than this deserves a look ...
const SLOW: Duration = Duration::from_secs(60);
/// ... and after this it is a failure.
const TOO_SLOW: Duration = Duration::from_secs(600);
/// Failed attempts in a row that deserve a look, and that are a failure.
const FAILURES_FEW: i64 = 1;
const FAILURES_MANY: i64 = 3;
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
    for session in &report.sessions {
        judge_session(report, session, &mut findings);
    }
    spool(report, &mut findings);
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.level));
    report.verdict = match findings.first().map(|finding| finding.level) {
        Some(Level::Failing) => Verdict::Failing,
        Some(Level::Degraded) => Verdict::Degraded,
        Some(Level::Note) | None => Verdict::Ok,
    };
    report.findings = findings;
}

fn instance(report: &Report, findings: &mut Vec<Finding>) {
    if let Some(problem) = &report.home_problem {
        findings.push(finding(
            Level::Failing,
            "home",
            format!("no worker can start: {problem}"),
            "mend what it names; hooks spool their events meanwhile",
        ));
    }
    match &report.instance {
        None => findings.push(finding(
            Level::Failing,
            "not_running",
            "no worker is running; hooks spool their events",
            "start it with: sessiond start",
        )),
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

fn store(report: &Report, findings: &mut Vec<Finding>) {
    if let Some(store) = &report.store {
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
    } else if report.instance.is_some() {
        findings.push(finding(
            Level::Failing,
            "store",
            "the store does not answer",
            "see the last errors with: sessiond logs",
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
            format!("{} messages are dead", queue.stats.depth.dead),
            "see why with `sessiond dead list`; mend the cause; then `sessiond dead redrive --all`",
        ));
    }
    let age = Duration::from_millis(queue.oldest_age_ms.unwrap_or(0));
    if report.instance.is_some() && age >= SLOW {
        let level = if age >= TOO_SLOW {
            Level::Failing
        } else {
            Level::Degraded
        };
        let waiting = queue.stats.depth.pending + queue.stats.depth.claimed;
        findings.push(finding(
            level,
            "backlog",
            format!(
                "{waiting} messages wait, the oldest for {} s",
                age.as_secs()
            ),
            "see which sessions wait, and why, in the list of sessions",
        ));
    }
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

fn judge_session(report: &Report, session: &SessionReport, findings: &mut Vec<Finding>) {
    let name = format!("session {}:{}", session.agent, session.key);
    if session.pending > 0 && session.consecutive_failures >= FAILURES_FEW {
        let many = session.consecutive_failures >= FAILURES_MANY;
        let level = if many {
            Level::Failing
        } else {
            Level::Degraded
        };
        let why = session
            .last_error
            .as_deref()
            .unwrap_or("for an unknown reason");
        findings.push(finding(
            level,
            "failures",
            format!(
                "{name} failed {} times in a row: {why}",
                session.consecutive_failures
            ),
            "mend the cause; it is tried again by itself",
        ));
    }
    if report.instance.is_none() || session.pending == 0 {
        return;
    }
    let idle = Duration::from_millis(session.idle_ms.unwrap_or(0));
    match session.activity {
        Some(Activity::Working | Activity::Draining | Activity::Closing) if idle >= SLOW => {
            let level = if idle >= TOO_SLOW {
                Level::Failing
            } else {
                Level::Degraded
            };
            findings.push(finding(
                level,
                "slow",
                format!("{name} has been at one message for {} s", idle.as_secs()),
                "wait, or cancel the message with: sessiond messages cancel ID",
            ));
        }
        Some(Activity::Working | Activity::Draining | Activity::Closing) => {}
        Some(Activity::Idle | Activity::Waiting) | None => {
            // A backlog that comes in late from the spool was due long ago, and is no fault.
            let since = |due: Timestamp| report.at.since(due.max(session.active_at));
            let overdue = session.due_at.map_or(Duration::ZERO, since);
            if overdue >= STUCK {
                findings.push(finding(
                    Level::Failing,
                    "stuck",
                    format!(
                        "{name} has {} messages pending, due for {} s, and nobody works on them",
                        session.pending,
                        overdue.as_secs()
                    ),
                    "restart the worker with `sessiond stop` and `sessiond start`, and report this",
                ));
            }
        }
    }
}

fn spool(report: &Report, findings: &mut Vec<Finding>) {
    let spool = &report.spool;
    if spool.lost > 0 {
        findings.push(finding(
            Level::Failing,
            "lost",
            format!(
                "{} events were lost: the spool was full or could not be written",
                spool.lost
            ),
            "make room or mend the directory's mode; then remove the file `lost` in the home",
        ));
    }
    if spool.rejected_count > 0 {
        let reason = spool
            .rejected
            .first()
            .map_or("", |rejected| rejected.reason.as_str());
        findings.push(finding(
            Level::Degraded,
            "rejected",
            format!(
                "{} events could not be accepted and were set aside, the last one for: {reason}",
                spool.rejected_count
            ),
            "look at them under rejected/ in the home, mend the hook, and remove them",
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
    if spool.files > 0 && age.min(had) >= STUCK {
        findings.push(finding(
            Level::Failing,
            "spool",
            format!(
                "{} spool files are not taken in, the oldest for {} s",
                spool.files,
                age.as_secs()
            ),
            "see why with: sessiond logs",
        ));
    }
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
