//! A worker that is starting, or stopping slowly, is told from none and from one that is stuck; and
//! who is asked to stop is followed, whoever comes after it.

use std::fs::{self, DirBuilder, File};
use std::io::Read;
use std::os::unix::fs::DirBuilderExt;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;
use sessiond::doctor::{Finding, Level, Report, Verdict};
use sessiond::occupant::{Occupant, Phase};
use sessiond_queue::types::State;

use crate::support::home::SESSIOND;
use crate::support::wait::ok_if;
use crate::support::{Home, LIMIT, Process, Worker, launch, payload, wait_until};

/// A worker with a message in work that does not end, whose stop would take a minute.
fn stuck() -> (Home, Worker) {
    let mut home = Home::new()
        .with("rehearsal.delay_ms", 600_000)
        .with("session.generator_stop_wait_ms", 60_000)
        .with("session.shutdown_deadline_ms", 60_000);
    let worker = home.start();
    worker.api().accept(payload::prompt("s", "hello"));
    wait_until("the message is in work", LIMIT, || {
        let messages = home.database().messages();
        ok_if(messages[0].state == State::Claimed, messages)
    });
    home.unset("rehearsal.delay_ms");
    (home, worker)
}

/// Waits until whoever has the home is so.
#[track_caller]
fn wait_for(home: &Home, what: &str, is_so: impl Fn(&Occupant) -> bool) {
    wait_until(what, LIMIT, || {
        let occupant = Occupant::look(home.layout());
        ok_if(occupant.as_ref().is_some_and(&is_so), occupant)
    });
}

#[track_caller]
fn wait_for_phase(home: &Home, process: Process, phase: Phase) {
    wait_for(home, "the worker has come so far", |occupant| {
        (occupant.pid, occupant.phase) == (Some(process.pid), phase)
    });
}

/// Ends a stop in which a message is in work.
fn cut_short(worker: &mut Worker) {
    worker.process().signal(Signal::SIGKILL);
    worker.wait_exit();
}

/// What `sessiond doctor` says.
#[track_caller]
fn doctor(home: &Home) -> Report {
    let ran = home.cli(&["doctor", "--json"]);
    serde_json::from_slice(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
}

#[track_caller]
fn only_finding(report: Report) -> Finding {
    let [finding] = <[Finding; 1]>::try_from(report.findings).expect("one finding");
    finding
}

/// Keeps a home's lock as a worker does that has come so far.
fn hold_lock(home: &Home, phase: &str) -> File {
    make_home(home, 0o700);
    let own = std::process::id();
    fs::write(home.layout().lock_file(), format!("{own} {phase}\n")).expect("write");
    let lock = File::open(home.layout().lock_file()).expect("open");
    lock.lock().expect("lock");
    lock
}

fn make_home(home: &Home, mode: u32) {
    let mut builder = DirBuilder::new();
    builder.mode(mode);
    builder.create(home.layout().root()).expect("a directory");
}

#[test]
fn stop_follows_the_worker_it_has_asked() {
    let (mut home, mut worker) = stuck();
    home.let_hooks_start();
    let stopped = thread::scope(|scope| {
        let stop = scope.spawn(|| home.cli(&["stop"]));
        wait_for_phase(&home, worker.process(), Phase::Stopping);
        home.hook("claude-code", payload::prompt("t", "hello"))
            .silence();
        wait_for(&home, "the next one waits", |occupant| occupant.is_followed);
        cut_short(&mut worker);
        stop.join().expect("it ends")
    });
    let next = home.wait_detached();
    let text = stopped.text();
    let words = format!("stopped; process {} was started since", next.pid);
    assert!(text.contains(&words), "{words:?} is not {text:?}");
    assert!(next.is_alive(), "nobody asked the next one to stop");
    let said: Value = home.cli(&["stop", "--json"]).json();
    assert_eq!(
        (&said["state"], &said["started_since"]),
        (&"stopped".into(), &Value::Null)
    );
    next.wait_gone(LIMIT);
}

#[test]
fn worker_that_stops_slowly_is_neither_absent_nor_broken() {
    let (home, mut worker) = stuck();
    worker.process().signal(Signal::SIGTERM);
    wait_for_phase(&home, worker.process(), Phase::Stopping);
    let words = format!("process {} is stopping", worker.process().pid);
    for (args, code) in [
        (["status"].as_slice(), 3),
        (&["status", "--wait-idle", "20"], 3),
        (&["results", "claude-code:s"], 3),
        (&["run"], 1),
    ] {
        let ran = home.cli(args);
        assert_eq!(ran.code(), code, "{args:?}: {ran:?}");
        assert!(ran.stderr.contains(&words), "{args:?}: {}", ran.stderr);
    }
    let report = doctor(&home);
    assert_eq!(report.verdict, Verdict::Degraded, "{:?}", report.findings);
    assert!(report.queue.is_some(), "the files still tell");
    let finding = only_finding(report);
    assert_eq!(finding.code, "stopping");
    assert!(finding.message.contains(&words), "{finding:?}");

    let mut start = launch::spawn(home.command(SESSIOND).arg("start").stdout(Stdio::null()));
    let early = launch::wait_for_exit(&mut start, Duration::from_millis(500));
    assert!(early.is_none(), "it waits for the end: {early:?}");
    cut_short(&mut worker);
    let started = launch::wait_for_exit(&mut start, LIMIT).expect("it ends");
    assert!(started.success());
    home.wait_detached();
    home.stop_detached();
}

#[test]
fn commands_wait_for_a_worker_that_is_starting() {
    let home = Home::new();
    make_home(&home, 0o700);
    let on_its_way = File::create(home.layout().start_lock_file()).expect("create");
    on_its_way.lock().expect("lock");
    let ran = home.cli(&["results", "generic:build-42"]);
    assert_eq!(ran.code(), 3, "{ran:?}");
    assert!(ran.stderr.contains("a worker is starting"), "{ran:?}");
    assert!(ran.took >= Duration::from_secs(2), "it has waited: {ran:?}");

    thread::scope(|scope| {
        let waiting = scope.spawn(|| home.cli(&["status", "--wait-idle", "20"]));
        // Longer than any other command waits.
        assert_eq!(home.cli(&["sessions"]).code(), 3);
        let _worker = home.start();
        assert!(waiting.join().expect("it ends").text().contains("idle"));
    });
}

#[test]
fn first_hook_is_followed_by_a_look_that_finds_its_event() {
    let mut home = Home::new();
    home.let_hooks_start();
    home.hook(
        "generic",
        r#"{"session_id":"build-42","hook_event_name":"step","cwd":"/src/app","note":"tests passed"}"#,
    )
    .silence();
    home.cli(&["results", "generic:build-42"]).text();
    home.cli(&["status", "--wait-idle", "20"]).text();
    let text = home.cli(&["results", "generic:build-42"]);
    assert!(text.text().contains("Step"), "{text:?}");
    home.stop_detached();
}

#[test]
fn database_of_a_worker_that_is_starting_is_not_judged() {
    let home = Home::new();
    let lock = hold_lock(&home, "starting");
    fs::write(home.layout().queue_db(), "").expect("write");
    let report = doctor(&home);
    assert_eq!(report.verdict, Verdict::Degraded, "{:?}", report.findings);
    let finding = only_finding(report);
    let words = format!("process {} is starting", std::process::id());
    assert_eq!(
        (finding.code.as_str(), finding.level),
        ("starting", Level::Degraded)
    );
    assert!(finding.message.contains(&words), "{finding:?}");
    drop(lock);
    let code = |finding: &Finding| finding.code.clone();
    let codes: Vec<_> = doctor(&home).findings.iter().map(code).collect();
    assert!(codes.contains(&"older_store".to_owned()), "{codes:?}");
}

#[test]
fn worker_whose_socket_is_gone_does_not_answer() {
    let home = Home::new();
    let worker = home.start();
    fs::remove_file(home.layout().socket()).expect("remove");
    let ran = home.cli(&["sessions"]);
    assert_eq!(ran.code(), 1, "{ran:?}");
    let pid = worker.process().pid;
    assert!(ran.stderr.contains(&format!("kill -9 {pid}")), "{ran:?}");
    assert_eq!(only_finding(doctor(&home)).code, "not_answering");
}

#[test]
fn home_that_others_may_enter_is_refused_in_the_same_words() {
    let home = Home::new();
    make_home(&home, 0o755);
    for (args, code) in [
        (["start"].as_slice(), 1),
        (&["status"], 3),
        (&["sessions"], 3),
    ] {
        let ran = home.cli(args);
        assert_eq!(ran.code(), code, "{ran:?}");
        assert!(ran.stderr.contains("mend it with: chmod 700"), "{ran:?}");
    }
}

#[test]
fn person_at_a_terminal_is_told_what_takes_so_long() {
    for args in [["stop"].as_slice(), &["purge", "claude-code:s"]] {
        let (home, mut worker) = stuck();
        let terminal = nix::pty::openpty(None, None).expect("a terminal");
        let mut command = home.command(SESSIOND);
        command
            .args(args)
            .stdout(Stdio::null())
            .stderr(terminal.slave);
        let mut child = launch::spawn(&mut command);
        // The other copies of its end of the terminal.
        drop(command);
        let mut said = [0; 256];
        let length = File::from(terminal.master).read(&mut said).expect("a line");
        let said = String::from_utf8_lossy(&said[..length]);
        assert!(
            said.contains("waiting for what is in work, up to 60 s"),
            "{said}"
        );
        cut_short(&mut worker);
        launch::wait_for_exit(&mut child, LIMIT).expect("it ends");
    }
}
