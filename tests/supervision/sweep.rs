//! What a worker's start finds of the ones before it.

use std::fs;
use std::time::Duration;

use nix::sys::signal::Signal;
use sessiond_supervisor::{ProcessIdentity, Registry, SpawnRecord, StopEnd, Supervisor, Tag};

use super::bench::{Bench, GRACE, SESSION, line};
use crate::support::Process;

const TREE: &str = "trap '' TERM; setsid sh -c 'echo up; while :; do sleep 1000; done' & \
    while :; do sleep 1000; done";

fn tag(install: &str, generation: &str, spawn: &str) -> Tag {
    Tag::new(install, generation, SESSION, spawn).expect("a tag")
}

/// A supervisor of the next generation of a bench's install.
fn next_generation(bench: &Bench) -> Supervisor {
    let mut settings = bench.settings.clone();
    settings.generation = "3".to_owned();
    Supervisor::open(settings).expect("a supervisor")
}

#[test]
fn tagged_leftovers_are_ended_and_nothing_else_is_touched() {
    let bench = Bench::new();
    let install = bench.settings.install.clone();
    let leftovers = [
        bench.stray(Some(&format!("{install}:1:{SESSION}:one"))),
        bench.stray(Some(&format!("{install}:0:session-2:two"))),
    ];
    let canaries = [
        bench.stray(Some(&format!("{install}:2:{SESSION}:current"))),
        bench.stray(Some(&format!("other-{install}:1:{SESSION}:one"))),
        bench.stray(Some(&format!("{install}:1:{SESSION}"))),
        bench.stray(None),
    ];
    bench.run(async {
        let sweep = bench.supervisor.sweep().await;
        sweep.cleared("session-3").await;
        assert!(
            leftovers.iter().all(|leftover| leftover.process.is_alive()),
            "a session of which nothing was found waits for nobody's grace"
        );
        sweep.cleared(SESSION).await;
        assert!(!leftovers[0].process.is_alive());
        let report = sweep.finished().await;
        assert!(!leftovers[1].process.is_alive());
        assert_eq!(report.stopped.len(), 2, "{report:?}");
        for stopped in &report.stopped {
            assert_eq!(stopped.end, StopEnd::Swept);
            assert_eq!(stopped.killed, 2, "the shell and its sleep");
        }
        assert!(report.doubtful.is_empty(), "{report:?}");
    });
    assert!(canaries.iter().all(|canary| canary.process.is_alive()));
}

#[test]
fn record_of_what_is_gone_is_cleared_and_what_cannot_be_told_is_left() {
    let bench = Bench::new();
    let install = &bench.settings.install;
    let registry = Registry::open(&bench.settings.registry_dir).unwrap();
    let host = sessiond_supervisor::host_name();
    let put = |tag: Tag, host: &str, identity: Option<ProcessIdentity>| {
        let record = SpawnRecord::intent(tag, "sh".to_owned(), 0, host.to_owned());
        let record = match identity {
            Some(identity) => record.with_identity(identity),
            None => record,
        };
        registry.put(&record).unwrap();
    };
    // This process, as it was before it started.
    let mut gone = ProcessIdentity::own().unwrap();
    gone.start_ticks -= 1;
    put(tag(install, "1", "gone"), &host, Some(gone.clone()));
    put(tag(install, "1", "intent"), &host, None);
    put(tag(install, "1", "intent-elsewhere"), "elsewhere", None);
    put(tag(install, "2", "current"), &host, Some(gone.clone()));
    put(tag("other", "1", "foreign"), &host, Some(gone));
    fs::write(bench.settings.registry_dir.join("damaged.json"), "{").unwrap();
    // It lives and has no tag: a record alone is no leave to signal.
    let canary = bench.stray(None);
    let alive = ProcessIdentity::of(canary.process.pid).unwrap();
    let mut older = alive.clone();
    older.start_ticks -= 1;
    put(tag(install, "1", "pid-of-another"), &host, Some(older));

    bench.run(async {
        let sweep = bench.supervisor.sweep().await;
        let report = sweep.finished().await;
        assert_eq!((report.cleared, report.stopped.len()), (3, 0), "{report:?}");
        let doubtful = report.doubtful.join("\n");
        for named in ["intent-elsewhere", "foreign", "damaged.json"] {
            assert!(doubtful.contains(named), "{named}: {doubtful}");
        }
        assert_eq!(report.doubtful.len(), 3, "{doubtful}");
    });
    let mut left = bench.record_files();
    left.sort();
    let expected = ["current", "damaged", "foreign", "intent-elsewhere"];
    assert_eq!(left, expected.map(|name| format!("{name}.json")));
    assert!(canary.process.is_alive());
}

#[test]
fn tree_that_its_own_shim_is_ending_is_waited_for() {
    let mut bench = Bench::new();
    let leader = bench.run(async {
        let mut child = bench.spawn(TREE).await;
        assert_eq!(line(&mut child).await, "up");
        let pid = child.control.pid();
        std::mem::forget(child);
        Process { pid }
    });
    bench.drop_runtime();
    let next = next_generation(&bench);
    bench.run(async {
        let sweep = next.sweep().await;
        assert!(leader.is_alive(), "it has its grace");
        sweep.cleared(SESSION).await;
        assert!(!leader.is_alive());
        let report = sweep.finished().await;
        let ends: Vec<_> = report.stopped.iter().map(|stopped| stopped.end).collect();
        assert_eq!(ends, [StopEnd::Exited], "{report:?}");
        assert_eq!(report.stopped[0].command, "sh");
        assert!(report.doubtful.is_empty(), "{report:?}");
    });
    bench.wait_clean();
}

#[test]
fn tree_of_a_worker_and_a_shim_that_were_killed_is_ended_by_its_tag() {
    let mut bench = Bench::with(|settings| {
        // Its shim must not be done before it is killed.
        settings.grace = Duration::from_secs(20);
    });
    let (leader, shim) = bench.run(async {
        let mut child = bench.spawn(TREE).await;
        assert_eq!(line(&mut child).await, "up");
        let (pid, shim_pid) = (child.control.pid(), bench.supervisor.list()[0].shim_pid);
        std::mem::forget(child);
        (Process { pid }, Process { pid: shim_pid })
    });
    bench.drop_runtime();
    shim.signal(Signal::SIGKILL);
    bench.settings.grace = GRACE;
    let next = next_generation(&bench);
    bench.run(async {
        let sweep = next.sweep().await;
        sweep.cleared(SESSION).await;
        assert!(!leader.is_alive());
        let report = sweep.finished().await;
        let ends: Vec<_> = report.stopped.iter().map(|stopped| stopped.end).collect();
        assert_eq!(ends, [StopEnd::Swept], "{report:?}");
    });
    bench.wait_clean();
}
