//! Whoever is killed, whenever: the results are those of a run in which nobody was.

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
