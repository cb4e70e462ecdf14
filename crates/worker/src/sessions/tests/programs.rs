//! Programs in sessions, at the moments that are hard to meet with real ones: what they hold when
//! their message goes, what happens while they start and close, and what a stop leaves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use sessiond_queue::ids::{MessageId, SessionId};
use sessiond_queue::store::Store;
use sessiond_queue::types::{CloseDepth, Effect, Life, Session, State, Usage};
use tokio::time::Instant;

use super::flaky::Flaky;
use super::program::{Factory, KIND, Programs, done, failed, not_ready};
use super::{LIMIT, context, event};
use crate::admission::{Admission, Slot};
use crate::clock::Clock;
use crate::config::Config;
use crate::generator::{FailureClass, OpenError, OpenErrorKind};
use crate::sessions::{Context, Depth, Sessions};

struct Rig {
    store: Arc<Flaky>,
    programs: Arc<Programs>,
    context: Arc<Context>,
    sessions: Sessions,
}

impl Rig {
    fn new(slots: usize, tune: impl FnOnce(&mut Config)) -> Self {
        let store = Arc::new(Flaky::new());
        let programs = Arc::new(Programs::new());
        let context = context(
            Arc::clone(&store) as Arc<dyn Store>,
            Arc::new(Factory(Arc::clone(&programs))),
            Arc::default(),
            |settings| {
                settings.generator.command = KIND.to_owned();
                settings.generator.generators_max = slots;
                tune(settings);
            },
        );
        Self {
            store,
            programs,
            sessions: Sessions::start(Arc::clone(&context)),
            context,
        }
    }

    fn admission(&self) -> &Admission {
        &self.context.admission
    }

    /// Makes the provider unavailable until its first wait is over.
    fn provider_goes(&self) {
        self.admission().breakers.unavailable(KIND, "ordered", None);
    }

    async fn take_slot(&self) -> Slot {
        self.admission().slots.acquire(SessionId::mint()).await
    }

    async fn put(&self, key: &str, effect: Effect) -> (SessionId, MessageId) {
        let receipt = self.store.enqueue(event(key, effect), Clock.now()).await;
        let receipt = receipt.expect("room");
        (receipt.session, receipt.message)
    }

    async fn send(&self, key: &str, effect: Effect) -> (SessionId, MessageId) {
        let (session, message) = self.put(key, effect.clone()).await;
        self.sessions.wake(session, &effect).await;
        (session, message)
    }

    async fn row(&self, session: SessionId) -> Session {
        let row = self.store.inner.session(session).await;
        row.expect("the model does not fail").expect("is there")
    }

    async fn until(&self, what: &str, mut is: impl AsyncFnMut() -> bool) {
        let deadline = Instant::now() + LIMIT;
        while !is().await {
            let is_late = Instant::now() >= deadline;
            let counts = self.admission().slots.counts();
            assert!(
                !is_late,
                "no {what}: {counts:?}, {:?}",
                self.sessions.live().await
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    async fn until_state(&self, message: MessageId, state: State) {
        self.until(state.as_str(), async || {
            let found = self.store.message(message).await.expect("the model");
            found.is_some_and(|found| found.state == state)
        })
        .await;
    }

    async fn until_waiting(&self, count: usize) {
        self.until("waiters for a slot", async || {
            self.admission().slots.counts().waiting == count
        })
        .await;
    }

    async fn until_open(&self, count: u64) {
        self.until("such number of programs", async || {
            self.programs.open_now() == count
        })
        .await;
    }
}

#[tokio::test]
async fn slot_that_came_when_the_message_was_gone_is_given_to_the_next() {
    let rig = Rig::new(1, |_| {});
    let slot = rig.take_slot().await;
    let (_, gone) = rig.send("a", Effect::None).await;
    rig.until_waiting(1).await;
    let (_, next) = rig.send("b", Effect::None).await;
    rig.until_waiting(2).await;
    rig.store.cancel(gone, Clock.now()).await.expect("pending");
    drop(slot);
    rig.until_state(next, State::Done).await;
}

#[tokio::test]
async fn trial_whose_message_was_gone_is_given_to_the_next() {
    let rig = Rig::new(2, |settings| settings.generator.breaker_base_ms = 1);
    let slots = (rig.take_slot().await, rig.take_slot().await);
    rig.provider_goes();
    let (_, gone) = rig.send("a", Effect::None).await;
    rig.until_waiting(1).await;
    let (_, next) = rig.send("b", Effect::None).await;
    rig.store.cancel(gone, Clock.now()).await.expect("pending");
    drop(slots);
    rig.until_state(next, State::Done).await;
}

#[tokio::test]
async fn trial_is_not_kept_through_a_backoff() {
    let rig = Rig::new(2, |settings| {
        settings.generator.breaker_base_ms = 1;
        settings.queue.backoff_base_ms = 60_000;
    });
    rig.programs.on_start(|session| match session.key.as_str() {
        "a" => Err(not_ready()),
        _ => Ok(()),
    });
    rig.provider_goes();
    rig.send("a", Effect::None).await;
    rig.until("start", async || rig.programs.starts() == 1)
        .await;
    let (_, next) = rig.send("b", Effect::None).await;
    rig.until_state(next, State::Done).await;
}

/// Sessions that were let through and wait for a slot, while the first of them finds out.
async fn start_in_line(rig: &Rig) -> Vec<SessionId> {
    let slot = rig.take_slot().await;
    let mut line = Vec::new();
    for number in 1..=5 {
        let (session, _) = rig.send(&number.to_string(), Effect::None).await;
        line.push(session);
        rig.until_waiting(number).await;
    }
    drop(slot);
    line
}

#[tokio::test]
async fn those_in_line_for_a_slot_do_not_ask_a_provider_that_went_meanwhile() {
    let rig = Rig::new(1, |settings| {
        settings.generator.breaker_base_ms = 3_600_000;
        settings.generator.breaker_cap_ms = 3_600_000;
    });
    rig.programs.on_work(|_| failed(FailureClass::Unavailable));
    let line = start_in_line(&rig).await;
    rig.until("wait of all for the provider", async || {
        let live = rig.sessions.live().await;
        let away = live.iter().filter(|live| {
            let waiting = live.waiting.as_deref();
            waiting.is_some_and(|why| why.contains("unavailable"))
        });
        away.count() == line.len()
    })
    .await;
    assert_eq!(rig.programs.starts(), 1);
    rig.programs.on_work(|_| done(Usage::default()));
    rig.admission().breakers.success(KIND);
    for session in line {
        rig.until("work", async || rig.row(session).await.pending == 0)
            .await;
    }
}

#[tokio::test]
async fn those_in_line_for_a_slot_do_not_spend_what_was_spent_meanwhile() {
    let rig = Rig::new(1, |settings| settings.generator.budget_day_usd = 1.0);
    rig.programs.on_work(|_| {
        done(Usage {
            cost_usd: 1.0,
            ..Usage::default()
        })
    });
    let line = start_in_line(&rig).await;
    rig.until("wait of the others for tomorrow", async || {
        let live = rig.sessions.live().await;
        let over = live.iter().filter(|live| {
            let waiting = live.waiting.as_deref();
            waiting.is_some_and(|why| why.contains("budget_day_usd"))
        });
        over.count() == line.len() - 1
    })
    .await;
    assert_eq!(rig.programs.starts(), 1);
}

#[tokio::test]
async fn failed_starts_count_through_the_ends_of_runs() {
    let rig = Rig::new(1, |settings| {
        settings.session.generator_idle_end_ms = 1;
        settings.generator.restart_max = 3;
        settings.queue.backoff_base_ms = 20;
    });
    rig.programs.on_start(|_| Err(not_ready()));
    let (session, message) = rig.send("a", Effect::None).await;
    rig.until("failing", async || rig.row(session).await.failing.is_some())
        .await;
    assert_eq!(rig.programs.starts(), 4);
    rig.programs.on_start(|_| Ok(()));
    rig.sessions.restart(session).await.expect("it is there");
    rig.until_state(message, State::Done).await;
}

#[tokio::test]
async fn start_that_the_workers_stop_refuses_does_not_count() {
    let rig = Rig::new(1, |settings| settings.generator.restart_max = 0);
    rig.programs.on_start(|_| {
        Err(OpenError {
            kind: OpenErrorKind::Stopping,
            ..not_ready()
        })
    });
    let (session, message) = rig.send("a", Effect::None).await;
    rig.until("start", async || rig.programs.starts() == 1)
        .await;
    rig.sessions.shutdown(Instant::now() + LIMIT).await;
    assert_eq!(rig.programs.starts(), 1);
    assert_eq!(rig.row(session).await.failing, None);
    rig.until_state(message, State::Pending).await;
}

#[tokio::test]
async fn start_that_the_machine_or_the_cap_does_not_allow_is_tried_again_and_does_not_count() {
    for kind in [OpenErrorKind::Lacking, OpenErrorKind::Full] {
        let rig = Rig::new(1, |settings| settings.generator.restart_max = 0);
        let left = AtomicU64::new(7);
        rig.programs.on_start(move |_| {
            let is_there = left
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                    left.checked_sub(1)
                })
                .is_err();
            is_there.then_some(()).ok_or_else(|| OpenError {
                kind,
                ..not_ready()
            })
        });
        let (session, message) = rig.send("a", Effect::None).await;
        rig.until_state(message, State::Done).await;
        assert_eq!(rig.programs.starts(), 8, "{kind:?}");
        assert_eq!(rig.row(session).await.failing, None, "{kind:?}");
        let message = rig.store.message(message).await.expect("the model");
        assert_eq!(message.expect("is there").attempt, 1, "{kind:?}");
    }
}

#[tokio::test]
async fn prompt_during_the_last_start_clears_what_comes_of_it() {
    let rig = Rig::new(1, |settings| settings.generator.restart_max = 0);
    rig.programs.on_start(|_| Err(not_ready()));
    rig.programs.starting.shut();
    let (session, message) = rig.send("a", Effect::None).await;
    rig.until("start", async || rig.programs.starts() == 1)
        .await;
    rig.send("a", Effect::Prompt("again".to_owned())).await;
    rig.programs.on_start({
        let is_first = AtomicBool::new(true);
        move |_| match is_first.swap(false, Ordering::SeqCst) {
            true => Err(not_ready()),
            false => Ok(()),
        }
    });
    rig.programs.starting.open();
    rig.until_state(message, State::Done).await;
    assert_eq!(rig.row(session).await.failing, None);
}

#[tokio::test]
async fn idle_program_is_closed_while_its_session_may_not_work() {
    let rig = Rig::new(1, |settings| {
        settings.generator.budget_session_usd = 1.0;
        settings.session.generator_idle_end_ms = 50;
    });
    rig.programs.on_work(|_| {
        done(Usage {
            cost_usd: 1.0,
            ..Usage::default()
        })
    });
    let (_, first) = rig.send("a", Effect::None).await;
    rig.put("a", Effect::None).await;
    rig.until_state(first, State::Done).await;
    rig.until_open(0).await;
    let counts = rig.admission().slots.counts();
    assert_eq!((counts.held, counts.waiting), (0, 0));
}

#[tokio::test]
async fn others_hear_that_a_provider_went_before_its_program_has_ended() {
    let rig = Rig::new(2, |settings| settings.generator.breaker_base_ms = 3_600_000);
    rig.programs.on_work(|_| failed(FailureClass::Unavailable));
    rig.programs.closing.shut();
    rig.send("a", Effect::None).await;
    rig.until("open breaker", async || {
        rig.admission().breakers.is_open(KIND).is_some()
    })
    .await;
    assert_eq!(rig.programs.open_now(), 1);
}

#[tokio::test]
async fn program_that_asks_for_the_end_of_its_session_gets_it() {
    let rig = Rig::new(1, |_| {});
    rig.programs.ask.send_replace(true);
    let (session, first) = rig.send("a", Effect::Start).await;
    rig.until_state(first, State::Done).await;
    rig.until("end", async || rig.row(session).await.life == Life::Ended)
        .await;
}

#[tokio::test]
async fn claim_of_a_run_that_failed_under_a_close_is_given_back() {
    let rig = Rig::new(1, |settings| settings.session.idle_unload_ms = 30);
    let until = Clock.now().after(Duration::from_millis(50));
    let end = Effect::End { drain_until: until };
    rig.programs.starting.shut();
    let (_, message) = rig.send("a", end).await;
    rig.until("start", async || rig.programs.starts() == 1)
        .await;
    rig.put("a", Effect::Start).await;
    rig.store.mark_closing.shut();
    rig.until("close", async || {
        let live = rig.sessions.live().await;
        live.iter()
            .any(|live| live.activity == crate::sessions::Activity::Closing)
    })
    .await;
    // A panic of the start ends the run with its claim unsettled.
    rig.programs.on_start({
        let is_first = AtomicBool::new(true);
        move |_| {
            assert!(!is_first.swap(false, Ordering::SeqCst), "ordered");
            Ok(())
        }
    });
    rig.programs.starting.open();
    rig.until_open(0).await;
    rig.store.mark_closing.open();
    rig.until_state(message, State::Done).await;
}

#[tokio::test]
async fn drain_of_a_session_that_was_purged_is_over() {
    let rig = Rig::new(1, |_| {});
    let (session, _) = rig.put("a", Effect::None).await;
    let now = Clock.now();
    let store = &rig.store.inner;
    let marked = store.mark_closing(session, CloseDepth::Purge, false, now);
    marked.await.expect("it is there");
    store.purge_rows(session, now).await.expect("marked");
    store.finish_close(session, now).await.expect("purged");
    let drain_until = now.after(Duration::from_secs(3_600));
    rig.sessions
        .wake(session, &Effect::End { drain_until })
        .await;
    rig.until("end of the drain", async || {
        rig.sessions.live().await.is_empty()
    })
    .await;
}

#[tokio::test]
async fn claim_on_its_way_when_the_program_asks_for_the_end_is_given_back() {
    let rig = Rig::new(1, |_| {});
    let (session, first) = rig.send("a", Effect::Start).await;
    rig.until_state(first, State::Done).await;
    rig.store.claimed.shut();
    let (_, second) = rig.send("a", Effect::None).await;
    rig.until_state(second, State::Claimed).await;
    rig.programs.ask.send_replace(true);
    rig.until_open(0).await;
    rig.programs.ask.send_replace(false);
    rig.store.claimed.open();
    rig.until_state(second, State::Done).await;
    rig.until("end", async || rig.row(session).await.life == Life::Ended)
        .await;
}

#[tokio::test]
async fn cancel_of_a_message_behind_it_does_not_hide_the_cancel_of_the_one_in_work() {
    let rig = Rig::new(1, |_| {});
    rig.programs.working.shut();
    let (_, in_work) = rig.send("a", Effect::None).await;
    let (_, behind) = rig.send("a", Effect::None).await;
    rig.until("work", async || {
        rig.sessions.live().await[0].working_on == Some(in_work)
    })
    .await;
    for message in [in_work, behind] {
        let cancelled = rig.store.cancel(message, Clock.now()).await;
        let cancelled = cancelled.expect("not settled");
        rig.sessions.cancelled(&cancelled).await;
    }
    rig.until_open(0).await;
}

#[tokio::test]
async fn close_interrupts_a_wait_for_a_slot_a_provider_and_a_budget() {
    for what in ["slot", "provider", "budget"] {
        let rig = Rig::new(1, |settings| {
            settings.generator.breaker_base_ms = 3_600_000;
            settings.generator.budget_session_usd = if what == "budget" { 1e-9 } else { 0.0 };
        });
        let slot = rig.take_slot().await;
        if what == "provider" {
            rig.provider_goes();
        }
        if what == "budget" {
            drop(slot);
            rig.programs.on_work(|_| {
                done(Usage {
                    cost_usd: 1.0,
                    ..Usage::default()
                })
            });
            let (_, first) = rig.send("a", Effect::None).await;
            rig.until_state(first, State::Done).await;
        }
        let (session, _) = rig.send("a", Effect::None).await;
        rig.until("wait", async || {
            rig.sessions.live().await[0].waiting.is_some()
        })
        .await;
        let began = Instant::now();
        let report = rig.sessions.close(session, Depth::Purge, false).await;
        let report = report.expect("closed");
        assert!(began.elapsed() < Duration::from_secs(10), "{report:?}");
        assert_eq!(rig.programs.open_now(), 0);
    }
}
