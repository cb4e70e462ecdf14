//! Hooks meet a worker that is down, starting, stopped in its tracks or stopping: they exit 0, and
//! what they brought is stored once and in order.

use std::os::fd::OwnedFd;
use std::thread;

use nix::sys::signal::Signal;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};
use serde_json::{Value, json};
use sessiond_queue::ids::Generation;
use sessiond_queue::types::State;

use crate::support::wait::ok_if;
use crate::support::{Database, Home, LIMIT, Process, Worker, payload, wait_until};

const AGENT: &str = "claude-code";

/// Fires event `number` of session `s`.
fn fire(home: &Home, number: i64) {
    home.hook(
        AGENT,
        payload::event("s", "Note", json!({ "number": number })),
    )
    .silence();
}

/// Asserts that exactly the events `0..count` were stored, in this order, and worked.
#[track_caller]
fn check_all(home: &Home, worker: &Worker, count: i64) {
    worker.wait_idle();
    let messages = home.database().messages();
    let numbers: Vec<i64> = messages
        .iter()
        .map(|message| {
            let value: Value = serde_json::from_str(&message.payload).expect("JSON");
            value["number"].as_i64().expect("a number")
        })
        .collect();
    assert_eq!(numbers, (0..count).collect::<Vec<_>>());
    assert!(messages.iter().all(|message| message.state == State::Done));
    assert_eq!(home.spool_files(), 0);
}

#[test]
fn event_that_is_refused_before_it_is_read_is_not_lost() {
    let home = Home::new().with("hook.body_max_bytes", 1_000);
    let worker = home.start();
    let long = "x".repeat(2_000);
    home.hook(
        AGENT,
        payload::event("s", "Note", json!({ "number": 0, "text": long })),
    )
    .silence();
    wait_until("the event is taken from the spool", LIMIT, || {
        let stored = home.database().stats().accepted;
        ok_if(stored == 1, stored)
    });
    check_all(&home, &worker, 1);
}

#[test]
fn events_without_a_worker_are_stored_once_one_comes() {
    let home = Home::new();
    for number in 0..3 {
        fire(&home, number);
    }
    assert_eq!(home.spool_files(), 1, "one file a session");
    assert!(
        home.processes().is_empty(),
        "a hook that must not start a worker starts none"
    );
    let worker = home.start();
    check_all(&home, &worker, 3);
}

#[test]
fn order_holds_from_the_socket_through_the_spool_and_back() {
    let home = Home::new();
    let worker = home.start();
    (0..3).for_each(|number| fire(&home, number));
    worker.kill();
    (3..6).for_each(|number| fire(&home, number));
    assert_eq!(home.spool_files(), 1);
    let worker = home.start_unready();
    // Some of these meet a worker that does not listen yet, some one that takes the spool in; that
    // they keep coming does not keep it from getting ready.
    let mut next = 6;
    wait_until("the worker is ready while hooks fire", LIMIT, || {
        fire(&home, next);
        next += 1;
        ok_if(worker.api().is_ready() && next >= 12, next)
    });
    check_all(&home, &worker, next);
}

#[test]
fn event_that_a_hook_gave_up_on_is_stored_once_and_worked() {
    const HOOKS: usize = 24;
    let mut home = Home::new();
    let worker = home.start();
    worker.process().freeze();
    home.set_hook_deadline_ms(Some(50));
    thread::scope(|scope| {
        for number in 0..HOOKS {
            let home = &home;
            scope.spawn(move || {
                let event = payload::event(&format!("s{number}"), "Note", json!({}));
                home.hook(AGENT, event).silence();
            });
        }
    });
    // Without an answer the event is the hook's to keep ...
    assert_eq!(home.spool_files(), HOOKS);
    worker.process().thaw();
    // ... though the worker finds the request too, and nobody at its other end. The two are one
    // firing, and whichever comes second must not keep the first from being worked.
    worker.wait_idle();
    let messages = home.database().messages();
    assert_eq!(messages.len(), HOOKS);
    assert!(messages.iter().all(|message| message.state == State::Done));
}

#[test]
fn stopped_worker_with_a_full_backlog_costs_no_event_and_no_hang() {
    let mut home = Home::new();
    let worker = home.start();
    worker.process().freeze();
    let backlog = fill_backlog(&home);
    home.set_hook_deadline_ms(None);
    for number in 0..3 {
        fire(&home, number);
    }
    assert_eq!(home.spool_files(), 1);
    drop(backlog);
    worker.process().thaw();
    check_all(&home, &worker, 3);
}

/// Connects until the listener's queue is full.
fn fill_backlog(home: &Home) -> Vec<OwnedFd> {
    let address = SocketAddrUnix::new(home.layout().socket()).expect("a short path");
    let mut held = Vec::new();
    loop {
        let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None);
        let socket = socket.expect("descriptors for the whole backlog");
        rustix::io::ioctl_fionbio(&socket, true).expect("a socket");
        match rustix::net::connect(&socket, &address) {
            Ok(()) => held.push(socket),
            Err(Errno::AGAIN) => return held,
            Err(error) => panic!("connection {}: {error}", held.len()),
        }
    }
}

#[test]
fn events_that_meet_a_stopping_worker_are_stored_once() {
    let mut home = Home::new()
        .with("rehearsal.delay_ms", 200)
        .with("session.generator_stop_wait_ms", 60_000);
    let mut worker = home.start();
    fire(&home, 0);
    worker.process().signal(Signal::SIGTERM);
    let mut next = 1;
    // The message in work is finished first, so the stop takes as long as that.
    while worker.process().is_alive() || next < 6 {
        fire(&home, next);
        next += 1;
    }
    assert!(worker.wait_exit().success());
    home.unset("rehearsal.delay_ms");
    let worker = home.start();
    check_all(&home, &worker, next);
}

#[test]
fn ten_hooks_at_once_start_exactly_one_worker() {
    let mut home = Home::new();
    home.let_hooks_start();
    thread::scope(|scope| {
        for number in 0..10 {
            let home = &home;
            scope.spawn(move || {
                let event = payload::event(&format!("s{number}"), "Note", json!({}));
                home.hook(AGENT, event).silence();
            });
        }
    });
    let worker = home.wait_detached();
    wait_until("all ten events are stored and worked", LIMIT, || {
        let stats = home.database().stats();
        ok_if(stats.depth.done == 10, stats)
    });
    assert_eq!(home.processes(), [worker]);
    assert_eq!(home.database().generation(), Generation(1));
    assert_eq!(home.database().stats().accepted, 10);
    home.stop_detached();
}

#[test]
fn what_a_dead_worker_left_misleads_nobody() {
    let mut home = Home::new();
    let worker = home.start();
    let dead = worker.process();
    worker.kill();
    for file in [
        home.layout().lock_file(),
        home.layout().socket(),
        home.layout().instance_file(),
    ] {
        assert!(file.exists(), "{} should be stale", file.display());
    }
    home.let_hooks_start();
    fire(&home, 0);
    let started = home.wait_detached();
    assert_ne!(started, dead);
    wait_until("the event is worked", LIMIT, || {
        let stats = home.database().stats();
        ok_if(stats.depth.done == 1, stats)
    });
    home.stop_detached();
}

#[test]
fn files_that_name_a_foreign_process_or_nothing_at_all_do_not_hinder_a_start() {
    let home = Home::new();
    home.start().stop();
    // This test's own process: alive, and no worker.
    let foreign = Process {
        pid: std::process::id(),
    };
    std::fs::write(home.layout().lock_file(), foreign.pid.to_string()).expect("write");
    std::fs::write(home.layout().instance_file(), "{ not JSON").expect("write");
    std::fs::write(home.layout().socket(), "not a socket").expect("write");
    fire(&home, 0);
    let worker = home.start();
    assert_eq!(
        home.discovery().map(|found| found.pid),
        Some(worker.process().pid)
    );
    check_all(&home, &worker, 1);
}

#[test]
fn second_worker_refuses_and_names_the_first() {
    let home = Home::new();
    let worker = home.start();
    let second = home.cli(&["run"]);
    assert_eq!(second.code(), 1);
    let pid = worker.process().pid;
    let words = format!("a worker is running already: process {pid}");
    assert!(second.stderr.contains(&words), "{}", second.stderr);
    fire(&home, 0);
    check_all(&home, &worker, 1);
    let generation = Database::open(home.layout()).generation();
    assert_eq!(
        generation,
        Generation(1),
        "the second did not get as far as the store"
    );
}
