//! One worktree as it is remembered, why one is kept, and what became of it.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sessiond_queue::ids::{SessionId, Timestamp};
use uuid::Uuid;

/// Where a worktree is in its life.
///
/// ```text
/// (row) -> intended -git-> added -end of its session-> leaving -git-> (no row)
///             |               ^                  \-> kept -prune, by hand-> leaving
///             +-crash: cleaned, or finished if it was used
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = WorktreeStage))]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Git may be making it.
    Intended,
    /// It was handed out.
    Added,
    /// It was judged that nothing would be lost; git may be removing it.
    Leaving,
    /// Its session has ended, and something would have been lost.
    Kept,
}

impl Stage {
    /// The word in SQL.
    pub(super) fn from_word(word: &str) -> Option<Self> {
        match word {
            "intended" => Some(Self::Intended),
            "added" => Some(Self::Added),
            "leaving" => Some(Self::Leaving),
            "kept" => Some(Self::Kept),
            _ => None,
        }
    }
}

/// One worktree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct Worktree {
    /// Its id, UUIDv7.
    pub id: Uuid,
    /// The session it was made for, which may be purged.
    pub session: SessionId,
    /// That session's name, `agent:key`.
    pub session_name: String,
    /// Where it is in its life.
    pub stage: Stage,
    /// The run of the worker that made it.
    pub generation: i64,
    /// Where a person finds the repository: its main working tree, or the bare repository.
    #[cfg_attr(test, schema(value_type = String))]
    pub repo: PathBuf,
    /// The repository's common git directory, which tells it from others.
    #[cfg_attr(test, schema(value_type = String))]
    pub git_dir: PathBuf,
    /// Whether the repository has no working tree of its own.
    pub is_bare: bool,
    /// Where it is.
    #[cfg_attr(test, schema(value_type = String))]
    pub path: PathBuf,
    /// Its branch, `session/...`.
    pub branch: String,
    /// The commit that branch began at.
    pub base_commit: String,
    /// The branch that commit was the tip of.
    pub base_branch: Option<String>,
    /// Why it was kept when its session ended.
    pub reasons: Vec<Reason>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it was kept.
    pub settled_at: Option<Timestamp>,
}

/// What would be lost with a worktree, or why that cannot be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = WorktreeReason))]
pub struct Reason {
    /// A word for programs; a removal by force names these.
    pub code: Loss,
    /// What is so.
    pub message: String,
}

impl Reason {
    pub(super) fn new(code: Loss, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { code, message }
    }

    pub(super) fn unknown(message: impl Into<String>) -> Self {
        Self::new(Loss::Unknown, message)
    }
}

/// A kind of loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = WorktreeLoss))]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// Commits that no other branch, tag, remote branch or worktree reaches.
    UnmergedCommits,
    /// Changes to tracked files, staged or not.
    UncommittedChanges,
    /// Files that are neither tracked nor ignored.
    UntrackedFiles,
    /// Files that git was told not to look at.
    HiddenFiles,
    /// What only the worktree's own submodules have.
    SubmoduleWork,
    /// A rebase, merge, cherry-pick, revert or bisect.
    InProgress,
    /// Somebody has locked it.
    Locked,
    /// Somebody has moved it.
    Moved,
    /// It cannot be told.
    Unknown,
}

impl Loss {
    const ALL: [Self; 9] = [
        Self::UnmergedCommits,
        Self::UncommittedChanges,
        Self::UntrackedFiles,
        Self::HiddenFiles,
        Self::SubmoduleWork,
        Self::InProgress,
        Self::Locked,
        Self::Moved,
        Self::Unknown,
    ];

    /// The word of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnmergedCommits => "unmerged_commits",
            Self::UncommittedChanges => "uncommitted_changes",
            Self::UntrackedFiles => "untracked_files",
            Self::HiddenFiles => "hidden_files",
            Self::SubmoduleWork => "submodule_work",
            Self::InProgress => "in_progress",
            Self::Locked => "locked",
            Self::Moved => "moved",
            Self::Unknown => "unknown",
        }
    }

    /// The kind of this word, if its loss can be agreed to: what cannot be told cannot.
    pub fn agreed(word: &str) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        all.find(|loss| *loss != Self::Unknown && loss.as_str() == word)
    }

    /// Whether something goes with the worktree; otherwise somebody has only said that it is his.
    pub(super) fn is_lost(self) -> bool {
        !matches!(self, Self::Locked | Self::Moved)
    }

    /// Every word of which a loss can be agreed to, for messages.
    pub fn agreeable() -> String {
        let words = Self::ALL.map(Self::as_str);
        words[..words.len() - 1].join(", ")
    }
}

/// Whether a worktree is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = WorktreeOutcome))]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It is gone, with its branch if that had no commits of its own.
    Removed,
    /// It is where it was.
    Kept,
}

/// What became of one worktree when its session ended, or when it was pruned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct SettledWorktree {
    /// Its id.
    pub id: Uuid,
    /// Where it is, or was.
    #[cfg_attr(test, schema(value_type = String))]
    pub path: PathBuf,
    /// Its branch.
    pub branch: String,
    /// What became of it.
    pub outcome: Outcome,
    /// Whether its directory was gone before.
    #[serde(default)]
    pub was_missing: bool,
    /// Whether its branch was deleted with it: one that is checked out elsewhere, or that somebody
    /// has deleted, is not.
    #[serde(default)]
    pub is_branch_deleted: bool,
    /// Why it was kept.
    pub reasons: Vec<Reason>,
    /// The commands that bring its work into the repository, for a shell; `null` when removed.
    #[serde(default)]
    pub how_to_merge: Option<String>,
    /// The commands that throw it away, for a shell; `null` when removed.
    #[serde(default)]
    pub how_to_discard: Option<String>,
}

/// How a worktree is, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = WorktreeState))]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It is being made, or a crash has left it so.
    Adding,
    /// Nothing would be lost with it.
    Clean,
    /// It has commits of its own.
    Ahead,
    /// It has changes that are not committed.
    Dirty,
    /// A rebase, merge, cherry-pick, revert or bisect is under way.
    InProgress,
    /// Somebody has locked it.
    Locked,
    /// Its directory is not there.
    Missing,
    /// Somebody has moved it.
    Moved,
    /// It cannot be told.
    Unknown,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Adding => "adding",
            Self::Clean => "clean",
            Self::Ahead => "ahead",
            Self::Dirty => "dirty",
            Self::InProgress => "in progress",
            Self::Locked => "locked",
            Self::Missing => "missing",
            Self::Moved => "moved",
            Self::Unknown => "unknown",
        })
    }
}

/// A worktree as it is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct ShownWorktree {
    /// As it is remembered; its reasons are those of now.
    #[serde(flatten)]
    pub worktree: Worktree,
    /// How it is.
    pub state: State,
    /// Commits that only it has.
    pub ahead: u64,
    /// The commands that bring its work into the repository, for a shell.
    pub how_to_merge: Option<String>,
    /// The commands that throw it away, for a shell.
    pub how_to_discard: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_losses_are_those_of_their_json_and_unknown_is_never_agreed_to() {
        for loss in Loss::ALL {
            let json = serde_json::to_value(loss).expect("a word");
            assert_eq!(json, loss.as_str());
            let agreed = Loss::agreed(loss.as_str());
            assert_eq!(agreed, (loss != Loss::Unknown).then_some(loss));
        }
        assert!(!Loss::agreeable().contains("unknown"));
    }
}
