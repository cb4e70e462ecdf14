//! The commands by which a person brings a kept worktree's work home, or throws it away. For a
//! shell, complete, and quoted for it. Pure.

use std::path::Path;

use super::examine::Examined;
use super::record::{Loss, Reason, Worktree};

/// Brings its work into what the repository has checked out, and lets the worktree go. What takes a
/// decision first is only shown.
pub(super) fn how_to_merge(worktree: &Worktree, found: &Examined) -> String {
    let has = |loss: Loss| found.reasons.iter().any(|reason| reason.code == loss);
    let (path, repo) = (quoted(&worktree.path), quoted(&worktree.repo));
    let mut steps = Vec::new();
    if has(Loss::Unknown) || has(Loss::InProgress) {
        // Which way it goes on is the person's to say; the status has the commands.
        steps.push(format!("git -C {path} status"));
    }
    if has(Loss::HiddenFiles) {
        steps.push(format!("git -C {path} ls-files -v"));
    }
    if !steps.is_empty() {
        return steps.join(" && ");
    }
    if has(Loss::Locked) {
        steps.push(format!("git -C {repo} worktree unlock {path}"));
    }
    let has_changes = has(Loss::UncommittedChanges) || has(Loss::UntrackedFiles);
    if has_changes {
        steps.push(format!("git -C {path} add --all"));
        steps.push(format!("git -C {path} commit"));
    }
    if has(Loss::SubmoduleWork) {
        let push = "git push origin HEAD";
        steps.push(format!(
            "git -C {path} submodule foreach --recursive '{push}'"
        ));
    }
    if has_changes || has(Loss::UnmergedCommits) || has(Loss::Moved) {
        // A commit on a detached HEAD, or on a branch of the user's own, is on none of ours.
        let head = format!("\"$(git -C {path} rev-parse HEAD)\"");
        let branch = quoted(Path::new(&worktree.branch));
        let has_branch = !found.is_head_elsewhere || found.tip.is_some();
        let commits = [
            has_branch.then_some(branch),
            found.is_head_elsewhere.then_some(head),
        ];
        let merge = |commit| match (worktree.is_bare, &worktree.base_branch) {
            (false, _) => format!("git -C {repo} merge {commit}"),
            // A bare repository has nowhere to merge in: its branch is moved forward.
            (true, Some(base)) => {
                let base = quoted(Path::new(base));
                format!("git -C {repo} push . {commit}:{base}")
            }
            (true, None) => format!("git -C {repo} log {commit}"),
        };
        steps.extend(commits.into_iter().flatten().map(merge));
    }
    if !has(Loss::Moved) {
        steps.push("sessiond worktree prune".to_owned());
    }
    steps.join(" && ")
}

/// Throws it away, with everything that the reasons name. One that was moved is only forgotten.
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

    fn check(is_bare: bool, is_head_elsewhere: bool, losses: &[Loss], merge: &str, discard: &str) {
        let worktree = Worktree {
            is_bare,
            ..worktree()
        };
        let reasons: Vec<_> = losses.iter().map(|loss| Reason::new(*loss, "")).collect();
        assert_eq!(how_to_discard(&worktree, &reasons), discard);
        let found = Examined {
            is_head_elsewhere,
            tip: Some("1234".to_owned()),
            ..Examined::because(reasons)
        };
        assert_eq!(how_to_merge(&worktree, &found), merge);
    }

    #[test]
    fn commands_are_whole_and_quoted() {
        let id = Uuid::nil();
        check(
            false,
            false,
            &[Loss::UnmergedCommits],
            "git -C '/my repo' merge session/k && sessiond worktree prune",
            &format!("sessiond worktree remove {id} --force unmerged_commits"),
        );
        check(
            true,
            false,
            &[Loss::Locked, Loss::UntrackedFiles],
            "git -C '/my repo' worktree unlock \"/w/it's\" && git -C \"/w/it's\" add --all && \
             git -C \"/w/it's\" commit && git -C '/my repo' push . session/k:main && \
             sessiond worktree prune",
            &format!("sessiond worktree remove {id} --force locked,untracked_files"),
        );
        check(
            false,
            true,
            &[Loss::UnmergedCommits],
            "git -C '/my repo' merge session/k && \
             git -C '/my repo' merge \"$(git -C \"/w/it's\" rev-parse HEAD)\" && \
             sessiond worktree prune",
            &format!("sessiond worktree remove {id} --force unmerged_commits"),
        );
        check(
            false,
            false,
            &[Loss::Locked],
            "git -C '/my repo' worktree unlock \"/w/it's\" && sessiond worktree prune",
            &format!("sessiond worktree remove {id} --force locked"),
        );
        check(
            false,
            false,
            &[Loss::Unknown, Loss::HiddenFiles],
            "git -C \"/w/it's\" status && git -C \"/w/it's\" ls-files -v",
            "git -C '/my repo' worktree remove \"/w/it's\" && \
             git -C '/my repo' branch -d session/k; sessiond worktree prune",
        );
    }
}
