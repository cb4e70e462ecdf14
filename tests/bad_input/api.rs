//! What the API answers to requests that it cannot serve.

use serde_json::{Value, json};

use crate::support::http::Request;
use crate::support::{Home, Response, payload};

/// One bad request and what it must be answered.
struct Case {
    method: &'static str,
    target: &'static str,
    body: Option<&'static str>,
    status: u16,
    code: &'static str,
    /// A word that the message must have: the field, the name or the limit.
    told: &'static str,
}

/// A case without a body.
const fn bare(
    method: &'static str,
    target: &'static str,
    status: u16,
    code: &'static str,
    told: &'static str,
) -> Case {
    Case {
        method,
        target,
        body: None,
        status,
        code,
        told,
    }
}

/// A case with a body that is sent as JSON.
const fn with_body(
    target: &'static str,
    body: &'static str,
    status: u16,
    code: &'static str,
    told: &'static str,
) -> Case {
    Case {
        method: "POST",
        target,
        body: Some(body),
        status,
        code,
        told,
    }
}

const ABSENT: &str = "/v1/sessions/claude-code:absent";
const MESSAGES: &str = "/v1/sessions/claude-code:s/messages";

const CASES: &[Case] = &[
    bare("GET", ABSENT, 404, "unknown_session", "claude-code:absent"),
    bare(
        "DELETE",
        ABSENT,
        404,
        "unknown_session",
        "claude-code:absent",
    ),
    bare(
        "GET",
        "/v1/sessions/claude-code:absent/messages",
        404,
        "unknown_session",
        "absent",
    ),
    bare(
        "GET",
        "/v1/sessions/claude-code:absent/results",
        404,
        "unknown_session",
        "absent",
    ),
    bare(
        "GET",
        "/v1/messages?session=claude-code:absent",
        404,
        "unknown_session",
        "absent",
    ),
    bare(
        "GET",
        "/v1/search?q=x&session=claude-code:absent",
        404,
        "unknown_session",
        "absent",
    ),
    bare(
        "POST",
        "/v1/dead/redrive?session=claude-code:absent",
        404,
        "unknown_session",
        "absent",
    ),
    bare(
        "GET",
        "/v1/sessions/0190a000-0000-7000-8000-000000000000",
        404,
        "unknown_session",
        "0190a000",
    ),
    bare(
        "GET",
        "/v1/sessions/neither",
        400,
        "invalid_field",
        "session",
    ),
    bare(
        "GET",
        "/v1/messages/999999",
        404,
        "unknown_message",
        "999999",
    ),
    bare(
        "DELETE",
        "/v1/messages/999999",
        404,
        "unknown_message",
        "999999",
    ),
    bare(
        "POST",
        "/v1/messages/999999/redrive",
        404,
        "unknown_message",
        "999999",
    ),
    bare(
        "DELETE",
        "/v1/dead/999999",
        404,
        "unknown_message",
        "999999",
    ),
    bare("DELETE", "/v1/dead/1", 409, "wrong_state", "purged"),
    bare(
        "DELETE",
        "/v1/dead?session=claude-code:absent",
        404,
        "unknown_session",
        "absent",
    ),
    bare(
        "DELETE",
        "/v1/sessions/claude-code:absent/messages",
        404,
        "unknown_session",
        "absent",
    ),
    bare("GET", "/v1/messages/x", 400, "invalid_field", "message"),
    bare("POST", "/v1/messages/1/redrive", 409, "wrong_state", "1"),
    bare("DELETE", "/v1/messages/1", 409, "wrong_state", "1"),
    bare("GET", "/v2/anything", 404, "unknown_path", "endpoint"),
    bare("GET", "/", 404, "unknown_path", "endpoint"),
    bare("PUT", "/v1/sessions", 405, "method_not_allowed", "method"),
    bare(
        "GET",
        "/v1/hooks/claude-code",
        405,
        "method_not_allowed",
        "method",
    ),
    bare(
        "GET",
        "/v1/admin/shutdown",
        405,
        "method_not_allowed",
        "method",
    ),
    bare(
        "GET",
        "/v1/messages?limit=many",
        400,
        "invalid_query",
        "limit",
    ),
    bare("GET", "/v1/messages?state=odd", 400, "invalid_query", "odd"),
    bare(
        "GET",
        "/v1/messages?stat=dead",
        400,
        "invalid_query",
        "stat",
    ),
    bare("GET", "/v1/sessions?life=odd", 400, "invalid_query", "odd"),
    bare("GET", "/v1/search", 400, "invalid_query", "q"),
    bare("GET", "/v1/search?q=", 400, "invalid_field", "q"),
    bare("GET", "/v1/context", 400, "invalid_query", "project"),
    bare(
        "DELETE",
        "/v1/sessions/claude-code:s?purge=perhaps",
        400,
        "invalid_query",
        "purge",
    ),
    bare(
        "GET",
        "/v1/admin/doctor?deep=very",
        400,
        "invalid_query",
        "deep",
    ),
    bare(
        "POST",
        "/v1/sessions",
        415,
        "unsupported_media_type",
        "application/json",
    ),
    with_body("/v1/sessions", "{", 400, "invalid_json", "body"),
    with_body("/v1/sessions", "", 400, "invalid_json", "body"),
    with_body(
        "/v1/sessions",
        r#"{"agent":"a"}"#,
        400,
        "invalid_json",
        "key",
    ),
    with_body(
        "/v1/sessions",
        r#"{"agent":"a","key":7}"#,
        400,
        "invalid_json",
        "string",
    ),
    with_body(
        "/v1/sessions",
        r#"{"agent":"a","key":"k","kye":1}"#,
        400,
        "invalid_json",
        "kye",
    ),
    with_body(
        "/v1/sessions",
        r#"{"agent":"","key":"k"}"#,
        400,
        "invalid_field",
        "agent",
    ),
    with_body(MESSAGES, "{", 400, "invalid_json", "body"),
    with_body(MESSAGES, r#"{"kind":"k"}"#, 400, "invalid_json", "payload"),
    with_body(
        MESSAGES,
        r#"{"kind":"","payload":{}}"#,
        400,
        "invalid_field",
        "kind",
    ),
    with_body(
        "/v1/sessions/claude-code:absent/messages",
        r#"{"kind":"k","payload":{}}"#,
        404,
        "unknown_session",
        "absent",
    ),
    with_body(
        "/v1/hooks/no-such-agent",
        "{}",
        404,
        "unknown_agent",
        "no-such-agent",
    ),
    with_body("/v1/hooks/claude-code", "", 400, "payload_empty", "empty"),
    with_body(
        "/v1/hooks/claude-code",
        "{",
        400,
        "payload_not_json",
        "JSON",
    ),
    with_body(
        "/v1/hooks/claude-code",
        "[]",
        400,
        "payload_not_an_object",
        "object",
    ),
    with_body(
        "/v1/hooks/claude-code",
        r#"{"hook_event_name":"Stop"}"#,
        400,
        "field_missing",
        "session_id",
    ),
    with_body(
        "/v1/hooks/claude-code",
        r#"{"session_id":"s"}"#,
        400,
        "field_missing",
        "hook_event_name",
    ),
];

#[test]
fn every_bad_request_is_answered_with_what_is_wrong() {
    let home = Home::new();
    let worker = home.start();
    worker.api().accept(payload::prompt("s", "hello"));
    worker.wait_idle();
    for case in CASES {
        let Case {
            method,
            target,
            body,
            status,
            code,
            told,
        } = case;
        let headers = match body {
            Some(_) => vec![("content-type", "application/json".to_owned())],
            None => vec![],
        };
        let body = body.map(|body| body.as_bytes().to_vec());
        let response = worker.api().send(&Request {
            method,
            target,
            headers,
            body,
        });
        assert_eq!(
            response.status,
            *status,
            "{method} {target}: {}",
            response.text()
        );
        let error = response.error(*status, code);
        let message = error["message"].as_str().expect("a text");
        assert!(
            message.contains(told),
            "{method} {target}: {told:?} is not in {message:?}"
        );
        if *code == "invalid_field" {
            assert_eq!(error["details"]["field"], *told, "{method} {target}");
        }
    }
    // Nothing of it did anything.
    let database = home.database();
    assert_eq!(
        (database.messages().len(), database.sessions().len()),
        (1, 1)
    );
    worker.stop();
}

#[test]
fn patch_refuses_what_is_no_metadata() {
    let home = Home::new();
    let worker = home.start();
    worker.api().accept(payload::prompt("s", "hello"));
    let patch = |body: Value| -> Response {
        worker
            .api()
            .call_with("PATCH", "/v1/sessions/claude-code:s", &body)
    };
    patch(json!({ "metadata": 7 })).error(400, "invalid_json");
    patch(json!({ "meta": {} })).error(400, "invalid_json");
    let error =
        patch(json!({ "metadata": { "a": "x".repeat(70_000) } })).error(400, "invalid_field");
    assert_eq!(error["details"]["field"], "metadata");
    assert!(
        error["message"].as_str().expect("a text").contains("65536"),
        "{error}"
    );
    assert!(
        worker
            .api()
            .session("claude-code:s")
            .session
            .metadata
            .is_empty()
    );
    patch(json!({ "metadata": { "a": 1 } })).json::<Value>();
    assert_eq!(
        worker.api().session("claude-code:s").session.metadata["a"],
        1
    );
}

#[test]
fn limits_are_told_with_their_values() {
    let home = Home::new()
        .with("queue.payload_max_bytes", 2_000)
        .with("http.body_max_bytes", 4_000)
        .with("hook.body_max_bytes", 6_000);
    let worker = home.start();
    let api = worker.api();
    api.accept(payload::prompt("s", "hello"));

    let error = api
        .post_hook("claude-code", payload::prompt("s", &"x".repeat(3_000)))
        .error(413, "payload_too_large");
    assert_eq!(error["details"]["limit"], 2_000);
    assert_eq!(error["details"]["field"], "payload");
    let error = api
        .post_hook("claude-code", payload::prompt("s", &"x".repeat(7_000)))
        .error(413, "payload_too_large");
    assert!(
        error["message"]
            .as_str()
            .expect("a text")
            .contains("hook.body_max_bytes"),
        "{error}"
    );
    let body = json!({ "kind": "k", "payload": "x".repeat(5_000) });
    let error = api.call_with("POST", "/v1/sessions/claude-code:s/messages", &body);
    let error = error.error(413, "payload_too_large");
    assert!(
        error["message"]
            .as_str()
            .expect("a text")
            .contains("http.body_max_bytes"),
        "{error}"
    );
    let body = json!({ "agent": "a", "key": "k".repeat(600) });
    let error = api
        .call_with("POST", "/v1/sessions", &body)
        .error(400, "invalid_field");
    assert_eq!(error["details"]["field"], "key");
    assert!(
        error["message"].as_str().expect("a text").contains("512"),
        "{error}"
    );
    assert_eq!(home.database().stats().accepted, 1);
}

#[test]
fn wrong_fields_of_a_payload_are_named() {
    let home = Home::new();
    let worker = home.start();
    for (event, code, field) in [
        (r#"{"session_id":"s"}"#, "field_missing", "hook_event_name"),
        (
            r#"{"session_id":7,"hook_event_name":"Stop"}"#,
            "field_invalid",
            "session_id",
        ),
    ] {
        let refused = worker.api().post_hook("claude-code", event);
        assert_eq!(refused.error(400, code)["details"]["field"], field);
    }
}

#[test]
fn malformed_firing_headers_are_named() {
    let home = Home::new();
    let worker = home.start();
    for (header, value) in [
        ("sessiond-event-id", "not-a-uuid"),
        ("sessiond-fired-at", "noon"),
    ] {
        let firing = [(header, value)];
        let response =
            worker
                .api()
                .post_firing("claude-code", payload::prompt("s", "hello"), &firing);
        let error = response.error(400, "invalid_field");
        assert_eq!(error["details"]["field"], header);
    }
    assert!(worker.api().find_session("claude-code:s").is_none());
}
