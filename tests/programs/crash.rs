//! Whoever is killed, whenever: the results are those of a run in which nobody was.

use nix::sys::signal::Signal;
use sessiond_queue::types::{NewResult, State};

use super::{Programs, results};
use crate::support::wait::ok_if;
use crate::support::{Home, LIMIT, payload, wait_until};

const AGENT: &str = "claude-code";

/// The events of one recorded session.
fn recorded() -> (String, Vec<String>) {
    let mut events = payload::recorded(AGENT);
    let first = events[0].session_name();
    events.retain(|event| event.session_name() == first);
    let payloads = events.into_iter().map(|event| event.payload).collect();
    (first, payloads)
}

/// The results of a run in which nobody was killed.
fn undisturbed() -> Vec<NewResult> {
    let programs = Programs::new("");
    let worker = programs.home.start();
    let (session, events) = recorded();
    events.iter().for_each(|event| send(&programs.home, event));
    worker.wait_idle();
    let results = results(worker.api(), &session);
    assert!(results.len() > 10, "{} results say little", results.len());
    results
}

fn send(home: &Home, event: &str) {
    home.hook(AGENT, event);
}

#[test]
fn program_killed_between_all_messages_gives_the_same_results() {
    let programs = Programs::new("die-after");
    let worker = programs.home.start();
    let (session, events) = recorded();
    events.iter().for_each(|event| send(&programs.home, event));
    worker.wait_idle();
    assert_eq!(results(worker.api(), &session), undisturbed());
    let done = |message: &sessiond_queue::types::Message| {
        (message.state, message.rescues) == (State::Done, 0)
    };
    assert!(worker.api().messages(&session).iter().all(done));
}

#[test]
fn worker_killed_between_all_messages_gives_the_same_results() {
    check_worker_killed_between("");
}

#[test]
fn both_killed_between_all_messages_give_the_same_results() {
    check_worker_killed_between("die-after");
}

fn check_worker_killed_between(modes: &str) {
    let programs = Programs::new(modes);
    let (session, events) = recorded();
    for event in &events {
        let worker = programs.home.start();
        send(&programs.home, event);
        worker.wait_idle();
        worker.kill();
    }
    let worker = programs.home.start();
    worker.wait_idle();
    assert_eq!(results(worker.api(), &session), undisturbed());
}

#[test]
fn worker_killed_over_each_message_in_work_gives_the_same_results() {
    let programs = Programs::new("").with("queue.rescue_max", 1_000);
    let (session, events) = recorded();
    for event in &events {
        let kind = serde_json::from_str::<serde_json::Value>(event).expect("JSON");
        let kind = kind["hook_event_name"].as_str().expect("a name").to_owned();
        programs.set_modes(&format!("hold {kind}\nignore"));
        let worker = programs.home.start();
        send(&programs.home, event);
        wait_until("the message is in work", LIMIT, || {
            let live = worker
                .api()
                .find_session(&session)
                .and_then(|view| view.live);
            let is_held = live.is_some_and(|live| live.working_on.is_some());
            ok_if(is_held, "it is not")
        });
        worker.kill();
        programs.set_modes("");
        let worker = programs.home.start();
        worker.wait_idle();
        worker.kill();
    }
    let worker = programs.home.start();
    worker.wait_idle();
    assert_eq!(results(worker.api(), &session), undisturbed());
}

#[test]
fn worker_that_is_killed_leaves_neither_a_process_nor_a_record() {
    let programs = Programs::new("child\nignore");
    let worker = programs.home.start();
    send(&programs.home, &payload::prompt("s", "first"));
    worker.wait_idle();
    let records = || std::fs::read_dir(programs.home.layout().process_dir()).map(Iterator::count);
    assert_eq!(records().expect("the records"), 1);
    worker.kill();
    programs.wait_nothing_left();
    wait_until("no record is left", LIMIT, || {
        let count = records().expect("the records");
        ok_if(count == 0, count)
    });
}

#[test]
fn worker_whose_writer_panics_ends_soon_and_the_next_takes_up_what_is_left() {
    let mut programs = Programs::new("hold Stop")
        .with("session.generator_stop_wait_ms", 600_000)
        .with("session.shutdown_deadline_ms", 600_000);
    let mut worker = programs.home.start();
    let database = programs.home.database();
    let hold = |session| {
        let claimed = database.stats().depth.claimed + 1;
        send(&programs.home, &payload::stop(session, "held"));
        wait_until("the message is in work", LIMIT, || {
            let depth = database.stats().depth;
            ok_if(depth.claimed == claimed, depth)
        });
    };
    hold("s");
    let of_s = programs.wait_running(1);
    hold("t");
    // A state that the schema forbids: the writer takes it for its own mistake when the claim ends.
    // The other claim does not end, and an ordinary stop would wait for it.
    database.change(
        "PRAGMA ignore_check_constraints = ON;
         UPDATE messages SET state = 'done', finished_at = 1 WHERE id = 1",
    );
    programs.set_modes("");
    of_s[0].signal(Signal::SIGKILL);
    assert_eq!(worker.wait_exit().code(), Some(1));
    let log = programs.home.log();
    let told = |level: &str, what: &str| {
        let mut lines = log.lines();
        lines.any(|line| line.contains(level) && line.contains(what))
    };
    assert!(told("ERROR", r#"panicked thread="queue-writer" place="#));
    assert!(told("ERROR", "the queue's writer has ended by itself"));
    assert!(
        !log.contains("unreachable"),
        "what a panic says is not logged"
    );

    database.change("UPDATE messages SET state = 'claimed', finished_at = NULL WHERE id = 1");
    programs.home.let_hooks_start();
    send(&programs.home, &payload::stop("s", "after it"));
    programs.home.wait_detached();
    wait_until("all is worked", LIMIT, || {
        let depth = database.stats().depth;
        ok_if(depth.done == 3, depth)
    });
    assert_eq!(database.generation().0, 2);
    assert!(database.verify().is_sound());
    programs.home.stop_detached();
}
