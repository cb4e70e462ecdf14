//! The smallest user of the queue: stores two events, works them in order, and prints what is stored.
//!
//! `cargo run -p sessiond-queue --example queue`

use std::time::{SystemTime, UNIX_EPOCH};

use sessiond_queue::SqliteStore;
use sessiond_queue::ids::{EventId, Timestamp};
use sessiond_queue::limits::Limits;
use sessiond_queue::store::Store;
use sessiond_queue::types::{
    Claimed, Confirm, Effect, Enqueue, NewResult, ResultFilter, SessionRef, Usage,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    // The caller sees to it that one process at a time has the file open for writing.
    let store = SqliteStore::open(dir.path().join("queue.db"), Limits::default()).await?;
    // From now on claims are held in the name of this instance; those of a dead one come back.
    let owner = store.begin_generation("1-1", now()?).await?;
    store.rescue(owner, now()?).await?;

    let mut session = None;
    for text in ["first", "second"] {
        // Once this has answered, the event is on disk.
        let receipt = store.enqueue(event(text)?, now()?).await?;
        session = Some(receipt.session);
    }
    let session = session.ok_or("no event was stored")?;
    while let Claimed::Message(claim) = store.claim(session, owner, now()?).await? {
        let confirm = Confirm {
            message: claim.message.id,
            fence: claim.fence,
            results: vec![NewResult {
                kind: "note".to_owned(),
                title: claim.message.payload.clone(),
                ..NewResult::default()
            }],
            checkpoint: Some(claim.message.seq.0.to_string()),
            usage: Usage::default(),
        };
        // Results, checkpoint and "done": one transaction, or `ClaimLost`.
        store.confirm(confirm, now()?).await?;
    }
    for stored in store.results(ResultFilter::default()).await? {
        println!("{}: {}", stored.seq.0, stored.result.title);
    }
    store.close().await;
    Ok(())
}

fn event(text: &str) -> Result<Enqueue, Box<dyn std::error::Error>> {
    Ok(Enqueue {
        // The same event handed over again keeps its id, and is stored once.
        event_id: EventId::mint(),
        session: SessionRef::Key {
            agent: "example".to_owned(),
            key: "a".to_owned(),
        },
        kind: "note".to_owned(),
        agent_id: None,
        payload: format!("{{\"text\":\"{text}\"}}"),
        dedup: None,
        effect: Effect::None,
        cwd: None,
        project: None,
        accepted_at: now()?,
    })
}

#[expect(clippy::disallowed_methods, reason = "a program keeps its own clock")]
fn now() -> Result<Timestamp, Box<dyn std::error::Error>> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(Timestamp(i64::try_from(since.as_millis())?))
}
