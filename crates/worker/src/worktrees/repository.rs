//! Which repository a path belongs to, and what it has.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::git::{Answer, Call, Git, GitError};
use super::listing::{self, Listed};

/// A repository, told from others by its common git directory, however it was named.
#[derive(Clone, Debug)]
pub(super) struct Repository {
    /// Where it was found: a working tree or the bare repository, or a directory in it.
    pub(super) given: PathBuf,
    pub(super) git_dir: PathBuf,
    pub(super) is_bare: bool,
}

/// Its branches.
#[derive(Debug, Default)]
pub(super) struct Branches {
    /// Their names, without `refs/heads/`.
    pub(super) all: HashSet<String>,
    /// The one that is checked out where the repository was found.
    pub(super) current: Option<String>,
}

impl Repository {
    /// The repository at `call.cwd`, which is canonical.
    pub(super) async fn find(git: &Git, call: Call<'_>) -> Result<Self, GitError> {
        let args = [
            "rev-parse",
            "--is-bare-repository",
            "--path-format=absolute",
            "--git-common-dir",
        ];
        let answer = git.run(call, args).await?;
        let (is_bare, git_dir) = match answer.iter().position(|byte| *byte == b'\n') {
            Some(at) => (&answer[..at] == b"true", &answer[at + 1..]),
            None => (false, &answer[..0]),
        };
        let git_dir = PathBuf::from(OsStr::from_bytes(git_dir));
        let git_dir = std::fs::canonicalize(&git_dir).map_err(|_| GitError::NoDirectory {
            path: git_dir.clone(),
        })?;
        Ok(Self {
            given: call.cwd.to_owned(),
            git_dir,
            is_bare,
        })
    }

    /// Where a person finds it.
    pub(super) fn main(&self) -> &Path {
        match self.git_dir.parent() {
            Some(parent) if self.git_dir.file_name() == Some(OsStr::new(".git")) => parent,
            _ => &self.given,
        }
    }

    /// The commit that `base` names there; `None`: there is none.
    pub(super) async fn commit(
        &self,
        git: &Git,
        call: Call<'_>,
        base: &str,
    ) -> Result<Option<String>, GitError> {
        let commit = format!("{base}^{{commit}}");
        let args = [
            "rev-parse",
            "--verify",
            "--quiet",
            "--end-of-options",
            &commit,
        ];
        let answer = git.ask(call, args).await?;
        Ok(oid(&answer))
    }

    pub(super) async fn branches(&self, git: &Git, call: Call<'_>) -> Result<Branches, GitError> {
        let args = ["for-each-ref", "--format=%(HEAD)%(refname)", "refs/heads"];
        let answer = git.run(call, args).await?;
        let answer = String::from_utf8_lossy(&answer);
        let mut branches = Branches::default();
        for line in answer.lines() {
            let (is_current, name) = match line.strip_prefix('*') {
                Some(rest) => (true, rest),
                None => (false, line.trim_start()),
            };
            let Some(name) = name.strip_prefix("refs/heads/") else {
                continue;
            };
            if is_current {
                branches.current = Some(name.to_owned());
            }
            branches.all.insert(name.to_owned());
        }
        Ok(branches)
    }
}

/// Every worktree of the repository whose git directory is `call.cwd`.
pub(super) async fn worktrees(git: &Git, call: Call<'_>) -> Result<Vec<Listed>, GitError> {
    let args = ["worktree", "list", "--porcelain", "-z"];
    Ok(listing::parse(&git.run(call, args).await?))
}

/// The commit a branch is at; `None`: there is no such branch.
pub(super) async fn tip(
    git: &Git,
    call: Call<'_>,
    branch: &str,
) -> Result<Option<String>, GitError> {
    let full = format!("refs/heads/{branch}");
    let answer = git
        .ask(call, ["rev-parse", "--verify", "--quiet", &full])
        .await?;
    match answer.code {
        // 1 is how it says, quietly, that there is none.
        0 | 1 => Ok(oid(&answer)),
        _ => Err(answer.refusal("rev-parse")),
    }
}

/// Removes a branch that is still at `tip`.
pub(super) async fn delete_branch(
    git: &Git,
    call: Call<'_>,
    branch: &str,
    tip: &str,
) -> Result<(), GitError> {
    let full = format!("refs/heads/{branch}");
    // Unlike `branch -D` it looks, under its lock, whether somebody has committed meanwhile.
    let args = ["update-ref", "--no-deref", "-d", &full, tip];
    git.run(call, args).await.map(drop)
}

fn oid(answer: &Answer) -> Option<String> {
    let text = std::str::from_utf8(&answer.stdout).ok()?.trim();
    let is_oid = text.len() >= 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    (answer.code == 0 && is_oid).then(|| text.to_owned())
}
