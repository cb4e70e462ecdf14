//! What ends a tree, in which order, and how fast.

use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use sessiond_supervisor::control::{Exit, Report, Tally};

use super::rig::{LONG_MS, SHIM, Shim, wait_for_processes};
use crate::support::wait::ok_if;
use crate::support::{Home, LIMIT, Process, launch, nasty_child, wait_until};

/// Long enough to be told from none, short enough to be waited for.
const SHORT_MS: u64 = 300;

#[test]
fn the_leaders_exit_is_told_at_once_although_a_grandchild_holds_its_output() {
    let home = Home::new();
    let (mut shim, _leader) = Shim::start_nasty(&home, LONG_MS, &["hold-stdout"]);
    assert_eq!(shim.exited(), Exit::Code(0));
    // The shim and the holder, which ignores SIGTERM: the grace is far from over.
    wait_for_processes(&home, 2);
    shim.stop(0);
    assert_eq!(
        shim.gone(),
        Tally {
            terminated: 1,
            killed: 1,
            untouchable: 0
        }
    );
    assert_eq!(shim.rest_of_output(), "");
}

#[test]
fn what_the_leader_leaves_behind_is_ended() {
    let home = Home::new();
    let leave = "sleep 1000 & setsid sleep 1000 & (sleep 1000 &) ; echo left; read word; exit 3";
    let (mut shim, _leader) = Shim::start(&home, LONG_MS, &["sh", "-c", leave]);
    assert_eq!(shim.line(), "left\n");
    wait_for_processes(&home, 5);
    shim.close_stdin();
    assert_eq!(shim.exited(), Exit::Code(3));
    assert_eq!(shim.gone().killed, 0, "they needed nothing but SIGTERM");
    assert_eq!(home.processes(), []);
}

#[test]
fn who_ignores_sigterm_is_killed_when_the_grace_is_over_and_not_before() {
    let home = Home::new();
    let (mut shim, leader) = Shim::start_nasty(&home, LONG_MS, &["ignore-term"]);
    let ordered_at = Instant::now();
    shim.stop(SHORT_MS);
    assert_eq!(shim.exited(), Exit::Signal(libc::SIGKILL));
    assert!(ordered_at.elapsed() >= Duration::from_millis(SHORT_MS));
    assert_eq!(shim.gone().killed, 1);
    assert!(!leader.is_alive());
}

#[test]
fn a_later_order_never_lengthens_the_grace() {
    let home = Home::new();
    let (mut shim, _leader) = Shim::start_nasty(&home, LONG_MS, &["ignore-term"]);
    shim.stop(SHORT_MS);
    shim.stop(LONG_MS);
    assert_eq!(shim.exited(), Exit::Signal(libc::SIGKILL));
    shim.gone();
}

#[test]
fn a_signal_to_the_shim_is_an_order_with_the_configured_grace() {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let home = Home::new();
        let (mut shim, _leader) = Shim::start_nasty(&home, SHORT_MS, &["ignore-term"]);
        shim.process().signal(signal);
        assert_eq!(shim.exited(), Exit::Signal(libc::SIGKILL), "{signal}");
        shim.gone();
    }
}

#[test]
fn a_signal_that_means_nothing_to_the_shim_changes_nothing() {
    let home = Home::new();
    let (mut shim, leader) = Shim::start_nasty(&home, LONG_MS, &["wait"]);
    for signal in [Signal::SIGUSR1, Signal::SIGALRM, Signal::SIGPIPE] {
        shim.process().signal(signal);
    }
    // An order that comes behind them is answered, so they were taken, and nobody else was asked.
    assert!(leader.is_alive());
    shim.stop(LONG_MS);
    assert_eq!(shim.exited(), Exit::Signal(libc::SIGTERM));
    shim.gone();
}

#[test]
fn each_order_is_answered_at_once() {
    let home = Home::new();
    let (mut shim, _leader) = Shim::start_nasty(&home, LONG_MS, &["ignore-term"]);
    for _ in 0..3 {
        shim.stop(LONG_MS);
        assert_eq!(shim.any_report(), Some(Report::Stopping));
    }
    shim.stop(0);
    assert_eq!(shim.any_report(), Some(Report::Stopping));
    assert_eq!(shim.exited(), Exit::Signal(libc::SIGKILL));
    shim.gone();
}

#[test]
fn the_record_is_removed_before_it_is_said_that_nothing_runs() {
    let home = Home::new();
    let record = home.layout().root().with_file_name("record");
    let start = |program: &[&str]| {
        std::fs::write(&record, "").unwrap();
        let mut command = home.command(SHIM);
        command.args(["--grace-ms", "300", "--record"]);
        Shim::launch(command.arg(&record).arg("--").args(program))
    };

    let mut shim = start(&["sleep", "1000"]);
    shim.say_hello("");
    shim.started();
    assert!(record.exists(), "it runs");
    shim.stop(LONG_MS);
    shim.exited();
    assert!(matches!(shim.report(), Some(Report::Gone(_))));
    assert!(!record.exists(), "whether or not the worker lives");
    shim.wait_end();

    let mut shim = start(&["sleep", "1000"]);
    shim.say_hello("");
    shim.started();
    drop(shim.let_go());
    shim.wait_end();
    assert!(!record.exists(), "the tree was ended");

    let mut shim = start(&["sleep", "1000"]);
    drop(shim.let_go());
    shim.wait_end();
    assert!(!record.exists(), "nothing was started");

    let mut shim = start(&["/no/such/program"]);
    shim.say_hello("");
    drop(shim.let_go());
    shim.wait_end();
    assert!(!record.exists(), "nothing could be started");
}

#[test]
fn the_end_of_the_lifeline_ends_the_tree() {
    let home = Home::new();
    let (mut shim, _leader) = Shim::start_nasty(&home, SHORT_MS, &["bomb", "3"]);
    wait_for_processes(&home, 1 + 8);
    drop(shim.let_go());
    shim.wait_end();
    assert_eq!(home.processes(), []);
}

#[test]
fn the_death_of_whoever_holds_the_lifeline_ends_the_tree() {
    let home = Home::new();
    let (mut shim, _leader) = Shim::start_nasty(&home, SHORT_MS, &["double-fork"]);
    let mut command = home.command("sleep");
    command.arg("1000").stdin(Stdio::from(shim.let_go()));
    let mut worker = launch::spawn(&mut command);
    drop(command);
    wait_for_processes(&home, 4);
    worker.kill().unwrap();
    worker.wait().unwrap();
    shim.wait_end();
    assert_eq!(home.processes(), []);
}

#[test]
fn a_child_that_kills_its_group_does_not_hit_the_shim() {
    let home = Home::new();
    let nasty = nasty_child();
    let (mut shim, _leader) = Shim::start(&home, LONG_MS, &[&nasty, "kill-group"]);
    assert_eq!(shim.exited(), Exit::Signal(libc::SIGKILL));
    assert_eq!(shim.gone(), Tally::default());
}

#[test]
fn the_same_program_outside_of_the_tree_is_never_hit() {
    let bystanders = Home::new();
    let mut canaries: Vec<_> = [["children", "5"], ["bomb", "3"]]
        .iter()
        .map(|words| {
            let mut command = bystanders.command(&nasty_child());
            // In its group on the far side, and in none of its sessions: found by name only.
            launch::spawn(
                command
                    .args(words)
                    .stdin(Stdio::null())
                    .stdout(Stdio::null()),
            )
        })
        .collect();
    wait_for_processes(&bystanders, 6 + 8);
    let home = Home::new();
    let (mut shim, _leader) = Shim::start_nasty(&home, SHORT_MS, &["bomb", "5"]);
    wait_for_processes(&home, 1 + 32);
    shim.stop(SHORT_MS);
    shim.exited();
    shim.gone();
    let there = bystanders.processes();
    let running = there.iter().filter(|canary| canary.is_alive()).count();
    let stopped = there.iter().any(|canary| canary.state() == Some('T'));
    for canary in &there {
        canary.signal(Signal::SIGKILL);
    }
    for canary in &mut canaries {
        canary.wait().unwrap();
    }
    wait_until("the canaries end", LIMIT, || {
        ok_if(!there.iter().copied().any(Process::is_alive), ())
    });
    assert_eq!((running, stopped), (14, false));
}
