//! The end of a session: by its agent, by request, with and without its backlog.

use std::sync::Barrier;
use std::thread;

use serde_json::json;
use sessiond::sessions::{Depth, GeneratorEnd};
use sessiond_queue::types::{Life, State};

use super::{NAME, STUCK_MS, wait_for_life, wait_for_state, wait_for_work};
use crate::support::{Home, payload};

#[test]
fn close_ends_the_session_and_keeps_its_rows() {
    let home = Home::new();
    let worker = home.start();
    let api = worker.api();
    api.accept(payload::prompt("s", "hello"));
    worker.wait_idle();
    let report = api.close(NAME, "");
    assert_eq!(
        (report.depth, report.life),
        (Depth::Close, Some(Life::Ended))
    );
    assert_eq!((report.pending_left, report.released), (0, 0));
    let view = api.session(NAME);
    assert_eq!(
        (view.session.life, view.residence.as_str()),
        (Life::Ended, "dormant")
    );
    assert_eq!(api.messages(NAME).len(), 1);
    assert_eq!(
        api.close(NAME, "").life,
        Some(Life::Ended),
        "closing again changes nothing"
    );
}

#[test]
fn close_leaves_the_backlog_to_be_worked_afterwards_and_the_session_ended() {
    let home = Home::new().with("rehearsal.delay_ms", 40);
    let worker = home.start();
    let api = worker.api();
    (0..5).for_each(|number| {
        api.accept(payload::event("s", "Note", json!({ "number": number })));
    });
    let report = api.close(NAME, "");
    assert!(report.pending_left > 0, "{report:?}");
    worker.wait_idle();
    assert!(
        api.messages(NAME)
            .iter()
            .all(|message| message.state == State::Done)
    );
    assert_eq!(api.session(NAME).session.life, Life::Ended);
}

#[test]
fn close_with_drain_works_the_backlog_first() {
    let home = Home::new().with("rehearsal.delay_ms", 20);
    let worker = home.start();
    let api = worker.api();
    (0..5).for_each(|number| {
        api.accept(payload::event("s", "Note", json!({ "number": number })));
    });
    let report = api.close(NAME, "?drain=true");
    assert_eq!((report.pending_left, report.life), (0, Some(Life::Ended)));
    assert!(
        api.messages(NAME)
            .iter()
            .all(|message| message.state == State::Done)
    );
}

#[test]
fn agents_end_drains_the_session_and_then_ends_it() {
    let home = Home::new().with("rehearsal.delay_ms", 20);
    let worker = home.start();
    let api = worker.api();
    (0..5).for_each(|number| {
        api.accept(payload::event("s", "Note", json!({ "number": number })));
    });
    api.accept(payload::session_end("s"));
    assert_eq!(
        api.session(NAME).session.life,
        Life::Open,
        "not before its work is done"
    );
    let ended = wait_for_life(api, Life::Ended);
    assert_eq!(ended.session.pending, 0);
    assert_eq!(
        api.results(NAME).last().expect("results").result.kind,
        "summary"
    );
}

#[test]
fn drain_that_takes_too_long_closes_with_the_rest_pending() {
    let home = Home::new()
        .with("rehearsal.delay_ms", STUCK_MS)
        .with("session.drain_max_ms", 50)
        .with("session.generator_stop_wait_ms", 10);
    let worker = home.start();
    worker.api().accept(payload::prompt("s", "stuck"));
    worker.api().accept(payload::session_end("s"));
    let ended = wait_for_life(worker.api(), Life::Ended);
    assert_eq!(ended.session.pending, 2);
}

#[test]
fn prompt_reopens_an_ended_session_and_a_late_event_does_not() {
    let home = Home::new();
    let worker = home.start();
    let api = worker.api();
    api.accept(payload::prompt("s", "first"));
    api.accept(payload::session_end("s"));
    wait_for_life(api, Life::Ended);

    api.accept(payload::tool("s", "PostToolUse", "late"));
    worker.wait_idle();
    wait_for_state(api, 2, State::Done);
    assert_eq!(api.session(NAME).session.life, Life::Ended);

    home.hook("claude-code", payload::prompt("s", "second"))
        .silence();
    worker.wait_idle();
    let session = api.session(NAME).session;
    assert_eq!((session.life, session.prompt_number), (Life::Open, 2));
    assert_eq!(session.prompt.as_deref(), Some("second"));
    assert_eq!(api.messages(NAME).len(), 4, "it is the same session");
}

#[test]
fn open_through_the_api_reopens_an_ended_session() {
    let home = Home::new();
    let worker = home.start();
    let api = worker.api();
    let body = json!({ "agent": "claude-code", "key": "s", "metadata": { "a": 1, "b": 2 } });
    api.call_with("POST", "/v1/sessions", &body)
        .json::<serde_json::Value>();
    api.close(NAME, "");
    assert_eq!(api.session(NAME).session.life, Life::Ended);
    let body = json!({ "agent": "claude-code", "key": "s", "metadata": { "a": null } });
    api.call_with("POST", "/v1/sessions", &body)
        .json::<serde_json::Value>();
    let session = api.session(NAME).session;
    assert_eq!(session.life, Life::Open);
    assert_eq!(serde_json::Value::from(session.metadata), json!({ "b": 2 }));
}

#[test]
fn generator_that_does_not_end_is_aborted_and_its_claim_given_back() {
    let home = Home::new()
        .with("rehearsal.delay_ms", STUCK_MS)
        .with("session.generator_stop_wait_ms", 60);
    let worker = home.start();
    let api = worker.api();
    api.accept(payload::prompt("s", "stuck"));
    wait_for_work(api);
    let report = api.close(NAME, "");
    assert_eq!(
        (report.generator, report.released),
        (GeneratorEnd::Aborted, 1)
    );
    assert!(report.waited_ms >= 60, "{report:?}");
    assert_eq!(report.pending_left, 1);
    assert!(
        home.log().contains("generator did not end in time"),
        "the warning is in the log"
    );
    // Worked anew after the close: as the first attempt, since the aborted one was given back.
    wait_for_work(api);
    assert_eq!(api.messages(NAME)[0].attempt, 1);
}

#[test]
fn generator_that_ends_in_time_is_waited_for() {
    let home = Home::new().with("rehearsal.delay_ms", 100);
    let worker = home.start();
    let api = worker.api();
    api.accept(payload::prompt("s", "slow"));
    wait_for_work(api);
    let report = api.close(NAME, "");
    assert_eq!(
        (report.generator, report.released),
        (GeneratorEnd::Stopped, 0)
    );
    assert_eq!(report.pending_left, 0, "the message in work was finished");
}

#[test]
fn fifty_deletes_at_once_are_one_close() {
    const DELETES: usize = 50;
    let home = Home::new()
        .with("rehearsal.delay_ms", STUCK_MS)
        .with("session.generator_stop_wait_ms", 3_000);
    let worker = home.start();
    let api = worker.api();
    api.accept(payload::prompt("s", "stuck"));
    wait_for_work(api);
    let together = Barrier::new(DELETES);
    let reports: Vec<_> = thread::scope(|scope| {
        let deletes: Vec<_> = (0..DELETES)
            .map(|_| {
                scope.spawn(|| {
                    together.wait();
                    api.close(NAME, "")
                })
            })
            .collect();
        deletes
            .into_iter()
            .map(|delete| delete.join().expect("a report"))
            .collect()
    });
    assert!(
        reports.iter().all(|report| *report == reports[0]),
        "{reports:?}"
    );
    assert_eq!(home.log().matches("session closed").count(), 1);
}
