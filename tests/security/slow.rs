//! Clients that send slowly, or not at all, or read nothing: they are cut off, and keep nobody
//! waiting.

use serde_json::json;

use crate::support::wait::ok_if;
use crate::support::{Home, LIMIT, payload, wait_until};

use super::wire::{Wire, head};

#[test]
fn hooks_are_served_beside_hundreds_of_half_sent_requests() {
    let mut home = Home::new();
    for name in [
        "http.head_timeout_ms",
        "http.body_pause_max_ms",
        "http.body_timeout_ms",
    ] {
        // Longer than any hook waits.
        home.set(name, 120_000);
    }
    let worker = home.start();
    let half_body = head(
        &home,
        "POST /v1/hooks/claude-code",
        "content-length: 1000\r\n",
    ) + "{";
    let (half_head, _) = half_body.split_at(30);
    let mut slow = Vec::new();
    for _ in 0..100 {
        for half in [half_head, &half_body] {
            for mut wire in [Wire::tcp(&home), Wire::unix(&home)] {
                wire.send(half).expect("sent");
                slow.push(wire);
            }
        }
    }
    for n in 0..20 {
        home.hook("claude-code", payload::prompt("s", &format!("prompt {n}")))
            .silence();
    }
    assert_eq!(home.spool_files(), 0, "each hook got its answer in time");
    assert_eq!(worker.api().messages("claude-code:s").len(), 20);
    assert_eq!(slow.len(), 400);
}

#[test]
fn slow_requests_are_ended_and_idle_connections_closed() {
    let home = Home::new()
        .with("http.head_timeout_ms", 200)
        .with("http.body_pause_max_ms", 300)
        .with("http.body_timeout_ms", 600);
    let worker = home.start();
    let post = |length: usize| {
        let headers = format!("content-length: {length}\r\n");
        head(&home, "POST /v1/hooks/claude-code", &headers)
    };
    for connect in [Wire::tcp, Wire::unix] {
        let mut silent = connect(&home);
        assert_eq!(silent.read_to_end(), "", "nothing was asked");
        let mut half_head = connect(&home);
        half_head.send(&post(10)[..40]).expect("sent");
        assert_eq!(half_head.read_to_end(), "", "no request is no answer");

        let mut idle = connect(&home);
        idle.send(head(&home, "GET /livez", "")).expect("sent");
        let answer = idle.read_to_end();
        assert!(answer.ends_with("ok\n"), "{answer}");

        let mut half_body = connect(&home);
        half_body.send(post(10) + "{").expect("sent");
        assert_timed_out(&half_body.read_to_end(), "http.body_pause_max_ms");
    }
    home.hook("claude-code", payload::prompt("s", "hello"))
        .silence();
    assert_eq!(
        worker
            .api()
            .session("claude-code:s")
            .session
            .prompt
            .as_deref(),
        Some("hello")
    );
}

#[track_caller]
fn assert_timed_out(answer: &str, name: &str) {
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(
        answer.contains("body_timeout") && answer.contains(name),
        "{answer}"
    );
}

#[test]
fn body_that_drips_is_ended_when_its_time_is_over() {
    let home = Home::new()
        .with("http.body_pause_max_ms", 30_000)
        .with("http.body_timeout_ms", 300);
    let _worker = home.start();
    let mut wire = Wire::unix(&home);
    let request = head(
        &home,
        "POST /v1/hooks/claude-code",
        "content-length: 10\r\n",
    );
    wire.send(request + "{").expect("sent");
    assert_timed_out(&wire.read_to_end(), "http.body_timeout_ms");
}

#[test]
fn client_that_reads_nothing_is_cut_off() {
    let home = Home::new().with("http.answer_pause_max_ms", 200);
    let worker = home.start();
    let large = json!({ "kind": "k", "payload": "x".repeat(1_000_000) });
    let api = worker.api();
    let session = json!({ "agent": "claude-code", "key": "s" });
    api.call_with("POST", "/v1/sessions", &session)
        .json::<serde_json::Value>();
    let accepted = api.call_with("POST", "/v1/sessions/claude-code:s/messages", &large);
    accepted.json::<serde_json::Value>();
    worker.wait_idle();
    let mut wire = Wire::unix(&home);
    let request = "GET /v1/sessions/claude-code:s/messages HTTP/1.1\r\nhost: x\r\n\r\n";
    wire.send(request).expect("sent");
    // Nothing is read meanwhile; whoever writes to an end that is closed is told so.
    wait_until("the connection is cut", LIMIT, || {
        ok_if(wire.send(" ").is_err(), "open")
    });
    let got = wire.read_to_end();
    assert!(
        !got.is_empty() && got.len() < 1_000_000,
        "{} bytes",
        got.len()
    );
}
