//! Order within a session, independence of sessions, and what counts as the same event.

use std::thread;

use serde_json::{Value, json};
use sessiond_queue::ids::EventId;
use sessiond_queue::types::{Receipt, State};

use crate::support::payload;
use crate::support::wait::ok_if;
use crate::support::{Api, Home, LIMIT, wait_until};

const AGENT: &str = "claude-code";

#[test]
fn sessions_keep_their_order_under_64_hooks_at_once() {
    const SESSIONS: usize = 64;
    const EVENTS: i64 = 6;
    let home = Home::new();
    let worker = home.start();
    thread::scope(|scope| {
        for session in 0..SESSIONS {
            let home = &home;
            scope.spawn(move || {
                let session = format!("s{session}");
                for number in 0..EVENTS {
                    let event = payload::event(&session, "Note", json!({ "number": number }));
                    home.hook(AGENT, event).silence();
                }
            });
        }
    });
    worker.wait_idle();
    for session in 0..SESSIONS {
        let name = format!("claude-code:s{session}");
        let numbers = numbers(worker.api(), &name);
        assert_eq!(numbers, (0..EVENTS).collect::<Vec<_>>(), "{name}");
        let messages = worker.api().messages(&name);
        let seqs: Vec<_> = messages.iter().map(|message| message.seq.0).collect();
        assert_eq!(seqs, (1..=EVENTS).collect::<Vec<_>>(), "{name}");
        let results = worker.api().results(&name);
        let worked: Vec<_> = results.iter().map(|stored| stored.seq.0).collect();
        assert_eq!(worked, seqs, "{name} is worked in order, each message once");
    }
    let stats = worker.api().doctor_deep().queue.expect("a queue").stats;
    assert_eq!(
        stats.accepted,
        i64::try_from(SESSIONS).expect("few") * EVENTS
    );
}

#[test]
fn blocked_session_holds_up_itself_and_nobody_else() {
    let home = Home::new()
        .with("rehearsal.fail_kind", "Block")
        .with("queue.backoff_base_ms", 60_000)
        .with("queue.backoff_cap_ms", 60_000);
    let worker = home.start();
    let api = worker.api();
    api.accept(payload::event("blocked", "Block", json!({})));
    api.accept(payload::event("blocked", "Note", json!({})));
    wait_until("the first attempt fails", LIMIT, || {
        let head = api.messages("claude-code:blocked").remove(0);
        ok_if(head.state == State::Pending && head.attempt == 1, head)
    });
    let receipt = api.accept(payload::event("free", "Note", json!({})));
    wait_until("the other session is worked", LIMIT, || {
        let state = api.message(receipt.message.0).state;
        ok_if(state == State::Done, state)
    });
    let behind = &api.messages("claude-code:blocked")[1];
    assert_eq!(
        (behind.state, behind.attempt),
        (State::Pending, 0),
        "order holds through a retry"
    );
}

#[test]
fn start_and_end_of_one_tool_use_are_two_events() {
    let home = Home::new();
    let worker = home.start();
    for kind in ["PreToolUse", "PostToolUse"] {
        home.hook(AGENT, payload::tool("s", kind, "t1")).silence();
    }
    let kinds: Vec<_> = worker
        .api()
        .messages("claude-code:s")
        .into_iter()
        .map(|message| message.kind)
        .collect();
    assert_eq!(kinds, ["PreToolUse", "PostToolUse"]);
}

#[test]
fn firing_delivered_twice_is_one_event() {
    let home = Home::new();
    let worker = home.start();
    let id = EventId::mint().to_string();
    let firing = [("sessiond-event-id", id.as_str())];
    let event = payload::prompt("s", "once");
    let first: Receipt = worker.api().post_firing(AGENT, &event, &firing).json();
    let second: Receipt = worker.api().post_firing(AGENT, &event, &firing).json();
    assert!(!first.duplicate);
    assert_eq!(
        second,
        Receipt {
            duplicate: true,
            session_created: false,
            ..first
        }
    );
    assert_eq!(worker.api().messages("claude-code:s").len(), 1);
    let session = worker.api().session("claude-code:s").session;
    assert_eq!(
        session.prompt_number, 1,
        "the second delivery has no effect on the session"
    );
}

#[test]
fn firing_delivered_again_after_a_restart_is_one_event() {
    let home = Home::new();
    let id = EventId::mint().to_string();
    let firing = [("sessiond-event-id", id.as_str())];
    let event = payload::prompt("s", "once");
    let worker = home.start();
    let first: Receipt = worker.api().post_firing(AGENT, &event, &firing).json();
    worker.kill();
    let worker = home.start();
    let second: Receipt = worker.api().post_firing(AGENT, &event, &firing).json();
    assert_eq!(
        second,
        Receipt {
            duplicate: true,
            session_created: false,
            ..first
        }
    );
}

#[test]
fn tool_event_under_a_new_firing_is_a_duplicate_unless_it_is_a_subagents() {
    let home = Home::new();
    let worker = home.start();
    let api = worker.api();
    let event = payload::tool("s", "PreToolUse", "t1");
    let first = api.accept(&event);
    let second = api.accept(&event);
    assert_eq!(
        second,
        Receipt {
            duplicate: true,
            session_created: false,
            ..first
        }
    );
    let mut of_subagent: Value = serde_json::from_str(&event).expect("JSON");
    of_subagent["agent_id"] = json!("sub");
    assert!(!api.accept(of_subagent.to_string()).duplicate);
    assert!(
        !api.accept(payload::tool("other", "PreToolUse", "t1"))
            .duplicate
    );
    assert_eq!(api.messages("claude-code:s").len(), 2);
}

#[test]
fn identical_prompts_are_two_events() {
    let home = Home::new();
    let worker = home.start();
    for _ in 0..2 {
        home.hook(AGENT, payload::prompt("s", "again")).silence();
    }
    worker.wait_idle();
    assert_eq!(worker.api().messages("claude-code:s").len(), 2);
    assert_eq!(
        worker.api().session("claude-code:s").session.prompt_number,
        2
    );
}

fn numbers(api: &Api, session: &str) -> Vec<i64> {
    let number = |payload: &str| {
        let value: Value = serde_json::from_str(payload).expect("JSON");
        value["number"].as_i64().expect("a number")
    };
    api.messages(session)
        .iter()
        .map(|message| number(&message.payload))
        .collect()
}
