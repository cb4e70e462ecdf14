//! Trees that do what they can to survive: nothing of them is left.

use sessiond_supervisor::control::Exit;

use super::rig::{LONG_MS, Shim, wait_for_processes};
use crate::support::wait::ok_if;
use crate::support::{Home, LIMIT, wait_until};

/// For members that ignore SIGTERM.
const SHORT_MS: u64 = 200;

/// Who is there when the tree stands.
enum Stands {
    /// This many processes besides the shim.
    At(usize),
    /// Nobody knows how many.
    Unsteadily,
}

/// Runs it, ends it, and looks for anything of it. The home fails the test for survivors, too.
#[track_caller]
fn check(words: &[&str], stands: Stands, grace_ms: u64) {
    let home = Home::new();
    let (mut shim, _leader) = Shim::start_nasty(&home, LONG_MS, words);
    if let Stands::At(count) = stands {
        wait_for_processes(&home, 1 + count);
    }
    shim.stop(grace_ms);
    shim.exited();
    let tally = shim.gone();
    assert_eq!(tally.untouchable, 0, "{tally:?}");
    // With a long grace this waits for nobody: it took SIGTERM alone.
    assert_eq!(tally.killed == 0, grace_ms == LONG_MS, "{tally:?}");
    assert_eq!(home.processes(), []);
    assert_eq!(shim.rest_of_output(), "", "nobody holds its output");
}

#[test]
fn nothing_is_left_of_a_child_that_closed_its_stdin() {
    check(&["close-stdin"], Stands::At(1), LONG_MS);
}

#[test]
fn nothing_is_left_of_a_daemon() {
    check(&["double-fork"], Stands::At(2), LONG_MS);
}

#[test]
fn nothing_is_left_of_a_chain_of_sessions() {
    check(&["setsid-chain", "20"], Stands::At(21), LONG_MS);
}

#[test]
fn nothing_is_left_of_a_thousand_children() {
    check(&["children", "1000"], Stands::At(1001), LONG_MS);
}

#[test]
fn nothing_is_left_of_a_hundred_zombies() {
    check(&["zombies", "100"], Stands::Unsteadily, LONG_MS);
}

#[test]
fn nothing_is_left_of_members_that_fork_when_asked_to_end() {
    check(&["fork-on-term", "30"], Stands::At(1), LONG_MS);
}

#[test]
fn nothing_is_left_of_members_that_fork_for_ever_when_asked_to_end() {
    check(&["fork-on-term", "1000000"], Stands::At(1), SHORT_MS);
}

#[test]
fn nothing_is_left_of_a_fork_bomb() {
    check(&["bomb", "8"], Stands::At(256), SHORT_MS);
}

#[test]
fn nothing_is_left_of_a_parent_that_replaces_its_child() {
    check(&["respawn"], Stands::At(2), SHORT_MS);
}

#[test]
fn nothing_is_left_of_a_process_that_is_always_a_new_one() {
    check(&["run-away"], Stands::Unsteadily, SHORT_MS);
}

#[test]
fn a_process_without_its_first_thread_is_no_corpse() {
    check(&["headless"], Stands::Unsteadily, SHORT_MS);
}

#[test]
fn a_stopped_tree_is_continued_so_that_it_can_end() {
    let home = Home::new();
    let (mut shim, _leader) = Shim::start_nasty(&home, LONG_MS, &["stopped"]);
    wait_until("leader and child are stopped", LIMIT, || {
        let states: Vec<_> = home.processes().iter().map(|one| one.state()).collect();
        let stopped = states.iter().filter(|state| **state == Some('T')).count();
        ok_if(stopped == 2, states)
    });
    shim.stop(LONG_MS);
    shim.exited();
    assert_eq!(shim.gone().killed, 0);
}

#[test]
fn the_child_of_a_thread_is_asked_to_end_like_anybody_else() {
    let home = Home::new();
    let (mut shim, _leader) = Shim::start_nasty(&home, LONG_MS, &["threads"]);
    shim.stop(SHORT_MS);
    assert_eq!(shim.exited(), Exit::Signal(libc::SIGKILL));
    let tally = shim.gone();
    // The child took SIGTERM, so that only its parent was left to be killed.
    assert_eq!((tally.terminated, tally.killed), (2, 1));
}
