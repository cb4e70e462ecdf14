//! Programs that do not work: what waits, what is dead, what the doctor says, and how it is mended.

use std::process::Stdio;

use sessiond::doctor::Verdict;
use sessiond_queue::types::{Message, State};

use super::Programs;
use crate::support::home::SESSIOND;
use crate::support::wait::ok_if;
use crate::support::{Api, Freezer, LIMIT, Worker, launch, payload, wait_until};

const NAME: &str = "claude-code:s";
const MESSAGES: usize = 20;

/// Sends a prompt and enough other events to make [`MESSAGES`].
fn send(api: &Api) {
    api.accept(payload::prompt("s", "first"));
    for number in 1..MESSAGES {
        let kind = if number == 7 { "Seventh" } else { "Note" };
        api.accept(payload::event(
            "s",
            kind,
            serde_json::json!({ "number": number }),
        ));
    }
}

fn has_finding(api: &Api, code: &str) -> Result<String, String> {
    let report = api.doctor();
    let found = report.findings.iter().find(|finding| finding.code == code);
    match found {
        Some(finding) => {
            assert_ne!(report.verdict, Verdict::Ok, "{finding:?}");
            Ok(format!("{} {}", finding.message, finding.advice))
        }
        None => Err(format!("{:?}", report.findings)),
    }
}

#[track_caller]
fn all_done(messages: &[Message]) {
    assert_eq!(messages.len(), MESSAGES);
    assert!(
        messages.iter().all(|message| message.state == State::Done),
        "{messages:?}"
    );
}

#[test]
fn messages_wait_for_a_provider_that_is_away_and_are_done_when_it_is_back() {
    let programs = Programs::new("unavailable").with("queue.attempt_max", 2);
    let worker = programs.home.start();
    let api = worker.api();
    send(api);
    let told = wait_until("the doctor tells", LIMIT, || {
        has_finding(api, "provider_unavailable")
    });
    assert!(told.contains("usage limit reached"), "{told}");
    wait_until("the provider was asked often", LIMIT, || {
        let asked = programs.home.log().matches("provider unavailable").count();
        ok_if(asked >= 6, asked)
    });
    let waiting = api.messages(NAME);
    assert_eq!(waiting.len(), MESSAGES);
    let waits = |message: &Message| {
        matches!(message.state, State::Pending | State::Claimed) && message.attempt <= 1
    };
    assert!(waiting.iter().all(waits), "{waiting:?}");
    programs.set_modes("");
    worker.wait_idle();
    all_done(&api.messages(NAME));
    assert_eq!(
        api.doctor().verdict,
        Verdict::Ok,
        "{:?}",
        api.doctor().findings
    );
}

/// Sends messages to a program that never gets ready, until its session is failing.
fn failing_session(programs: &Programs, api: &Api) {
    send(api);
    let told = wait_until("the doctor tells", LIMIT, || {
        has_finding(api, "session_failing")
    });
    assert!(
        told.contains("the test wants it so"),
        "the reason is told: {told}"
    );
    assert!(told.contains("session restart"), "so is what helps: {told}");
    let waiting = api.messages(NAME);
    let waits = |message: &Message| (message.state, message.attempt) == (State::Pending, 0);
    assert_eq!(waiting.len(), MESSAGES);
    assert!(waiting.iter().all(waits), "{waiting:?}");
    // Other events start nothing any more.
    let starts = programs.home.log().matches("generator not ready").count();
    api.accept(payload::event("s", "Note", serde_json::json!({})));
    wait_until("the event is seen", LIMIT, || {
        let live = api.session(NAME).live;
        ok_if(
            live.is_some_and(|live| live.working_on.is_none()),
            "no live session",
        )
    });
    assert_eq!(
        programs.home.log().matches("generator not ready").count(),
        starts
    );
    programs.wait_nothing_left();
}

#[test]
fn session_whose_program_never_gets_ready_waits_for_a_prompt() {
    let programs = Programs::new("exit-at-start");
    let worker = programs.home.start();
    let api = worker.api();
    failing_session(&programs, api);
    programs.set_modes("");
    api.accept(payload::prompt("s", "again"));
    worker.wait_idle();
    assert!(
        api.messages(NAME)
            .iter()
            .all(|message| message.state == State::Done)
    );
    assert_eq!(
        api.doctor().verdict,
        Verdict::Ok,
        "{:?}",
        api.doctor().findings
    );
}

#[test]
fn session_whose_program_never_gets_ready_is_restarted_by_hand() {
    let programs = Programs::new("exit-at-start");
    let worker = programs.home.start();
    let api = worker.api();
    failing_session(&programs, api);
    programs.set_modes("");
    programs.home.cli(&["session", "restart", NAME]).text();
    worker.wait_idle();
    assert!(
        api.messages(NAME)
            .iter()
            .all(|message| message.state == State::Done)
    );
}

#[test]
fn failing_session_stays_so_across_a_restart_of_the_worker() {
    let programs = Programs::new("exit-at-start");
    let worker = programs.home.start();
    failing_session(&programs, worker.api());
    worker.kill();
    let starts = programs.home.log().matches("generator not ready").count();
    let worker = programs.home.start();
    let told = has_finding(worker.api(), "session_failing").expect("the doctor still tells");
    assert!(told.contains("the test wants it so"), "{told}");
    assert_eq!(
        programs.home.log().matches("generator not ready").count(),
        starts
    );
}

#[test]
fn failing_session_is_not_so_any_more_once_the_digest_works_it() {
    let mut programs = Programs::new("exit-at-start");
    let worker = programs.home.start();
    failing_session(&programs, worker.api());
    worker.stop();
    programs.home.unset("generator.command");
    let worker = programs.home.start();
    worker.wait_idle();
    assert_eq!(worker.api().session(NAME).session.failing, None);
    assert_eq!(worker.api().doctor().verdict, Verdict::Ok);
}

#[test]
fn only_the_message_that_kills_the_program_is_dead_and_it_can_be_redriven() {
    let programs = Programs::new("die-on Seventh").with("queue.attempt_max", 3);
    let worker = programs.home.start();
    let api = worker.api();
    send(api);
    worker.wait_idle();
    let messages = api.messages(NAME);
    let dead: Vec<_> = messages
        .iter()
        .filter(|message| message.state == State::Dead)
        .collect();
    assert_eq!(dead.len(), 1, "{messages:?}");
    assert_eq!((dead[0].kind.as_str(), dead[0].attempt), ("Seventh", 3));
    let id = dead[0].id.0;
    let shown: serde_json::Value = api.get(&format!("/v1/messages/{id}"));
    let attempts = shown["attempts"].as_array().expect("its history is told");
    assert_eq!(attempts.len(), 3, "{attempts:?}");
    for (number, attempt) in attempts.iter().enumerate() {
        assert_eq!(attempt["attempt"], number + 1);
        let reason = attempt["reason"].as_str().expect("a reason");
        assert!(reason.contains("signal 9"), "{reason}");
    }
    programs.set_modes("");
    programs
        .home
        .cli(&["dead", "redrive", &id.to_string()])
        .text();
    worker.wait_idle();
    all_done(&api.messages(NAME));
}

#[test]
fn program_that_says_nothing_is_stopped_and_its_message_tried_again() {
    let programs = Programs::new("hold Seventh\nignore").with("generator.progress_timeout_ms", 300);
    let worker = programs.home.start();
    let api = worker.api();
    send(api);
    wait_until("the silence ends", LIMIT, || {
        let tried = api.messages(NAME).remove(7);
        let error = tried.last_error.unwrap_or_default();
        ok_if(error.contains("no progress"), error)
    });
    programs.set_modes("");
    worker.wait_idle();
    all_done(&api.messages(NAME));
}

#[test]
fn program_that_is_not_there_is_not_tried_again_and_again() {
    let programs = Programs::new("").with("generator.command", "/no/such/program");
    let worker = programs.home.start();
    worker.api().accept(payload::prompt("s", "first"));
    let told = wait_until("the doctor tells", LIMIT, || {
        has_finding(worker.api(), "session_failing")
    });
    assert!(told.contains("/no/such/program"), "{told}");
    assert_eq!(
        programs.home.log().matches("generator not ready").count(),
        1
    );
}

#[test]
fn name_that_is_not_on_the_path_is_told_with_where_it_was_looked_for() {
    let programs = Programs::new("").with("generator.command", "no-such-program");
    let worker = programs.home.start();
    worker.api().accept(payload::prompt("s", "first"));
    let told = wait_until("the doctor tells", LIMIT, || {
        has_finding(worker.api(), "session_failing")
    });
    let path = "looked for in /usr/local/bin:/usr/bin:/bin and nowhere else";
    assert!(told.contains(path), "{told}");
}

#[test]
fn program_that_meets_its_memory_limit_is_told_with_the_limit() {
    let programs = Programs::new("allocate 1073741824")
        .with("generator.memory_max_bytes", 256 << 20)
        .with("generator.restart_max", 0);
    let worker = programs.home.start();
    worker.api().accept(payload::prompt("s", "first"));
    let told = wait_until("the doctor tells", LIMIT, || {
        has_finding(worker.api(), "session_failing")
    });
    assert!(told.contains("memory_max_bytes = 268435456"), "{told}");
    assert!(told.contains("ended by signal 6 (SIGABRT)"), "{told}");
    // Within its limits it works.
    programs.set_modes("allocate 67108864");
    programs.home.cli(&["session", "restart", NAME]).text();
    worker.wait_idle();
    assert_eq!(worker.api().messages(NAME)[0].state, State::Done);
}

#[test]
fn program_that_a_shell_cannot_find_is_not_tried_again_and_again() {
    let programs = Programs::new("").with("generator.command", "sh -c no-such-program");
    let worker = programs.home.start();
    worker.api().accept(payload::prompt("s", "first"));
    let told = wait_until("the doctor tells", LIMIT, || {
        has_finding(worker.api(), "session_failing")
    });
    assert!(told.contains("exited with code 127"), "{told}");
    let starts = programs.home.log().matches("generator not ready").count();
    assert_eq!(starts, 1);
}

#[test]
fn no_other_program_is_started_while_an_earlier_one_cannot_be_ended() {
    let Some(freezer) = Freezer::new("programs that cannot be ended") else {
        return;
    };
    let programs = Programs::new("").with("generator.progress_timeout_ms", 300);
    let worker = programs.home.start();
    let api = worker.api();
    api.accept(payload::prompt("s", "first"));
    worker.wait_idle();
    let program = programs.wait_running(1)[0];
    freezer.freeze(program);
    api.accept(payload::prompt("s", "second"));
    let check_failing = |refusals: usize| {
        let told = wait_until("the session is failing", LIMIT, || {
            let log = programs.home.log();
            let refused = log.matches("generator not ready").count();
            ok_if(refused == refusals, refused)
                .map_err(|refused| format!("refused {refused} times"))
                .and_then(|()| has_finding(api, "session_failing"))
        });
        let named = format!("process {} (test-generator)", program.pid);
        assert!(told.contains(&named) && told.contains("state D"), "{told}");
        assert_eq!(programs.running(), [program], "and no other");
    };
    check_failing(1);
    // Neither a hand nor a prompt helps as long as it is there.
    programs.home.cli(&["session", "restart", NAME]).text();
    check_failing(2);
    api.accept(payload::prompt("s", "third"));
    check_failing(3);
    freezer.thaw();
    program.wait_gone(LIMIT);
    api.accept(payload::prompt("s", "fourth"));
    worker.wait_idle();
    let messages = api.messages(NAME);
    let is_done = |message: &Message| message.state == State::Done;
    assert_eq!(messages.len(), 4);
    assert!(messages.iter().all(is_done), "{messages:?}");
}

#[test]
fn program_that_hangs_before_it_is_ready_is_given_up() {
    let programs = Programs::new("hang-at-start")
        .with("generator.ready_timeout_ms", 100)
        .with("generator.restart_max", 2);
    let worker = programs.home.start();
    worker.api().accept(payload::prompt("s", "first"));
    let told = wait_until("the doctor tells", LIMIT, || {
        has_finding(worker.api(), "session_failing")
    });
    assert!(told.contains("ready"), "{told}");
    programs.wait_nothing_left();
}

#[test]
fn worker_without_its_shim_starts_and_says_what_is_missing() {
    let programs = Programs::new("");
    let lone = programs.home.layout().root().with_file_name("sessiond");
    std::fs::copy(SESSIOND, &lone).expect("a copy");
    let mut command = programs.home.command(&lone.to_string_lossy());
    let worker = launch::spawn(command.arg("run").stderr(Stdio::null()));
    let mut worker = Worker::new(worker, programs.home.api());
    worker.wait_ready();
    worker.api().accept(payload::prompt("s", "first"));
    let told = has_finding(worker.api(), "no_shim").expect("the doctor tells");
    assert!(told.contains("sessiond-shim"), "{told}");
    // In the middle of a start that fails it is counted, and given back after it.
    wait_until("the attempt is given back", LIMIT, || {
        let messages = worker.api().messages(NAME);
        let is_back = messages[0].attempt == 0 && messages[0].not_before.is_some();
        is_back.then_some(()).ok_or(messages)
    });
}
