//! The command line against a live worker, for people and for programs, and its exit codes.

use std::io::{Read, Seek};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;

use nix::sys::signal::Signal;
use serde_json::Value;
use sessiond::doctor::Report;
use sessiond::http::Status;
use sessiond::sessions::{CloseReport, Depth};
use sessiond_queue::types::{Life, Message, State};

use crate::support::home::SESSIOND;
use crate::support::wait::ok_if;
use crate::support::{Home, LIMIT, SessionView, Worker, launch, payload, wait_until};

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
fn pending_message_is_cancelled() {
    let home = Home::new()
        .with("rehearsal.delay_ms", 600_000)
        .with("session.generator_stop_wait_ms", 1);
    let worker = home.start();
    let first = worker.api().accept(payload::prompt("s", "stuck"));
    let second = worker.api().accept(payload::prompt("s", "behind it"));
    check(
        &home,
        &["messages", "cancel", &second.message.to_string()],
        &["cancelled"],
    );
    let cancelled: Message = home
        .cli(&["messages", "cancel", &first.message.to_string(), "--json"])
        .json();
    assert_eq!(cancelled.state, State::Cancelled);
    assert_eq!(
        home.cli(&["messages", "cancel", "1"]).code(),
        1,
        "it is cancelled already"
    );
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
    let stopped: Value = home.cli(&["stop", "--json"]).json();
    assert_eq!(stopped["state"], "not running");
}

#[test]
fn exit_code_says_that_no_worker_runs() {
    let home = Home::new();
    let commands: [&[&str]; 9] = [
        &["status"],
        &["sessions"],
        &["session", "show", "claude-code:s"],
        &["messages"],
        &["dead", "list"],
        &["results", "claude-code:s"],
        &["search", "x"],
        &["context"],
        &["purge", "claude-code:s"],
    ];
    for args in commands {
        let ran = home.cli(args);
        assert_eq!(ran.code(), 3, "{args:?}: {ran:?}");
        assert!(
            ran.stderr.contains("sessiond start"),
            "{args:?} says what to do: {}",
            ran.stderr
        );
        assert!(ran.stdout.is_empty());
    }
    assert!(home.processes().is_empty(), "looking starts nothing");
}

#[test]
fn exit_codes_tell_the_unknown_the_misused_and_the_refused_apart() {
    let (home, _worker) = populated();
    let cases: [(&[&str], i32); 20] = [
        (&["session", "show", "claude-code:absent"], 4),
        (&["session", "close", "claude-code:absent"], 4),
        (&["purge", "claude-code:absent"], 4),
        (&["results", "claude-code:absent"], 4),
        (&["messages", "show", "999999"], 4),
        (&["messages", "cancel", "1"], 1),
        (&["session", "show", "neither"], 2),
        (&["messages", "--session", "neither"], 2),
        (&["search", "x", "--session", "neither"], 2),
        (&["clients", "--session", "neither"], 2),
        (&["client", "show", "neither"], 2),
        (&["worktree", "list", "--session", "neither"], 2),
        (&["worktree", "remove", "neither"], 4),
        (&["worktree", "remove", "x", "--force", "all"], 2),
        (&["watch", "--session", "neither"], 2),
        (&["watch", "--after", "yesterday"], 2),
        (&["frobnicate"], 2),
        (&["messages", "--state", "odd"], 2),
        (&["sessions", "--limit", "0"], 2),
        (&["search", "x", "--limit", "201"], 2),
    ];
    for (args, code) in cases {
        let ran = home.cli(args);
        assert_eq!(ran.code(), code, "{args:?}: {ran:?}");
        assert!(!ran.stderr.is_empty(), "{args:?} says why");
        assert!(ran.stdout.is_empty(), "{args:?}");
    }
    for (command, list) in [("session", "sessions"), ("client", "clients")] {
        let ran = home.cli(&[command, "show", "neither"]);
        let hint = format!("list them with: sessiond {list}");
        assert!(ran.stderr.contains(&hint), "{ran:?}");
    }
}

#[test]
fn bad_configuration_is_told_before_anything_starts() {
    let mut home = Home::new();
    home.set("session.idle_unload_ms", "soon");
    for args in [["config", "check"].as_slice(), &["run"], &["start"]] {
        let ran = home.cli(args);
        assert_eq!(ran.code(), 1, "{args:?}");
        assert!(
            ran.stderr.contains("SESSIOND_SESSION_IDLE_UNLOAD_MS"),
            "{args:?}: {}",
            ran.stderr
        );
    }
    assert!(home.processes().is_empty());
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
fn worker_that_ends_at_once_is_told_at_once() {
    let home = Home::new();
    home.start().stop();
    home.database()
        .change("UPDATE _sqlx_migrations SET checksum = x'00'");
    let ran = home.cli(&["start"]);
    assert_eq!(ran.code(), 1);
    assert!(ran.stderr.contains("ended at once"), "{}", ran.stderr);
}

#[test]
fn relative_home_is_refused() {
    let mut home = Home::new();
    home.set_variable("SESSIOND_HOME", "here");
    let ran = home.cli(&["sessions"]);
    assert_eq!(ran.code(), 1);
    assert!(ran.stderr.contains("SESSIOND_HOME=here"), "{}", ran.stderr);
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
fn redrive_names_what_it_wants_and_takes_a_session() {
    let (home, _worker) = populated();
    let ran = home.cli(&["dead", "redrive"]);
    assert_eq!(ran.code(), 2);
    for word in ["--all", "--session", "MESSAGE"] {
        assert!(ran.stderr.contains(word), "{}", ran.stderr);
    }
    let redrive = ["dead", "redrive", "--session", "claude-code:dead"];
    check(&home, &redrive, &["is pending"]);
}

#[test]
fn dead_messages_are_purged_one_by_one_of_a_session_and_all() {
    let (home, worker) = populated();
    let api = worker.api();
    for session in ["other", "third"] {
        api.accept(payload::event(session, "Poison", serde_json::json!({})));
    }
    worker.wait_idle();
    assert_eq!(home.cli(&["dead", "purge"]).code(), 2, "it is told what");
    let id = api.messages("claude-code:dead")[0].id.to_string();
    check(&home, &["dead", "purge", &id], &["1 dead message purged"]);
    let again = home.cli(&["dead", "purge", &id]);
    assert_ne!(again.code(), 0);
    assert!(again.stderr.contains("does not exist"), "{again:?}");
    let done = home.cli(&["dead", "purge", "1"]);
    assert!(
        done.stderr.contains("done and cannot be purged"),
        "{done:?}"
    );
    let of_other = ["dead", "purge", "--session", "claude-code:other", "--json"];
    let purged: Value = home.cli(&of_other).json();
    assert_eq!(purged["purged"], 1);
    assert_eq!(api.doctor().queue.expect("a queue").stats.depth.dead, 1);
    check(
        &home,
        &["dead", "purge", "--all"],
        &["1 dead message purged"],
    );
    check(
        &home,
        &["dead", "purge", "--all"],
        &["0 dead messages purged"],
    );
    assert_eq!(home.cli(&["doctor"]).code(), 0, "nothing degrades any more");
    assert!(home.database().verify().is_sound());
}

#[test]
fn backlog_of_a_session_is_cancelled_with_what_is_in_work() {
    let home = Home::new().with("rehearsal.delay_ms", 600_000);
    let worker = home.start();
    let api = worker.api();
    for text in ["one", "two", "three"] {
        api.accept(payload::prompt("s", text));
    }
    api.accept(payload::prompt("other", "stays"));
    wait_until("both sessions are at work", LIMIT, || {
        let depth = api.doctor().queue.expect("a queue").stats.depth;
        ok_if(depth.claimed == 2, depth)
    });
    assert_eq!(home.cli(&["messages", "cancel"]).code(), 2);
    let cancel = ["messages", "cancel", "--session", "claude-code:s"];
    check(&home, &cancel, &["3 messages cancelled"]);
    check(&home, &cancel, &["0 messages cancelled"]);
    let states: Vec<_> = api.messages("claude-code:s");
    assert!(
        states
            .iter()
            .all(|message| message.state == State::Cancelled)
    );
    let depth = api.doctor().queue.expect("a queue").stats.depth;
    assert_eq!((depth.pending, depth.claimed), (0, 1), "others go on");
    // The run has heard of it: the session takes its next message up.
    api.accept(payload::prompt("s", "four"));
    wait_until("the session is at work again", LIMIT, || {
        let depth = api.doctor().queue.expect("a queue").stats.depth;
        ok_if(depth.claimed == 2, depth)
    });
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

#[test]
fn config_check_looks_for_the_programs_and_at_the_home() {
    let mut home = Home::new();
    let program = home.layout().root().with_file_name("notes");
    let dir = program.parent().expect("a directory").display().to_string();
    home.set("generator.command", "notes -x");
    home.write_config(&format!("[generator.env]\nPATH = \"/no/such:{dir}\"\n"));
    let refused = |home: &Home, words: &[&str]| {
        let ran = home.cli(&["config", "check"]);
        assert_eq!(ran.code(), 1, "{ran:?}");
        for word in words {
            assert!(ran.stderr.contains(word), "no {word:?} in {}", ran.stderr);
        }
    };
    let path = format!("/no/such:{dir}");
    refused(&home, &["generator.command: no notes", &path]);
    std::os::unix::fs::symlink("/bin/sh", &program).expect("a link");
    assert_eq!(home.cli(&["config", "check"]).text(), "ok\n");
    home.set("generator.command", "/no/such/notes");
    refused(&home, &["generator.command: /no/such/notes is not there"]);
    home.set("generator.command", "");
    home.set("worktrees.git", "/no/such/git");
    refused(&home, &["worktrees.git: /no/such/git is not there"]);
    home.unset("worktrees.git");
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::create_dir_all(home.layout().root()).expect("a home");
    std::fs::set_permissions(home.layout().root(), open).expect("a mode");
    refused(&home, &["no worker can start", "chmod 700"]);
}
