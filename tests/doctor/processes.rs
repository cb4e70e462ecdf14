//! The doctor and processes: it finds what nobody knows any more, ends it when it is told to, and
//! leaves all others alone.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, Stdio};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use sessiond::doctor::{Level, Report, Verdict};
use sessiond::occupant::{Occupant, Phase};
use sessiond_supervisor::{Fix, Tier};

use super::{ask, finding};
use crate::support::home::SESSIOND;
use crate::support::launch::Ran;
use crate::support::wait::ok_if;
use crate::support::{
    Freezer, Home, LIMIT, Process, example, launch, nasty_child, payload, wait_until,
};

/// A process that no worker has started, with a tag or without one.
struct Bystander {
    child: Child,
    /// Open, so that it can say that it stands.
    _stdout: BufReader<ChildStdout>,
}

impl Bystander {
    fn start(home: &Home, behaviour: &str, tag: Option<&str>) -> Self {
        let mut command = home.command(&nasty_child());
        command
            .arg(behaviour)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            // Nobody ends what is of its own group.
            .process_group(0);
        if let Some(tag) = tag {
            command.env("SESSIOND_TAG", tag);
        }
        let mut child = launch::spawn(&mut command);
        let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut said = String::new();
        stdout.read_line(&mut said).expect("a line");
        assert_eq!(said, "ready\n");
        Self {
            child,
            _stdout: stdout,
        }
    }

    fn process(&self) -> Process {
        Process {
            pid: self.child.id(),
        }
    }

    fn is_alive(&self) -> bool {
        self.process().is_alive()
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        self.child.kill().expect("it is ours");
        self.child.wait().expect("it is ours");
    }
}

/// Those that nobody may touch: of another install, with no tag of ours, with none at all.
fn canaries(home: &Home, install: &str) -> [Bystander; 3] {
    let foreign = format!("another-{install}:1:s:p");
    let malformed = format!("{install}:1:s");
    [Some(foreign), Some(malformed), None].map(|tag| Bystander::start(home, "wait", tag.as_deref()))
}

fn install(home: &Home) -> String {
    let install = fs::read_to_string(home.layout().install_file()).expect("an install");
    install.trim().to_owned()
}

fn has(report: &Report, code: &str) -> bool {
    report.findings.iter().any(|finding| finding.code == code)
}

/// A home in which whatever ignores SIGTERM is killed soon.
fn impatient() -> Home {
    Home::new().with("supervisor.grace_ms", 200)
}

/// What is told on the standard output.
fn text(ran: &Ran) -> String {
    assert_eq!(ran.stderr, "", "{ran:?}");
    String::from_utf8(ran.stdout.clone()).expect("a text")
}

/// Strays are found and shown; they are ended when that is said, and nobody else is.
#[track_caller]
fn check_strays(home: &Home, codes: [i32; 2]) {
    let [before, after] = codes;
    let install = install(home);
    let strays = [("wait", "1:s:unknown"), ("ignore-term", "999:s:later")]
        .map(|(how, rest)| Bystander::start(home, how, Some(&format!("{install}:{rest}"))));
    let canaries = canaries(home, &install);
    let pids = strays.each_ref().map(|stray| stray.process().pid);

    let (code, report) = ask(home);
    assert_eq!(code, before, "{:?}", report.findings);
    let told = finding(&report, "strays");
    assert_eq!(told.level, Level::Degraded);
    let mut found: Vec<u32> = report
        .processes
        .as_ref()
        .expect("processes")
        .strays
        .iter()
        .map(|stray| stray.pid)
        .collect();
    found.sort_unstable();
    let mut expected = pids;
    expected.sort_unstable();
    assert_eq!(found, expected, "neither more nor fewer");

    let shown = home.cli(&["doctor", "--fix"]);
    assert_eq!(shown.code(), before);
    let shown = text(&shown);
    for pid in pids {
        assert!(shown.contains(&pid.to_string()), "{shown}");
    }
    assert!(shown.contains("run it again with --yes"), "{shown}");
    assert!(strays.iter().all(Bystander::is_alive), "nobody has agreed");

    let done = home.cli(&["doctor", "--fix", "--yes", "--json"]);
    let code = done.code();
    let done: Value = serde_json::from_slice(&done.stdout).expect("JSON");
    assert_eq!(code, after, "{done}");
    assert_eq!(done["dry_run"], false);
    let fixes: Vec<Fix> = serde_json::from_value(done["fixes"].clone()).expect("fixes");
    assert_eq!(fixes.len(), 2, "{fixes:?}");
    for fix in &fixes {
        assert!(
            matches!(
                fix,
                Fix::End {
                    outcome: Some(_),
                    ..
                }
            ),
            "each with what came of it: {fix:?}"
        );
    }
    let report: Report = serde_json::from_value(done["report"].clone()).expect("a report");
    assert!(!has(&report, "strays"), "{:?}", report.findings);
    assert!(!strays.iter().any(Bystander::is_alive), "all are ended");
    assert!(
        canaries.iter().all(Bystander::is_alive),
        "nobody else is touched"
    );
    let again = home.cli(&["doctor", "--fix", "--yes"]);
    assert_eq!(again.code(), after);
    let again = text(&again);
    assert!(again.contains("nothing to mend"), "{again}");
}

#[test]
fn strays_are_ended_by_the_worker_once_that_is_said() {
    let home = impatient();
    let _worker = home.start();
    check_strays(&home, [10, 0]);
}

#[test]
fn strays_are_ended_without_a_worker_too() {
    let home = impatient();
    home.start().stop();
    check_strays(&home, [10, 10]);
    assert!(home.processes().is_empty(), "mending starts nothing");
    // The lock was given back.
    home.start().stop();
}

#[test]
fn endpoint_mends_only_what_it_is_told_to() {
    let home = impatient();
    let worker = home.start();
    let tag = format!("{}:0:s:p", install(&home));
    let stray = Bystander::start(&home, "wait", Some(&tag));
    let api = worker.api();
    for target in ["/v1/admin/doctor/fix", "/api/admin/doctor/fix"] {
        api.call_with("POST", target, &json!({}))
            .error(400, "invalid_json");
        let body = json!({ "dry_run": true, "force": true });
        api.call_with("POST", target, &body)
            .error(400, "invalid_json");
        let body = json!({ "dry_run": true });
        let planned: Value = api.call_with("POST", target, &body).json();
        assert_eq!(planned["fixes"][0]["action"], "end", "{planned}");
        assert_eq!(planned["fixes"][0]["outcome"], Value::Null);
        assert!(stray.is_alive());
    }
    let body = json!({ "dry_run": false });
    let done: Value = api.call_with("POST", "/v1/admin/doctor/fix", &body).json();
    assert!(done["fixes"][0]["outcome"].is_string(), "{done}");
    assert!(!stray.is_alive());
}

#[test]
fn files_that_are_no_records_are_set_aside_and_kept() {
    let home = impatient();
    let record = home.layout().process_dir().join("garbage.json");
    let check = |after: i32| {
        fs::write(&record, "not a record").expect("write");
        let (_, report) = ask(&home);
        let unreadable = finding(&report, "unreadable_records");
        assert_eq!(unreadable.level, Level::Degraded);
        assert!(
            unreadable.message.contains("garbage.json"),
            "{unreadable:?}"
        );
        let shown = text(&home.cli(&["doctor", "--fix"]));
        assert!(shown.contains("garbage.json"), "{shown}");
        assert!(record.exists(), "nobody has agreed");
        assert_eq!(home.cli(&["doctor", "--fix", "--yes"]).code(), after);
        assert!(!record.exists());
        assert!(!has(&ask(&home).1, "unreadable_records"));
    };
    let worker = home.start();
    check(0);
    worker.stop();
    check(10);
    let kept: Vec<String> = fs::read_dir(home.layout().root().join("set-aside"))
        .expect("a directory")
        .map(|entry| fs::read_to_string(entry.expect("a file").path()).expect("a text"))
        .collect();
    assert_eq!(kept, ["not a record", "not a record"]);
}

/// A home whose sessions are worked by a program, which misbehaves as `modes` say.
fn with_program(modes: &str) -> Home {
    let home = impatient();
    let file = home.layout().root().with_file_name("modes");
    fs::write(&file, modes).expect("write");
    let program = example("test-generator");
    let command = format!("'{}' '{}'", program.display(), file.display());
    home.with("generator.command", command)
}

/// Kills the only program's shim and then the worker, which sees nothing of it: as the OOM killer
/// may. Gives the program.
fn crash(home: &Home) -> Process {
    let worker = home.start();
    worker.api().accept(payload::prompt("s", "hello"));
    worker.wait_idle();
    let spawns = worker.api().doctor().spawns;
    let [spawn] = spawns.as_slice() else {
        panic!("not one program: {spawns:?}");
    };
    let program = Process {
        pid: spawn.info.pid.expect("it runs"),
    };
    let shim = Process {
        pid: spawn.info.shim_pid,
    };
    worker.process().freeze();
    shim.signal(Signal::SIGKILL);
    shim.wait_gone(LIMIT);
    worker.kill();
    program
}

#[test]
fn what_outlives_shim_and_worker_is_owned_by_nobody_and_ended() {
    let home = with_program("ignore");
    let program = crash(&home);
    let (_, report) = ask(&home);
    let strays = finding(&report, "strays");
    assert!(
        strays.message.contains(&program.pid.to_string()),
        "{strays:?}"
    );
    assert!(!has(&report, "stale_records"), "{:?}", report.findings);
    let done = text(&home.cli(&["doctor", "--fix", "--yes"]));
    assert!(done.contains("by SIGKILL"), "it ignores SIGTERM: {done}");
    assert!(!program.is_alive());
    assert!(!has(&ask(&home).1, "strays"));
    let records = fs::read_dir(home.layout().process_dir()).expect("a directory");
    assert_eq!(records.count(), 0);
}

#[test]
fn records_that_a_crash_has_left_are_a_note_until_they_are_cleared() {
    let home = with_program("");
    let program = crash(&home);
    // Its input has ended.
    program.wait_gone(LIMIT);
    let (code, report) = ask(&home);
    assert_eq!(code, 10, "for want of a worker");
    let stale = finding(&report, "stale_records");
    assert_eq!(stale.level, Level::Note, "the next start clears them");
    assert!(!has(&report, "strays"), "{:?}", report.findings);
    home.cli(&["doctor", "--fix", "--yes"]);
    assert!(!has(&ask(&home).1, "stale_records"));
    let records = fs::read_dir(home.layout().process_dir()).expect("a directory");
    assert_eq!(records.count(), 0);
}

#[test]
fn shim_that_was_killed_is_told_until_the_next_start() {
    let home = with_program("");
    crash(&home).wait_gone(LIMIT);
    let worker = home.start();
    let report = worker.api().doctor();
    assert_eq!(report.verdict, Verdict::Degraded);
    let lost = finding(&report, "shims_lost");
    assert!(lost.message.contains("wiped its environment"), "{lost:?}");
    worker.stop();
    assert_eq!(home.start().api().doctor().verdict, Verdict::Ok);
}

#[test]
fn process_that_does_not_die_is_a_failure_for_as_long_as_it_lives() {
    let Some(freezer) = Freezer::new("the doctor and what cannot be ended") else {
        return;
    };
    let home = with_program("").with("session.generator_stop_wait_ms", 1);
    let worker = home.start();
    let api = worker.api();
    api.accept(payload::prompt("s", "hello"));
    worker.wait_idle();
    let program = Process {
        pid: api.doctor().spawns[0].info.pid.expect("it runs"),
    };
    freezer.freeze(program);
    api.close("claude-code:s", "");
    let (code, report) = ask(&home);
    assert_eq!(code, 11, "{:?}", report.findings);
    let unkillable = finding(&report, "unkillable");
    assert_eq!(unkillable.level, Level::Failing);
    for word in [&program.pid.to_string(), "state D"] {
        assert!(unkillable.message.contains(word), "{unkillable:?}");
    }
    assert!(!has(&report, "strays"), "it is told once");
    freezer.thaw();
    wait_until("the doctor has nothing to say of it", LIMIT, || {
        let report = api.doctor();
        ok_if(report.findings.is_empty(), report.findings)
    });
}

#[test]
fn nobody_is_called_broken_while_programs_come_and_go() {
    let home = with_program("")
        .with("generator.generators_max", 2)
        .with("supervisor.spawns_per_s_max", 1000);
    let worker = home.start();
    // Two programs for five sessions: each message but a few starts one and ends another.
    for round in 0..40 {
        let session = format!("s{}", round % 5);
        worker.api().accept(payload::prompt(&session, "hello"));
        let report = worker.api().doctor();
        assert_eq!(report.verdict, Verdict::Ok, "{:?}", report.findings);
        assert_eq!(report.findings, [], "not even a note");
    }
    worker.wait_idle();
    assert_eq!(worker.api().doctor().findings, []);
}

#[test]
fn healthy_home_tells_its_tier_room_and_sweep_in_three_short_lines() {
    let home = Home::new();
    let worker = home.start();
    let shown = text(&home.cli(&["doctor"]));
    let lines: Vec<&str> = shown
        .lines()
        .filter(|line| {
            ["processes ", "room ", "swept "]
                .iter()
                .any(|own| line.starts_with(own))
        })
        .collect();
    assert_eq!(lines.len(), 3, "{shown}");
    assert!(lines[0].contains("of at most 64 programs"), "{shown}");
    assert!(lines[0].contains("tier"), "{shown}");
    assert!(lines[2].contains("nothing was left"), "{shown}");
    assert!(lines.iter().all(|line| line.len() <= 80), "{lines:#?}");

    let report = worker.api().doctor();
    let processes = report.processes.expect("processes");
    assert_ne!(processes.tier.tier, Tier::None);
    assert!(
        processes.tier.tier == Tier::Full || !processes.tier.missing.is_empty(),
        "why it is not a better one"
    );
    assert!(processes.headroom.used > 0, "this test runs");
    let of_worker = processes.worker.expect("a worker");
    let open = worker.process().descriptors().len() as u64;
    assert!(
        of_worker.descriptors.used.abs_diff(open) < 20,
        "{:?}, and {open} are open",
        of_worker.descriptors
    );
    assert!(of_worker.descriptors.max.is_some());
    assert!(of_worker.swept_at.is_some());

    worker.stop();
    let (_, report) = ask(&home);
    let processes = report.processes.expect("processes");
    assert_eq!(processes.worker, None, "only a worker knows that");
}

#[test]
fn looking_and_mending_make_nothing_where_nobody_was() {
    let home = Home::new();
    for args in [
        ["doctor"].as_slice(),
        &["doctor", "--fix"],
        &["doctor", "--fix", "--yes"],
    ] {
        assert_eq!(home.cli(args).code(), 10);
        assert!(!home.layout().root().exists(), "{args:?}");
    }
    assert_eq!(home.cli(&["doctor", "--yes"]).code(), 2, "to do what?");
}

#[test]
fn looking_changes_nothing_among_the_records() {
    let home = Home::new();
    home.start().stop();
    let dir = home.layout().process_dir();
    // As a worker leaves it that is just about to rename it.
    let unfinished = dir.join("spawn.0~");
    fs::write(&unfinished, "").expect("write");
    for args in [["doctor"].as_slice(), &["doctor", "--fix"]] {
        home.cli(args);
        assert!(unfinished.exists(), "{args:?}");
    }
    fs::remove_dir_all(&dir).expect("remove");
    for args in [["doctor"].as_slice(), &["doctor", "--fix"]] {
        assert_eq!(home.cli(args).code(), 10);
        assert!(!dir.exists(), "{args:?}");
    }
}

#[test]
fn nothing_is_mended_beside_a_worker_that_does_not_answer() {
    let home = impatient();
    let worker = home.start();
    let tag = format!("{}:1:s:unknown", install(&home));
    let stray = Bystander::start(&home, "wait", Some(&tag));
    worker.process().freeze();
    let ran = home.cli(&["doctor", "--fix", "--yes"]);
    assert_eq!(ran.code(), 1, "{ran:?}");
    let pid = worker.process().pid;
    assert!(ran.stderr.contains(&format!("kill -9 {pid}")), "{ran:?}");
    assert!(stray.is_alive());
    worker.process().thaw();
}

#[test]
fn no_worker_starts_while_processes_are_being_ended() {
    let home = Home::new().with("supervisor.grace_ms", 600_000);
    home.start().stop();
    let tag = format!("{}:1:s:unknown", install(&home));
    let stray = Bystander::start(&home, "ignore-term", Some(&tag));
    let mut command = home.command(SESSIOND);
    command
        .args(["doctor", "--fix", "--yes"])
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let mut mending = launch::spawn(&mut command);
    wait_until("the command has the home", LIMIT, || {
        let occupant = Occupant::look(home.layout());
        let is_it = occupant.is_some_and(|occupant| {
            occupant.pid == Some(mending.id()) && occupant.phase == Phase::Stopping
        });
        ok_if(is_it, occupant)
    });
    let ran = home.cli(&["run"]);
    assert_eq!(ran.code(), 1, "{ran:?}");
    assert!(ran.stderr.contains(&mending.id().to_string()), "{ran:?}");
    assert!(stray.is_alive(), "its grace is long");
    stray.process().signal(Signal::SIGKILL);
    let status = launch::wait_for_exit(&mut mending, LIMIT).expect("it ends");
    assert_eq!(status.code(), Some(10));
    home.start().stop();
}

#[test]
fn person_at_a_terminal_is_asked() {
    let home = impatient();
    let _worker = home.start();
    let tag = format!("{}:1:s:unknown", install(&home));
    let stray = Bystander::start(&home, "wait", Some(&tag));
    for (answer, code, is_left) in [("\n", 10, true), ("n\n", 10, true), ("y\n", 0, false)] {
        assert_eq!(answer_at_a_terminal(&home, answer), code);
        assert_eq!(stray.is_alive(), is_left, "{answer:?}");
    }
}

/// The exit code of `doctor --fix` at a terminal, where its question is answered so.
fn answer_at_a_terminal(home: &Home, answer: &str) -> i32 {
    let terminal = nix::pty::openpty(None, None).expect("a terminal");
    let mut command: Command = home.command(SESSIOND);
    let slave = terminal.slave.try_clone().expect("a descriptor");
    command
        .args(["doctor", "--fix"])
        .stdin(slave)
        .stdout(terminal.slave);
    let mut child = launch::spawn(&mut command);
    // The other copies of its end of the terminal.
    drop(command);
    let mut terminal = File::from(terminal.master);
    let mut said = String::new();
    let mut is_answered = false;
    let mut bytes = [0; 1024];
    // The terminal's end is an error (EIO), once nobody has its other side.
    while let Ok(length @ 1..) = terminal.read(&mut bytes) {
        said.push_str(&String::from_utf8_lossy(&bytes[..length]));
        if !is_answered && said.contains("[y/N]") {
            terminal.write_all(answer.as_bytes()).expect("an answer");
            is_answered = true;
        }
    }
    assert!(is_answered, "{said}");
    let status = launch::wait_for_exit(&mut child, LIMIT).expect("it ends");
    status.code().expect("a code")
}
