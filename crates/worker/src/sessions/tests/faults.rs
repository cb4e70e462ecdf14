//! Stores that fail between claim and settle, or in the middle of a close; ends, starts and closes
//! that cross each other.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sessiond_queue::ids::SessionId;
use sessiond_queue::store::Store;
use sessiond_queue::types::{Effect, Life, Session};
use tokio::time::Instant;

use super::flaky::Flaky;
use super::{LIMIT, Part, event, start};
use crate::clock::Clock;
use crate::config::Config;
use crate::sessions::{Activity, Depth, Live, Sessions};

struct Rig {
    store: Arc<Flaky>,
    part: Arc<Part>,
    sessions: Sessions,
}

impl Rig {
    fn new(delay_ms: u64, tune: impl FnOnce(&mut Config)) -> Self {
        let store = Arc::new(Flaky::new());
        let part = Arc::new(Part {
            delay_ms,
            ..Part::default()
        });
        let sessions = start(
            Arc::clone(&store) as Arc<dyn Store>,
            Arc::clone(&part),
            tune,
        );
        Self {
            store,
            part,
            sessions,
        }
    }

    /// A rig whose sessions unload after some milliseconds.
    fn restless(delay_ms: u64) -> Self {
        Self::new(delay_ms, |settings| {
            settings.session.generator_idle_end_ms = 10;
            settings.session.idle_unload_ms = 30;
        })
    }

    async fn put(&self, effect: Effect) -> SessionId {
        let receipt = self.store.enqueue(event("k", effect), Clock.now()).await;
        receipt.expect("room").session
    }

    async fn send(&self, effect: Effect) -> SessionId {
        let session = self.put(effect.clone()).await;
        self.sessions.wake(session, &effect).await;
        session
    }

    async fn row(&self, session: SessionId) -> Option<Session> {
        let row = self.store.inner.session(session).await;
        row.expect("the model does not fail")
    }

    async fn wait(&self, session: SessionId, what: &str, is: impl Fn(Option<&Session>) -> bool) {
        let deadline = Instant::now() + LIMIT;
        loop {
            let row = self.row(session).await;
            if is(row.as_ref()) {
                return;
            }
            let is_late = Instant::now() >= deadline;
            assert!(
                !is_late,
                "no {what}: {row:?}, {:?}",
                self.sessions.live().await
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    async fn wait_worked(&self, session: SessionId) {
        self.wait(session, "end of the work", |row| {
            row.is_some_and(|row| row.pending == 0)
        })
        .await;
    }

    async fn wait_life(&self, session: SessionId, life: Life) {
        self.wait(session, "such life", |row| {
            row.is_some_and(|row| row.life == life)
        })
        .await;
    }

    async fn wait_live(&self, what: &str, is: impl Fn(&[Live]) -> bool) {
        let deadline = Instant::now() + LIMIT;
        loop {
            let live = self.sessions.live().await;
            if is(&live) {
                return;
            }
            assert!(Instant::now() < deadline, "no {what}: {live:?}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    async fn wait_closing(&self) {
        let is_closing = |live: &Live| live.activity == Activity::Closing;
        self.wait_live("close", |live| live.iter().any(is_closing))
            .await;
    }
}

fn end_in(ms: u64) -> Effect {
    Effect::End {
        drain_until: Clock.now().after(Duration::from_millis(ms)),
    }
}

#[tokio::test]
async fn failed_release_leaves_no_claim_behind() {
    let rig = Rig::new(0, |_| {});
    rig.part.fail_work.store(true, Ordering::SeqCst);
    rig.store.release.fail_once();
    let session = rig.send(Effect::None).await;
    rig.wait_worked(session).await;
}

#[tokio::test]
async fn failed_read_after_a_claim_leaves_no_claim_behind() {
    let rig = Rig::new(0, |_| {});
    rig.store.session.fail_once();
    let session = rig.send(Effect::None).await;
    rig.wait_worked(session).await;
}

#[tokio::test]
async fn close_that_failed_is_begun_again() {
    let rig = Rig::new(0, |_| {});
    rig.store.mark_closing.fail_once();
    let session = rig.send(end_in(60_000)).await;
    rig.wait_life(session, Life::Ended).await;
}

#[tokio::test]
async fn purge_whose_index_failed_is_begun_again() {
    let rig = Rig::new(0, |_| {});
    let session = rig.send(Effect::None).await;
    rig.wait_worked(session).await;
    rig.part.fail_forget.store(true, Ordering::SeqCst);
    let failed = rig.sessions.close(session, Depth::Purge, false).await;
    failed.expect_err("the index failed");
    // It is asked for: the agent's return does not take it back.
    rig.sessions.wake(session, &Effect::Start).await;
    rig.wait(session, "purge", |row| row.is_none()).await;
}

#[tokio::test]
async fn close_that_failed_leaves_no_second_generator_and_none_unwatched() {
    let rig = Rig::new(50, |_| {});
    let session = rig.send(Effect::None).await;
    rig.store.mark_closing.fail_once();
    let failed = rig.sessions.close(session, Depth::Close, false).await;
    failed.expect_err("the mark failed");
    for _ in 0..5 {
        rig.send(Effect::None).await;
        assert!(rig.part.generators.load(Ordering::SeqCst) <= 1);
    }
    rig.sessions.shutdown(Instant::now() + LIMIT).await;
    assert_eq!(rig.part.generators.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn plain_close_does_not_make_a_draining_purge_shallower() {
    let rig = Rig::new(100, |_| {});
    let session = rig.send(Effect::None).await;
    let sessions = rig.sessions.clone();
    let purge = tokio::spawn(async move { sessions.close(session, Depth::Purge, true).await });
    rig.wait(session, "drain", |row| {
        row.is_some_and(|row| row.drain_until.is_some())
    })
    .await;
    let closed = rig.sessions.close(session, Depth::Close, false).await;
    closed.expect("closed");
    let report = purge.await.expect("no panic").expect("purged");
    assert_eq!(report.depth, Depth::Purge);
    assert_eq!(rig.row(session).await, None);
}

#[tokio::test]
async fn prompt_calls_off_an_end_that_came_during_an_unload() {
    let rig = Rig::restless(0);
    let session = rig.send(Effect::None).await;
    rig.wait_worked(session).await;
    rig.store.session.shut();
    rig.wait_closing().await;
    rig.send(end_in(60_000)).await;
    rig.send(Effect::Prompt("hello".to_owned())).await;
    rig.store.session.open();
    rig.wait_worked(session).await;
    // It leaves memory, which would have been its close.
    rig.wait_live("unload", |live| live.is_empty()).await;
    rig.sessions.shutdown(Instant::now() + LIMIT).await;
    assert_eq!(rig.row(session).await.map(|row| row.life), Some(Life::Open));
}

#[tokio::test]
async fn drain_that_is_asked_for_during_an_unload_drains() {
    let rig = Rig::restless(10);
    let session = rig.send(Effect::None).await;
    rig.wait_worked(session).await;
    rig.store.session.shut();
    rig.wait_closing().await;
    for _ in 0..5 {
        rig.send(Effect::None).await;
    }
    let sessions = rig.sessions.clone();
    let close = tokio::spawn(async move { sessions.close(session, Depth::Close, true).await });
    rig.wait(session, "drain", |row| {
        row.is_some_and(|row| row.drain_until.is_some())
    })
    .await;
    rig.store.session.open();
    let report = close.await.expect("no panic").expect("closed");
    assert_eq!(report.pending_left, 0, "{report:?}");
}

#[tokio::test]
async fn end_whose_wake_up_came_before_the_starts_still_ends_the_session() {
    let rig = Rig::restless(0);
    let session = rig.put(Effect::Start).await;
    let end = end_in(100);
    rig.put(end.clone()).await;
    rig.sessions.wake(session, &end).await;
    rig.sessions.wake(session, &Effect::Start).await;
    rig.wait_life(session, Life::Ended).await;
}

#[tokio::test]
async fn end_that_comes_while_a_drain_is_called_off_ends_the_session() {
    let rig = Rig::restless(20);
    let session = rig.send(end_in(60_000)).await;
    rig.put(Effect::Start).await;
    rig.store.mark_closing.shut();
    rig.wait_closing().await;
    rig.sessions.wake(session, &Effect::Start).await;
    rig.send(end_in(200)).await;
    rig.store.mark_closing.open();
    rig.wait_life(session, Life::Ended).await;
}
