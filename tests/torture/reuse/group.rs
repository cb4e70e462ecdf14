//! The number of a leader's group, taken by a group of others while a shim ends the rest of the
//! leader's tree.

use super::placed::Placed;
use super::stage::{LIMIT, Stage, look_at};
use super::{BY_GROUP, Counts, REUSES};

/// Trees that are ended at once, each waiting for its grace.
const AT_ONCE: u64 = 8;

pub(super) fn run(stage: &Stage, rounds: u64, counts: &mut Counts) {
    let mut left = rounds;
    while left > 0 && counts.wrong.is_empty() {
        let size = left.min(AT_ONCE);
        batch(stage, size, counts);
        left -= size;
    }
}

fn batch(stage: &Stage, size: u64, counts: &mut Counts) {
    // The leader exits at once and leaves a member in a session of its own that ignores SIGTERM,
    // so its group is empty and its shim is at work for all of the grace.
    let mut trees = Vec::new();
    let mut canaries = Vec::new();
    for _ in 0..size {
        trees.push(stage.runtime.block_on(stage.spawn_nasty(&["hold-stdout"])));
        let group = trees.last().expect("just added").control.pid();
        canaries.extend(take_group(group));
        counts.add(REUSES, 1);
        counts.add("of them of a group", 1);
    }
    stage.runtime.block_on(async {
        for tree in &trees {
            tree.control.stop().await;
        }
    });
    look_at(&canaries, "group", counts);

    let group = trees[0].control.pid();
    Placed::kill_by_group(group, libc::SIGTERM);
    let hits = canaries.iter().filter_map(Placed::hit).count();
    counts.add(BY_GROUP, u64::try_from(hits).expect("a few"));
}

/// A leader and a member of a group of that number.
fn take_group(group: u32) -> [Placed; 2] {
    let leader = Placed::when_free(group, LIMIT).expect("the leader's pid becomes free");
    let member = Placed::anywhere().expect("a process");
    member.join_group(group).expect("the same group");
    [leader, member]
}
