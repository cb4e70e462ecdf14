//! How much a client may send, and how many connections there may be.

use std::time::Duration;

use crate::support::{Home, payload};

use super::wire::{Wire, head};

/// Long enough that an answer would have come.
const NO_ANSWER: Duration = Duration::from_millis(300);

#[test]
fn oversized_heads_and_bodies_are_refused_as_such() {
    let home = Home::new().with("http.body_max_bytes", 4096);
    let _worker = home.start();
    let head = |request_line: &str, header: &str| {
        head(
            &home,
            request_line,
            &format!("connection: close\r\n{header}\r\n"),
        )
    };
    let post = |header: &str| head("POST /v1/sessions", header);
    let long = "x".repeat(40_000);
    let many = ["x-many: 1"; 120].join("\r\n");
    let chunk = format!("1000\r\n{}\r\n", "x".repeat(4096));
    let cases = [
        (head("GET /v1/status", &format!("x-long: {long}")), "431"),
        (head(&format!("GET /v1/search?q={long}"), "x: 1"), "431"),
        (head("GET /v1/status", &many), "431"),
        (post("content-length: 5000") + &long[..5000], "413"),
        (post("transfer-encoding: chunked") + &chunk + &chunk, "413"),
        (post("content-length: 99999999999999999999"), "400"),
    ];
    for (request, status) in cases {
        for connect in [Wire::tcp, Wire::unix] {
            let mut wire = connect(&home);
            // The answer may come, and the connection end, before everything is taken.
            wire.send(&request).ok();
            let answer = wire.read_to_end();
            let expected = format!("HTTP/1.1 {status} ");
            assert!(answer.starts_with(&expected), "{expected}: {answer:.200}");
        }
    }
}

#[test]
fn connections_beyond_the_limit_wait_and_those_of_the_socket_do_not() {
    let home = Home::new()
        .with("http.tcp_connections_max", 4)
        .with("http.head_timeout_ms", 60_000);
    let worker = home.start();
    let mut taken: Vec<Wire> = (0..4).map(|_| Wire::tcp(&home)).collect();
    for wire in &mut taken {
        wire.send("GET /v1/status HTTP/1.1\r\n").expect("sent");
    }
    let mut next = Wire::tcp(&home);
    let request = head(&home, "GET /v1/status", "connection: close\r\n");
    next.send(request).expect("the kernel takes it");
    assert!(next.is_silent(NO_ANSWER), "a fifth connection was served");
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
    assert!(
        home.log().contains("http.tcp_connections_max"),
        "the log says what is full"
    );
    taken.pop();
    let answer = next.read_to_end();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}
