//! The end of a session: what goes, what stays, and what is said of it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::Value;
use sessiond::worktrees::{Loss, Outcome, State};
use sessiond_queue::types::Life;

use super::{Added, add, codes, commit, dir_of, git, has_branch, known, list, open};
use super::{repository, try_git};
use crate::support::home::SESSIOND;
use crate::support::wait::ok_if;
use crate::support::{Home, LIMIT, launch, wait_until};

/// Brings a worktree of a repository into a state.
type Bring = fn(&Home, &Path, &Added);

#[test]
fn only_that_is_removed_with_which_nothing_is_lost() {
    use Loss::{
        HiddenFiles, InProgress, Locked, Moved, UncommittedChanges, Unknown, UnmergedCommits,
        UntrackedFiles,
    };
    let cases: &[(&str, State, &[Loss], Bring)] = &[
        ("clean", State::Clean, &[], |_, _, _| {}),
        ("ignored", State::Clean, &[], |_, _, one| {
            write(one, "ignored")
        }),
        (
            "changed",
            State::Dirty,
            &[UncommittedChanges],
            |_, _, one| write(one, "a"),
        ),
        (
            "staged",
            State::Dirty,
            &[UncommittedChanges],
            |home, _, one| {
                write(one, "new");
                git(home, &one.path, &["add", "new"]);
            },
        ),
        ("untracked", State::Dirty, &[UntrackedFiles], |_, _, one| {
            write(one, "new")
        }),
        ("ahead", State::Ahead, &[UnmergedCommits], |home, _, one| {
            commit(home, &one.path, "new");
        }),
        ("merged", State::Clean, &[], |home, repo, one| {
            commit(home, &one.path, "merged");
            git(home, repo, &["merge", "-q", &one.branch]);
        }),
        ("pushed", State::Clean, &[], |home, _, one| {
            commit(home, &one.path, "pushed");
            git(
                home,
                &one.path,
                &["update-ref", "refs/remotes/origin/x", "HEAD"],
            );
        }),
        ("switched", State::Clean, &[], |home, _, one| {
            git(home, &one.path, &["switch", "-q", "-c", "mine"]);
            commit(home, &one.path, "mine");
        }),
        (
            "detached",
            State::Ahead,
            &[UnmergedCommits],
            |home, _, one| {
                git(home, &one.path, &["switch", "-q", "--detach"]);
                commit(home, &one.path, "new");
            },
        ),
        (
            "own-ref",
            State::Ahead,
            &[UnmergedCommits],
            |home, _, one| {
                commit(home, &one.path, "new");
                git(
                    home,
                    &one.path,
                    &["update-ref", "refs/worktree/keep", "HEAD"],
                );
                git(home, &one.path, &["reset", "-q", "--hard", "HEAD~1"]);
            },
        ),
        (
            "rebasing",
            State::InProgress,
            &[InProgress, UnmergedCommits],
            |home, _, one| {
                commit(home, &one.path, "new");
                let rebase = ["rebase", "--force-rebase", "-x", "false", "HEAD~1"];
                assert_ne!(try_git(home, &one.path, &rebase).code(), 0);
            },
        ),
        (
            "merging",
            State::InProgress,
            &[InProgress, UncommittedChanges],
            |home, repo, one| {
                commit(home, repo, &one.branch.replace('/', "-"));
                git(
                    home,
                    &one.path,
                    &["merge", "-q", "--no-ff", "--no-commit", "main"],
                );
            },
        ),
        (
            "picking",
            State::InProgress,
            &[InProgress, UncommittedChanges, UnmergedCommits],
            |home, repo, one| {
                commit(home, &one.path, "picked");
                fs::write(one.path.join("picked"), "mine").expect("written");
                git(home, &one.path, &["commit", "-q", "-am", "mine"]);
                git(home, repo, &["switch", "-q", "-c", "other", "main"]);
                fs::write(repo.join("picked"), "theirs").expect("written");
                git(home, repo, &["add", "picked"]);
                git(home, repo, &["commit", "-q", "-m", "theirs"]);
                git(home, repo, &["switch", "-q", "main"]);
                assert_ne!(
                    try_git(home, &one.path, &["cherry-pick", "other"]).code(),
                    0
                );
            },
        ),
        (
            "bisecting",
            State::InProgress,
            &[InProgress],
            |home, _, one| {
                git(home, &one.path, &["bisect", "start"]);
            },
        ),
        ("locked", State::Locked, &[Locked], |home, repo, one| {
            let path = one.path.to_str().expect("text");
            git(
                home,
                repo,
                &["worktree", "lock", "--reason", "on a stick", path],
            );
        }),
        ("hidden", State::Dirty, &[HiddenFiles], |home, _, one| {
            git(
                home,
                &one.path,
                &["update-index", "--assume-unchanged", "a"],
            );
            write(one, "a");
        }),
        ("skipped", State::Dirty, &[HiddenFiles], |home, _, one| {
            git(home, &one.path, &["update-index", "--skip-worktree", "a"]);
            write(one, "a");
        }),
        ("deleted", State::Missing, &[], |_, _, one| {
            fs::remove_dir_all(&one.path).expect("removed");
        }),
        ("removed", State::Missing, &[], |home, repo, one| {
            let path = one.path.to_str().expect("text");
            git(home, repo, &["worktree", "remove", path]);
        }),
        (
            "deleted-ahead",
            State::Missing,
            &[UnmergedCommits],
            |home, _, one| {
                commit(home, &one.path, "new");
                fs::remove_dir_all(&one.path).expect("removed");
            },
        ),
        ("moved", State::Moved, &[Moved], |home, repo, one| {
            let path = one.path.to_str().expect("text");
            git(home, repo, &["worktree", "move", path, "../elsewhere"]);
        }),
        ("unlinked", State::Unknown, &[Unknown], |_, _, one| {
            fs::remove_file(one.path.join(".git")).expect("removed");
        }),
    ];
    let home = Home::new();
    let repo = repository(&home, "app");
    let worker = home.start();
    let api = worker.api();
    for &(case, state, losses, bring) in cases {
        let session = open(api, case);
        let one = add(api, &session, &repo);
        bring(&home, &repo, &one);
        let shown = list(api).into_iter();
        let shown = shown.filter(|shown| shown.worktree.id.to_string() == one.id);
        let states: Vec<_> = shown.map(|shown| shown.state).collect();
        assert_eq!(states, [state], "{case}");
        let report = api.close(&session, "");
        let [settled] = &report.worktrees[..] else {
            panic!("{case}: {report:?}");
        };
        assert_eq!(codes(settled), losses, "{case}: {settled:?}");
        assert_eq!(settled.path, one.path, "{case}");
        assert_eq!(settled.branch, one.branch, "{case}");
        let is_kept = settled.outcome == Outcome::Kept;
        assert_eq!(is_kept, !losses.is_empty(), "{case}");
        assert_eq!(settled.how_to_merge.is_some(), is_kept, "{case}");
        assert_eq!(settled.how_to_discard.is_some(), is_kept, "{case}");
        let is_missing = matches!(state, State::Missing | State::Moved);
        assert_eq!(one.path.exists(), is_kept && !is_missing, "{case}");
        assert_eq!(has_branch(&home, &repo, &one.branch), is_kept, "{case}");
    }
    assert!(
        has_branch(&home, &repo, "mine"),
        "the user's own branch stays"
    );
    // Of an ended session, and all but the removed ones.
    let kept = cases.iter().filter(|(_, _, losses, _)| !losses.is_empty());
    assert_eq!(list(api).len(), kept.count());
}

fn write(one: &Added, file: &str) {
    fs::write(one.path.join(file), "changed").expect("written");
}

#[test]
fn submodules_are_looked_into() {
    let home = Home::new();
    let (library, repo) = (repository(&home, "library"), repository(&home, "app"));
    let url = library.to_str().expect("text");
    git(&home, &repo, &["submodule", "--quiet", "add", url, "sub"]);
    git(&home, &repo, &["commit", "-q", "-m", "with a submodule"]);
    let worker = home.start();
    let api = worker.api();
    let check = |key: &str, losses: &[Loss], bring: &dyn Fn(&Path)| {
        let session = open(api, key);
        let one = add(api, &session, &repo);
        bring(&one.path);
        let report = api.close(&session, "");
        assert_eq!(codes(&report.worktrees[0]), losses, "{key}: {report:?}");
        assert_eq!(one.path.exists(), !losses.is_empty(), "{key}");
    };
    let update = ["submodule", "--quiet", "update", "--init"];
    check("never-filled", &[], &|_| {});
    check("filled", &[], &|path| {
        git(&home, path, &update);
        assert!(path.join("sub/a").exists());
    });
    check("changed", &[Loss::UncommittedChanges], &|path| {
        git(&home, path, &update);
        fs::write(path.join("sub/a"), "changed").expect("written");
    });
    check("never-pushed", &[Loss::SubmoduleWork], &|path| {
        git(&home, path, &update);
        let sub = path.join("sub");
        git(&home, &sub, &["switch", "-q", "-c", "local"]);
        commit(&home, &sub, "local");
        git(&home, &sub, &["switch", "-q", "--detach", "HEAD~1"]);
    });
}

#[test]
fn kept_worktree_outlives_its_session_and_is_its_own_again_when_that_is_reopened() {
    let home = Home::new();
    let repo = repository(&home, "app");
    let worker = home.start();
    let api = worker.api();
    for (key, query) in [("closed", ""), ("purged", "?purge=true")] {
        let session = open(api, key);
        let one = add(api, &session, &repo);
        commit(&home, &one.path, key);
        let report = api.close(&session, query);
        assert_eq!(
            codes(&report.worktrees[0]),
            [Loss::UnmergedCommits],
            "{key}"
        );
    }
    let names: Vec<_> = list(api)
        .into_iter()
        .map(|shown| shown.worktree.session_name)
        .collect();
    assert_eq!(names, ["agent:closed", "agent:purged"]);
    let session = open(api, "closed");
    let of_session: Value = api.get(&super::target(&session));
    assert_eq!(of_session["worktrees"][0]["state"], "ahead");
    // It is in use again, so that merging it does not make it prunable.
    let repo_of = |name: &str| format!("session/{name}");
    git(
        &home,
        &repo,
        &[
            "merge",
            "-q",
            "--no-edit",
            &repo_of("closed"),
            &repo_of("purged"),
        ],
    );
    let pruned: Value = api.call("POST", "/v1/worktrees/prune").json();
    let pruned = pruned["worktrees"].as_array().expect("a list").clone();
    assert_eq!(pruned.len(), 1, "{pruned:?}");
    assert_eq!(
        (&pruned[0]["outcome"], &pruned[0]["branch"]),
        (&"removed".into(), &"session/purged".into())
    );
    let report = api.close(&session, "");
    assert_eq!(report.worktrees[0].outcome, Outcome::Removed);
    assert_eq!(known(&home, &repo), 1);
}

#[test]
fn commands_that_are_told_do_what_they_say() {
    let home = Home::new();
    let repo = repository(&home, "my app");
    let worker = home.start();
    let api = worker.api();
    let run = |command: &str| {
        let command = command.replace("sessiond ", &format!("{SESSIOND} "));
        let identity = [
            "GIT_AUTHOR_NAME",
            "GIT_COMMITTER_NAME",
            "GIT_AUTHOR_EMAIL",
            "GIT_COMMITTER_EMAIL",
        ];
        let mut shell = home.command("sh");
        shell
            .args(["-ec", &command])
            .env("GIT_EDITOR", "echo message >");
        shell.envs(identity.map(|name| (name, "test")));
        launch::run(&mut shell, b"", LIMIT).text();
    };
    let kept = |key: &str| {
        let session = open(api, key);
        let one = add(api, &session, &repo);
        commit(&home, &one.path, &format!("{key}-committed"));
        fs::write(one.path.join(format!("{key}-untracked")), "new").expect("written");
        let path = one.path.to_str().expect("text");
        git(&home, &repo, &["worktree", "lock", path]);
        api.close(&session, "").worktrees.remove(0)
    };
    let merged = kept("merged");
    run(&merged.how_to_merge.expect("a command"));
    assert!(repo.join("merged-committed").exists() && repo.join("merged-untracked").exists());
    assert!(list(api).is_empty(), "and it is gone");
    // A commit on a detached HEAD is on no branch, ours neither.
    let detached = {
        let session = open(api, "detached");
        let one = add(api, &session, &repo);
        git(&home, &one.path, &["checkout", "-q", "--detach"]);
        commit(&home, &one.path, "detached-committed");
        fs::write(one.path.join("detached-untracked"), "new").expect("written");
        api.close(&session, "").worktrees.remove(0)
    };
    run(&detached.how_to_merge.expect("a command"));
    assert!(repo.join("detached-committed").exists() && repo.join("detached-untracked").exists());
    assert!(list(api).is_empty(), "and it is gone");
    let discarded = kept("discarded");
    run(&discarded.how_to_discard.expect("a command"));
    assert!(list(api).is_empty());
    assert_eq!(known(&home, &repo), 1);
    assert!(!repo.join("discarded-committed").exists());
    assert_eq!(git(&home, &repo, &["branch", "--list", "session/*"]), "");
}

#[test]
fn neither_idleness_nor_a_restart_touches_a_worktree() {
    let home = Home::new()
        .with("session.idle_unload_ms", 50)
        .with("session.generator_idle_end_ms", 50);
    let repo = repository(&home, "app");
    let worker = home.start();
    let session = open(worker.api(), "s");
    let one = add(worker.api(), &session, &repo);
    wait_until("the session leaves memory", LIMIT, || {
        let residence = worker.api().session(&session).residence;
        ok_if(residence == "dormant", residence)
    });
    assert!(one.path.exists());
    worker.stop();
    let worker = home.start();
    wait_until("the take-over is done", LIMIT, || {
        let worktrees = worker.api().doctor().worktrees;
        ok_if(
            worktrees
                .as_ref()
                .is_some_and(|found| found.taken_over.is_some()),
            worktrees,
        )
    });
    assert!(one.path.exists());
    assert_eq!(worker.api().session(&session).session.life, Life::Open);
    assert_eq!(list(worker.api())[0].state, State::Clean);
}

#[test]
fn session_whose_worktree_is_being_made_is_not_idle() {
    // A checkout that takes longer than a session may be idle.
    const GIT: &str = "#!/bin/sh\n\
        for word; do case $word in add) echo >>\"$0.adds\"; sleep 1;; esac; done\n\
        exec git \"$@\"\n";
    let home = Home::new()
        .with("session.idle_unload_ms", 50)
        .with("session.generator_idle_end_ms", 50);
    let git = dir_of(&home).join("git");
    fs::write(&git, GIT).expect("written");
    fs::set_permissions(&git, fs::Permissions::from_mode(0o755)).expect("its mode");
    let home = home.with("worktrees.git", git.to_str().expect("text"));
    let repo = repository(&home, "app");
    let worker = home.start();
    let session = open(worker.api(), "s");
    add(worker.api(), &session, &repo);
    let adds = fs::read_to_string(git.with_extension("adds")).expect("it was called");
    assert_eq!(adds.lines().count(), 1, "none was ended and begun again");
    wait_until("the session leaves memory", LIMIT, || {
        let residence = worker.api().session(&session).residence;
        ok_if(residence == "dormant", residence)
    });
}

#[test]
fn worktree_of_a_repository_that_is_gone_is_kept_and_forgotten_with_its_directory() {
    let home = Home::new();
    let repo = repository(&home, "app");
    let worker = home.start();
    let api = worker.api();
    let session = open(api, "s");
    let one = add(api, &session, &repo);
    fs::rename(&repo, dir_of(&home).join("away")).expect("renamed");
    let report = api.close(&session, "");
    assert_eq!(codes(&report.worktrees[0]), [Loss::Unknown]);
    assert!(one.path.join("a").exists());
    fs::remove_dir_all(&one.path).expect("removed");
    api.call("POST", "/v1/worktrees/prune").json::<Value>();
    assert!(list(api).is_empty());
}
