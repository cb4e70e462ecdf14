//! The worker stops with work under way: nothing is failed by it, and the next start goes on.

use sessiond_queue::types::{Life, State};

use super::{NAME, STUCK_MS, wait_for_life, wait_for_work};
use crate::support::{Home, payload};

fn stuck() -> Home {
    Home::new()
        .with("rehearsal.delay_ms", STUCK_MS)
        .with("session.generator_stop_wait_ms", 50)
}

#[test]
fn shutdown_gives_the_attempt_back_and_the_next_start_goes_on() {
    let mut home = stuck();
    let worker = home.start();
    for session in ["s", "t", "u"] {
        worker.api().accept(payload::prompt(session, "hello"));
    }
    wait_for_work(worker.api());
    worker.stop();
    for message in home.database().messages() {
        assert_eq!(
            (message.state, message.attempt),
            (State::Pending, 0),
            "{message:?}"
        );
        assert_eq!(message.rescues, 0, "it was released, not rescued");
    }
    home.unset("rehearsal.delay_ms");
    let worker = home.start();
    worker.wait_idle();
    for message in home.database().messages() {
        assert_eq!(
            (message.state, message.attempt),
            (State::Done, 1),
            "{message:?}"
        );
    }
}

#[test]
fn message_in_work_is_finished_when_there_is_time() {
    let home = Home::new().with("rehearsal.delay_ms", 150);
    let worker = home.start();
    worker.api().accept(payload::prompt("s", "hello"));
    wait_for_work(worker.api());
    worker.stop();
    assert_eq!(home.database().messages()[0].state, State::Done);
}

#[test]
fn kill_in_the_middle_of_a_message_is_a_rescue_and_no_attempt() {
    let mut home = stuck();
    let worker = home.start();
    worker.api().accept(payload::prompt("s", "hello"));
    wait_for_work(worker.api());
    worker.kill();
    home.unset("rehearsal.delay_ms");
    let worker = home.start();
    worker.wait_idle();
    let message = &home.database().messages()[0];
    assert_eq!(
        (message.state, message.attempt, message.rescues),
        (State::Done, 1, 1)
    );
}

#[test]
fn drain_that_a_shutdown_interrupts_goes_on_at_the_next_start() {
    let mut home = stuck();
    let worker = home.start();
    worker.api().accept(payload::prompt("s", "hello"));
    worker.api().accept(payload::session_end("s"));
    worker.stop();
    let left = home
        .database()
        .session("claude-code", "s")
        .expect("its row");
    assert_eq!((left.life, left.pending), (Life::Open, 2));
    assert!(left.drain_until.is_some());
    home.unset("rehearsal.delay_ms");
    let worker = home.start();
    let ended = wait_for_life(worker.api(), Life::Ended);
    assert_eq!(ended.session.pending, 0);
    assert_eq!(worker.api().messages(NAME).len(), 2);
}

#[test]
fn second_signal_ends_a_stop_at_once_and_loses_nothing() {
    let mut home = Home::new().with("rehearsal.delay_ms", STUCK_MS);
    let mut worker = home.start();
    worker.api().accept(payload::prompt("s", "hello"));
    wait_for_work(worker.api());
    worker.process().signal(nix::sys::signal::Signal::SIGTERM);
    crate::support::wait_until("the worker is stopping", crate::support::LIMIT, || {
        crate::support::wait::ok_if(home.log().contains("stopping: signal received"), "not yet")
    });
    worker.process().signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(worker.wait_exit().code(), Some(1));
    home.unset("rehearsal.delay_ms");
    let worker = home.start();
    worker.wait_idle();
    assert_eq!(home.database().messages()[0].state, State::Done);
}
