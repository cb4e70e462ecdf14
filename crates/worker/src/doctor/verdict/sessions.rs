//! The judgement on each session.

use std::collections::HashMap;
use std::time::Duration;

use sessiond_queue::ids::Timestamp;
use sessiond_queue::types::Life;

use super::super::report::{Finding, Level, Report, SessionReport};
use super::alike::{Alike, Trouble, name_of};
use super::{SLOW, STUCK, TOO_SLOW, finding};
use crate::sessions::Activity;
use crate::words::counted;

/// Sessions in a report, and findings about sessions.
pub(super) const SESSIONS_MAX: usize = 100;

/// Failed attempts in a row that deserve a look, and that are a failure.
const FAILURES_FEW: i64 = 1;
const FAILURES_MANY: i64 = 3;

/// Judges every session, then orders them, those with the gravest findings first, and cuts what
/// nobody would read: the report's list, and the findings.
pub(super) fn judge(report: &mut Report) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut alike = Alike::default();
    let mut grave = HashMap::new();
    for session in &report.sessions {
        let from = findings.len();
        judge_session(report, session, &mut findings, &mut alike);
        let own = findings[from..]
            .iter()
            .map(|finding: &Finding| finding.level);
        let own = own.chain(alike.gravest_of(session.id));
        if let Some(gravest) = own.max() {
            grave.insert(session.id, gravest);
        }
    }
    findings.extend(alike.findings());
    // Stable, so that among equals the longest waiting stays first.
    report
        .sessions
        .sort_by_key(|session| std::cmp::Reverse(grave.get(&session.id).copied()));
    report.sessions.truncate(SESSIONS_MAX);
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.level));
    let more = findings.len().saturating_sub(SESSIONS_MAX);
    findings.truncate(SESSIONS_MAX);
    if more > 0 {
        findings.push(finding(
            Level::Note,
            "more",
            format!("{more} more findings about sessions are not listed"),
            "mend the causes above, and ask again",
        ));
    }
    findings
}

fn judge_session<'a>(
    report: &Report,
    session: &'a SessionReport,
    findings: &mut Vec<Finding>,
    alike: &mut Alike<'a>,
) {
    let name = name_of(session);
    judge_generator(&name, session, findings, alike);
    if session.pending > 0 && session.consecutive_failures >= FAILURES_FEW {
        let many = session.consecutive_failures >= FAILURES_MANY;
        let level = if many {
            Level::Failing
        } else {
            Level::Degraded
        };
        let why = session.last_error.as_deref();
        alike.add(level, Trouble::Failures, why, session);
    }
    let Some(instance) = &report.instance else {
        return;
    };
    // What lay there before the worker came, the worker has had its uptime for. And a backlog that
    // comes in late from the spool was due long ago, and is no fault.
    let uptime = Duration::from_millis(instance.uptime_ms);
    let since = |due: Timestamp| report.at.since(due.max(session.active_at)).min(uptime);
    let mut stuck = |what: String, since: Duration| {
        if since >= STUCK {
            findings.push(finding(
                Level::Failing,
                "stuck",
                format!("{name} {what} for {} s", since.as_secs()),
                "restart the worker with `sessiond stop` and `sessiond start`, and report this",
            ));
        }
    };
    let is_closing = session.activity == Some(Activity::Closing);
    if session.life == Life::Closing && !is_closing {
        let what = "is to be closed, and nobody has closed it".to_owned();
        stuck(what, since(session.active_at));
    } else if let Some(until) = session.drain_until.filter(|_| !is_closing) {
        stuck(
            "has been over the end of its drain".to_owned(),
            since(until),
        );
    }
    if session.pending == 0 {
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
                match session.working_on {
                    Some(id) => {
                        format!("wait, or cancel the message with: sessiond messages cancel {id}")
                    }
                    None => "wait, or restart the worker".to_owned(),
                },
            ));
        }
        Some(Activity::Working | Activity::Draining | Activity::Closing) => {}
        // Why it waits is told elsewhere.
        Some(Activity::Idle | Activity::Waiting) | None if is_excused(report, session) => {}
        Some(Activity::Idle | Activity::Waiting) | None => {
            // Without a due time the head is claimed, and was so when something last happened.
            let due = session.due_at.unwrap_or(session.active_at);
            let pending = session.pending;
            let what = format!("has {} that nobody works on", counted(pending, "message"));
            stuck(what, since(due));
        }
    }
}

/// What its generator keeps its messages waiting for.
fn judge_generator<'a>(
    name: &str,
    session: &'a SessionReport,
    findings: &mut Vec<Finding>,
    alike: &mut Alike<'a>,
) {
    if session.pending == 0 {
        return;
    }
    if let Some(why) = &session.failing {
        let trouble = Trouble::Failing {
            is_ended: session.life == Life::Ended,
        };
        alike.add(Level::Failing, trouble, Some(why), session);
    } else if session.restarts > 0 {
        let why = session.last_start_error.as_deref();
        alike.add(Level::Degraded, Trouble::Restarts, why, session);
    }
    // A day's budget is told once for all.
    if let Some(over) = session
        .over_budget
        .as_ref()
        .filter(|over| over.until.is_none())
    {
        let waiting = counted(session.pending, "message");
        findings.push(finding(
            Level::Degraded,
            "over_budget",
            format!("{name} has {waiting} waiting: {over}"),
            format!(
                "raise that limit and start the worker again, or give its messages up: \
                 `sessiond messages cancel MESSAGE` for one, `sessiond purge {}` for the session",
                session.id
            ),
        ));
    }
}

/// Whether it is known why nobody works on its messages.
fn is_excused(report: &Report, session: &SessionReport) -> bool {
    // Claims of a session wait until nothing that an earlier worker started for it lives.
    let is_swept = report.sweep.is_some();
    session.failing.is_some() || session.waiting.is_some() || !is_swept
}
