//! Recorded conversations, and what follows from each line.

use super::*;

/// One step: a message is begun, or a line is heard that has this outcome.
enum Step<'a> {
    Begin(i64),
    Hear(&'a str, &'a str),
}
use Step::{Begin, Hear};

const READY: Step<'_> = Hear(r#"{"type":"ready","name":"n"}"#, "ready n");
const RESULT_7: &str = r#"{"type":"result","ids":[7],"results":[],"checkpoint":7}"#;
const FAILURE_7: &str = r#"{"type":"failure","id":7,"class":"unavailable","reason":"r"}"#;

fn shown(event: Event) -> String {
    match event {
        Event::Nothing => "nothing".to_owned(),
        Event::Ignored { disorder, count } => format!("{} {count}", disorder.as_str()),
        Event::Babble => "babble".to_owned(),
        Event::Ready(ready) => format!("ready {}", ready.name.unwrap_or_default()),
        Event::Refused { reason, is_final } => {
            let end = if is_final { "finally" } else { "for now" };
            format!("refused {end}: {reason}")
        }
        Event::Progress => "progress".to_owned(),
        Event::Settled(Outcome::Done { checkpoint, .. }) => {
            format!("done {}", checkpoint.unwrap_or_default())
        }
        Event::Settled(Outcome::Failed {
            class,
            reason,
            retry_after,
        }) => format!("{class:?} {retry_after:?}: {reason}"),
        Event::CloseSession => "close session".to_owned(),
    }
}

fn check(steps: &[Step<'_>]) -> Conversation {
    let mut conversation = Conversation::new();
    for (n, step) in steps.iter().enumerate() {
        match step {
            Begin(message) => conversation.begin(MessageId(*message)),
            Hear(line, expected) => {
                let line = Line::Bytes(line.as_bytes().to_vec());
                let event = shown(conversation.hear(&line));
                assert!(
                    event.starts_with(expected),
                    "step {n}: {event}, not {expected}"
                );
                assert_eq!(event.is_empty(), expected.is_empty());
            }
        }
    }
    conversation
}

#[test]
fn messages_are_settled_one_after_the_other() {
    check(&[
        READY,
        Begin(7),
        Hear(r#"{"type":"progress"}"#, "progress"),
        Hear(RESULT_7, "done 7"),
        Begin(8),
        Hear(r#"{"type":"result","ids":[8],"results":[]}"#, "done "),
        Begin(7),
        Hear(FAILURE_7, "Unavailable None: r"),
        Begin(9),
        Hear(
            r#"{"type":"failure","id":9,"class":"poison","reason":"r","retry_after_ms":1500}"#,
            "Poison Some(1.5s): r",
        ),
        Begin(10),
        Hear(
            r#"{"type":"failure","id":10,"class":"retry","reason":"r","retry_after_ms":1e3}"#,
            "Retry None: its reply is invalid",
        ),
        Begin(11),
        Hear(
            r#"{"type":"failure","id":11,"class":"retry","reason":"r","retry_after_ms":99999999}"#,
            "Retry Some(3600s): r",
        ),
    ]);
}

#[test]
fn reply_about_another_message_settles_nothing() {
    check(&[
        READY,
        Hear(RESULT_7, "other message 1"),
        Begin(8),
        Hear(RESULT_7, "other message 2"),
        Hear(FAILURE_7, "other message 3"),
        Hear(r#"{"type":"result","ids":[7]}"#, "invalid 1"),
        Hear(
            r#"{"type":"result","ids":[8],"results":[],"checkpoint":1}"#,
            "done 1",
        ),
        Hear(
            r#"{"type":"result","ids":[8],"results":[],"checkpoint":2}"#,
            "other message 4",
        ),
        Hear(
            r#"{"type":"result","ids":[],"results":[]}"#,
            "other message 5",
        ),
        Hear(
            r#"{"type":"failure","class":"retry","reason":"r"}"#,
            "invalid 2",
        ),
    ]);
}

#[test]
fn reply_that_names_no_message_fails_the_one_in_work_at_once() {
    let check = |line: Line, expected: &str| {
        let mut conversation = Conversation::new();
        conversation.hear(&Line::Bytes(br#"{"type":"ready"}"#.to_vec()));
        conversation.begin(MessageId(7));
        let said = shown(conversation.hear(&line));
        assert!(
            said.starts_with("Retry None: ") && said.contains(expected),
            "{said}"
        );
    };
    let line = |text: &str| Line::Bytes(text.as_bytes().to_vec());
    check(
        line(r#"{"type":"result","ids":["7"],"results":[]}"#),
        "expected i64",
    );
    check(
        line(r#"{"type":"result","results":[]}"#),
        "missing field `ids`",
    );
    check(
        line(r#"{"type":"result","ids":[],"results":[]}"#),
        "ids names no message",
    );
    check(
        line(r#"{"type":"failure","class":"retry","reason":"r"}"#),
        "missing field `id`",
    );
    check(Line::TooLong { bytes: 5_000_000 }, "5000000 bytes");
}

#[test]
fn unusable_reply_about_the_message_in_work_fails_its_attempt() {
    let check = |line: &str, expected: &str| {
        check(&[
            READY,
            Begin(7),
            Hear(line, expected),
            Hear(RESULT_7, "other message 1"),
        ]);
    };
    check(
        r#"{"type":"result","ids":[7,8],"results":[]}"#,
        "Retry None: its result names 2 messages",
    );
    check(
        r#"{"type":"result","ids":[7],"results":[],"usage":{"cost_usd":-1}}"#,
        "Retry None: its reply is invalid: usage has a cost_usd",
    );
    check(
        r#"{"type":"result","ids":[7]}"#,
        "Retry None: its reply is invalid: missing field",
    );
    check(
        r#"{"type":"failure","id":7,"class":"odd","reason":"r"}"#,
        "Retry None: its reply is invalid: unknown variant",
    );
}

#[test]
fn only_ready_or_a_refusal_ends_the_start() {
    check(&[
        Hear(RESULT_7, "before ready 1"),
        Hear(FAILURE_7, "before ready 2"),
        Hear(r#"{"type":"close_session"}"#, "before ready 3"),
        Hear(r#"{"type":"progress"}"#, "nothing"),
        Hear("warming up", "garbage 1"),
        Hear(r#"{"type":"ready","protocol":1}"#, "ready "),
        Hear(r#"{"type":"ready","protocol":2}"#, "second ready 1"),
        Hear(r#"{"type":"ready","protocol":"2"}"#, "invalid 1"),
        Hear(r#"{"type":"close_session"}"#, "close session"),
        Hear(r#"{"type":"progress"}"#, "nothing"),
    ]);
    let refused = |line: &str, expected: &str| {
        check(&[Hear(line, expected)]);
    };
    refused(
        r#"{"type":"ready","protocol":2}"#,
        "refused finally: it speaks protocol 2, this worker speaks 1",
    );
    refused(
        r#"{"type":"ready","name":5}"#,
        "refused for now: its ready is invalid",
    );
    refused(
        r#"{"type":"failure","class":"poison","reason":"no key"}"#,
        "refused finally: it refused to start: no key",
    );
    refused(
        r#"{"type":"failure","id":null,"class":"unavailable","reason":"away"}"#,
        "refused for now: it refused to start: away",
    );
}

#[test]
fn babble_is_told_in_every_phase_and_forgiven_by_the_next() {
    let mut conversation = Conversation::new();
    let line = |text: &str| Line::Bytes(text.as_bytes().to_vec());
    let babble = |conversation: &mut Conversation| {
        for n in 0..DISORDER_MAX {
            let event = conversation.hear(&line("[]"));
            assert!(
                matches!(event, Event::Ignored { .. }),
                "line {n}: {event:?}"
            );
        }
    };
    babble(&mut conversation);
    assert!(shown(conversation.hear(&line(r#"{"type":"ready"}"#))).starts_with("ready"));
    babble(&mut conversation);
    conversation.begin(MessageId(7));
    babble(&mut conversation);
    assert_eq!(shown(conversation.hear(&line(RESULT_7))), "done 7");
    babble(&mut conversation);
    assert_eq!(shown(conversation.hear(&line("x"))), "babble");
    assert_eq!(
        conversation.to_string(),
        " (4001 lines of its output ignored: 4001 garbage)"
    );
}

#[test]
fn nothing_ignored_is_not_mentioned() {
    assert_eq!(Conversation::new().to_string(), "");
}
