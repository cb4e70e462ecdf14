//! The end of sessions whose programs do not want to end.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use sessiond::sessions::{CloseReport, GeneratorEnd};
use sessiond_queue::types::Life;
use sessiond_supervisor::StopEnd;

use super::Programs;
use crate::support::{LIMIT, payload, wait_until};

const NAME: &str = "claude-code:s";

fn ends(report: &CloseReport) -> Vec<StopEnd> {
    report.reaped.iter().map(|stopped| stopped.end).collect()
}

#[test]
fn close_ends_a_cooperative_program_without_a_signal() {
    let programs = Programs::new("");
    let worker = programs.home.start();
    worker.api().accept(payload::prompt("s", "hello"));
    worker.wait_idle();
    programs.wait_running(1);
    let report = worker.api().close(NAME, "");
    assert_eq!(
        (report.generator, report.life),
        (GeneratorEnd::Stopped, Some(Life::Ended))
    );
    assert_eq!(ends(&report), [StopEnd::Exited], "{report:?}");
    programs.wait_nothing_left();
}

#[test]
fn close_takes_all_that_a_program_has_started() {
    let programs = Programs::new("child").with("session.generator_stop_wait_ms", 200);
    let worker = programs.home.start();
    worker.api().accept(payload::prompt("s", "hello"));
    worker.wait_idle();
    let report = worker.api().close(NAME, "");
    let left = programs.home.processes();
    assert_eq!(
        left.len(),
        1,
        "only the worker is left when the close answers: {left:?}"
    );
    assert_eq!(report.life, Some(Life::Ended));
    assert_eq!(
        ends(&report),
        [StopEnd::Killed],
        "its child ignores SIGTERM"
    );
}

#[test]
fn close_ends_a_program_that_ignores_everything() {
    let programs = Programs::new("ignore\nchild").with("session.generator_stop_wait_ms", 200);
    let worker = programs.home.start();
    worker.api().accept(payload::prompt("s", "hello"));
    worker.wait_idle();
    let report = worker.api().close(NAME, "");
    assert_eq!(ends(&report), [StopEnd::Killed], "{report:?}");
    assert_eq!(programs.home.processes().len(), 1);
    assert!(worker.api().doctor().spawns.is_empty());
}

#[test]
fn fifty_deletions_of_one_session_are_one() {
    let programs = Programs::new("ignore").with("session.generator_stop_wait_ms", 100);
    let worker = programs.home.start();
    worker.api().accept(payload::prompt("s", "hello"));
    worker.wait_idle();
    let barrier = Barrier::new(50);
    let reports: Vec<_> = thread::scope(|scope| {
        let closers: Vec<_> = (0..50)
            .map(|_| {
                scope.spawn(|| {
                    barrier.wait();
                    worker.api().close(NAME, "")
                })
            })
            .collect();
        closers
            .into_iter()
            .map(|closer| closer.join().expect("a report"))
            .collect()
    });
    let reaping = reports.iter().filter(|report| !report.reaped.is_empty());
    let distinct: std::collections::HashSet<_> =
        reaping.map(|report| report.reaped[0].tag.clone()).collect();
    assert_eq!(distinct.len(), 1, "one process was ended: {reports:?}");
    let closes = programs.home.log().matches("session closed").count();
    assert!(
        closes <= 2,
        "one close, and at most one that came after it: {closes}"
    );
}

#[test]
fn shutdown_with_programs_that_ignore_everything_keeps_its_deadline() {
    let deadline = Duration::from_secs(4);
    let programs =
        Programs::new("ignore\nchild").with("session.shutdown_deadline_ms", deadline.as_millis());
    let worker = programs.home.start();
    for number in 0..4 {
        worker
            .api()
            .accept(payload::prompt(&format!("s{number}"), "hello"));
    }
    worker.wait_idle();
    programs.wait_running(4);
    let begun = Instant::now();
    worker.stop();
    let took = begun.elapsed();
    assert!(
        programs.home.processes().is_empty(),
        "nothing outlives the worker"
    );
    assert!(took < deadline + Duration::from_secs(2), "{took:?}");
}

#[test]
fn program_may_ask_for_the_end_of_its_session() {
    let programs = Programs::new("close-session");
    let worker = programs.home.start();
    worker.api().accept(payload::prompt("s", "hello"));
    wait_until("the session ends", LIMIT, || {
        let life = worker.api().session(NAME).session.life;
        if life == Life::Ended {
            Ok(())
        } else {
            Err(life)
        }
    });
    programs.wait_nothing_left();
}

#[test]
fn cancelling_a_message_in_work_abandons_the_work() {
    let programs = Programs::new("hold Held").with("session.generator_stop_wait_ms", 100);
    let worker = programs.home.start();
    let api = worker.api();
    let held = api.accept(payload::event("s", "Held", serde_json::json!({})));
    api.accept(payload::prompt("s", "next"));
    wait_until("the message is in work", LIMIT, || {
        let live = api.session(NAME).live;
        let working_on = live.and_then(|live| live.working_on);
        if working_on == Some(held.message) {
            Ok(())
        } else {
            Err(working_on)
        }
    });
    api.call("DELETE", &format!("/v1/messages/{}", held.message.0));
    worker.wait_idle();
    let states: Vec<_> = api
        .messages(NAME)
        .iter()
        .map(|message| message.state.as_str())
        .collect();
    assert_eq!(states, ["cancelled", "done"]);
}
