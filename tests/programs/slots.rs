//! More sessions than programs may run: each gets its turn.

use std::collections::HashSet;

use serde_json::json;
use sessiond_queue::types::State;

use super::Programs;
use crate::support::wait::ok_if;
use crate::support::{LIMIT, payload, wait_until};

#[test]
fn idle_program_gives_way_to_a_waiting_session() {
    let programs = Programs::new("").with("generator.generators_max", 2);
    let worker = programs.home.start();
    for number in 0..7 {
        worker
            .api()
            .accept(payload::prompt(&format!("s{number}"), "hello"));
        worker.wait_idle();
        assert!(programs.running().len() <= 2);
    }
    programs.wait_running(2);
    // The longest-idle one gave way: the last two run.

    let report = worker.api().doctor();
    let running: HashSet<_> = report
        .spawns
        .iter()
        .map(|spawn| spawn.info.session.clone())
        .collect();
    let last: HashSet<_> = ["claude-code:s5", "claude-code:s6"]
        .map(|name| worker.api().session(name).session.id.to_string())
        .into();
    assert_eq!(running, last);
}

#[test]
fn sessions_with_endless_work_do_not_starve_another() {
    let programs = Programs::new("")
        .with("generator.generators_max", 1)
        .with("generator.turn_ms", 10);
    let worker = programs.home.start();
    let api = worker.api();
    for _ in 0..500 {
        api.accept(payload::event("busy", "Note", json!({})));
    }
    let other = api.accept(payload::prompt("other", "hello"));
    wait_until("the other session has its turn", LIMIT, || {
        let state = api.message(other.message.0).state;
        if state == State::Done {
            Ok(())
        } else {
            Err(state)
        }
    });
    let left = api.session("claude-code:busy").session.pending;
    assert!(left > 0, "it had its turn before the busy one was done");
}

#[test]
fn program_that_keeps_its_slot_makes_others_wait_and_say_so() {
    let programs = Programs::new("hold Held")
        .with("generator.generators_max", 1)
        .with("session.generator_stop_wait_ms", 100);
    let worker = programs.home.start();
    let api = worker.api();
    api.accept(payload::event("holder", "Held", json!({})));
    programs.wait_running(1);
    api.accept(payload::prompt("waiter", "hello"));
    wait_until("it says what it waits for", LIMIT, || {
        let waiting = api
            .session("claude-code:waiter")
            .live
            .and_then(|live| live.waiting);
        ok_if(
            waiting
                .as_deref()
                .is_some_and(|waiting| waiting.contains("slot")),
            waiting,
        )
    });
    api.close("claude-code:holder", "");
    worker_is_done(api, "claude-code:waiter");
}

fn worker_is_done(api: &crate::support::Api, session: &str) {
    wait_until("the session's work is done", LIMIT, || {
        let pending = api.session(session).session.pending;
        ok_if(pending == 0, pending)
    });
}
