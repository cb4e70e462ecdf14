//! What is found, in which order, and that the index follows the results through failures.

use std::sync::Arc;
use std::time::Duration;

use sessiond_queue::SqliteStore;
use sessiond_queue::limits::Limits;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::digest::{OBSERVATION, SUMMARY, TRACE};
use crate::testing::Recorded;

const NOW: Timestamp = Timestamp(77);

struct Running {
    state: StateDb,
    index: SearchIndex,
    indexer: Indexer,
    cancel: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    async fn start(home: &TempDir, recorded: &Recorded) -> Self {
        let state = StateDb::open(&home.path().join("state.db"), NOW)
            .await
            .expect("open");
        let index = SearchIndex::new(state.clone());
        let cancel = CancellationToken::new();
        let store = Arc::clone(&recorded.store);
        let (indexer, task) = Indexer::start(index.clone(), store, cancel.clone());
        Self {
            state,
            index,
            indexer,
            cancel,
            task,
        }
    }

    /// Wakes the indexer and waits until it has nothing left to do.
    async fn caught_up(&self, recorded: &Recorded) {
        self.indexer.wake();
        let caught_up = async {
            while self.index.behind(&*recorded.store).await.expect("behind") > 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), caught_up)
            .await
            .expect("the indexer catches up");
    }

    async fn titles(&self, query: SearchQuery) -> Vec<String> {
        let hits = self.index.search(&query).await.expect("search");
        hits.into_iter().map(|hit| hit.title).collect()
    }

    async fn stop(self) {
        self.cancel.cancel();
        self.task.await.expect("the task ends well");
        self.state.close().await;
    }
}

fn text(text: &str) -> SearchQuery {
    SearchQuery {
        text: text.to_owned(),
        ..SearchQuery::default()
    }
}

#[tokio::test]
async fn results_are_found_by_word_prefix_and_phrase_and_filtered() {
    let home = tempfile::tempdir().expect("tempdir");
    let recorded = Recorded::default();
    let one = recorded.session("one", "/one").await;
    let two = recorded.session("two", "/two").await;
    recorded
        .result(one, OBSERVATION, "Ran: cargo test", "parser broke", &[])
        .await;
    recorded
        .result(one, SUMMARY, "Turn 1: fix the parser", "cargo", &[])
        .await;
    recorded
        .result(two, OBSERVATION, "Read: Über.rs", "the test ran", &[])
        .await;
    recorded
        .result(two, OBSERVATION, "Starts cargo", "", &[TRACE])
        .await;

    let running = Running::start(&home, &recorded).await;
    running.caught_up(&recorded).await;
    // The title weighs more than the body.
    let parser = ["Turn 1: fix the parser", "Ran: cargo test"];
    assert_eq!(running.titles(text("pars")).await, parser);
    assert_eq!(
        running.titles(text("\"cargo test\"")).await,
        ["Ran: cargo test"]
    );
    assert!(running.titles(text("\"test cargo\"")).await.is_empty());
    assert_eq!(running.titles(text("uber")).await, ["Read: Über.rs"]);
    assert!(running.titles(text("parser OR nothing")).await.is_empty());

    let hits = |query: SearchQuery| running.titles(query);
    assert_eq!(hits(text("cargo")).await.len(), 2);
    assert_eq!(
        hits(SearchQuery {
            include_trace: true,
            ..text("cargo")
        })
        .await
        .len(),
        3
    );
    let project = Some("/two".to_owned());
    assert_eq!(
        hits(SearchQuery {
            project,
            ..text("test")
        })
        .await,
        ["Read: Über.rs"]
    );
    let kind = Some(SUMMARY.to_owned());
    assert_eq!(
        hits(SearchQuery {
            kind,
            ..text("cargo")
        })
        .await
        .len(),
        1
    );
    assert_eq!(
        hits(SearchQuery {
            session: Some(two),
            ..text("test")
        })
        .await
        .len(),
        1
    );
    let agent = Some("codex".to_owned());
    assert!(
        hits(SearchQuery {
            agent,
            ..text("cargo")
        })
        .await
        .is_empty()
    );
    assert_eq!(
        hits(SearchQuery {
            limit: 1,
            ..text("cargo")
        })
        .await
        .len(),
        1
    );
    let hit = &running.index.search(&text("broke")).await.expect("search")[0];
    assert_eq!((hit.session, hit.project.as_deref()), (one, Some("/one")));
    assert_eq!(hit.snippet, "parser broke");
    running.stop().await;
}

#[tokio::test]
async fn nothing_a_user_types_is_a_database_error() {
    let home = tempfile::tempdir().expect("tempdir");
    let recorded = Recorded::default();
    let running = Running::start(&home, &recorded).await;
    for typed in [
        "NEAR(a b",
        "title:x",
        "a*b^c",
        "\"",
        "x\" OR \"",
        "-a",
        "{a}: b",
        "a\0b",
        "Ⓐ",
        "'",
    ] {
        match running.index.search(&text(typed)).await {
            Ok(_) | Err(SearchError::InvalidField { .. }) => {}
            Err(error) => panic!("{typed:?}: {error:?}"),
        }
    }
    running.stop().await;
}

#[tokio::test]
async fn purged_session_is_not_found_any_more() {
    let home = tempfile::tempdir().expect("tempdir");
    // The engine that runs in earnest: which ids and counts a purge leaves is its business.
    let path = home.path().join("queue.db");
    let store = SqliteStore::open(&path, Limits::default())
        .await
        .expect("open the queue");
    let recorded = Recorded::on(Arc::new(store));
    let running = Running::start(&home, &recorded).await;
    let one = recorded.session("one", "/one").await;
    let two = recorded.session("two", "/two").await;
    recorded.result(two, SUMMARY, "kept secret", "", &[]).await;
    recorded
        .result(one, SUMMARY, "purged secret", "", &[])
        .await;
    running.caught_up(&recorded).await;
    assert_eq!(running.titles(text("secret")).await.len(), 2);
    recorded.purge(one).await;
    running.indexer.remove_session(one).await.expect("removed");
    assert_eq!(running.titles(text("secret")).await, ["kept secret"]);
    running
        .indexer
        .remove_session(one)
        .await
        .expect("removed again");
    // The newest result is gone, and the next start does not take the store for another one.
    running.stop().await;
    let running = Running::start(&home, &recorded).await;
    // Requests are answered after the first round only.
    running.indexer.remove_session(one).await.expect("removed");
    assert_eq!(
        running.index.watermark().await.expect("watermark"),
        ResultId(2)
    );
    running.stop().await;
}

#[tokio::test]
async fn index_goes_on_behind_its_watermark_after_a_restart() {
    let home = tempfile::tempdir().expect("tempdir");
    let recorded = Recorded::default();
    let session = recorded.session("one", "/one").await;
    for number in 0..300 {
        recorded
            .result(session, SUMMARY, &format!("turn {number}"), "", &[])
            .await;
    }
    let running = Running::start(&home, &recorded).await;
    running.caught_up(&recorded).await;
    running.stop().await;
    recorded
        .result(session, SUMMARY, "turn extra", "", &[])
        .await;
    let running = Running::start(&home, &recorded).await;
    running.caught_up(&recorded).await;
    let all = SearchQuery {
        limit: HITS_MAX,
        ..text("turn")
    };
    assert_eq!(running.titles(all).await.len(), HITS_MAX as usize);
    assert_eq!(running.titles(text("extra")).await.len(), 1);
    assert_eq!(running.titles(text("299")).await.len(), 1);
    running.stop().await;
}

#[tokio::test]
async fn index_of_another_store_is_built_again() {
    let home = tempfile::tempdir().expect("tempdir");
    let old = Recorded::default();
    let session = old.session("one", "/one").await;
    for _ in 0..3 {
        old.result(session, SUMMARY, "old result", "", &[]).await;
    }
    let running = Running::start(&home, &old).await;
    running.caught_up(&old).await;
    running.stop().await;
    for results in [1, 5] {
        let new = Recorded::default();
        let session = new.session("one", "/one").await;
        for _ in 0..results {
            new.result(session, SUMMARY, &format!("store {results}"), "", &[])
                .await;
        }
        let running = Running::start(&home, &new).await;
        let wanted = async {
            while running
                .titles(text(&format!("\"store {results}\"")))
                .await
                .len()
                != results
            {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), wanted)
            .await
            .expect("built again");
        assert!(running.titles(text("old")).await.is_empty());
        running.stop().await;
    }
}

#[tokio::test]
async fn rebuild_gives_the_same_hits() {
    let home = tempfile::tempdir().expect("tempdir");
    let recorded = Recorded::default();
    let session = recorded.session("one", "/one").await;
    recorded.result(session, SUMMARY, "turn one", "", &[]).await;
    let running = Running::start(&home, &recorded).await;
    running.caught_up(&recorded).await;
    let before = running.index.search(&text("turn")).await.expect("search");
    running.indexer.rebuild().await.expect("rebuild");
    running.caught_up(&recorded).await;
    assert_eq!(
        running.index.search(&text("turn")).await.expect("search"),
        before
    );
    assert_eq!(running.indexer.status(), IndexerStatus::default());
    running.stop().await;
}

#[tokio::test]
async fn failing_store_is_told_to_the_doctor_and_overcome() {
    let home = tempfile::tempdir().expect("tempdir");
    let recorded = Recorded::default();
    let running = Running::start(&home, &recorded).await;
    recorded.store.close().await;
    running.indexer.wake();
    let failing = async {
        while running.indexer.status().consecutive_failures == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), failing)
        .await
        .expect("noticed");
    let error = running.indexer.status().last_error.expect("reason");
    assert!(error.contains("closed"), "{error}");
    running
        .indexer
        .rebuild()
        .await
        .expect("requests are still answered");
    running.stop().await;
}
