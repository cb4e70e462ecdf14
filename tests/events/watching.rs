//! `sessiond watch`, in a pipe.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Stdio};

use nix::sys::signal::Signal;
use serde_json::Value;

use super::NAME;
use crate::support::home::SESSIOND;
use crate::support::launch::{self, wait_for_exit};
use crate::support::{Home, LIMIT, Process, payload};

/// A watch that runs.
struct Watching {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Watching {
    fn start(home: &Home, args: &[&str]) -> Self {
        let mut command = home.command(SESSIOND);
        let piped = command
            .arg("watch")
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = launch::spawn(piped);
        let lines = BufReader::new(child.stdout.take().expect("a pipe"));
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
