//! Clients go with their process. The kernel wakes us when it ends; one watch a process, however
//! many clients it has. Where it does not, the process is looked at from time to time.

use std::sync::{Arc, Weak};

use sessiond_supervisor::{ExitWatch, ProcessIdentity, WatchError};
use tokio_util::task::AbortOnDropHandle;

use super::Shared;
use super::client::Why;
use super::entry::Entry;
use super::registry::{Registry, Watch};

/// How a process stands, and how its end will be known.
pub(super) enum Standing {
    /// It runs, and the kernel tells of its end.
    Held(ExitWatch),
    /// It runs, and cannot be held.
    Loose,
    /// Whether it runs cannot be told.
    Unverifiable,
    /// It has ended, or its pid is another's.
    Gone,
}

impl Standing {
    pub(super) fn of(process: &ProcessIdentity) -> Self {
        match ExitWatch::open(process) {
            Ok(watch) => Self::Held(watch),
            Err(WatchError::Gone(_)) => Self::Gone,
            Err(WatchError::NotHeld { .. }) => Self::Loose,
            Err(error @ WatchError::Unverifiable { .. }) => {
                let error = crate::errors::chain(&error);
                tracing::warn!(error, "a client's process cannot be told apart");
                Self::Unverifiable
            }
        }
    }
}

impl Shared {
    /// How a process stands; `None`: it is watched already.
    pub(super) fn look(&self, process: &ProcessIdentity) -> Option<Standing> {
        let is_watched = self.registry().known_process(process).is_some();
        (!is_watched).then(|| Standing::of(process))
    }

    /// Takes a client in with a watch on its process, if nobody watches that yet. `true`: the process
    /// is gone, and the client is to follow.
    pub(super) fn insert_watched(
        self: &Arc<Self>,
        registry: &mut Registry,
        mut entry: Entry,
        standing: Option<Standing>,
    ) -> bool {
        let mut is_gone = false;
        if let Some(process) = entry.process.clone() {
            match registry.known_process(&process) {
                Some(known) => entry.process = Some(known),
                // Without a standing it was watched a moment ago, for a client that has left since:
                // maybe the very one that this one replaces.
                None => match standing.unwrap_or_else(|| Standing::of(&process)) {
                    Standing::Gone => is_gone = true,
                    standing => {
                        let watch = self.watch(&process, standing);
                        registry.watch(process, watch);
                    }
                },
            }
        }
        registry.insert(Box::new(entry));
        is_gone
    }

    fn watch(self: &Arc<Self>, process: &Arc<ProcessIdentity>, standing: Standing) -> Watch {
        let place = match standing {
            Standing::Held(_) => Arc::clone(&self.held).try_acquire_owned().ok(),
            Standing::Loose | Standing::Unverifiable | Standing::Gone => None,
        };
        match (standing, place) {
            (Standing::Held(held), Some(place)) => {
                let exit = wait_for_exit(Arc::downgrade(self), Arc::clone(process), held);
                Watch::Told {
                    _held: place,
                    _until_dropped: AbortOnDropHandle::new(tokio::spawn(exit)),
                }
            }
            (Standing::Held(_) | Standing::Loose, _) => {
                self.swept.notify_one();
                Watch::Swept
            }
            (Standing::Unverifiable | Standing::Gone, _) => Watch::Unverifiable,
        }
    }

    fn process_ended(&self, process: &ProcessIdentity) {
        let clients = self.registry().of_process(process);
        // Without an await: with its last client the process's watch ends, which may be us.
        self.dismiss(&clients, Why::ProcessEnded);
    }

    /// Looks at every process that has to be looked at. A descriptor may have become free.
    pub(super) async fn sweep(self: &Arc<Self>) {
        let swept = self.registry().swept();
        for process in swept {
            match Standing::of(&process) {
                Standing::Gone => self.process_ended(&process),
                Standing::Held(held) => {
                    let mut registry = self.registry();
                    // It may have lost its last client meanwhile.
                    if let Some(process) = registry.known_process(&process) {
                        let watch = self.watch(&process, Standing::Held(held));
                        registry.watch(process, watch);
                    }
                }
                Standing::Loose | Standing::Unverifiable => {}
            }
            // Others have their turn between two looks into /proc.
            tokio::task::yield_now().await;
        }
    }
}

async fn wait_for_exit(shared: Weak<Shared>, process: Arc<ProcessIdentity>, held: ExitWatch) {
    held.exited().await;
    if let Some(shared) = shared.upgrade() {
        shared.process_ended(&process);
    }
}
