//! Claude Code's WorktreeCreate and WorktreeRemove.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{commit, dir_of, git, list, repository};
use crate::support::home::SESSIOND;
use crate::support::{Home, LIMIT, Ran, launch, payload};

#[track_caller]
fn hook(home: &Home, event: &Value) -> Ran {
    let mut command = home.command(SESSIOND);
    command.args(["worktree", "hook"]);
    launch::run(&mut command, event.to_string().as_bytes(), LIMIT)
}

fn create(cwd: &Path) -> Value {
    json!({
        "hook_event_name": "WorktreeCreate", "session_id": "7d3c", "cwd": cwd, "name": "bold-fox",
        "transcript_path": "/nowhere", "unknown": { "to": "us" },
    })
}

fn remove(path: &Path) -> Value {
    json!({ "hook_event_name": "WorktreeRemove", "session_id": "7d3c", "cwd": "/", "worktree_path": path })
}

#[test]
fn hook_starts_the_worker_and_answers_with_the_path_alone() {
    let home = Home::new();
    let repo = repository(&home, "app");
    let made = hook(&home, &create(&repo));
    let text = made.text();
    let path = PathBuf::from(text.strip_suffix('\n').expect("one line"));
    assert!(path.is_absolute() && path.ends_with("bold-fox"), "{made:?}");
    assert_eq!(made.stderr, "");
    assert!(path.join("a").exists());
    assert_eq!(
        git(&home, &path, &["branch", "--show-current"]),
        "session/7d3c"
    );
    let api = home.api();
    let project = |key: &str| {
        let session = api.find_session(&format!("claude-code:{key}"));
        session.expect("a session").session.project
    };
    let repo_name = repo.to_str().map(str::to_owned);
    assert_eq!(project("7d3c"), repo_name);
    // What is learned in the worktree is of the repository.
    api.accept(payload::event(
        "inside",
        "UserPromptSubmit",
        json!({ "prompt": "x", "cwd": path }),
    ));
    assert_eq!(project("inside"), repo_name);
    // What would be lost stays, and the agent is told.
    commit(&home, &path, "new");
    let refused = hook(&home, &remove(&path));
    assert_eq!(refused.code(), 1);
    assert!(refused.stderr.contains("commit"), "{refused:?}");
    assert!(path.exists());
    git(&home, &repo, &["merge", "-q", "session/7d3c"]);
    assert_eq!(hook(&home, &remove(&path)).text(), "");
    assert!(!path.exists() && list(&api).is_empty());
    // None of ours is nothing to fail at.
    assert_eq!(hook(&home, &remove(&repo)).text(), "");
    assert!(repo.exists());
    home.stop_detached();
}

#[test]
fn hook_that_cannot_answer_fails_with_words_and_prints_no_path() {
    let home = Home::new();
    let repo = repository(&home, "app");
    let plain = dir_of(&home).join("plain");
    fs::create_dir(&plain).expect("a directory");
    let worker = home.start();
    let mut no_session = create(&repo);
    no_session["session_id"] = Value::Null;
    let mut other = create(&repo);
    other["hook_event_name"] = json!("Stop");
    for event in [create(&plain), no_session, other, json!("nonsense")] {
        let failed = hook(&home, &event);
        assert_ne!(failed.code(), 0, "{event}");
        assert!(
            failed.stdout.is_empty() && !failed.stderr.is_empty(),
            "{failed:?}"
        );
    }
    let install = fs::read_to_string(home.layout().install_file()).expect("an install");
    let tag = format!("{}:1:session:spawn", install.trim());
    let mut inside = home.command(SESSIOND);
    inside.args(["worktree", "hook"]).env("SESSIOND_TAG", tag);
    let refused = launch::run(&mut inside, create(&repo).to_string().as_bytes(), LIMIT);
    assert_eq!(refused.code(), 1, "{refused:?}");
    assert!(list(worker.api()).is_empty());
}

#[test]
fn hook_tells_by_its_exit_code_that_no_worker_can_be_started_and_once_why() {
    let check = |home: &Home, words: &str| {
        let failed = hook(home, &create(&dir_of(home)));
        assert_eq!(failed.code(), 3, "{failed:?}");
        assert!(failed.stdout.is_empty(), "{failed:?}");
        assert_eq!(failed.stderr.matches(words).count(), 1, "{failed:?}");
    };
    let home = Home::new();
    let root = home.layout().root();
    fs::create_dir_all(root).expect("a home");
    fs::set_permissions(root, fs::Permissions::from_mode(0o755)).expect("its mode");
    check(&home, "chmod 700");
    fs::set_permissions(root, fs::Permissions::from_mode(0o700)).expect("its mode");
    home.write_config("[session\n");
    check(&home, "config.toml");
    home.write_config("");
    fs::remove_dir_all(root).expect("ours");
    fs::write(root, "no directory").expect("a file");
    check(&home, "is not a directory");
    fs::remove_file(root).expect("ours");
}
