//! Git worktrees of sessions, with real repositories in every state: made, looked at, and at the
//! end of a session removed or kept.

mod add;
mod crash;
mod hand;
mod hook;
mod settle;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sessiond::worktrees::{Loss, SettledWorktree, ShownWorktree};

use crate::support::http::encode;
use crate::support::{Api, Home, LIMIT, Response, launch};

/// Where a test's repositories are.
fn dir_of(home: &Home) -> PathBuf {
    let root = home.layout().root();
    root.parent().expect("it is in a directory").to_owned()
}

/// Runs git as a user would.
#[track_caller]
fn git(home: &Home, dir: &Path, args: &[&str]) -> String {
    let ran = try_git(home, dir, args);
    ran.text().trim_end().to_owned()
}

#[track_caller]
fn try_git(home: &Home, dir: &Path, args: &[&str]) -> launch::Ran {
    let mut command = home.command("git");
    command
        .current_dir(dir)
        .args(["-c", "user.name=test", "-c", "user.email=test@localhost"])
        .args(["-c", "protocol.file.allow=always"])
        .args(args)
        .env("GIT_EDITOR", "true");
    launch::run(&mut command, b"", LIMIT)
}

/// A repository with a commit on `main`.
#[track_caller]
fn repository(home: &Home, name: &str) -> PathBuf {
    let path = dir_of(home).join(name);
    fs::create_dir_all(&path).expect("a directory");
    git(home, &path, &["init", "-q", "-b", "main"]);
    fs::write(path.join(".gitignore"), "ignored\n").expect("written");
    commit(home, &path, "a");
    path
}

/// Commits a file. The message names the tree: two commits of one second that are alike in all would
/// be one and the same, and so neither worktree's own.
#[track_caller]
fn commit(home: &Home, tree: &Path, file: &str) {
    fs::write(tree.join(file), file).expect("written");
    git(home, tree, &["add", "--all"]);
    let message = format!("{file} in {}", tree.display());
    git(home, tree, &["commit", "-q", "-m", &message]);
}

/// Opens a session, and gives its name.
#[track_caller]
fn open(api: &Api, key: &str) -> String {
    let body = json!({ "agent": "agent", "key": key });
    let _session: Value = api.call_with("POST", "/v1/sessions", &body).json();
    format!("agent:{key}")
}

fn target(session: &str) -> String {
    format!("/v1/sessions/{}/worktrees", encode(session))
}

fn try_add(api: &Api, session: &str, body: &Value) -> Response {
    api.call_with("POST", &target(session), body)
}

/// A worktree that was added.
#[derive(Clone, Debug)]
struct Added {
    id: String,
    path: PathBuf,
    branch: String,
}

#[track_caller]
fn add(api: &Api, session: &str, repo: &Path) -> Added {
    added(&try_add(api, session, &json!({ "repo": repo })))
}

#[track_caller]
fn added(response: &Response) -> Added {
    assert_eq!(response.status, 201, "{}", response.text());
    let answer: Value = response.json();
    let text = |name: &str| answer[name].as_str().expect("a text").to_owned();
    Added {
        id: text("id"),
        path: text("path").into(),
        branch: text("branch"),
    }
}

#[track_caller]
fn list(api: &Api) -> Vec<ShownWorktree> {
    let mut answer: Value = api.get("/v1/worktrees");
    serde_json::from_value(answer["worktrees"].take()).expect("worktrees")
}

fn codes(settled: &SettledWorktree) -> Vec<Loss> {
    settled.reasons.iter().map(|reason| reason.code).collect()
}

fn has_branch(home: &Home, repo: &Path, branch: &str) -> bool {
    let full = format!("refs/heads/{branch}");
    let ran = try_git(home, repo, &["rev-parse", "--verify", "--quiet", &full]);
    ran.code() == 0
}

/// How many worktrees the repository knows, its own among them.
#[track_caller]
fn known(home: &Home, repo: &Path) -> usize {
    let listed = git(home, repo, &["worktree", "list", "--porcelain"]);
    let is_one = |line: &&str| line.starts_with("worktree ");
    listed.lines().filter(is_one).count()
}

/// A git that does `before`, a line of shell, and then what it was asked.
#[track_caller]
fn strange_git(home: &Home, script: &str) -> String {
    use std::os::unix::fs::PermissionsExt as _;
    let path = dir_of(home).join("strange-git");
    let text = format!("#!/bin/sh\n{script}\nexec git \"$@\"\n");
    fs::write(&path, text).expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("its mode");
    path.to_str().expect("text").to_owned()
}
