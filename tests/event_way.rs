//! The way of an event: from a hook's standard input to results, search, context and the next
//! session's first words.

use std::fs;

use serde_json::{Value, json};
use sessiond::clock::Clock;
use sessiond::doctor::Verdict;
use sessiond::wire::frame::{self, Frame};
use sessiond_queue::ids::Timestamp;
use sessiond_queue::types::{Life, Receipt, State};

use crate::support::payload::{self, Recorded, recorded_all};
use crate::support::wait::ok_if;
use crate::support::{Api, Home, LIMIT, wait_until};

const AGENT: &str = "claude-code";
const PROJECT: &str = "/home/user/project";

/// Characters of context that a hook may answer with.
const CONTEXT_MAX: usize = 6000;

#[test]
fn event_is_stored_worked_found_and_told_to_the_next_session() {
    let home = Home::new();
    let worker = home.start();
    let api = worker.api();
    home.hook(AGENT, payload::prompt("s", "where is the frobnicator"))
        .silence();
    home.hook(AGENT, payload::tool("s", "PreToolUse", "t1"))
        .silence();
    home.hook(AGENT, payload::tool("s", "PostToolUse", "t1"))
        .silence();
    home.hook(AGENT, payload::stop("s", "it lies in the attic"))
        .silence();
    worker.wait_idle();

    let messages = api.messages("claude-code:s");
    let kinds: Vec<_> = messages
        .iter()
        .map(|message| message.kind.as_str())
        .collect();
    assert_eq!(
        kinds,
        ["UserPromptSubmit", "PreToolUse", "PostToolUse", "Stop"]
    );
    assert!(
        messages.iter().all(|message| message.state == State::Done),
        "{messages:?}"
    );

    let results = api.results("claude-code:s");
    let seqs: Vec<_> = results.iter().map(|stored| stored.seq.0).collect();
    assert_eq!(
        seqs,
        [1, 2, 3, 4, 4],
        "an observation each, and a summary of the turn"
    );
    let summary = &results[4].result;
    assert_eq!(summary.kind, "summary");
    for told in [
        "where is the frobnicator",
        "echo t1",
        "it lies in the attic",
    ] {
        assert!(
            summary.body.contains(told),
            "{told:?} is not in {}",
            summary.body
        );
    }

    let hits = api.search("frobnicator");
    assert!(hits.iter().any(|hit| hit.kind == "summary"), "{hits:?}");
    assert!(api.search("no-such-word-anywhere").is_empty());

    let session = api.session("claude-code:s").session;
    assert_eq!(session.project.as_deref(), Some(PROJECT));
    assert_eq!(session.prompt.as_deref(), Some("where is the frobnicator"));
    assert_eq!(
        (session.prompt_number, session.pending, session.life),
        (1, 0, Life::Open)
    );

    let context = api
        .context(PROJECT)
        .expect("something is known of the project");
    assert!(context.contains("attic"), "{context}");
    assert_eq!(api.context("/home/user/other"), None);

    let report = api.doctor();
    assert_eq!(report.verdict, Verdict::Ok, "{:?}", report.findings);
    worker.stop();
}

#[test]
fn recorded_sessions_of_three_agents_come_out_whole() {
    let home = Home::new();
    let worker = home.start();
    let recorded = recorded_all();
    for event in &recorded {
        home.hook(event.agent, &event.payload);
    }
    worker.wait_idle();
    let api = worker.api();
    let mut names: Vec<String> = recorded.iter().map(Recorded::session_name).collect();
    names.dedup();
    assert_eq!(names.len(), 7, "{names:?}");
    for name in &names {
        let fired: Vec<_> = recorded
            .iter()
            .filter(|event| event.session_name() == *name)
            .collect();
        let messages = api.messages(name);
        assert_eq!(messages.len(), fired.len(), "{name}");
        for (message, fired) in messages.iter().zip(&fired) {
            assert_eq!(message.kind, fired.kind);
            let as_sent: Value = serde_json::from_str(&fired.payload).expect("JSON");
            let as_kept: Value = serde_json::from_str(&message.payload).expect("JSON");
            assert_eq!(as_kept, as_sent, "{name} {}", message.seq);
        }
        wait_for_life(api, name, Life::Ended);
        let results = api.results(name);
        let last = &results.last().expect("results").result;
        assert_eq!(last.kind, "summary", "the end of a session is summed up");
        let prompt = fired.iter().find_map(|event| {
            let value: Value = serde_json::from_str(&event.payload).expect("JSON");
            value["prompt"]
                .as_str()
                .map(|text| text.chars().take(20).collect::<String>())
        });
        let prompt = prompt.expect("every recorded session has a prompt");
        assert!(
            last.body.contains(&prompt),
            "{prompt:?} is not in {}",
            last.body
        );
    }
    let report = api.doctor_deep();
    assert_eq!(report.verdict, Verdict::Ok, "{:?}", report.findings);
    let stats = report.queue.expect("a queue").stats;
    assert_eq!(stats.accepted, i64::try_from(recorded.len()).expect("few"));
    assert_eq!(stats.duplicates, 0);
}

#[test]
fn session_start_is_told_its_own_projects_history_only() {
    let home = Home::new();
    let worker = home.start();
    for (session, cwd, words) in [("a", "/src/a", "alpha"), ("b", "/src/b", "beta")] {
        let fields = json!({ "cwd": cwd, "prompt": format!("all about {words}") });
        home.hook(AGENT, payload::event(session, "UserPromptSubmit", fields))
            .silence();
        let fields = json!({ "cwd": cwd, "last_assistant_message": words });
        home.hook(AGENT, payload::event(session, "Stop", fields))
            .silence();
    }
    worker.wait_idle();
    home.hook(AGENT, payload::session_start("first", "/src/c"))
        .silence();
    for agent in ["claude-code", "codex", "gemini-cli"] {
        let told = context_of(&home, agent, &payload::session_start("new", "/src/a"));
        assert!(told.contains("alpha"), "{told}");
        assert!(!told.contains("beta"), "{told}");
    }
}

#[test]
fn context_of_a_long_history_keeps_to_its_budget() {
    let home = Home::new();
    let worker = home.start();
    for number in 0..12 {
        let session = format!("s{number}");
        let words = format!("number {number} äöü🦀 ").repeat(300);
        let fields = json!({ "prompt": words, "cwd": PROJECT });
        worker
            .api()
            .accept(payload::event(&session, "UserPromptSubmit", fields));
        worker.api().accept(payload::stop(&session, &words));
    }
    worker.wait_idle();
    let told = context_of(&home, AGENT, &payload::session_start("new", PROJECT));
    let length = told.chars().count();
    assert!(length <= CONTEXT_MAX, "{length} characters");
    assert!(
        length > CONTEXT_MAX / 4,
        "the budget is used: {length} characters"
    );
    assert!(
        told.contains("number 11"),
        "the newest session is in it: {told}"
    );
}

#[test]
fn session_after_clear_knows_what_the_cleared_one_did() {
    // Slow enough that the end is still being worked when the next start comes.
    let home = Home::new()
        .with("rehearsal.delay_ms", 100)
        .with("hook.context_wait_ms", 20_000);
    let _worker = home.start();
    home.hook(AGENT, payload::prompt("old", "paint the bikeshed"))
        .silence();
    home.hook(AGENT, payload::stop("old", "painted it mauve"))
        .silence();
    home.hook(AGENT, payload::session_end("old")).silence();
    let told = context_of(&home, AGENT, &payload::session_start("new", PROJECT));
    assert!(told.contains("mauve"), "{told}");
}

#[test]
fn context_waits_no_longer_than_it_may() {
    let home = Home::new()
        .with("rehearsal.delay_ms", 600_000)
        .with("session.generator_stop_wait_ms", 10)
        .with("hook.context_wait_ms", 10);
    let _worker = home.start();
    home.hook(AGENT, payload::prompt("old", "stuck")).silence();
    home.hook(AGENT, payload::session_end("old")).silence();
    // Within the hook's deadline, and without the other session's end.
    home.hook(AGENT, payload::session_start("new", PROJECT))
        .silence();
    assert_eq!(home.api().messages("claude-code:new").len(), 1);
    assert_eq!(home.spool_files(), 0, "it was answered, not spooled");
}

#[test]
fn end_that_fired_long_ago_still_drains() {
    let home = Home::new()
        .with("rehearsal.delay_ms", 600_000)
        .with("session.generator_stop_wait_ms", 10);
    let worker = home.start();
    let api = worker.api();
    let prompt = api.accept(payload::prompt("s", "stuck"));
    let firing = [("sessiond-fired-at", "1000")];
    let end = api.post_firing(AGENT, payload::session_end("s"), &firing);
    let end: Receipt = end.json();
    assert_eq!(api.message(end.message.0).accepted_at, Timestamp(1000));
    let drain_until = api.session("claude-code:s").session.drain_until;
    assert!(
        drain_until > Some(api.message(prompt.message.0).accepted_at),
        "{drain_until:?}"
    );
}

#[test]
fn spooled_event_from_a_time_to_come_is_of_now() {
    let home = Home::new();
    home.hook(AGENT, payload::prompt("other", "makes the spool"))
        .silence();
    let fired_at_ms = Clock.now().0 + 86_400_000;
    let frame = frame::encode(&Frame {
        event_id: "01900000-0000-7000-8000-000000000001",
        fired_at_ms,
        agent: AGENT,
        agent_process: None,
        payload: payload::prompt("s", "hello").as_bytes(),
    });
    let file = home.layout().spool_dir().join("claude-code-s.spool");
    fs::write(file, frame).expect("the event is spooled");
    let worker = home.start();
    worker.wait_idle();
    let accepted_at = worker.api().messages("claude-code:s")[0].accepted_at;
    assert!(accepted_at.0 < fired_at_ms, "{accepted_at:?}");
}

/// What a hook's answer tells the agent, with the form checked.
fn context_of(home: &Home, agent: &str, payload: &str) -> String {
    let answer: Value = home.hook(agent, payload).json();
    let output = &answer["hookSpecificOutput"];
    assert_eq!(output["hookEventName"], "SessionStart");
    output["additionalContext"]
        .as_str()
        .expect("a text")
        .to_owned()
}

fn wait_for_life(api: &Api, name: &str, life: Life) {
    wait_until("the session's life", LIMIT, || {
        let session = api.session(name).session;
        ok_if(session.life == life, session)
    });
}
