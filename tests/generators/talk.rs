//! Programs that keep to the protocol: what they are told, what is taken from them, how they end.

use std::fs;
use std::time::Duration;

use serde_json::Value;
use sessiond::generator::{CloseReason, FailureClass, IdleEnd, Outcome};
use sessiond_queue::types::{NewResult, Usage};
use tokio::time::timeout;

use super::stage::{Stage, done, failed, variable};
use crate::support::{LIMIT, Process, wait_until};

/// Writes its first two lines, its environment and its directory into files of the home.
const RECORDER: &str = r#"
    env > env.txt; pwd > pwd.txt
    IFS= read -r open; printf '%s\n' "$open" > open.json
    echo '{"type":"ready","name":"recorder","provider":"p","model":"m-1","protocol":1}'
    next; printf '%s\n' "$line" > message.json
    echo '{"type":"result","ids":['$id'],"results":[{"kind":"k","title":"t","body":"b"}],' \
        '"checkpoint":{"n": 1},"usage":{"input_tokens":3,"output_tokens":2,"cost_usd":0.5}}'
    read -r close; printf '%s\n' "$close" > close.json
    read -r more || echo ended > more.txt
"#;

#[tokio::test(flavor = "multi_thread")]
async fn program_is_told_its_session_its_message_and_its_end() {
    let mut stage = Stage::new().await;
    let text = |size: usize| NewResult {
        kind: "note".to_owned(),
        title: size.to_string(),
        body: "x".repeat(size),
        ..NewResult::default()
    };
    for size in [7, 300_000, 1, 2] {
        stage.remember(text(size)).await;
    }
    for (name, value) in [("ANTHROPIC_API_KEY", "secret"), ("LC_ALL", "C.UTF-8")] {
        stage.settings.own_env.push(variable(name, value));
    }
    let env = &mut stage.limits().env;
    env.insert("NOTES_KEY".to_owned(), "named".to_owned());
    let script = stage.settings.home.join("recorder.sh");
    stage
        .ready("ready; next")
        .await
        .close(CloseReason::Idle)
        .await;
    let prelude = fs::read_to_string(stage.settings.home.join("script.sh")).unwrap();
    let prelude = prelude.trim_end_matches("ready; next");
    fs::write(&script, format!("{prelude}{RECORDER}")).unwrap();
    let command = format!("sh {}", script.display());
    let opened = stage.open_command(&command, Some("{\"n\":\n0}")).await;
    let mut generator = opened.expect("it becomes ready");
    let about = generator.about();
    let told = (about.name, about.provider, about.model);
    assert_eq!(
        told,
        (
            "recorder".to_owned(),
            Some("p".to_owned()),
            Some("m-1".to_owned())
        )
    );
    let pid = about.pid.expect("a pid");
    assert!(Process { pid }.command_line().contains("recorder.sh"));

    let mut message = stage.message(7);
    message.agent_id = Some("a1".to_owned());
    message.payload = "{\n \"text\": \"two\\nlines\"\n}".to_owned();
    let (results, checkpoint, usage) = done(generator.work(&message).await);
    assert_eq!(results[0].title, "t");
    assert_eq!(checkpoint.as_deref(), Some(r#"{"n": 1}"#), "as it was sent");
    let expected = Usage {
        input_tokens: 3,
        output_tokens: 2,
        cost_usd: 0.5,
    };
    assert_eq!(usage, expected);
    generator.close(CloseReason::Slot).await;
    stage.assert_empty();

    let read = |name: &str| fs::read_to_string(stage.settings.home.join(name)).unwrap();
    let json = |name: &str| serde_json::from_str::<Value>(&read(name)).unwrap();
    let open = json("open.json");
    assert_eq!(open["session"], stage.session.id.to_string());
    assert_eq!(open["project"], "/p");
    assert_eq!(open["checkpoint"]["n"], 0);
    let recent = open["recent_results"].as_array().unwrap();
    let titles: Vec<_> = recent.iter().map(|result| &result["title"]).collect();
    assert_eq!(titles, ["1", "2"], "the newest that fit, newest last");
    let message = json("message.json");
    assert_eq!(message["id"], 7);
    assert_eq!(message["agent_id"], "a1");
    assert_eq!(message["payload"]["text"], "two\nlines");
    assert_eq!(json("close.json")["reason"], "slot");
    assert_eq!(
        read("more.txt"),
        "ended\n",
        "its input ends after the close"
    );
    assert_eq!(
        read("pwd.txt").trim_end(),
        stage.settings.home.to_str().unwrap()
    );
    let env = read("env.txt");
    let mut names: Vec<_> = env
        .lines()
        .filter_map(|line| line.split_once('='))
        .collect();
    names.retain(|(name, _)| !["_", "PWD", "OLDPWD", "SHLVL"].contains(name));
    names.sort_unstable();
    let [home, lc_all, key, path, (tag, _), (marker, _)] = names[..] else {
        panic!("not these: {env}");
    };
    assert_eq!(home, ("HOME", "/home/user"));
    assert_eq!(lc_all, ("LC_ALL", "C.UTF-8"));
    assert_eq!(key, ("NOTES_KEY", "named"));
    assert_eq!(path, ("PATH", "/usr/local/bin:/usr/bin:/bin"));
    assert_eq!((tag, marker), ("SESSIOND_TAG", "SESSIOND_TEST_MARKER"));
}

#[tokio::test(flavor = "multi_thread")]
async fn failure_keeps_its_class_and_its_wait() {
    let stage = Stage::new().await;
    let script = r#"
        ready
        while next; do
            echo '{"type":"failure","id":'$id',"class":"unavailable","reason":"away",' \
                '"retry_after_ms":7200000}'
        done"#;
    let mut generator = stage.ready(script).await;
    for id in [1, 1, 2] {
        let outcome = generator.work(&stage.message(id)).await;
        let Outcome::Failed {
            class: FailureClass::Unavailable,
            reason,
            retry_after: Some(wait),
        } = outcome
        else {
            panic!("{outcome:?}");
        };
        assert_eq!((&*reason, wait.as_secs()), ("away", 3600));
    }
    stage.close(generator).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_side_waits_for_the_other_to_read() {
    let mut stage = Stage::new().await;
    // So that the test ends when they do wait.
    stage.limits().progress_timeout_ms = 20_000;
    // 2 MB before it reads a message of 300 KB: both pipes are full at once.
    let script = r#"
        ready
        yes '{"type":"progress"}' | head -n 100000
        next; done_
        yes '{"type":"progress"}' | head -n 100000
        next; done_
        next"#;
    let mut generator = stage.ready(script).await;
    for id in [1, 2] {
        let mut message = stage.message(id);
        message.payload = format!("\"{}\"", "x".repeat(300_000));
        done(generator.work(&message).await);
    }
    stage.close(generator).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_is_what_lets_a_message_take_its_time() {
    let mut stage = Stage::new().await;
    stage.limits().progress_timeout_ms = 2_000;
    let script = r#"
        ready
        next; for n in 1 2 3 4 5 6 7 8; do sleep 0.3; echo '{"type":"progress"}'; done; done_
        next; while sleep 0.2; do echo alive; echo '{"type":"alive"}'; done"#;
    let mut generator = stage.ready(script).await;
    done(generator.work(&stage.message(1)).await);
    let reason = failed(generator.work(&stage.message(2)).await);
    assert!(reason.starts_with("no progress for 2 s ("), "{reason}");
    assert!(
        reason.contains("garbage") && reason.contains("unknown type"),
        "{reason}"
    );
    stage.assert_empty();
    let reason = failed(generator.work(&stage.message(3)).await);
    assert_eq!(reason, "the program has ended");
    stage.close(generator).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_program_may_ask_for_the_close_or_end() {
    let stage = Stage::new().await;
    let script = r#"ready; next; echo '{"type":"close_session"}'; done_; next; exit 0"#;
    let mut generator = stage.ready(script).await;
    let idle = timeout(Duration::from_millis(50), generator.idle()).await;
    assert!(idle.is_err(), "nothing has happened: {idle:?}");
    done(generator.work(&stage.message(1)).await);
    assert_eq!(generator.idle().await, IdleEnd::CloseSession);
    assert_eq!(
        generator.idle().await,
        IdleEnd::CloseSession,
        "it is remembered"
    );
    stage.close(generator).await;

    let mut generator = stage.ready("ready; sleep 0.1; exit 3").await;
    assert_eq!(generator.idle().await, IdleEnd::Ended);
    stage.close(generator).await;

    // It fills its output while it waits, asks, and lives on.
    let script = r#"ready; yes '{"type":"progress"}' | head -n 100000
        echo '{"type":"close_session"}'; next"#;
    let mut generator = stage.ready(script).await;
    assert_eq!(generator.idle().await, IdleEnd::CloseSession);
    stage.close(generator).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelled_message_leaves_nothing() {
    let stage = Stage::new().await;
    let file = |name: &str| stage.settings.home.join(name);
    for (script, payload_bytes) in [
        ("ready; next; touch taken; next", 2),
        // Cut off in the middle of its line: nothing can be said any more, and its input ends.
        (
            "ready; touch taken; until [ -e go ]; do sleep 0.01; done
             next; case $line in *close*) touch garbled ;; esac; next",
            300_000,
        ),
    ] {
        let mut generator = stage.ready(script).await;
        let mut message = stage.message(1);
        message.payload = format!("\"{}\"", "x".repeat(payload_bytes));
        tokio::select! {
            outcome = generator.work(&message) => panic!("{outcome:?}"),
            () = async {
                while !file("taken").exists() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            } => {}
        }
        fs::remove_file(file("taken")).unwrap();
        fs::write(file("go"), "").unwrap();
        generator.close(CloseReason::Rewind).await;
        stage.assert_empty();
        assert!(!file("garbled").exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dropped_program_ends() {
    let stage = Stage::new().await;
    let generator = stage.ready("ready; sleep 1000 & next").await;
    let pid = generator.about().pid.expect("a pid");
    wait_until("its child runs", LIMIT, || {
        let count = stage.home.processes().len();
        if count >= 2 { Ok(()) } else { Err(count) }
    });
    drop(generator);
    stage.wait_empty();
    assert!(!Process { pid }.is_alive());
}
