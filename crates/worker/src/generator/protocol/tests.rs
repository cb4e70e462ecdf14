//! Lines as they are written, and as they are read.

use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};
use sessiond_queue::ids::{Epoch, EventId};
use sessiond_queue::types::{Life, State};

use super::*;

fn session() -> Session {
    let at = Timestamp(1_795_245_600_000);
    Session {
        id: SessionId::mint(),
        agent: "claude-code".to_owned(),
        key: "k".to_owned(),
        life: Life::Open,
        close_depth: None,
        drain_until: None,
        epoch: Epoch(0),
        project: Some("/home/user/project".to_owned()),
        cwd: None,
        prompt: Some("two\nlines".to_owned()),
        prompt_number: 3,
        metadata: serde_json::Map::new(),
        created_at: at,
        active_at: at,
        pending: 1,
        dead: 0,
        success_at: None,
        consecutive_failures: 0,
        last_error: None,
        failing: None,
        usage: Usage::default(),
    }
}

fn told(payload: &str) -> Message {
    Message {
        id: MessageId(7),
        session: SessionId::mint(),
        seq: Seq(2),
        epoch: Epoch(0),
        event_id: EventId::mint(),
        kind: "Stop".to_owned(),
        agent_id: None,
        payload: payload.to_owned(),
        state: State::Claimed,
        attempt: 1,
        rescues: 0,
        accepted_at: Timestamp(1_795_245_600_000),
        not_before: None,
        finished_at: None,
        last_error: None,
    }
}

fn parsed(line: &[u8]) -> Value {
    assert!(!line.contains(&b'\n') && !line.contains(&b'\r'));
    serde_json::from_slice(line).unwrap()
}

#[test]
fn open_tells_the_session_and_its_state() {
    let session = session();
    let result = NewResult {
        kind: "summary".to_owned(),
        title: "t".to_owned(),
        ..NewResult::default()
    };
    let line = open(&session, Some("{\n\"n\": 1.50}"), &[result]).unwrap();
    assert_eq!(
        parsed(&line),
        json!({
            "type": "open", "protocol": 1, "session": session.id, "agent": "claude-code",
            "project": "/home/user/project", "cwd": null, "prompt": "two\nlines",
            "prompt_number": 3, "checkpoint": {"n": 1.5},
            "recent_results":
                [{"kind": "summary", "title": "t", "body": "", "files": [], "tags": []}],
        })
    );
    let text = String::from_utf8(line).unwrap();
    assert!(
        text.contains(r#""checkpoint":{ "n": 1.50}"#),
        "as it was sent: {text}"
    );
    assert!(
        parsed(&open(&session, None, &[]).unwrap())
            .get("checkpoint")
            .is_none()
    );
    assert!(open(&session, Some("{torn"), &[]).is_err());
}

#[test]
fn message_tells_its_event_on_one_line() {
    let message = told("{\r\n  \"text\": \"a\\nb\"\r\n}");
    let line = super::message(&message).unwrap();
    assert_eq!(
        parsed(&line),
        json!({
            "type": "message", "id": 7, "seq": 2, "kind": "Stop", "attempt": 1,
            "accepted_at": 1_795_245_600_000_i64, "payload": {"text": "a\nb"},
        })
    );
    let of_subagent = Message {
        agent_id: Some("a1".to_owned()),
        ..message
    };
    assert_eq!(
        parsed(&super::message(&of_subagent).unwrap())["agent_id"],
        "a1"
    );
    assert!(super::message(&told("not json")).is_err());
}

#[test]
fn close_tells_its_reason() {
    let line = close(CloseReason::Rewind);
    assert_eq!(parsed(&line), json!({"type": "close", "reason": "rewind"}));
}

fn check(line: &str, expected: Result<Reply, Unreadable>) {
    assert_eq!(read(line.as_bytes()), expected, "{line}");
}

#[test]
fn replies_are_read() {
    let ready = Ready {
        name: Some("notes 2".to_owned()),
        provider: None,
        model: None,
        protocol: None,
    };
    check(
        r#" {"name": "notes\n2", "provider": "", "later": [1], "type": "ready"}"#,
        Ok(Reply::Ready(ready)),
    );
    let worked = Worked {
        ids: vec![MessageId(7)],
        results: vec![NewResult {
            kind: "note".to_owned(),
            title: "a b".to_owned(),
            body: "c\nd".to_owned(),
            files: vec!["f".to_owned()],
            tags: Vec::new(),
        }],
        checkpoint: Some(r#""text""#.to_owned()),
        usage: Usage {
            input_tokens: 5,
            output_tokens: 0,
            cost_usd: 0.25,
        },
    };
    check(
        r#"{"type":"result","ids":[7],"results":[{"kind":"note","title":"a\nb","body":"c\nd",
           "files":["f"]}],"checkpoint":"text","usage":{"input_tokens":5,"cost_usd":0.25}}"#,
        Ok(Reply::Result(worked)),
    );
    let nothing = Worked {
        ids: vec![MessageId(7)],
        results: Vec::new(),
        checkpoint: None,
        usage: Usage::default(),
    };
    check(
        r#"{"type":"result","ids":[7],"results":[],"checkpoint":null,"usage":null}"#,
        Ok(Reply::Result(nothing)),
    );
    let failure = Failure {
        id: Some(MessageId(7)),
        class: FailureClass::Unavailable,
        reason: "the program gave no reason".to_owned(),
        retry_after_ms: Some(1500),
    };
    check(
        r#"{"type":"failure","id":7,"class":"unavailable","reason":" ","retry_after_ms":1500}"#,
        Ok(Reply::Failure(failure)),
    );
    check(r#"{"type":"progress","at":1}"#, Ok(Reply::Progress));
    check(r#"{"type":"close_session"}"#, Ok(Reply::CloseSession));
}

#[test]
fn reasons_and_names_are_kept_to_a_length() {
    let line = json!({"type": "failure", "class": "retry", "reason": "ä".repeat(5_000)});
    let Ok(Reply::Failure(failure)) = read(line.to_string().as_bytes()) else {
        panic!("not read");
    };
    assert_eq!(failure.reason.chars().count(), REASON_MAX_CHARS + 1);
    assert!(failure.reason.ends_with('…'));
}

#[test]
fn half_surrogate_in_a_reply_loses_a_character_and_no_more() {
    let line = r#"{"type":"failure","id":7,"class":"retry","reason":"cut \ud83d"}"#;
    let Ok(Reply::Failure(failure)) = read(line.as_bytes()) else {
        panic!("not read");
    };
    assert_eq!(failure.reason, "cut \u{fffd}");
}

#[test]
fn what_is_no_object_with_a_type_is_garbage() {
    for line in [
        "",
        "Loading model...",
        "null",
        r#"["progress"]"#,
        r#"{"type":7}"#,
        r#"{"typ":"progress"}"#,
        r#"{"type":"progress""#,
        r#"{"type":"progress"} x"#,
        "{\"type\":\"progress\"}\0",
        "\0\0",
    ] {
        check(line, Err(Unreadable::Garbage));
    }
    assert_eq!(
        read(b"{\"type\":\"progress\",\"x\":\"\xff\"}"),
        Err(Unreadable::Garbage)
    );
    let nested = format!(r#"{{"type":"progress","x":{}}}"#, "[".repeat(1 << 20));
    check(&nested, Err(Unreadable::Garbage));
    check(r#"{"type":"log","text":"x"}"#, Err(Unreadable::UnknownType));
}

#[test]
fn invalid_reply_still_names_its_message() {
    let check = |line: &str, expected: &[i64], said: &str| {
        let Err(Unreadable::Invalid { ids, problem, .. }) = read(line.as_bytes()) else {
            panic!("{line}: {:?}", read(line.as_bytes()));
        };
        let expected: Vec<MessageId> = expected.iter().copied().map(MessageId).collect();
        assert_eq!(ids, expected, "{line}");
        assert!(problem.contains(said), "{line}: {problem}");
    };
    let result = |tail: &str| format!(r#"{{"type":"result","ids":[7],{tail}}}"#);
    check(&result(r#""x":1"#), &[7], "results");
    check(
        &result(r#""results":[{"kind":"k","title":"t"}]"#),
        &[7],
        "body",
    );
    check(
        &result(r#""results":[{"kind":"","title":"t","body":"b"}]"#),
        &[7],
        "kind has 0 bytes",
    );
    let many = vec![json!({"kind": "k", "title": "t", "body": "b"}); RESULTS_MAX + 1];
    check(
        &result(&format!(r#""results":{}"#, json!(many))),
        &[7],
        "1001 results",
    );
    for usage in [
        r#"{"input_tokens":-1}"#,
        r#"{"output_tokens":1000000001}"#,
        r#"{"cost_usd":-0.01}"#,
        r#"{"cost_usd":10001}"#,
    ] {
        check(
            &result(&format!(r#""results":[],"usage":{usage}"#)),
            &[7],
            "usage has",
        );
    }
    check(
        &result(r#""results":[],"usage":{"cost_usd":1e999}"#),
        &[7],
        "number",
    );
    check(
        r#"{"type":"result","ids":["7", 8],"results":[]}"#,
        &[8],
        "7",
    );
    check(
        r#"{"type":"failure","id":7,"class":"odd","reason":"r"}"#,
        &[7],
        "odd",
    );
    check(
        r#"{"type":"failure","id":7,"class":"retry"}"#,
        &[7],
        "reason",
    );
    check(
        r#"{"type":"failure","id":7,"class":"retry","reason":"r","retry_after_ms":-1}"#,
        &[7],
        "-1",
    );
    check(r#"{"type":"ready","name":7}"#, &[], "7");
}

/// Lines of every type, with things put in where they do not belong.
fn any_line() -> impl Strategy<Value = Vec<u8>> {
    const LINES: [&str; 5] = [
        r#"{"type":"ready","name":"n\u0007","provider":"p","model":"m","protocol":1}"#,
        r#"{"type":"result","ids":[7,8],"results":[{"kind":"k\u0007","title":"t\u009b","body":"b",
           "files":["f"],"tags":["g"]}],"checkpoint":{"n":1},"usage":{"input_tokens":5,"cost_usd":0.25}}"#,
        r#"{"type":"failure","id":7,"class":"poison","reason":"r\u001b","retry_after_ms":9}"#,
        r#"{"type":"progress"}"#,
        r#"{"type":"close_session"}"#,
    ];
    const PIECES: [&str; 17] = [
        "",
        "\"",
        "\\",
        "{",
        "}",
        "[",
        "null",
        "-1",
        "1e999",
        "\n",
        "\\n",
        "\\ud83d",
        "\\u009b",
        "\u{1b}",
        "\"ids\":[1.5,9],",
        "\"type\":\"result\",",
        "\"kind\":\"\",",
    ];
    let damage = (
        any::<Index>(),
        0..6_usize,
        select(&PIECES[..]).prop_map(str::to_owned),
    );
    let damage = proptest::collection::vec(damage, 0..5);
    (select(&LINES[..]).prop_map(str::to_owned), damage).prop_map(|(line, damage)| {
        let mut line = line.into_bytes();
        for (at, removed, piece) in damage {
            let at = at.index(line.len() + 1);
            let end = line.len().min(at + removed);
            line.splice(at..end, piece.into_bytes());
        }
        line
    })
}

fn check_kept(reply: &Reply) {
    let plain = |text: &str, max: usize| {
        assert!(!text.contains(char::is_control), "{text:?}");
        assert!((1..=max).contains(&text.chars().count()), "{text:?}");
    };
    match reply {
        Reply::Ready(ready) => {
            for name in [&ready.name, &ready.provider, &ready.model] {
                name.as_deref()
                    .inspect(|name| plain(name, NAME_MAX_CHARS + 1));
            }
        }
        Reply::Result(worked) => {
            for result in &worked.results {
                plain(&result.kind, NAME_MAX_BYTES);
                assert!(!result.title.contains(char::is_control));
            }
            let checkpoint = worked.checkpoint.as_deref();
            assert!(checkpoint.is_none_or(|text| on_one_line(text).is_ok()));
            assert!((0.0..=COST_MAX_USD).contains(&worked.usage.cost_usd));
            assert!((0..=TOKENS_MAX).contains(&worked.usage.input_tokens));
        }
        Reply::Failure(failure) => plain(&failure.reason, REASON_MAX_CHARS + 1),
        Reply::Progress | Reply::CloseSession => {}
    }
}

proptest! {
    #[test]
    fn any_line_is_read_or_refused_for_a_reason(line in any_line()) {
        let read = read(&line);
        if let Ok(reply) = &read {
            check_kept(reply);
        }
        if let Err(Unreadable::Invalid { problem, .. }) = &read {
            prop_assert!(!problem.contains(char::is_control), "{problem:?}");
            prop_assert!((1..=REASON_MAX_CHARS + 1).contains(&problem.chars().count()));
        }
        // What any parser takes for an object with a type is no garbage.
        let value = serde_json::from_slice::<Value>(&line).unwrap_or_default();
        if value["type"].is_string() {
            prop_assert_ne!(&read, &Err(Unreadable::Garbage));
        }
    }
}
