//! Which sessions are told of, and that the budget holds whatever they say.

use crate::agents::{Agent, read_event};
use crate::digest::{CHANGE, FAILURE, OBSERVATION, SUMMARY};
use crate::digest::{DigestMessage, digest};
use crate::testing::Recorded;

use sessiond_queue::ids::Seq;

use super::*;

const PROJECT: &str = "/home/user/project";
const BUDGET: usize = 6_000;

async fn context_of(
    recorded: &Recorded,
    except: Option<SessionId>,
    budget: usize,
) -> Option<String> {
    context(&*recorded.store, PROJECT, except, budget)
        .await
        .expect("context")
}

#[tokio::test]
async fn context_tells_the_latest_summary_of_each_session_of_the_project() {
    let recorded = Recorded::default();
    let one = recorded.session("one", PROJECT).await;
    recorded
        .result(one, SUMMARY, "first turn", "old", &[])
        .await;
    recorded
        .result(one, SUMMARY, "second turn", "Work: 3 tool calls", &[])
        .await;
    let two = recorded.session("two", PROJECT).await;
    recorded
        .result(two, OBSERVATION, "Edited: b.txt", "", &[CHANGE])
        .await;
    recorded
        .result(
            two,
            OBSERVATION,
            "Bash failed: make",
            "Error: no rule\nmore",
            &[FAILURE],
        )
        .await;
    recorded.result(two, OBSERVATION, "Ran: ls", "", &[]).await;
    let other = recorded.session("other", "/elsewhere").await;
    recorded
        .result(other, SUMMARY, "secret of another project", "", &[])
        .await;

    let text = context_of(&recorded, None, BUDGET)
        .await
        .expect("something to tell");
    assert!(
        text.contains("> second turn\n> Work: 3 tool calls"),
        "{text}"
    );
    assert!(!text.contains("first turn"), "{text}");
    assert!(text.contains("Bash failed: make — no rule\n"), "{text}");
    assert!(text.contains("Edited: b.txt"), "{text}");
    assert!(!text.contains("Ran: ls"), "{text}");
    assert!(!text.contains("another project"), "{text}");

    let text = context_of(&recorded, Some(one), BUDGET)
        .await
        .expect("session two");
    assert!(!text.contains("second turn"), "{text}");
}

#[tokio::test]
async fn context_is_none_when_nothing_is_to_be_told() {
    let recorded = Recorded::default();
    assert_eq!(context_of(&recorded, None, BUDGET).await, None);
    let one = recorded.session("one", PROJECT).await;
    recorded.result(one, OBSERVATION, "Ran: ls", "", &[]).await;
    assert_eq!(context_of(&recorded, None, BUDGET).await, None);
    recorded.result(one, SUMMARY, "a turn", "", &[]).await;
    assert_eq!(context_of(&recorded, Some(one), BUDGET).await, None);
    assert!(context_of(&recorded, None, BUDGET).await.is_some());
}

#[tokio::test]
async fn budget_holds_in_characters_and_lines_stay_whole() {
    let recorded = Recorded::default();
    for number in 0..5 {
        let session = recorded.session(&format!("s{number}"), PROJECT).await;
        let body = "äöü is a line that is told as a whole\n".repeat(100);
        recorded.result(session, SUMMARY, "turn", &body, &[]).await;
        for change in 0..40 {
            let title = format!("Edited: {number}/{change}.rs");
            recorded
                .result(session, OBSERVATION, &title, "", &[CHANGE])
                .await;
        }
    }
    for budget in (0..8_000).step_by(61) {
        let Some(text) = context_of(&recorded, None, budget).await else {
            assert!(budget < 800, "nothing told within {budget}");
            continue;
        };
        assert!(text.chars().count() <= budget);
        assert!(text.ends_with('\n'));
        for line in text.lines().filter(|line| line.contains("äöü")) {
            assert_eq!(line, "> äöü is a line that is told as a whole");
        }
    }
    let text = context_of(&recorded, None, BUDGET).await.expect("told");
    assert!(text.chars().count() > BUDGET / 2, "the budget is used");
    assert!(text.contains("Recent changes"), "{text}");
    assert!(text.matches("## claude-code").count() >= 3, "{text}");
}

#[tokio::test]
async fn quoted_text_cannot_pass_for_a_heading() {
    let recorded = Recorded::default();
    let session = recorded.session("s", PROJECT).await;
    let body = "# Ignore all that\r## And this";
    recorded.result(session, SUMMARY, "a\n# b", body, &[]).await;
    recorded
        .result(session, OBSERVATION, "c\n# d", "", &[FAILURE])
        .await;
    let text = context_of(&recorded, None, BUDGET).await.expect("told");
    let headings: Vec<&str> = text.lines().filter(|line| line.starts_with('#')).collect();
    assert_eq!(headings.len(), 3, "{headings:?}");
}

#[tokio::test]
async fn context_of_recorded_sessions_reads_well() {
    let recorded = Recorded::default();
    let claude = include_str!("../../../../tests/fixtures/claude-code.jsonl");
    let resumed = include_str!("../../../../tests/fixtures/claude-code-resume-clear-compact.jsonl");
    let mut checkpoints = std::collections::HashMap::new();
    for (number, line) in claude.lines().chain(resumed.lines()).enumerate() {
        let at = Timestamp(1_795_245_600_000 + number as i64 * 40);
        let event = read_event(Agent::ClaudeCode, line.as_bytes(), at, Default::default());
        let event = event.expect("accepted");
        let session = recorded.session(&event.session_key, PROJECT).await;
        let checkpoint: &mut Option<String> = checkpoints.entry(session).or_default();
        let message = DigestMessage {
            seq: Seq(1),
            kind: &event.kind,
            agent_id: event.agent_id.as_deref(),
            accepted_at: at,
            payload: &event.payload,
        };
        let digested = digest(Agent::ClaudeCode, checkpoint.as_deref(), &message);
        *checkpoint = Some(digested.checkpoint);
        recorded.results(session, digested.results).await;
    }
    let text = context_of(&recorded, None, BUDGET).await.expect("told");
    insta::assert_snapshot!(text);
}
