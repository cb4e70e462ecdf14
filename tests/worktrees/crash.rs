//! The worker dies, git hangs or is not there: nothing is lost, and nothing is left that nobody
//! knows.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};

use serde_json::json;
use sessiond::worktrees::{Loss, Outcome, State, TakenOver};
use sessiond_queue::types::Life;

use super::{add, codes, dir_of, has_branch, known, list, open, repository, strange_git};
use super::{target, try_add};
use crate::support::http::Request;
use crate::support::wait::ok_if;
use crate::support::{Home, LIMIT, Worker, wait_until};

/// Sends what the worker dies of.
#[track_caller]
fn die(worker: &mut Worker, method: &str, target: &str, body: Option<Vec<u8>>) {
    let headers = vec![("content-type", "application/json".to_owned())];
    let request = Request {
        method,
        target,
        headers,
        body,
    };
    let answer = worker.api().try_send(&request);
    assert!(answer.is_err(), "the worker answered");
    assert_eq!(worker.wait_exit().signal(), Some(9), "the worker lives");
}

/// Waits until no worktree is known, and looks whether anything is left of one.
#[track_caller]
fn wait_for_nothing(home: &Home, worker: &Worker, repo: &Path) {
    wait_until("every worktree is forgotten", LIMIT, || {
        let shown = list(worker.api());
        ok_if(shown.is_empty(), shown)
    });
    assert_eq!(known(home, repo), 1);
    assert!(!has_branch(home, repo, "session/s"));
    assert_eq!(directories(home), Vec::<PathBuf>::new());
}

/// What lies where worktrees lie.
fn directories(home: &Home) -> Vec<PathBuf> {
    let of = |dir: &Path| {
        let entries = fs::read_dir(dir).into_iter().flatten();
        entries
            .map(|entry| entry.expect("an entry").path())
            .collect::<Vec<_>>()
    };
    let root = home.layout().root().join("worktrees");
    of(&root).iter().flat_map(|dir| of(dir)).collect()
}

#[test]
fn worktrees_of_sessions_that_the_queue_has_lost_stay() {
    let home = Home::new();
    let repo = repository(&home, "app");
    let worker = home.start();
    let session = open(worker.api(), "s");
    let added = add(worker.api(), &session, &repo);
    worker.stop();
    fs::write(home.layout().queue_db(), "no database").expect("written");
    let worker = home.start();
    let taken = wait_until("the start has looked at it", LIMIT, || {
        let report = worker.api().doctor().worktrees;
        report.and_then(|found| found.taken_over).ok_or("not yet")
    });
    // Its agent may be at work in it.
    assert!(added.path.is_dir(), "{taken:?}");
    assert_eq!(taken[0].outcome, TakenOver::Preserved, "{taken:?}");
    let said = home.cli(&["doctor"]).stdout;
    let said = String::from_utf8_lossy(&said);
    let words = format!(
        "kept worktree {}: its session is not known",
        added.path.display()
    );
    assert!(said.contains(&words), "{said}");
    assert_eq!(list(worker.api()).len(), 1);
}

#[test]
fn worktree_that_was_kept_before_is_no_news_of_a_start() {
    let home = Home::new();
    let repo = repository(&home, "app");
    let worker = home.start();
    let session = open(worker.api(), "s");
    let one = add(worker.api(), &session, &repo);
    fs::write(one.path.join("work"), "somebody's").expect("written");
    worker.api().close(&session, "");
    worker.stop();
    let worker = home.start();
    let taken = wait_until("the start has looked at it", LIMIT, || {
        let report = worker.api().doctor().worktrees;
        report.and_then(|found| found.taken_over).ok_or("not yet")
    });
    assert_eq!(taken, []);
    assert!(one.path.join("work").exists());
    let said = home.cli(&["doctor"]);
    assert!(!said.text().contains("took over"), "{said:?}");
}

#[test]
fn add_that_is_cut_off_leaves_nothing_after_the_next_start() {
    for step in ["worktree_intended", "worktree_made"] {
        let mut home = Home::new().with("rehearsal.kill_at", step);
        let repo = repository(&home, "app");
        let mut worker = home.start();
        let session = open(worker.api(), "s");
        let body = json!({ "repo": repo }).to_string().into_bytes();
        die(&mut worker, "POST", &target(&session), Some(body));
        assert_eq!(
            directories(&home).len(),
            usize::from(step == "worktree_made")
        );
        home.unset("rehearsal.kill_at");
        let worker = home.start();
        wait_for_nothing(&home, &worker, &repo);
        let taken = wait_until("the take-over is told", LIMIT, || {
            let found = worker.api().doctor().worktrees;
            found.and_then(|found| found.taken_over).ok_or(())
        });
        let outcomes: Vec<_> = taken.iter().map(|one| one.outcome).collect();
        assert_eq!(outcomes, [TakenOver::Cleaned], "{step}");
    }
}

#[test]
fn add_that_is_cut_off_and_used_nevertheless_is_finished() {
    let mut home = Home::new().with("rehearsal.kill_at", "worktree_made");
    let repo = repository(&home, "app");
    let mut worker = home.start();
    let session = open(worker.api(), "s");
    let body = json!({ "repo": repo }).to_string().into_bytes();
    die(&mut worker, "POST", &target(&session), Some(body));
    let made = directories(&home).remove(0);
    fs::write(made.join("work"), "somebody's").expect("written");
    home.unset("rehearsal.kill_at");
    let worker = home.start();
    wait_until("it is taken over", LIMIT, || {
        let shown = list(worker.api());
        ok_if(shown.iter().any(|shown| shown.state == State::Dirty), shown)
    });
    assert!(made.join("work").exists());
    let report = worker.api().close(&session, "");
    assert_eq!(codes(&report.worktrees[0]), [Loss::UntrackedFiles]);
}

#[test]
fn git_that_is_cut_off_within_an_add_leaves_nothing_after_the_next_start() {
    let mut home = Home::new();
    // Worse than any git: it has made all of it, and is not heard of any more.
    let script = "case \"$*\" in *'worktree add'*) git \"$@\"; touch made; exec sleep 600;; esac";
    let git = strange_git(&home, script);
    home.set("worktrees.git", git);
    let repo = repository(&home, "app");
    let worker = home.start();
    let session = open(worker.api(), "s");
    let api = worker.api().clone();
    let asked = repo.clone();
    let asking = std::thread::spawn(move || {
        let body = json!({ "repo": asked }).to_string().into_bytes();
        let headers = vec![("content-type", "application/json".to_owned())];
        let (method, target) = ("POST", &*target(&session));
        let request = Request {
            method,
            target,
            headers,
            body: Some(body),
        };
        api.try_send(&request).is_err()
    });
    wait_until("git has made it", LIMIT, || {
        ok_if(repo.join(".git/made").exists(), directories(&home))
    });
    worker.kill();
    assert!(asking.join().expect("asked"), "the worker answered");
    home.set("worktrees.git", "git");
    let worker = home.start();
    wait_for_nothing(&home, &worker, &repo);
}

#[test]
fn removal_that_is_cut_off_is_finished_at_the_next_start() {
    for step in ["worktree_leaving", "worktree_gone", "settled"] {
        let mut home = Home::new().with("rehearsal.kill_at", step);
        let repo = repository(&home, "app");
        let mut worker = home.start();
        let session = open(worker.api(), "s");
        let one = add(worker.api(), &session, &repo);
        die(&mut worker, "DELETE", "/v1/sessions/agent:s", None);
        if step == "worktree_leaving" {
            // As a git that was cut off in the middle.
            fs::remove_file(one.path.join("a")).expect("removed");
        }
        home.unset("rehearsal.kill_at");
        let worker = home.start();
        wait_until("the close is finished", LIMIT, || {
            let life = worker.api().session(&session).session.life;
            ok_if(life == Life::Ended, life)
        });
        wait_for_nothing(&home, &worker, &repo);
    }
}

#[test]
fn close_does_not_wait_for_a_git_that_hangs() {
    let mut home = Home::new().with("worktrees.settle_timeout_ms", 300);
    let script = "case \"$*\" in *status*) exec sleep 600;; esac";
    let git = strange_git(&home, script);
    home.set("worktrees.git", git);
    let repo = repository(&home, "app");
    let worker = home.start();
    let session = open(worker.api(), "s");
    let one = add(worker.api(), &session, &repo);
    let report = worker.api().close(&session, "");
    assert_eq!(codes(&report.worktrees[0]), [Loss::Unknown]);
    assert_eq!(report.life, Some(Life::Ended));
    assert!(one.path.exists());
    worker.stop();
    // Once git answers again, what was kept only because of that goes at the next start.
    home.set("worktrees.git", "git");
    home.unset("worktrees.settle_timeout_ms");
    let worker = home.start();
    wait_for_nothing(&home, &worker, &repo);
}

#[test]
fn without_git_everything_is_kept_and_the_doctor_says_so() {
    let mut home = Home::new();
    let repo = repository(&home, "app");
    let worker = home.start();
    let session = open(worker.api(), "s");
    let one = add(worker.api(), &session, &repo);
    worker.stop();
    let git = dir_of(&home).join("no-git");
    home.set("worktrees.git", git.display());
    let worker = home.start();
    let api = worker.api();
    let refused = try_add(api, &session, &json!({ "repo": repo })).error(503, "git_missing");
    let words = refused["message"].as_str().expect("words").to_owned();
    assert!(
        words.contains("no-git") && words.contains("worktrees.git"),
        "{words}"
    );
    assert_eq!(
        words.matches("No such file").count(),
        1,
        "said once: {words}"
    );
    let report = api.close(&session, "");
    assert_eq!(report.worktrees[0].outcome, Outcome::Kept);
    assert_eq!(codes(&report.worktrees[0]), [Loss::Unknown]);
    assert!(one.path.exists());
    let doctor = api.doctor();
    let found = doctor
        .findings
        .iter()
        .any(|finding| finding.code == "git_missing");
    assert!(found, "{:?}", doctor.findings);
}
