//! What is known of one spawn while it lives, and the table of them all.
//!
//! A [`Spawn`] is written by its actor alone, and read by every handle. Asking for its end is the
//! one thing that anybody may do to it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::watch;

use crate::capture::Capture;
use crate::control::Exit;
use crate::report::{SpawnInfo, Stopped};
use crate::tag::Tag;

/// How far a spawn's life has come. Stages may be skipped and never go back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// Its shim, or its child, is not there yet.
    #[default]
    Starting,
    /// The child runs.
    Running,
    /// The child has exited, or nothing more will be told of it. Others of its tree may live.
    ChildOver,
    /// Nothing of the tree is left that could be ended.
    TreeOver,
    /// Its record is dealt with and nothing of it is in memory.
    Over,
}

/// What changes in a spawn's life.
#[derive(Clone, Debug, Default)]
pub(crate) struct SpawnState {
    pub(crate) stage: Stage,
    pub(crate) shim_pid: Option<u32>,
    /// The child's.
    pub(crate) pid: Option<u32>,
    pub(crate) exit: Option<Exit>,
    /// Set with [`Stage::Over`], when there was a tree to end.
    pub(crate) stopped: Option<Stopped>,
}

/// One spawn.
#[derive(Debug)]
pub(crate) struct Spawn {
    pub(crate) tag: Tag,
    /// `argv[0]` alone.
    pub(crate) command: String,
    pub(crate) spawned_at_ms: i64,
    pub(crate) stdout: Capture,
    pub(crate) stderr: Capture,
    state: watch::Sender<SpawnState>,
    /// When its end was first asked for.
    stop: watch::Sender<Option<Instant>>,
}

impl Spawn {
    pub(crate) fn new(
        tag: Tag,
        command: String,
        spawned_at_ms: i64,
        stdout: Capture,
        stderr: Capture,
    ) -> Self {
        Self {
            tag,
            command,
            spawned_at_ms,
            stdout,
            stderr,
            state: watch::Sender::default(),
            stop: watch::Sender::default(),
        }
    }

    /// Asks for the end of the tree; the first asking counts.
    pub(crate) fn request_stop(&self) {
        self.stop.send_if_modified(|requested_at| {
            let is_first = requested_at.is_none();
            requested_at.get_or_insert_with(Instant::now);
            is_first
        });
    }

    pub(crate) fn stop_requested_at(&self) -> Option<Instant> {
        *self.stop.borrow()
    }

    /// For the actor, which waits for the first asking.
    pub(crate) fn stop_requests(&self) -> watch::Receiver<Option<Instant>> {
        self.stop.subscribe()
    }

    pub(crate) fn state(&self) -> SpawnState {
        self.state.borrow().clone()
    }

    pub(crate) fn states(&self) -> watch::Receiver<SpawnState> {
        self.state.subscribe()
    }

    /// For the actor: it alone writes.
    pub(crate) fn change(&self, change: impl FnOnce(&mut SpawnState)) {
        self.state.send_modify(change);
    }

    /// Waits until the spawn has come so far.
    pub(crate) async fn reached(&self, stage: Stage) -> SpawnState {
        let mut states = self.states();
        match states.wait_for(|state| state.stage >= stage).await {
            Ok(state) => state.clone(),
            // The sender is this spawn's own, so it is there; its last word is as good.
            Err(_closed) => self.state(),
        }
    }

    /// `None` before its shim runs, and when nothing of it runs any more.
    pub(crate) fn info(&self) -> Option<SpawnInfo> {
        let state = self.state();
        if state.stage >= Stage::TreeOver {
            return None;
        }
        Some(SpawnInfo {
            tag: self.tag.to_string(),
            session: self.tag.session().to_owned(),
            command: self.command.clone(),
            shim_pid: state.shim_pid?,
            pid: state.pid,
            spawned_at_ms: self.spawned_at_ms,
            stopping: self.stop_requested_at().is_some() || state.stage > Stage::Running,
            stdout: self.stdout.info(),
            stderr: self.stderr.info(),
        })
    }
}

/// Ends a spawn's tree when the last holder drops it.
#[derive(Debug)]
pub(crate) struct Hold(pub(crate) Arc<Spawn>);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.request_stop();
    }
}

/// Every spawn that is being started, runs, or is being ended.
#[derive(Debug, Default)]
pub(crate) struct Table {
    spawns: Mutex<Spawns>,
    /// How many there are, for those who wait for room.
    live: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct Spawns {
    /// Under the same lock as the spawns: after refusing, none appears that a reap did not see.
    refusing: bool,
    /// By tag.
    by_tag: HashMap<String, Arc<Spawn>>,
}

/// Why a spawn was not entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Spawns are refused.
    Stopping,
    /// There are so many already.
    Full {
        /// How many.
        live: usize,
    },
    /// Another spawn has the tag.
    TagInUse,
}

impl Table {
    pub(crate) fn enter(self: &Arc<Self>, spawn: Spawn, max: usize) -> Result<Entry, Refusal> {
        let mut spawns = self.lock();
        if spawns.refusing {
            return Err(Refusal::Stopping);
        }
        let live = spawns.by_tag.len();
        if live >= max {
            return Err(Refusal::Full { live });
        }
        let tag = spawn.tag.to_string();
        if spawns.by_tag.contains_key(&tag) {
            return Err(Refusal::TagInUse);
        }
        let spawn = Arc::new(spawn);
        spawns.by_tag.insert(tag, Arc::clone(&spawn));
        self.live.send_replace(live + 1);
        Ok(Entry {
            table: Arc::clone(self),
            spawn,
        })
    }

    pub(crate) fn refuse(&self) {
        self.lock().refusing = true;
    }

    pub(crate) fn get(&self, tag: &str) -> Option<Arc<Spawn>> {
        self.lock().by_tag.get(tag).map(Arc::clone)
    }

    pub(crate) fn live(&self) -> usize {
        *self.live.borrow()
    }

    /// Waits until there are fewer than `max`.
    pub(crate) async fn has_room(&self, max: usize) {
        let mut live = self.live.subscribe();
        // The sender is this table's own.
        drop(live.wait_for(|live| *live < max).await);
    }

    pub(crate) fn all(&self) -> Vec<Arc<Spawn>> {
        self.lock().by_tag.values().map(Arc::clone).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Spawns> {
        // Nothing panics while it is held half changed.
        self.spawns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A spawn's place in the table. Whatever way its actor ends, also by a panic or with its runtime,
/// the spawn leaves the table and nobody waits for it any longer.
#[derive(Debug)]
pub(crate) struct Entry {
    table: Arc<Table>,
    pub(crate) spawn: Arc<Spawn>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        let tag = self.spawn.tag.to_string();
        {
            let mut spawns = self.table.lock();
            spawns.by_tag.remove(&tag);
            self.table.live.send_replace(spawns.by_tag.len());
        }
        self.spawn.change(|state| state.stage = Stage::Over);
    }
}
