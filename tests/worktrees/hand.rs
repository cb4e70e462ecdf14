//! Removing by hand: what would be lost is told, and has to be agreed to.

use std::fs;

use serde_json::Value;

use super::{add, commit, git, has_branch, list, open, repository, target};
use crate::support::Home;

#[test]
fn losses_are_told_and_each_has_to_be_agreed_to() {
    let home = Home::new();
    let repo = repository(&home, "app");
    let worker = home.start();
    let api = worker.api();
    let session = open(api, "s");
    let one = add(api, &session, &repo);
    commit(&home, &one.path, "new");
    fs::write(one.path.join("untracked"), "new").expect("written");
    let by_path =
        |force: &str| api.call("DELETE", &format!("{}/{}{force}", target(&session), one.id));
    let error = by_path("").error(409, "would_lose");
    let codes: Vec<_> = error["details"]["reasons"]
        .as_array()
        .expect("reasons")
        .iter()
        .map(|reason| reason["code"].as_str().expect("a code").to_owned())
        .collect();
    assert_eq!(codes, ["untracked_files", "unmerged_commits"]);
    by_path("?force=untracked_files").error(409, "would_lose");
    for force in ["?force=true", "?force=unknown", "?force=all"] {
        let error = by_path(force).error(400, "invalid_field");
        assert_eq!(error["details"]["field"], "force", "{force}");
    }
    assert!(one.path.join("untracked").exists());
    let other = open(api, "other");
    let of_other = format!("{}?id={}", target(&other), one.id);
    api.call("DELETE", &of_other).error(404, "unknown_worktree");
    let query = format!("?id={}&force={}", one.id, codes.join(","));
    let removed: Value = api
        .call("DELETE", &format!("{}{query}", target(&session)))
        .json();
    assert_eq!(
        removed["lost"].as_array().map(Vec::len),
        Some(2),
        "{removed}"
    );
    assert!(!one.path.exists() && !has_branch(&home, &repo, &one.branch));
    by_path("").error(404, "unknown_worktree");
}

#[test]
fn command_line_adds_lists_removes_and_prunes() {
    let home = Home::new();
    let repo = repository(&home, "app");
    let worker = home.start();
    let session = open(worker.api(), "s");
    let repo_text = repo.to_str().expect("text");
    let made = home.cli(&["worktree", "add", &session, repo_text, "--name", "fix"]);
    let path = made.text().trim_end().to_owned();
    assert!(path.ends_with("/fix"), "{path}");
    commit(&home, path.as_ref(), "new");
    let listed = home.cli(&["worktree", "list", "--session", &session]);
    assert!(listed.text().contains("ahead by 1"), "{listed:?}");
    let id = list(worker.api())[0].worktree.id.to_string();
    let refused = home.cli(&["worktree", "remove", &id]);
    assert_eq!(refused.code(), 1);
    assert!(
        refused.stderr.contains("--force unmerged_commits"),
        "{refused:?}"
    );
    let closed = home.cli(&["session", "close", &session]);
    assert!(closed.text().contains("to merge it: git -C"), "{closed:?}");
    let pruned = || home.cli(&["worktree", "prune"]).text().to_owned();
    let kept = pruned();
    assert!(kept.starts_with(&format!("kept worktree {path}")), "{kept}");
    git(&home, &repo, &["merge", "-q", "session/s"]);
    let removed = format!("removed {path} and its branch session/s\n");
    assert_eq!(pruned(), removed);
    assert_eq!(pruned(), "nothing to remove or to forget\n");
    let unknown = home.cli(&["worktree", "remove", &id]);
    assert_eq!(unknown.code(), 4, "{unknown:?}");
}

#[test]
fn one_that_its_user_has_removed_is_forgotten_with_its_branch_and_that_is_said() {
    let home = Home::new();
    let repo = repository(&home, "app");
    let worker = home.start();
    let session = open(worker.api(), "s");
    let one = add(worker.api(), &session, &repo);
    fs::remove_dir_all(&one.path).expect("removed");
    let said = home.cli(&["worktree", "prune"]);
    let words = format!(
        "forgot {}, whose directory was gone, and removed its branch {}\n",
        one.path.display(),
        one.branch
    );
    assert_eq!(said.text(), words);
    assert!(!has_branch(&home, &repo, &one.branch));
}

#[test]
fn path_and_branch_name_a_worktree_and_a_lock_is_no_loss() {
    let home = Home::new();
    let repo = repository(&home, "app");
    let other = repository(&home, "other");
    let worker = home.start();
    let session = open(worker.api(), "s");
    let one = add(worker.api(), &session, &repo);
    let path = one.path.to_str().expect("text");
    git(&home, &repo, &["worktree", "lock", path]);
    let removed = home.cli(&["worktree", "remove", path, "--force", "locked"]);
    assert_eq!(
        removed.text(),
        format!("removed {path}\n"),
        "nothing is lost"
    );
    let one = add(worker.api(), &session, &repo);
    let two = add(worker.api(), &session, &other);
    assert_eq!(one.branch, two.branch, "each repository has its own");
    let refused = home.cli(&["worktree", "remove", &one.branch]);
    assert_eq!(refused.code(), 1);
    for id in [&one.id, &two.id] {
        assert!(refused.stderr.contains(id.as_str()), "{refused:?}");
    }
    let path = two.path.to_str().expect("text");
    home.cli(&["worktree", "remove", path]).text();
    home.cli(&["worktree", "remove", &one.branch]).text();
    assert!(!one.path.exists() && !two.path.exists());
    let unknown = home.cli(&["worktree", "remove", "w1"]);
    assert_eq!(unknown.code(), 4);
    assert!(
        unknown.stderr.contains("sessiond worktree list"),
        "{unknown:?}"
    );
}

#[test]
fn one_that_was_moved_is_only_forgotten_and_that_is_said() {
    let home = Home::new();
    let repo = repository(&home, "app");
    let worker = home.start();
    let session = open(worker.api(), "s");
    let one = add(worker.api(), &session, &repo);
    let path = one.path.to_str().expect("text");
    git(&home, &repo, &["worktree", "move", path, "../elsewhere"]);
    let forgot = home.cli(&["worktree", "remove", path, "--force", "moved"]);
    let text = format!(
        "forgot {path}, which was moved; it stays, with its branch {}\n",
        one.branch
    );
    assert_eq!(forgot.text(), text);
    assert!(list(worker.api()).is_empty());
    let elsewhere = repo.with_file_name("elsewhere");
    assert!(elsewhere.join("a").exists() && has_branch(&home, &repo, &one.branch));
}
