//! The pids of a shim and its child, taken by others the moment they are free, while whoever
//! started them still holds handles and goes on using them.

use super::placed::Placed;
use super::stage::{LIMIT, SESSION, Stage, look_at, ready};
use super::{Counts, REUSES};

pub(super) fn run(stage: &Stage, rounds: u64, counts: &mut Counts) {
    // Each replaces two.
    for round in 0..rounds.div_ceil(2) {
        let is_shim_killed = round % 2 == 1;
        replace_both(stage, is_shim_killed, counts);
    }
}

fn replace_both(stage: &Stage, is_shim_killed: bool, counts: &mut Counts) {
    let child = stage
        .runtime
        .block_on(async { ready(stage.spawn_nasty(&["wait"]).await).await });
    let info = stage.supervisor.list().pop().expect("it runs");
    let control = child.control.clone();
    let stop = || {
        let control = control.clone();
        stage.runtime.spawn(async move { control.stop().await })
    };

    let stopping = if is_shim_killed {
        // A child of this process that is not waited for before it has ended.
        Placed::kill_by_number(info.shim_pid, libc::SIGKILL);
        None
    } else {
        Some(stop())
    };
    let pids = [info.shim_pid, child.control.pid()];
    let canaries: Vec<_> = pids
        .into_iter()
        .map(|pid| Placed::when_free(pid, LIMIT).expect("the pid becomes free"))
        .collect();
    counts.add(REUSES, 2);
    counts.add("of them under handles that are used", 2);

    // Whatever can still be asked of what has ended.
    stage.runtime.block_on(async {
        let stopping = stopping.unwrap_or_else(stop);
        stopping.await.expect("the stop ends");
        stage.supervisor.reap(SESSION).await;
        stage.supervisor.tree(&info);
        control.stop().await;
    });
    drop(child);
    stage.runtime.block_on(stage.supervisor.reap(SESSION));
    look_at(&canaries, "handles", counts);
}
