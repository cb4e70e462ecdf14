//! Out of memory, and back.

use sessiond_queue::types::Life;

use super::NAME;
use crate::support::wait::ok_if;
use crate::support::{Home, LIMIT, payload, wait_until};

#[test]
fn idle_session_leaves_memory_and_goes_on_from_its_checkpoint() {
    let home = Home::new()
        .with("session.idle_unload_ms", 30)
        .with("session.generator_idle_end_ms", 10);
    let worker = home.start();
    let api = worker.api();
    for number in 1..=3 {
        home.hook(
            "claude-code",
            payload::prompt("s", &format!("prompt {number}")),
        )
        .silence();
        wait_until("the session is out of memory, its work done", LIMIT, || {
            let view = api.session(NAME);
            ok_if(
                view.residence == "dormant" && view.session.pending == 0,
                view,
            )
        });
        assert_eq!(api.status().active, 0);
    }
    assert_eq!(
        api.session(NAME).session.life,
        Life::Open,
        "the agent's life is another matter"
    );
    home.hook("claude-code", payload::stop("s", "done"))
        .silence();
    worker.wait_idle();
    let results = api.results(NAME);
    let summary = &results.last().expect("a summary").result.body;
    for number in 1..=3 {
        assert!(summary.contains(&format!("prompt {number}")), "{summary}");
    }
    assert!(!home.log().contains("ERROR"), "{}", home.log());
}

#[test]
fn generator_without_work_ends_and_its_session_stays() {
    let home = Home::new().with("session.generator_idle_end_ms", 10);
    let worker = home.start();
    worker.api().accept(payload::prompt("s", "hello"));
    wait_until("the generator ends", LIMIT, || {
        let report = worker.api().doctor();
        let session = report.sessions.first().cloned();
        let is_over = session.as_ref().is_some_and(|session| {
            session.generator.is_none() && session.activity.is_some() && session.pending == 0
        });
        ok_if(is_over, session)
    });
    assert_eq!(worker.api().session(NAME).residence, "active");
}

#[test]
fn generator_waits_for_the_next_message_meanwhile() {
    let home = Home::new();
    let worker = home.start();
    worker.api().accept(payload::prompt("s", "hello"));
    worker.wait_idle();
    let session = worker.api().doctor().sessions.remove(0);
    assert_eq!(
        session.generator.map(|about| about.name).as_deref(),
        Some("digest")
    );
}
