//! The end of a session, for its worktrees: what can go without a loss goes, the rest is kept, and
//! it is said where it is and what can be done with it. The same is tried again when it is pruned.

use futures::StreamExt as _;
use sessiond_queue::error::StoreError;
use sessiond_queue::ids::SessionId;
use sessiond_queue::types::Life;
use tokio::time::Instant;

use super::examine::{Examined, examine};
use super::record::{Loss, Outcome, Reason, SettledWorktree, Stage, Worktree};
use super::{Inner, SIDE_BY_SIDE, Worktrees, advice, take_over};
use crate::events::Event;
use crate::state::StateError;

/// Nothing was pruned, or not everything.
#[derive(Debug, thiserror::Error)]
pub enum PruneError {
    /// The rows failed.
    #[error(transparent)]
    State(#[from] StateError),
    /// The sessions cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Worktrees {
    /// Settles all that a session has, for good: it is on disk. Takes at most as long as is
    /// configured, and some for git to end; what could not be told by then is kept.
    ///
    /// # Errors
    /// The rows cannot be read or written.
    pub async fn settle(&self, session: SessionId) -> Result<Vec<SettledWorktree>, StateError> {
        let rows = self.inner.rows.of_session(session).await?;
        self.inner.settle_all(rows).await
    }

    /// Settles what sessions have left that are not open any more, and forgets what is gone of any.
    ///
    /// # Errors
    /// [`PruneError`].
    pub async fn prune(&self) -> Result<Vec<SettledWorktree>, PruneError> {
        let mut wanted = Vec::new();
        for row in self.inner.rows.list().await? {
            let is_open = !self.inner.has_ended(row.session).await?;
            // Of a session in use only what its user has removed himself.
            if !is_open || self.inner.look(&row.path).await == super::place::Found::Nothing {
                wanted.push(row);
            }
        }
        // What is just being made is nobody's to prune.
        wanted.retain(|row| row.stage != Stage::Intended || row.generation < self.inner.generation);
        let mut settled = Vec::new();
        for row in wanted {
            let deadline = self.inner.settle_deadline();
            settled.extend(self.inner.settle_one(row, deadline).await?);
        }
        Ok(settled)
    }
}

impl Inner {
    pub(super) async fn has_ended(&self, session: SessionId) -> Result<bool, StoreError> {
        Ok(matches!(
            self.life(session).await?,
            None | Some(Life::Ended)
        ))
    }

    async fn settle_all(&self, rows: Vec<Worktree>) -> Result<Vec<SettledWorktree>, StateError> {
        let deadline = self.settle_deadline();
        let settling = rows.into_iter().map(|row| self.settle_one(row, deadline));
        let settled = futures::stream::iter(settling).buffered(SIDE_BY_SIDE);
        let settled: Vec<_> = settled.collect().await;
        let mut all = Vec::new();
        for one in settled {
            all.extend(one?);
        }
        Ok(all)
    }

    /// Settles one; `None`: it is gone already.
    pub(super) async fn settle_one(
        &self,
        worktree: Worktree,
        deadline: Instant,
    ) -> Result<Option<SettledWorktree>, StateError> {
        let _lock = match self.locks.take(&worktree.git_dir, deadline).await {
            Ok(lock) => lock,
            Err(busy) => {
                let found = Examined::because(vec![Reason::unknown(busy.to_string())]);
                // Whoever makes it has the lock, and settles it when he sees the session's end.
                return match worktree.stage {
                    Stage::Intended => Ok(Some(kept(&worktree, found))),
                    _ => self.keep(worktree, found).await.map(Some),
                };
            }
        };
        match self.rows.get(worktree.id).await? {
            Some(worktree) => self.settle_locked(worktree, deadline).await.map(Some),
            None => Ok(None),
        }
    }

    /// The same for whoever has the repository's lock and has read the row under it.
    pub(super) async fn settle_locked(
        &self,
        worktree: Worktree,
        deadline: Instant,
    ) -> Result<SettledWorktree, StateError> {
        if worktree.stage == Stage::Intended {
            return match take_over::undo(self, &worktree).await {
                Ok(()) => Ok(removed(&worktree)),
                Err(why) => {
                    let found = Examined::because(vec![Reason::unknown(why)]);
                    self.keep(worktree, found).await
                }
            };
        }
        let found = examine(self, &worktree, deadline).await;
        if !found.reasons.is_empty() {
            return self.keep(worktree, found).await;
        }
        match self.remove(&worktree, &found, deadline).await? {
            Ok(()) => Ok(SettledWorktree {
                was_missing: !found.is_here,
                is_branch_deleted: found.own_branch().is_some(),
                ..removed(&worktree)
            }),
            Err(reason) => {
                let reasons = vec![reason];
                self.keep(worktree, Examined { reasons, ..found }).await
            }
        }
    }

    async fn keep(
        &self,
        worktree: Worktree,
        found: Examined,
    ) -> Result<SettledWorktree, StateError> {
        let reasons = &found.reasons;
        let is_news = worktree.stage != Stage::Kept || worktree.reasons != *reasons;
        // One that was leaving stays so, that its removal can go on where it was.
        let was_leaving = worktree.stage == Stage::Leaving;
        if is_news && !(was_leaving && reasons.iter().all(|reason| reason.code == Loss::Unknown)) {
            let now = self.clock.now();
            self.rows.keep(worktree.id, reasons, now).await?;
        }
        if is_news {
            tracing::info!(
                session.id = %worktree.session, worktree.id = %worktree.id,
                path = %worktree.path.display(), ?reasons, "worktree kept"
            );
            self.tell(
                &worktree,
                Event::WorktreeKept {
                    worktree: worktree.id,
                    path: worktree.path.clone(),
                    branch: worktree.branch.clone(),
                    reasons: reasons.clone(),
                },
            );
        }
        Ok(kept(&worktree, found))
    }
}

fn removed(worktree: &Worktree) -> SettledWorktree {
    SettledWorktree {
        id: worktree.id,
        path: worktree.path.clone(),
        branch: worktree.branch.clone(),
        outcome: Outcome::Removed,
        was_missing: false,
        is_branch_deleted: false,
        reasons: Vec::new(),
        how_to_merge: None,
        how_to_discard: None,
    }
}

fn kept(worktree: &Worktree, found: Examined) -> SettledWorktree {
    SettledWorktree {
        outcome: Outcome::Kept,
        how_to_merge: Some(advice::how_to_merge(worktree, &found)),
        how_to_discard: Some(advice::how_to_discard(worktree, &found.reasons)),
        reasons: found.reasons,
        ..removed(worktree)
    }
}
