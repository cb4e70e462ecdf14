//! The deepest close: rows, search hits and all.

use std::thread;

use sessiond::sessions::Depth;
use sessiond_queue::types::Life;

use super::{NAME, STUCK_MS, wait_for_life, wait_for_work};
use crate::support::{Home, payload};

#[test]
fn purge_removes_rows_and_search_hits_and_leaves_other_sessions() {
    let home = Home::new();
    let worker = home.start();
    let api = worker.api();
    for session in ["s", "kept"] {
        api.accept(payload::prompt(session, "the marmalade question"));
        api.accept(payload::stop(session, "marmalade it is"));
    }
    worker.wait_idle();
    let id = api.session(NAME).session.id;
    let hits = api.search("marmalade").len();
    let report = api.close(NAME, "?purge=true");
    assert_eq!((report.depth, report.life), (Depth::Purge, None));
    assert!(api.find_session(NAME).is_none());
    assert!(api.find_session(&id.to_string()).is_none());
    let database = home.database();
    assert!(
        database
            .messages()
            .iter()
            .all(|message| message.session != id)
    );
    assert!(database.results(id).is_empty());
    assert_eq!(
        api.search("marmalade").len() * 2,
        hits,
        "half of the hits are gone"
    );
    assert_eq!(api.messages("claude-code:kept").len(), 2);
    let deep = api.doctor_deep().deep.expect("a verification");
    assert!(deep.is_sound(), "{deep:?}");
    api.call("DELETE", "/v1/sessions/claude-code:s?purge=true")
        .error(404, "unknown_session");
}

#[test]
fn purged_session_that_comes_back_is_a_new_one() {
    let home = Home::new();
    let worker = home.start();
    let api = worker.api();
    let first = api.accept(payload::prompt("s", "before"));
    worker.wait_idle();
    api.close(NAME, "?purge=true");
    let second = api.accept(payload::prompt("s", "after"));
    worker.wait_idle();
    assert_ne!(first.session, second.session);
    assert_eq!(second.seq.0, 1);
    assert_eq!(api.session(NAME).session.prompt_number, 1);
}

#[test]
fn event_that_meets_a_purge_survives_it() {
    // The generator is in the way for as long as it takes to see the mark and send an event.
    let home = Home::new()
        .with("rehearsal.delay_ms", STUCK_MS)
        .with("session.generator_stop_wait_ms", 2_000);
    let worker = home.start();
    let api = worker.api();
    api.accept(payload::prompt("s", "before the purge"));
    wait_for_work(api);
    let report = thread::scope(|scope| {
        let purge = scope.spawn(|| api.close(NAME, "?purge=true"));
        wait_for_life(api, Life::Closing);
        home.hook("claude-code", payload::prompt("s", "during the purge"))
            .silence();
        assert!(
            !purge.is_finished(),
            "the event came too late to meet the purge"
        );
        purge.join().expect("a report")
    });
    assert_eq!(
        (report.depth, report.life),
        (Depth::Purge, Some(Life::Open))
    );
    let messages = api.messages(NAME);
    assert_eq!(messages.len(), 1, "{messages:?}");
    assert!(messages[0].payload.contains("during the purge"));
}
