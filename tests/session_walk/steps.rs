//! What may happen next, and how often.

use super::slot::Slot;
use super::world::{Down, World};
use crate::support::random::Random;

/// One thing that is done to a slot.
pub(super) struct Step {
    weight: u64,
    pub(super) take: fn(&mut Slot, &World, &mut Random) -> Result<(), Down>,
}

impl Step {
    pub(super) fn take(
        &self,
        slot: &mut Slot,
        world: &World,
        random: &mut Random,
    ) -> Result<(), Down> {
        (self.take)(slot, world, random)
    }
}

const fn step(weight: u64, take: fn(&mut Slot, &World, &mut Random) -> Result<(), Down>) -> Step {
    Step { weight, take }
}

/// What one thread does to a slot of its own.
pub(super) const ALL: &[Step] = &[
    step(3, Slot::open),
    step(6, Slot::prompt),
    step(5, Slot::tool),
    step(5, Slot::register),
    step(4, Slot::open_ttl),
    step(6, Slot::touch_ttl),
    step(2, Slot::patch_ttl),
    step(6, Slot::fire),
    step(3, Slot::add_tree),
    step(3, Slot::soil_tree),
    step(1, Slot::patch),
    step(3, Slot::kill_programs),
    step(3, Slot::kill_client),
    step(2, Slot::deregister),
    step(1, Slot::remove_ttl),
    step(3, Slot::kill_agent),
    step(2, Slot::end),
    step(3, Slot::close),
    step(3, Slot::purge),
];

/// What all threads do to one slot at once.
pub(super) const SHARED: &[Step] = &[
    step(2, Slot::open),
    step(4, Slot::prompt),
    step(2, Slot::tool),
    step(3, Slot::register),
    step(2, Slot::fire),
    step(1, Slot::add_tree),
    step(1, Slot::end),
    step(2, Slot::close),
    step(3, Slot::purge),
];

/// One of them, by weight.
pub(super) fn one_of<'a>(steps: &'a [Step], random: &mut Random) -> &'a Step {
    let mut left = random.below(steps.iter().map(|step| step.weight).sum());
    for step in steps {
        match left.checked_sub(step.weight) {
            None => return step,
            Some(rest) => left = rest,
        }
    }
    unreachable!("it was below the sum")
}
