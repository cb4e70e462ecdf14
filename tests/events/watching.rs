//! `sessiond watch`, in a pipe and on a terminal.

use std::fs::File;
use std::io::{BufRead, BufReader, PipeReader, Read as _};
use std::process::{Child, Stdio};

use nix::pty::openpty;
use nix::sys::signal::Signal;
use serde_json::Value;

use super::NAME;
use crate::support::home::SESSIOND;
use crate::support::launch::{self, wait_for_exit};
use crate::support::{Home, LIMIT, Process, payload};

/// A watch that runs, with all that it prints in one pipe.
struct Watching {
    child: Child,
    lines: BufReader<PipeReader>,
}

impl Watching {
    fn start(home: &Home, args: &[&str]) -> Self {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let mut command = home.command(SESSIOND);
        command
            .arg("watch")
            .args(args)
            .stdin(Stdio::null())
            .stderr(writer.try_clone().expect("a descriptor"))
            .stdout(writer);
        let child = launch::spawn(&mut command);
        let lines = BufReader::new(reader);
        Self { child, lines }
    }

    /// Reads up to a line that has these words.
    #[track_caller]
    fn until(&mut self, words: &str) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            let read = self.lines.read_line(&mut line).expect("a line of text");
            assert!(read > 0, "it ended after {lines:#?}");
            lines.push(line.trim_end().to_owned());
            if line.contains(words) {
                return lines;
            }
        }
    }

    #[track_caller]
    fn exit_code(&mut self) -> Option<i32> {
        wait_for_exit(&mut self.child, LIMIT)
            .expect("it ends")
            .code()
    }
}

#[test]
fn watch_prints_what_happens_over_a_restart_and_ends_well_when_interrupted() {
    let home = Home::new();
    let worker = home.start();
    let mut watching = Watching::start(&home, &["--after", "1-0"]);
    watching.until("worker started");
    worker.api().accept(payload::prompt("s", "one"));
    let lines = watching.until("message 1 done");
    assert!(
        lines
            .iter()
            .any(|line| line.contains("claude-code:s ") && line.contains("new session")),
        "{lines:#?}"
    );
    assert!(
        !lines.iter().any(|line| line.contains('\u{1b}')),
        "no colours in a pipe: {lines:#?}"
    );
    worker.stop();
    let worker = home.start();
    worker.api().accept(payload::prompt("s", "two"));
    let lines = watching.until("message 2 done");
    let count = |words: &str| lines.iter().filter(|line| line.contains(words)).count();
    assert_eq!(
        (
            count("session is dormant"),
            count("worker started"),
            count("message 1 ")
        ),
        (1, 1, 0),
        "each once, and nothing again: {lines:#?}"
    );
    Process {
        pid: watching.child.id(),
    }
    .signal(Signal::SIGINT);
    assert_eq!(watching.exit_code(), Some(0));
    worker.stop();
}

#[test]
fn watch_says_when_the_worker_went_and_came_and_how() {
    let home = Home::new();
    let worker = home.start();
    let mut watching = Watching::start(&home, &["--after", "1-0"]);
    worker.api().accept(payload::prompt("s", "one"));
    watching.until("message 1 done");
    worker.stop();
    let mut lines = watching.until("the worker has stopped");
    let worker = home.start();
    lines.extend(watching.until("worker started"));
    let place = |words: &str| lines.iter().position(|line| line.contains(words));
    let order = [
        "worker stops",
        "the worker has stopped; waiting for the next one",
        "session is dormant",
        "the worker is there again",
        "worker started",
    ];
    let places = order.map(place);
    assert!(places.is_sorted() && places[0].is_some(), "{lines:#?}");
    worker.kill();
    lines.extend(watching.until("the worker is gone; waiting for the next one"));
    let worker = home.start();
    lines.extend(watching.until("worker started"));
    let count = |words: &str| lines.iter().filter(|line| line.contains(words)).count();
    assert_eq!(
        (count("has stopped"), count("is there again")),
        (1, 2),
        "{lines:#?}"
    );
    let has_time = |line: &String| line.split(':').next().is_some_and(|hour| hour.len() == 2);
    let mut of_the_worker = lines.iter().filter(|line| line.contains("worker "));
    assert!(of_the_worker.all(has_time), "{lines:#?}");
    Process {
        pid: watching.child.id(),
    }
    .signal(Signal::SIGINT);
    assert_eq!(watching.exit_code(), Some(0));
    worker.stop();
}

#[test]
fn watch_names_sessions_as_other_commands_take_them() {
    let home = Home::new();
    let worker = home.start();
    let keys = [1, 2].map(|last| format!("0192d3c4-0000-4000-8000-00000000000{last}"));
    for key in &keys {
        worker.api().accept(payload::prompt(key, "one"));
    }
    worker.wait_idle();
    let args = ["watch", "--after", "1-0", "--type", "session.created"];
    let shown = home.cli(&[&args[..], &["--count", "2"]].concat());
    for key in &keys {
        let name = format!(" claude-code:{key} ");
        assert!(shown.text().contains(&name), "{shown:?}");
    }
    worker.stop();
}

#[test]
fn terminal_says_while_no_worker_runs() {
    let home = Home::new();
    let worker = home.start();
    let terminal = openpty(None, None).expect("a terminal");
    let mut command = home.command(SESSIOND);
    command
        .arg("watch")
        .env("TERM", "xterm")
        .stdin(Stdio::null())
        .stdout(terminal.slave)
        .stderr(Stdio::null());
    let mut child = launch::spawn(&mut command);
    drop(command);
    let mut shown = File::from(terminal.master);
    let mut until = |words: &str| {
        let mut seen = String::new();
        while !seen.contains(words) {
            let mut bytes = [0; 4096];
            let read = shown.read(&mut bytes).expect("what is on the terminal");
            seen.push_str(&String::from_utf8_lossy(&bytes[..read]));
        }
        seen
    };
    until("idle");
    worker.stop();
    until("no worker");
    let worker = home.start();
    until("idle");
    Process { pid: child.id() }.signal(Signal::SIGINT);
    let status = wait_for_exit(&mut child, LIMIT).expect("it ends");
    assert_eq!(status.code(), Some(0));
    worker.stop();
}

#[test]
fn watch_prints_json_counts_and_ends_with_its_reader() {
    let home = Home::new();
    let worker = home.start();
    worker.api().accept(payload::prompt("s", "one"));
    worker.wait_idle();
    let args = ["watch", "--json", "--after", "1-0", "--session", NAME];
    let counted = home.cli(&[&args[..], &["--type", "message", "--count", "3"]].concat());
    let told: Vec<Value> = counted
        .text()
        .lines()
        .map(|line| serde_json::from_str(line).expect("each line is JSON"))
        .collect();
    let kinds: Vec<_> = told.iter().map(|told| &told["type"]).collect();
    assert_eq!(
        kinds,
        ["message.accepted", "message.claimed", "message.confirmed"]
    );

    let mut watching = Watching::start(&home, &["--json", "--after", "1-0"]);
    watching.until("message.confirmed");
    let Watching { mut child, lines } = watching;
    drop(lines);
    // Although nothing happens that could be printed.
    wait_for_exit(&mut child, LIMIT).expect("it ends with its reader");
    for types in ["?", ",", "bogus", "message.bogus"] {
        let refused = home.cli(&["watch", "--type", types]);
        assert_eq!(refused.code(), 2, "{types}: {refused:?}");
        assert!(refused.stderr.contains("message.dead"), "{refused:?}");
    }
    let help = home.cli(&["watch", "--help"]);
    assert!(help.text().contains("message.dead"), "{help:?}");
    worker.stop();
    assert_eq!(home.cli(&["watch"]).code(), 3, "there is nobody to ask");
}
