//! What a worker takes over from the one before it, and what it refuses to.

use std::fs;
use std::os::unix::process::ExitStatusExt;

use sessiond::takeover::{ItemKind, ItemOutcome, PredecessorEnd, TakeOverReport};

use crate::support::http::Request;
use crate::support::launch::run;
use crate::support::wait::ok_if;
use crate::support::worker::Worker;
use crate::support::{Home, LIMIT, payload, wait_until};

fn takeover(worker: &Worker) -> TakeOverReport {
    let report = worker.api().doctor();
    report.takeover.expect("a worker that is ready has looked")
}

#[test]
fn worker_after_one_that_stopped_takes_nothing_over() {
    let home = Home::new();
    let first = home.start();
    let discovery = home.discovery().expect("it is published");
    assert!(takeover(&first).predecessor.is_none());
    first.stop();
    let second = home.start();
    let found = takeover(&second);
    let predecessor = found.predecessor.expect("it is known");
    assert_eq!(predecessor.instance, discovery.instance);
    assert_eq!(predecessor.host, discovery.host);
    assert_eq!(predecessor.end, PredecessorEnd::Stopped);
    assert!(found.died.is_empty() && found.items.is_empty());
    let text = home.cli(&["doctor"]);
    assert!(!text.text().contains("took over"), "{text:?}");
}

#[test]
fn worker_after_one_that_died_says_what_became_of_what_was_left() {
    let mut home = Home::new().with("rehearsal.kill_at", "marked");
    let mut first = home.start();
    let session = first.api().accept(payload::prompt("s", "first")).session;
    first.wait_idle();
    let close = Request {
        method: "DELETE",
        target: "/v1/sessions/claude-code:s",
        ..Request::default()
    };
    assert!(first.api().try_send(&close).is_err(), "the worker answered");
    assert_eq!(first.wait_exit().signal(), Some(9));
    let instance = home.discovery().expect("it could not withdraw").instance;

    home.unset("rehearsal.kill_at");
    home.set("rehearsal.delay_ms", 600_000);
    let second = home.start();
    let found = wait_until("the close is finished", LIMIT, || {
        let found = takeover(&second);
        let is_finished = found.items[0].outcome == ItemOutcome::Cleaned;
        if is_finished { Ok(found) } else { Err(found) }
    });
    let died = found.died.first().expect("it died");
    assert_eq!(died.instance, instance);
    assert_eq!(died.end, PredecessorEnd::Died);
    assert_eq!(found.items.len(), 1);
    assert_eq!(found.items[0].kind, ItemKind::Session);
    assert_eq!(found.items[0].id, session.to_string());
    assert_eq!(found.claims_pending, 0);

    second.api().accept(payload::stop("t", "held"));
    wait_until("the message is in work", LIMIT, || {
        let status = second.api().status();
        ok_if(status.processing, status)
    });
    second.kill();
    home.unset("rehearsal.delay_ms");
    let third = home.start();
    let found = takeover(&third);
    assert_eq!(
        found.died.len(),
        2,
        "both since one that stopped: {found:?}"
    );
    assert_eq!(found.claims_pending, 1);
    let text = home.cli(&["doctor"]);
    let line = "(died): 1 message in work given back; 0 cleaned, 0 kept";
    assert!(text.text().contains(line), "{text:?}");
}

#[test]
fn worker_of_another_host_is_reported_and_not_judged() {
    let home = Home::new();
    home.start().kill();
    let database = home.database();
    database.change_state("UPDATE instances SET host = 'elsewhere'");
    let found = takeover(&home.start());
    let predecessor = found.predecessor.expect("it is known");
    assert_eq!(predecessor.end, PredecessorEnd::OtherHost);
    assert_eq!(predecessor.host, "elsewhere");
}

#[test]
fn unreadable_discovery_file_is_kept_aside_and_reported() {
    let home = Home::new();
    home.start().kill();
    fs::write(home.layout().instance_file(), "{\"instance\": 7").expect("written");
    let worker = home.start();
    let found = takeover(&worker);
    let item = found.items.first().expect("it is reported");
    assert_eq!(item.outcome, ItemOutcome::PreservedWithWarning);
    assert_eq!(item.kind, ItemKind::Record);
    assert_eq!(
        fs::read_to_string(&item.id).expect("kept"),
        "{\"instance\": 7"
    );
    assert!(home.discovery().is_some(), "its own is there");
}

#[test]
fn worker_that_lives_keeps_its_home_although_its_lock_was_removed() {
    let home = Home::new();
    let worker = home.start();
    worker.process().freeze();
    fs::remove_file(home.layout().lock_file()).expect("removed");
    let second = run(
        home.command(crate::support::home::SESSIOND).arg("run"),
        b"",
        LIMIT,
    );
    assert_ne!(second.code(), 0);
    let pid = worker.process().pid;
    let message = format!("its worker, process {pid}, still runs");
    assert!(second.stderr.contains(&message), "{second:?}");
    worker.process().thaw();
    assert!(worker.api().is_ready(), "it serves as before");
    worker.kill();
    home.start().stop();
}

#[test]
fn worker_starts_and_takes_events_while_nothing_can_be_written_beside_the_queue() {
    let home = Home::new();
    let first = home.start();
    first.api().accept(payload::prompt("s", "first"));
    first.wait_idle();
    first.stop();
    let held = home.database().hold_state();
    let second = home.start();
    second.api().accept(payload::prompt("s", "second"));
    drop(held);
    second.wait_idle();
    second.stop();
}
