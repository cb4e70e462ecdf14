//! What a worker's start finds of the ones before it.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use nix::sys::signal::Signal;
use sessiond_supervisor::{ProcessIdentity, Registry, SpawnRecord, StopEnd, Supervisor, Tag};

use super::bench::{Bench, GRACE, SESSION, line};
use crate::support::wait::ok_if;
use crate::support::{LIMIT, Process, wait_until};

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
        wait_until("its processes are recorded", LIMIT, || {
            let records = bench.records();
            ok_if(
                records.iter().all(|record| record.identity.is_some()),
                records,
            )
        });
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
        assert!(
            report.shims_lost.is_empty(),
            "it ended its tree: {report:?}"
        );
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
        wait_until("its processes are recorded", LIMIT, || {
            let records = bench.records();
            ok_if(
                records.iter().all(|record| record.identity.is_some()),
                records,
            )
        });
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
        assert_eq!(report.shims_lost.len(), 1, "{report:?}");
    });
    bench.wait_clean();
}

/// Starts a child, waits for its line, and kills shim and worker. Gives the child and its line.
fn leave_behind(bench: &mut Bench, script: &str) -> (Process, String) {
    let (leader, shim, said) = bench.run(async {
        let mut child = bench.spawn(script).await;
        let said = line(&mut child).await;
        let leader = Process {
            pid: child.control.pid(),
        };
        let shim = Process {
            pid: bench.supervisor.list()[0].shim_pid,
        };
        wait_until("the child itself is recorded", LIMIT, || {
            let records = bench.records();
            let is_recorded = records.iter().any(|record| record.leader.is_some());
            ok_if(is_recorded, records)
        });
        // Frozen, so that it does nothing when its worker dies before it.
        shim.freeze();
        std::mem::forget(child);
        (leader, shim, said)
    });
    bench.drop_runtime();
    shim.signal(Signal::SIGKILL);
    shim.wait_gone(LIMIT);
    (leader, said)
}

#[test]
fn child_that_wiped_its_environment_is_ended_after_its_worker_and_its_shim_were_killed() {
    let mut bench = Bench::new();
    // The whole tree is without a tag; the marker stays.
    let script = "exec env -u SESSIOND_TAG sh -c \
        'trap \"\" TERM; setsid sleep 1000 & echo up; while :; do sleep 1000; done'";
    let (leader, _up) = leave_behind(&mut bench, script);
    assert!(leader.is_alive());
    let report = bench.run(async { next_generation(&bench).sweep().await.finished().await });
    assert!(!leader.is_alive());
    assert_eq!(report.stopped.len(), 1, "{report:?}");
    assert_eq!(report.shims_lost.len(), 1, "{report:?}");
    assert!(report.doubtful.is_empty(), "{report:?}");
    bench.wait_clean();
}

#[test]
fn orphan_that_wiped_its_environment_outlives_a_killed_shim_and_the_report_says_so() {
    let mut bench = Bench::new();
    let script = "(setsid env -i sh -c 'echo $$; exec sleep 1000' &); while :; do sleep 1000; done";
    let (leader, said) = leave_behind(&mut bench, script);
    let orphan = Process {
        pid: said.parse().expect("a pid"),
    };
    let report = bench.run(async { next_generation(&bench).sweep().await.finished().await });
    assert!(!leader.is_alive());
    let tag = &report.stopped[0].tag;
    assert_eq!(&report.shims_lost, std::slice::from_ref(tag), "{report:?}");
    // What the design cannot find. Should this fail, then it can, and the text is to be changed.
    assert!(orphan.is_alive());
    orphan.signal(Signal::SIGKILL);
    bench.wait_clean();
}

/// Each is put beside a record that is good, whose process is ended all the same.
fn check_file(name: &str, damage: impl FnOnce(&Path), problem: &str) {
    let bench = Bench::with(|settings| settings.grace = Duration::from_millis(1));
    let install = &bench.settings.install;
    let leftover = bench.stray(Some(&tag(install, "1", "good").to_string()));
    let good = SpawnRecord::intent(
        tag(install, "1", "good"),
        "sh".to_owned(),
        0,
        sessiond_supervisor::host_name(),
    );
    let registry = Registry::open(&bench.settings.registry_dir).expect("a registry");
    registry.put(&good).expect("the record is put");
    damage(&bench.settings.registry_dir);
    let report = bench.run(async { bench.supervisor.sweep().await.finished().await });
    assert!(!leftover.process.is_alive(), "{name}");
    assert_eq!(report.stopped.len(), 1, "{name}: {report:?}");
    assert_eq!(bench.record_files(), [name], "it is left where it is");
    let [doubt] = &report.doubtful[..] else {
        panic!("{name} alone is in doubt: {report:?}");
    };
    assert!(doubt.contains(name) && doubt.contains(problem), "{doubt}");
}

#[test]
fn file_that_is_no_record_costs_only_itself() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};

    let write = |name: &'static str, bytes: &'static [u8]| {
        move |dir: &Path| fs::write(dir.join(name), bytes).unwrap()
    };
    let torn = |dir: &Path| {
        let good = fs::read(dir.join("good.json")).unwrap();
        fs::write(dir.join("torn.json"), &good[..good.len() / 2]).unwrap();
    };
    let copied = |dir: &Path| drop(fs::copy(dir.join("good.json"), dir.join("copied.json")));
    check_file(
        "corrupt.json",
        write("corrupt.json", b"\xff\xfe"),
        "not a record",
    );
    check_file("empty.json", write("empty.json", b""), "not a record");
    check_file("notes.txt", write("notes.txt", b"mine"), "not a record");
    check_file("torn.json", torn, "not a record");
    check_file("copied.json", copied, "another spawn");
    let link = |dir: &Path| symlink(dir.join("good.json"), dir.join("link.json")).unwrap();
    check_file("link.json", link, "cannot be read");
    let folder = |dir: &Path| fs::create_dir(dir.join("folder.json")).unwrap();
    check_file("folder.json", folder, "not a regular file");
    let pipe = |dir: &Path| {
        let mode = Mode::RUSR | Mode::WUSR;
        mknodat(CWD, dir.join("pipe.json"), FileType::Fifo, mode, 0).unwrap();
    };
    check_file("pipe.json", pipe, "not a regular file");
    let locked = |dir: &Path| {
        let path = dir.join("locked.json");
        // To root nothing is locked, and this is what it finds then.
        fs::write(&path, "locked").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o000)).unwrap();
    };
    let is_root = nix::unistd::geteuid().is_root();
    let problem = if is_root {
        "not a record"
    } else {
        "cannot be read"
    };
    check_file("locked.json", locked, problem);
    if is_root {
        let foreign = |dir: &Path| {
            let path = dir.join("foreign.json");
            fs::copy(dir.join("good.json"), &path).unwrap();
            chown(&path, Some(65534), None).unwrap();
        };
        check_file("foreign.json", foreign, "belongs to user 65534");
    }
}

#[test]
fn file_that_a_power_loss_has_torn_is_cleared_and_one_of_this_boot_is_left() {
    let bench = Bench::new();
    let dir = &bench.settings.registry_dir;
    let before_boot = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
    let age = |name: &str| {
        let file = fs::File::open(dir.join(name)).unwrap();
        file.set_modified(before_boot).unwrap();
    };
    for name in ["empty.json", "torn.json", "notes.txt", "recent.json"] {
        fs::write(dir.join(name), "").unwrap();
    }
    fs::write(dir.join("torn.json"), r#"{"version": 1, "tag""#).unwrap();
    fs::create_dir(dir.join("folder.json")).unwrap();
    for name in ["empty.json", "torn.json", "notes.txt", "folder.json"] {
        age(name);
    }
    let report = bench.run(async { bench.supervisor.sweep().await.finished().await });
    let mut left = bench.record_files();
    left.sort();
    assert_eq!(left, ["folder.json", "notes.txt", "recent.json"]);
    assert_eq!(
        (report.cleared, report.doubtful.len()),
        (2, 3),
        "{report:?}"
    );
}
