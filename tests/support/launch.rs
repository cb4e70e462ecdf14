//! Starts programs, gives them their input, and collects what they leave: the one file that does.

use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::de::DeserializeOwned;

/// After a program's end, how long until its output must end too. Whoever holds it longer has
/// inherited it.
const OUTPUT_END: Duration = Duration::from_secs(5);

/// A program that has ended.
#[derive(Debug)]
pub struct Ran {
    /// How it ended.
    pub status: ExitStatus,
    /// What it printed.
    pub stdout: Vec<u8>,
    /// What it complained of.
    pub stderr: String,
    /// From its start to its end.
    pub took: Duration,
}

impl Ran {
    /// Its exit code; panics when a signal ended it.
    #[track_caller]
    pub fn code(&self) -> i32 {
        self.status
            .code()
            .unwrap_or_else(|| panic!("ended by a signal: {self:?}"))
    }

    /// Asserts that it succeeded; gives what it printed.
    #[track_caller]
    pub fn text(&self) -> &str {
        assert_eq!(self.code(), 0, "{self:?}");
        str::from_utf8(&self.stdout).expect("the output is text")
    }

    /// Asserts that it succeeded and printed JSON of this type.
    #[track_caller]
    pub fn json<T: DeserializeOwned>(&self) -> T {
        let text = self.text();
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in {text}"))
    }

    /// Asserts what holds for every hook that has nothing to say: exit 0, nothing printed.
    #[track_caller]
    pub fn silence(&self) {
        assert_eq!(self.text(), "", "a hook with no answer prints nothing");
        assert_eq!(self.stderr, "", "a hook never complains");
    }
}

/// Runs a program to its end with `input` as its standard input.
///
/// # Panics
/// It does not end within `limit`, or something that it started holds its output.
#[track_caller]
pub fn run(command: &mut Command, input: &[u8], limit: Duration) -> Ran {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let started = Instant::now();
    let mut child = spawn(command);
    let mut stdin = child.stdin.take().expect("a pipe");
    let input = input.to_vec();
    // Not joined: a program may end without reading its input.
    thread::spawn(move || stdin.write_all(&input).ok());
    let stdout = collect(child.stdout.take().expect("a pipe"));
    let stderr = collect(child.stderr.take().expect("a pipe"));
    let Some(status) = wait_for_exit(&mut child, limit) else {
        child.kill().expect("the program is ours");
        child.wait().expect("the program is ours");
        panic!("{command:?} did not end within {limit:?}");
    };
    let took = started.elapsed();
    let output = |pipe: Receiver<Vec<u8>>, name| {
        pipe.recv_timeout(OUTPUT_END)
            .unwrap_or_else(|_| panic!("something that {command:?} started holds its {name}"))
    };
    let stdout = output(stdout, "standard output");
    let stderr = String::from_utf8_lossy(&output(stderr, "standard error")).into_owned();
    Ran {
        status,
        stdout,
        stderr,
        took,
    }
}

/// Starts a program.
#[track_caller]
#[expect(
    clippy::disallowed_methods,
    reason = "the harness's one place that starts programs"
)]
pub fn spawn(command: &mut Command) -> Child {
    command
        .spawn()
        .unwrap_or_else(|error| panic!("start {command:?}: {error}"))
}

/// Waits for a child's end without spending time on it; `None`: not within `limit`.
pub fn wait_for_exit(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let pid = Pid::from_child(child);
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).expect("a child that was not waited for");
    let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
    let limit = Timespec::try_from(limit).expect("a sensible limit");
    match rustix::event::poll(&mut fds, Some(&limit)) {
        Ok(0) => None,
        Ok(_) => Some(child.wait().expect("a child")),
        Err(error) => panic!("poll: {error}"),
    }
}

fn collect(mut pipe: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (collected, receiver) = channel();
    // Not joined: the pipe may be held for ever, which is what its receiver finds out.
    thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).ok();
        collected.send(bytes).ok();
    });
    receiver
}
