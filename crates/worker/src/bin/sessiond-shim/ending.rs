//! The end of a tree: asked to end until the grace is over, then stopped, killed and waited for.
//!
//! Time is handed in, and what is done next is said by [`Ending::next_look_at`], so that the loop
//! that owns it sleeps exactly that long. Whether the tree is empty is not asked here: the shim
//! knows that from having no child left, since every orphan of the tree becomes one.

use std::time::{Duration, Instant};

use crate::control::Untouchable;
use crate::tree::{Deed, Tree};

/// Between two looks at first: who is found late was just forked.
const LOOK_EVERY_MIN: Duration = Duration::from_millis(10);
/// Between two looks in the end. A tree that takes its time is not to be disturbed.
const LOOK_EVERY_MAX: Duration = Duration::from_millis(100);
/// A look after a death waits for this many times what the latest one took, so that the end of a
/// large tree is not spent on looking.
const LOOK_PAUSE_FACTOR: u32 = 2;
/// Rounds of SIGSTOP before SIGKILL is sent all the same: a process that may not be signalled can
/// go on forking for ever.
const STOP_ROUNDS_MAX: u32 = 64;
/// How long without a death until those that were killed count as untouchable.
const UNTOUCHABLE_AFTER: Duration = Duration::from_secs(2);
/// The same in all, since untouchables may go on having children that die, and for those that only
/// wait for a processor: on a busy machine they have not come to it yet.
const KILLING_MAX: Duration = Duration::from_secs(10);
/// From the first look at which those times were over to the last. A machine that was frozen has
/// let the killed wait as well as the shim.
const LAST_LOOK_AFTER: Duration = Duration::from_millis(250);

/// An end under way.
pub(crate) struct Ending {
    /// When the grace is over.
    kill_at: Instant,
    /// Once killing has begun.
    killing: Option<Killing>,
    next_look_at: Instant,
    /// From when on a death is worth a look.
    looked_enough_until: Instant,
    look_every: Duration,
}

struct Killing {
    give_up_at: Instant,
    give_up_at_last: Instant,
    /// Whether only the last look is left.
    is_last_look_due: bool,
}

impl Ending {
    /// Ends the tree from `now` on.
    pub(crate) fn new(now: Instant, grace: Duration) -> Self {
        Self {
            kill_at: now + grace,
            killing: None,
            next_look_at: now,
            looked_enough_until: now,
            look_every: LOOK_EVERY_MIN,
        }
    }

    /// Another order came, which may make it faster.
    pub(crate) fn shorten(&mut self, now: Instant, grace: Duration) {
        self.kill_at = self.kill_at.min(now + grace);
    }

    /// When [`Self::advance`] has something to do even if nothing happens.
    pub(crate) fn next_look_at(&self) -> Instant {
        match &self.killing {
            None => self.next_look_at.min(self.kill_at),
            Some(killing) => self.next_look_at.min(killing.give_up_at),
        }
    }

    /// Does what is due. `has_reaped`: somebody has died since the last time.
    ///
    /// Returns who is left once nothing more can be done about them.
    pub(crate) fn advance(
        &mut self,
        tree: &mut Tree,
        now: Instant,
        has_reaped: bool,
    ) -> Option<Vec<Untouchable>> {
        if self.killing.is_none() && now >= self.kill_at {
            self.killing = Some(Killing {
                give_up_at: now + UNTOUCHABLE_AFTER,
                give_up_at_last: now + KILLING_MAX,
                is_last_look_due: false,
            });
            self.look_every = LOOK_EVERY_MIN;
            self.next_look_at = now;
        }
        if let Some(killing) = &mut self.killing {
            let is_late = now >= killing.give_up_at;
            let is_hopeful = has_reaped || is_late && tree.is_any_killed_runnable();
            if is_hopeful && now < killing.give_up_at_last {
                killing.give_up_at = (now + UNTOUCHABLE_AFTER).min(killing.give_up_at_last);
                killing.is_last_look_due = false;
            } else if is_late && killing.is_last_look_due {
                return Some(tree.give_up());
            } else if is_late {
                killing.is_last_look_due = true;
                killing.give_up_at = now + LAST_LOOK_AFTER;
                self.next_look_at = now;
            }
        }
        if has_reaped {
            // Orphans have come to the shim, maybe such as were not seen before.
            self.next_look_at = self.next_look_at.min(self.looked_enough_until.max(now));
        }
        if now >= self.next_look_at {
            self.look(tree);
        }
        None
    }

    fn look(&mut self, tree: &mut Tree) {
        let began_at = Instant::now();
        if self.killing.is_some() {
            for _round in 0..STOP_ROUNDS_MAX {
                if tree.scan(Deed::Stop).new == 0 {
                    break;
                }
            }
            tree.scan(Deed::Kill);
        } else {
            tree.scan(Deed::Ask);
        }
        let ended_at = Instant::now();
        self.looked_enough_until = ended_at + (ended_at - began_at) * LOOK_PAUSE_FACTOR;
        self.next_look_at = self.looked_enough_until.max(ended_at + self.look_every);
        self.look_every = (self.look_every * 2).min(LOOK_EVERY_MAX);
    }
}
