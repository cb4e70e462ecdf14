//! The history of attempts on SQLite: large batches, batches that fail, and what the schema refuses.

use futures::future::join_all;
use sessiond_queue::SqliteStore;
use sessiond_queue::ids::Generation;
use sessiond_queue::store::Store;
use sessiond_queue::types::{AttemptOutcome, Claim, Claimed, Release, ReleaseWhy};

use crate::sqlite::{NOW, event, new_path, open, stranger};

/// Claims a message of each of so many sessions.
async fn claim_all(store: &SqliteStore, sessions: usize) -> Vec<Claim> {
    let mut claims = Vec::new();
    let events = (0..sessions).map(|key| event(&format!("k{key}"), &format!("X{key}")));
    for stored in join_all(events.map(|event| store.enqueue(event, NOW))).await {
        let session = stored.expect("the event is stored").session;
        match store.claim(session, Generation(1), NOW).await {
            Ok(Claimed::Message(claim)) => claims.push(*claim),
            other => panic!("{other:?}"),
        }
    }
    claims
}

fn give_back(claim: &Claim) -> Release {
    Release {
        message: claim.message.id,
        fence: claim.fence,
        why: ReleaseWhy::GiveBack {
            reason: format!("gave back {}", claim.message.kind),
            not_before: None,
        },
    }
}

/// Each claim has one entry, its own.
async fn assert_given_back(store: &SqliteStore, claims: &[Claim]) {
    for claim in claims {
        let attempts = store.attempts(claim.message.id).await;
        let attempts = attempts.expect("the history is read");
        assert_eq!(attempts.len(), 1, "{attempts:?}");
        assert_eq!(attempts[0].outcome, AttemptOutcome::Unavailable);
        let wanted = format!("gave back {}", claim.message.kind);
        assert_eq!(attempts[0].reason, Some(wanted));
    }
}

#[tokio::test]
async fn give_backs_of_every_batch_size_are_kept() {
    for sessions in [1, 3, 17, 65, 300] {
        let (_dir, path) = new_path();
        let store = open(&path).await;
        let claims = claim_all(&store, sessions).await;
        let releases = claims.iter().map(give_back);
        let released = join_all(releases.map(|release| store.release(release, NOW))).await;
        assert!(released.iter().all(Result::is_ok), "{released:?}");
        assert_given_back(&store, &claims).await;
    }
}

#[tokio::test]
async fn rescue_of_more_than_a_statement_takes_is_kept() {
    let (_dir, path) = new_path();
    let store = open(&path).await;
    let claims = claim_all(&store, 300).await;
    let rescued = store.rescue(Generation(2), NOW).await;
    assert_eq!(rescued.expect("claims are rescued").pending, 300);
    for claim in &claims {
        let attempts = store.attempts(claim.message.id).await;
        let attempts = attempts.expect("the history is read");
        assert_eq!(attempts.len(), 1, "{attempts:?}");
        assert_eq!(attempts[0].outcome, AttemptOutcome::Rescued);
    }
}

/// Wherever in the transaction it fails, what is repeated is kept once.
#[tokio::test]
async fn repeated_batch_keeps_each_attempt_once() {
    for trap in [
        "CREATE TRIGGER trap BEFORE UPDATE ON messages WHEN NEW.kind = 'X30' AND NEW.state = 'pending'
         BEGIN SELECT RAISE(ABORT, 'trap'); END",
        "CREATE TRIGGER trap BEFORE INSERT ON attempts WHEN NEW.reason = 'gave back X30'
         BEGIN SELECT RAISE(ABORT, 'trap'); END",
    ] {
        let (_dir, path) = new_path();
        let store = open(&path).await;
        let mut claims = claim_all(&store, 60).await;
        let mut stranger = stranger(&path).await;
        let set = sqlx::raw_sql(trap).execute(&mut stranger).await;
        set.expect("the trap is set");
        // Far more than the writer begins with: the trapped one shares its batch with others.
        let releases = claims.iter().map(give_back);
        let released = join_all(releases.map(|release| store.release(release, NOW))).await;
        let is_refused = |place: &usize| released[*place].is_err();
        let refused: Vec<_> = (0..released.len()).filter(is_refused).collect();
        assert_eq!(refused, [30]);
        let trapped = claims.remove(30);
        let attempts = store.attempts(trapped.message.id).await;
        assert_eq!(attempts.expect("the history is read"), []);
        assert_given_back(&store, &claims).await;
    }
}

#[tokio::test]
async fn schema_refuses_what_no_claim_ends_with() {
    let (_dir, path) = new_path();
    let store = open(&path).await;
    claim_all(&store, 1).await;
    let mut stranger = stranger(&path).await;
    for spoil in [
        "INSERT INTO attempts VALUES (1, 1, 1, 1, 'lost', NULL)",
        "INSERT INTO attempts VALUES (1, 1, 0, 1, 'retry', NULL)",
        "INSERT INTO attempts VALUES (1, 1, 1, 1, 'redriven', NULL)",
        "INSERT INTO attempts VALUES (1, 0, 1, 1, 'retry', NULL)",
        "INSERT INTO attempts VALUES (99, 1, 1, 1, 'retry', NULL)",
        "INSERT INTO usage_days VALUES (1, -1, 0, 0)",
        "INSERT INTO usage_days VALUES (1, 0, -1, 0)",
        "INSERT INTO usage_days VALUES (1, 0, 0, -1)",
        "UPDATE sessions SET failing = ''",
    ] {
        let spoilt = sqlx::raw_sql(spoil).execute(&mut stranger).await;
        assert!(spoilt.is_err(), "{spoil}");
    }
}
