//! What a program is told and what is kept from it, and the guard against its own hooks.

use serde_json::json;

use super::{Programs, results};
use crate::support::{HOOK, payload};

const NAME: &str = "claude-code:s";

/// What an agent's hooks have in their environment.
const SECRETS: [(&str, &str); 5] = [
    ("ANTHROPIC_API_KEY", "sk-ant-secret-1"),
    ("CLAUDE_CODE_SESSION_ID", "secret-2"),
    ("CLAUDECODE", "secret-3"),
    ("GEMINI_API_KEY", "secret-4"),
    ("SOME_MESSAGING_TOKEN", "secret-5"),
];

#[test]
fn program_gets_what_is_configured_and_nothing_of_the_agents() {
    let mut programs = Programs::new("environment");
    for (name, value) in SECRETS {
        programs.home.set_variable(name, value);
    }
    programs
        .home
        .write_config("[generator.env]\nNOTES_KEY = \"configured-key\"\n");
    let worker = programs.home.start();
    programs
        .home
        .hook("claude-code", payload::prompt("s", "hello"));
    worker.wait_idle();
    let told = results(worker.api(), NAME).remove(0).body;
    let names: Vec<_> = told
        .lines()
        .filter_map(|line| Some(line.split_once('=')?.0))
        .collect();
    assert!(told.contains("NOTES_KEY=configured-key"), "{told}");
    assert!(told.contains("PATH=/usr/local/bin:/usr/bin:/bin"), "{told}");
    let allowed = [
        "HOME",
        "USER",
        "LOGNAME",
        "SHELL",
        "LANG",
        "TZ",
        "TMPDIR",
        "PATH",
        "NOTES_KEY",
        "SESSIOND_HOME",
        "SESSIOND_TAG",
    ];
    let others: Vec<_> = names
        .iter()
        .filter(|name| !allowed.contains(name) && !name.starts_with("LC_"))
        .collect();
    assert!(others.is_empty(), "{others:?}");

    let doctor = programs.home.cli(&["doctor", "--json"]);
    let doctor = format!("{doctor:?}");
    let log = programs.home.log();
    for (_, secret) in SECRETS.into_iter().chain([("", "configured-key")]) {
        assert!(!doctor.contains(secret), "the doctor tells {secret}");
        assert!(!log.contains(secret), "the log tells {secret}");
    }
}

#[test]
fn hook_that_a_program_runs_stores_nothing_and_starts_nothing() {
    let programs = Programs::new(&format!("hook {HOOK}"));
    let worker = programs.home.start();
    let api = worker.api();
    api.accept(payload::prompt("s", "hello"));
    api.accept(payload::event("s", "Note", json!({})));
    worker.wait_idle();
    let told: Vec<_> = results(api, NAME)
        .into_iter()
        .map(|result| result.body)
        .collect();
    assert_eq!(
        told,
        ["exit status: 0 \"\"", "exit status: 0 \"\""],
        "it runs, and says nothing"
    );
    assert_eq!(api.messages(NAME).len(), 2, "nothing is stored");
    assert_eq!(api.doctor().spool.dropped, 2, "and the doctor knows");
    assert_eq!(programs.home.spool_files(), 0);
}
