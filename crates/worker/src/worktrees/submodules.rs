//! What only a worktree's own submodules have.
//!
//! Git keeps the repositories of a worktree's submodules below the worktree's own git directory,
//! and removes them with it: commits that were never pushed, stashes, everything. What is changed
//! in their files is in the worktree's status; here it is about their repositories.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tokio::time::Instant;

use super::Inner;
use super::examine::{self, SUBMODULES_MAX};
use super::git::{Call, GitError};
use super::place;
use super::record::{Loss, Reason, Worktree};
use crate::words::counted;

/// How deep modules are looked for; their names may have slashes.
const DEPTH_MAX: usize = 16;

pub(super) async fn examine(
    inner: &Inner,
    worktree: &Worktree,
    own_git_dir: &Path,
    paths: &[Option<String>],
    deadline: Instant,
) -> Result<Vec<Reason>, GitError> {
    let tree = worktree.path.clone();
    let embedded: Vec<PathBuf> = paths.iter().flatten().map(|path| tree.join(path)).collect();
    let modules = own_git_dir.join("modules");
    let look = move || {
        let embedded = embedded.iter().filter(|path| path.join(".git").is_dir());
        let embedded = embedded.count() as u64;
        let mut found = Vec::new();
        repositories(&modules, DEPTH_MAX, &mut found).map(|()| (embedded, found))
    };
    let mut reasons = Vec::new();
    let Some(Ok((embedded, repositories))) = inner.blocking(look).await else {
        reasons.push(Reason::unknown("its submodules cannot be looked at"));
        return Ok(reasons);
    };
    if embedded > 0 {
        let words = format!(
            "{} with the repository inside the worktree",
            counted(embedded, "submodule")
        );
        reasons.push(Reason::new(Loss::SubmoduleWork, words));
    }
    if paths.contains(&None) || repositories.len() > SUBMODULES_MAX {
        let words =
            format!("it has more than {SUBMODULES_MAX} submodules, or one of a strange name");
        reasons.push(Reason::unknown(words));
        return Ok(reasons);
    }
    for repository in repositories {
        let call = inner.call(worktree.session, &repository, deadline);
        if let Some(words) = work_of(inner, call).await? {
            let name = repository.strip_prefix(own_git_dir.join("modules"));
            let name = name.unwrap_or(&repository).display();
            let words = format!("submodule {name} has {words}");
            reasons.push(Reason::new(Loss::SubmoduleWork, words));
        }
    }
    Ok(reasons)
}

/// What a submodule's repository has that its remote has not.
async fn work_of(inner: &Inner, call: Call<'_>) -> Result<Option<String>, GitError> {
    if let Some(operation) = place::in_progress(call.cwd) {
        return Ok(Some(format!("{operation} in progress")));
    }
    // `--all`: stashes and HEAD too. `--git-dir`: its configuration names a working tree that is
    // looked at from elsewhere.
    let git_dir = format!("--git-dir={}", call.cwd.display());
    let args = [
        &git_dir,
        "rev-list",
        "--count",
        "--all",
        "--not",
        "--remotes",
        "--tags",
    ];
    let answer = inner.git.run(call, args).await?;
    let count: Option<u64> = std::str::from_utf8(&answer)
        .ok()
        .and_then(|count| count.trim().parse().ok());
    match count {
        Some(0) => {}
        Some(count) => return Ok(Some(format!("{} never pushed", counted(count, "commit")))),
        None => return Ok(Some("commits that cannot be counted".to_owned())),
    }
    let index = examine::index(inner, call, call.cwd).await?;
    Ok((index.hidden > 0).then(|| "files that git was told not to look at".to_owned()))
}

/// The repositories below a directory of modules: those of submodules, and of theirs. Blocks.
fn repositories(dir: &Path, depth: usize, found: &mut Vec<PathBuf>) -> io::Result<()> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        if !entry.file_type()?.is_dir() || found.len() > SUBMODULES_MAX {
            continue;
        }
        if depth == 0 {
            return Err(io::Error::other("too deep"));
        }
        let path = entry.path();
        if path.join("HEAD").is_file() {
            repositories(&path.join("modules"), depth - 1, found)?;
            found.push(path);
        } else {
            repositories(&path, depth - 1, found)?;
        }
    }
    Ok(())
}
