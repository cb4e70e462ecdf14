//! The judgement on what keeps programs from working, and on the processes that are left of them.

use sessiond_supervisor::{StopEnd, Stopped};

use super::super::report::{Finding, Level, Report, SpawnReport};
use super::finding;
use crate::words::{are, counted, processes};

/// So many waits in a row that did not help are a failure.
const AWAY_MANY: u32 = 3;

pub(super) fn judge(report: &Report, findings: &mut Vec<Finding>) {
    if report.instance.is_none() {
        return;
    }
    shim(report, findings);
    breakers(report, findings);
    day_budget(report, findings);
    output(report, findings);
    sweep(report, findings);
}

fn shim(report: &Report, findings: &mut Vec<Finding>) {
    let Some(generators) = &report.generators else {
        return;
    };
    let Some(problem) = &generators.problem else {
        return;
    };
    let level = if generators.programs.is_empty() {
        Level::Note
    } else {
        Level::Failing
    };
    findings.push(finding(
        level,
        "no_shim",
        format!("no program can be started: {problem}"),
        "install sessiond-shim beside sessiond, then `sessiond stop`; the next hook starts it",
    ));
}

fn breakers(report: &Report, findings: &mut Vec<Finding>) {
    let generators = report.generators.iter();
    for breaker in generators.flat_map(|generators| &generators.breakers) {
        let next = match breaker.retry_in_ms {
            0 => "the next message tries it".to_owned(),
            ms => format!("next try in {} s", ms.div_ceil(1_000)),
        };
        // One that is away for a moment, as providers are.
        let level = if breaker.failures < AWAY_MANY {
            Level::Degraded
        } else {
            Level::Failing
        };
        findings.push(finding(
            level,
            "provider_unavailable",
            format!(
                "the provider of generator {} is unavailable: {}; {next}, after {}",
                breaker.kind,
                breaker.reason,
                counted(breaker.failures, "failure")
            ),
            "mend the cause; it is tried again by itself, and no message is lost meanwhile",
        ));
    }
}

/// A day's budget keeps all sessions waiting alike.
fn day_budget(report: &Report, findings: &mut Vec<Finding>) {
    let over = report
        .sessions
        .iter()
        .filter_map(|session| session.over_budget.as_ref())
        .filter(|over| over.until.is_some());
    let waiting = over.clone().count();
    if let Some(over) = over.into_iter().next() {
        findings.push(finding(
            Level::Degraded,
            "over_budget",
            format!(
                "{} {} waiting for tomorrow: {over}",
                counted(waiting as u64, "session"),
                are(waiting as u64)
            ),
            "wait for midnight UTC, or raise that limit and start the worker again",
        ));
    }
}

fn output(report: &Report, findings: &mut Vec<Finding>) {
    let dropped =
        |spawn: &SpawnReport| spawn.info.stdout.dropped_bytes + spawn.info.stderr.dropped_bytes;
    let dropped: u64 = report.spawns.iter().map(dropped).sum();
    if dropped > 0 {
        findings.push(finding(
            Level::Degraded,
            "output_dropped",
            format!(
                "{} of programs' output are in no file: they came faster than they could be \
                 written, or the files could not be written",
                counted(dropped, "byte")
            ),
            "if a program does not write that much, make room, or mend the mode of output/ in the \
             home; their work is not affected",
        ));
    }
}

fn sweep(report: &Report, findings: &mut Vec<Finding>) {
    let Some(sweep) = &report.sweep else {
        findings.push(finding(
            Level::Degraded,
            "sweeping",
            "processes that earlier workers have left are being ended; their sessions wait",
            "ask again in a moment; if it stays so, see: sessiond logs",
        ));
        return;
    };
    let survives =
        |stopped: &&Stopped| stopped.untouchable > 0 || stopped.end == StopEnd::Unkillable;
    for stopped in sweep.stopped.iter().filter(survives) {
        let pid = stopped
            .pid
            .map_or_else(String::new, |pid| format!(" (process {pid})"));
        findings.push(finding(
            Level::Failing,
            "untouchable",
            format!(
                "what an earlier worker has started, {}{pid}, could not be ended: {} left",
                stopped.command,
                processes(u64::from(stopped.untouchable.max(1)))
            ),
            "end it by hand; it may belong to another user, or hang in the kernel",
        ));
    }
    if let Some(first) = sweep.doubtful.first() {
        let doubtful = sweep.doubtful.len() as u64;
        findings.push(finding(
            Level::Degraded,
            "doubtful",
            format!(
                "{} of earlier workers could not be told and {} left alone, the first: {first}",
                counted(doubtful, "process record"),
                are(doubtful)
            ),
            "see the files under processes/ in the home; remove those that mean nothing to you",
        ));
    }
}
