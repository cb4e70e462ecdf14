//! What is made, under which names, and what is refused.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::thread;

use nix::unistd::geteuid;
use serde_json::json;

use super::{add, added, commit, git, has_branch, known, list, open, repository, try_add};
use super::{dir_of, target};
use crate::events::stream::Stream;
use crate::support::{Home, leave_out};

#[test]
fn worktree_is_made_outside_of_the_repository_on_a_branch_of_its_own() {
    let home = Home::new();
    let repo = repository(&home, "my app");
    let hook = repo.join(".git/hooks/post-checkout");
    fs::write(
        &hook,
        "#!/bin/sh\ntouch \"$(git rev-parse --git-common-dir)/hooked\"\n",
    )
    .expect("written");
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).expect("its mode");
    let worker = home.start();
    let api = worker.api();
    let mut stream = Stream::open(&home, "?type=process,worktree", "");
    let session = open(api, "s");
    let one = add(api, &session, &repo);
    let told = stream.until("worktree.added");
    assert_eq!(told.len(), 1, "sessiond's own gits are no news: {told:?}");
    let root = home.layout().root().join("worktrees");
    assert!(one.path.starts_with(&root), "{one:?}");
    let parent = one.path.parent().and_then(|parent| parent.file_name());
    let parent = parent.expect("a repository's directory").to_string_lossy();
    assert!(parent.starts_with("my-app-"), "{parent}");
    let mode = fs::metadata(&root)
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o700);
    assert_eq!(one.branch, "session/s");
    assert_eq!(
        fs::read_to_string(one.path.join("a")).expect("checked out"),
        "a"
    );
    assert!(!repo.join(".git/hooked").exists(), "hooks are not run");
    // Another one, and one of another name at an older commit.
    let first = git(&home, &repo, &["rev-parse", "HEAD"]);
    commit(&home, &repo, "b");
    let two = add(api, &session, &repo);
    assert_eq!(two.branch, "session/s-2");
    assert!(two.path.ends_with("s-2") && two.path.join("b").exists());
    let body = json!({ "repo": repo, "base": "main~1", "name": "fix it" });
    let three = added(&try_add(api, &session, &body));
    assert!(three.path.ends_with("fix-it"), "{three:?}");
    assert_eq!(git(&home, &three.path, &["rev-parse", "HEAD"]), first);
    assert_eq!(known(&home, &repo), 4);
    let shown = list(api);
    assert_eq!(shown.len(), 3);
    assert_eq!(shown[0].worktree.base_branch.as_deref(), Some("main"));
    assert_eq!(shown[2].worktree.base_branch, None);
}

#[test]
fn one_repository_has_one_place_however_it_is_named() {
    let home = Home::new();
    let repo = repository(&home, "app");
    let dir = dir_of(&home);
    fs::create_dir(repo.join("deep")).expect("a directory");
    symlink(&repo, dir.join("link")).expect("a link");
    git(
        &home,
        &repo,
        &["worktree", "add", "-q", "--detach", "../linked"],
    );
    git(&home, &repo, &["branch", "session/s"]);
    let worker = home.start();
    let api = worker.api();
    let session = open(api, "s");
    let named = [
        repo.clone(),
        repo.join("deep"),
        dir.join("link"),
        dir.join("linked"),
    ];
    let made: Vec<_> = named.iter().map(|repo| add(api, &session, repo)).collect();
    let places: HashSet<_> = made.iter().map(|one| one.path.parent()).collect();
    assert_eq!(places.len(), 1, "{made:?}");
    // The user's own branch is left alone.
    let branches: Vec<_> = made.iter().map(|one| one.branch.as_str()).collect();
    assert_eq!(
        branches,
        ["session/s-2", "session/s-3", "session/s-4", "session/s-5"]
    );
}

#[test]
fn bare_shallow_and_detached_repositories_have_worktrees_too() {
    let home = Home::new();
    let repo = repository(&home, "app");
    commit(&home, &repo, "b");
    let dir = dir_of(&home);
    git(&home, &dir, &["clone", "-q", "--bare", "app", "bare.git"]);
    let url = format!("file://{}", repo.display());
    git(
        &home,
        &dir,
        &["clone", "-q", "--depth", "1", &url, "shallow"],
    );
    git(&home, &repo, &["checkout", "-q", "--detach", "HEAD~1"]);
    let worker = home.start();
    let api = worker.api();
    let session = open(api, "s");
    for repo in ["bare.git", "shallow", "app"] {
        let one = add(api, &session, &dir.join(repo));
        assert!(one.path.join("a").exists(), "{repo}");
        assert_eq!(one.path.join("b").exists(), repo != "app", "{repo}");
    }
    let report = api.close(&session, "");
    assert_eq!(report.worktrees.len(), 3);
    assert!(list(api).is_empty(), "{report:?}");
}

#[test]
fn twenty_adds_at_once_make_twenty_worktrees() {
    let home = Home::new();
    let repo = repository(&home, "app");
    let worker = home.start();
    let sessions: Vec<_> = (0..4)
        .map(|n| open(worker.api(), &format!("s{n}")))
        .collect();
    let adds: Vec<_> = (0..20)
        .map(|n| {
            let (api, repo) = (worker.api().clone(), repo.clone());
            let session = sessions[n % sessions.len()].clone();
            thread::spawn(move || add(&api, &session, &repo))
        })
        .collect();
    let made: Vec<_> = adds
        .into_iter()
        .map(|add| add.join().expect("added"))
        .collect();
    let branches: HashSet<_> = made.iter().map(|one| one.branch.clone()).collect();
    let paths: HashSet<_> = made.iter().map(|one| one.path.clone()).collect();
    assert_eq!((branches.len(), paths.len()), (20, 20));
    assert_eq!(known(&home, &repo), 21);
    assert!(paths.iter().all(|path| path.join("a").exists()));
    let closed = sessions
        .iter()
        .map(|session| worker.api().close(session, ""));
    let settled: usize = closed.map(|report| report.worktrees.len()).sum();
    assert_eq!(settled, 20);
    assert_eq!(known(&home, &repo), 1);
}

#[test]
fn hostile_names_become_ordinary_ones() {
    let home = Home::new();
    let repo = repository(&home, "app");
    let worker = home.start();
    let api = worker.api();
    let root = home.layout().root().join("worktrees");
    let hostile = [
        "-rf",
        "--help",
        "a b",
        "../../up",
        "..",
        "HEAD@{1}",
        "x.lock",
        "ünï/cödé",
        "a\nb",
        "~^:?*[",
        "$(touch pwned)",
        "HEAD",
        &"long".repeat(100),
    ];
    let session = open(api, "plain");
    for name in hostile {
        let body = json!({ "repo": repo, "name": name });
        let one = added(&try_add(api, &session, &body));
        let parent = one.path.parent().and_then(|parent| parent.parent());
        assert_eq!(parent, Some(root.as_path()), "{name:?}: {one:?}");
    }
    for key in [
        "-rf",
        "a b:c",
        "../../up",
        "HEAD@{1}",
        "x.lock",
        "ünï/cödé",
        "@",
    ] {
        let session = open(api, key);
        let one = add(api, &session, &repo);
        let checked = ["check-ref-format", "--branch", &one.branch];
        assert_eq!(git(&home, &repo, &checked), one.branch, "{key:?}");
        assert!(one.branch.starts_with("session/"), "{key:?}");
    }
    assert_eq!(known(&home, &repo), 1 + hostile.len() + 7);
}

#[test]
fn what_cannot_be_made_is_refused_with_the_reason_and_leaves_nothing() {
    let home = Home::new();
    let repo = repository(&home, "app");
    let dir = dir_of(&home);
    fs::create_dir(dir.join("plain")).expect("a directory");
    fs::create_dir(dir.join("empty")).expect("a directory");
    git(&home, &dir.join("empty"), &["init", "-q"]);
    let blocked = repository(&home, "blocked");
    git(&home, &blocked, &["branch", "session"]);
    let worker = home.start();
    let api = worker.api();
    let session = open(api, "s");
    let check = |body, status, code| try_add(api, &session, &body).error(status, code);
    for base in [
        "nowhere",
        "-x",
        "main..main",
        "@{upstream}",
        "x y",
        "--help",
    ] {
        let error = check(json!({ "repo": repo, "base": base }), 400, "invalid_field");
        assert_eq!(error["details"]["field"], "base", "{base}");
    }
    for path in ["app", "", "/nowhere/at/all", "/etc/passwd", "/etc\0"] {
        let error = check(json!({ "repo": path }), 400, "invalid_field");
        assert_eq!(error["details"]["field"], "repo", "{path}");
    }
    check(json!({ "repo": repo, "name": "" }), 400, "invalid_field");
    check(json!({ "repo": dir.join("plain") }), 409, "git_refused");
    check(
        json!({ "repo": dir.join("empty") }),
        409,
        "empty_repository",
    );
    // A branch where a directory of branches has to be.
    let error = check(json!({ "repo": blocked }), 409, "git_refused");
    assert!(
        error["message"]
            .as_str()
            .is_some_and(|words| words.contains("session")),
        "{error}"
    );
    try_add(api, "agent:nobody", &json!({ "repo": repo })).error(404, "unknown_session");
    if geteuid().is_root() {
        let foreign = repository(&home, "foreign");
        chown(&foreign, Some(65_533), None).expect("root gives things away");
        chown(foreign.join(".git"), Some(65_533), None).expect("root gives things away");
        let error = check(json!({ "repo": foreign }), 409, "git_refused");
        let words = error["message"].as_str().expect("words");
        assert!(words.contains("ownership"), "git's own words: {words}");
    } else {
        leave_out("worktrees of another user's repository: only root makes one");
    }
    api.close(&session, "");
    check(json!({ "repo": repo }), 409, "session_not_open");
    assert!(list(api).is_empty());
    assert_eq!(known(&home, &repo), 1);
    assert!(!has_branch(&home, &repo, "session/s"));
    api.call("DELETE", &target(&session))
        .error(400, "invalid_field");
}

#[test]
fn worktrees_inside_of_their_own_repository_are_refused() {
    let mut home = Home::new();
    let repo = repository(&home, "app");
    home.set("worktrees.root", repo.join("inside").display());
    let worker = home.start();
    let session = open(worker.api(), "s");
    let refused = try_add(worker.api(), &session, &json!({ "repo": repo }));
    refused.error(409, "unusable_root");
}
