//! More than the queue takes: the API says so, hooks keep their events until there is room.

use serde_json::{Value, json};
use sessiond_queue::types::State;

use crate::support::{Home, payload};

const AGENT: &str = "claude-code";

/// A home in which nothing is ever worked off.
fn blocked() -> Home {
    Home::new()
        .with("rehearsal.delay_ms", 600_000)
        .with("session.generator_stop_wait_ms", 10)
}

fn note(session: &str, number: i64) -> String {
    payload::event(session, "Note", json!({ "number": number }))
}

/// Fills the queue with three events, asserts `code` for the fourth, and that the hooks' events
/// are stored once there is room.
fn check(mut home: Home, fourth: &str, code: &str) {
    let worker = home.start();
    let api = worker.api();
    for number in 0..3 {
        api.accept(note("s", number));
    }
    let error = api.post_hook(AGENT, note(fourth, 3)).error(429, code);
    assert_eq!(error["details"]["limit"], 3);
    let body = json!({ "kind": "Note", "payload": {} });
    if fourth == "s" {
        api.call_with("POST", "/v1/sessions/claude-code:s/messages", &body)
            .error(429, code);
    }
    for number in 3..6 {
        home.hook(AGENT, note(fourth, number)).silence();
    }
    assert_eq!(
        home.spool_files(),
        1,
        "the hooks keep what the worker has no room for"
    );
    assert_eq!(home.database().stats().accepted, 3);
    assert_eq!(
        api.doctor().spool.rejected_count,
        0,
        "there is nothing wrong with the events"
    );
    worker.stop();
    home.unset("rehearsal.delay_ms");

    let worker = home.start();
    worker.wait_idle();
    let messages = home.database().messages();
    let numbers: Vec<_> = messages
        .iter()
        .map(|message| {
            let value: Value = serde_json::from_str(&message.payload).expect("JSON");
            value["number"].as_i64().expect("a number")
        })
        .collect();
    assert_eq!(numbers, (0..6).collect::<Vec<_>>());
    assert!(messages.iter().all(|message| message.state == State::Done));
}

#[test]
fn full_session_takes_no_more_and_its_hooks_spool() {
    check(
        blocked().with("queue.session_depth_max", 3),
        "s",
        "session_full",
    );
}

#[test]
fn full_queue_takes_no_more_and_hooks_spool() {
    check(blocked().with("queue.depth_max", 3), "other", "queue_full");
}

#[test]
fn full_session_leaves_room_for_others() {
    let home = blocked().with("queue.session_depth_max", 1);
    let worker = home.start();
    worker.api().accept(note("s", 0));
    worker
        .api()
        .post_hook(AGENT, note("s", 1))
        .error(429, "session_full");
    assert_eq!(worker.api().accept(note("other", 0)).seq.0, 1);
}
