//! Git worktrees of sessions: made for them, and removed at their end when nothing would be lost.
//!
//! # Theory of operation
//!
//! A row is on disk before git is asked to make anything, and goes after git has removed it. So
//! whenever the worker dies, whatever is there has a row, and start-up finishes what the row says.
//! A directory is removed by git alone, and only when the row, the path and git agree on what it is;
//! nothing here deletes files.
//!
//! Git runs as a child of the supervisor with the session's tag, for a limited time. What could not
//! be told in time, or at all, is a reason to keep. Everything that changes a repository happens
//! under its lock, and reads the row again once it has it; different repositories do not wait for
//! each other.
//!
//! Modules in reading order: `record` (what is remembered and said), `add`, `examine` (what would be
//! lost), `remove`, `settle` (the end of a session), `take_over` (the start of a worker), `status`
//! (the doctor's); below them `git` runs it, `repository`, `listing`, `changes` and `submodules` read
//! it, `place` has the directories, `name` the names, `store` the rows, `locks` the locks, `advice`
//! the commands for people.

mod add;
mod advice;
mod at_work;
mod changes;
mod examine;
mod git;
mod listing;
mod locks;
mod name;
mod place;
mod record;
mod remove;
mod repository;
mod settle;
mod status;
mod store;
mod submodules;
mod take_over;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::StreamExt as _;
use sessiond_queue::ids::SessionId;
use sessiond_queue::store::Store;
use sessiond_queue::types::Life;
use tokio::time::Instant;
use uuid::Uuid;

pub use add::{AddError, Wanted};
pub use git::GitError;
pub use record::{Loss, Outcome, Reason, SettledWorktree, ShownWorktree, Stage, State, Worktree};
pub use remove::{RemoveError, Removed};
pub use settle::PruneError;
pub use status::WorktreesReport;
pub use take_over::{TakenOver, TakenOverWorktree};

use self::at_work::AtWork;
use self::examine::examine;
use self::git::{Call, Git};
use self::locks::Locks;
use self::place::{Found, Root};
use self::store::Rows;
use crate::clock::Clock;
use crate::config::Config;
use crate::events::{Event, Events};
use crate::processes::SessionProcesses;
use crate::state::{StateDb, StateError};
use crate::wire::layout::Layout;

/// How long a look at the disk may take: one that is away must not hold up the end of a session.
const LOOK_WAIT: Duration = Duration::from_secs(5);
/// Worktrees that are looked at side by side; as many as gits may run.
const SIDE_BY_SIDE: usize = 4;

/// The worktrees of an install. Clones share them.
#[derive(Clone)]
pub struct Worktrees {
    inner: Arc<Inner>,
}

/// What they are made of.
pub struct Parts {
    /// Where their rows are.
    pub state: StateDb,
    /// Where sessions are.
    pub store: Arc<dyn Store>,
    /// Who runs git.
    pub processes: SessionProcesses,
    /// Where it is told what happens.
    pub events: Events,
    /// The number of this run of the worker.
    pub generation: i64,
    /// The configuration.
    pub settings: Arc<Config>,
    /// The home, where they lie unless it is configured otherwise.
    pub layout: Layout,
}

struct Inner {
    rows: Rows,
    store: Arc<dyn Store>,
    processes: SessionProcesses,
    git: Git,
    root: Root,
    locks: Locks,
    at_work: AtWork,
    events: Events,
    clock: Clock,
    generation: i64,
    settings: Arc<Config>,
    taken_over: OnceLock<Vec<TakenOverWorktree>>,
}

impl Worktrees {
    /// Makes and starts nothing.
    pub fn new(parts: Parts) -> Self {
        let settings = &parts.settings.worktrees;
        let root = match settings.root.as_str() {
            "" => parts.layout.root().join("worktrees"),
            root => PathBuf::from(root),
        };
        let supervisor = parts.processes.supervisor().clone();
        let inner = Inner {
            rows: Rows::new(parts.state),
            store: parts.store,
            git: Git::new(supervisor, &settings.git, std::env::vars_os()),
            processes: parts.processes,
            root: Root::new(root),
            locks: Locks::default(),
            at_work: AtWork::default(),
            events: parts.events,
            clock: Clock,
            generation: parts.generation,
            settings: parts.settings,
            taken_over: OnceLock::new(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// The worktrees of a session, or all, or the one at a path, each as it is now. Takes at most as
    /// long as a settling may; of what was not looked at by then the state is unknown.
    ///
    /// # Errors
    /// The rows cannot be read.
    pub async fn list(
        &self,
        session: Option<SessionId>,
        at: Option<&Path>,
    ) -> Result<Vec<ShownWorktree>, StateError> {
        let mut rows = match session {
            Some(session) => self.inner.rows.of_session(session).await?,
            None => self.inner.rows.list().await?,
        };
        rows.retain(|row| at.is_none_or(|path| row.path == path));
        let deadline = self.inner.settle_deadline();
        let shown = rows.into_iter().map(|row| self.inner.show(row, deadline));
        // Without the lock: it changes nothing, and must not wait for a long checkout.
        let shown = futures::stream::iter(shown).buffered(SIDE_BY_SIDE);
        Ok(shown.collect().await)
    }

    /// Whether worktrees are being made or removed for a session.
    pub fn is_at_work(&self, session: SessionId) -> bool {
        self.inner.at_work.is_for(session)
    }

    /// One of them, as it is remembered.
    ///
    /// # Errors
    /// The rows cannot be read.
    pub async fn find(&self, id: Uuid) -> Result<Option<Worktree>, StateError> {
        self.inner.rows.get(id).await
    }
}

impl Inner {
    async fn show(&self, mut worktree: Worktree, deadline: Instant) -> ShownWorktree {
        let found = examine(self, &worktree, deadline).await;
        let keeps = !found.reasons.is_empty();
        let shown = ShownWorktree {
            state: found.state(worktree.stage),
            ahead: found.ahead,
            how_to_merge: keeps.then(|| advice::how_to_merge(&worktree, &found)),
            how_to_discard: keeps.then(|| advice::how_to_discard(&worktree, &found.reasons)),
            worktree: worktree.clone(),
        };
        worktree.reasons = found.reasons;
        ShownWorktree { worktree, ..shown }
    }

    /// A command in a directory of the repository.
    fn call<'a>(&self, session: SessionId, cwd: &'a Path, deadline: Instant) -> Call<'a> {
        Call {
            session,
            cwd,
            ceiling: None,
            deadline,
        }
    }

    fn settle_deadline(&self) -> Instant {
        Instant::now() + Duration::from_millis(self.settings.worktrees.settle_timeout_ms)
    }

    fn git_deadline(&self) -> Instant {
        Instant::now() + Duration::from_millis(self.settings.worktrees.git_timeout_ms)
    }

    async fn look(&self, path: &Path) -> Found {
        let (root, path) = (self.root.clone(), path.to_owned());
        let looked = self.blocking(move || root.look(&path)).await;
        looked.unwrap_or_else(|| Found::Foreign("it cannot be looked at".to_owned()))
    }

    /// Runs what may wait for a disk; `None`: it took too long, or panicked.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let work = tokio::task::spawn_blocking(work);
        tokio::time::timeout(LOOK_WAIT, work).await.ok()?.ok()
    }

    /// Whether a session is in use, as far as its row says; one that is purged is not.
    async fn life(
        &self,
        session: SessionId,
    ) -> Result<Option<Life>, sessiond_queue::error::StoreError> {
        let row = self.store.session(session).await?;
        Ok(row.map(|row| row.life))
    }

    fn tell(&self, worktree: &Worktree, event: Event) {
        self.events.emit(Some(worktree.session), event);
    }

    /// Kills the worker at a configured step, as a power cut would.
    fn rehearse(&self, step: &str) {
        crate::sessions::rehearse(&self.settings.rehearsal, step);
    }
}
