//! Slots: how many programs run at once, who is next, and who gives way.
//!
//! A waiter is served in the order of arrival. While somebody waits, as many holders as there are
//! waiters are asked to give way: first those that are leaving already, then the idle ones, longest
//! idle first, then, between two of its messages, one that has had its turn. Who is asked follows
//! from the state alone, which one lock guards; a wake-up says only "look again" and is kept for
//! one who does not wait yet, so that none is lost. How a holder gives way is its own affair: it
//! ends its generator and drops its slot.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sessiond_queue::ids::SessionId;
use tokio::sync::Notify;
use tokio::time::Instant;

/// A handle to all slots.
#[derive(Clone, Debug)]
pub struct Slots(Arc<Shared>);

/// A slot, held until it is dropped. Its holder counts as working until it says otherwise.
#[derive(Debug)]
pub struct Slot {
    shared: Arc<Shared>,
    /// Its ticket: one number from its waiting to its end.
    ticket: u64,
    rung: Arc<Notify>,
}

/// How many there are of what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct SlotCounts {
    /// Slots.
    pub max: usize,
    /// Of them held.
    pub held: usize,
    /// Of those, by sessions that wait for messages.
    pub idle: usize,
    /// Sessions that wait for one.
    pub waiting: usize,
}

#[derive(Debug)]
struct Shared {
    max: usize,
    turn: Duration,
    state: Mutex<State>,
}

/// Nobody waits while a slot is free.
#[derive(Debug, Default)]
struct State {
    next_ticket: u64,
    holders: BTreeMap<u64, Holder>,
    /// First come, first served.
    waiters: VecDeque<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    ticket: u64,
    rung: Arc<Notify>,
}

#[derive(Debug)]
struct Holder {
    rung: Arc<Notify>,
    /// Since when it has its slot.
    since: Instant,
    /// Since when it waits for messages; `None`: it works.
    idle_since: Option<Instant>,
    /// Whether it was told to give way and has not said since that it goes on.
    is_leaving: bool,
}

impl Slots {
    /// `max` slots, all free. A holder with more work keeps its slot for at least `turn`.
    pub fn new(max: usize, turn: Duration) -> Self {
        Self(Arc::new(Shared {
            // Without any, whoever asks would wait for ever.
            max: max.max(1),
            turn,
            state: Mutex::default(),
        }))
    }

    /// Waits for a slot. Dropping the future gives its place up, or the slot, if it was its turn
    /// just then.
    pub async fn acquire(&self, session: SessionId) -> Slot {
        // What is dropped when the future is: from here on, its ticket goes with it.
        let slot = self.enter();
        if slot.is_held() {
            return slot;
        }
        tracing::debug!(session.id = %session, "waits for a slot");
        while !slot.is_held() {
            slot.rung.notified().await;
        }
        tracing::debug!(session.id = %session, "has a slot");
        slot
    }

    /// How many there are of what.
    pub fn counts(&self) -> SlotCounts {
        let state = self.0.lock();
        let idle = state.holders.values().filter(|h| h.idle_since.is_some());
        SlotCounts {
            max: self.0.max,
            held: state.holders.len(),
            idle: idle.count(),
            waiting: state.waiters.len(),
        }
    }

    fn enter(&self) -> Slot {
        let rung = Arc::new(Notify::new());
        let ticket = self.0.change(|state| {
            let ticket = state.next_ticket;
            state.next_ticket += 1;
            let rung = Arc::clone(&rung);
            state.waiters.push_back(Waiter { ticket, rung });
            ticket
        });
        Slot {
            shared: Arc::clone(&self.0),
            ticket,
            rung,
        }
    }
}

impl Slot {
    /// Says that the holder waits for messages, from now on.
    pub fn idle(&self) {
        self.set_idle_since(Some(Instant::now()));
    }

    /// Says that the holder works, or goes on although it was asked to give way.
    pub fn busy(&self) {
        self.set_idle_since(None);
    }

    /// Whether the holder waits for messages.
    pub fn is_idle(&self) -> bool {
        let state = self.shared.lock();
        let holder = state.holders.get(&self.ticket);
        holder.is_some_and(|holder| holder.idle_since.is_some())
    }

    /// Waits until the holder, being idle, should give way. Dropping the future loses nothing; only
    /// one may wait at a time.
    pub async fn wanted(&self) {
        while !self.shared.is_wanted(self.ticket) {
            self.rung.notified().await;
        }
    }

    /// Whether the holder, having more work, should give way to others all the same: asked between
    /// two messages.
    pub fn turn_is_over(&self) -> bool {
        self.shared.turn_is_over(self.ticket, Instant::now())
    }

    fn set_idle_since(&self, idle_since: Option<Instant>) {
        self.shared.change(|state| {
            if let Some(holder) = state.holders.get_mut(&self.ticket) {
                holder.idle_since = idle_since;
                holder.is_leaving = false;
            }
        });
    }

    fn is_held(&self) -> bool {
        self.shared.lock().holders.contains_key(&self.ticket)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.shared.change(|state| {
            if state.holders.remove(&self.ticket).is_none() {
                let ticket = self.ticket;
                state.waiters.retain(|waiter| waiter.ticket != ticket);
            }
        });
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The one way to change the state: then the free slots are given out, and whoever is asked to
    /// give way now is rung.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let answer = change(&mut state);
        state.give_out(self.max, Instant::now());
        for ticket in state.asked() {
            if let Some(holder) = state.holders.get(&ticket) {
                holder.rung.notify_one();
            }
        }
        answer
    }

    fn is_wanted(&self, ticket: u64) -> bool {
        self.change(|state| {
            let is_wanted = state.asked().contains(&ticket);
            state.tell(ticket, is_wanted);
            is_wanted
        })
    }

    fn turn_is_over(&self, ticket: u64, now: Instant) -> bool {
        self.change(|state| {
            let is_over = state.is_over(ticket, now, self.turn);
            state.tell(ticket, is_over);
            is_over
        })
    }
}

impl State {
    fn give_out(&mut self, max: usize, now: Instant) {
        while self.holders.len() < max
            && let Some(Waiter { ticket, rung }) = self.waiters.pop_front()
        {
            rung.notify_one();
            let holder = Holder {
                rung,
                since: now,
                idle_since: None,
                is_leaving: false,
            };
            self.holders.insert(ticket, holder);
        }
    }

    /// How many are to give way besides those that are leaving, `ticket` not counted among them.
    fn wanted(&self, ticket: Option<u64>) -> usize {
        let others = self.holders.iter().filter(|(t, _)| Some(**t) != ticket);
        let leaving = others.filter(|(_, holder)| holder.is_leaving).count();
        self.waiters.len().saturating_sub(leaving)
    }

    /// Those who should give way while they are idle: told so already, or to be told.
    fn asked(&self) -> Vec<u64> {
        let mut leaving = Vec::new();
        let mut idle = Vec::new();
        for (ticket, holder) in &self.holders {
            match holder.idle_since {
                Some(since) if !holder.is_leaving => idle.push((since, *ticket)),
                Some(since) => leaving.push((since, *ticket)),
                None => {}
            }
        }
        idle.sort_unstable();
        leaving.sort_unstable();
        idle.truncate(self.wanted(None));
        leaving.truncate(self.waiters.len());
        let asked = leaving.into_iter().chain(idle);
        asked.map(|(_, ticket)| ticket).collect()
    }

    /// Whether a holder has had its turn, and those who wait are more than the ones who give way.
    fn is_over(&self, ticket: u64, now: Instant, turn: Duration) -> bool {
        let Some(holder) = self.holders.get(&ticket) else {
            return false;
        };
        let idle = self.holders.iter().filter(|(other, holder)| {
            **other != ticket && holder.idle_since.is_some() && !holder.is_leaving
        });
        now.duration_since(holder.since) >= turn && self.wanted(Some(ticket)) > idle.count()
    }

    /// Keeps what a holder was told, so that no other is asked for the same waiter. Who is told
    /// that it may stay may leave another one to be asked.
    fn tell(&mut self, ticket: u64, is_leaving: bool) {
        if let Some(holder) = self.holders.get_mut(&ticket) {
            holder.is_leaving = is_leaving;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);
    const LONG: Duration = Duration::from_secs(1_000);

    fn session() -> SessionId {
        SessionId::mint()
    }

    /// A slot that is free.
    fn take(slots: &Slots) -> Slot {
        let slot = slots.acquire(session()).now_or_never();
        slot.expect("a slot is free")
    }

    /// One that waits in line; dropped, it leaves it.
    fn wait(slots: &Slots) -> std::pin::Pin<Box<impl Future<Output = Slot>>> {
        let slots = slots.clone();
        let mut waiting = Box::pin(async move { slots.acquire(session()).await });
        assert!(waiting.as_mut().now_or_never().is_none(), "has to wait");
        waiting
    }

    fn is_wanted(slot: &Slot) -> bool {
        slot.wanted().now_or_never().is_some()
    }

    fn counts(slots: &Slots) -> (usize, usize, usize) {
        let counts = slots.counts();
        (counts.held, counts.idle, counts.waiting)
    }

    #[test]
    fn slots_go_to_the_longest_waiting() {
        let slots = Slots::new(2, LONG);
        let (first, second) = (take(&slots), take(&slots));
        let (mut third, mut fourth) = (wait(&slots), wait(&slots));
        assert_eq!(counts(&slots), (2, 0, 2));
        drop(second);
        assert!(fourth.as_mut().now_or_never().is_none());
        let third = third.as_mut().now_or_never().expect("its turn");
        drop((first, third));
        let fourth = fourth.as_mut().now_or_never().expect("its turn");
        assert_eq!(counts(&slots), (1, 0, 0));
        drop(fourth);
        assert_eq!(counts(&slots), (0, 0, 0));
        assert_eq!(slots.counts().max, 2);
    }

    #[test]
    fn dropped_waiter_leaves_no_trace_and_passes_its_turn_on() {
        let slots = Slots::new(1, LONG);
        let first = take(&slots);
        let (second, third, mut fourth) = (wait(&slots), wait(&slots), wait(&slots));
        drop(second);
        assert_eq!(counts(&slots), (1, 0, 2));
        // It is its turn now, and it is dropped before it has seen that.
        drop(first);
        drop(third);
        let fourth = fourth.as_mut().now_or_never().expect("its turn");
        assert_eq!(counts(&slots), (1, 0, 0));
        drop(fourth);
    }

    #[test]
    fn one_holder_gives_way_for_each_waiter_and_the_longest_idle_first() {
        let slots = Slots::new(3, LONG);
        let held = [take(&slots), take(&slots), take(&slots)];
        for number in [1, 2, 0] {
            held[number].idle();
        }
        assert!(!held.iter().any(is_wanted), "nobody waits");
        let first = wait(&slots);
        assert!(!is_wanted(&held[2]) && !is_wanted(&held[0]));
        assert!(is_wanted(&held[1]));
        let second = wait(&slots);
        assert!(!is_wanted(&held[0]), "the third to be asked");
        assert!(is_wanted(&held[2]));
        drop((first, second));
        assert!(!held.iter().any(is_wanted), "nobody waits any more");
    }

    #[test]
    fn asked_holder_that_works_again_is_replaced_by_another() {
        let slots = Slots::new(3, LONG);
        let held = [take(&slots), take(&slots), take(&slots)];
        held[0].idle();
        held[1].idle();
        let _waiting = wait(&slots);
        assert!(is_wanted(&held[0]));
        assert!(!is_wanted(&held[1]));
        held[0].busy();
        assert!(!is_wanted(&held[0]) && !is_wanted(&held[2]), "they work");
        assert!(is_wanted(&held[1]));
        held[0].idle();
        assert!(!is_wanted(&held[0]), "the other one is leaving already");
    }

    #[test]
    fn holder_with_endless_work_gives_way_after_its_turn() {
        let slots = Slots::new(2, LONG);
        let held = [take(&slots), take(&slots)];
        let over = |slot: &Slot| slots.0.turn_is_over(slot.ticket, Instant::now() + LONG);
        assert!(!over(&held[0]), "nobody waits");
        let first = wait(&slots);
        assert!(!held[0].turn_is_over(), "it has just begun");
        assert!(over(&held[1]));
        assert!(!over(&held[0]), "one waiter, and one gives way already");
        let second = wait(&slots);
        assert!(over(&held[0]));
        assert!(over(&held[0]), "asked twice, it answers the same");
        drop((first, second));
        assert!(!over(&held[0]) && !over(&held[1]));
    }

    #[test]
    fn idle_holder_gives_way_before_one_with_work() {
        let slots = Slots::new(2, Duration::ZERO);
        let held = [take(&slots), take(&slots)];
        let _waiting = wait(&slots);
        held[0].idle();
        assert!(!held[1].turn_is_over());
        assert!(is_wanted(&held[0]));
        held[0].busy();
        assert!(held[1].turn_is_over());
        held[0].idle();
        assert!(!is_wanted(&held[0]), "the other one is leaving");
        assert!(!held[1].turn_is_over(), "but it need not, any more");
        assert!(is_wanted(&held[0]));
    }

    /// Each way in which a holder comes to be the one to be asked, while it waits for that already.
    #[tokio::test]
    async fn holder_that_waits_to_be_asked_is_woken() {
        async fn woken(wanted: impl Future<Output = ()>) {
            let woken = tokio::time::timeout(LIMIT, wanted).await;
            woken.expect("not woken");
        }
        let slots = Slots::new(2, Duration::ZERO);
        let held = [take(&slots), take(&slots)];

        held[0].idle();
        let mut wanted = Box::pin(held[0].wanted());
        assert!(wanted.as_mut().now_or_never().is_none());
        let first = wait(&slots);
        woken(wanted).await;

        held[1].idle();
        let mut wanted = Box::pin(held[1].wanted());
        assert!(wanted.as_mut().now_or_never().is_none());
        held[0].busy();
        woken(wanted).await;

        held[1].busy();
        assert!(held[0].turn_is_over());
        held[1].idle();
        let mut wanted = Box::pin(held[1].wanted());
        assert!(wanted.as_mut().now_or_never().is_none());
        assert!(!held[0].turn_is_over(), "the idle one is to go");
        woken(wanted).await;
        drop(first);
    }
}
