//! The worker is killed at random moments under load: what was handed over is stored once, in
//! order, and worked to the same bytes as if nothing had happened.
//!
//! `SESSIOND_SEED` replays a run's choices (not the machine's timing), `SESSIOND_KILL_ROUNDS` sets
//! the number of rounds.

use std::collections::{BTreeMap, HashMap};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use serde_json::json;
use sessiond::doctor::Verdict;
use sessiond_queue::ids::EventId;
use sessiond_queue::types::{Message, NewResult, Receipt, State};

use crate::support::http::Request;
use crate::support::random::{Random, number_from};
use crate::support::{Home, LIMIT, payload};

const AGENT: &str = "claude-code";
const SESSIONS: usize = 6;
const EVENTS_A_ROUND: usize = 4;

/// One in so many kills comes from the worker's start on, the others once it is ready: so that some
/// hit a worker that rescues and ingests, and most one that hooks are at.
const EARLY_ONE_IN: u64 = 3;
/// The time within which an early kill comes: some before it listens, some after its start is done.
const EARLY_WITHIN_US: u64 = 150_000;
/// The same for the others: some while hooks are at it, some after all is done.
const WITHIN_US: u64 = 50_000;

#[test]
fn events_survive_kills_and_come_out_as_if_there_had_been_none() {
    let mut random = Random::seeded();
    let rounds = number_from("SESSIOND_KILL_ROUNDS").unwrap_or(50) as usize;
    // Rescues have a limit for messages that kill the worker; here it is not the message's doing.
    let home = Home::new().with("queue.rescue_max", 1_000_000);
    for round in 0..rounds {
        let mut worker = home.start_unready();
        let is_early = random.below(EARLY_ONE_IN) == 0;
        let within_us = if is_early { EARLY_WITHIN_US } else { WITHIN_US };
        let kill_after = Duration::from_micros(random.below(within_us));
        thread::scope(|scope| {
            let (all_done, waiter) = channel::<()>();
            for session in 0..SESSIONS {
                let home = &home;
                let all_done = all_done.clone();
                scope.spawn(move || {
                    for number in round * EVENTS_A_ROUND..(round + 1) * EVENTS_A_ROUND {
                        home.hook(AGENT, event(session, number)).silence();
                    }
                    drop(all_done);
                });
            }
            drop(all_done);
            if !is_early {
                worker.wait_ready();
            }
            // Not waiting for anything to happen: the moment is what the test is about.
            let all_fired = waiter.recv_timeout(kill_after);
            assert_ne!(all_fired, Ok(()));
            worker.kill();
        });
    }
    for session in 0..SESSIONS {
        home.hook(AGENT, payload::session_end(&session_key(session)))
            .silence();
    }
    let worker = home.start();
    worker.wait_idle();
    let report = worker.api().doctor_deep();
    assert_eq!(report.verdict, Verdict::Ok, "{:?}", report.findings);

    let messages = messages_by_session(&home);
    for session in 0..SESSIONS {
        let stored: Vec<_> = messages[&session_key(session)]
            .iter()
            .map(|message| message.payload.clone())
            .collect();
        let mut fired: Vec<_> = (0..rounds * EVENTS_A_ROUND)
            .map(|number| event(session, number))
            .collect();
        fired.push(payload::session_end(&session_key(session)));
        assert_eq!(stored, fired, "session {session}: all, once, in order");
    }
    assert!(
        messages
            .values()
            .flatten()
            .all(|message| message.state == State::Done)
    );
    let kills = home.database().generation().0 - 1;
    eprintln!("{kills} of {rounds} kills met a worker that had got as far as its store");
    assert_eq!(
        results_by_session(&home),
        undisturbed(&messages),
        "byte for byte"
    );
}

#[test]
fn acknowledged_events_survive_kills() {
    let mut random = Random::seeded();
    let home = Home::new();
    let mut acknowledged: Vec<(EventId, Receipt)> = Vec::new();
    for _ in 0..12 {
        let worker = home.start();
        let (answers, answered) = channel();
        thread::scope(|scope| {
            for session in 0..SESSIONS {
                let (home, answers) = (&home, answers.clone());
                scope.spawn(move || post_until_dead(home, session, &answers));
            }
            drop(answers);
            // In the middle of the answers, whenever they come.
            for _ in 0..=random.below(60) {
                acknowledged.push(answered.recv_timeout(LIMIT).expect("an answer"));
            }
            worker.kill();
        });
        acknowledged.extend(answered);
    }
    let stored: HashMap<EventId, Message> = home
        .database()
        .messages()
        .into_iter()
        .map(|message| (message.event_id, message))
        .collect();
    for (event_id, receipt) in &acknowledged {
        let message = stored
            .get(event_id)
            .unwrap_or_else(|| panic!("{receipt:?} is lost"));
        assert_eq!(
            (message.id, message.session, message.seq),
            (receipt.message, receipt.session, receipt.seq)
        );
    }
}

/// Posts events of a session until the worker is dead; tells what it has acknowledged.
fn post_until_dead(home: &Home, session: usize, answers: &Sender<(EventId, Receipt)>) {
    let api = home.api();
    loop {
        let event_id = EventId::mint();
        let event = payload::event(&session_key(session), "Note", json!({}));
        let request = Request {
            method: "POST",
            target: "/v1/hooks/claude-code",
            headers: vec![
                ("content-type", "application/json".to_owned()),
                ("sessiond-event-id", event_id.to_string()),
            ],
            body: Some(event.into_bytes()),
        };
        let Ok(response) = api.try_send(&request) else {
            return;
        };
        answers
            .send((event_id, response.json()))
            .expect("the test listens");
    }
}

fn session_key(session: usize) -> String {
    format!("s{session}")
}

/// Event `number` of a session: turns of a prompt, two tools of which one fails, a subagent's
/// word and a stop, so that every result depends on those before it.
fn event(session: usize, number: usize) -> String {
    let key = session_key(session);
    let id = format!("tool-{}", number / 8);
    match number % 8 {
        0 => payload::prompt(&key, &format!("prompt {number}")),
        1 => payload::tool(&key, "PreToolUse", &id),
        2 => payload::tool(&key, "PostToolUse", &id),
        3 => payload::event(
            &key,
            "SubagentStart",
            json!({ "agent_id": format!("sub{number}") }),
        ),
        4 => payload::event(
            &key,
            "PostToolUseFailure",
            json!({
                "tool_name": "Edit",
                "tool_input": { "file_path": format!("/home/user/project/file{number}.rs") },
                "tool_use_id": format!("edit-{number}"),
                "error": format!("failure {number}"),
            }),
        ),
        5 => payload::event(
            &key,
            "PostToolUse",
            json!({
                "tool_name": "Write",
                "tool_input": { "file_path": format!("/home/user/project/file{number}.rs") },
                "tool_use_id": format!("write-{number}"),
            }),
        ),
        6 => payload::event(&key, "Note", json!({ "number": number })),
        _ => payload::stop(&key, &format!("answer {number}")),
    }
}

/// What the messages give in a home of their own, undisturbed. They are handed over again as the
/// same firings: a digest tells durations, so the times must be the same too.
fn undisturbed(
    messages: &BTreeMap<String, Vec<Message>>,
) -> BTreeMap<String, Vec<(i64, NewResult)>> {
    let home = Home::new();
    let worker = home.start();
    for message in messages.values().flatten() {
        let event_id = message.event_id.to_string();
        let fired_at = message.accepted_at.0.to_string();
        let firing = [
            ("sessiond-event-id", event_id.as_str()),
            ("sessiond-fired-at", &fired_at),
        ];
        let receipt: Receipt = worker
            .api()
            .post_firing(AGENT, &message.payload, &firing)
            .json();
        assert!(!receipt.duplicate);
    }
    worker.wait_idle();
    results_by_session(&home)
}

fn messages_by_session(home: &Home) -> BTreeMap<String, Vec<Message>> {
    let database = home.database();
    let keys: HashMap<_, _> = database
        .sessions()
        .into_iter()
        .map(|session| (session.id, session.key))
        .collect();
    let mut by_session: BTreeMap<String, Vec<Message>> = BTreeMap::new();
    for message in database.messages() {
        by_session
            .entry(keys[&message.session].clone())
            .or_default()
            .push(message);
    }
    by_session
}

fn results_by_session(home: &Home) -> BTreeMap<String, Vec<(i64, NewResult)>> {
    let database = home.database();
    let results = |id| {
        let stored = database.results(id).into_iter();
        stored.map(|stored| (stored.seq.0, stored.result)).collect()
    };
    database
        .sessions()
        .into_iter()
        .map(|session| (session.key, results(session.id)))
        .collect()
}
