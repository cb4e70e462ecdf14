//! How much of the machine others took while something was measured.
//!
//! It matters because a busy machine does not slow both sides alike: the floor is one thread that
//! loses its place whenever it waits for the disk, the queue has several. With two processors wanted
//! by six, ratios were seen that were ten times those of a quiet machine.

use crate::proc::{Ticks, all_ticks, ticks_with_children};

/// The share of the processors that others may take before figures say little.
const MOST_PERCENT: u64 = 10;

/// A stretch of time that began when this was made.
pub(crate) struct Watch {
    all: Ticks,
    own: u64,
}

impl Watch {
    pub(crate) fn start() -> anyhow::Result<Self> {
        Ok(Self {
            all: all_ticks()?,
            own: ticks_with_children(std::process::id())?,
        })
    }

    /// The percentage that processes other than this one and its children took since.
    pub(crate) fn others_percent(&self) -> anyhow::Result<u64> {
        let (all, own) = (all_ticks()?, ticks_with_children(std::process::id())?);
        let busy = all.busy.saturating_sub(self.all.busy);
        let idle = all.idle.saturating_sub(self.all.idle);
        let others = busy.saturating_sub(own.saturating_sub(self.own));
        Ok(others * 100 / (busy + idle).max(1))
    }
}

/// Whether so much says that figures are not to be judged by.
pub(crate) fn is_too_much(percent: u64) -> bool {
    percent > MOST_PERCENT
}
