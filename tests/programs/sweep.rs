//! What a killed worker leaves behind, and what the next one does about it.

use std::fs;
use std::process::{Child, Stdio};

use nix::sys::signal::Signal;

use super::{Programs, results};
use crate::support::wait::ok_if;
use crate::support::{LIMIT, Process, Worker, example, launch, payload, wait_until};

const NAME: &str = "claude-code:s";

/// The shim of a program.
fn shim_of(program: Process) -> Process {
    Process {
        pid: program.parent().expect("it has a parent"),
    }
}

/// A process of the same program that is none of the worker's.
struct Canary(Child);

impl Canary {
    fn start(programs: &Programs, tag: Option<&str>) -> Self {
        let program = example("test-generator");
        let mut command = programs.home.command(&program.to_string_lossy());
        command.arg(programs.modes_file()).stdin(Stdio::piped());
        if let Some(tag) = tag {
            command.env("SESSIOND_TAG", tag);
        }
        Self(launch::spawn(&mut command))
    }

    fn is_alive(&self) -> bool {
        Process { pid: self.0.id() }.is_alive()
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        self.0.kill().expect("it is ours");
        self.0.wait().expect("it is ours");
    }
}

#[test]
fn nothing_outlives_a_worker_that_is_killed() {
    let programs = Programs::new("ignore\nchild");
    let worker = programs.home.start();
    worker.api().accept(payload::prompt("s", "hello"));
    worker.wait_idle();
    programs.wait_running(1);
    worker.kill();
    programs.wait_nothing_left();
}

#[test]
fn next_start_ends_what_worker_and_shim_left_and_touches_nothing_else() {
    let programs = Programs::new("ignore\nchild");
    let worker = programs.home.start();
    worker.api().accept(payload::prompt("s", "hello"));
    worker.wait_idle();
    let program = programs.wait_running(1)[0];
    let install = fs::read_to_string(programs.home.layout().install_file()).expect("an install");
    let install = install.trim();
    programs.set_modes("");
    let untagged = Canary::start(&programs, None);
    let foreign = Canary::start(&programs, Some("another-install:1:s:p"));
    let present = Canary::start(&programs, Some(&format!("{install}:2:s:p")));
    abandon(worker, program);

    let worker = programs.home.start();
    worker.api().accept(payload::prompt("s", "again"));
    worker.wait_idle();
    assert!(
        !program.is_alive(),
        "it was ended before its session went on"
    );
    assert_eq!(results(worker.api(), NAME).len(), 2);
    for canary in [&untagged, &foreign, &present] {
        assert!(canary.is_alive());
    }

    let report = worker.api().doctor();
    let sweep = report.sweep.expect("the doctor tells of the sweep");
    assert_eq!(sweep.stopped.len(), 1, "{sweep:?}");
}

/// Kills a worker, and the shim of its only program, so that neither ends it.
fn abandon(worker: Worker, program: Process) {
    let shim = shim_of(program);
    // So that it does not see what becomes of the shim.
    worker.process().freeze();
    shim.signal(Signal::SIGKILL);
    shim.wait_gone(LIMIT);
    worker.kill();
    assert!(program.is_alive(), "nobody is left to end it");
}

#[test]
fn close_answers_when_what_an_earlier_worker_left_of_the_session_has_ended() {
    for query in ["", "?purge=true"] {
        let programs = Programs::new("ignore\nchild").with("supervisor.grace_ms", 500);
        let worker = programs.home.start();
        worker.api().accept(payload::prompt("s", "hello"));
        worker.wait_idle();
        let program = programs.wait_running(1)[0];
        abandon(worker, program);

        let worker = programs.home.start();
        worker.api().close(NAME, query);
        assert!(!program.is_alive(), "it was asked, and has outlived it");
        let left = programs.home.processes();
        assert_eq!(left.len(), 1, "only the worker: {left:?}");
    }
}

#[test]
fn shim_that_is_killed_costs_the_message_an_attempt_and_leaves_nothing() {
    let programs = Programs::new("hold Held\nignore\nchild");
    let worker = programs.home.start();
    let api = worker.api();
    api.accept(payload::event("s", "Held", serde_json::json!({})));
    let program = programs.wait_running(1)[0];
    wait_until("the message is in work", LIMIT, || {
        let live = api.session(NAME).live;
        ok_if(
            live.is_some_and(|live| live.working_on.is_some()),
            "not in work",
        )
    });
    programs.set_modes("");
    shim_of(program).signal(Signal::SIGKILL);
    worker.wait_idle();
    program.wait_gone(LIMIT);
    assert_eq!(results(api, NAME).len(), 1);
}
