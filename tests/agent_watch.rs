//! A session whose agent is killed ends; one whose agent lives, or is not known, does not.

use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sessiond::agent_watch::AgentsReport;
use sessiond::clock::Clock;
use sessiond_queue::ids::{SessionId, Timestamp};
use sessiond_queue::types::{Life, Receipt, State};

use crate::support::wait::ok_if;
use crate::support::{Agent, Api, Home, LIMIT, payload, wait_until};

const AGENT: &str = "claude-code";
const DRAIN_MAX_MS: u64 = 40_000;

#[test]
fn killed_agent_has_its_session_drained_within_a_second_and_ended_when_all_is_worked() {
    let home = Home::new()
        .with("rehearsal.delay_ms", 1_000)
        .with("session.drain_max_ms", DRAIN_MAX_MS);
    let worker = home.start();
    let api = worker.api();
    let mut agent = Agent::start(&home, &[]);
    // As Claude Code runs its hooks.
    agent.fire_by_shell(&payload::prompt("s", "hello"));
    assert_eq!(agents_of(api, "s"), [agent.pid()]);
    let killed_at = Clock.now();
    agent.kill();
    let drain_until = wait_until("the drain", LIMIT, || {
        let session = api.session("claude-code:s").session;
        session.drain_until.ok_or(session)
    });
    let begun_at = Timestamp(drain_until.0 - DRAIN_MAX_MS as i64);
    let took = begun_at.since(killed_at);
    assert!(took < Duration::from_secs(1), "{took:?}");
    wait_for_life(api, "s", Life::Ended);
    let messages = api.messages("claude-code:s");
    assert!(messages.iter().all(|message| message.state == State::Done));
    assert_eq!(stored(&home), 0);
}

#[test]
fn events_are_taken_at_once_while_nothing_can_be_written_beside_the_queue() {
    const SOON: Duration = Duration::from_secs(3);
    let mut home = Home::new();
    home.set_hook_deadline_ms(Some(20_000));
    let worker = home.start();
    let api = worker.api();
    let (mut agent, mut newcomer) = (Agent::start(&home, &[]), Agent::start(&home, &[]));
    agent.fire(&payload::prompt("stays", "hello"));
    agent.fire(&payload::prompt("goes", "hello"));
    let fires = |agent: &mut Agent, session: &str| {
        let begun = Instant::now();
        agent.fire(&payload::prompt(session, "again"));
        let took = begun.elapsed();
        assert!(took < SOON, "{session}: {took:?}");
    };
    let held = home.database().hold_state();
    std::thread::scope(|scope| {
        // Whose agent it was is to be forgotten, which cannot be written.
        let closing = scope.spawn(|| api.call("DELETE", "/v1/sessions/claude-code:goes"));
        wait_for_life(api, "goes", Life::Closing);
        fires(&mut newcomer, "new");
        let until = Instant::now() + Duration::from_secs(1);
        while Instant::now() < until {
            fires(&mut agent, "stays");
        }
        let begun = Instant::now();
        newcomer.fire(&payload::session_end("new"));
        assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
        drop(held);
        closing.join().expect("it is answered");
    });
    wait_for_life(api, "goes", Life::Ended);
    wait_until("what could not be written is", LIMIT, || {
        let stored = stored(&home);
        ok_if(stored == 1, stored)
    });
    assert_eq!(home.spool_files(), 0);
}

#[test]
fn end_of_an_agent_ends_all_its_sessions_in_memory_or_not_and_nobody_elses() {
    let home = Home::new()
        .with("session.generator_idle_end_ms", 20)
        .with("session.idle_unload_ms", 20);
    let worker = home.start();
    let api = worker.api();
    let mut agent = Agent::start(&home, &[]);
    let mut other = Agent::start(&home, &[]);
    let mut unknown = Agent::start(&home, &[("SESSIOND_AGENT_PID", "0")]);
    agent.fire(&payload::prompt("one", "hello"));
    agent.fire(&payload::prompt("two", "hello"));
    other.fire(&payload::prompt("others", "hello"));
    unknown.fire(&payload::prompt("unknown", "hello"));
    wait_until("all are dormant", LIMIT, || {
        let sessions = api.sessions();
        let are_dormant = sessions.iter().all(|shown| shown.residence == "dormant");
        ok_if(are_dormant, sessions)
    });
    let report = |watched, gone| AgentsReport {
        watched,
        gone,
        unknown_sessions: 1,
        ..AgentsReport::default()
    };
    assert_eq!(api.doctor().agents, Some(report(2, 0)));
    unknown.kill();
    agent.kill();
    wait_for_life(api, "one", Life::Ended);
    wait_for_life(api, "two", Life::Ended);
    assert_eq!(life(api, "others"), Life::Open);
    assert_eq!(life(api, "unknown"), Life::Open);
    wait_until("the doctor knows", LIMIT, || {
        let found = api.doctor().agents;
        ok_if(found == Some(report(1, 1)), found)
    });
}

#[test]
fn resumed_session_outlives_the_first_agent_and_not_the_second() {
    let home = Home::new();
    let worker = home.start();
    let api = worker.api();
    let mut first = Agent::start(&home, &[]);
    let mut second = Agent::start(&home, &[]);
    first.fire(&payload::prompt("s", "hello"));
    // Ends with the first one, which shows that its end was noticed.
    first.fire(&payload::prompt("firsts", "hello"));
    second.fire(&payload::prompt("s", "hello again"));
    assert_eq!(agents_of(api, "s"), [first.pid(), second.pid()]);
    let second_pid = second.pid();
    first.kill();
    wait_for_life(api, "firsts", Life::Ended);
    wait_until("one is left", LIMIT, || {
        let agents = agents_of(api, "s");
        ok_if(agents == [second_pid], agents)
    });
    let session = api.session("claude-code:s").session;
    assert_eq!((session.life, session.drain_until), (Life::Open, None));
    second.kill();
    wait_for_life(api, "s", Life::Ended);
}

#[test]
fn claude_pid_is_believed_of_an_ancestor_of_claude_codes_hooks() {
    let home = Home::new();
    let worker = home.start();
    let api = worker.api();
    let stranger = std::process::id().to_string();
    let mut agent = Agent::start(&home, &[("CLAUDE_PID", "1")]);
    let own = agent.pid();
    // A program between the agent and its hook.
    agent.fire_inside(
        AGENT,
        "CLAUDE_PID=$PPID",
        &payload::prompt("named", "hello"),
    );
    assert_eq!(agents_of(api, "named"), [own]);
    agent.fire_inside(AGENT, "CLAUDE_PID=999999", &payload::prompt("not", "hello"));
    agent.fire_inside("codex", "CLAUDE_PID=$PPID", &payload::prompt("c", "hello"));
    for session in ["claude-code:not", "codex:c"] {
        let session = api.session(session).session.id;
        wait_until("the nearest one, which has ended since", LIMIT, || {
            let life = api.session(&session.to_string()).session.life;
            ok_if(life == Life::Ended, life)
        });
    }
    agent.fire_inside(
        "codex",
        &format!("SESSIOND_AGENT_PID={stranger}"),
        &payload::prompt("told", "hello"),
    );
    let shown: Value = api.get("/v1/sessions/codex:told");
    assert_eq!(shown["agents"], json!([std::process::id()]));
    assert_eq!(life(api, "named"), Life::Open);
}

#[test]
fn agent_that_dies_while_no_worker_runs_is_missed_by_the_next_one() {
    let home = Home::new();
    let worker = home.start();
    let mut agent = Agent::start(&home, &[]);
    let mut living = Agent::start(&home, &[]);
    agent.fire(&payload::prompt("s", "hello"));
    living.fire(&payload::prompt("living", "hello"));
    worker.kill();
    agent.kill();
    let worker = home.start();
    wait_for_life(worker.api(), "s", Life::Ended);
    assert_eq!(agents_of(worker.api(), "living"), [living.pid()]);
    living.kill();
    wait_for_life(worker.api(), "living", Life::Ended);
    assert_eq!(stored(&home), 0);
}

#[test]
fn spooled_events_of_a_dead_agent_are_worked_and_then_its_session_ends_once() {
    let home = Home::new();
    let mut agent = Agent::start(&home, &[]);
    agent.fire(&payload::prompt("s", "hello"));
    for number in 0..5 {
        agent.fire(&payload::tool(
            "s",
            "PostToolUse",
            &format!("toolu_{number}"),
        ));
    }
    agent.fire(&payload::prompt("s", "hello again"));
    agent.kill();
    let worker = home.start();
    wait_for_life(worker.api(), "s", Life::Ended);
    let messages = worker.api().messages("claude-code:s");
    assert_eq!(messages.len(), 7);
    assert!(messages.iter().all(|message| message.state == State::Done));
    let session = messages[0].session;
    assert_eq!(closes(&home, session), 1);
}

#[test]
fn other_process_with_the_pid_is_not_taken_for_the_agent() {
    let home = Home::new();
    let worker = home.start();
    let api = worker.api();
    let pid = std::process::id();
    let namespace = std::fs::metadata("/proc/self/ns/pid").expect("/proc").ino();
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("/proc");
    let start = start_ticks();
    let fire = |session: &str, process: &str| {
        let prompt = payload::prompt(session, "hello");
        let header = [("sessiond-agent-process", process)];
        api.post_firing(AGENT, prompt, &header).json::<Receipt>()
    };
    let other_boot = "00000000-0000-4000-8000-000000000000";
    fire(
        "reused",
        &format!("pid={pid} start={} ns={namespace}", start + 1),
    );
    fire(
        "boot",
        &format!("pid={pid} start={start} ns={namespace} boot={other_boot}"),
    );
    // No such process here, which says nothing about the place where it was seen.
    fire(
        "elsewhere",
        &format!("pid=2147483647 start=1 ns={}", namespace - 1),
    );
    fire(
        "same",
        &format!(
            "pid={pid} start={start} ns={namespace} boot={}",
            boot.trim()
        ),
    );
    let malformed = [
        "",
        "nonsense",
        &format!("pid=1 start={start} ns={namespace}"),
        "p\u{e9}",
    ];
    for (number, process) in malformed.iter().enumerate() {
        fire(&format!("malformed-{number}"), process);
    }
    wait_for_life(api, "reused", Life::Ended);
    wait_for_life(api, "boot", Life::Ended);
    worker.wait_idle();
    let agents = api.doctor().agents.expect("a worker runs");
    assert_eq!((agents.watched, agents.unseen, agents.malformed), (1, 1, 4));
    for session in ["elsewhere", "same", "malformed-0", "malformed-3"] {
        assert_eq!(life(api, session), Life::Open, "{session}");
    }
    assert_eq!(agents_of(api, "same"), [pid]);
}

#[test]
fn agent_that_says_that_it_ends_is_not_missed_afterwards() {
    let home = Home::new();
    let worker = home.start();
    let api = worker.api();
    let mut agent = Agent::start(&home, &[]);
    agent.fire(&payload::prompt("s", "hello"));
    agent.fire(&payload::session_end("s"));
    wait_for_life(api, "s", Life::Ended);
    // The process goes on with two other sessions, and one of them is closed by hand.
    agent.fire(&payload::prompt("next", "hello"));
    agent.fire(&payload::prompt("closed", "hello"));
    assert_eq!(stored(&home), 2);
    api.close("claude-code:closed", "");
    assert_eq!(stored(&home), 1);
    agent.kill();
    wait_for_life(api, "next", Life::Ended);
    for session in ["s", "next", "closed"] {
        let id = api.session(&format!("claude-code:{session}")).session.id;
        assert_eq!(closes(&home, id), 1, "{session}");
    }
}

/// The processes of a session's agent, as the API shows them.
#[track_caller]
fn agents_of(api: &Api, session: &str) -> Vec<u32> {
    let mut shown: Value = api.get(&format!("/v1/sessions/claude-code:{session}"));
    serde_json::from_value(shown["agents"].take()).expect("pids")
}

fn life(api: &Api, session: &str) -> Life {
    api.session(&format!("claude-code:{session}")).session.life
}

#[track_caller]
fn wait_for_life(api: &Api, session: &str, wanted: Life) {
    wait_until("the session's life", LIMIT, || {
        let life = life(api, session);
        ok_if(life == wanted, (session.to_owned(), life))
    });
}

/// Rows that the next worker would find.
fn stored(home: &Home) -> i64 {
    let count = "SELECT count(*) FROM agent_processes";
    home.database().state_number(count)
}

/// How often the session was closed.
fn closes(home: &Home, session: SessionId) -> usize {
    let log = home.log();
    let of_session =
        |line: &&str| line.contains("session closed") && line.contains(&session.to_string());
    // An unload is told by the same words.
    let lines = log.lines().filter(of_session);
    lines.filter(|line| !line.contains("Unload")).count()
}

/// When this process started.
fn start_ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("/proc");
    let (_, fields) = stat.rsplit_once(") ").expect("a name");
    let start = fields.split(' ').nth(19).expect("a start");
    start.parse().expect("a number")
}
