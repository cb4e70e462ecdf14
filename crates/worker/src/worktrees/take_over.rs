//! What earlier instances have left: intents that a crash cut off, and worktrees of sessions that
//! are not open any more.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sessiond_queue::types::Life;
use uuid::Uuid;

use super::examine::examine;
use super::git::GitError;
use super::listing;
use super::place::{self, Found};
use super::record::{Outcome, SettledWorktree, Stage, Worktree};
use super::repository;
use super::{Inner, PruneError, Worktrees};
use crate::errors::chain;
use crate::sessions::Processes as _;

/// Why git has locked a worktree that it is making.
const INITIALIZING: &str = "initializing";

/// What became of one that an earlier instance has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum TakenOver {
    /// Nothing of it is left.
    Cleaned,
    /// It is there.
    Preserved,
}

/// One that an earlier instance has left, and that needed a decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct TakenOverWorktree {
    /// Its id.
    pub id: Uuid,
    /// Where it is, or was.
    #[cfg_attr(test, schema(value_type = String))]
    pub path: PathBuf,
    /// What became of it.
    pub outcome: TakenOver,
    /// Why it is still there, in words; `null`: it is gone.
    pub warning: Option<String>,
}

impl Worktrees {
    /// Looks at everything that earlier instances have left, one after the other; those of sessions
    /// that are open, or about to be closed, stay as they are. To be called once the processes of
    /// earlier instances are being ended. What it gives is kept for [`Worktrees::taken_over`].
    ///
    /// # Errors
    /// The rows or the sessions cannot be read, or the rows not written.
    pub async fn take_over(&self) -> Result<Vec<TakenOverWorktree>, PruneError> {
        let mut taken = Vec::new();
        for row in self.inner.rows.list().await? {
            if row.generation < self.inner.generation {
                taken.extend(self.inner.take_over(row).await?);
            }
        }
        // Set twice only if it is called twice; the first one is the one of the start.
        let _set_already = self.inner.taken_over.set(taken.clone());
        Ok(taken)
    }

    /// What the start has made of earlier instances' worktrees; `None`: it is still at it.
    pub fn taken_over(&self) -> Option<&[TakenOverWorktree]> {
        self.inner.taken_over.get().map(Vec::as_slice)
    }
}

impl Inner {
    async fn take_over(&self, row: Worktree) -> Result<Option<TakenOverWorktree>, PruneError> {
        // A git of an earlier instance may still be at work in it.
        self.processes.cleared(row.session).await;
        let life = self.life(row.session).await?;
        if life.is_none() && row.stage == Stage::Added {
            // A purge settles what a session has before its row goes: the queue has been begun anew,
            // and agents may be at work.
            let warning = "its session is not known any more; a prune looks whether it can go";
            return Ok(Some(preserved(&row, warning.to_owned())));
        }
        let has_ended = matches!(life, None | Some(Life::Ended));
        if row.stage != Stage::Intended && !has_ended {
            // In use: all that is looked for is whether somebody has removed it meanwhile.
            let is_gone = self.look(&row.path).await == Found::Nothing;
            let warning =
                "its directory is gone; its session is told so, and it is settled with it";
            return Ok(is_gone.then(|| preserved(&row, warning.to_owned())));
        }
        if row.stage == Stage::Intended {
            return Ok(Some(self.resolve(row).await?));
        }
        let was_kept = row.stage == Stage::Kept;
        let settled = self.settle_one(row, self.settle_deadline()).await?;
        // That one stays which stayed before is no decision of this start's.
        let is_news = |settled: &SettledWorktree| !was_kept || settled.outcome != Outcome::Kept;
        Ok(settled.filter(is_news).map(of_settled))
    }

    /// Finishes or clears an intent that a crash cut off.
    async fn resolve(&self, row: Worktree) -> Result<TakenOverWorktree, PruneError> {
        let deadline = self.settle_deadline();
        let _lock = match self.locks.take(&row.git_dir, deadline).await {
            Ok(lock) => lock,
            Err(busy) => return Ok(preserved(&row, busy.to_string())),
        };
        let why = match undo(self, &row).await {
            Ok(()) => return Ok(cleaned(&row)),
            Err(why) => why,
        };
        if !self.is_whole(&row).await {
            return Ok(preserved(&row, why));
        }
        // Somebody has used it, although nobody was told of it.
        self.rows
            .set_added(row.id)
            .await
            .map_err(PruneError::State)?;
        let row = Worktree {
            stage: Stage::Added,
            ..row
        };
        match self.has_ended(row.session).await? {
            true => Ok(of_settled(self.settle_locked(row, deadline).await?)),
            false => Ok(preserved(&row, why)),
        }
    }

    /// Whether git has finished making it.
    async fn is_whole(&self, row: &Worktree) -> bool {
        let call = self.call(row.session, &row.git_dir, self.settle_deadline());
        let listed = repository::worktrees(&self.git, call).await;
        let listed = listed.unwrap_or_default();
        listing::at(&listed, &row.path)
            .is_some_and(|own| own.locked.as_deref() != Some(INITIALIZING))
    }
}

/// Clears what git has made of an intent that nobody was told of, and the intent. To be called with
/// the repository's lock. The error says what is left.
pub(super) async fn undo(inner: &Inner, row: &Worktree) -> Result<(), String> {
    match inner.look(&row.path).await {
        Found::Foreign(words) => return Err(words),
        Found::Directory | Found::Nothing => {}
    }
    // A repository that is gone has taken branch and record with it.
    let git_dir = row.git_dir.clone();
    let has_repository = inner.blocking(move || git_dir.is_dir()).await;
    if has_repository.unwrap_or(true) {
        undo_in(inner, row).await?;
    }
    let path = row.path.clone();
    inner.blocking(move || place::remove_empty(&path)).await;
    if inner.look(&row.path).await == Found::Directory {
        return Err("a directory is left that git does not know as a worktree".to_owned());
    }
    let deleted = inner.rows.delete(row.id).await;
    deleted.map_err(|error| chain(&error))
}

async fn undo_in(inner: &Inner, row: &Worktree) -> Result<(), String> {
    let told = |error: GitError| chain(&error);
    let call = inner.call(row.session, &row.git_dir, inner.settle_deadline());
    let listed = repository::worktrees(&inner.git, call)
        .await
        .map_err(told)?;
    if let Some(own) = listing::at(&listed, &row.path) {
        let path = row.path.to_string_lossy();
        let mut args = vec!["worktree", "remove"];
        if own.locked.as_deref() == Some(INITIALIZING) {
            // Git was cut off: nobody but git has been in it. It may be empty, without the link
            // that git asks for.
            let empty = row.path.clone();
            inner.blocking(move || std::fs::remove_dir(empty)).await;
            args.extend(["--force", "--force"]);
        } else {
            let found = examine(inner, row, inner.settle_deadline()).await;
            let words: Vec<&str> = found
                .reasons
                .iter()
                .map(|reason| reason.message.as_str())
                .collect();
            if !words.is_empty() {
                return Err(words.join("; "));
            }
            if found.needs_force || !found.is_here {
                args.push("--force");
            }
        }
        args.extend(["--", &path]);
        inner.git.run(call, args).await.map_err(told)?;
    }
    let tip = repository::tip(&inner.git, call, &row.branch).await;
    let elsewhere = listing::elsewhere(&listed, &row.branch, &row.path);
    // One that is elsewhere, or has gone on, is somebody's.
    if tip.map_err(told)?.as_ref() == Some(&row.base_commit) && elsewhere.is_none() {
        let deleted = repository::delete_branch(&inner.git, call, &row.branch, &row.base_commit);
        deleted.await.map_err(told)?;
    }
    Ok(())
}

fn cleaned(row: &Worktree) -> TakenOverWorktree {
    TakenOverWorktree {
        id: row.id,
        path: row.path.clone(),
        outcome: TakenOver::Cleaned,
        warning: None,
    }
}

fn preserved(row: &Worktree, warning: String) -> TakenOverWorktree {
    TakenOverWorktree {
        outcome: TakenOver::Preserved,
        warning: Some(warning),
        ..cleaned(row)
    }
}

fn of_settled(settled: SettledWorktree) -> TakenOverWorktree {
    let words: Vec<&str> = settled
        .reasons
        .iter()
        .map(|reason| reason.message.as_str())
        .collect();
    let warning = words.join("; ");
    let is_gone = settled.outcome == Outcome::Removed;
    TakenOverWorktree {
        id: settled.id,
        path: settled.path,
        outcome: match is_gone {
            true => TakenOver::Cleaned,
            false => TakenOver::Preserved,
        },
        warning: (!is_gone).then_some(warning),
    }
}
