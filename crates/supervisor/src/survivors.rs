//! The processes that could not be ended, for as long as they live.
//!
//! Each is remembered by its identity, so that a later process with its pid is not taken for it.
//! Nothing is signalled here.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::control::Untouchable;
use crate::identity::{ProcessIdentity, Standing};
use crate::report::Unkillable;
use crate::tag::Tag;
use crate::unkillable::describe;

/// Those of all spawns.
#[derive(Debug, Default)]
pub(crate) struct Survivors(Mutex<Vec<Left>>);

/// Those of one spawn.
#[derive(Debug)]
struct Left {
    tag: Tag,
    /// Each with what was seen of it.
    processes: Vec<(ProcessIdentity, Unkillable)>,
    /// Whether there are others, whose names are not known.
    is_partial: bool,
}

impl Survivors {
    /// Remembers what a shim has left, of whom it has named some, and describes these. One that has
    /// ended meanwhile is none.
    pub(crate) fn take_named(
        &self,
        tag: &Tag,
        named: &[Untouchable],
        untouchable: u32,
    ) -> Vec<Unkillable> {
        let identified = named.iter().filter_map(|one| {
            let identity = ProcessIdentity::of(one.pid).ok()?;
            let unkillable = Unkillable {
                state: one.state,
                ..describe(one.pid, one.is_denied)
            };
            // In this order: what was described is the one that was named.
            let is_named = identity.start_ticks == one.start_ticks && identity.check().is_there();
            is_named.then_some((identity, unkillable))
        });
        let processes: Vec<_> = identified.collect();
        let unkillable = processes.iter().map(|(_, shown)| shown.clone()).collect();
        let is_partial = usize::try_from(untouchable).is_ok_and(|all| all > named.len());
        self.take(tag, processes, is_partial);
        unkillable
    }

    /// Remembers whom a look at all processes has just found and could not end.
    pub(crate) fn take_found(&self, tag: &Tag, found: &[Unkillable]) {
        let identified = found
            .iter()
            .filter_map(|one| Some((ProcessIdentity::of(one.pid).ok()?, one.clone())));
        self.take(tag, identified.collect(), false);
    }

    fn take(&self, tag: &Tag, processes: Vec<(ProcessIdentity, Unkillable)>, is_partial: bool) {
        self.lock().push(Left {
            tag: tag.clone(),
            processes,
            is_partial,
        });
    }

    /// Forgets who has ended. Returns the tags of which nobody is left.
    pub(crate) fn forget_gone(&self) -> Vec<Tag> {
        let mut empty = Vec::new();
        self.lock().retain_mut(|left| {
            left.processes
                .retain(|(identity, _)| identity.check().is_there());
            if left.processes.is_empty() && !left.is_partial {
                empty.push(left.tag.clone());
            }
            !left.processes.is_empty()
        });
        empty
    }

    /// Those whose spawns are wanted.
    pub(crate) fn of(&self, is_wanted: impl Fn(&Tag) -> bool) -> Vec<Unkillable> {
        let survivors = self.lock();
        let wanted = survivors.iter().filter(|left| is_wanted(&left.tag));
        let processes = wanted.flat_map(|left| &left.processes);
        processes.map(|(_, shown)| shown.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Left>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Standing {
    /// Whether it lives as far as can be told.
    fn is_there(&self) -> bool {
        match self {
            Self::Alive | Self::Unverifiable(_) => true,
            Self::Gone => false,
        }
    }
}
