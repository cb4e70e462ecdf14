//! Speaks the protocol with a program over pipes, in the worker's place.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::{env, thread};

use serde_json::{Value, json};

use crate::support::launch::{spawn, wait_for_exit};
use crate::support::{LIMIT, leave_out};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// An example of the repository.
pub(super) fn example(name: &str) -> PathBuf {
    Path::new(ROOT).join("scripts/generators").join(name)
}

/// A program that stands in for another.
pub(super) fn fixture(name: &str) -> PathBuf {
    Path::new(ROOT).join("tests/fixtures").join(name)
}

/// The Python that workers' programs find, or else the one that this test does. `None`: there is
/// none, and `scripts/test` will say so.
pub(super) fn python() -> Option<String> {
    let own = env::var_os("PATH").unwrap_or_default();
    let dirs = ["/usr/local/bin", "/usr/bin", "/bin"].map(PathBuf::from);
    let found = dirs.into_iter().chain(env::split_paths(&own));
    let found = found
        .map(|dir| dir.join("python3"))
        .find(|path| path.is_file());
    if found.is_none() {
        leave_out("generators: python3 is missing");
    }
    Some(found?.to_str().expect("text").to_owned())
}

/// A program that is spoken with; killed when dropped.
pub(super) struct Driver {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Driver {
    pub(super) fn start(command: &mut Command) -> Self {
        let mut child = spawn(command.stdin(Stdio::piped()).stdout(Stdio::piped()));
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let (said, lines) = channel();
        // Not joined: it ends with the program's output, or when nobody listens any more.
        thread::spawn(move || {
            let lines = stdout.lines().map_while(Result::ok);
            lines.map(|line| said.send(line)).all(|sent| sent.is_ok())
        });
        Self {
            child,
            stdin,
            lines,
        }
    }

    /// Opens a session of no past.
    pub(super) fn open(&mut self, checkpoint: Value) {
        self.open_with(json!({ "checkpoint": checkpoint }));
    }

    /// Opens a session; `fields` are in place of what is sent otherwise.
    pub(super) fn open_with(&mut self, fields: Value) {
        let mut open = json!({
            "protocol": 1, "session": "0198c3a5-0000-7000-8000-000000000000",
            "agent": "claude-code", "project": "/p", "cwd": "/p", "prompt": "do it",
            "prompt_number": 1, "recent_results": [],
        });
        let Value::Object(fields) = fields else {
            panic!("an object: {fields}")
        };
        let own = open.as_object_mut().expect("an object");
        own.extend(fields.into_iter().filter(|(_, value)| !value.is_null()));
        let open = open.to_string();
        self.line(&format!(r#"{{"type":"open",{}"#, &open[1..]));
    }

    /// Hands over a message; `payload` is taken as it is.
    pub(super) fn message(&mut self, id: i64, kind: &str, payload: &str) {
        let kind = Value::from(kind);
        let start = format!(r#""type":"message","id":{id},"seq":{id},"kind":{kind},"attempt":1"#);
        self.line(&format!(
            r#"{{{start},"accepted_at":1795245600000,"payload":{payload}}}"#
        ));
    }

    /// The next line, as JSON.
    #[track_caller]
    pub(super) fn hear(&mut self) -> Value {
        let line = self.lines.recv_timeout(LIMIT);
        let line = line.unwrap_or_else(|error| panic!("nothing was said: {error}"));
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error} in {line}"))
    }

    /// Asks it to end, and asserts that it does and has nothing more to say.
    #[track_caller]
    pub(super) fn close(mut self) {
        self.line(r#"{"type":"close","reason":"session"}"#);
        let status = self.wait();
        assert!(status.success(), "{status}");
        let rest: Vec<_> = self.lines.iter().collect();
        assert!(rest.is_empty(), "said after the close: {rest:?}");
    }

    /// Closes its input and waits for its end.
    #[track_caller]
    pub(super) fn end(mut self) -> ExitStatus {
        self.stdin = None;
        self.wait()
    }

    #[track_caller]
    fn wait(&mut self) -> ExitStatus {
        wait_for_exit(&mut self.child, LIMIT).expect("it ends within the limit")
    }

    #[track_caller]
    fn line(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("its input is open");
        writeln!(stdin, "{line}").expect("it reads its input");
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // It has ended, unless the test has failed.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
