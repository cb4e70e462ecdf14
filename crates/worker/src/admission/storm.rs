//! The slots under a storm: sessions that come, idle, go on, give way and give up at random.
//!
//! Nothing but a wake-up moves a session that waits for its slot or to be asked for it, so that a
//! lost one shows as a storm that does not end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sessiond_queue::ids::SessionId;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{Slot, SlotCounts, Slots};

const LIMIT: Duration = Duration::from_secs(60);
const ROUNDS: u64 = 40;
const SESSIONS: u64 = 24;
const MESSAGES: usize = 40;
const SLOTS: usize = 3;

/// What the sessions of a round share.
#[derive(Default)]
struct Shared {
    /// Slots held, as the holders count them.
    held: AtomicUsize,
    /// Sessions that were asked for their slot at their end.
    gone: AtomicUsize,
    /// Cancelled when the rest has nobody who could ask.
    last: CancellationToken,
}

/// Numbers that a seed replays.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        // xorshift64, which never leaves zero.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_session_gets_through_with_never_more_slots_than_there_are() {
    for round in 0..ROUNDS {
        let slots = Slots::new(SLOTS, Duration::ZERO);
        let shared = Arc::new(Shared::default());
        let sessions = (1..=SESSIONS).map(|number| {
            let random = Random((round * SESSIONS + number).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            tokio::spawn(session(slots.clone(), Arc::clone(&shared), random))
        });
        let all = timeout(LIMIT, futures::future::join_all(sessions)).await;
        let all = all.unwrap_or_else(|_| panic!("round {round} hangs: {:?}", slots.counts()));
        for end in all {
            end.unwrap_or_else(|error| panic!("round {round}: {error}"));
        }
        let nothing = SlotCounts {
            max: SLOTS,
            ..SlotCounts::default()
        };
        assert_eq!(slots.counts(), nothing, "round {round}");
    }
}

/// Works its messages; between them it idles until it is asked to go, unless a message comes first.
async fn session(slots: Slots, shared: Arc<Shared>, mut random: Random) {
    let session = SessionId::mint();
    let mut left = MESSAGES;
    while left > 0 {
        let slot = if random.below(4) == 0 {
            // Gives up at some moment of its waiting, its own turn perhaps.
            let acquired = slots.acquire(session);
            let pause = yields(random.below(6));
            tokio::select! {
                biased;
                () = pause => continue,
                slot = acquired => slot,
            }
        } else {
            slots.acquire(session).await
        };
        let now_held = shared.held.fetch_add(1, Ordering::SeqCst) + 1;
        assert!(now_held <= SLOTS, "{now_held} hold one of {SLOTS} slots");
        while left > 0 && !gives_way(&slot, &mut random).await {
            left -= 1;
            yields(random.below(3)).await;
        }
        shared.held.fetch_sub(1, Ordering::SeqCst);
        drop(slot);
    }
    // At the end each idles until another one wants its slot; only the last ones may go unasked.
    let slot = slots.acquire(session).await;
    slot.idle();
    tokio::select! {
        () = slot.wanted() => shared.gone.fetch_add(1, Ordering::SeqCst),
        () = shared.last.cancelled() => return,
    };
    if shared.gone.load(Ordering::SeqCst) == SESSIONS as usize - SLOTS {
        shared.last.cancel();
    }
}

/// Whether the holder is to go, before its next message comes.
async fn gives_way(slot: &Slot, random: &mut Random) -> bool {
    match random.below(3) {
        0 => slot.turn_is_over(),
        1 => {
            slot.idle();
            tokio::select! {
                () = slot.wanted() => true,
                () = yields(random.below(4)) => {
                    slot.busy();
                    false
                }
            }
        }
        _ => false,
    }
}

async fn yields(times: u64) {
    for _ in 0..times {
        tokio::task::yield_now().await;
    }
}
