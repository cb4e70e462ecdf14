//! Removes a worktree through git, with its branch if that has no commits of its own.

use serde::{Deserialize, Serialize};
use sessiond_queue::ids::SessionId;
use uuid::Uuid;

use super::examine::{Examined, examine};
use super::git::GitError;
use super::locks::Busy;
use super::place::{self, Found};
use super::record::{Loss, Reason, Worktree};
use super::repository;
use super::{Inner, Worktrees, advice};
use crate::errors::chain;
use crate::events::Event;
use crate::state::StateError;
use tokio::time::Instant;

/// What a removal by hand did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = RemovedWorktree))]
pub struct Removed {
    /// The worktree that is gone.
    pub id: Uuid,
    /// Where it was.
    #[cfg_attr(test, schema(value_type = String))]
    pub path: std::path::PathBuf,
    /// Its branch.
    pub branch: String,
    /// Whether it had been moved elsewhere: there it stays, with its branch, and is only forgotten.
    pub was_moved: bool,
    /// What was lost with it, as it was agreed to.
    pub lost: Vec<Reason>,
}

/// A worktree was not removed.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// There is none of this id, or it is another session's.
    #[error("worktree {0} does not exist")]
    Unknown(Uuid),
    /// Something would be lost that was not agreed to.
    #[error("remove worktree {id}: {}; to do so nevertheless: {command}", words(.reasons))]
    WouldLose {
        /// The worktree.
        id: Uuid,
        /// What would be lost.
        reasons: Vec<Reason>,
        /// The command that agrees to it.
        command: String,
    },
    /// It cannot be told what would be lost, or git could not remove it.
    #[error("remove worktree {id}: {}; by hand: {command}", words(.reasons))]
    CannotTell {
        /// The worktree.
        id: Uuid,
        /// Why.
        reasons: Vec<Reason>,
        /// The commands that a person may try.
        command: String,
    },
    /// Others work in the repository for too long.
    #[error(transparent)]
    Busy(#[from] Busy),
    /// The rows failed.
    #[error(transparent)]
    State(#[from] StateError),
}

fn words(reasons: &[Reason]) -> String {
    let words: Vec<&str> = reasons
        .iter()
        .map(|reason| reason.message.as_str())
        .collect();
    words.join("; ")
}

impl Worktrees {
    /// Removes a worktree; of `session`, if that is given. What would be lost has to be agreed to,
    /// each kind by itself.
    ///
    /// # Errors
    /// [`RemoveError`]; the worktree is as it was, or git has said why not.
    pub async fn remove(
        &self,
        id: Uuid,
        session: Option<SessionId>,
        agreed: &[Loss],
    ) -> Result<Removed, RemoveError> {
        let inner = &*self.inner;
        let find = || async {
            let found = inner.rows.get(id).await?;
            let found = found.filter(|row| session.is_none_or(|session| session == row.session));
            found.ok_or(RemoveError::Unknown(id))
        };
        let row = find().await?;
        let (_work, git_dir) = (inner.at_work.begin(row.session), row.git_dir);
        let deadline = inner.git_deadline();
        let _lock = inner.locks.take(&git_dir, deadline).await?;
        // Whoever had the lock may have removed or changed it.
        let worktree = find().await?;
        let found = examine(inner, &worktree, deadline).await;
        let reasons = found.reasons.clone();
        let is_unknown = |reason: &Reason| reason.code == Loss::Unknown;
        if reasons.iter().any(is_unknown) {
            let command = advice::how_to_discard(&worktree, &reasons);
            return Err(RemoveError::CannotTell {
                id,
                reasons,
                command,
            });
        }
        if reasons.iter().any(|reason| !agreed.contains(&reason.code)) {
            let command = advice::remove(&worktree, &reasons);
            return Err(RemoveError::WouldLose {
                id,
                reasons,
                command,
            });
        }
        let removed = inner.remove(&worktree, &found, deadline).await?;
        if let Err(reason) = removed {
            let reasons = vec![reason];
            let command = advice::how_to_discard(&worktree, &reasons);
            return Err(RemoveError::CannotTell {
                id,
                reasons,
                command,
            });
        }
        let was_moved = reasons.iter().any(|reason| reason.code == Loss::Moved);
        let lost = reasons.into_iter();
        Ok(Removed {
            id,
            path: worktree.path,
            branch: worktree.branch,
            was_moved,
            lost: lost.filter(|reason| reason.code.is_lost()).collect(),
        })
    }
}

impl Inner {
    /// Removes what was examined and either has no reason to stay or was agreed to. To be called
    /// with the repository's lock. The reason of a failure is why it is kept.
    pub(super) async fn remove(
        &self,
        worktree: &Worktree,
        found: &Examined,
        deadline: Instant,
    ) -> Result<Result<(), Reason>, StateError> {
        let is_moved = found
            .reasons
            .iter()
            .any(|reason| reason.code == Loss::Moved);
        if !is_moved {
            if found.reasons.is_empty() {
                // So that what a crash leaves half-removed is not taken for changes.
                self.rows.set_leaving(worktree.id).await?;
                self.rehearse("worktree_leaving");
            }
            if let Err(error) = self.remove_by_git(worktree, found, deadline).await {
                let words = format!("it was not removed: {}", chain(&error));
                return Ok(Err(Reason::unknown(words)));
            }
            let path = worktree.path.clone();
            // The repository's own directory goes with its last worktree.
            self.blocking(move || place::remove_empty(&path)).await;
            if self.look(&worktree.path).await == Found::Directory {
                return Ok(Err(Reason::unknown("git has removed it, but it is there")));
            }
        }
        self.rows.delete(worktree.id).await?;
        self.tell(
            worktree,
            Event::WorktreeRemoved {
                worktree: worktree.id,
                path: worktree.path.clone(),
                branch: worktree.branch.clone(),
            },
        );
        tracing::info!(session.id = %worktree.session, worktree.id = %worktree.id, "worktree removed");
        Ok(Ok(()))
    }

    async fn remove_by_git(
        &self,
        worktree: &Worktree,
        found: &Examined,
        deadline: Instant,
    ) -> Result<(), GitError> {
        let call = self.call(worktree.session, &worktree.git_dir, deadline);
        if found.is_listed {
            let path = worktree.path.to_string_lossy();
            let mut args = vec!["worktree", "remove"];
            if found.needs_force || !found.reasons.is_empty() || !found.is_here {
                args.push("--force");
            }
            if found.locked.is_some() {
                args.push("--force");
            }
            args.extend(["--", &path]);
            self.git.run(call, args).await?;
            self.rehearse("worktree_gone");
        }
        if let Some(tip) = found.own_branch() {
            repository::delete_branch(&self.git, call, &worktree.branch, tip).await?;
        }
        Ok(())
    }
}
