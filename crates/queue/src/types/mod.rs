//! What goes into the queue and what comes out of it.
//!
//! The shapes are shared by every store; how they are kept is the store's own business.

mod attempt;
mod event;
mod message;
mod report;
mod retention;
mod session;
mod usage;
mod work;

pub use self::attempt::{Attempt, AttemptOutcome};
pub use self::event::{Dedup, Effect, Enqueue, Receipt, SessionRef};
pub use self::message::{Message, Redriven, Rescued, State};
pub use self::report::{
    Depth, LifeCounts, MessageFilter, ResultFilter, SessionFilter, Stats, StoreInfo, Verification,
};
pub use self::retention::{CancelledBacklog, PurgedDead, Retained, Retention, Shrunk};
pub use self::session::{CloseDepth, Closed, Life, Marked, OpenSession, Session, Unfinished};
pub use self::usage::{DayUsage, Usage};
pub use self::work::{
    Claim, Claimed, Confirm, Fence, NewResult, Release, ReleaseWhy, Released, StoredResult,
};
