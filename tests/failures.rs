//! Messages that cannot be worked: retried, dead, redriven, and what the doctor says meanwhile.

use sessiond::doctor::{Level, Verdict};
use sessiond_queue::types::{Message, State};

use crate::support::wait::ok_if;
use crate::support::{Api, Home, LIMIT, payload, wait_until};

const NAME: &str = "claude-code:s";

/// A home whose generator fails every `Stop` in this way, and tries again at once.
fn failing(class: &str) -> Home {
    Home::new()
        .with("rehearsal.fail_kind", "Stop")
        .with("rehearsal.fail_class", class)
        .with("queue.backoff_base_ms", 1)
        .with("queue.backoff_cap_ms", 5)
}

/// Sends a prompt, a `Stop` that fails, and another prompt.
fn send(api: &Api) {
    api.accept(payload::prompt("s", "first"));
    api.accept(payload::stop("s", "fails"));
    api.accept(payload::prompt("s", "second"));
}

fn wait_for(api: &Api, index: usize, state: State) -> Message {
    wait_until("the message's state", LIMIT, || {
        let message = api.messages(NAME).remove(index);
        if message.state == state {
            Ok(message)
        } else {
            Err(message)
        }
    })
}

#[test]
fn message_that_fails_too_often_is_dead_and_can_be_redriven() {
    let mut home = failing("retry").with("queue.attempt_max", 3);
    let worker = home.start();
    let api = worker.api();
    send(api);
    let dead = wait_for(api, 1, State::Dead);
    assert_eq!(dead.attempt, 3);
    assert_eq!(
        dead.last_error.as_deref(),
        Some("rehearsed failure of Stop")
    );
    wait_for(api, 2, State::Done);

    let report = api.doctor();
    assert_eq!(report.verdict, Verdict::Degraded, "{:?}", report.findings);
    assert!(report.findings.iter().any(|finding| finding.code == "dead"));
    let listed: serde_json::Value = home.cli(&["dead", "list", "--json"]).json();
    assert_eq!(listed["messages"][0]["id"], dead.id.0);

    worker.stop();
    home.unset("rehearsal.fail_kind");
    let worker = home.start();
    let api = worker.api();
    let redriven: serde_json::Value = home
        .cli(&["dead", "redrive", &dead.id.to_string(), "--json"])
        .json();
    assert_eq!(
        redriven[0]["kept_place"], false,
        "a later message was worked already"
    );
    worker.wait_idle();
    assert_eq!(api.message(dead.id.0).state, State::Done);
    assert_eq!(
        api.results(NAME).last().expect("results").result.kind,
        "summary"
    );
    assert_eq!(api.doctor().verdict, Verdict::Ok);
}

#[test]
fn session_that_keeps_failing_is_never_green() {
    let home = failing("retry").with("queue.attempt_max", 1_000_000);
    let worker = home.start();
    let api = worker.api();
    send(api);
    let report = wait_until("the failures are many", LIMIT, || {
        let report = api.doctor();
        assert!(
            report.queue.is_some_and(|queue| queue.stats.depth.done < 2),
            "nothing goes past a message that is retried"
        );
        let many = report.sessions[0].consecutive_failures >= 3;
        if many {
            Ok(report)
        } else {
            Err(report.sessions)
        }
    });
    assert_eq!(report.verdict, Verdict::Failing);
    let finding = report
        .findings
        .iter()
        .find(|finding| finding.code == "failures");
    let finding = finding.expect("the failures are told");
    assert!(finding.message.contains("claude-code:s"), "{finding:?}");
    assert!(
        finding.message.contains("rehearsed failure of Stop"),
        "{finding:?}"
    );
    assert!(!finding.advice.is_empty());
}

#[test]
fn absent_provider_costs_no_attempt_and_no_message() {
    let mut home = failing("unavailable").with("queue.attempt_max", 2);
    let worker = home.start();
    let api = worker.api();
    send(api);
    wait_until("the provider was asked often", LIMIT, || {
        let asked = home.log().matches("message not worked").count();
        ok_if(asked >= 6, asked)
    });
    let message = api.messages(NAME).remove(1);
    assert!(
        matches!(message.state, State::Pending | State::Claimed),
        "{message:?}"
    );
    assert!(
        message.attempt <= 1,
        "only the attempt under way counts: {message:?}"
    );
    worker.stop();
    assert_eq!(home.database().messages()[1].attempt, 0);
    home.unset("rehearsal.fail_kind");
    let worker = home.start();
    worker.wait_idle();
    assert!(
        worker
            .api()
            .messages(NAME)
            .iter()
            .all(|message| message.state == State::Done)
    );
}

#[test]
fn poison_is_dead_at_the_first_attempt() {
    let home = failing("poison");
    let worker = home.start();
    send(worker.api());
    assert_eq!(wait_for(worker.api(), 1, State::Dead).attempt, 1);
    wait_for(worker.api(), 2, State::Done);
}

#[test]
fn panic_of_the_generator_counts_an_attempt_and_the_worker_lives() {
    let home = failing("panic").with("queue.attempt_max", 2);
    let worker = home.start();
    send(worker.api());
    let dead = wait_for(worker.api(), 1, State::Dead);
    assert_eq!(dead.attempt, 2);
    assert_eq!(dead.last_error.as_deref(), Some("the generator panicked"));
    wait_for(worker.api(), 2, State::Done);
    assert!(worker.process().is_alive());
    assert!(
        worker
            .api()
            .doctor()
            .findings
            .iter()
            .all(|finding| finding.level < Level::Failing)
    );
}

#[test]
fn cancelled_message_is_skipped() {
    let home = failing("retry").with("queue.attempt_max", 1_000_000);
    let worker = home.start();
    let api = worker.api();
    send(api);
    let failing = wait_until("the message fails", LIMIT, || {
        let message = api.messages(NAME).remove(1);
        if message.last_error.is_some() {
            Ok(message)
        } else {
            Err(message)
        }
    });
    let id = failing.id.0;
    let cancelled: Message = api.call("DELETE", &format!("/v1/messages/{id}")).json();
    assert_eq!(cancelled.state, State::Cancelled);
    wait_for(api, 2, State::Done);
    assert_eq!(api.message(id).state, State::Cancelled);
    api.call("DELETE", &format!("/v1/messages/{id}"))
        .error(409, "wrong_state");
}
