//! Whether a session's generator may work now.
//!
//! Four questions, each in its own file and each answered without a store or a process: is there a
//! slot for another program (`slots`), is its provider there (`breaker`), is there money left
//! (`budget`), and did it fail to start too often (`restarts`). Whoever runs the session asks,
//! and acts on the answers; nothing here claims or stores anything.

mod breaker;
mod budget;
mod restarts;
mod slots;

pub use breaker::{Admit, BreakerState, BreakerStatus, Breakers, OpenInfo, Pass, Trial};
pub use budget::{Budget, OverBudget, over};
pub use restarts::{Next, Restarts};
pub use slots::{Slot, SlotCounts, Slots};

use std::time::Duration;

use crate::config;

/// What decides for all sessions together; clones are the same one.
#[derive(Clone, Debug)]
pub struct Admission {
    /// How many programs run at once.
    pub slots: Slots,
    /// Whether their providers are there.
    pub breakers: Breakers,
}

impl Admission {
    /// As configured; every slot is free, every breaker closed.
    pub fn new(settings: &config::Generator) -> Self {
        let ms = Duration::from_millis;
        Self {
            slots: Slots::new(settings.generators_max, ms(settings.turn_ms)),
            breakers: Breakers::new(ms(settings.breaker_base_ms), ms(settings.breaker_cap_ms)),
        }
    }
}

#[cfg(test)]
mod storm;
