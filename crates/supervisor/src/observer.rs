//! Tells somebody outside of each child's beginning and end, as they happen.

use std::fmt;
use std::sync::Arc;

use crate::report::Stopped;
use crate::tag::Tag;

/// What is told of a spawn: each once, and only of one whose child ran.
#[derive(Clone, Copy, Debug)]
pub enum Life<'a> {
    /// The child runs; its handle was not given out yet.
    Spawned {
        /// Whom it was started for.
        tag: &'a Tag,
        /// `argv[0]` alone.
        command: &'a str,
        /// Its pid.
        pid: u32,
    },
    /// Its tree was ended, whoever ended it; nobody who waits for that knows yet.
    Reaped {
        /// Whom it was started for.
        tag: &'a Tag,
        /// How it was ended.
        stopped: &'a Stopped,
    },
}

type Observe = dyn Fn(Life<'_>) + Send + Sync;

/// Who is told, on the runtime's thread, which it must not block.
#[derive(Clone)]
pub struct Observer(Arc<Observe>);

impl Observer {
    /// Tells `observe`.
    pub fn new(observe: impl Fn(Life<'_>) + Send + Sync + 'static) -> Self {
        Self(Arc::new(observe))
    }

    pub(crate) fn tell(&self, life: Life<'_>) {
        (self.0)(life);
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer")
    }
}
