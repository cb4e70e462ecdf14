//! A random walk of sessions and of all that belongs to them: rows, programs, agents, tokens, TTL
//! clients, worktrees. In each round several threads take steps at once, mostly each at its own
//! sessions and sometimes all at one; meanwhile or afterwards the worker may be stopped or killed.
//! Then everything is looked at: what was answered is there, nothing of what is gone is left, and
//! every counter is what a recount gives.
//!
//! `SESSIOND_SEED` replays a walk's choices (not the machine's timing), `SESSIOND_WALK_ROUNDS` sets
//! the number of rounds.
//!
//! Modules in reading order: `world` (where it happens), `slot` (what must be so of one session, and
//! what is done to it), `clients` and `agents` (the same of those), `steps` (which of it happens),
//! `stored` (the databases by statements of the test's own), `look` (what is so), `descriptors` and
//! `threads` (what the worker holds).

mod agents;
mod clients;
mod descriptors;
mod look;
mod slot;
mod steps;
mod stored;
mod threads;
mod world;

use std::thread;
use std::time::{Duration, Instant};

use self::descriptors::Descriptors;
use self::slot::Slot;
use self::threads::Threads;
use self::world::{Down, World};
use crate::support::random::{Random, number_from};
use crate::support::{LIMIT, Worker, wait_until};

/// Few enough that steps meet, enough for three threads.
const SLOTS: usize = 9;
const THREADS: usize = 3;
const STEPS_MAX: u64 = 8;
/// After so many rounds everything is given up, and nothing may be left.
const CALM_EVERY: u64 = 8;
/// The time within which a worker is ended while steps are taken.
const WITHIN_US: u64 = 1_500_000;
/// What `scripts/test` has time for.
const ROUNDS: u64 = 3;

#[test]
fn everything_of_a_session_comes_and_goes_with_it() {
    let rounds = number_from("SESSIOND_WALK_ROUNDS").unwrap_or(ROUNDS);
    let mut walk = Walk::begin();
    for round in 1..=rounds {
        walk.round();
        if round % CALM_EVERY == 0 || round == rounds {
            walk.calm();
        }
    }
    if rounds > ROUNDS {
        walk.compare_with_a_new_worker();
    }
    walk.world.print_counts();
    println!("counted {rounds} rounds");
}

/// How a worker ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// By SIGTERM, in order.
    Stop,
    /// By SIGKILL.
    Kill,
}

struct Walk {
    // Before the world, whose home looks for survivors when it is dropped: agents first.
    slots: Vec<Slot>,
    worker: Worker,
    world: World,
    random: Random,
    /// Those of a worker that has nothing to do.
    baseline: Descriptors,
}

impl Walk {
    fn begin() -> Self {
        let random = Random::seeded();
        let world = World::new();
        let worker = world.home.start();
        let mut walk = Self {
            slots: (0..SLOTS).map(Slot::new).collect(),
            worker,
            world,
            random,
            baseline: Descriptors::default(),
        };
        // Once with everything: what is opened with the first use stays open.
        let mut random = Random::of(0);
        for slot in &mut walk.slots[..2] {
            for step in steps::ALL {
                (step.take)(slot, &walk.world, &mut random).expect("the worker is there");
            }
        }
        walk.calm();
        walk
    }

    /// Some steps at once, perhaps the end of a worker, and a look.
    fn round(&mut self) {
        let end = match self.random.below(20) {
            0..3 => Some(End::Stop),
            3..7 => Some(End::Kill),
            _ => None,
        };
        let is_sudden = end.is_some() && !self.random.once_in(4);
        let kill_after = Duration::from_micros(self.random.below(WITHIN_US));
        self.world.set_may_be_down(is_sudden);
        let seeds: Vec<_> = (0..THREADS).map(|_| self.random.fork()).collect();
        let is_crowded = self.random.once_in(3);
        let offset = self.random.index(THREADS);
        let mut shares: Vec<Vec<&mut Slot>> = (0..THREADS).map(|_| Vec::new()).collect();
        for (number, slot) in self.slots.iter_mut().enumerate() {
            shares[(number + offset) % THREADS].push(slot);
        }
        let (world, worker) = (&self.world, &self.worker);
        let mut ended_at = None;
        let crowd: Vec<Slot> = thread::scope(|scope| {
            let threads = seeds.into_iter().zip(shares).map(|(mut random, slots)| {
                scope.spawn(move || {
                    let mut shared = Slot::shared();
                    // The walk goes on once the worker is there again.
                    let _down: Result<(), Down> =
                        walk_on(world, &mut random, slots, is_crowded.then_some(&mut shared));
                    shared
                })
            });
            let threads: Vec<_> = threads.collect();
            if let Some(end) = end.filter(|_| is_sudden) {
                world.pause(kill_after);
                end.signal(worker);
                ended_at = Some(Instant::now());
            }
            let shared = threads.into_iter().map(|thread| thread.join());
            shared
                .map(|shared| shared.expect("no step fails"))
                .collect()
        });
        if let Some(end) = end {
            let ended_at = ended_at.unwrap_or_else(Instant::now);
            self.restart(end, ended_at, is_sudden);
        }
        self.world.set_may_be_down(false);
        // Until here the agents and clients of the crowd live.
        self.look(&crowd);
    }

    fn restart(&mut self, end: End, ended_at: Instant, is_sudden: bool) {
        let before = (!is_sudden).then(|| self.world.listed_clients());
        if !is_sudden {
            // A second one would end it at once.
            end.signal(&self.worker);
        }
        let status = self.worker.wait_exit();
        assert_eq!(status.success(), end == End::Stop, "{end:?}: {status}");
        if end == End::Kill {
            for slot in &mut self.slots {
                slot.forget_unsaved(ended_at);
            }
        }
        self.worker = self.world.home.start();
        self.world.count(match end {
            End::Stop => "stops",
            End::Kill => "kills of the worker",
        });
        if let (Some(before), End::Stop) = (before, end) {
            self.world.assert_same_clients(&before);
        }
    }

    /// Waits until everything has come to rest, and compares.
    fn look(&mut self, crowd: &[Slot]) {
        self.worker.wait_idle();
        let seen = wait_until("all is at rest and agrees", LIMIT, || {
            look::look(&self.world, self.slots.iter().chain(crowd))
        });
        for slot in &mut self.slots {
            slot.agree(&self.world, &seen);
        }
        look::assert_nothing_is_left(&self.world, &seen);
        look::assert_tokens(&self.world, &seen);
    }

    /// A worker that has done all this has no more threads than one that has done nothing.
    fn compare_with_a_new_worker(&mut self) {
        let old = Threads::at_rest(&self.world, self.worker.process());
        self.restart(End::Stop, Instant::now(), false);
        self.worker.wait_idle();
        let new = Threads::at_rest(&self.world, self.worker.process());
        old.assert_no_more_than(&new);
    }

    /// Gives everything up.
    fn calm(&mut self) {
        for slot in &mut self.slots {
            slot.give_up(&self.world);
        }
        self.world.give_up();
        self.look(&[]);
        look::assert_empty(&self.world);
        let (worker, baseline) = (self.worker.process(), &mut self.baseline);
        if *baseline == Descriptors::default() {
            *baseline = Descriptors::at_rest(worker);
        } else {
            baseline.wait_until_again(worker);
        }
        self.world.count("times all was given up");
    }
}

impl End {
    fn signal(self, worker: &Worker) {
        use nix::sys::signal::Signal::{SIGKILL, SIGTERM};
        worker.process().signal(match self {
            Self::Stop => SIGTERM,
            Self::Kill => SIGKILL,
        });
    }
}

/// What one thread does in a round.
fn walk_on(
    world: &World,
    random: &mut Random,
    mut slots: Vec<&mut Slot>,
    mut shared: Option<&mut Slot>,
) -> Result<(), Down> {
    for _ in 0..=random.below(STEPS_MAX) {
        if let Some(shared) = shared.as_deref_mut()
            && random.once_in(2)
        {
            steps::one_of(steps::SHARED, random).take(shared, world, random)?;
            continue;
        }
        let number = random.index(slots.len());
        let slot = &mut *slots[number];
        let taken = steps::one_of(steps::ALL, random).take(slot, world, random);
        if taken.is_err() {
            // Nobody knows whether it was done.
            slot.forget();
        }
        taken?;
    }
    Ok(())
}
