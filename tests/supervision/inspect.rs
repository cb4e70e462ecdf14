//! What the doctor is told of processes and records, and what mending does to them.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use sessiond_supervisor::{
    Fix, Inspection, ProcessIdentity, Registry, SpawnRecord, Stray, Supervisor, Tag, host_name,
};

use super::bench::{Bench, SESSION, line};
use super::canary::Canary;
use crate::support::wait::ok_if;
use crate::support::{LIMIT, Process, wait_until};

/// Spawns that come and go beside the inspections.
const SPAWNS: usize = 50;

fn tag(bench: &Bench, generation: &str, spawn: &str) -> Tag {
    Tag::new(&bench.settings.install, generation, SESSION, spawn).expect("a tag")
}

fn put(bench: &Bench, tag: &Tag, host: &str, identity: Option<ProcessIdentity>) {
    let record = SpawnRecord::intent(tag.clone(), "agent".to_owned(), 0, host.to_owned());
    let record = match identity {
        Some(identity) => record.with_identity(identity),
        None => record,
    };
    let registry = Registry::open(&bench.settings.registry_dir).expect("a registry");
    registry.put(&record).expect("the record is put");
}

/// A shim that was killed: this process, as it was before it started.
fn gone() -> ProcessIdentity {
    let own = ProcessIdentity::own().expect("an identity");
    ProcessIdentity {
        start_ticks: own.start_ticks - 1,
        ..own
    }
}

fn inspect(bench: &Bench) -> Inspection {
    bench.run(bench.supervisor.inspect())
}

fn fix(bench: &Bench) -> Vec<Fix> {
    bench.run(bench.supervisor.fix(false))
}

#[track_caller]
fn assert_in_order(found: &Inspection) {
    let is_in_order = found.strays.is_empty()
        && found.stale.is_empty()
        && found.unverifiable.is_empty()
        && found.unreadable.is_empty();
    assert!(is_in_order, "{found:?}");
}

fn outcome(fix: &Fix) -> &str {
    let (Fix::End { outcome, .. }
    | Fix::RemoveRecord { outcome, .. }
    | Fix::SetAside { outcome, .. }) = fix;
    outcome.as_deref().unwrap_or("only planned")
}

#[test]
fn strays_of_this_install_are_told_and_ended_and_nobody_else_is() {
    let bench = Bench::new();
    let canaries = [
        Canary::start(&bench, None),
        Canary::start(&bench, Some("other-install:1:session-1:one")),
        Canary::start(&bench, Some("no tag")),
    ];
    let strays = ["1", "2"].map(|generation| {
        let tag = tag(&bench, generation, &format!("stray-{generation}"));
        bench.stray(Some(&tag.to_string()))
    });
    let told = inspect(&bench).strays;
    for (stray, is_of_this_generation) in strays.iter().zip([false, true]) {
        let is_it = |told: &&Stray| told.pid == stray.process.pid;
        let told = told.iter().find(is_it).expect("it is told");
        assert_eq!(told.is_of_this_generation, is_of_this_generation);
        assert_eq!(told.name, "sh");
    }
    assert_eq!(told.len(), 4, "two shells and their sleeps: {told:?}");

    let planned = bench.run(bench.supervisor.fix(true));
    let again = inspect(&bench).strays;
    assert_eq!(again.len(), told.len(), "a dry run changes nothing");
    let done = fix(&bench);
    assert_eq!(planned.len(), 2, "{planned:?}");
    assert!(planned.iter().all(|fix| outcome(fix) == "only planned"));
    for (fix, stray) in done.iter().zip(&strays) {
        let Fix::End { pids, .. } = fix else {
            panic!("processes are ended: {fix:?}");
        };
        assert!(pids.contains(&stray.process.pid), "{fix:?}");
        assert_eq!(outcome(fix), "ended, 2 of them by SIGKILL");
        assert!(!stray.process.is_alive());
    }
    assert_eq!(done.len(), 2, "{done:?}");
    assert_in_order(&inspect(&bench));
    for canary in &canaries {
        canary.assert_untouched();
    }
}

#[test]
fn records_that_say_what_is_not_so_are_removed_and_what_cannot_be_told_is_left() {
    let bench = Bench::new();
    let canary = Canary::start(&bench, None);
    let living = ProcessIdentity::of(canary.process().pid).unwrap();
    let reused = ProcessIdentity {
        start_ticks: living.start_ticks - 1,
        ..living.clone()
    };
    let elsewhere = ProcessIdentity {
        pid_namespace: Some(1),
        ..living
    };
    put(
        &bench,
        &tag(&bench, "1", "gone"),
        &host_name(),
        Some(gone()),
    );
    put(
        &bench,
        &tag(&bench, "2", "over"),
        &host_name(),
        Some(gone()),
    );
    put(&bench, &tag(&bench, "1", "intent"), &host_name(), None);
    put(
        &bench,
        &tag(&bench, "1", "reused"),
        &host_name(),
        Some(reused),
    );
    put(
        &bench,
        &tag(&bench, "1", "namespace"),
        &host_name(),
        Some(elsewhere),
    );
    put(&bench, &tag(&bench, "1", "elsewhere"), "elsewhere", None);
    let dir = &bench.settings.registry_dir;
    fs::write(dir.join("torn.json"), "{").unwrap();
    fs::create_dir(dir.join("folder.json")).unwrap();

    let check = |found: &Inspection| {
        assert_eq!((found.strays.len(), found.stale.len()), (0, 4), "{found:?}");
        assert_eq!(
            (found.unverifiable.len(), found.unreadable.len()),
            (2, 2),
            "{found:?}"
        );
    };
    let before = bench.record_files().len();
    check(&inspect(&bench));
    let planned = bench.run(bench.supervisor.fix(true));
    assert_eq!(planned.len(), 7, "{planned:?}");
    check(&inspect(&bench));
    assert_eq!(
        bench.record_files().len(),
        before,
        "a dry run changes nothing"
    );

    for fix in &fix(&bench) {
        let is_done = outcome(fix) == "removed" || outcome(fix).starts_with("moved to ");
        assert!(is_done, "{fix:?}");
    }
    assert_eq!(bench.record_files(), ["elsewhere.json"]);
    let aside: PathBuf = bench.dir.path().join("set-aside");
    // Nothing in this namespace can ever tell of it; it is kept for people.
    assert!(aside.join("namespace.json.0").is_file());
    assert!(aside.join("torn.json.0").is_file() && aside.join("folder.json.0").is_dir());
    // The next one of that name replaces nothing.
    fs::write(dir.join("torn.json"), "[").unwrap();
    assert_eq!(fix(&bench).len(), 1);
    assert_eq!(fs::read(aside.join("torn.json.0")).unwrap(), b"{");
    assert_eq!(fs::read(aside.join("torn.json.1")).unwrap(), b"[");
    canary.assert_untouched();
}

#[test]
fn processes_whose_shim_was_killed_are_told_with_their_record_and_ended() {
    let bench = Bench::new();
    let (tagged, wiped) = (tag(&bench, "1", "tagged"), tag(&bench, "1", "wiped"));
    let strays = [bench.stray(Some(&tagged.to_string())), bench.stray(None)];
    put(&bench, &tagged, &host_name(), Some(gone()));
    let leader = ProcessIdentity::of(strays[1].process.pid).unwrap();
    let record = SpawnRecord::intent(wiped, "agent".to_owned(), 0, host_name());
    let registry = Registry::open(&bench.settings.registry_dir).unwrap();
    let record = record.with_identity(gone()).with_leader(leader);
    registry.put(&record).unwrap();

    let found = inspect(&bench);
    let problems: Vec<_> = found.stale.iter().map(|stale| &*stale.problem).collect();
    let expected = [
        "its process is gone; processes of it live: 2",
        "its process is gone; processes of it live: 1",
    ];
    assert_eq!(problems, expected, "{found:?}");
    assert!(found.strays.is_empty(), "{found:?}");
    let done = fix(&bench);
    let outcomes: Vec<_> = done.iter().map(outcome).collect();
    let ended = "ended, 2 of them by SIGKILL";
    assert_eq!(outcomes, [ended, "removed", ended, "removed"]);
    assert!(strays.iter().all(|stray| !stray.process.is_alive()));
    assert_in_order(&inspect(&bench));
}

#[test]
fn what_the_sweep_is_ending_is_nobodys_stray() {
    let bench = Bench::with(|settings| settings.grace = Duration::from_secs(600));
    let tag = tag(&bench, "1", "swept");
    let stray = bench.stray(Some(&tag.to_string()));
    put(&bench, &tag, &host_name(), Some(gone()));
    bench.run(async {
        let sweep = bench.supervisor.sweep().await;
        assert_in_order(&bench.supervisor.inspect().await);
        assert_eq!(bench.supervisor.fix(false).await, []);
        assert!(stray.process.is_alive(), "it has its grace");
        for process in bench.processes() {
            process.signal(Signal::SIGKILL);
        }
        sweep.finished().await;
        assert_in_order(&bench.supervisor.inspect().await);
    });
    bench.wait_clean();
}

#[test]
fn running_spawns_are_no_strays_and_not_stale_for_a_look_from_beside() {
    let bench = Bench::new();
    let mut settings = bench.settings.clone();
    settings.generation = "0".to_owned();
    let beside = Supervisor::open(settings).unwrap();
    bench.run(async {
        let mut child = bench.spawn("echo up; read line").await;
        assert_eq!(line(&mut child).await, "up");
        wait_until("its shim is recorded", LIMIT, || {
            let records = bench.records();
            ok_if(
                records.iter().any(|record| record.identity.is_some()),
                records,
            )
        });
        assert_in_order(&beside.inspect().await);
        assert_eq!(beside.fix(false).await, []);
        assert!(
            Process {
                pid: child.control.pid()
            }
            .is_alive()
        );
        child.control.stop().await;
    });
    bench.wait_clean();
}

#[test]
fn spawns_that_start_run_and_end_are_in_no_list() {
    let bench = Bench::new();
    bench.run(async {
        let rounds = async {
            for round in 0..SPAWNS {
                // Some end by themselves at once, some when they are dropped, some are never taken.
                let script = ["exit 0", "read line", "sleep 1000 & wait"][round % 3];
                let spawn = bench.spawn(script);
                if round % 5 == 0 {
                    drop(tokio::time::timeout(Duration::from_millis(1), spawn).await);
                } else {
                    drop(spawn.await);
                }
            }
        };
        let four = async { tokio::join!(rounds_of(&bench), rounds_of(&bench), rounds_of(&bench)) };
        let mut all = std::pin::pin!(async { tokio::join!(rounds, four) });
        let look = async || {
            assert_in_order(&bench.supervisor.inspect().await);
            assert_eq!(bench.supervisor.fix(false).await, []);
        };
        loop {
            tokio::select! {
                _ = &mut all => break,
                () = look() => {}
            }
        }
        bench.supervisor.reap(SESSION).await;
        assert_in_order(&bench.supervisor.inspect().await);
    });
    bench.wait_clean();
}

async fn rounds_of(bench: &Bench) {
    for _ in 0..SPAWNS {
        drop(bench.spawn("exit 0").await);
        // Over within a look, from its record to the end of it.
        let mut missing = bench.shell("");
        missing.program = "/no/such/program".into();
        let tag = bench.supervisor.tag(SESSION);
        let refused = bench.supervisor.spawn(missing, tag).await;
        refused.expect_err("there is no such program");
    }
}

#[test]
fn zombies_of_this_process_and_its_limits_are_told() {
    let bench = Bench::new();
    let mut child = end_unreaped();
    let pid = child.id();
    let found = inspect(&bench);
    assert!(found.zombies.contains(&pid), "{found:?}");
    child.wait().unwrap();
    assert!(!inspect(&bench).zombies.contains(&pid));
    for headroom in [&found.descriptors, &found.processes] {
        assert!(headroom.used > 0, "{headroom:?}");
        assert!(
            headroom.max.is_none_or(|max| headroom.used <= max),
            "{headroom:?}"
        );
        assert!(!headroom.limit.is_empty());
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a child is wanted that nobody waits for"
)]
fn end_unreaped() -> std::process::Child {
    let child = Command::new("true").spawn().expect("start a program");
    let process = Process { pid: child.id() };
    wait_until("it has ended", LIMIT, || {
        ok_if(process.state() == Some('Z'), process.state())
    });
    child
}
