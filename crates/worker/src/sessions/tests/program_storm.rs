//! Programs under a storm: more sessions than slots, starts that fail, providers that go, programs
//! that ask for their end, while sessions are woken, drained, closed, restarted and relieved of
//! messages at random. Then all is mended, and everything that is left has to be worked by itself,
//! but for what is failing, which gets a prompt.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sessiond_queue::ids::{MessageId, SessionId};
use sessiond_queue::store::Store;
use sessiond_queue::types::{Effect, MessageFilter, SessionFilter, State, Usage};
use tokio::time::Instant;

use super::flaky::Flaky;
use super::program::{Factory, KIND, Programs, done, failed, not_ready};
use super::{LIMIT, context, event};
use crate::admission::SlotCounts;
use crate::clock::Clock;
use crate::generator::FailureClass;
use crate::sessions::{Context, Depth, Sessions};

const ROUNDS: u64 = 12;
const PRODUCERS: u64 = 6;
const STEPS: u64 = 60;
const SESSIONS: u64 = 8;

/// Numbers that a seed replays, as far as the scheduler lets them.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, end: u64) -> u64 {
        // xorshift64, which never leaves zero.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % end
    }
}

struct Storm {
    store: Arc<Flaky>,
    programs: Arc<Programs>,
    context: Arc<Context>,
    sessions: Sessions,
    slots: usize,
}

impl Storm {
    fn new(round: u64) -> Self {
        let slots = 1 + usize::try_from(round % 2).expect("small");
        let store = Arc::new(Flaky::new());
        let programs = Arc::new(Programs::new());
        let context = context(
            Arc::clone(&store) as Arc<dyn Store>,
            Arc::new(Factory(Arc::clone(&programs))),
            Arc::default(),
            |settings| {
                settings.generator.command = KIND.to_owned();
                settings.generator.generators_max = slots;
                settings.generator.turn_ms = round % 3;
                settings.generator.restart_max = 2;
                settings.generator.breaker_base_ms = 1;
                settings.generator.breaker_cap_ms = 4;
                settings.queue.backoff_base_ms = 1;
                settings.queue.backoff_cap_ms = 4;
                // Some works are aborted.
                settings.session.generator_stop_wait_ms = [1, 600_000][(round / 2 % 2) as usize];
                settings.session.generator_idle_end_ms = [1, 20, 600_000][(round % 3) as usize];
                settings.session.idle_unload_ms = [1, 600_000][(round / 3 % 2) as usize];
            },
        );
        Self {
            store,
            programs,
            sessions: Sessions::start(Arc::clone(&context)),
            context,
            slots,
        }
    }

    /// Programs fail in every way, now and then.
    fn rage(&self, round: u64) {
        let number = AtomicU64::new(round << 32);
        let next = move || Random::new(number.fetch_add(1, Ordering::Relaxed)).below(12);
        let next = Arc::new(next);
        let next_start = Arc::clone(&next);
        self.programs.on_start(move |_| match next_start() {
            0..3 => Err(not_ready()),
            3 => panic!("ordered"),
            _ => Ok(()),
        });
        self.programs.on_work(move |_| match next() {
            0 => failed(FailureClass::Retry),
            1..4 => failed(FailureClass::Unavailable),
            4 => panic!("ordered"),
            _ => done(Usage::default()),
        });
    }

    fn mend(&self) {
        self.programs.ask.send_replace(false);
        self.programs.on_start(|_| Ok(()));
        self.programs.on_work(|_| done(Usage::default()));
        self.store.session.open();
        self.store.release.open();
        self.store.mark_closing.open();
        self.store.release_session.open();
    }

    async fn send(&self, number: u64, effect: Effect) -> (SessionId, MessageId) {
        let event = event(&number.to_string(), effect.clone());
        let receipt = self.store.enqueue(event, Clock.now()).await.expect("room");
        self.sessions.wake(receipt.session, &effect).await;
        (receipt.session, receipt.message)
    }

    async fn step(&self, random: &mut Random) {
        let number = random.below(SESSIONS);
        let drain_until = Clock.now().after(Duration::from_millis(random.below(20)));
        let effect = match random.below(8) {
            0 => Effect::Start,
            1 => Effect::Prompt("p".to_owned()),
            2 => Effect::End { drain_until },
            _ => Effect::None,
        };
        let (session, message) = self.send(number, effect).await;
        match random.below(24) {
            0..4 => {
                if let Ok(message) = self.store.cancel(message, Clock.now()).await {
                    self.sessions.cancelled(&message).await;
                }
            }
            4..6 => {
                // It may have been purged since.
                let _unknown = self.sessions.restart(session).await;
            }
            6..9 => {
                let depth = [Depth::Close, Depth::Purge][random.below(2) as usize];
                let is_drained = random.below(2) == 0;
                let sessions = self.sessions.clone();
                // What fails is tried again, and nobody has to hear of it.
                let close = async move { sessions.close(session, depth, is_drained).await };
                let close = tokio::spawn(close);
                if random.below(2) == 0 {
                    let _told = close.await.expect("no panic");
                }
            }
            9 => self.store.session.fail_once(),
            10 => self.store.release.fail_once(),
            11 => self.store.mark_closing.fail_once(),
            22 => self.store.release_session.fail_once(),
            23 => {
                let work_ms = random.below(5);
                self.programs.work_ms.store(work_ms, Ordering::SeqCst);
            }
            12 => {
                let asks = random.below(2) == 0;
                self.programs.ask.send_replace(asks);
            }
            13..18 => tokio::time::sleep(Duration::from_millis(random.below(4))).await,
            18..=21 => tokio::task::yield_now().await,
            _ => {}
        }
    }

    /// Works what is left. Nothing is woken but what is failing.
    async fn calm(&self, round: u64) {
        let deadline = Instant::now() + LIMIT;
        loop {
            let rows = self.store.inner.sessions(SessionFilter::default()).await;
            let rows = rows.expect("the model does not fail");
            for row in rows.iter().filter(|row| row.failing.is_some()) {
                let prompt = Effect::Prompt("mended".to_owned());
                self.send(row.key.parse().expect("a number"), prompt).await;
            }
            let closing = self.sessions.live().await;
            let is_closing = closing.iter().any(|live| {
                use crate::sessions::Activity;
                matches!(live.activity, Activity::Closing | Activity::Draining)
            });
            if !is_closing && rows.iter().all(|row| row.pending == 0) {
                return;
            }
            if Instant::now() >= deadline {
                let left = self.store.messages(MessageFilter::default()).await;
                let mut left = left.expect("the model does not fail");
                left.retain(|left| matches!(left.state, State::Pending | State::Claimed));
                let counts = self.context.admission.slots.counts();
                let breakers = self.context.admission.breakers.status();
                let live = self.sessions.live().await;
                panic!(
                    "round {round} hangs: {left:?}, {rows:?}, {counts:?}, {breakers:?}, {live:?}"
                );
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_is_worked_once_all_is_mended() {
    for round in 0..ROUNDS {
        let storm = Arc::new(Storm::new(round));
        storm.rage(round);
        let producers = (0..PRODUCERS).map(|producer| {
            let storm = Arc::clone(&storm);
            tokio::spawn(async move {
                let mut random = Random::new(round * PRODUCERS + producer + 1);
                for _ in 0..STEPS {
                    storm.step(&mut random).await;
                }
            })
        });
        let producing = futures::future::join_all(producers.collect::<Vec<_>>());
        for producer in tokio::time::timeout(LIMIT, producing).await.expect("hangs") {
            producer.expect("no panic");
        }
        storm.mend();
        storm.calm(round).await;
        let most = storm.programs.open_most.load(Ordering::SeqCst);
        assert!(most <= storm.slots as u64, "round {round}: {most} at once");
        storm.sessions.shutdown(Instant::now() + LIMIT).await;
        assert_eq!(storm.programs.open_now(), 0, "round {round}");
        let nothing = SlotCounts {
            max: storm.slots,
            ..SlotCounts::default()
        };
        assert_eq!(storm.context.admission.slots.counts(), nothing);
    }
}
