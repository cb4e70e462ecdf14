//! The commands by which a person brings a kept worktree's work home, or throws it away. For a
//! shell, complete, and quoted for it. Pure.

use std::path::Path;

use super::record::{Loss, Reason, Worktree};

/// Brings its work into the repository.
pub(super) fn how_to_merge(worktree: &Worktree, reasons: &[Reason]) -> String {
    let has = |loss: Loss| reasons.iter().any(|reason| reason.code == loss);
    let (path, repo) = (quoted(&worktree.path), quoted(&worktree.repo));
    let mut steps = Vec::new();
    if has(Loss::Unknown) {
        steps.push(format!("git -C {path} status"));
    }
    if has(Loss::Locked) {
        steps.push(format!("git -C {repo} worktree unlock {path}"));
    }
    if has(Loss::InProgress) {
        // Which way it goes on is the person's to say; the status has the commands.
        steps.push(format!("git -C {path} status"));
    }
    if has(Loss::UncommittedChanges) || has(Loss::UntrackedFiles) || has(Loss::InProgress) {
        steps.push(format!("git -C {path} add --all"));
        steps.push(format!("git -C {path} commit"));
    }
    if has(Loss::HiddenFiles) {
        steps.push(format!("git -C {path} ls-files -v"));
    }
    if has(Loss::SubmoduleWork) {
        let push = "git push origin HEAD";
        steps.push(format!(
            "git -C {path} submodule foreach --recursive '{push}'"
        ));
    }
    let branch = quoted(Path::new(&worktree.branch));
    steps.push(match (worktree.is_bare, &worktree.base_branch) {
        (false, _) => format!("git -C {repo} merge {branch}"),
        // A bare repository has nowhere to merge in: its branch is moved forward.
        (true, Some(base)) => {
            let refs = format!("{}:{base}", worktree.branch);
            format!("git -C {repo} push . {}", quoted(Path::new(&refs)))
        }
        (true, None) => format!("git -C {repo} log {branch}"),
    });
    steps.dedup();
    steps.join(" && ")
}

/// Throws it away, with everything that the reasons name.
pub(super) fn how_to_discard(worktree: &Worktree, reasons: &[Reason]) -> String {
    let is_unknown = reasons.iter().any(|reason| reason.code == Loss::Unknown);
    if !is_unknown {
        return remove(worktree, reasons);
    }
    // What cannot be told, sessiond does not remove. Without force git refuses as well when something
    // would be lost, and says what.
    let (path, repo) = (quoted(&worktree.path), quoted(&worktree.repo));
    let branch = quoted(Path::new(&worktree.branch));
    format!(
        "git -C {repo} worktree remove {path} && git -C {repo} branch -d {branch}; \
         sessiond worktree prune"
    )
}

/// The command that removes it, agreeing to each loss.
pub(super) fn remove(worktree: &Worktree, reasons: &[Reason]) -> String {
    let mut losses: Vec<&str> = reasons.iter().map(|reason| reason.code.as_str()).collect();
    losses.dedup();
    match losses.is_empty() {
        true => format!("sessiond worktree remove {}", worktree.id),
        false => {
            let losses = losses.join(",");
            format!("sessiond worktree remove {} --force {losses}", worktree.id)
        }
    }
}

fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    // Only a NUL cannot be quoted, and no path has one.
    shlex::try_quote(&text).map_or_else(|_| text.to_string(), std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use sessiond_queue::ids::{SessionId, Timestamp};
    use uuid::Uuid;

    use super::super::record::Stage;
    use super::*;

    fn worktree() -> Worktree {
        Worktree {
            id: Uuid::nil(),
            session: SessionId(Uuid::nil()),
            session_name: "a:k".to_owned(),
            stage: Stage::Kept,
            generation: 1,
            repo: "/my repo".into(),
            git_dir: "/my repo/.git".into(),
            is_bare: false,
            path: "/w/it's".into(),
            branch: "session/k".to_owned(),
            base_commit: String::new(),
            base_branch: Some("main".to_owned()),
            reasons: Vec::new(),
            created_at: Timestamp(0),
            settled_at: None,
        }
    }

    fn check(is_bare: bool, losses: &[Loss], merge: &str, discard: &str) {
        let worktree = Worktree {
            is_bare,
            ..worktree()
        };
        let reasons: Vec<_> = losses.iter().map(|loss| Reason::new(*loss, "")).collect();
        assert_eq!(how_to_merge(&worktree, &reasons), merge);
        assert_eq!(how_to_discard(&worktree, &reasons), discard);
    }

    #[test]
    fn commands_are_whole_and_quoted() {
        let id = Uuid::nil();
        check(
            false,
            &[Loss::UnmergedCommits],
            "git -C '/my repo' merge session/k",
            &format!("sessiond worktree remove {id} --force unmerged_commits"),
        );
        check(
            true,
            &[Loss::Locked, Loss::UntrackedFiles],
            "git -C '/my repo' worktree unlock \"/w/it's\" && git -C \"/w/it's\" add --all && \
             git -C \"/w/it's\" commit && git -C '/my repo' push . session/k:main",
            &format!("sessiond worktree remove {id} --force locked,untracked_files"),
        );
        check(
            false,
            &[Loss::Unknown],
            "git -C \"/w/it's\" status && git -C '/my repo' merge session/k",
            "git -C '/my repo' worktree remove \"/w/it's\" && \
             git -C '/my repo' branch -d session/k; sessiond worktree prune",
        );
    }
}
