//! Looks at one worktree: whether it is there, and what would be lost with it. When in doubt there
//! is a reason to keep it.
//!
//! Ignored files are no reason: build output and dependencies would keep every worktree.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use tokio::time::Instant;

use super::Inner;
use super::changes::{self, Indexed};
use super::git::{Call, GitError};
use super::listing::{self, Listed};
use super::place::{self, Found};
use super::record::{Loss, Reason, Stage, State, Worktree};
use super::repository;
use super::submodules;
use crate::errors::chain;
use crate::words::counted;

/// What was found.
#[derive(Clone, Debug, Default)]
pub(super) struct Examined {
    /// Whether there is a directory.
    pub(super) is_here: bool,
    /// Whether git knows it by its path.
    pub(super) is_listed: bool,
    /// Why it must be kept; empty: nothing would be lost.
    pub(super) reasons: Vec<Reason>,
    /// Whether it has something else checked out than its branch.
    pub(super) is_head_elsewhere: bool,
    /// Commits that only it has.
    pub(super) ahead: u64,
    /// Where its branch is, if there is one.
    pub(super) tip: Option<String>,
    /// Whether that branch is checked out elsewhere.
    pub(super) branch_is_elsewhere: bool,
    /// Whether git removes it by force only, although nothing would be lost.
    pub(super) needs_force: bool,
    /// Why it is locked.
    pub(super) locked: Option<String>,
}

impl Examined {
    /// Nothing but reasons: it was not looked at.
    pub(super) fn because(reasons: Vec<Reason>) -> Self {
        Self {
            reasons,
            ..Self::default()
        }
    }

    /// Where the branch is that goes with it.
    pub(super) fn own_branch(&self) -> Option<&str> {
        self.tip.as_deref().filter(|_| !self.branch_is_elsewhere)
    }

    pub(super) fn state(&self, stage: Stage) -> State {
        let has = |loss: Loss| self.reasons.iter().any(|reason| reason.code == loss);
        if has(Loss::Unknown) {
            State::Unknown
        } else if stage == Stage::Intended {
            State::Adding
        } else if has(Loss::Moved) {
            State::Moved
        } else if !self.is_here {
            State::Missing
        } else if has(Loss::Locked) {
            State::Locked
        } else if has(Loss::InProgress) {
            State::InProgress
        } else if self
            .reasons
            .iter()
            .any(|reason| reason.code != Loss::UnmergedCommits)
        {
            State::Dirty
        } else if self.ahead > 0 {
            State::Ahead
        } else {
            State::Clean
        }
    }
}

/// Examines a worktree. Never fails: what cannot be told is a reason.
pub(super) async fn examine(inner: &Inner, worktree: &Worktree, deadline: Instant) -> Examined {
    let mut found = Examined::default();
    if let Err(error) = look(inner, worktree, deadline, &mut found).await {
        let words = chain(&error);
        found.reasons.push(Reason::unknown(words));
    }
    found
}

async fn look(
    inner: &Inner,
    worktree: &Worktree,
    deadline: Instant,
    found: &mut Examined,
) -> Result<(), GitError> {
    match inner.look(&worktree.path).await {
        Found::Directory => found.is_here = true,
        Found::Nothing => {}
        Found::Foreign(words) => {
            found.is_here = true;
            found.reasons.push(Reason::unknown(words));
            return Ok(());
        }
    }
    let git_dir = worktree.git_dir.clone();
    let has_repository = inner.blocking(move || git_dir.is_dir()).await;
    if !has_repository.unwrap_or(true) {
        if found.is_here {
            let repository = worktree.git_dir.display();
            let words = format!("its repository {repository} is gone");
            found.reasons.push(Reason::unknown(words));
        }
        // With both of them gone there is nothing left to lose.
        return Ok(());
    }
    let in_repository = inner.call(worktree.session, &worktree.git_dir, deadline);
    let listed = repository::worktrees(&inner.git, in_repository).await?;
    let own = listing::at(&listed, &worktree.path);
    let elsewhere = listing::elsewhere(&listed, &worktree.branch, &worktree.path);
    found.is_listed = own.is_some();
    found.is_head_elsewhere = own.is_some_and(|own| own.branch.as_ref() != Some(&worktree.branch));
    found.branch_is_elsewhere = elsewhere.is_some();
    found.locked = own.and_then(|own| own.locked.clone());
    found.tip = match own {
        Some(own) if own.branch.as_ref() == Some(&worktree.branch) => own.head.clone(),
        _ => repository::tip(&inner.git, in_repository, &worktree.branch).await?,
    };
    if let Some(locked) = &found.locked {
        let why = match locked.as_str() {
            "" => "it is locked".to_owned(),
            why => format!("it is locked: {why}"),
        };
        found.reasons.push(Reason::new(Loss::Locked, why));
    }
    match own {
        Some(own) if found.is_here => inside(inner, worktree, own, deadline, found).await?,
        None if found.is_here => {
            let words = "there is a directory, but git does not know it as a worktree";
            found.reasons.push(Reason::unknown(words));
            return Ok(());
        }
        None if let Some(moved) = elsewhere => {
            let words = format!("it was moved to {}", moved.path.display());
            found.reasons.push(Reason::new(Loss::Moved, words));
        }
        _ => {}
    }
    commits(inner, worktree, &listed, own, deadline, found).await
}

/// What its directory holds.
async fn inside(
    inner: &Inner,
    worktree: &Worktree,
    own: &Listed,
    deadline: Instant,
    found: &mut Examined,
) -> Result<(), GitError> {
    let (path, git_dir) = (worktree.path.clone(), worktree.git_dir.clone());
    let link = move || {
        let own = place::own_git_dir(&path, &git_dir)?;
        let operation = place::in_progress(&own);
        Some((own, operation))
    };
    let Some((own_git_dir, operation)) = inner.blocking(link).await.flatten() else {
        let words = "its link to the repository (.git) is gone or leads elsewhere";
        found.reasons.push(Reason::unknown(words));
        return Ok(());
    };
    if own.head.is_none() {
        let words = "nothing was committed on what it has checked out";
        found.reasons.push(Reason::unknown(words));
    }
    if let Some(operation) = operation {
        let words = format!("{operation} is in progress");
        found.reasons.push(Reason::new(Loss::InProgress, words));
    }
    let call = within(inner, worktree, deadline);
    let mut changes = changes::count(&inner.git.run(call, STATUS).await?);
    if worktree.stage == Stage::Leaving {
        // Nothing would have been lost when it began to be removed; what is missing since then is
        // what git had got to.
        found.needs_force |= changes.missing > 0;
        changes.tracked -= changes.missing;
    }
    if changes.tracked > 0 {
        let words = format!(
            "{} with uncommitted changes",
            counted(changes.tracked, "file")
        );
        found
            .reasons
            .push(Reason::new(Loss::UncommittedChanges, words));
    }
    if changes.untracked > 0 {
        let names = counted(changes.untracked, "untracked file");
        let words = format!("{names} (or directories of such)");
        found.reasons.push(Reason::new(Loss::UntrackedFiles, words));
    }
    let index = index(inner, call, &worktree.path).await?;
    if index.hidden > 0 {
        let words = format!(
            "{} that git was told not to look at (assume-unchanged, skip-worktree)",
            counted(index.hidden, "file")
        );
        found.reasons.push(Reason::new(Loss::HiddenFiles, words));
    }
    if index.has_submodules {
        found.needs_force = true;
    }
    let work = submodules::examine(inner, worktree, &own_git_dir, &index.submodules, deadline);
    found.reasons.extend(work.await?);
    Ok(())
}

pub(super) const STATUS: [&str; 6] = [
    "status",
    "--porcelain=v2",
    "-z",
    "--untracked-files=normal",
    "--ignored=no",
    "--ignore-submodules=none",
];

/// What the index says besides the status.
#[derive(Default)]
pub(super) struct Index {
    /// Files that git does not look at, and that may be changed.
    pub(super) hidden: u64,
    has_submodules: bool,
    /// The paths of submodules, `None` where it is no plain text.
    submodules: Vec<Option<String>>,
}

/// Submodules that are looked at; a worktree with more is kept.
pub(super) const SUBMODULES_MAX: usize = 64;

/// Reads the index line by line, since it is as long as there are files.
pub(super) async fn index(inner: &Inner, call: Call<'_>, tree: &Path) -> Result<Index, GitError> {
    let mut index = Index::default();
    let mut skipped: Vec<PathBuf> = Vec::new();
    let args = ["-c", "core.quotePath=false", "ls-files", "-v", "-s"];
    let read = inner.git.each_line(call, args, |line| {
        match changes::indexed(line) {
            Indexed::Seen => {}
            Indexed::AssumedUnchanged | Indexed::Skipped(None) => index.hidden += 1,
            // Left out of a sparse checkout, unless it is there after all.
            Indexed::Skipped(Some(path)) => skipped.push(tree.join(path)),
            Indexed::Submodule(path) => {
                index.has_submodules = true;
                if index.submodules.len() <= SUBMODULES_MAX {
                    index.submodules.push(path);
                }
            }
        }
        ControlFlow::Continue(())
    });
    match read.await? {
        Some((0, _)) | None => {}
        Some((_, words)) => {
            let command = "ls-files".to_owned();
            return Err(GitError::Failed { command, words });
        }
    }
    if !skipped.is_empty() {
        let is_there = |path: &PathBuf| std::fs::symlink_metadata(path).is_ok();
        let count = move || skipped.iter().filter(|path| is_there(path)).count() as u64;
        // What could not be counted may be there.
        index.hidden += inner.blocking(count).await.unwrap_or(1);
    }
    Ok(index)
}

/// Commits that nothing else in the repository reaches.
async fn commits(
    inner: &Inner,
    worktree: &Worktree,
    listed: &[Listed],
    own: Option<&Listed>,
    deadline: Instant,
    found: &mut Examined,
) -> Result<(), GitError> {
    let head = own.and_then(|own| own.head.clone());
    let mut args: Vec<String> = vec!["rev-list".to_owned(), "--count".to_owned()];
    args.extend(head.clone());
    args.extend(found.tip.clone().filter(|tip| Some(tip) != head.as_ref()));
    if args.len() == 2 {
        return Ok(());
    }
    let is_unknown = |reason: &Reason| reason.code == Loss::Unknown;
    let is_whole = found.is_here && !found.reasons.iter().any(is_unknown);
    let call = match is_whole {
        true => within(inner, worktree, deadline),
        false => inner.call(worktree.session, &worktree.git_dir, deadline),
    };
    if is_whole {
        // Its own references, which go with it.
        args.push("--glob=refs/worktree".to_owned());
    }
    args.push("--not".to_owned());
    args.push(format!("--exclude={}", worktree.branch));
    args.extend(["--branches", "--tags", "--remotes"].map(str::to_owned));
    // Others' checkouts hold commits as well as branches do.
    let others = listed.iter().filter(|other| other.path != worktree.path);
    args.extend(others.filter_map(|other| other.head.clone()));
    let answer = inner.git.run(call, args).await?;
    let count = std::str::from_utf8(&answer).ok();
    let count = count.and_then(|count| count.trim().parse::<u64>().ok());
    found.ahead = count.ok_or_else(|| GitError::Failed {
        command: "rev-list".to_owned(),
        words: "it did not answer with a number".to_owned(),
    })?;
    if found.ahead > 0 {
        let words = format!(
            "{} that no other branch, tag or remote branch has",
            counted(found.ahead, "commit")
        );
        found
            .reasons
            .push(Reason::new(Loss::UnmergedCommits, words));
    }
    Ok(())
}

/// A command in the worktree itself.
fn within<'a>(inner: &Inner, worktree: &'a Worktree, deadline: Instant) -> Call<'a> {
    Call {
        ceiling: worktree.path.parent(),
        ..inner.call(worktree.session, &worktree.path, deadline)
    }
}
