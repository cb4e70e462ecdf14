//! Messages by hand: cancelled, redriven, purged.

use super::*;
use crate::support::wait::ok_if;
use crate::support::wait_until;

#[test]
fn pending_message_is_cancelled() {
    let home = Home::new()
        .with("rehearsal.delay_ms", 600_000)
        .with("session.generator_stop_wait_ms", 1);
    let worker = home.start();
    let first = worker.api().accept(payload::prompt("s", "stuck"));
    let second = worker.api().accept(payload::prompt("s", "behind it"));
    check(
        &home,
        &["messages", "cancel", &second.message.to_string()],
        &["cancelled"],
    );
    let cancelled: Message = home
        .cli(&["messages", "cancel", &first.message.to_string(), "--json"])
        .json();
    assert_eq!(cancelled.state, State::Cancelled);
    assert_eq!(
        home.cli(&["messages", "cancel", "1"]).code(),
        1,
        "it is cancelled already"
    );
}

#[test]
fn redrive_names_what_it_wants_and_takes_a_session() {
    let (home, _worker) = populated();
    let ran = home.cli(&["dead", "redrive"]);
    assert_eq!(ran.code(), 2);
    for word in ["--all", "--session", "MESSAGE"] {
        assert!(ran.stderr.contains(word), "{}", ran.stderr);
    }
    let redrive = ["dead", "redrive", "--session", "claude-code:dead"];
    check(&home, &redrive, &["is pending"]);
}

#[test]
fn dead_messages_are_purged_one_by_one_of_a_session_and_all() {
    let (home, worker) = populated();
    let api = worker.api();
    for session in ["other", "third"] {
        api.accept(payload::event(session, "Poison", serde_json::json!({})));
    }
    worker.wait_idle();
    assert_eq!(home.cli(&["dead", "purge"]).code(), 2, "it is told what");
    let id = api.messages("claude-code:dead")[0].id.to_string();
    check(&home, &["dead", "purge", &id], &["1 dead message purged"]);
    let again = home.cli(&["dead", "purge", &id]);
    assert_ne!(again.code(), 0);
    assert!(again.stderr.contains("does not exist"), "{again:?}");
    let done = home.cli(&["dead", "purge", "1"]);
    assert!(
        done.stderr.contains("done and cannot be purged"),
        "{done:?}"
    );
    let of_other = ["dead", "purge", "--session", "claude-code:other", "--json"];
    let purged: Value = home.cli(&of_other).json();
    assert_eq!(purged["purged"], 1);
    assert_eq!(api.doctor().queue.expect("a queue").stats.depth.dead, 1);
    check(
        &home,
        &["dead", "purge", "--all"],
        &["1 dead message purged"],
    );
    check(
        &home,
        &["dead", "purge", "--all"],
        &["0 dead messages purged"],
    );
    assert_eq!(home.cli(&["doctor"]).code(), 0, "nothing degrades any more");
    assert!(home.database().verify().is_sound());
}

#[test]
fn backlog_of_a_session_is_cancelled_with_what_is_in_work() {
    let home = Home::new().with("rehearsal.delay_ms", 600_000);
    let worker = home.start();
    let api = worker.api();
    for text in ["one", "two", "three"] {
        api.accept(payload::prompt("s", text));
    }
    api.accept(payload::prompt("other", "stays"));
    wait_until("both sessions are at work", LIMIT, || {
        let depth = api.doctor().queue.expect("a queue").stats.depth;
        ok_if(depth.claimed == 2, depth)
    });
    assert_eq!(home.cli(&["messages", "cancel"]).code(), 2);
    let cancel = ["messages", "cancel", "--session", "claude-code:s"];
    check(&home, &cancel, &["3 messages cancelled"]);
    check(&home, &cancel, &["0 messages cancelled"]);
    let states: Vec<_> = api.messages("claude-code:s");
    assert!(
        states
            .iter()
            .all(|message| message.state == State::Cancelled)
    );
    let depth = api.doctor().queue.expect("a queue").stats.depth;
    assert_eq!((depth.pending, depth.claimed), (0, 1), "others go on");
    // The run has heard of it: the session takes its next message up.
    api.accept(payload::prompt("s", "four"));
    wait_until("the session is at work again", LIMIT, || {
        let depth = api.doctor().queue.expect("a queue").stats.depth;
        ok_if(depth.claimed == 2, depth)
    });
}
