//! The command line against a live worker, for people and for programs, and its exit codes.

mod backlog;
mod refusals;

use std::io::{Read, Seek};
use std::os::unix::process::ExitStatusExt;

use nix::sys::signal::Signal;
use serde_json::Value;
use sessiond::doctor::Report;
use sessiond::http::Status;
use sessiond::sessions::{CloseReport, Depth};
use sessiond_queue::types::{Life, Message, State};

use crate::support::home::SESSIOND;
use crate::support::{Home, LIMIT, SessionView, Worker, launch, payload};

/// A home with a session that has a summary, and one whose `Stop` is dead.
fn populated() -> (Home, Worker) {
    let home = Home::new()
        .with("rehearsal.fail_kind", "Poison")
        .with("rehearsal.fail_class", "poison");
    let worker = home.start();
    let api = worker.api();
    api.accept(payload::prompt("s", "where is the frobnicator"));
    api.accept(payload::tool("s", "PreToolUse", "t1"));
    api.accept(payload::tool("s", "PostToolUse", "t1"));
    api.accept(payload::stop("s", "in the attic"));
    api.accept(payload::event("dead", "Poison", serde_json::json!({})));
    worker.wait_idle();
    (home, worker)
}

/// Runs a command as a person would; asserts that each word is in what it prints.
#[track_caller]
fn check(home: &Home, args: &[&str], words: &[&str]) {
    let ran = home.cli(args);
    let text = ran.text();
    assert_eq!(ran.stderr, "", "{args:?}");
    for word in words {
        assert!(text.contains(word), "{args:?}: {word:?} is not in:\n{text}");
    }
}

#[test]
fn every_look_is_for_people_too() {
    let (home, worker) = populated();
    let pid = worker.process().pid.to_string();
    let s = "claude-code:s";
    check(&home, &["status"], &[&pid, "idle", "2 open"]);
    check(&home, &["status", "--wait-idle", "5"], &["idle"]);
    check(
        &home,
        &["sessions"],
        &["claude-code:s", "claude-code:dead", "open", "PROJECT"],
    );
    check(&home, &["sessions", "--agent", "codex"], &[]);
    check(
        &home,
        &["session", "show", s],
        &["claude-code:s", "where is the frobnicator"],
    );
    check(
        &home,
        &["messages", "--session", s],
        &["UserPromptSubmit", "Stop", "done"],
    );
    for args in [
        &["session", "show", ""][..],
        &["session", "close", "."],
        &["results", ""],
    ] {
        let ran = home.cli(args);
        assert_eq!(ran.code(), 2, "{args:?}");
        assert!(ran.stderr.contains("AGENT:KEY"), "{}", ran.stderr);
    }
    check(&home, &["messages", "show", "1"], &["frobnicator"]);
    check(&home, &["dead", "list"], &["Poison", "rehearsed failure"]);
    check(
        &home,
        &["dead", "list", "--attempts"],
        &["Poison", "OUTCOME", "poison", "rehearsed failure"],
    );
    check(&home, &["results", s], &["observation", "summary"]);
    check(
        &home,
        &["results", s, "--kind", "summary", "--latest"],
        &["frobnicator", "in the attic"],
    );
    check(
        &home,
        &["results", s, "--kind", "absent", "--latest"],
        &["has no result of kind absent"],
    );
    check(&home, &["search", "frobnicator"], &["frobnicator"]);
    check(&home, &["search", "no-such-word"], &["nothing found"]);
    check(
        &home,
        &["context", "--project", "/home/user/project"],
        &["attic"],
    );
    check(&home, &["logs", "-n", "1000"], &["worker started"]);
    check(
        &home,
        &["config", "path"],
        &[home.layout().root().to_str().expect("text")],
    );
    check(
        &home,
        &["config", "default"],
        &["[session]", "idle_unload_ms"],
    );
    check(&home, &["config", "check"], &["ok"]);
    check(&home, &["completions", "bash"], &["complete"]);
    check(&home, &["start"], &["already running", &pid]);
    let doctor = home.cli(&["doctor"]);
    assert_eq!(doctor.code(), 10, "a dead message degrades");
    let text = String::from_utf8_lossy(&doctor.stdout).into_owned();
    for word in [
        "degraded",
        "dead",
        &pid,
        "claude-code:s",
        "sessiond dead redrive",
    ] {
        assert!(text.contains(word), "{word:?} is not in:\n{text}");
    }
}

#[test]
fn every_look_is_for_programs_too() {
    let (home, worker) = populated();
    let json = |args: &[&str]| -> Value { home.cli(&[args, &["--json"]].concat()).json() };
    let s = "claude-code:s";
    let status: Status = serde_json::from_value(json(&["status"])).expect("a status");
    assert!(status.ready && !status.processing && status.depth == 0);
    assert_eq!(
        json(&["sessions"])["sessions"].as_array().map(Vec::len),
        Some(2)
    );
    assert_eq!(
        json(&["sessions", "--limit", "1"])["sessions"]
            .as_array()
            .map(Vec::len),
        Some(1)
    );
    let view: SessionView =
        serde_json::from_value(json(&["session", "show", s])).expect("a session");
    assert_eq!(view.session.key, "s");
    let messages = json(&["messages", "--session", s, "--state", "done"]);
    assert_eq!(messages["messages"].as_array().map(Vec::len), Some(4));
    let message: Message = serde_json::from_value(json(&["messages", "show", "1"])).expect("one");
    assert_eq!((message.id.0, message.state), (1, State::Done));
    let dead = json(&["dead", "list"]);
    assert_eq!(dead["messages"][0]["state"], "dead");
    let dead = json(&["dead", "list", "--attempts"]);
    let message = &dead["messages"][0];
    assert_eq!(message["state"], "dead");
    assert_eq!(message["attempts"][0]["outcome"], "poison");
    let results = json(&["results", s, "--kind", "summary"]);
    assert_eq!(results["results"][0]["kind"], "summary");
    let hits = json(&["search", "frobnicator", "--kind", "summary"]);
    assert_eq!(hits["hits"].as_array().map(Vec::len), Some(1));
    let context = json(&["context", "--project", "/home/user/project"]);
    assert!(
        context["context"]
            .as_str()
            .expect("a text")
            .contains("attic")
    );
    assert_eq!(json(&["search", "--rebuild"])["rebuilding"], true);
    let root = home.layout().root().to_str().expect("text");
    assert_eq!(json(&["config", "path"])["state"], root);
    assert_eq!(json(&["config", "check"])["ok"], true);
    let report = home.cli(&["doctor", "--deep", "--json"]);
    let report: Report = serde_json::from_slice(&report.stdout).expect("a report");
    assert!(report.deep.expect("a verification").is_sound());
    assert_eq!(json(&["start"])["state"], "already running");
    assert_eq!(json(&["start"])["instance"]["pid"], worker.process().pid);
}

#[test]
fn commands_that_change_something_do() {
    let (home, worker) = populated();
    let api = worker.api();
    check(&home, &["dead", "redrive", "--all"], &["is pending"]);
    worker.wait_idle();
    assert_eq!(
        api.messages("claude-code:dead")[0].state,
        State::Dead,
        "the poison is still one"
    );

    let mut hook = home.command(SESSIOND);
    hook.args(["hook", "--agent", "codex"])
        .env("SESSIOND_NO_START", "1");
    let event = payload::prompt("c", "through the command line");
    launch::run(&mut hook, event.as_bytes(), LIMIT).silence();
    assert_eq!(api.session("codex:c").session.prompt_number, 1);

    check(
        &home,
        &["session", "close", "claude-code:s", "--drain"],
        &["ended"],
    );
    assert_eq!(api.session("claude-code:s").session.life, Life::Ended);
    check(&home, &["search", "--rebuild"], &[]);
    worker.wait_idle();
    assert!(!api.search("frobnicator").is_empty());

    let report: CloseReport = home
        .cli(&["session", "close", "claude-code:s", "--purge", "--json"])
        .json();
    assert_eq!((report.depth, report.life), (Depth::Purge, None));
    assert!(api.find_session("claude-code:s").is_none());
    check(&home, &["purge", "claude-code:dead"], &["gone"]);
    assert!(api.find_session("claude-code:dead").is_none());
}

#[test]
fn worker_is_started_and_stopped() {
    let home = Home::new();
    check(&home, &["start"], &["started"]);
    let worker = home.wait_detached();
    assert_eq!(home.processes(), [worker]);
    let again: Value = home.cli(&["start", "--json"]).json();
    assert_eq!(again["instance"]["pid"], worker.pid);
    check(&home, &["stop"], &["stopped"]);
    worker.wait_gone(LIMIT);
    check(&home, &["stop"], &["not running"]);
    let ran = home.cli(&["stop", "--json"]);
    assert_eq!(ran.json::<Value>()["state"], "not running");
    assert!(ran.text().starts_with("{\n  \""), "it is indented: {ran:?}");
}

#[test]
fn closed_pipe_ends_a_command_without_a_word() {
    let home = Home::new();
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut errors = tempfile::tempfile().expect("a file");
    let mut command = home.command(SESSIOND);
    command
        .args(["config", "default"])
        .stdout(writer)
        .stderr(errors.try_clone().expect("a descriptor"));
    let mut child = launch::spawn(&mut command);
    let status = launch::wait_for_exit(&mut child, LIMIT).expect("it ends");
    assert_eq!(status.signal(), Some(Signal::SIGPIPE as i32));
    let mut said = String::new();
    errors.rewind().expect("rewind");
    errors.read_to_string(&mut said).expect("read");
    assert_eq!(said, "");
}

#[test]
fn worker_is_stopped_whatever_became_of_its_configuration() {
    let mut home = Home::new();
    check(&home, &["start"], &["started"]);
    let worker = home.wait_detached();
    home.set("queue.attempt_max", 0);
    check(&home, &["stop"], &["stopped"]);
    worker.wait_gone(LIMIT);
}

#[test]
fn hook_takes_any_flag_and_ends_well() {
    let home = Home::new();
    let worker = home.start();
    let mut hook = home.command(SESSIOND);
    hook.args(["hook", "--of-tomorrow", "--agent=codex", "x"]);
    let event = payload::prompt("c", "hello");
    let ran = launch::run(&mut hook, event.as_bytes(), LIMIT);
    assert_eq!(ran.code(), 0, "{ran:?}");
    ran.silence();
    assert_eq!(worker.api().session("codex:c").session.prompt_number, 1);
    check(&home, &["hook", "--help"], &["--agent"]);
}

#[test]
fn limit_counts_what_is_shown_and_the_rest_can_be_gone_on_to() {
    let home = Home::new();
    let worker = home.start();
    for number in 0..3 {
        let id = format!("t{number}");
        worker.api().accept(payload::prompt("s", &id));
        worker.api().accept(payload::tool("s", "PreToolUse", &id));
        worker.api().accept(payload::tool("s", "PostToolUse", &id));
    }
    worker.wait_idle();
    let commands: [&[&str]; 2] = [&["results", "claude-code:s"], &["messages"]];
    for command in commands {
        let whole = home.cli(command).text().to_owned();
        let (_, rows) = whole.split_once('\n').expect("headings and rows");
        assert!(rows.lines().count() >= 3, "{whole}");
        let mut seen = String::new();
        let mut after = "0".to_owned();
        loop {
            let page = ["--limit", "2", "--after", &after];
            let text = home.cli(&[command, &page].concat()).text().to_owned();
            let (more, rows): (Vec<&str>, Vec<&str>) = text
                .lines()
                .skip(1)
                .partition(|line| line.starts_with("more: --after "));
            assert!((1..=2).contains(&rows.len()), "{text}");
            rows.iter().for_each(|row| {
                seen.extend(row.split_whitespace());
            });
            let Some(more) = more.first() else { break };
            assert_eq!(rows.len(), 2, "a page is full when there is more: {text}");
            after = more.replace("more: --after ", "");
        }
        assert_eq!(seen, rows.split_whitespace().collect::<String>());
    }
}

#[test]
fn directory_in_a_project_stands_for_the_project() {
    let home = Home::new();
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path().canonicalize().expect("a path").join("repo");
    std::fs::create_dir_all(root.join(".git")).expect("create");
    std::fs::create_dir(root.join("src")).expect("create");
    let worker = home.start();
    let src = root.join("src");
    let event = serde_json::json!({ "prompt": "x", "cwd": src });
    worker
        .api()
        .accept(payload::event("s", "UserPromptSubmit", event));
    for name in ["src", "src/", ".", "src/../"] {
        let path = root.join(name);
        let path = path.to_str().expect("text");
        check(
            &home,
            &["sessions", "--project", path],
            &["claude-code:s", " ago"],
        );
    }
}
