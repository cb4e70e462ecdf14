//! The torture suite in short: every case of the program `torture` (`tests/torture`), as the user
//! that runs the tests, and as an ordinary one where that is root.
//!
//! The program plays and counts; here it is only asked whether every count is zero.

use std::env;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::support::child::example;
use crate::support::launch::{self, Ran};
use crate::support::{HOOK, Home};

/// Where the binaries lie that belong to this one.
const SHIM: &str = env!("CARGO_BIN_EXE_sessiond-shim");
/// A number between those of people and those of services, so that it has no processes.
pub(crate) const ORDINARY_UID: u32 = 65_533;
/// `torture` cannot play a case here.
const EXIT_OBSTACLE: i32 = 3;
/// The rounds of a case as one user; only a guard against hanging.
const LIMIT: Duration = Duration::from_secs(110);

const COUNTS: [&str; 7] = [
    "survivors",
    "bystanders",
    "descriptors",
    "zombies",
    "records",
    "threads",
    "over_memory",
];

/// Plays a case in short.
#[track_caller]
fn check(case: &str) {
    let is_root = nix::unistd::Uid::current().is_root();
    // It takes a user that may not do everything.
    if case != "takes-rights" {
        assert_clean(case, &play(case, &[]));
    }
    if is_root {
        let uid = ORDINARY_UID.to_string();
        let ran = play(case, &["--as-user", &uid]);
        if ran.code() == EXIT_OBSTACLE {
            leave_out(ran.stderr.trim());
            return;
        }
        assert_clean(case, &ran);
    }
}

#[track_caller]
fn play(case: &str, more: &[&str]) -> Ran {
    let home = Home::new();
    let mut torture = home.command(example("torture").to_str().expect("text"));
    torture
        .args(["run", case, "--short", "--json", "--shim", SHIM])
        .args(["--hook", HOOK])
        .args(more);
    launch::run(&mut torture, b"", LIMIT)
}

#[track_caller]
fn assert_clean(case: &str, ran: &Ran) {
    let told = String::from_utf8_lossy(&ran.stdout);
    let report: Value = serde_json::from_str(&told)
        .unwrap_or_else(|error| panic!("{error} in {told:?}, {}", ran.stderr));
    assert_eq!(report["case"], case, "{report}");
    assert_eq!(report["problems"], Value::Array(Vec::new()), "{report}");
    for count in COUNTS {
        assert_eq!(report[count], 0, "{count} of {report}");
    }
    assert_eq!(ran.code(), 0, "{report}");
}

/// Runs another command of the program, which has to count so many of what must not be.
#[track_caller]
pub(crate) fn count(arguments: &[&str], expected: &str) {
    let home = Home::new();
    let mut torture = home.command(example("torture").to_str().expect("text"));
    let ran = launch::run(torture.args(arguments).args(["--shim", SHIM]), b"", LIMIT);
    if ran.code() == EXIT_OBSTACLE {
        leave_out(&format!("{}: {}", arguments[0], ran.stderr.trim()));
        return;
    }
    let told = String::from_utf8_lossy(&ran.stdout);
    assert_eq!(ran.code(), 0, "{told}{}", ran.stderr);
    let is_counted = told
        .lines()
        .any(|line| line == format!("counted {expected}"));
    assert!(is_counted, "{told}");
}

/// Tells `scripts/test` what cannot run here.
fn leave_out(why: &str) {
    if let Some(file) = env::var_os("SESSIOND_TEST_LEFT_OUT") {
        let file = OpenOptions::new().append(true).open(Path::new(&file));
        let mut file = file.expect("the list of what was left out");
        writeln!(file, "torture: {why}").expect("the list can be written");
    }
}

macro_rules! cases {
    ($($test:ident: $case:literal,)*) => {
        $(
            #[test]
            fn $test() {
                check($case);
            }
        )*

        #[test]
        fn every_case_is_played_here() {
            let home = Home::new();
            let mut torture = home.command(example("torture").to_str().expect("text"));
            let ran = launch::run(torture.arg("list"), b"", LIMIT);
            let listed = ran.text().lines().filter_map(|line| line.split(' ').next());
            assert_eq!(listed.collect::<Vec<_>>(), [$($case),*]);
        }
    };
}

cases! {
    nothing_is_left_of_who_exits_at_once: "exits-at-once",
    nothing_is_left_of_who_ends_when_asked: "waits",
    nothing_is_left_of_who_ignores_sigterm: "ignores-term",
    nothing_is_left_of_members_that_ignore_sigterm: "member-ignores-term",
    nothing_is_left_of_a_tree_whose_leader_is_gone: "leader-gone",
    nothing_is_left_of_a_grandchild_that_holds_the_output: "holds-stdout",
    nothing_is_left_of_who_forks_on_sigterm: "forks-on-term",
    nothing_is_left_of_who_forks_on_sigterm_for_ever: "forks-on-term-for-ever",
    nothing_is_left_of_who_replaces_its_child: "respawns",
    nothing_is_left_of_a_daemon: "double-fork",
    nothing_is_left_of_a_chain_of_sessions: "setsid-chain",
    nothing_is_left_of_groups: "new-groups",
    nothing_is_left_of_who_is_always_another: "run-away",
    nothing_is_left_of_who_wiped_its_environment: "wiped",
    nothing_is_left_of_who_overwrote_its_environment: "overwritten",
    nothing_is_left_of_who_is_undumpable: "undumpable",
    nothing_is_left_of_who_hides_in_every_way: "hidden",
    nothing_is_left_of_who_is_stopped: "stopped",
    nothing_is_left_of_zombies: "zombies",
    nothing_is_left_of_a_threads_child: "threads",
    nothing_is_left_of_who_lost_its_first_thread: "headless",
    nothing_is_left_of_who_closed_its_input: "closes-stdin",
    nothing_is_left_of_who_fills_its_output: "fills-stdout",
    nothing_is_left_of_who_kills_its_group: "kills-its-group",
    nothing_is_left_of_a_fork_bomb: "fork-bomb",
    nothing_is_left_of_a_thousand_children: "a-thousand-children",
    an_endless_line_takes_no_memory: "endless-line",
    fifty_trees_end_at_once: "many-stops",
    fifty_callers_end_one_tree: "one-tree-many-stops",
    a_spawn_may_be_dropped_after_each_poll: "gives-up-after-a-poll",
    a_spawn_may_be_dropped_at_each_step: "gives-up-at-a-step",
    a_spawn_may_be_dropped_at_any_time: "gives-up-some-time",
    a_handle_may_be_dropped_whole_and_in_parts: "drops-its-handle",
    the_hook_of_the_own_install_starts_and_keeps_nothing: "runs-the-hook",
    who_may_not_be_signalled_is_reported: "takes-rights",
}
