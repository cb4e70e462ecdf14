//! What programs cost is added up, and a budget makes sessions wait.

use sessiond_queue::types::State;

use super::Programs;
use crate::support::{LIMIT, payload, wait_until};

const NAME: &str = "claude-code:s";

#[test]
fn session_over_its_budget_waits_and_says_so() {
    let mut programs = Programs::new("cost 0.25").with("generator.budget_session_usd", 1.0);
    let worker = programs.home.start();
    let api = worker.api();
    for number in 0..10 {
        api.accept(payload::event(
            "s",
            "Note",
            serde_json::json!({ "number": number }),
        ));
    }
    let waiting = wait_until("the session waits", LIMIT, || {
        let live = api.session(NAME).live.and_then(|live| live.waiting);
        live.ok_or("it does not wait")
    });
    assert!(waiting.contains("budget_session_usd"), "{waiting}");
    let done = api
        .messages(NAME)
        .iter()
        .filter(|message| message.state == State::Done)
        .count();
    assert_eq!(done, 4);
    let session = api.session(NAME).session;
    assert_eq!(
        (session.usage.input_tokens, session.usage.output_tokens),
        (40, 4)
    );
    assert!((session.usage.cost_usd - 1.0).abs() < 1e-9);
    let report = api.doctor();
    assert!(
        report
            .findings
            .iter()
            .any(|finding| finding.code == "over_budget"),
        "{:?}",
        report.findings
    );
    worker.stop();
    programs = programs.with("generator.budget_session_usd", 10);
    let worker = programs.home.start();
    worker.wait_idle();
    let messages = worker.api().messages(NAME);
    assert!(messages.iter().all(|message| message.state == State::Done));
}

#[test]
fn budget_of_the_day_holds_for_all_sessions_together() {
    let programs = Programs::new("cost 0.5").with("generator.budget_day_usd", 2);
    let worker = programs.home.start();
    let api = worker.api();
    for number in 0..40 {
        api.accept(payload::event(
            &format!("s{}", number % 2),
            "Note",
            serde_json::json!({}),
        ));
    }
    for session in ["claude-code:s0", "claude-code:s1"] {
        let waiting = wait_until("the session waits", LIMIT, || {
            let live = api.session(session).live.and_then(|live| live.waiting);
            live.ok_or("it does not wait")
        });
        assert!(waiting.contains("budget_day_usd"), "{waiting}");
    }
    let done = worker
        .api()
        .doctor()
        .queue
        .expect("a queue")
        .stats
        .depth
        .done;
    // Each session looks before it claims; the other's claim may be under way then.
    assert!((4..=5).contains(&done), "{done}");
}
