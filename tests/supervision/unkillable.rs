//! What cannot be ended: it is named, remembered for as long as it lives, and never signalled again.

use std::fs;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use sessiond_supervisor::{Child, StopEnd};

use super::bench::{Bench, SESSION, line};
use crate::support::stranger::{may_make_stranger, take_rights};
use crate::support::wait::ok_if;
use crate::support::{Freezer, LIMIT, Process, is_alone, wait_until};

const FEATURE: &str = "supervision of what cannot be ended";

/// A shell with a child, and that child frozen.
async fn frozen(bench: &Bench, freezer: &Freezer) -> (Child, Process) {
    let mut child = bench.spawn("sleep 1000 & echo $!; wait").await;
    let pid = line(&mut child).await.parse().expect("a pid");
    let process = Process { pid };
    freezer.freeze(process);
    (child, process)
}

#[test]
fn process_that_does_not_die_is_named_and_remembered_until_it_has_ended() {
    let Some(freezer) = Freezer::new(FEATURE) else {
        return;
    };
    let bench = Bench::new();
    let stopped = bench.run(async {
        let (child, process) = frozen(&bench, &freezer).await;
        let stopped = child.control.stop().await;
        assert_eq!(stopped.end, StopEnd::Unkillable);
        assert_eq!(stopped.untouchable, 1);
        let [named] = stopped.unkillable.as_slice() else {
            panic!("{stopped:?}");
        };
        assert_eq!((named.pid, named.name.as_str()), (process.pid, "sleep"));
        assert_eq!((named.state, named.is_denied), ('D', false));
        // Some kernels name the freezer, others what the process was frozen in.
        assert!(named.wchan.is_some(), "{named:?}");
        assert!(process.is_alive());
        stopped
    });
    let tag = stopped.tag.parse().unwrap();
    assert!(bench.records().iter().any(|record| record.tag == tag));
    assert!(bench.supervisor.list().is_empty());
    assert_eq!(bench.supervisor.counts().unkillable, stopped.unkillable);
    assert_eq!(bench.supervisor.unkillable(SESSION), stopped.unkillable);
    assert_eq!(bench.supervisor.unkillable("another"), []);
    freezer.thaw();
    bench.wait_gone();
    assert_eq!(bench.supervisor.counts().unkillable, []);
    bench.wait_clean();
}

#[test]
fn record_outlives_a_worker_and_a_shim_that_could_not_end_the_tree() {
    let Some(freezer) = Freezer::new(FEATURE) else {
        return;
    };
    let mut bench = Bench::new();
    let shim = bench.run(async {
        let (child, _process) = frozen(&bench, &freezer).await;
        // The handles die with the worker, not before it.
        std::mem::forget(child);
        let pid = bench.supervisor.list()[0].shim_pid;
        wait_until("the shim is recorded", LIMIT, || {
            let records = bench.records();
            ok_if(records[0].identity.is_some(), records)
        });
        Process { pid }
    });
    bench.drop_runtime();
    shim.wait_gone(LIMIT);
    assert_eq!(bench.records().len(), 1);
    freezer.thaw();
    bench.wait_gone();
}

#[test]
fn process_that_does_not_die_is_named_when_its_shim_was_killed() {
    let Some(freezer) = Freezer::new(FEATURE) else {
        return;
    };
    let bench = Bench::new();
    bench.run(async {
        let (child, process) = frozen(&bench, &freezer).await;
        let shim = bench.supervisor.list()[0].shim_pid;
        Process { pid: shim }.signal(nix::sys::signal::Signal::SIGKILL);
        let stopped = child.control.stop().await;
        assert_eq!(stopped.end, StopEnd::Unkillable, "{stopped:?}");
        let named: Vec<_> = stopped.unkillable.iter().map(|one| one.pid).collect();
        assert_eq!(named, [process.pid]);
    });
    assert_eq!(bench.supervisor.counts().unkillable.len(), 1);
    freezer.thaw();
    bench.wait_gone();
    assert_eq!(bench.supervisor.counts().unkillable, []);
    bench.wait_clean();
    assert_eq!(
        fs::read_dir(&bench.settings.registry_dir).unwrap().count(),
        0
    );
}

#[test]
fn process_that_took_other_rights_is_named_and_remembered_until_it_has_ended() {
    let name = "process_that_took_other_rights_is_named_and_remembered_until_it_has_ended";
    if !may_make_stranger(FEATURE) || !is_alone(module_path!(), name) {
        return;
    }
    let mut program = None;
    let bench = Bench::of_stranger(|dir| program = take_rights(dir, FEATURE));
    let Some(program) = program else {
        return;
    };
    let fifo = bench.dir.path().join("fifo");
    mkfifo(&fifo, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    // Nobody here may end it; it ends with its input.
    let input = fs::File::options()
        .read(true)
        .write(true)
        .open(&fifo)
        .unwrap();
    bench.run(async {
        let take_rights = program.display();
        let script = format!("{take_rights} --reuid 0 cat <fifo 3<&- & echo $!; wait");
        let mut child = bench.spawn(&script).await;
        let pid = line(&mut child).await.parse().unwrap();
        let process = Process { pid };
        wait_until("it has taken its rights", LIMIT, || {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
            ok_if(
                status.contains("Uid:\t0\t0\t0\t0") && status.contains("cat"),
                status,
            )
        });
        let stopped = child.control.stop().await;
        assert_eq!(stopped.end, StopEnd::Unkillable);
        let [named] = stopped.unkillable.as_slice() else {
            panic!("{stopped:?}");
        };
        assert_eq!((named.pid, named.name.as_str()), (pid, "cat"));
        assert!(named.is_denied, "{named:?}");
        assert!(process.is_alive());
        assert_eq!(bench.supervisor.unkillable(SESSION), stopped.unkillable);
        assert_eq!(bench.record_files().len(), 1);
        drop(input);
        process.wait_gone(LIMIT);
    });
    assert_eq!(bench.supervisor.counts().unkillable, []);
    bench.wait_clean();
}

#[test]
fn record_of_what_does_not_die_is_nothing_to_mend() {
    let Some(freezer) = Freezer::new(FEATURE) else {
        return;
    };
    let bench = Bench::new();
    let process = bench.run(async {
        // Neither its tag nor the child itself leads to it any more: the supervisor remembers it.
        let mut child = bench.spawn("env -i sleep 1000 & echo $!; wait").await;
        let pid = line(&mut child).await.parse().expect("a pid");
        let process = Process { pid };
        wait_until("the process has no tag", LIMIT, || {
            let environment = process.environment();
            ok_if(environment.is_empty(), environment)
        });
        freezer.freeze(process);
        assert_eq!(child.control.stop().await.end, StopEnd::Unkillable);
        assert_eq!(bench.supervisor.inspect().await.stale, []);
        assert_eq!(bench.supervisor.fix(false).await, []);
        process
    });
    assert_eq!(bench.records().len(), 1);
    freezer.thaw();
    process.wait_gone(LIMIT);
    assert_eq!(bench.supervisor.counts().unkillable, []);
    bench.wait_clean();
}
