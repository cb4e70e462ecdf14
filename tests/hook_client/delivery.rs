//! What the hook makes of the worker's answers, and of its silence.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::process::Command;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};

use super::fake_worker::{FakeWorker, Reply};
use super::run::{HOOK, Home, Input, payload, run, run_on, start, wait_for};
use crate::support::launch;

const FOR_AGENT: &str = "sessiond-output: agent\r\n";
const SET_ASIDE: &str = "sessiond-set-aside: 1\r\n";

/// Far beyond the hook's deadline, and far below never.
const SOON: Duration = Duration::from_secs(5);

/// Runs one event against a worker that answers `reply`; the event must be spooled, under the id
/// that the worker was sent, if and only if `is_spooled`.
fn check(reply: Reply, is_spooled: bool, output: &str) {
    let home = Home::new();
    let worker = FakeWorker::start(&home.layout, reply);
    let sent = payload("s", "SessionStart");
    assert_eq!(run_on(&home, &sent).output(), output);
    let request = worker.request();
    assert_eq!(request.body, sent);
    let spooled: Vec<_> = home
        .take_spooled()
        .into_iter()
        .map(|frame| (frame.event_id.to_string(), frame.payload))
        .collect();
    let id = request.header("sessiond-event-id").to_owned();
    let wanted = if is_spooled { vec![(id, sent)] } else { vec![] };
    assert_eq!(spooled, wanted);
}

#[test]
fn request_says_whose_event_it_is_and_when_it_fired() {
    let home = Home::new();
    let worker = FakeWorker::start(&home.layout, Reply::new(202, "", "{}"));
    let sent = payload("s", "Stop");
    let mut hook = home.hook();
    run(hook.args(["--agent", "a b/c"]), Input::Whole(&sent)).silence();
    let request = worker.request();
    assert!(
        request
            .head
            .starts_with("POST /v1/hooks/a%20b%2Fc HTTP/1.1\r\n")
    );
    assert_eq!(request.header("host"), "sessiond");
    assert_eq!(request.header("content-type"), "application/json");
    assert_eq!(request.header("connection"), "close");
    let id: uuid::Uuid = request.header("sessiond-event-id").parse().expect("a UUID");
    let fired_at: u64 = request.header("sessiond-fired-at").parse().expect("a time");
    let (seconds, nanos) = id.get_timestamp().expect("a time").to_unix();
    assert_eq!(fired_at, seconds * 1000 + u64::from(nanos) / 1_000_000);
    assert_eq!(request.body, sent);
}

#[test]
fn accepted_event_is_not_spooled() {
    check(Reply::new(202, "", "{}"), false, "");
    check(Reply::new(200, "", "not for the agent"), false, "");
}

#[test]
fn answer_for_the_agent_goes_out_verbatim() {
    let body = "{\"hookSpecificOutput\":{\"additionalContext\":\"é\\n\"}}";
    check(Reply::new(200, FOR_AGENT, body), false, body);
    let long = "x".repeat(300_000);
    check(Reply::new(200, FOR_AGENT, &long), false, &long);
}

#[test]
fn half_an_answer_for_the_agent_is_none() {
    let head = format!("HTTP/1.1 200 OK\r\n{FOR_AGENT}content-length: 100\r\n\r\n{{");
    check(Reply::Bytes(head.into_bytes()), false, "");
}

#[test]
fn refused_event_is_the_workers_to_set_aside() {
    for status in [400, 404, 413, 415, 422] {
        let headers = format!("{SET_ASIDE}{FOR_AGENT}");
        check(Reply::new(status, &headers, "no"), false, "");
    }
}

#[test]
fn event_that_was_not_taken_is_spooled_under_its_id() {
    for status in [301, 400, 404, 408, 413, 429, 500, 503] {
        check(Reply::new(status, FOR_AGENT, "no"), true, "");
    }
    check(Reply::new(400, "sessiond-set-aside: 0\r\n", "no"), true, "");
    let half = format!("HTTP/1.1 400 Bad\r\n{SET_ASIDE}");
    check(Reply::Bytes(half.into_bytes()), true, "");
    for broken in [
        "",
        "HTTP/1.1 20",
        "HTTP/2 202 Yes\r\n\r\n",
        "rubbish\r\n\r\n",
    ] {
        check(Reply::Bytes(broken.into()), true, "");
    }
}

#[test]
fn early_refusal_of_a_large_event_is_understood() {
    let home = Home::new();
    let reply = format!("HTTP/1.1 413 Too Large\r\n{SET_ASIDE}content-length: 0\r\n\r\n");
    let _worker = FakeWorker::start(&home.layout, Reply::Early(reply.into_bytes()));
    let mut hook = home.hook();
    // Ten megabytes take their time on a loaded machine.
    let hook = hook.env("SESSIOND_HOOK_DEADLINE_MS", "10000");
    run(hook, Input::Whole(&vec![b' '; 10 << 20])).silence();
    assert!(home.spool_files().is_empty());
}

#[test]
fn worker_that_never_answers_costs_the_deadline_only() {
    let home = Home::new();
    let worker = FakeWorker::start(&home.layout, Reply::Never);
    for (event, deadline_ms) in [("Stop", 250), ("SessionStart", 1000)] {
        let sent = payload(event, event);
        let took = run_on(&home, &sent).silence();
        assert!(
            took >= Duration::from_millis(deadline_ms),
            "{event}: {took:?}"
        );
        assert!(
            took < Duration::from_millis(deadline_ms) + SOON,
            "{event}: {took:?}"
        );
        assert_eq!(worker.request().body, sent);
        assert_eq!(home.spooled_payloads(), [sent]);
    }
}

#[test]
fn deadline_can_be_set() {
    let home = Home::new();
    let _worker = FakeWorker::start(&home.layout, Reply::Never);
    let mut hook = home.hook();
    let sent = payload("s", "SessionStart");
    let ran = run(
        hook.env("SESSIOND_HOOK_DEADLINE_MS", "40"),
        Input::Whole(&sent),
    );
    assert!(ran.silence() < Duration::from_millis(900));
    assert_eq!(home.spooled_payloads(), [sent]);
}

#[test]
fn full_backlog_of_a_stopped_worker_does_not_hold_the_hook() {
    let home = Home::new();
    home.create_root();
    let address = SocketAddrUnix::new(home.layout.socket()).expect("an address");
    let socket = || rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None);
    let listener = socket().expect("a socket");
    rustix::net::bind(&listener, &address).expect("bind");
    rustix::net::listen(&listener, 0).expect("listen");
    let mut waiting: Vec<OwnedFd> = Vec::new();
    loop {
        let client = socket().expect("a socket");
        rustix::io::ioctl_fionbio(&client, true).expect("non-blocking");
        match rustix::net::connect(&client, &address) {
            Ok(()) => waiting.push(client),
            Err(error) => break assert_eq!(error, Errno::AGAIN),
        }
    }
    let sent = payload("s", "Stop");
    let took = run_on(&home, &sent).silence();
    assert!(took < SOON, "{took:?}");
    assert_eq!(home.spooled_payloads(), [sent]);
    assert!(!waiting.is_empty());
}

#[test]
fn socket_with_a_long_path_is_reached() {
    let home = Home::with_long_path();
    let worker = FakeWorker::start(&home.layout, Reply::new(202, "", ""));
    let sent = payload("s", "Stop");
    run_on(&home, &sent).silence();
    assert_eq!(worker.request().body, sent);
    assert!(home.spool_files().is_empty());
}

#[test]
fn unusable_input_reaches_the_worker_unchanged() {
    let home = Home::new();
    let worker = FakeWorker::start(&home.layout, Reply::new(400, SET_ASIDE, ""));
    let large = vec![b'['; 10 << 20];
    for input in [&b""[..], b"\n", b"{", b"null", b"\xff\xfe\0", &large] {
        let mut hook = home.hook();
        // Ten megabytes take their time on a loaded machine.
        let hook = hook.env("SESSIOND_HOOK_DEADLINE_MS", "10000");
        run(hook, Input::Whole(input)).silence();
        assert!(worker.request().body == input, "{} bytes", input.len());
    }
    assert!(home.spool_files().is_empty());
}

#[test]
fn input_that_stays_open_is_taken_once_its_object_is_whole() {
    let home = Home::new();
    let worker = FakeWorker::start(&home.layout, Reply::new(202, "", ""));
    let sent = payload("s", "Stop");
    let mut hook = home.hook();
    let hook = hook.env("SESSIOND_HOOK_DEADLINE_MS", "30000");
    assert!(run(hook, Input::Open(&sent)).silence() < SOON);
    assert_eq!(worker.request().body, sent);
}

#[test]
fn input_that_never_ends_costs_the_deadline_and_is_kept() {
    let home = Home::new();
    let _worker = FakeWorker::start(&home.layout, Reply::Never);
    let half = br#"{"session_id":"s","prompt":"#;
    for input in [&half[..], b""] {
        let took = run(&mut home.hook(), Input::Open(input)).silence();
        assert!(
            took >= Duration::from_millis(250) && took < SOON,
            "{took:?}"
        );
        assert_eq!(home.spooled_payloads(), [input]);
    }
}

#[test]
fn closed_standard_streams_are_no_failure() {
    let home = Home::new();
    let worker = FakeWorker::start(&home.layout, Reply::new(200, FOR_AGENT, "{}"));
    for closing in ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"] {
        let script = format!("exec '{HOOK}' {closing}");
        let mut shell = home.starting_hook("/bin/sh".as_ref(), false);
        let ran = run(shell.args(["-c", &script]), Input::Whole(b"{}"));
        assert!(ran.status.success(), "{closing}: {}", ran.status);
        worker.request();
    }
    for flag in ["--help", "--version"] {
        let script = format!("exec '{HOOK}' {flag} >&-");
        let mut shell = home.starting_hook("/bin/sh".as_ref(), false);
        run(shell.args(["-c", &script]), Input::Whole(b"")).silence();
    }
}

#[test]
fn reader_that_went_away_is_no_failure() {
    let home = Home::new();
    let long = "x".repeat(300_000);
    let worker = FakeWorker::start(&home.layout, Reply::new(200, FOR_AGENT, &long));
    let mut child = start(&mut home.hook());
    drop(child.stdout.take());
    let mut stdin = child.stdin.take().expect("stdin");
    stdin.write_all(b"{}").expect("write");
    drop(stdin);
    let ended = wait_for("the end", || child.try_wait().expect("wait"));
    assert!(ended.success(), "{ended}");
    worker.request();
}

#[test]
fn help_and_version_are_printed_and_nothing_is_sent() {
    let home = Home::new();
    let print = |flag| run(home.hook().arg(flag), Input::Whole(b"{}")).output();
    assert!(print("--help").contains("--agent NAME"));
    assert_eq!(
        print("--version"),
        concat!("sessiond-hook ", env!("CARGO_PKG_VERSION"), "\n")
    );
    assert!(home.spool_files().is_empty());
}

#[test]
fn unknown_arguments_are_no_failure() {
    let home = Home::new();
    let worker = FakeWorker::start(&home.layout, Reply::new(202, "", ""));
    run(
        home.hook().args(["--new", "x", "--agent"]),
        Input::Whole(b"{}"),
    )
    .silence();
    assert!(
        worker
            .request()
            .head
            .starts_with("POST /v1/hooks/claude-code ")
    );
}

#[test]
fn hook_without_a_home_says_so_and_takes_no_other() {
    let home = Home::new();
    let default_home = tempfile::tempdir().expect("a directory");
    let leaves = |hook: &mut Command| {
        let ran = launch::run(hook, b"{}", SOON);
        assert_eq!(ran.text(), "");
        assert!(ran.stderr.contains("absolute path"), "{ran:?}");
        let made = std::fs::read_dir(default_home.path()).expect("a directory");
        assert_eq!(made.count(), 0);
    };
    let mut hook = home.hook();
    leaves(hook.env_remove("SESSIOND_HOME"));
    hook.current_dir(default_home.path());
    leaves(
        hook.env("HOME", default_home.path())
            .env("SESSIOND_HOME", "relative"),
    );
}

#[test]
fn event_from_our_own_tree_is_counted_and_dropped() {
    let home = Home::new();
    let worker = FakeWorker::start(&home.layout, Reply::new(202, "", ""));
    std::fs::write(home.layout.install_file(), "install-1\n").expect("write");
    let mut hook = home.hook();
    for count in 1..=2 {
        hook.env("SESSIOND_TAG", "install-1:4:session:spawn");
        run(&mut hook, Input::Whole(b"{}")).silence();
        let dropped = std::fs::read(home.layout.dropped_file()).expect("read");
        assert_eq!(dropped.len(), count);
    }
    assert!(worker.has_no_request() && home.spool_files().is_empty());
}

#[test]
fn tag_of_another_install_means_nothing() {
    let home = Home::new();
    let worker = FakeWorker::start(&home.layout, Reply::new(202, "", ""));
    std::fs::write(home.layout.install_file(), "install-1").expect("write");
    for tag in ["install-2:4:s:p", "install-1x:4:s:p", "", ":::"] {
        let mut hook = home.hook();
        run(hook.env("SESSIOND_TAG", tag), Input::Whole(b"{}")).silence();
        worker.request();
    }
    assert!(!home.layout.dropped_file().exists());
}
