//! What is accepted, what is refused and why, and what each recorded payload is read as.

use std::time::Duration;

use proptest::prelude::*;
use sessiond_queue::ids::Timestamp;
use sessiond_queue::types::Effect;

use super::*;

const NOW: Timestamp = Timestamp(1_000_000);
const DRAIN: Duration = Duration::from_secs(60);

const SAMPLES: [(Agent, &str); 4] = [
    (
        Agent::ClaudeCode,
        include_str!("../../../../tests/fixtures/claude-code.jsonl"),
    ),
    (
        Agent::ClaudeCode,
        include_str!("../../../../tests/fixtures/claude-code-resume-clear-compact.jsonl"),
    ),
    (
        Agent::Codex,
        include_str!("../../../../tests/fixtures/codex.jsonl"),
    ),
    (
        Agent::GeminiCli,
        include_str!("../../../../tests/fixtures/gemini-cli.jsonl"),
    ),
];

fn read(agent: Agent, raw: &str) -> Result<Event, PayloadError> {
    read_event(agent, raw.as_bytes(), NOW, DRAIN)
}

fn accepted(agent: Agent, raw: &str) -> Event {
    read(agent, raw).expect("accepted")
}

#[track_caller]
fn refused(raw: &[u8], code: &str, words: &str) {
    let error = read_event(Agent::ClaudeCode, raw, NOW, DRAIN).expect_err("refused");
    assert_eq!(error.code(), code, "{error}");
    assert!(error.to_string().contains(words), "{error}");
}

#[test]
fn every_recorded_payload_is_accepted_and_kept_as_it_is() {
    for (agent, sample) in SAMPLES {
        for line in sample.lines() {
            let event = accepted(agent, &format!("{line}\n"));
            assert_eq!(event.payload, line);
            assert_eq!(event.cwd.as_deref(), Some("/home/user/project"));
        }
    }
}

#[test]
fn bad_payloads_are_refused_with_a_reason_that_names_the_field() {
    refused(b"", "payload_empty", "empty");
    refused(b" \n\t", "payload_empty", "empty");
    refused(b"{\"a\":\"\xff\"}", "payload_not_utf8", "byte 6");
    refused(b"{\"session_id\":", "payload_not_json", "line 1");
    refused(b"{}x", "payload_not_json", "column 3");
    refused(b"[1]", "payload_not_an_object", "object");
    refused(b"\"text\"", "payload_not_an_object", "object");
    refused(
        b"{\"hook_event_name\":\"Stop\"}",
        "field_missing",
        "session_id",
    );
    refused(
        b"{\"session_id\":null,\"hook_event_name\":\"Stop\"}",
        "field_missing",
        "session_id",
    );
    refused(
        b"{\"session_id\":\"s\"}",
        "field_missing",
        "hook_event_name",
    );
    refused(
        b"{\"session_id\":7,\"hook_event_name\":\"x\"}",
        "field_invalid",
        "session_id",
    );
    refused(
        b"{\"session_id\":{\"a\":[1]},\"hook_event_name\":\"x\"}",
        "field_invalid",
        "string",
    );
    refused(
        b"{\"session_id\":\"\",\"hook_event_name\":\"x\"}",
        "field_invalid",
        "empty",
    );
    let long = format!(
        r#"{{"session_id":"{}","hook_event_name":"x"}}"#,
        "s".repeat(513)
    );
    refused(long.as_bytes(), "field_invalid", "513 bytes");
}

#[test]
fn unknown_events_unknown_fields_and_deep_values_are_accepted() {
    let deep = "[".repeat(3_000) + &"]".repeat(3_000);
    let raw = format!(r#"{{"session_id":"s","hook_event_name":"Brand New","x":{deep},"n":1e999}}"#);
    let event = accepted(Agent::ClaudeCode, &raw);
    assert_eq!(event.kind, "Brand New");
    assert_eq!(event.effect, Effect::None);
}

#[test]
fn a_string_cut_within_a_surrogate_pair_does_not_cost_the_event() {
    let raw = r#"{"session_id":"s","hook_event_name":"UserPromptSubmit","prompt":"hi \ud83d"}"#;
    let event = accepted(Agent::ClaudeCode, raw);
    assert_eq!(event.effect, Effect::Prompt("hi \u{fffd}".to_owned()));
    assert_eq!(event.payload, raw);
}

#[test]
fn value_that_no_parser_can_hold_costs_its_field_only() {
    let raw = r#"{"session_id":"s","hook_event_name":"UserPromptSubmit","prompt":1e999}"#;
    let event = accepted(Agent::ClaudeCode, raw);
    assert_eq!(event.effect, Effect::Prompt(String::new()));
    refused(
        br#"{"session_id":1e999,"hook_event_name":"Stop"}"#,
        "field_invalid",
        "session_id",
    );
}

#[test]
fn repeated_field_is_taken_as_json_parsers_do_the_last_one() {
    let raw = r#"{"session_id":"a","session_id":"b","hook_event_name":"Stop"}"#;
    assert_eq!(accepted(Agent::Codex, raw).session_key, "b");
}

#[test]
fn only_the_main_agent_prompts_and_ends_the_session() {
    let event = |kind: &str, more: &str| {
        accepted(
            Agent::Codex,
            &format!(r#"{{"session_id":"s","hook_event_name":"{kind}","prompt":"p"{more}}}"#),
        )
    };
    let sub = r#","agent_id":"a""#;
    let end = Effect::End {
        drain_until: Timestamp(1_060_000),
    };
    assert_eq!(
        event("UserPromptSubmit", "").effect,
        Effect::Prompt("p".to_owned())
    );
    assert_eq!(event("UserPromptSubmit", sub).effect, Effect::None);
    assert_eq!(event("SessionEnd", "").effect, end);
    assert_eq!(event("SessionEnd", sub).effect, Effect::None);
    assert_eq!(
        event("SessionStart", r#","source":"compact""#).effect,
        Effect::Start
    );
    assert!(event("SessionStart", "").wants_context);
    assert!(!event("SessionStart", sub).wants_context);
    assert!(!event("Stop", "").wants_context);
}

#[test]
fn start_and_end_of_one_tool_call_have_different_keys() {
    let key = |kind: &str, more: &str| {
        let raw = format!(r#"{{"session_id":"s","hook_event_name":"{kind}"{more}}}"#);
        accepted(Agent::ClaudeCode, &raw)
            .dedup
            .map(|dedup| dedup.key)
    };
    let id = r#","tool_use_id":"t""#;
    let pre = key("PreToolUse", id);
    assert!(pre.is_some());
    assert_eq!(pre, key("PreToolUse", id));
    assert_ne!(pre, key("PostToolUse", id));
    assert_ne!(
        pre,
        key("PreToolUse", r#","tool_use_id":"t","agent_id":"a""#)
    );
    assert_eq!(key("UserPromptSubmit", ""), None);
    let long = key(
        "PreToolUse",
        &format!(r#","tool_use_id":"{}""#, "t".repeat(9_000)),
    );
    assert!(long.is_some_and(|key| key.len() <= 512));
}

#[test]
fn generic_takes_its_documented_names_and_prefers_the_canonical_ones() {
    let event = accepted(
        Agent::Generic,
        r#"{"session":"s","event":"UserPromptSubmit","prompt":"p"}"#,
    );
    assert_eq!(
        (event.session_key.as_str(), event.kind.as_str()),
        ("s", "UserPromptSubmit")
    );
    assert_eq!(event.effect, Effect::Prompt("p".to_owned()));
    let event = accepted(
        Agent::Generic,
        r#"{"session_id":"s","hook_event_name":"FileChanged","event":"change"}"#,
    );
    assert_eq!(event.kind, "FileChanged");
}

#[test]
fn cursor_declares_double_delivery_within_two_seconds() {
    let raw = r#"{"conversation_id":"c","hook_event_name":"beforeSubmitPrompt","prompt":"p",
                  "workspace_roots":["/w","/x"]}"#;
    let event = accepted(Agent::Cursor, raw);
    assert_eq!(event.session_key, "c");
    assert_eq!(event.cwd.as_deref(), Some("/w"));
    assert_eq!(event.effect, Effect::Prompt("p".to_owned()));
    let dedup = event.dedup.expect("hash");
    assert_eq!(dedup.window_ms, Some(2_000));
    assert_eq!(
        Some(dedup),
        accepted(Agent::Cursor, &format!("{raw}\n")).dedup
    );
}

#[test]
fn failures_are_seen_however_the_agent_tells_them() {
    let failure = |agent: Agent, kind: &str, fields: &str| {
        let payload = format!(
            r#"{{"tool_name":"Bash","tool_input":{{"command":"x"}},"tool_use_id":"t",{fields}}}"#
        );
        match view(agent, kind, &payload).what {
            What::ToolFinished { outcome, .. } => (
                outcome.exit_code,
                outcome.failure.map(|failure| failure.error),
            ),
            other => panic!("{other:?}"),
        }
    };
    let bad = |code, error: &str| (code, Some(error.to_owned()));
    assert_eq!(
        failure(
            Agent::ClaudeCode,
            "PostToolUseFailure",
            r#""error":"Exit code 3\nbad""#
        ),
        bad(Some(3), "bad")
    );
    assert_eq!(
        failure(
            Agent::ClaudeCode,
            "PostToolUse",
            r#""tool_response":{"stdout":"","interrupted":true}"#
        ),
        bad(None, "interrupted")
    );
    assert_eq!(
        failure(
            Agent::Codex,
            "PostToolUse",
            r#""tool_response":"Exit code: 2\nWall time: 0 seconds\nOutput:\nno""#
        ),
        bad(Some(2), "no")
    );
    assert_eq!(
        failure(Agent::Codex, "PostToolUse", r#""tool_response":"fine""#),
        (None, None)
    );
    assert_eq!(
        failure(
            Agent::GeminiCli,
            "AfterTool",
            r#""tool_response":{"llmContent":"","error":{"message":"gone"}}"#
        ),
        bad(None, "gone")
    );
    assert_eq!(
        failure(
            Agent::Cursor,
            "postToolUse",
            r#""tool_output":"{\"exitCode\":1,\"output\":\"no\"}""#
        ),
        bad(Some(1), "no")
    );
}

#[test]
fn every_agent_is_found_by_its_own_name() {
    for agent in Agent::ALL {
        assert_eq!(agent.as_str().parse(), Ok(agent));
    }
}

#[test]
fn unknown_agent_error_lists_every_agent() {
    let error = "vim".parse::<Agent>().expect_err("not an agent");
    for agent in Agent::ALL {
        assert!(error.to_string().contains(agent.as_str()), "{error}");
    }
}

#[test]
fn context_is_output_for_a_session_start_only() {
    let output = context_output(Agent::ClaudeCode, "SessionStart", "a \"b\"\n").expect("taken");
    let parsed: serde_json::Value = serde_json::from_str(&output).expect("json");
    assert_eq!(
        parsed["hookSpecificOutput"]["additionalContext"],
        "a \"b\"\n"
    );
    assert_eq!(
        parsed["hookSpecificOutput"]["hookEventName"],
        "SessionStart"
    );
    assert_eq!(context_output(Agent::Codex, "Stop", "x"), None);
    assert_eq!(context_output(Agent::Cursor, "sessionStart", "x"), None);
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(raw in proptest::collection::vec(any::<u8>(), 0..200)) {
        for agent in Agent::ALL {
            if let Ok(event) = read_event(agent, &raw, NOW, DRAIN) {
                prop_assert!(!event.session_key.is_empty() && event.session_key.len() <= 512);
            }
        }
    }
}
