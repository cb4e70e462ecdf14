//! Input of every bad kind: the hook exits 0 in silence, the API answers a typed 4xx, nothing
//! crashes, nothing good is lost, and the doctor has the reason.

mod api;
mod bounds;
mod depth;

use std::fs;

use serde_json::json;
use sessiond::doctor::Verdict;

use crate::support::wait::ok_if;
use crate::support::{Home, LIMIT, Worker, payload, wait_until};

/// Bad events: agent, what it writes, and the reason that is kept.
fn bad_events() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let large = payload::prompt("s", &"x".repeat(10 << 20));
    vec![
        ("claude-code", b"".to_vec(), "payload_empty"),
        ("claude-code", b" \n".to_vec(), "payload_empty"),
        (
            "claude-code",
            b"{\"session_id\":\"s\",".to_vec(),
            "payload_not_json",
        ),
        (
            "claude-code",
            b"not JSON at all".to_vec(),
            "payload_not_json",
        ),
        ("claude-code", b"[1]".to_vec(), "payload_not_an_object"),
        (
            "codex",
            b"{\"session_id\":\"s\xff\"}".to_vec(),
            "payload_not_utf8",
        ),
        (
            "claude-code",
            b"{\"hook_event_name\":\"Stop\"}".to_vec(),
            "field_missing",
        ),
        (
            "claude-code",
            b"{\"session_id\":\"s\"}".to_vec(),
            "field_missing",
        ),
        (
            "claude-code",
            b"{\"session_id\":\"\",\"hook_event_name\":\"Stop\"}".to_vec(),
            "field_invalid",
        ),
        (
            "claude-code",
            b"{\"session_id\":7,\"hook_event_name\":\"Stop\"}".to_vec(),
            "field_invalid",
        ),
        ("claude-code", large.into_bytes(), "payload_too_large"),
        (
            "no-such-agent",
            payload::prompt("s", "hello").into_bytes(),
            "unknown_agent",
        ),
        (
            "../../etc",
            payload::prompt("s", "hello").into_bytes(),
            "unknown_agent",
        ),
    ]
}

/// Asserts that every bad event is set aside whole, with its reason, and is told by the doctor.
#[track_caller]
fn check_set_aside(home: &Home, worker: &Worker) {
    let bad = bad_events();
    let report = wait_until("every bad event is set aside", LIMIT, || {
        let report = worker.api().doctor();
        let count = report.spool.rejected_count;
        if count == bad.len() as u64 {
            Ok(report)
        } else {
            Err(count)
        }
    });
    worker.wait_idle();
    assert_eq!(worker.api().doctor().verdict, Verdict::Degraded);
    assert!(
        report
            .findings
            .iter()
            .any(|finding| finding.code == "rejected")
    );
    let mut reasons: Vec<_> = report
        .spool
        .rejected
        .iter()
        .map(|rejected| rejected.reason.as_str())
        .collect();
    let mut wanted: Vec<_> = bad.iter().map(|(_, _, reason)| *reason).collect();
    reasons.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(reasons, wanted);
    for (agent, bytes, _) in &bad {
        let is_kept = report.spool.rejected.iter().any(|rejected| {
            rejected.agent == *agent
                && fs::read(&rejected.path)
                    .expect("it is there")
                    .ends_with(bytes)
        });
        assert!(
            is_kept,
            "an event of {agent} with {} bytes is not kept",
            bytes.len()
        );
    }

    // And the good ones go their way.
    home.hook("claude-code", payload::prompt("good", "hello"))
        .silence();
    worker.wait_idle();
    assert_eq!(worker.api().messages("claude-code:good").len(), 1);
    assert_eq!(home.database().messages().len(), 1);
    assert_eq!(
        worker.api().doctor().instance.expect("running").generation,
        1
    );
}

#[test]
fn bad_events_are_set_aside_with_their_reasons() {
    let home = Home::new();
    let worker = home.start();
    for (agent, bytes, _) in bad_events() {
        home.hook(agent, bytes).silence();
    }
    assert_eq!(
        home.spool_files(),
        0,
        "what the worker refused is not tried again"
    );
    check_set_aside(&home, &worker);
}

#[test]
fn bad_events_that_come_through_the_spool_are_set_aside_just_so() {
    let home = Home::new();
    for (agent, bytes, _) in bad_events() {
        home.hook(agent, bytes).silence();
    }
    assert!(home.spool_files() > 0);
    let worker = home.start();
    check_set_aside(&home, &worker);
    assert_eq!(home.spool_files(), 0);
}

#[test]
fn bad_event_in_a_sessions_spool_file_does_not_hold_up_the_good_ones() {
    let home = Home::new();
    let long = "x".repeat(2 << 20);
    home.hook("claude-code", payload::prompt("s", "before"))
        .silence();
    home.hook("claude-code", payload::prompt("s", &long))
        .silence();
    home.hook("claude-code", payload::prompt("s", "after"))
        .silence();
    assert_eq!(home.spool_files(), 1);
    let worker = home.start();
    wait_until("both good events are stored", LIMIT, || {
        let stored = worker.api().status();
        ok_if(home.database().stats().accepted == 2, stored)
    });
    assert_eq!(
        worker
            .api()
            .session("claude-code:s")
            .session
            .prompt
            .as_deref(),
        Some("after")
    );
}

#[test]
fn bad_event_that_cannot_be_set_aside_is_kept_in_the_spool() {
    let home = Home::new();
    let worker = home.start();
    let rejected = home.layout().rejected_dir();
    fs::remove_dir_all(&rejected).expect("the directory is removed");
    fs::write(&rejected, "in the way").expect("the way is blocked");
    worker
        .api()
        .post_hook("claude-code", "no JSON")
        .error(503, "not_set_aside");
    home.hook("claude-code", "no JSON").silence();
    assert_eq!(home.spool_files(), 1);
    fs::remove_file(&rejected).expect("the way is free");
    wait_until("the event is set aside", LIMIT, || {
        let spool = worker.api().doctor().spool;
        ok_if(spool.rejected_count == 1 && home.spool_files() == 0, spool)
    });
}

#[test]
fn bad_event_that_comes_twice_is_set_aside_once() {
    let home = Home::new();
    let worker = home.start();
    let firing = [("sessiond-event-id", "01900000-0000-7000-8000-000000000001")];
    for _ in 0..2 {
        let refused = worker.api().post_firing("claude-code", "no JSON", &firing);
        refused.error(400, "payload_not_json");
    }
    assert_eq!(worker.api().doctor().spool.rejected_count, 1);
}

#[test]
fn unknown_events_and_fields_are_accepted() {
    let home = Home::new();
    let worker = home.start();
    let event = payload::event(
        "s",
        "EventOfTomorrow",
        json!({ "new_field": { "deep": [1] } }),
    );
    home.hook("claude-code", event).silence();
    worker.wait_idle();
    let results = worker.api().results("claude-code:s");
    assert_eq!(results.len(), 1);
    assert_eq!(results[0].result.kind, "observation");
}
