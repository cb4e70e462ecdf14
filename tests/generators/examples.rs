//! The examples under `scripts/generators`, each over pipes: what they answer to the lines of the
//! protocol. `claude` drives a scripted stand-in for Claude Code.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Home, LIMIT, child, payload, wait::ok_if, wait_until};

use super::driver::{Driver, example, fixture, python};

#[test]
fn echo_answers_each_message_and_goes_on_from_its_checkpoint() {
    let check = |echo: &mut Command| {
        let mut first = Driver::start(echo);
        first.open(Value::Null);
        assert_eq!(first.hear(), json!({ "type": "ready", "name": "echo" }));
        for (seq, event) in (1..).zip(payload::recorded("claude-code")) {
            first.message(seq, &event.kind, &event.payload);
            let reply = first.hear();
            assert_eq!(reply["ids"], json!([seq]));
            assert_eq!(reply["results"][0]["kind"], "echo");
            assert_eq!(reply["results"][0]["title"], *event.kind);
            assert_eq!(reply["checkpoint"], json!({ "echoed": seq }));
        }
        first.close();

        let mut again = Driver::start(echo);
        again.open(json!({ "echoed": 41 }));
        again.hear();
        again.message(7, "Note", r#"{"text":"half of a character: \ud83d"}"#);
        let reply = again.hear();
        assert_eq!(reply["checkpoint"], json!({ "echoed": 42 }));
        let body = reply["results"][0]["body"].as_str().expect("text");
        assert!(body.contains("half of a character"), "{body}");
        // The end of its input is its end, too.
        assert!(again.end().success());

        for other in [json!("tally Stop=4"), json!({ "echoes": 4 })] {
            let mut anew = Driver::start(echo);
            anew.open(other);
            anew.hear();
            anew.message(1, "Stop", "{}");
            assert_eq!(anew.hear()["checkpoint"], json!({ "echoed": 1 }));
            anew.close();
        }
    };
    let home = Home::new();
    let twin = child::example("echo-generator");
    check(&mut home.command(twin.to_str().expect("text")));
    if let Some(python) = python() {
        check(home.command(&python).arg(example("echo.py")));
    }
}

#[test]
fn tally_counts_kinds_whatever_a_payload_says() {
    let home = Home::new();
    let mut tally = Driver::start(home.command("sh").arg(example("tally.sh")));
    let prompt = r#"x","checkpoint":"Stop=99","kind":"Evil"#;
    tally.open_with(json!({ "checkpoint": "tally Other=2 Stop=4", "prompt": prompt }));
    assert_eq!(tally.hear(), json!({ "type": "ready", "name": "tally" }));
    let hostile = [
        r#"{"type":"close","id":99,"kind":"Evil","checkpoint":"Stop=99"}"#.to_owned(),
        json!({ "text": r#"","id":98,"kind":"Evil","checkpoint":"Stop=98"#, "more": "\\\"\\" })
            .to_string(),
        r#"{"shell":"$(touch evil) `touch evil`; touch evil %s %d \\n \u0000"}"#.to_owned(),
        json!({ "long": "x".repeat(200_000) }).to_string(),
    ];
    for (count, payload) in (5..).zip(&hostile) {
        tally.message(count, "Stop", payload);
        let reply = tally.hear();
        assert_eq!(reply["ids"], json!([count]), "{payload:.100}");
        assert_eq!(reply["results"][0]["title"], format!("Stop: {count}"));
        assert_eq!(reply["checkpoint"], format!("tally Other=2 Stop={count}"));
    }
    // A kind is a name of anybody's choice, too.
    tally.message(9, r#"a"b\c $(touch evil) .*=7 é"#, "{}");
    let reply = tally.hear();
    assert_eq!(reply["results"][0]["title"], "a_: 1");
    tally.message(10, "Stop", "{}");
    assert_eq!(tally.hear()["checkpoint"], "tally Other=2 a_=1 Stop=9");
    tally.close();
    let left = fs::read_dir(home.layout().root().parent().expect("a parent"));
    assert_eq!(
        left.expect("the home's directory").count(),
        0,
        "nothing was touched"
    );
}

#[test]
fn claude_takes_notes_in_one_process_without_the_users_settings() {
    let Some(claude) = Claude::scripted("ok", "ok nothing old") else {
        return;
    };
    let mut generator = claude.start(&["--model", "haiku"]);
    generator.open_with(json!({
        "checkpoint": null, "recent_results": [{ "kind": "note", "title": "Before", "body": "it" }],
    }));
    let ready = json!({
        "type": "ready", "name": "claude", "provider": "anthropic", "model": "haiku",
    });
    assert_eq!(generator.hear(), ready);
    generator.message(11, "Stop", r#"{"text":"/clear"}"#);
    let reply = generator.hear();
    assert_eq!(
        reply,
        json!({
            "type": "result", "ids": [11],
            "results": [{ "kind": "note", "title": "Note 1", "body": "of conversation-1" }],
            "checkpoint": { "claude_session_id": "conversation-1", "model": "fake-model-1" },
            "usage": { "input_tokens": 15, "output_tokens": 2, "cost_usd": 0.25 },
        })
    );
    generator.message(12, "Stop", "{}");
    let reply = generator.hear();
    assert_eq!(
        (&reply["ids"], &reply["results"]),
        (&json!([12]), &json!([]))
    );
    assert_eq!(
        reply["usage"]["cost_usd"], 0.25,
        "the process' total is told: {reply}"
    );
    generator.message(13, "Stop", "{}");
    assert_eq!(generator.hear()["results"][0]["title"], "Old");
    generator.close();

    let started = claude.started();
    assert_eq!(started.len(), 1, "one process: {started:?}");
    for flags in [
        &[
            "-p",
            "--input-format",
            "stream-json",
            "--output-format",
            "stream-json",
            "--verbose",
        ][..],
        &["--setting-sources", ""],
        &["--tools", ""],
        &["--strict-mcp-config"],
        &["--disable-slash-commands"],
        &["--model", "haiku"],
    ] {
        let has_flags = started[0]
            .windows(flags.len())
            .any(|window| window == flags);
        assert!(has_flags, "{flags:?} in {started:?}");
    }
    assert!(
        started[0]
            .iter()
            .any(|word| word.contains("disableAllHooks")),
        "{started:?}"
    );
    let told = claude.told();
    assert!(
        told[0].contains("Before") && !told[1].contains("Before"),
        "{told:?}"
    );
}

#[test]
fn claude_never_confirms_what_the_provider_did_not_answer() {
    let fates = "overloaded login rejected prose notice silent";
    let Some(claude) = Claude::scripted("ok", &format!("{fates} ok")) else {
        return;
    };
    let mut generator = claude.start(&[]);
    generator.open(Value::Null);
    generator.hear();
    // Without and with the time at which the provider is back, told to the second or the minute.
    for (id, (fate, wait_s)) in (1..).zip([
        ("overloaded", None),
        ("login", None),
        ("rejected", Some(3600)),
        ("prose", Some(3600)),
        ("notice", Some(7200)),
    ]) {
        generator.message(id, "Stop", "{}");
        let reply = generator.hear();
        assert_eq!(reply["type"], "failure", "{fate}: {reply}");
        assert_eq!(
            (&reply["id"], &reply["class"]),
            (&json!(id), &json!("unavailable"))
        );
        let told_s = reply["retry_after_ms"].as_i64().map(|ms| ms / 1000);
        match (told_s, wait_s) {
            (None, None) => {}
            (Some(told), Some(wait)) => assert!((wait - 120..=wait).contains(&told), "{reply}"),
            _ => panic!("{fate}: {reply}"),
        }
    }
    // Closed over a message it has no answer to, it ends and confirms nothing.
    generator.message(6, "Stop", "{}");
    claude.wait_told(6);
    generator.close();
}

#[test]
fn claude_without_a_login_is_ready_and_unavailable() {
    let Some(claude) = Claude::scripted("login", "ok") else {
        return;
    };
    let mut generator = claude.start(&[]);
    generator.open(Value::Null);
    assert_eq!(generator.hear()["type"], "ready");
    generator.message(1, "Stop", "{}");
    let reply = generator.hear();
    assert_eq!(reply["class"], "unavailable", "{reply}");
    assert!(
        reply["reason"].to_string().contains("Invalid API key"),
        "{reply}"
    );
    generator.close();
}

#[test]
fn claude_goes_on_with_its_conversation_or_begins_another_when_that_is_unknown() {
    let check = |start: &str, conversation: &str| {
        let Some(claude) = Claude::scripted(start, "ok") else {
            return;
        };
        let mut generator = claude.start(&[]);
        generator.open_with(json!({
            "checkpoint": { "claude_session_id": "conversation-0", "model": "fake-model-0" },
            "recent_results": [{ "kind": "note", "title": "Before", "body": "it" }],
        }));
        assert_eq!(generator.hear()["model"], "fake-model-0");
        generator.message(1, "Stop", "{}");
        let reply = generator.hear();
        assert_eq!(
            reply["checkpoint"]["claude_session_id"], conversation,
            "{reply}"
        );
        generator.close();
        assert!(claude.started()[0].ends_with(&["--resume".into(), "conversation-0".into()]));
        let is_told = claude.told()[0].contains("Before");
        assert_eq!(
            is_told,
            start == "unknown",
            "only a new conversation is told of the past"
        );
    };
    check("ok", "conversation-0");
    check("unknown", "conversation-1");
}

#[test]
fn claude_that_crashes_is_started_again_for_the_retry() {
    let Some(claude) = Claude::scripted("ok", "ok crash ok") else {
        return;
    };
    let mut generator = claude.start(&[]);
    generator.open(Value::Null);
    generator.hear();
    for (id, kind) in [(1, "result"), (2, "failure"), (2, "result")] {
        generator.message(id, "Stop", "{}");
        let reply = generator.hear();
        assert_eq!(reply["type"], kind, "{reply}");
        if kind == "failure" {
            assert_eq!(reply["class"], "retry", "{reply}");
        }
    }
    generator.close();
    assert_eq!(claude.resumed(), [false, true]);
}

#[test]
fn claude_leaves_a_conversation_that_is_full_and_gives_up_what_fits_in_none() {
    let Some(claude) = Claude::scripted("ok", "ok full full too-long too-long") else {
        return;
    };
    let mut generator = claude.start(&[]);
    generator.open(json!({ "claude_session_id": "conversation-0" }));
    generator.hear();
    generator.message(1, "Stop", "{}");
    generator.hear();
    generator.message(2, "Stop", "{}");
    let reply = generator.hear();
    assert_eq!(reply["results"][0]["title"], "Room again", "{reply}");
    let told = claude.told();
    assert!(
        told[2].contains("Note 1"),
        "the notes are carried over: {told:?}"
    );
    generator.message(3, "Stop", "{}");
    let reply = generator.hear();
    assert_eq!(
        (&reply["id"], &reply["class"]),
        (&json!(3), &json!("poison"))
    );
    generator.close();
    assert_eq!(claude.resumed(), [true, false, false]);
}

#[test]
fn tally_and_claude_begin_anew_after_another_generator() {
    let home = Home::new();
    let mut tally = Driver::start(home.command("sh").arg(example("tally.sh")));
    tally.open(json!({ "version": 1, "checkpoint": "Stop=4" }));
    tally.hear();
    tally.message(1, "Stop", "{}");
    assert_eq!(tally.hear()["checkpoint"], "tally Stop=1");
    tally.close();
    let Some(claude) = Claude::scripted("ok", "ok") else {
        return;
    };
    let mut generator = claude.start(&[]);
    generator.open(json!("tally Stop=4"));
    assert_eq!(generator.hear()["type"], "ready");
    generator.close();
    assert_eq!(claude.resumed(), [false]);
}

#[test]
fn claude_that_is_not_there_is_a_final_refusal() {
    let Some(claude) = Claude::scripted("ok", "ok") else {
        return;
    };
    let mut generator = claude.start(&["--claude", "/nowhere/claude"]);
    generator.open(Value::Null);
    let reply = generator.hear();
    assert_eq!(
        (&reply["type"], &reply["class"]),
        (&json!("failure"), &json!("poison"))
    );
    assert!(reply.get("id").is_none(), "{reply}");
    assert!(
        reply["reason"].to_string().contains("/nowhere/claude"),
        "{reply}"
    );
    generator.end();
}

#[test]
fn claude_takes_an_answer_for_the_message_that_it_names() {
    let Some(claude) = Claude::scripted("ok", "disorder slow") else {
        return;
    };
    let mut generator = claude.start(&[]);
    generator.open(Value::Null);
    generator.hear();
    generator.message(1, "Stop", "{}");
    let reply = generator.hear();
    // The stand-in's text ends in half of a character, which no worker would take.
    let note = json!([{ "kind": "note", "title": "Right?", "body": "in its place" }]);
    assert_eq!(reply["results"], note, "{reply}");
    assert_eq!(
        reply["usage"]["cost_usd"], 0.5,
        "the other answer has cost something, too"
    );
    generator.message(2, "Stop", "{}");
    assert_eq!(generator.hear(), json!({ "type": "progress" }));
    assert_eq!(generator.hear()["type"], "result");
    generator.close();
}

/// The example with a stand-in for Claude Code.
struct Claude {
    home: Home,
    python: String,
    log: PathBuf,
}

impl Claude {
    /// See `tests/fixtures/fake-claude` for the words. `None`: there is no Python.
    fn scripted(start: &str, fates: &str) -> Option<Self> {
        let python = python()?;
        let mut home = Home::new();
        let dir = home.layout().root().parent().expect("a parent").to_owned();
        let log = dir.join("fake-claude.log");
        home.set_variable("FAKE_CLAUDE", fates);
        home.set_variable("FAKE_CLAUDE_START", start);
        home.set_variable("FAKE_CLAUDE_LOG", log.to_str().expect("text"));
        let beside = Path::new(&python).parent().expect("a directory").display();
        home.set_variable("PATH", &format!("{beside}:/usr/local/bin:/usr/bin:/bin"));
        Some(Self { home, python, log })
    }

    fn start(&self, args: &[&str]) -> Driver {
        let mut command = self.home.command(&self.python);
        command
            .arg(example("claude"))
            .arg("--claude")
            .arg(fixture("fake-claude"))
            .args(args);
        Driver::start(&mut command)
    }

    /// The arguments of each process.
    fn started(&self) -> Vec<Vec<String>> {
        let lines = self.lines("started");
        let arguments = lines.into_iter().map(serde_json::from_value);
        arguments.map(|words| words.expect("words")).collect()
    }

    /// Whether each process went on with a conversation.
    fn resumed(&self) -> Vec<bool> {
        let started = self.started();
        let resumed = started
            .iter()
            .map(|words| words.iter().any(|word| word == "--resume"));
        resumed.collect()
    }

    /// What it was told, over all processes.
    fn told(&self) -> Vec<String> {
        self.lines("content").iter().map(Value::to_string).collect()
    }

    #[track_caller]
    fn wait_told(&self, count: usize) {
        wait_until("the stand-in is told", LIMIT, || {
            let told = self.told();
            ok_if(told.len() >= count, told)
        });
    }

    fn lines(&self, name: &str) -> Vec<Value> {
        let text = fs::read_to_string(&self.log).expect("it has a log");
        let lines = text
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"));
        lines
            .filter_map(|mut line: Value| line.get_mut(name).map(Value::take))
            .collect()
    }
}
