//! Requests for more than is given at once, and with more than counts.

use serde_json::json;

use crate::support::{Home, payload};

#[test]
fn limit_of_a_list_is_between_one_and_what_is_given_at_once() {
    let home = Home::new();
    let worker = home.start();
    let api = worker.api();
    api.accept(payload::prompt("s", "hello"));
    for (list, most) in [
        ("/v1/messages?", 1000),
        ("/v1/sessions?", 1000),
        ("/v1/sessions/claude-code:s/messages?", 1000),
        ("/v1/sessions/claude-code:s/results?", 1000),
        ("/v1/clients?", 1000),
        ("/v1/search?q=x&", 200),
    ] {
        for limit in [0, most + 1, 999_999] {
            let refused = api.call("GET", &format!("{list}limit={limit}"));
            let error = refused.error(400, "invalid_field");
            assert_eq!(error["details"]["field"], "limit", "{list}");
        }
        let target = format!("{list}limit={most}");
        assert_eq!(api.call("GET", &target).status, 200, "{target}");
    }
}

#[test]
fn body_that_would_not_count_is_refused_and_nothing_is_done() {
    let home = Home::new();
    let worker = home.start();
    let api = worker.api();
    api.accept(payload::prompt("s", "hello"));
    let body = json!({ "session": "claude-code:other" });
    for (method, target) in [
        ("POST", "/v1/dead/redrive"),
        ("DELETE", "/v1/dead"),
        ("DELETE", "/v1/clients"),
        ("DELETE", "/v1/sessions/claude-code:s/messages"),
        ("DELETE", "/v1/sessions/claude-code:s"),
        ("POST", "/v1/sessions/claude-code:s/restart"),
        ("POST", "/v1/failing/restart"),
        ("POST", "/v1/worktrees/prune"),
    ] {
        let refused = api.call_with(method, target, &body);
        let error = refused.error(400, "invalid_json");
        let words = error["message"].as_str().expect("words");
        assert!(words.contains("session"), "{target}: {words}");
    }
    assert!(api.find_session("claude-code:s").is_some());
}
