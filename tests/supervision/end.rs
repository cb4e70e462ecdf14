//! Ending children: one, all of a session, at once, and those that resist.

use std::time::Duration;

use sessiond_supervisor::{Exit, StopEnd};

use super::bench::{Bench, GRACE, SESSION, line};
use crate::support::Process;

/// Ignores SIGTERM, as do two below it, one of them in a session of its own.
const STUBBORN: &str = "trap '' TERM; \
    (while :; do sleep 1000; done) & \
    setsid sh -c 'echo up; while :; do sleep 1000; done' & \
    while :; do sleep 1000; done";

#[test]
fn child_that_ends_when_asked_is_not_killed() {
    let bench = Bench::new();
    bench.run(async {
        let mut child = bench
            .spawn("trap 'exit 5' TERM; echo up; while :; do sleep 0.01; done")
            .await;
        assert_eq!(line(&mut child).await, "up");
        let stopped = child.control.stop().await;
        assert_eq!(stopped.end, StopEnd::Terminated);
        assert_eq!((stopped.exit_code, stopped.killed), (Some(5), 0));
        assert_eq!(child.control.stop().await, stopped, "asked again");
    });
    bench.wait_clean();
}

#[test]
fn tree_that_ignores_everything_is_killed_after_the_grace() {
    let bench = Bench::new();
    bench.run(async {
        let mut child = bench.spawn(STUBBORN).await;
        assert_eq!(line(&mut child).await, "up");
        let stopped = child.control.stop().await;
        assert_eq!(stopped.end, StopEnd::Killed);
        assert_eq!(stopped.exit_signal, Some(9));
        assert!(stopped.killed >= 3, "{stopped:?}");
        assert_eq!(stopped.untouchable, 0);
        assert!(
            u128::from(stopped.took_ms) >= GRACE.as_millis(),
            "{stopped:?}"
        );
        assert!(bench.processes().is_empty(), "when it says so");
    });
    bench.wait_clean();
}

#[test]
fn stop_that_is_given_up_goes_on() {
    let bench = Bench::new();
    bench.run(async {
        let mut child = bench.spawn(STUBBORN).await;
        assert_eq!(line(&mut child).await, "up");
        let control = child.control.clone();
        let given_up = tokio::time::timeout(Duration::from_millis(1), control.stop()).await;
        assert!(given_up.is_err());
        assert_eq!(control.exited().await, Some(Exit::Signal(9)));
        assert_eq!(control.stop().await.end, StopEnd::Killed);
    });
    bench.wait_clean();
}

#[test]
fn reap_ends_all_of_a_session_at_once_and_nothing_of_another() {
    let bench = Bench::new();
    bench.run(async {
        let mut children = Vec::new();
        for _ in 0..4 {
            let mut child = bench.spawn(STUBBORN).await;
            assert_eq!(line(&mut child).await, "up");
            children.push(child);
        }
        let mut ended = bench.spawn("exit 0").await;
        assert_eq!(ended.stdout.next().await, None);
        ended.control.stop().await;
        let other = bench
            .spawn_for("session-2", bench.shell("read -r text"))
            .await;

        let began_at = tokio::time::Instant::now();
        let report = bench.supervisor.reap(SESSION).await;
        let took = began_at.elapsed();
        assert!(
            took >= GRACE && took < 4 * GRACE,
            "one grace for all: {took:?}"
        );
        let mut named: Vec<_> = report
            .stopped
            .iter()
            .map(|stopped| stopped.tag.clone())
            .collect();
        let mut expected: Vec<_> = children
            .iter()
            .map(|child| child.control.tag().to_string())
            .collect();
        named.sort();
        expected.sort();
        assert_eq!(named, expected, "the one that had ended is not named");
        assert!(
            report
                .stopped
                .iter()
                .all(|stopped| stopped.end == StopEnd::Killed)
        );

        assert!(
            bench.supervisor.reap(SESSION).await.stopped.is_empty(),
            "again"
        );
        let other_process = Process {
            pid: other.control.pid(),
        };
        assert!(other_process.is_alive());
        assert!(!other.control.has_exited());
        other.control.stop().await;
    });
    bench.wait_clean();
}

#[test]
fn fifty_reaps_at_once_are_one() {
    let bench = Bench::new();
    bench.run(async {
        let mut child = bench.spawn(STUBBORN).await;
        assert_eq!(line(&mut child).await, "up");
        let reaps: Vec<_> = (0..50)
            .map(|_| {
                let supervisor = bench.supervisor.clone();
                tokio::spawn(async move { supervisor.reap(SESSION).await })
            })
            .collect();
        let stopped = child.control.stop().await;
        for reap in reaps {
            let report = reap.await.unwrap();
            assert_eq!(report.stopped, std::slice::from_ref(&stopped));
        }
    });
    bench.wait_clean();
}

#[test]
fn reap_waits_for_a_spawn_that_is_just_being_started_and_ends_it() {
    let bench = Bench::new();
    bench.run(async {
        for _ in 0..10 {
            let tag = bench.supervisor.tag(SESSION);
            let spawn = bench
                .supervisor
                .spawn(bench.shell("sleep 1000"), tag.clone());
            let (child, report) = tokio::join!(biased; spawn, bench.supervisor.reap(SESSION));
            let named: Vec<_> = report.stopped.iter().map(|stopped| &stopped.tag).collect();
            assert_eq!(named, [&tag.to_string()]);
            assert!(child.unwrap().control.has_exited());
            assert!(bench.processes().is_empty(), "when reap is done");
        }
    });
    bench.wait_clean();
}
