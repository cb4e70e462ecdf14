//! The pids of a tree whose members come and go all the time, taken by others as they become
//! free, while the tree is being ended: by its shim, or by its tag when the shim was killed.

use std::collections::VecDeque;
use std::fs;
use std::time::Instant;

use super::placed::{Placed, is_taken};
use super::stage::{LIMIT, Stage, look_at, ready};
use super::{BY_LIST, Counts, REUSES};

/// Four loops, each of which starts a process that exits at once and waits for it. A shell keeps
/// SIGTERM ignored for all of them.
const CHURN: &str = "trap '' TERM; \
    for loop in 1 2 3; do (while :; do (exit 0); done) & done; \
    echo ready; while :; do (exit 0); done";

/// How far below the latest pid a number may be to be taken: who had it has just left.
const RECENT: u32 = 12;

/// Others that are there at once.
const PLACED_MAX: usize = 48;

/// Trees without a single placement before something is wrong with the race itself.
const FRUITLESS_MAX: u32 = 200;

pub(super) fn run(stage: &Stage, rounds: u64, counts: &mut Counts) {
    let (mut placements, mut trees, mut fruitless) = (0, 0_u32, 0);
    while placements < rounds && counts.wrong.is_empty() {
        let placed = match trees % 4 {
            0 | 1 => end_amid(stage, Tree::Churn, trees % 2 == 1, counts),
            _ => end_amid(stage, Tree::RunAway, trees % 2 == 1, counts),
        };
        trees += 1;
        placements += placed;
        fruitless = if placed == 0 { fruitless + 1 } else { 0 };
        assert!(fruitless < FRUITLESS_MAX, "no pid of a tree becomes free");
        counts.add(REUSES, placed);
        counts.add("of them amid a tree that is ended", placed);
    }
    control(stage, counts);
}

#[derive(Clone, Copy)]
enum Tree {
    Churn,
    RunAway,
}

impl Tree {
    fn start(self, stage: &Stage) -> sessiond_supervisor::Child {
        stage.runtime.block_on(async {
            ready(match self {
                Self::Churn => stage.spawn("sh".as_ref(), &["-c", CHURN]).await,
                Self::RunAway => stage.spawn_nasty(&["run-away"]).await,
            })
            .await
        })
    }
}

/// Ends one tree while its pids are taken; how many were.
fn end_amid(stage: &Stage, tree: Tree, is_shim_killed: bool, counts: &mut Counts) -> u64 {
    let child = tree.start(stage);
    if is_shim_killed {
        let info = stage.supervisor.list().pop().expect("it runs");
        Placed::kill_by_number(info.shim_pid, libc::SIGKILL);
    }
    let control = child.control.clone();
    let stopping = stage.runtime.spawn(async move { control.stop().await });
    let mut canaries = VecDeque::new();
    let mut placements = 0;
    while !stopping.is_finished() {
        for pid in recent_pids() {
            if is_taken(pid) {
                continue;
            }
            // The kernel may have given it out since.
            let Ok(canary) = Placed::on(pid) else {
                continue;
            };
            placements += 1;
            canaries.push_back(canary);
            if canaries.len() > PLACED_MAX {
                look_at(canaries.pop_front().as_slice(), "race", counts);
            }
        }
    }
    let stopped = stage
        .runtime
        .block_on(async { tokio::time::timeout(LIMIT, stopping).await });
    if !matches!(stopped, Ok(Ok(_))) {
        counts.wrong(format!("the end of a tree came to {stopped:?}"));
    }
    look_at(canaries.make_contiguous(), "race", counts);
    let left = stage.living();
    if !left.is_empty() {
        counts.wrong(format!("these live on: {left:?}, after {stopped:?}"));
    }
    placements
}

/// Numbers that were given to processes just now: only trees start any here.
fn recent_pids() -> impl Iterator<Item = u32> {
    let latest = fs::read_to_string("/proc/sys/kernel/ns_last_pid");
    let latest = latest.ok().and_then(|text| text.trim().parse().ok());
    let latest: u32 = latest.unwrap_or_default();
    (latest.saturating_sub(RECENT).max(2)..latest).rev()
}

/// What one does that lists the pids of a tree and signals them afterwards.
fn control(stage: &Stage, counts: &mut Counts) {
    let child = Tree::Churn.start(stage);
    let deadline = Instant::now() + LIMIT;
    let mut hits = 0;
    while hits == 0 && Instant::now() < deadline {
        let mut listed: Vec<_> = recent_pids().filter(|pid| is_taken(*pid)).collect();
        // The loops themselves stay.
        listed.retain(|pid| !is_taken(*pid));
        let place = |pid: &u32| Placed::on(*pid).ok();
        let canaries: Vec<_> = listed.iter().filter_map(place).collect();
        for pid in listed {
            Placed::kill_by_number(pid, libc::SIGTERM);
        }
        hits = canaries.iter().filter_map(Placed::hit).count();
    }
    counts.add(BY_LIST, u64::try_from(hits).expect("a few"));
    stage.runtime.block_on(child.control.stop());
}
