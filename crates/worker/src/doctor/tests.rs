//! The judgement on reports that no healthy worker would give.

use std::path::PathBuf;

use sessiond_queue::ids::SessionId;

use super::super::report::{InstanceReport, Problems, SearchReport, SpoolReport};
use super::*;
use crate::instance::Discovery;

const NOW: Timestamp = Timestamp(1_000_000_000);
const LONG_MS: i64 = 30_000;

fn running(uptime_ms: u64) -> Report {
    let discovery = Discovery {
        instance: "1-1".to_owned(),
        pid: 1,
        started_at: NOW,
        boot_id: String::new(),
        host: String::new(),
        version: String::new(),
        socket: PathBuf::new(),
        port: None,
        token_path: PathBuf::new(),
        protocol: (1, 1),
    };
    Report {
        verdict: Verdict::Failing,
        findings: Vec::new(),
        at: NOW,
        problems: Problems::default(),
        instance: Some(InstanceReport {
            discovery,
            generation: 1,
            install: String::new(),
            uptime_ms,
            rss_bytes: None,
            ready: true,
            tcp: Listening::Off,
        }),
        store: None,
        queue: None,
        sessions: Vec::new(),
        spool: SpoolReport::default(),
        search: Some(SearchReport {
            behind: 0,
            consecutive_failures: 0,
            last_error: None,
            set_aside: None,
        }),
        environment_leaks: Vec::new(),
        deep: None,
    }
}

/// A session in which nothing has happened for a long time.
fn quiet(key: &str) -> SessionReport {
    SessionReport {
        id: SessionId::mint(),
        agent: "codex".to_owned(),
        key: key.to_owned(),
        life: Life::Open,
        activity: None,
        generator: None,
        pending: 0,
        dead: 0,
        active_at: Timestamp(NOW.0 - LONG_MS),
        success_at: None,
        consecutive_failures: 0,
        last_error: None,
        drain_until: None,
        due_at: None,
        idle_ms: None,
    }
}

/// The codes of what is found, and the verdict.
fn found(mut report: Report) -> (Vec<String>, Verdict) {
    judge(&mut report);
    let codes = report.findings.into_iter().map(|finding| finding.code);
    (codes.collect(), report.verdict)
}

#[track_caller]
fn check_session(session: SessionReport, codes: &[&str]) {
    let mut report = running(60_000);
    report.sessions.push(session.clone());
    assert_eq!(found(report).0, codes);
    // A worker that has just come has not neglected anything yet.
    let mut report = running(100);
    report.sessions.push(session);
    assert_eq!(found(report).1, Verdict::Ok);
}

#[test]
fn quiet_session_is_fine() {
    check_session(quiet("s"), &[]);
}

#[test]
fn claimed_head_that_nobody_works_on_is_stuck() {
    for activity in [None, Some(Activity::Idle), Some(Activity::Waiting)] {
        let session = SessionReport {
            pending: 1,
            activity,
            ..quiet("s")
        };
        check_session(session, &["stuck"]);
    }
}

#[test]
fn close_and_drain_that_nobody_finishes_are_stuck() {
    let closing = SessionReport {
        life: Life::Closing,
        ..quiet("s")
    };
    check_session(closing.clone(), &["stuck"]);
    let under_way = SessionReport {
        activity: Some(Activity::Closing),
        ..closing
    };
    check_session(under_way, &[]);
    let draining = |until: i64| SessionReport {
        activity: Some(Activity::Draining),
        drain_until: Some(Timestamp(NOW.0 + until)),
        ..quiet("s")
    };
    check_session(draining(-LONG_MS), &["stuck"]);
    check_session(draining(LONG_MS), &[]);
}

#[test]
fn session_at_the_far_end_of_a_long_list_is_judged_and_listed_first() {
    let mut report = running(60_000);
    report.sessions = (0..300).map(|n| quiet(&n.to_string())).collect();
    report.sessions[299].pending = 1;
    judge(&mut report);
    assert_eq!(report.verdict, Verdict::Failing);
    assert_eq!(report.sessions.len(), SESSIONS_MAX);
    let listed: Vec<&str> = report.sessions.iter().map(|s| s.key.as_str()).collect();
    assert_eq!(listed[..3], ["299", "0", "1"]);
}

#[test]
fn findings_about_sessions_are_cut_and_the_rest_is_counted() {
    let mut report = running(60_000);
    let stuck = |n: usize| SessionReport {
        pending: 1,
        ..quiet(&n.to_string())
    };
    report.sessions = (0..SESSIONS_MAX + 7).map(stuck).collect();
    judge(&mut report);
    assert_eq!(report.findings.len(), SESSIONS_MAX + 1);
    let more = &report.findings[SESSIONS_MAX];
    assert!(more.message.starts_with("7 more"), "{more:?}");
}

#[test]
fn spool_file_that_cannot_be_read_is_not_taken_in() {
    let spool = SpoolReport {
        files: 1,
        bytes: 10,
        ..SpoolReport::default()
    };
    for (uptime_ms, verdict) in [(60_000, Verdict::Failing), (100, Verdict::Ok)] {
        let mut report = running(uptime_ms);
        report.spool = spool.clone();
        assert_eq!(found(report).1, verdict);
    }
}
