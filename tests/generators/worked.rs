//! The examples under `scripts/generators` in a real worker: recorded sessions in, results out.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use serde_json::json;
use sessiond_queue::types::StoredResult;

use super::driver::{example, fixture, python};
use crate::support::payload::{self, Recorded};
use crate::support::{Home, Worker};

#[test]
fn echo_makes_a_result_of_each_message() {
    let Some(python) = python() else { return };
    let home = home(&[Path::new(&python), &example("echo.py")], &BTreeMap::new());
    for (events, results) in work(&home) {
        let kinds: Vec<_> = events.iter().map(|event| event.kind.as_str()).collect();
        let titles: Vec<_> = results.iter().map(|stored| &stored.result.title).collect();
        assert_eq!(titles, kinds);
        assert!(
            results.iter().all(|stored| stored.result.kind == "echo"),
            "{results:?}"
        );
    }
}

#[test]
fn tally_counts_the_messages_of_each_kind() {
    let home = home(&[Path::new("sh"), &example("tally.sh")], &BTreeMap::new());
    for (events, results) in work(&home) {
        let mut counts = BTreeMap::new();
        for (event, stored) in events.iter().zip(&results) {
            let count = counts.entry(&event.kind).or_insert(0);
            *count += 1;
            assert_eq!(stored.result.title, format!("{}: {count}", event.kind));
        }
        assert_eq!(results.len(), events.len());
        let last: BTreeMap<_, _> = results
            .last()
            .expect("results")
            .result
            .body
            .split(' ')
            .map(|word| word.split_once('=').expect("kind=count"))
            .collect();
        let counts: BTreeMap<_, _> = counts
            .iter()
            .map(|(kind, n)| (kind.as_str(), n.to_string()))
            .collect();
        assert!(
            counts.iter().all(|(kind, count)| last[kind] == count),
            "{last:?} of {counts:?}"
        );
    }
}

#[test]
fn claude_takes_notes_and_goes_on_after_the_provider_was_away() {
    let Some(python) = python() else { return };
    let logs = tempfile::tempdir().expect("a directory");
    let log = logs.path().join("fake-claude.log");
    let beside = Path::new(&python).parent().expect("a directory").display();
    let env = BTreeMap::from([
        ("FAKE_CLAUDE", "ok overloaded ok crash ok".to_owned()),
        ("FAKE_CLAUDE_LOG", log.display().to_string()),
        ("PATH", format!("{beside}:/usr/local/bin:/usr/bin:/bin")),
    ]);
    let claude = [
        Path::new(&python),
        &example("claude"),
        Path::new("--claude"),
        &fixture("fake-claude"),
    ];
    let home = home(&claude, &env)
        .with("generator.breaker_base_ms", 10)
        .with("queue.backoff_base_ms", 10);
    for (events, results) in work(&home) {
        assert_eq!(
            results.len(),
            events.len(),
            "a note of each message, none twice"
        );
    }
    let log = fs::read_to_string(log).expect("the stand-in was started");
    assert!(
        log.contains("--resume"),
        "a later process goes on with the conversation: {log}"
    );
}

/// An install whose generator is this command.
fn home(words: &[&Path], env: &BTreeMap<&str, String>) -> Home {
    let home = Home::new();
    let root = home.layout().root();
    DirBuilder::new().mode(0o700).create(root).expect("a home");
    let words: Vec<_> = words
        .iter()
        .map(|word| format!("'{}'", word.display()))
        .collect();
    let generator = json!({ "command": words.join(" "), "env": env });
    let config = toml::to_string(&json!({ "generator": generator })).expect("a configuration");
    fs::write(root.join("config.toml"), config).expect("a configuration");
    home
}

/// Has every recorded event worked; each session's events, with the results in their order.
fn work(home: &Home) -> Vec<(Vec<Recorded>, Vec<StoredResult>)> {
    let worker: Worker = home.start();
    let mut sessions: BTreeMap<String, Vec<Recorded>> = BTreeMap::new();
    for event in payload::recorded_all() {
        worker.api().post_hook(event.agent, &event.payload);
        sessions
            .entry(event.session_name())
            .or_default()
            .push(event);
    }
    worker.wait_idle();
    let worked = sessions.into_iter().map(|(name, events)| {
        let results = worker.api().results(&name);
        (events, results)
    });
    let worked = worked.collect();
    worker.stop();
    worked
}
