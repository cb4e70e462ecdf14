//! The judgement on what keeps programs from working.

use super::super::report::{Finding, Level, Report};
use super::finding;
use crate::words::{are, counted};

/// So many waits in a row that did not help are a failure.
const AWAY_MANY: u32 = 3;

pub(super) fn judge(report: &Report, findings: &mut Vec<Finding>) {
    if report.instance.is_none() {
        return;
    }
    shim(report, findings);
    breakers(report, findings);
    day_budget(report, findings);
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
