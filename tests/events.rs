//! What happens, told as it happens: over `GET /v1/events`, over restarts, and by `sessiond watch`.

pub(crate) mod stream;
mod watching;

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use self::stream::{Stream, Told};
use crate::support::http::encode;
use crate::support::wait::ok_if;
use crate::support::{Home, LIMIT, Process, Worker, example, payload, wait_until};

const NAME: &str = "claude-code:s";

/// A heartbeat that comes in no test.
const NEVER_MS: u64 = 3_600_000;

fn kinds(told: &[Told]) -> Vec<&str> {
    told.iter().map(|told| told.kind.as_str()).collect()
}

/// Generation and number of each id.
fn ids(told: &[Told]) -> Vec<(u64, u64)> {
    let parse = |told: &Told| {
        let id = told.id.as_deref().expect("an event has an id");
        let (generation, number) = id.split_once('-').expect("two numbers");
        (
            generation.parse().expect("a number"),
            number.parse().expect("a number"),
        )
    };
    told.iter().map(parse).collect()
}

#[test]
fn life_of_a_session_is_told_in_order_and_each_step_once() {
    let generator = example("echo-generator");
    let home = Home::new().with("generator.command", format!("'{}'", generator.display()));
    let worker = home.start();
    let mut stream = Stream::open(&home, "", "");
    let secret = "never to be told";
    worker.api().accept(payload::prompt("s", secret));
    let mut told = stream.until("message.confirmed");
    assert_eq!(
        kinds(&told),
        [
            "session.created",
            "message.accepted",
            "session.active",
            "message.claimed",
            "process.spawned",
            "generator.started",
            "message.confirmed",
        ]
    );
    worker.api().close(NAME, "");
    let end = stream.until("session.ended");
    let mut end_kinds = kinds(&end);
    end_kinds.sort_unstable();
    assert_eq!(
        end_kinds,
        [
            "generator.stopped",
            "process.reaped",
            "session.closing",
            "session.ended",
        ],
        "the mark and the end of the program are beside each other, and the end is last"
    );
    told.extend(end);
    let ids = ids(&told);
    let first = ids[0];
    assert!(
        (0..)
            .zip(&ids)
            .all(|(nth, id)| *id == (first.0, first.1 + nth)),
        "{ids:?}"
    );
    let session = worker.api().session(NAME).session;
    for Told { data, id, kind } in &told {
        assert_eq!(data["session"], json!(session.id), "{data}");
        assert_eq!(
            (&data["agent"], &data["key"], &data["project"]),
            (&json!("claude-code"), &json!("s"), &json!(session.project)),
            "{data}"
        );
        assert_eq!((&data["id"], &data["type"]), (&json!(id), &json!(kind)));
        assert!(!data.to_string().contains(secret), "{data}");
    }
    let of = |kind: &str| {
        &told
            .iter()
            .find(|told| told.kind == kind)
            .expect("told")
            .data
    };
    assert_eq!(of("message.confirmed")["results"], 1);
    assert_eq!(of("process.spawned")["pid"], of("process.reaped")["pid"]);
    assert_eq!(of("session.ended")["report"]["depth"], "close");
    assert_eq!(
        of("session.ended")["report"]["reaped"][0]["tag"],
        of("process.reaped")["tag"]
    );
}

#[test]
fn reader_that_comes_back_after_a_restart_is_told_exactly_what_came_after() {
    let home = Home::new();
    let worker = home.start();
    let mut stream = Stream::open(&home, "", "");
    worker.api().accept(payload::prompt("s", "one"));
    let mut seen = stream.until("message.claimed");
    let last_id = stream.last_id.clone();
    drop(stream);
    worker.wait_idle();
    worker.stop();

    let worker = home.start();
    worker.api().accept(payload::prompt("s", "two"));
    worker.wait_idle();
    let header = format!("Last-Event-ID: {last_id}\r\n");
    let mut stream = Stream::open(&home, "", &header);
    let mut resumed = stream.until("worker.started");
    resumed.extend(stream.until("message.confirmed"));
    let (_, first) = (ids(&seen), ids(&resumed)[0]);
    assert_eq!(first.1, ids(&seen).last().expect("events").1 + 1);
    seen.extend(resumed);
    assert!(!kinds(&seen).contains(&"lagged"), "{:?}", kinds(&seen));

    // And the same to whoever reads all of it now.
    let mut all = Stream::open(&home, "?after=1-0", "");
    let mut told = all.until("session.created");
    told.extend(all.until("worker.started"));
    told.extend(all.until("message.confirmed"));
    let skipped = told.len() - seen.len();
    assert_eq!(told[skipped..], seen, "{:?}", kinds(&told));
    assert_eq!(kinds(&told[..skipped]), ["worker.started"]);
    worker.stop();
}

#[test]
fn reader_that_comes_back_after_a_kill_is_told_that_it_may_have_missed_something() {
    let home = Home::new();
    let worker = home.start();
    let mut stream = Stream::open(&home, "", "");
    worker.api().accept(payload::prompt("s", "one"));
    stream.until("message.confirmed");
    worker.kill();
    let worker = home.start();
    let header = format!("Last-Event-ID: {}\r\n", stream.last_id);
    let mut stream = Stream::open(&home, "?type=worker", &header);
    let told = [stream.next(), stream.next()];
    assert_eq!(kinds(&told), ["lagged", "worker.started"]);
    assert_eq!(told[0].data["missed"], Value::Null, "nobody knows");
    assert_eq!(ids(&told), [(2, 0), (2, 1)]);
    worker.stop();
}

#[test]
fn place_of_another_log_is_told_of_and_what_is_no_place_is_refused() {
    let home = Home::new();
    let worker = home.start();
    let mut stream = Stream::open(&home, "?after=99-5&type=session", "");
    assert_eq!(stream.next().kind, "lagged");
    worker.api().accept(payload::prompt("s", "one"));
    assert_eq!(stream.next().kind, "session.created", "it goes on from now");

    let get = |target: &str| worker.api().call("GET", target);
    let field = |target: &str| get(target).error(400, "invalid_field")["details"]["field"].clone();
    assert_eq!(field("/v1/events?after=yesterday"), "after");
    assert_eq!(field("/v1/events?type=session..active"), "type");
    for unknown in ["bogus", "message.bogus", "session,sessio"] {
        let refused = get(&format!("/v1/events?type={unknown}")).error(400, "invalid_field");
        assert_eq!(refused["details"]["field"], "type");
        let words = refused["message"].as_str().expect("words");
        assert!(words.contains("message.dead"), "the known ones: {words}");
    }
    assert_eq!(field("/v1/events?session=nobody"), "session");
    get("/v1/events?session=claude-code:other").error(404, "unknown_session");
    get("/v1/events?kind=session").error(400, "invalid_query");
    let refused = worker.api().send(&crate::support::http::Request {
        method: "GET",
        target: "/v1/events",
        headers: vec![("last-event-id", "7".to_owned())],
        body: None,
    });
    let error = refused.error(400, "invalid_field");
    assert_eq!(error["details"]["field"], "Last-Event-ID");
    worker.stop();
}

#[test]
fn reader_is_told_only_what_it_asked_for() {
    let home = Home::new();
    let worker = home.start();
    let api = worker.api();
    let event = |session: &str, dir: &str| {
        api.accept(payload::event(session, "Note", json!({ "cwd": dir })));
    };
    event("a", "/nowhere/one");
    event("b", "/nowhere/two");
    worker.wait_idle();
    let project = format!("?after=1-0&type=message&project={}", encode("/nowhere/two"));
    let mut of_session = Stream::open(&home, "?after=1-0&session=claude-code:a", "");
    let mut of_types = Stream::open(&home, "?after=1-0&type=message.confirmed,session.*", "");
    let mut of_project = Stream::open(&home, &project, "");
    let told = of_session.until("message.confirmed");
    assert!(told.iter().all(|told| told.data["key"] == "a"), "{told:?}");
    let told = of_project.until("message.confirmed");
    assert_eq!(
        kinds(&told),
        ["message.accepted", "message.claimed", "message.confirmed"]
    );
    assert!(told.iter().all(|told| told.data["key"] == "b"), "{told:?}");
    let mut told = of_types.until("message.confirmed");
    told.extend(of_types.until("message.confirmed"));
    let mut kinds = kinds(&told);
    kinds.sort_unstable();
    assert_eq!(
        kinds,
        [
            "message.confirmed",
            "message.confirmed",
            "session.active",
            "session.active",
            "session.created",
            "session.created",
        ]
    );
    worker.stop();
}

#[test]
fn reader_that_does_not_read_holds_nobody_up_and_is_told_how_much_it_missed() {
    const EVENTS: u64 = 100;
    let home = Home::new()
        .with("events.memory_max", 8)
        .with("events.kept_max", 8);
    let worker = home.start();
    let mut stream = Stream::open(&home, "?type=message", "");
    // Long enough that the socket does not hold all of it.
    let dir = format!("/{}", "long/".repeat(800));
    for number in 0..EVENTS {
        let event = json!({ "cwd": dir, "number": number });
        worker.api().accept(payload::event("s", "Note", event));
    }
    worker.wait_idle();
    let mut last = None;
    let mut missed = 0;
    loop {
        let told = stream.next();
        let (_, number) = ids(std::slice::from_ref(&told))[0];
        if told.kind == "lagged" {
            let count = told.data["missed"].as_u64().expect("it is known");
            assert!(count > 0);
            missed += count;
            assert_eq!(
                last.map(|last| last + count <= number),
                Some(true),
                "{told:?}"
            );
        }
        last = Some(number);
        if told.kind == "message.confirmed" && told.data["message"] == EVENTS {
            break;
        }
    }
    assert!(missed > 0, "everything came, so nothing was tried");
    worker.stop();
}

#[test]
fn silence_is_broken_by_heartbeats_and_the_state_is_told_at_the_beginning_and_when_it_changes() {
    let home = Home::new()
        .with("events.heartbeat_ms", 50)
        .with("rehearsal.delay_ms", 300);
    let worker = home.start();
    let mut stream = Stream::open(&home, "?type=status", "");
    let of = |status: Value| (status["depth"].clone(), status["is_processing"].clone());
    assert_eq!(of(stream.status()), (json!(0), json!(false)));
    stream.heartbeat();
    stream.heartbeat();
    worker.api().accept(payload::prompt("s", "one"));
    while of(stream.status()) != (json!(1), json!(true)) {}
    while of(stream.status()) != (json!(0), json!(false)) {}
    worker.stop();
}

#[test]
fn readers_have_a_limit_and_leave_nothing_behind() {
    let home = Home::new()
        .with("events.readers_max", 3)
        .with("events.heartbeat_ms", NEVER_MS);
    let worker = home.start();
    let sockets = || {
        let descriptors = worker.process().descriptors().into_iter();
        let is_socket = |path: &Path| path.to_string_lossy().starts_with("socket:");
        descriptors.filter(|(_, path)| is_socket(path)).count()
    };
    let before = sockets();
    let streams: Vec<_> = (0..3).map(|_| Stream::open(&home, "", "")).collect();
    let refused = worker.api().call("GET", "/v1/events");
    let error = refused.error(503, "too_many_readers");
    assert_eq!(error["details"]["limit"], 3);
    drop(streams);
    wait_until(
        "the worker notices that its readers are gone",
        LIMIT,
        || ok_if(sockets() <= before, sockets()),
    );
    drop(Stream::open(&home, "", ""));
    worker.stop();
}

#[test]
fn stop_does_not_wait_for_readers() {
    // What a stop waits for open requests.
    const REQUESTS_END: Duration = Duration::from_secs(2);
    let home = Home::new();
    let worker = home.start();
    let streams: Vec<_> = (0..3).map(|_| Stream::open(&home, "", "")).collect();
    let began = Instant::now();
    worker.stop();
    assert!(began.elapsed() < REQUESTS_END, "{:?}", began.elapsed());
    for mut stream in streams {
        assert_eq!(stream.next().kind, "worker.stopping", "told to the end");
        stream.end();
    }
}

#[test]
fn another_verdict_of_the_doctor_is_told_by_the_worker_itself_and_by_whoever_asks() {
    let home = Home::new()
        .with("rehearsal.fail_kind", "Bad")
        .with("rehearsal.fail_class", "poison");
    let worker = home.start();
    let mut stream = Stream::open(&home, "?type=doctor", "");
    worker.api().accept(payload::event("s", "Bad", json!({})));
    let told = stream.next();
    assert_eq!(told.kind, "doctor.verdict");
    assert_ne!(told.data["verdict"], "ok");
    assert_eq!(told.data["before"], Value::Null);
    let reasons = told.data["reasons"].as_array().expect("reasons");
    assert!(!reasons.is_empty());
    worker.api().call("DELETE", "/v1/dead").json::<Value>();
    // Several findings go together with the message.
    let verdict = wait_until("the doctor judges otherwise", LIMIT, || {
        let verdict = serde_json::to_value(worker.api().doctor().verdict).expect("a word");
        ok_if(verdict != told.data["verdict"], verdict.clone()).map(|()| verdict)
    });
    let again = stream.next();
    assert_eq!(again.data["before"], told.data["verdict"]);
    assert_eq!(again.data["verdict"], verdict);
    worker.stop();
}

#[test]
fn idle_worker_with_a_reader_does_nothing() {
    let home = Home::new().with("events.heartbeat_ms", NEVER_MS);
    let worker = home.start();
    let mut stream = Stream::open(&home, "", "");
    worker.api().accept(payload::prompt("s", "one"));
    stream.until("message.confirmed");
    let deadline = Instant::now() + LIMIT;
    // The indexer, the keeper and the doctor come after.
    let work = loop {
        let before = switches(&worker);
        pause(Duration::from_millis(1_500));
        let work = switches(&worker) - before;
        if work == 0 || Instant::now() > deadline {
            break work;
        }
    };
    assert_eq!(work, 0, "context switches in one and a half seconds");
    worker.stop();
}

/// How often the threads of a worker were given a processor.
fn switches(worker: &Worker) -> u64 {
    let Process { pid } = worker.process();
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("the worker runs");
    let of_task = |task: fs::DirEntry| -> u64 {
        let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
        let lines = status.lines().filter(|line| line.contains("ctxt_switches"));
        lines
            .filter_map(|line| line.split_whitespace().last()?.parse::<u64>().ok())
            .sum()
    };
    tasks.flatten().map(of_task).sum()
}

#[expect(
    clippy::disallowed_methods,
    reason = "what is measured is how little happens meanwhile"
)]
fn pause(duration: Duration) {
    thread::sleep(duration);
}
