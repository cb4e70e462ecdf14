//! The doctor: green when all is well, and never otherwise.

mod processes;

use std::fs::{self, File};
use std::net::TcpListener;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;
use sessiond::doctor::{Finding, Level, Report, Verdict};
use sessiond::wire::frame::{self, Frame};
use sessiond::wire::spool_name::spool_file_name;
use sessiond_queue::ids::EventId;
use sessiond_queue::types::State;
use sqlx::ConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;

use crate::support::wait::ok_if;
use crate::support::{Home, LIMIT, payload, wait_until};

/// The finding of this code.
#[track_caller]
fn finding(report: &Report, code: &str) -> Finding {
    let found = report.findings.iter().find(|finding| finding.code == code);
    let found = found
        .unwrap_or_else(|| panic!("no {code} in {:?}", report.findings))
        .clone();
    assert!(
        !found.message.is_empty() && !found.advice.is_empty(),
        "{found:?}"
    );
    found
}

#[test]
fn idle_worker_is_green_and_tells_all_about_itself() {
    let home = Home::new();
    let worker = home.start();
    worker.api().accept(payload::prompt("s", "hello"));
    worker.wait_idle();
    let report = worker.api().doctor();
    assert_eq!(report.verdict, Verdict::Ok, "{:?}", report.findings);
    let instance = report.instance.expect("a running worker");
    assert_eq!(instance.discovery.pid, worker.process().pid);
    assert_eq!(instance.generation, 1);
    let store = report.store.expect("a store").info;
    assert_eq!(store.path, Some(home.layout().queue_db()));
    for (name, value) in [
        ("journal_mode", "wal"),
        ("synchronous", "2"),
        ("foreign_keys", "1"),
    ] {
        let found = store.pragmas.iter().find(|(known, _)| known == name);
        assert_eq!(
            found.map(|(_, value)| value.as_str()),
            Some(value),
            "{name}"
        );
    }
    assert_eq!(report.queue.expect("a queue").stats.depth.done, 1);
    let session = &report.sessions[0];
    assert_eq!(
        (
            session.key.as_str(),
            session.pending,
            session.consecutive_failures
        ),
        ("s", 0, 0)
    );
    assert!(session.success_at.is_some());
    assert_eq!(home.cli(&["doctor"]).code(), 0);
}

/// What `sessiond doctor` says, and with which exit code.
#[track_caller]
fn ask(home: &Home) -> (i32, Report) {
    let ran = home.cli(&["doctor", "--json"]);
    assert_eq!(ran.stderr, "", "all it has to say is in the report");
    let report = serde_json::from_slice(&ran.stdout).expect("a report");
    (ran.code(), report)
}

#[test]
fn absent_worker_degrades_while_nothing_waits_for_one() {
    let home = Home::new();
    let check = || {
        let (code, report) = ask(&home);
        assert_eq!((code, report.verdict), (10, Verdict::Degraded));
        let absent = finding(&report, "not_running");
        assert!(absent.message.contains("nothing waits"), "{absent:?}");
        report
    };
    assert!(check().store.is_none());
    let worker = home.start();
    worker.api().accept(payload::prompt("s", "hello"));
    worker.wait_idle();
    worker.kill();
    let report = check();
    assert_eq!(
        report.queue.expect("a queue").stats.depth.done,
        1,
        "the files still tell"
    );
    assert_eq!(report.sessions.len(), 1);
    let ran = home.cli(&["doctor", "--deep"]);
    assert_eq!(ran.code(), 10);
    let told = String::from_utf8_lossy(&ran.stdout);
    assert!(
        told.contains("deep      sound") && told.contains("only a running worker checks"),
        "{told}"
    );
}

#[test]
fn deep_look_finds_a_row_that_breaks_a_rule_of_its_table() {
    let home = Home::new();
    let worker = home.start();
    worker.api().accept(payload::prompt("s", "hello"));
    worker.wait_idle();
    let ran = home.cli(&["doctor", "--deep"]);
    assert_eq!(ran.code(), 0);
    let told = String::from_utf8_lossy(&ran.stdout);
    assert!(!told.contains("only a running worker checks"), "{told}");
    home.database()
        .change("PRAGMA ignore_check_constraints = ON; UPDATE sessions SET prompt_number = -4");
    let ran = home.cli(&["doctor", "--deep", "--json"]);
    assert_eq!(ran.code(), 11);
    let report: Report = serde_json::from_slice(&ran.stdout).expect("a report");
    let integrity = finding(&report, "integrity");
    assert!(integrity.message.contains("in sessions"), "{integrity:?}");
}

#[test]
fn absent_worker_is_failing_while_work_waits_for_one() {
    let spooled = Home::new();
    spooled
        .hook("claude-code", payload::prompt("s", "hello"))
        .silence();
    let pending = Home::new().with("rehearsal.delay_ms", 600_000);
    let worker = pending.start();
    worker.api().accept(payload::prompt("s", "hello"));
    worker.kill();
    for home in [spooled, pending] {
        let (code, report) = ask(&home);
        assert_eq!((code, report.verdict), (11, Verdict::Failing));
        let absent = finding(&report, "not_running");
        assert_eq!(absent.level, Level::Failing);
        assert_eq!(absent.advice, "start it with: sessiond start");
    }
}

#[test]
fn frozen_worker_is_told_from_an_absent_one() {
    let home = Home::new().with("rehearsal.delay_ms", 600_000);
    let worker = home.start();
    worker.api().accept(payload::prompt("s", "hello"));
    worker.process().freeze();
    let pid = worker.process().pid.to_string();
    // All at once, since each of them waits as long as it may.
    let (code, report) = std::thread::scope(|scope| {
        for args in [
            ["sessions"].as_slice(),
            &["stop"],
            &["purge", "claude-code:s"],
        ] {
            let (home, pid) = (&home, &pid);
            scope.spawn(move || {
                let ran = home.cli(args);
                assert_eq!(ran.code(), 1, "{ran:?}");
                assert!(ran.stderr.contains(&format!("kill -9 {pid}")), "{ran:?}");
            });
        }
        ask(&home)
    });
    assert_eq!(code, 11);
    let frozen = finding(&report, "not_answering");
    assert!(frozen.message.contains(&pid), "{frozen:?}");
    let is_absent = |finding: &Finding| finding.code == "not_running";
    assert!(!report.findings.iter().any(is_absent));
    assert_eq!(report.sessions.len(), 1, "the files still tell");
    worker.process().thaw();
}

#[test]
fn what_keeps_a_worker_from_starting_is_named() {
    let mut bad_value = Home::new();
    bad_value.set("queue.attempt_max", 0);
    let bad_database = Home::new();
    bad_database.start().stop();
    fs::write(
        bad_database.layout().queue_db(),
        "not a database".repeat(100),
    )
    .expect("write");
    let mut no_home = Home::new();
    let file = tempfile::NamedTempFile::new().expect("a file");
    let below = file.path().join("home");
    no_home.set_variable("SESSIOND_HOME", below.to_str().expect("text"));
    for (home, code) in [
        (&bad_value, "config"),
        (&bad_database, "store"),
        (&no_home, "home"),
    ] {
        let (exit, report) = ask(home);
        assert_eq!(exit, 11, "{report:?}");
        assert_eq!(finding(&report, code).level, Level::Failing);
        let absent = finding(&report, "not_running");
        assert!(absent.advice.contains("named above"), "{absent:?}");
    }
    let (_, report) = ask(&no_home);
    finding(&report, "no_spool");
}

#[test]
fn configuration_that_the_next_start_cannot_use_degrades() {
    let home = Home::new();
    let worker = home.start();
    fs::write(home.layout().config_file(), "[http]\nprot = 1\n").expect("write");
    let report = worker.api().doctor();
    assert_eq!(report.verdict, Verdict::Degraded);
    assert!(finding(&report, "config").message.contains("http.prot"));
}

#[test]
fn old_backlog_is_never_green() {
    let home = Home::new()
        .with("rehearsal.delay_ms", 600_000)
        .with("session.generator_stop_wait_ms", 1);
    let worker = home.start();
    for (session, age_s, verdict) in [
        ("slow", 90, Verdict::Degraded),
        ("old", 700, Verdict::Failing),
    ] {
        let fired_at = (now_ms() - age_s * 1000).to_string();
        let firing = [("sessiond-fired-at", fired_at.as_str())];
        let event = payload::prompt(session, "hello");
        worker
            .api()
            .post_firing("claude-code", event, &firing)
            .json::<Value>();
        let report = worker.api().doctor();
        assert_eq!(report.verdict, verdict, "{:?}", report.findings);
        finding(&report, "backlog");
        assert_eq!(
            home.cli(&["doctor"]).code(),
            if verdict == Verdict::Failing { 11 } else { 10 }
        );
    }
}

#[test]
fn spool_that_is_not_taken_in_is_never_green() {
    let home = Home::new();
    // As a hook would have left it a minute ago.
    let frame = frame::encode(&Frame {
        event_id: &EventId::mint().to_string(),
        fired_at_ms: now_ms() - 60_000,
        agent: "claude-code",
        agent_process: None,
        payload: payload::prompt("s", "hello").as_bytes(),
    });
    home.hook("claude-code", payload::prompt("s", "later"))
        .silence();
    let path = home
        .layout()
        .spool_dir()
        .join(spool_file_name("claude-code", Some("s")));
    fs::write(&path, frame).expect("write");
    // Whoever holds a file's lock keeps the worker from it.
    let held = File::options().append(true).open(&path).expect("open");
    held.lock().expect("lock");
    let worker = home.start();
    let report = wait_until("the spool is found to be stuck", LIMIT, || {
        let report = worker.api().doctor();
        let is_found = report.verdict == Verdict::Failing;
        if is_found {
            Ok(report)
        } else {
            Err(report.findings)
        }
    });
    finding(&report, "spool");
    drop(held);
    wait_until("the spool is taken in", LIMIT, || {
        let report = worker.api().doctor();
        ok_if(report.verdict == Verdict::Ok, report.findings)
    });
    assert_eq!(worker.api().messages("claude-code:s").len(), 1);
}

#[test]
fn deep_look_finds_what_counters_and_rows_do_not_agree_on() {
    let home = Home::new();
    let worker = home.start();
    for event in payload::recorded("codex") {
        worker.api().post_hook(event.agent, &event.payload);
    }
    worker.wait_idle();
    let report = worker.api().doctor_deep();
    assert_eq!(report.verdict, Verdict::Ok, "{:?}", report.findings);
    assert!(report.deep.expect("a verification").is_sound());
    worker.stop();
    execute(&home, "UPDATE counters SET done = done + 1");
    let worker = home.start();
    assert_eq!(
        worker.api().doctor().verdict,
        Verdict::Ok,
        "only the deep look recounts"
    );
    let report = worker.api().doctor_deep();
    assert_eq!(report.verdict, Verdict::Failing);
    finding(&report, "miscount");
}

#[test]
fn environment_leaks_are_named_and_their_values_kept_quiet() {
    let mut home = Home::new();
    home.set_variable("MY_API_KEY", "the-value-itself");
    home.set_variable("CLAUDE_PID", "4711");
    home.set_variable("EDITOR", "vi");
    let worker = home.start();
    let response = worker.api().call("GET", "/v1/admin/doctor");
    assert!(!response.text().contains("the-value-itself"));
    let report: Report = response.json();
    assert_eq!(report.environment_leaks, ["CLAUDE_PID", "MY_API_KEY"]);
    assert_eq!(report.verdict, Verdict::Degraded);
    assert!(
        finding(&report, "environment")
            .message
            .contains("MY_API_KEY")
    );
    let shown = home.cli(&["doctor"]);
    assert_eq!(shown.code(), 10);
    assert!(!String::from_utf8_lossy(&shown.stdout).contains("the-value-itself"));
    assert!(!home.log().contains("the-value-itself"));
}

#[test]
fn taken_port_degrades_and_does_not_stop() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let home = Home::new().with("http.port", port);
    let worker = home.start();
    home.hook("claude-code", payload::prompt("s", "hello"))
        .silence();
    worker.wait_idle();
    assert_eq!(worker.api().messages("claude-code:s")[0].state, State::Done);
    let report = worker.api().doctor();
    assert_eq!(report.verdict, Verdict::Degraded);
    assert!(finding(&report, "tcp").message.contains(&port.to_string()));
    assert_eq!(home.discovery().expect("published").port, None);
}

#[test]
fn doctor_is_found_under_its_old_path_too() {
    let home = Home::new();
    let worker = home.start();
    let report: Report = worker.api().get("/api/admin/doctor");
    assert_eq!(report.verdict, Verdict::Ok);
}

/// Changes the database behind the worker's back.
fn execute(home: &Home, sql: &'static str) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let options = SqliteConnectOptions::new().filename(home.layout().queue_db());
        let mut conn = options.connect().await.expect("the database opens");
        let done = sqlx::query(sql)
            .execute(&mut conn)
            .await
            .expect("it executes");
        assert_eq!(done.rows_affected(), 1, "{sql}");
    });
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test stands outside of the worker and its clock"
)]
fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970");
    i64::try_from(since.as_millis()).expect("before the year 292 million")
}
