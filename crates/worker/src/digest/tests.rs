//! The digest's promises (pure, total, bounded, resumable) and how it reads.

use std::collections::BTreeMap;

use proptest::prelude::*;
use sessiond_queue::ids::{Seq, Timestamp};

use super::*;
use crate::agents::read_event;

const SAMPLES: [(&str, Agent, &str); 4] = [
    (
        "claude-code",
        Agent::ClaudeCode,
        include_str!("../../../../tests/fixtures/claude-code.jsonl"),
    ),
    (
        "claude-code-resume-clear-compact",
        Agent::ClaudeCode,
        include_str!("../../../../tests/fixtures/claude-code-resume-clear-compact.jsonl"),
    ),
    (
        "codex",
        Agent::Codex,
        include_str!("../../../../tests/fixtures/codex.jsonl"),
    ),
    (
        "gemini-cli",
        Agent::GeminiCli,
        include_str!("../../../../tests/fixtures/gemini-cli.jsonl"),
    ),
];

struct Input {
    kind: String,
    agent_id: Option<String>,
    accepted_at: Timestamp,
    payload: String,
}

impl Input {
    fn new(agent: Agent, number: usize, payload: &str) -> (String, Self) {
        let accepted_at = Timestamp(1_795_245_600_000 + number as i64 * 40);
        let drain = std::time::Duration::from_secs(60);
        let event = read_event(agent, payload.as_bytes(), accepted_at, drain).expect("accepted");
        let input = Self {
            kind: event.kind,
            agent_id: event.agent_id,
            accepted_at,
            payload: event.payload,
        };
        (event.session_key, input)
    }
}

/// The sessions of a sample, each in its order.
fn sessions(agent: Agent, sample: &str) -> BTreeMap<String, Vec<Input>> {
    let mut sessions: BTreeMap<String, Vec<Input>> = BTreeMap::new();
    for (number, line) in sample.lines().enumerate() {
        let (key, input) = Input::new(agent, number, line);
        sessions.entry(key).or_default().push(input);
    }
    sessions
}

/// Digests inputs one after the other; returns every result and the last checkpoint.
fn run(
    agent: Agent,
    checkpoint: Option<String>,
    first_seq: usize,
    inputs: &[Input],
) -> (Vec<NewResult>, Option<String>) {
    let mut state = checkpoint;
    let mut results = Vec::new();
    for (number, input) in inputs.iter().enumerate() {
        let message = DigestMessage {
            seq: Seq((first_seq + number) as i64),
            kind: &input.kind,
            agent_id: input.agent_id.as_deref(),
            accepted_at: input.accepted_at,
            payload: &input.payload,
        };
        let digested = digest(agent, state.as_deref(), &message);
        results.extend(digested.results);
        state = Some(digested.checkpoint);
    }
    (results, state)
}

/// As a person would read it.
fn page(results: &[NewResult]) -> String {
    let mut page = String::new();
    for result in results {
        let tags = result.tags.join(" ");
        if result.tags.iter().any(|tag| tag == TRACE) {
            page.push_str(&format!("~ {} [{tags}]\n", result.title));
            continue;
        }
        let mark = if result.kind == SUMMARY { "==" } else { "--" };
        page.push_str(&format!("{mark} {} [{tags}]\n", result.title));
        for line in result.body.lines() {
            page.push_str(&format!("   {line}\n"));
        }
        for file in &result.files {
            page.push_str(&format!("   @ {file}\n"));
        }
    }
    page
}

#[test]
fn sample_sessions_read_well() {
    for (name, agent, sample) in SAMPLES {
        let mut text = String::new();
        for (key, inputs) in sessions(agent, sample) {
            let (results, _) = run(agent, None, 1, &inputs);
            text.push_str(&format!("#### {key}\n{}\n", page(&results)));
        }
        insta::assert_snapshot!(name, text);
    }
}

#[test]
fn resuming_from_any_checkpoint_gives_the_undisturbed_results() {
    for (_, agent, sample) in SAMPLES {
        for inputs in sessions(agent, sample).values() {
            let whole = run(agent, None, 1, inputs);
            assert_eq!(whole, run(agent, None, 1, inputs));
            for split in 0..=inputs.len() {
                let (mut results, checkpoint) = run(agent, None, 1, &inputs[..split]);
                let (rest, last) = run(agent, checkpoint, 1 + split, &inputs[split..]);
                results.extend(rest);
                assert_eq!((results, last), whole, "split at {split}");
            }
        }
    }
}

#[test]
fn every_event_gives_one_observation_first() {
    for (_, agent, sample) in SAMPLES {
        for inputs in sessions(agent, sample).values() {
            let mut state = None;
            for input in inputs {
                let (results, next) = run(agent, state, 1, std::slice::from_ref(input));
                assert_eq!(results[0].kind, OBSERVATION);
                assert!(!results[0].title.is_empty());
                assert!(results[1..].iter().all(|result| result.kind == SUMMARY));
                state = next;
            }
        }
    }
}

fn claude(events: &[&str]) -> Vec<NewResult> {
    let inputs: Vec<Input> = events
        .iter()
        .enumerate()
        .map(|(number, fields)| {
            let payload = format!(r#"{{"session_id":"s","cwd":"/p",{fields}}}"#);
            Input::new(Agent::ClaudeCode, number, &payload).1
        })
        .collect();
    run(Agent::ClaudeCode, None, 1, &inputs).0
}

#[test]
fn tool_that_was_interrupted_without_an_event_is_named_in_the_summary() {
    let results = claude(&[
        r#""hook_event_name":"PreToolUse","tool_name":"Bash","tool_input":{"command":"sleep 9"},"tool_use_id":"a""#,
        r#""hook_event_name":"UserPromptSubmit","prompt":"stop that""#,
        r#""hook_event_name":"Stop""#,
    ]);
    let summary = results.last().expect("summary");
    assert!(
        summary.body.contains("Never finished (1):\n- Bash sleep 9"),
        "{}",
        summary.body
    );
}

#[test]
fn tool_that_ends_after_its_turn_is_no_longer_unfinished() {
    let bash = r#""tool_name":"Bash","tool_input":{"command":"x"},"tool_use_id":"a""#;
    let results = claude(&[
        &format!(r#""hook_event_name":"PreToolUse",{bash}"#),
        r#""hook_event_name":"Stop""#,
        &format!(r#""hook_event_name":"PostToolUse",{bash}"#),
        r#""hook_event_name":"SessionEnd""#,
    ]);
    let bodies: Vec<&str> = results
        .iter()
        .filter(|result| result.kind == SUMMARY)
        .map(|result| result.body.as_str())
        .collect();
    assert!(bodies[0].contains("Never finished"), "{}", bodies[0]);
    assert!(!bodies[1].contains("Never finished"), "{}", bodies[1]);
}

#[test]
fn work_of_a_subagent_is_booked_to_it() {
    let sub = r#""agent_id":"a1","agent_type":"explorer""#;
    let results = claude(&[
        &format!(
            r#""hook_event_name":"PostToolUse","tool_name":"Write","tool_input":{{"file_path":"/p/x"}},"tool_use_id":"t",{sub}"#
        ),
        &format!(r#""hook_event_name":"SubagentStop","last_assistant_message":"done",{sub}"#),
    ]);
    let stop = results.last().expect("observation");
    assert_eq!(stop.title, "Subagent explorer ended: done");
    assert!(
        stop.body.contains("Did: 1 tool call (Write 1)"),
        "{}",
        stop.body
    );
    assert_eq!(stop.files, ["/p/x"]);
}

#[test]
fn checkpoint_and_results_stay_bounded_over_thousands_of_extreme_events() {
    let mut state = None;
    let long = "\\\\\\\"x".repeat(120);
    for number in 0..2_000 {
        let agent = if number % 5 == 0 {
            String::new()
        } else {
            format!(
                r#","agent_id":"agent-{}-{long}","agent_type":"{long}""#,
                number % 90
            )
        };
        let kind = [
            "PostToolUse",
            "PreToolUse",
            "UserPromptSubmit",
            "PostToolUseFailure",
            "SubagentStop",
            "Stop",
        ][number % 6];
        let tool = ["Edit", "Bash", "Read", "weird"][number / 6 % 4];
        let input = Input {
            kind: kind.to_owned(),
            agent_id: (number % 5 != 0).then(|| format!("agent-{}-{long}", number % 90)),
            accepted_at: Timestamp(number as i64),
            payload: format!(
                r#"{{"prompt":"{number} {long}","tool_name":"{tool}{}","tool_use_id":"{number}{long}",
                    "tool_input":{{"file_path":"/p/{number}/{long}","command":"{number} {long}"}},
                    "error":"{long}","last_assistant_message":"{long}"{agent}}}"#,
                if tool == "weird" { number } else { 0 }
                    .to_string()
                    .trim_start_matches('0'),
            ),
        };
        let (results, next) = run(
            Agent::ClaudeCode,
            state,
            number + 1,
            std::slice::from_ref(&input),
        );
        for result in &results {
            assert!(result.title.chars().count() <= 120);
            assert!(result.body.len() < 32 << 10, "{}", result.body.len());
        }
        let next = next.expect("checkpoint");
        assert!(next.len() <= CHECKPOINT_MAX_BYTES, "{} bytes", next.len());
        state = Some(next);
    }
    // What was dropped is still counted: every 30th event is a prompt of the main agent.
    let state: serde_json::Value = serde_json::from_str(&state.expect("checkpoint")).expect("json");
    assert_eq!(state["prompts"]["total"], 66);
    assert!(
        state["prompts"]["last"]
            .as_array()
            .is_some_and(|last| last.len() <= 24)
    );
}

/// What one event gives from this checkpoint.
fn digested(checkpoint: Option<&str>, kind: &str, payload: &str) -> Digested {
    let message = DigestMessage {
        seq: Seq(1),
        kind,
        agent_id: None,
        accepted_at: Timestamp(1),
        payload,
    };
    digest(Agent::ClaudeCode, checkpoint, &message)
}

#[test]
fn what_an_event_says_in_passing_stays_short_and_is_nothing_a_terminal_obeys() {
    let long = "\u{1b}[2J long ".repeat(20_000);
    let fields = serde_json::json!({ "model": long, "cwd": long, "reason": long, &*long: "x" });
    for kind in ["SessionStart", "PermissionDenied", "ConfigChange"] {
        let digested = digested(None, kind, &fields.to_string());
        let body = &digested.results[0].body;
        assert!(body.contains("[2J long"), "{kind}: {body}");
        assert!(!body.contains('\u{1b}'), "{kind}");
        assert!(body.len() < 8 << 10, "{kind}: {} bytes", body.len());
    }
}

#[test]
fn event_whose_name_cannot_be_shown_has_a_title() {
    for kind in [" ", "\u{1b}", "\n\t"] {
        let digested = digested(None, kind, "{}");
        assert_eq!(digested.results[0].title, "Event without a name");
    }
}

#[test]
fn counts_of_a_foreign_checkpoint_stop_at_their_end() {
    let full = u64::MAX;
    let work = serde_json::json!({ "calls": full, "failed": full, "by_tool": { "Bash": full } });
    let files = serde_json::json!({ "latest": vec!["/p"; 60], "dropped": full });
    let tail = serde_json::json!({ "total": full });
    let checkpoint = serde_json::json!({
        "v": 1, "work": work, "changed": files, "read": files, "prompts": tail, "commands": tail,
        "failures": tail, "running": tail, "unfinished": tail, "ended_ids": tail,
        "subagents": { "a": { "work": work, "changed": files } }, "subagents_dropped": full,
    });
    let mut checkpoint = checkpoint.to_string();
    for (kind, fields) in [
        ("UserPromptSubmit", r#""prompt":"p""#),
        (
            "PostToolUseFailure",
            r#""tool_name":"Bash","tool_use_id":"t","tool_input":{"command":"x"}"#,
        ),
        (
            "PostToolUse",
            r#""tool_name":"Write","tool_input":{"file_path":"/q"}"#,
        ),
        ("Stop", r#""x":1"#),
    ] {
        checkpoint = digested(Some(&checkpoint), kind, &format!("{{{fields}}}")).checkpoint;
    }
    let summary = digested(Some(&checkpoint), "SessionEnd", "{}")
        .results
        .pop();
    let body = summary.expect("a summary").body;
    assert!(body.contains(&format!("Work: {full} tool calls")), "{body}");
}

#[test]
fn checkpoint_too_long_to_be_the_digests_counts_as_none() {
    let line = "x".repeat(CHECKPOINT_MAX_BYTES);
    let checkpoint = format!(r#"{{"v":1,"commands":{{"total":1,"last":[{{"line":"{line}"}}]}}}}"#);
    assert_eq!(
        digested(Some(&checkpoint), "Stop", "{}"),
        digested(None, "Stop", "{}")
    );
}

/// JSON of any shape, within and beyond what the agents send.
fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        ".{0,40}".prop_map(Into::into),
    ];
    let name = prop_oneof![
        Just("tool_name".to_owned()),
        Just("tool_input".to_owned()),
        Just("tool_response".to_owned()),
        Just("tool_calls".to_owned()),
        Just("tool_use_id".to_owned()),
        Just("command".to_owned()),
        Just("file_path".to_owned()),
        Just("error".to_owned()),
        Just("edits".to_owned()),
        Just("cwd".to_owned()),
        Just("duration_ms".to_owned()),
        Just("last_assistant_message".to_owned()),
        ".{0,8}",
    ];
    leaf.prop_recursive(4, 48, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            proptest::collection::btree_map(name.clone(), inner, 0..6)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

fn any_kind() -> impl Strategy<Value = String> {
    prop_oneof![
        proptest::sample::select(vec![
            "SessionStart",
            "UserPromptSubmit",
            "PreToolUse",
            "PostToolUse",
            "PostToolUseFailure",
            "PostToolBatch",
            "PermissionDenied",
            "SubagentStart",
            "SubagentStop",
            "Stop",
            "StopFailure",
            "Interrupt",
            "SessionEnd",
            "AfterTool",
            "AfterAgent",
            "postToolUse",
        ])
        .prop_map(str::to_owned),
        ".{0,20}",
    ]
}

proptest! {
    #[test]
    fn any_payload_and_any_checkpoint_are_digested_alike_twice(
        kinds in proptest::collection::vec((any_kind(), any_json(), any::<bool>()), 1..6),
        text in ".{0,60}",
        checkpoint in proptest::option::of(any_json()),
    ) {
        for agent in Agent::ALL {
            let mut state = checkpoint.as_ref().map(ToString::to_string);
            for (number, (kind, json, sub)) in kinds.iter().enumerate() {
                for payload in [json.to_string(), text.clone()] {
                    let message = DigestMessage {
                        seq: Seq(1),
                        kind,
                        agent_id: sub.then_some("sub"),
                        accepted_at: Timestamp(i64::MAX - number as i64),
                        payload: &payload,
                    };
                    let once = digest(agent, state.as_deref(), &message);
                    prop_assert_eq!(&once, &digest(agent, state.as_deref(), &message));
                    prop_assert!(once.checkpoint.len() <= CHECKPOINT_MAX_BYTES);
                    prop_assert!(once.results[0].title.chars().count() <= 120);
                    state = Some(once.checkpoint);
                }
            }
        }
    }
}
