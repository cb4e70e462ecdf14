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

#[cfg(test)]
mod storm;
