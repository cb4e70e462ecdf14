//! What people are told of programs: by the API, the command line and the doctor.

use serde_json::Value;
use sessiond::doctor::{Report, SpawnReport, Verdict};
use sessiond_queue::types::State;

use super::Programs;
use crate::support::wait::ok_if;
use crate::support::{LIMIT, payload, wait_until};

const NAME: &str = "claude-code:s";

/// What a command prints, which must hold all these words.
#[track_caller]
fn says(programs: &Programs, args: &[&str], words: &[&str]) {
    let ran = programs.home.cli(args);
    let text = ran.text();
    for word in words {
        assert!(text.contains(word), "no {word:?} in {text}");
    }
}

/// That a program runs with its shim and its child, and is measured.
#[track_caller]
fn check_tree(spawn: &SpawnReport, session: &str, pid: u32) {
    assert_eq!(
        (spawn.info.session.as_str(), spawn.info.pid),
        (session, Some(pid))
    );
    assert!(spawn.info.tag.contains(session), "{spawn:?}");
    let tree = &spawn.processes;
    // The child starts others now and then.
    assert!(tree.len() >= 3, "shim, program and child: {tree:?}");
    assert_eq!(tree[0].pid, spawn.info.shim_pid);
    assert!(tree.iter().any(|process| process.pid == pid), "{tree:?}");
    assert!(tree.iter().all(|process| process.rss_bytes > 0), "{tree:?}");
    let sum: u64 = tree.iter().map(|process| process.rss_bytes).sum();
    assert_eq!(spawn.rss_bytes, sum);
    assert!(spawn.info.stdout.bytes > 0, "{spawn:?}");
}

#[test]
fn running_program_is_shown_with_its_model_its_cost_and_its_whole_tree() {
    let programs = Programs::new("child\ncost 0.25").with("generator.budget_day_usd", 8);
    let worker = programs.home.start();
    let api = worker.api();
    api.accept(payload::prompt("s", "hello"));
    worker.wait_idle();
    let program = &programs.wait_running(1)[0];

    let shown: Value = api.get(&format!("/v1/sessions/{NAME}"));
    let id = shown["id"].as_str().expect("an id").to_owned();
    let generator = &shown["generator"];
    assert_eq!(generator["name"], "test-generator");
    assert_eq!(generator["provider"], "nobody");
    assert_eq!(generator["model"], "none-1");
    assert_eq!(generator["pid"], program.pid);
    assert_eq!(shown["usage"]["cost_usd"], 0.25);
    assert_eq!(
        (&shown["waiting"], &shown["failing"]),
        (&Value::Null, &Value::Null)
    );
    let spawns: Vec<SpawnReport> =
        serde_json::from_value(shown["processes"].clone()).expect("spawns");
    assert_eq!(spawns.len(), 1);
    check_tree(&spawns[0], &id, program.pid);

    let report = api.doctor();
    assert_eq!(report.spawns.len(), 1);
    check_tree(&report.spawns[0], &id, program.pid);
    let about = report.sessions[0].generator.as_ref().expect("it is open");
    assert_eq!(
        (about.model.as_deref(), about.pid),
        (Some("none-1"), Some(program.pid))
    );
    assert_eq!(report.sessions[0].kind.as_deref(), Some("test-generator"));
    let generators = report.generators.expect("a running worker");
    assert_eq!(generators.programs, ["test-generator"]);
    assert_eq!((generators.slots.held, generators.slots.idle), (1, 1));
    assert_eq!(generators.today.cost_usd, 0.25);
    assert_eq!(generators.budgets.day_usd, Some(8.0));
    assert_eq!(api.status().slots, generators.slots);

    let pid = program.pid.to_string();
    let words = [
        "test-generator (nobody, none-1)",
        &pid,
        "0.2500 USD",
        "sessiond-shim",
    ];
    says(&programs, &["session", "show", NAME], &words);
    let words = [
        "test-generator",
        &pid,
        "slots 1 of 4 held",
        "8.00 USD a day",
        &id,
    ];
    says(&programs, &["doctor"], &words);
    says(&programs, &["status"], &["1 of 4 run"]);
    worker.stop();
}

#[test]
fn close_tells_what_had_to_be_killed() {
    let programs = Programs::new("ignore\nchild")
        .with("session.generator_stop_wait_ms", 50)
        .with("supervisor.grace_ms", 50);
    let worker = programs.home.start();
    worker.api().accept(payload::prompt("s", "hello"));
    worker.wait_idle();
    programs.wait_running(1);
    let words = ["1 program ended with all it started, ", "had to be killed"];
    says(&programs, &["session", "close", NAME], &words);
    programs.wait_nothing_left();
}

#[test]
fn what_a_program_wrote_can_be_read_after_its_end() {
    let programs = Programs::new("exit-at-start");
    let worker = programs.home.start();
    let api = worker.api();
    let none = api.call("GET", "/v1/sessions/claude-code:absent/output");
    none.error(404, "unknown_session");
    api.accept(payload::prompt("s", "hello"));
    wait_until("it has failed", LIMIT, || {
        let failing = api.session(NAME).session.failing;
        ok_if(failing.is_some(), failing)
    });
    says(
        &programs,
        &["session", "show", NAME],
        &["failing", "the test wants it so"],
    );
    says(
        &programs,
        &["session", "output", NAME],
        &["the test wants it so\n"],
    );
    says(&programs, &["sessions"], &["failing"]);
    programs.set_modes("");
    says(
        &programs,
        &["session", "restart", NAME],
        &["1 message waiting"],
    );
    worker.wait_idle();
    // It is written in pieces, to spare the disk.
    wait_until("its lines are written", LIMIT, || {
        let args = ["session", "output", NAME, "--stream", "stdout"];
        let ran = programs.home.cli(&args);
        let text = String::from_utf8_lossy(&ran.stdout).into_owned();
        ok_if(
            text.contains("\"ready\"") && text.contains("\"result\""),
            text,
        )
    });
    let json: Value = programs
        .home
        .cli(&["session", "output", NAME, "--json"])
        .json();
    assert_eq!(json["stream"], "stderr");
    let neither = api.call("GET", &format!("/v1/sessions/{NAME}/output?stream=neither"));
    neither.error(400, "invalid_query");
}

#[test]
fn session_worked_by_the_digest_has_no_output() {
    let home = crate::support::Home::new();
    let worker = home.start();
    worker.api().accept(payload::prompt("s", "hello"));
    worker.wait_idle();
    let none = worker
        .api()
        .call("GET", &format!("/v1/sessions/{NAME}/output"));
    none.error(404, "unknown_output");
    assert_eq!(home.cli(&["session", "output", NAME]).code(), 4);
    let report: Report = worker.api().doctor();
    let generators = report.generators.expect("a running worker");
    assert!(generators.programs.is_empty() && report.spawns.is_empty());
}

#[test]
fn message_is_shown_with_how_each_attempt_ended() {
    let programs = Programs::new("die-on Deadly").with("queue.attempt_max", 2);
    let worker = programs.home.start();
    let api = worker.api();
    let receipt = api.accept(payload::event("s", "Deadly", serde_json::json!({})));
    worker.wait_idle();
    let id = receipt.message.0;
    assert_eq!(api.message(id).state, State::Dead);
    let id = id.to_string();
    programs.home.cli(&["dead", "redrive", &id]).text();
    worker.wait_idle();
    let words = ["Deadly", "dead", "redriven", "retry", "signal 9"];
    says(&programs, &["messages", "show", &id], &words);
    let shown: Value = programs
        .home
        .cli(&["messages", "show", &id, "--json"])
        .json();
    let outcomes: Vec<&str> = shown["attempts"]
        .as_array()
        .expect("a history")
        .iter()
        .map(|attempt| attempt["outcome"].as_str().expect("an outcome"))
        .collect();
    assert_eq!(outcomes, ["retry", "retry", "redriven", "retry", "retry"]);
}

#[test]
fn what_a_terminal_would_obey_does_not_get_there() {
    let programs = Programs::new("environment");
    let config = "[generator.env]\nMARK = \"\\u001b[31mred\"\n";
    programs.home.write_config(config);
    let worker = programs.home.start();
    worker.api().accept(payload::prompt("s", "\u{1b}[2Jhello"));
    worker.wait_idle();
    let body = &super::results(worker.api(), NAME)[0].body;
    assert!(body.contains("MARK=\u{1b}[31mred"), "{body:?}");
    for (args, word) in [
        (vec!["session", "show", NAME], "[2Jhello"),
        (vec!["results", NAME, "--latest"], "MARK= [31mred\n"),
    ] {
        let ran = programs.home.cli(&args);
        let text = ran.text();
        assert!(text.contains(word), "no {word:?} in {text:?}");
        assert!(!text.contains('\u{1b}'), "{text:?}");
    }
    worker.stop();
}

#[test]
fn every_failing_session_is_restarted_by_one_command() {
    let programs = Programs::new("exit-at-start");
    let worker = programs.home.start();
    let api = worker.api();
    let none = programs.home.cli(&["session", "restart", "--all"]);
    assert_eq!(none.text(), "no session is failing\n");
    let keys = ["a", "b", "c"];
    for key in keys {
        api.accept(payload::prompt(key, "hello"));
    }
    wait_until("all are failing", LIMIT, || {
        let failing = api.sessions();
        let count = failing.iter().filter(|view| view.session.failing.is_some());
        ok_if(count.count() == keys.len(), failing)
    });
    let findings = api.doctor().findings;
    let failing: Vec<_> = findings
        .iter()
        .filter(|finding| finding.code == "session_failing")
        .collect();
    assert_eq!(failing.len(), 1, "{findings:?}");
    assert!(failing[0].message.contains("3 sessions"), "{failing:?}");
    programs.set_modes("");
    says(
        &programs,
        &["session", "restart", "--all"],
        &["3 sessions may start generators again"],
    );
    worker.wait_idle();
    assert_eq!(api.doctor().verdict, Verdict::Ok);
    worker.stop();
}

#[test]
fn session_behind_an_open_breaker_is_tried_at_once_when_it_is_restarted() {
    let minutes_ms = 600_000;
    let programs = Programs::new("unavailable")
        .with("generator.breaker_base_ms", minutes_ms)
        .with("generator.breaker_cap_ms", minutes_ms);
    let worker = programs.home.start();
    let api = worker.api();
    api.accept(payload::prompt("s", "hello"));
    wait_until("it waits for its provider", LIMIT, || {
        let waiting = api.session(NAME).live.and_then(|live| live.waiting);
        ok_if(
            waiting
                .as_deref()
                .is_some_and(|why| why.contains("usage limit")),
            waiting,
        )
    });
    programs.set_modes("");
    says(
        &programs,
        &["session", "restart", NAME],
        &[
            "1 message waiting",
            "its provider was away and is asked at once",
        ],
    );
    worker.wait_idle();
    assert_eq!(super::results(api, NAME).len(), 1);
    worker.stop();
}

#[test]
fn session_tells_its_kind_and_its_checkpoint_when_nothing_runs_for_it() {
    let programs = Programs::new("").with("session.generator_idle_end_ms", 1);
    let worker = programs.home.start();
    let api = worker.api();
    let empty = serde_json::json!({ "agent": "claude-code", "key": "s" });
    api.call_with("POST", "/v1/sessions", &empty);
    let target = format!("/v1/sessions/{NAME}/checkpoint");
    api.call("GET", &target).error(404, "unknown_checkpoint");
    let none = programs.home.cli(&["session", "checkpoint", NAME]);
    assert_eq!(none.code(), 4);
    api.accept(payload::prompt("s", "hello"));
    worker.wait_idle();
    wait_until("its program has ended", LIMIT, || {
        let shown: Value = api.get(&format!("/v1/sessions/{NAME}"));
        ok_if(shown["generator"].is_null(), shown)
    });
    let shown: Value = api.get(&format!("/v1/sessions/{NAME}"));
    assert_eq!(shown["kind"], "test-generator");
    let words = ["test-generator (not running)"];
    says(&programs, &["session", "show", NAME], &words);
    let stored: Value = api.get(&target);
    assert_eq!(stored["count"], 1);
    let printed: Value = programs.home.cli(&["session", "checkpoint", NAME]).json();
    assert_eq!(printed, stored);
    worker.stop();
}
