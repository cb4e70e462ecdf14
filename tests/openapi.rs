//! The API as its document tells it: what is served, and random requests by schemathesis, which
//! knows nothing but the document.
//!
//! That the document is that of the code is the business of the unit tests of `http::openapi`.

use std::env;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::support::{Home, LIMIT, launch, leave_out, payload};

/// The program; `scripts/schemathesis` installs it and tells where it is.
const PROGRAM_VARIABLE: &str = "SESSIOND_SCHEMATHESIS";
/// How long it may go on, in seconds.
const SECONDS_VARIABLE: &str = "SESSIOND_API_SECONDS";
/// Enough for some thousand requests.
const SECONDS: u64 = 30;
/// An answer that takes longer is taken for none. A close waits for its programs, of which there are
/// none here.
const ANSWER_WITHIN_S: &str = "20";

/// What a worker must do, whatever it is asked: also refuse what the document does not permit.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
                      response_schema_conformance,response_headers_conformance,\
                      negative_data_rejection,unsupported_method";

/// Left out: the first would end the run; the second answers for as long as its client likes, and is
/// the business of `events`.
const LEFT_OUT: [&str; 2] = ["/v1/admin/shutdown", "/v1/events"];

#[test]
fn document_is_served() {
    let home = Home::new();
    let worker = home.start();
    let response = worker.api().call("GET", "/v1/openapi.json");
    assert_eq!(response.header("content-type"), Some("application/json"));
    let document: Value = response.json();
    assert!(
        document["openapi"]
            .as_str()
            .is_some_and(|version| version.starts_with("3.1"))
    );
    assert!(document["paths"]["/v1/hooks/{agent}"]["post"].is_object());
}

/// Random requests are made of text, and never come to this.
#[test]
fn path_that_is_no_text_is_refused_as_everything_is() {
    let home = Home::new();
    let worker = home.start();
    let asked = [
        ("POST", "/v1/hooks/%FF"),
        ("GET", "/v1/sessions/%FF"),
        ("DELETE", "/v1/sessions/%FF/worktrees/%FF"),
        ("DELETE", "/v1/worktrees/%FF"),
        ("GET", "/v1/messages/%FF"),
        ("GET", "/v1/clients/%FF"),
    ];
    for (method, path) in asked {
        println!("{method} {path}");
        let response = worker.api().call(method, path);
        response.error(400, "invalid_field");
    }
}

#[test]
fn random_requests_are_answered_as_the_document_says() {
    let Some(program) = env::var_os(PROGRAM_VARIABLE) else {
        leave_out("openapi: random requests: schemathesis is missing (scripts/schemathesis)");
        return;
    };
    let seconds = env::var(SECONDS_VARIABLE).map_or(SECONDS, |text| {
        text.parse().expect("SESSIOND_API_SECONDS is a number")
    });
    let seed = env::var("SESSIOND_SEED").unwrap_or_else(|_| fresh_seed().to_string());
    println!("SESSIOND_SEED={seed}");

    let home = Home::new();
    let worker = home.start();
    // So that something is found, too.
    home.hook("claude-code", payload::prompt("s", "hello"))
        .silence();
    worker.wait_idle();
    let discovery = home.discovery().expect("published");
    let token = std::fs::read_to_string(&discovery.token_path).expect("a token");
    let base = format!("http://127.0.0.1:{}", discovery.port.expect("a TCP side"));
    let bearer = format!("Authorization: Bearer {}", token.trim());
    let mut command = home.command(program.to_str().expect("its path is text"));
    command
        .args(["run", &format!("{base}/v1/openapi.json"), "--url", &base])
        .args(["--header", &bearer, "--checks", CHECKS, "--seed", &seed])
        .args(["--max-time", &seconds.to_string()])
        .args([
            "--request-timeout",
            ANSWER_WITHIN_S,
            "--continue-on-failure",
        ])
        // Slow data is the machine's fault; and a document that says that a number is one makes
        // most random data bad.
        .args([
            "--suppress-health-check",
            "all",
            "--warnings",
            "off",
            "--no-color",
        ]);
    let hooks = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/openapi");
    command
        .env("PYTHONPATH", hooks)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("SCHEMATHESIS_HOOKS", "hooks");
    for path in LEFT_OUT {
        command.args(["--exclude-path", path]);
    }
    let ran = launch::run(
        &mut command,
        b"",
        LIMIT * 4 + Duration::from_secs(seconds * 2),
    );
    let said = format!("{}{}", String::from_utf8_lossy(&ran.stdout), ran.stderr);
    assert_eq!(ran.code(), 0, "SESSIOND_SEED={seed}\n{said}");
    println!("{said}");
    assert!(worker.api().is_ready(), "the worker is as it was");
    // Events that cannot be accepted are set aside, which is worth a note and no more.
    let report = worker.api().doctor();
    assert_ne!(
        serde_json::json!(report.verdict),
        "failing",
        "{:?}",
        report.findings
    );
}

#[expect(
    clippy::disallowed_methods,
    reason = "a number that is another one each time; it is printed"
)]
fn fresh_seed() -> u32 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.expect("after 1970").subsec_nanos()
}
