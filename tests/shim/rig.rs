//! A shim with its child, and the other end of its socket.

use std::io::{BufRead, BufReader, ErrorKind, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, ChildStdout, Command, Stdio};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use sessiond_supervisor::control::{Exit, HELLO, Report, Tally};

use crate::support::wait::ok_if;
use crate::support::{Home, LIMIT, Process, launch, nasty_child, wait_until};

/// The real binary.
pub(super) const SHIM: &str = env!("CARGO_BIN_EXE_sessiond-shim");

/// A grace that nobody waits for: whatever ends before it has not needed it.
pub(super) const LONG_MS: u64 = 10 * 60 * 1000;

/// A shim that was started. Its home, which is to outlive it, fails the test for survivors.
pub(super) struct Shim {
    /// The shim itself.
    pub(super) child: Child,
    /// The worker's end of the socket, until it is let go.
    socket: Option<UnixStream>,
    reports: BufReader<UnixStream>,
    stdout: BufReader<ChildStdout>,
    /// The child's stdin.
    stdin: Option<OwnedFd>,
}

impl Shim {
    /// Runs `words` under a shim. Says nothing to it yet.
    #[track_caller]
    pub(super) fn with_hello_pending(home: &Home, grace_ms: u64, words: &[&str]) -> Self {
        let mut command = home.command(SHIM);
        command.args(["--grace-ms", &grace_ms.to_string(), "--"]);
        Self::launch(command.args(words))
    }

    /// Runs a command that becomes a shim.
    #[track_caller]
    pub(super) fn launch(command: &mut Command) -> Self {
        let (ours, theirs) = UnixStream::pair().expect("a socket pair");
        ours.set_read_timeout(Some(LIMIT)).expect("a time limit");
        command.stdin(Stdio::from(OwnedFd::from(theirs)));
        command.stdout(Stdio::piped());
        let mut child = launch::spawn(command);
        // It keeps a copy of the socket and of the pipe's end otherwise.
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let reports = BufReader::new(ours.try_clone().expect("a copy of the socket"));
        Self {
            child,
            socket: Some(ours),
            reports,
            stdout,
            stdin: None,
        }
    }

    /// Says HELLO, and `orders` in the same breath.
    #[track_caller]
    pub(super) fn say_hello(&mut self, orders: &str) {
        let (theirs, ours) = pipe();
        let mut bytes = vec![HELLO];
        bytes.extend(orders.as_bytes());
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut attached = SendAncillaryBuffer::new(&mut space);
        let descriptors = [theirs.as_fd()];
        assert!(attached.push(SendAncillaryMessage::ScmRights(&descriptors)));
        let socket = self.socket.as_ref().expect("the socket");
        let parts = [IoSlice::new(&bytes)];
        sendmsg(socket, &parts, &mut attached, SendFlags::NOSIGNAL).expect("the shim listens");
        self.stdin = Some(ours);
    }

    /// Runs `words` and waits until they run; the shim and the child's pid.
    #[track_caller]
    pub(super) fn start(home: &Home, grace_ms: u64, words: &[&str]) -> (Self, Process) {
        let mut shim = Self::with_hello_pending(home, grace_ms, words);
        shim.say_hello("");
        let leader = shim.started();
        (shim, leader)
    }

    /// Runs `nasty-child` and waits until its tree stands.
    #[track_caller]
    pub(super) fn start_nasty(home: &Home, grace_ms: u64, words: &[&str]) -> (Self, Process) {
        let nasty = nasty_child();
        let words: Vec<&str> = [nasty.as_str()]
            .into_iter()
            .chain(words.iter().copied())
            .collect();
        let (mut shim, leader) = Self::start(home, grace_ms, &words);
        assert_eq!(shim.line(), "ready\n");
        (shim, leader)
    }

    /// Waits for the report of the start.
    #[track_caller]
    pub(super) fn started(&mut self) -> Process {
        match self.report() {
            Some(Report::Started { pid }) => Process { pid },
            other => panic!("not started: {other:?}"),
        }
    }

    /// The next report but for answers to orders; `None` at the socket's end.
    #[track_caller]
    pub(super) fn report(&mut self) -> Option<Report> {
        loop {
            let report = self.any_report();
            if report != Some(Report::Stopping) {
                return report;
            }
        }
    }

    /// The next report; `None` at the socket's end.
    #[track_caller]
    pub(super) fn any_report(&mut self) -> Option<Report> {
        let mut line = String::new();
        match self.reports.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(line.trim_end().parse().expect("a line of the protocol")),
            // What was sent to it and not read is lost; so it ends.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => None,
            Err(error) => panic!("no report within {LIMIT:?}: {error}"),
        }
    }

    /// Waits for the report of the leader's exit.
    #[track_caller]
    pub(super) fn exited(&mut self) -> Exit {
        match self.report() {
            Some(Report::Exited(exit)) => exit,
            other => panic!("no exit: {other:?}"),
        }
    }

    /// Waits for the tree's end and the shim's own.
    #[track_caller]
    pub(super) fn gone(&mut self) -> Tally {
        let tally = match self.report() {
            Some(Report::Gone(tally)) => tally,
            other => panic!("not gone: {other:?}"),
        };
        assert_eq!(self.report(), None, "nothing comes after the end");
        self.wait_end();
        tally
    }

    /// Waits until the shim itself has ended, which must be well.
    #[track_caller]
    pub(super) fn wait_end(&mut self) {
        let status = launch::wait_for_exit(&mut self.child, LIMIT).expect("the shim ends");
        assert!(status.success(), "{status}");
    }

    /// Orders the end.
    pub(super) fn stop(&mut self, grace_ms: u64) {
        let socket = self.socket.as_mut().expect("the socket");
        // It may have ended by itself meanwhile.
        socket
            .write_all(format!("stop {grace_ms}\n").as_bytes())
            .ok();
    }

    /// Ends the child's input.
    pub(super) fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Gives the worker's end of the socket to somebody else; nobody reads reports any more.
    pub(super) fn let_go(&mut self) -> OwnedFd {
        let (unused, _) = UnixStream::pair().expect("a socket pair");
        self.reports = BufReader::new(unused);
        self.socket.take().expect("the socket").into()
    }

    /// The shim as a process.
    pub(super) fn process(&self) -> Process {
        Process {
            pid: self.child.id(),
        }
    }

    /// The next line of the child's output.
    #[track_caller]
    pub(super) fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("a pipe");
        line
    }

    /// The child's output up to its end, which comes when nobody holds it.
    #[track_caller]
    pub(super) fn rest_of_output(&mut self) -> String {
        let mut text = String::new();
        self.stdout.read_to_string(&mut text).expect("a pipe");
        text
    }
}

impl Drop for Shim {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        // The test has failed, and may have set a grace that nobody waits for.
        if self.socket.is_some() {
            self.stop(0);
        }
        self.socket = None;
        launch::wait_for_exit(&mut self.child, LIMIT);
    }
}

/// Waits until this many processes of the home are there, its shims included.
#[track_caller]
pub(super) fn wait_for_processes(home: &Home, count: usize) {
    wait_until("the whole tree is there", LIMIT, || {
        let there = home.processes().len();
        ok_if(there == count, there)
    });
}

fn pipe() -> (OwnedFd, OwnedFd) {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    (reader.into(), writer.into())
}
