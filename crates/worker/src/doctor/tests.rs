//! The judgement on reports that no healthy worker would give.

use std::path::PathBuf;

use sessiond_queue::ids::{SessionId, Timestamp};
use sessiond_queue::types::{Life, Stats, Usage};
use sessiond_supervisor::SweepReport;

use super::super::report::{
    DepthLimits, GeneratorsReport, InstanceReport, Problems, SearchReport, SessionReport,
    SpoolReport,
};
use super::sessions::SESSIONS_MAX;
use super::*;
use crate::admission::{BreakerState, BreakerStatus, Budget, OverBudget};
use crate::clients::ClientsReport;
use crate::instance::Discovery;
use crate::sessions::Activity;
use crate::upkeep::UpkeepStatus;

const NOW: Timestamp = Timestamp(1_000_000_000);
const LONG_MS: i64 = 30_000;

pub(super) fn running(uptime_ms: u64) -> Report {
    let discovery = Discovery {
        instance: "1-1".to_owned(),
        pid: 1,
        process: None,
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
        generators: Some(GeneratorsReport::default()),
        spawns: Vec::new(),
        sweep: Some(SweepReport::default()),
        takeover: None,
        processes: None,
        agents: None,
        spool: SpoolReport::default(),
        search: Some(SearchReport {
            behind: 0,
            consecutive_failures: 0,
            last_error: None,
            set_aside: None,
        }),
        worktrees: None,
        upkeep: Some(UpkeepStatus::default()),
        clients: Some(ClientsReport::default()),
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
        kind: Some("digest".to_owned()),
        generator: None,
        waiting: None,
        failing: None,
        restarts: 0,
        last_start_error: None,
        working_on: None,
        usage: Usage::default(),
        over_budget: None,
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

#[test]
fn spool_that_waits_for_a_full_session_or_queue_names_the_limit() {
    let check = |limits: DepthLimits, words: [&str; 2]| {
        let mut report = running(60_000);
        report.spool = SpoolReport {
            files: 1,
            oldest_at: Some(Timestamp(NOW.0 - LONG_MS)),
            ..SpoolReport::default()
        };
        report.sessions.push(SessionReport {
            pending: 4,
            activity: Some(Activity::Working),
            ..quiet("s")
        });
        let mut stats = Stats::default();
        stats.depth.pending = 4;
        report.queue = Some(QueueReport {
            stats,
            oldest_age_ms: None,
            depth_limits: Some(limits),
        });
        judge(&mut report);
        let spool = &report.findings[0];
        assert_eq!(spool.code, "spool");
        let said = format!("{} {}", spool.message, spool.advice);
        for word in words {
            assert!(said.contains(word), "no {word:?} in {said:?}");
        }
    };
    let limits = |session, all| DepthLimits { session, all };
    check(limits(4, 9), ["codex:s is full", "queue.session_depth_max"]);
    check(limits(9, 4), ["the queue is full", "queue.depth_max"]);
    check(limits(9, 9), ["not taken in", "sessiond logs"]);
}

#[test]
fn newer_database_is_not_to_be_mended() {
    let mut report = running(0);
    report.instance = None;
    report.problems.newer_store = Some("its schema is 9".to_owned());
    judge(&mut report);
    let newer = &report.findings[0];
    assert_eq!(newer.code, "newer_store");
    assert!(newer.advice.contains("newer one"), "{newer:?}");
    assert_eq!(report.verdict, Verdict::Failing);
}

/// What is found with one session that has work, and something more.
#[track_caller]
fn check_blocked(
    session: SessionReport,
    change: impl Fn(&mut Report),
    verdict: Verdict,
    code: &str,
    words: &[&str],
) {
    let mut report = running(60_000);
    report.sessions.push(SessionReport {
        pending: 2,
        ..session
    });
    change(&mut report);
    judge(&mut report);
    let codes: Vec<&str> = report.findings.iter().map(|f| f.code.as_str()).collect();
    assert_eq!((codes, report.verdict), (vec![code], verdict));
    let said = format!(
        "{} {}",
        report.findings[0].message, report.findings[0].advice
    );
    for word in words {
        assert!(said.contains(word), "no {word:?} in {said:?}");
    }
}

#[test]
fn failing_session_is_named_with_its_reason_and_the_way_out() {
    let session = SessionReport {
        failing: Some("exit code 1: no key".to_owned()),
        ..quiet("s")
    };
    let restart = format!("sessiond session restart {}", session.id);
    let words = ["codex:s", "2 messages", "exit code 1: no key", &restart];
    check_blocked(session, |_| {}, Verdict::Failing, "session_failing", &words);
}

#[test]
fn sessions_that_fail_for_one_reason_are_told_of_at_once() {
    let failing = |key: usize, why: &str| SessionReport {
        failing: Some(why.to_owned()),
        pending: 2,
        ..quiet(&key.to_string())
    };
    let mut report = running(60_000);
    report.sessions = (0..40).map(|n| failing(n, "no key")).collect();
    report.sessions.insert(1, failing(99, "no disk"));
    let calm = quiet("calm");
    report.sessions.insert(0, calm);
    judge(&mut report);
    assert_eq!(report.findings.len(), 2, "{:?}", report.findings);
    let (many, one) = (&report.findings[0], &report.findings[1]);
    assert_eq!(
        many.message,
        "40 sessions are failing, 80 messages waiting (the first: session codex:0): no key"
    );
    assert!(many.advice.contains("session restart --all"), "{many:?}");
    assert!(
        one.message.contains("session codex:99 is failing"),
        "{one:?}"
    );
    let last = report.sessions.last().expect("some");
    assert_eq!(last.key, "calm", "each of a group is as grave");
}

#[test]
fn session_whose_life_is_over_is_not_told_to_wait_for_a_prompt() {
    let over = OverBudget {
        which: Budget::SessionUsd,
        spent: 2.0,
        limit: 1.5,
        until: None,
    };
    let failing = SessionReport {
        failing: Some("no key".to_owned()),
        ..quiet("s")
    };
    let over = SessionReport {
        waiting: Some(over.to_string()),
        over_budget: Some(over),
        ..quiet("s")
    };
    for session in [failing, over] {
        let mut report = running(60_000);
        let purge = format!("sessiond purge {}", session.id);
        report.sessions.push(SessionReport {
            life: Life::Ended,
            pending: 1,
            ..session
        });
        judge(&mut report);
        let advice = &report.findings[0].advice;
        assert!(advice.contains(&purge), "{advice}");
        assert!(advice.contains("messages cancel"), "{advice}");
        assert!(!advice.contains("prompt"), "{advice}");
    }
}

#[test]
fn slow_message_is_named_for_the_command_that_cancels_it() {
    let session = SessionReport {
        activity: Some(Activity::Working),
        working_on: Some(sessiond_queue::ids::MessageId(17)),
        idle_ms: Some(61_000),
        ..quiet("s")
    };
    let words = ["sessiond messages cancel 17"];
    check_blocked(session, |_| {}, Verdict::Degraded, "slow", &words);
}

#[test]
fn generator_that_does_not_start_is_told_before_it_is_given_up() {
    let session = SessionReport {
        restarts: 2,
        last_start_error: Some("exit code 1".to_owned()),
        last_error: Some("of a message".to_owned()),
        due_at: Some(Timestamp(NOW.0 + 1_000)),
        ..quiet("s")
    };
    let words = ["codex:s", "2 times", "exit code 1"];
    check_blocked(session, |_| {}, Verdict::Degraded, "restarts", &words);
}

#[test]
fn absent_provider_is_a_failure_after_a_while_and_excuses_those_who_wait_for_it() {
    let session = SessionReport {
        waiting: Some("its provider is unavailable: quota".to_owned()),
        ..quiet("s")
    };
    let open = |failures| {
        move |report: &mut Report| {
            report.generators.as_mut().expect("some").breakers = vec![BreakerStatus {
                kind: "notes".to_owned(),
                state: BreakerState::Open,
                reason: "quota".to_owned(),
                failures,
                retry_in_ms: 12_001,
            }];
        }
    };
    let code = "provider_unavailable";
    let words = ["notes", "quota", "13 s", "3 failures"];
    let moment = session.clone();
    check_blocked(session, open(3), Verdict::Failing, code, &words);
    check_blocked(moment, open(2), Verdict::Degraded, code, &["2 failures"]);
}

#[test]
fn used_up_budget_degrades_once_a_day_and_once_a_session() {
    let over = |which, until| OverBudget {
        which,
        spent: 2.0,
        limit: 1.5,
        until,
    };
    let of = |over: OverBudget| SessionReport {
        waiting: Some(over.to_string()),
        over_budget: Some(over),
        ..quiet("s")
    };
    let session = of(over(Budget::SessionUsd, None));
    let words = ["codex:s", "2.00 USD", "generator.budget_session_usd"];
    check_blocked(session, |_| {}, Verdict::Degraded, "over_budget", &words);

    let day = of(over(Budget::DayUsd, Some(Timestamp(NOW.0 + 1))));
    let another = |report: &mut Report| {
        let another = SessionReport {
            id: SessionId::mint(),
            ..report.sessions[0].clone()
        };
        report.sessions.push(another);
    };
    let words = ["2 sessions", "generator.budget_day_usd", "midnight"];
    check_blocked(day, another, Verdict::Degraded, "over_budget", &words);
}

#[test]
fn backlog_is_a_failure_unless_nothing_but_budgets_holds_it_up() {
    let session = |over_budget| SessionReport {
        pending: 1,
        due_at: Some(NOW),
        over_budget,
        ..quiet("s")
    };
    let over = OverBudget {
        which: Budget::DayTokens,
        spent: 2.0,
        limit: 1.0,
        until: Some(NOW),
    };
    let check = |sessions: Vec<SessionReport>, verdict| {
        let mut report = running(600_000);
        report.sessions = sessions;
        report.queue = Some(QueueReport {
            stats: Stats::default(),
            oldest_age_ms: Some(600_000),
            depth_limits: None,
        });
        let (codes, found) = found(report);
        assert!(codes.iter().any(|code| code == "backlog"), "{codes:?}");
        assert_eq!(found, verdict);
    };
    let (held, other) = (session(Some(over)), session(None));
    check(Vec::new(), Verdict::Failing);
    check(vec![held.clone(), other], Verdict::Failing);
    check(vec![held], Verdict::Degraded);
}

#[test]
fn session_that_waits_for_nothing_known_is_stuck_all_the_same() {
    check_blocked(quiet("s"), |_| {}, Verdict::Failing, "stuck", &["codex:s"]);
}

#[test]
fn sweep_that_goes_on_excuses_those_who_wait_for_it() {
    let going_on = |report: &mut Report| report.sweep = None;
    let (verdict, code) = (Verdict::Degraded, "sweeping");
    check_blocked(quiet("s"), going_on, verdict, code, &["earlier workers"]);
}

#[test]
fn clients_that_cannot_be_read_or_stored_are_told() {
    let check = |clients: ClientsReport, codes: &[&str], verdict: Verdict| {
        let mut report = running(60_000);
        report.clients = Some(clients);
        let (found, judged) = found(report);
        assert_eq!(found, codes);
        assert_eq!(judged, verdict);
    };
    let fine = ClientsReport {
        watched: 2,
        swept: 1,
        ..ClientsReport::default()
    };
    check(fine.clone(), &[], Verdict::Ok);
    let skipped = ClientsReport {
        skipped: 1,
        ..fine.clone()
    };
    check(skipped, &["clients_skipped"], Verdict::Ok);
    let unverifiable = ClientsReport {
        unverifiable: 1,
        ..fine.clone()
    };
    check(unverifiable, &["clients_unverifiable"], Verdict::Ok);
    let unsaved = ClientsReport {
        last_error: Some("disk full".to_owned()),
        ..fine
    };
    check(unsaved, &["clients_unsaved"], Verdict::Degraded);
}
