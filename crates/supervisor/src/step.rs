//! The moments of a spawn's life at which its worker may die, or whoever asked for it may go away.
//!
//! Nothing is decided here: a rehearsal hooks in to kill, to wait or to give up at exactly one of
//! them, on the ordinary path.

use std::fmt;
use std::sync::Arc;

use crate::tag::Tag;

/// A moment, in the order in which they come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// It is in the table of spawns, and nothing of it is on disk.
    Entered,
    /// Its intent is on disk.
    Intended,
    /// Its shim was started and may have started the child.
    Started,
    /// The identities of its shim and its child are on disk, unless all has ended meanwhile.
    Recorded,
    /// The child is known to run, and its handle not given out yet.
    Running,
    /// Its tree is verified to be empty, and its record still there.
    Gone,
    /// Its record is removed.
    Forgotten,
}

impl Step {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Entered,
        Self::Intended,
        Self::Started,
        Self::Recorded,
        Self::Running,
        Self::Gone,
        Self::Forgotten,
    ];
}

type Hook = dyn Fn(Step, &Tag) + Send + Sync;

/// What is called at each step, on the runtime's thread, which it may block.
#[derive(Clone)]
pub struct StepHook(Arc<Hook>);

impl StepHook {
    /// Calls `hook`.
    pub fn new(hook: impl Fn(Step, &Tag) + Send + Sync + 'static) -> Self {
        Self(Arc::new(hook))
    }

    pub(crate) fn call(&self, step: Step, tag: &Tag) {
        (self.0)(step, tag);
    }
}

impl fmt::Debug for StepHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StepHook")
    }
}
