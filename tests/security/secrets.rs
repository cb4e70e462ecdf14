//! What is confidential is in the store, and in no log, report or file that is about something else.

use std::fs;

use serde_json::{Value, json};

use crate::support::http::{Request, over_tcp};
use crate::support::{Home, payload};

use super::wire::{port, token};

/// What must not be written down: each is given where such things come from.
const SECRETS: [&str; 5] = [
    "secret-of-the-prompt",
    "secret-of-the-environment",
    "secret-of-the-bad-event",
    "secret-of-the-query",
    "secret-of-the-wrong-token",
];

#[test]
fn prompts_tokens_and_environment_are_in_no_log_and_no_report() {
    let [prompt, environment, bad_event, query, wrong_token] = SECRETS;
    let mut home = Home::new().with("log.filter", "trace");
    // A program that fails, so that much is said of it.
    home.write_config(&format!(
        "[generator]\ncommand = \"sh -c 'read open; exit 3'\"\nenv = {{ KEY = \"{environment}\" }}\n\
         restart_max = 1\n"
    ));
    home.set_variable("ANTHROPIC_API_KEY", environment);
    let worker = home.start();
    home.hook(
        "claude-code",
        payload::session_start("s", "/home/user/project"),
    );
    home.hook("claude-code", payload::prompt("s", prompt))
        .silence();
    let api = worker.api();
    api.post_hook("claude-code", format!("{{\"session_id\": {bad_event}"))
        .error(400, "payload_not_json");
    api.post_hook(
        "claude-code",
        json!({ "session_id": "s", "prompt": bad_event }).to_string(),
    );
    let message = json!({ "kind": "note", "payload": { "text": prompt } });
    api.call_with("POST", "/v1/sessions/claude-code:s/messages", &message)
        .json::<Value>();
    api.call_with(
        "POST",
        "/v1/sessions",
        &json!({ "agent": "a", "secret": prompt }),
    )
    .error(400, "invalid_json");
    let found = api.call("GET", &format!("/v1/search?q={query}"));
    found.json::<Value>();
    api.call("GET", &format!("/v1/search?{query}={query}"))
        .error(400, "invalid_query");
    let own = token(&home);
    for bearer in [own.as_str(), wrong_token] {
        let headers = vec![
            ("host", format!("127.0.0.1:{}", port(&home))),
            ("authorization", format!("Bearer {bearer}")),
        ];
        let request = Request {
            method: "GET",
            target: "/v1/status",
            headers,
            body: None,
        };
        over_tcp(port(&home), &request).expect("an answer");
    }
    let doctor = home.cli(&["doctor", "--json"]);
    let status = home.cli(&["status", "--json"]);
    let metrics = api.call("GET", "/metrics").text();
    let deep = api.call("GET", "/v1/admin/doctor?deep=true").text();
    worker.stop();

    let discovery = fs::read_to_string(home.layout().lock_file()).expect("a lock");
    let log = home.log();
    assert!(
        log.contains("TRACE") || log.contains("DEBUG"),
        "the log says much"
    );
    let said = [
        ("log", log.as_str()),
        ("doctor", &String::from_utf8_lossy(&doctor.stdout)),
        ("doctor's complaints", &doctor.stderr),
        ("deep doctor", &deep),
        ("status", &String::from_utf8_lossy(&status.stdout)),
        ("metrics", &metrics),
        ("lock", &discovery),
    ];
    for (where_to, text) in said {
        for secret in SECRETS.iter().copied().chain([own.as_str()]) {
            let line = text.lines().find(|line| line.contains(secret));
            assert_eq!(line, None, "{secret} in {where_to}");
        }
    }
}
