//! What the doctor is told of worktrees. Runs no git.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Worktrees;
use super::place::Found;
use super::record::Stage;
use super::take_over::TakenOverWorktree;
use crate::state::StateError;

/// Directories that are named in a report.
const NAMED_MAX: usize = 20;

/// Worktrees, as the doctor reports them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct WorktreesReport {
    /// Where they lie.
    #[cfg_attr(test, schema(value_type = String))]
    pub root: PathBuf,
    /// Those that sessions use.
    pub added: u64,
    /// Those that sessions have left, kept because something would have been lost.
    pub kept: u64,
    /// Those that are being made or removed, or whose making or removal a crash cut off.
    pub unfinished: u64,
    /// How many have no directory any more.
    pub missing_count: u64,
    /// Where they should be; at most 20.
    #[cfg_attr(test, schema(value_type = Vec<String>))]
    pub missing: Vec<PathBuf>,
    /// Why git cannot be run.
    pub git_problem: Option<String>,
    /// What the start has made of earlier instances' ones; `null`: it is still at it.
    pub taken_over: Option<Vec<TakenOverWorktree>>,
}

impl WorktreesReport {
    /// How many there are.
    pub fn count(&self) -> u64 {
        self.added + self.kept + self.unfinished
    }
}

impl Worktrees {
    /// What the doctor says.
    ///
    /// # Errors
    /// The rows cannot be read.
    pub async fn report(&self) -> Result<WorktreesReport, StateError> {
        let inner = &*self.inner;
        let mut report = WorktreesReport {
            root: inner.root.path().to_owned(),
            git_problem: inner.settings.worktrees.git_problem(),
            taken_over: self.taken_over().map(<[_]>::to_vec),
            ..WorktreesReport::default()
        };
        for row in inner.rows.list().await? {
            match row.stage {
                Stage::Added => report.added += 1,
                Stage::Kept => report.kept += 1,
                Stage::Intended | Stage::Leaving => report.unfinished += 1,
            }
            let is_being_made = row.stage == Stage::Intended;
            if !is_being_made && inner.look(&row.path).await == Found::Nothing {
                report.missing_count += 1;
                if report.missing.len() < NAMED_MAX {
                    report.missing.push(row.path);
                }
            }
        }
        Ok(report)
    }
}
