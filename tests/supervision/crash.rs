//! The shim is killed or stuck, or the worker dies.

use nix::sys::signal::Signal;
use sessiond_supervisor::StopEnd;

use super::bench::{Bench, SESSION, line};
use crate::support::wait::ok_if;
use crate::support::{LIMIT, Process, nasty_child, wait_until};

const TREE: &str = "trap '' TERM; setsid sh -c 'echo up; while :; do sleep 1000; done' & \
    while :; do sleep 1000; done";

fn shim(bench: &Bench) -> Process {
    let pid = bench.supervisor.list()[0].shim_pid;
    Process { pid }
}

#[test]
fn tree_whose_shim_was_killed_is_ended_by_its_tag_and_nobody_else_is() {
    let bench = Bench::new();
    let install = &bench.settings.install;
    let canaries = [
        bench.stray(None),
        bench.stray(Some("other-install:2:session-1:spawn")),
        bench.stray(Some(&format!("{install}:2:session-1:another-spawn"))),
    ];
    bench.run(async {
        let mut child = bench.spawn(TREE).await;
        assert_eq!(line(&mut child).await, "up");
        let leader = Process {
            pid: child.control.pid(),
        };
        shim(&bench).signal(Signal::SIGKILL);
        assert_eq!(child.control.exited().await, None, "nobody could tell");
        let stopped = child.control.stop().await;
        assert_eq!(stopped.end, StopEnd::Swept);
        assert!(stopped.killed >= 2, "{stopped:?}");
        assert!(!leader.is_alive());
        assert_eq!(child.stdout.next().await, None);
        assert_eq!(bench.supervisor.counts().shims_lost, 1);
    });
    assert!(bench.record_files().is_empty());
    assert!(canaries.iter().all(|canary| canary.process.is_alive()));
    drop(canaries);
    bench.wait_clean();
}

#[test]
fn shim_that_does_not_answer_is_killed_and_its_tree_ended() {
    let bench = Bench::new();
    bench.run(async {
        let mut child = bench.spawn(TREE).await;
        assert_eq!(line(&mut child).await, "up");
        shim(&bench).freeze();
        let stopped = child.control.stop().await;
        assert_eq!(stopped.end, StopEnd::Swept);
        assert_eq!(bench.supervisor.counts().shims_lost, 1);
    });
    bench.wait_clean();
}

#[test]
fn shim_that_freezes_after_it_was_heard_is_killed_and_its_tree_ended() {
    let bench = Bench::new();
    bench.run(async {
        let script = "trap 'echo asked' TERM; echo up; while :; do sleep 1000 & wait; done";
        let mut child = bench.spawn(script).await;
        assert_eq!(line(&mut child).await, "up");
        let stop = tokio::spawn({
            let control = child.control.clone();
            async move { control.stop().await }
        });
        // It has passed the order on, so it has answered it.
        assert_eq!(line(&mut child).await, "asked");
        shim(&bench).freeze();
        assert_eq!(stop.await.unwrap().end, StopEnd::Swept);
    });
    bench.wait_clean();
}

#[test]
fn child_that_wiped_its_environment_is_ended_when_its_shim_was_killed() {
    let bench = Bench::new();
    bench.run(async {
        let script = "exec env -i /bin/sh -c \"trap '' TERM; /bin/sleep 1000 & echo \\$!; wait\"";
        let mut child = bench.spawn(script).await;
        let pid = line(&mut child).await.parse().unwrap();
        let leader = Process {
            pid: child.control.pid(),
        };
        assert_eq!(leader.environment(), [""; 0]);
        wait_until("the leader is recorded", LIMIT, || {
            let records = bench.records();
            ok_if(records[0].leader.is_some(), records)
        });
        let recorded = bench.records().remove(0).leader.unwrap();
        assert_eq!(recorded.pid, leader.pid);
        shim(&bench).signal(Signal::SIGKILL);
        assert_eq!(child.control.stop().await.end, StopEnd::Swept);
        assert!(!leader.is_alive());
        Process { pid }.wait_gone(LIMIT);
    });
    bench.wait_clean();
}

#[test]
fn orphan_that_wiped_its_environment_is_ended_with_a_shim_that_does_not_answer() {
    let bench = Bench::new();
    bench.run(async {
        let script =
            "(setsid env -i sh -c 'echo $$; exec sleep 1000' &); while :; do sleep 1000; done";
        let mut child = bench.spawn(script).await;
        let orphan = Process {
            pid: line(&mut child).await.parse().unwrap(),
        };
        let shim = shim(&bench);
        // Nothing leads to it but its parent, which is the shim.
        wait_until("it has lost its parent", LIMIT, || {
            let parent = orphan.parent();
            ok_if(parent == Some(shim.pid), parent)
        });
        shim.freeze();
        assert_eq!(child.control.stop().await.end, StopEnd::Swept);
        assert!(!orphan.is_alive());
    });
    bench.wait_clean();
}

#[test]
fn process_that_is_always_another_is_ended_when_its_shim_was_killed() {
    let bench = Bench::new();
    bench.run(async {
        // It gets away from a single look about every other time.
        for _ in 0..8 {
            let mut command = bench.shell("");
            command.program = nasty_child().into();
            command.args = vec!["run-away".into()];
            let mut child = bench.spawn_for(SESSION, command).await;
            assert_eq!(line(&mut child).await, "ready");
            shim(&bench).signal(Signal::SIGKILL);
            let stopped = child.control.stop().await;
            assert_eq!((stopped.end, stopped.untouchable), (StopEnd::Swept, 0));
            let tag = child.control.tag().to_string();
            let runs = (0..200).any(|_| newest_carries(&tag));
            assert!(!runs, "when it says so");
        }
    });
    bench.wait_clean();
}

/// Whether one of the processes that were started last carries this tag.
fn newest_carries(tag: &str) -> bool {
    let load = std::fs::read_to_string("/proc/loadavg").expect("/proc");
    let last: u32 = load
        .split_whitespace()
        .last()
        .expect("a pid")
        .parse()
        .expect("a pid");
    (last.saturating_sub(24)..last + 8).any(|pid| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let assignment = format!("SESSIOND_TAG={tag}");
        environment
            .split(|byte| *byte == 0)
            .any(|one| one == assignment.as_bytes())
    })
}

#[test]
fn no_tree_outlives_its_worker() {
    let mut bench = Bench::new();
    bench.run(async {
        let mut child = bench.spawn(TREE).await;
        assert_eq!(line(&mut child).await, "up");
        // The handles die with the worker, not before it.
        std::mem::forget(child);
    });
    bench.drop_runtime();
    bench.wait_clean();
}
