//! Who is signalled, and who is not, when records and tags name processes of this machine.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use sessiond_supervisor::{
    BootId, ProcessIdentity, Registry, SpawnRecord, StopEnd, Stopped, SweepReport, Tag, Tier,
    host_name,
};

use super::bench::{Bench, SESSION};
use super::canary::Canary;
use crate::support::wait::ok_if;
use crate::support::{LIMIT, Process, wait_until};

/// A tag of an earlier generation of the bench's install.
fn earlier(bench: &Bench, spawn: &str) -> Tag {
    Tag::new(&bench.settings.install, "1", SESSION, spawn).expect("a tag")
}

fn intent(tag: &Tag) -> SpawnRecord {
    SpawnRecord::intent(tag.clone(), "agent".to_owned(), 0, host_name())
}

/// A shim that was killed: this process, as it was before it started.
fn gone() -> ProcessIdentity {
    let own = ProcessIdentity::own().expect("an identity");
    ProcessIdentity {
        start_ticks: own.start_ticks - 1,
        ..own
    }
}

fn put(bench: &Bench, record: &SpawnRecord) {
    let registry = Registry::open(&bench.settings.registry_dir).expect("a registry");
    registry.put(record).expect("the record is put");
}

fn sweep(bench: &Bench) -> SweepReport {
    bench.run(async { bench.supervisor.sweep().await.finished().await })
}

fn only(report: &SweepReport) -> &Stopped {
    let [stopped] = &report.stopped[..] else {
        panic!("one spawn was found: {report:?}");
    };
    stopped
}

#[test]
fn leader_without_an_environment_is_ended_with_its_descendants_when_its_shim_is_gone() {
    let bench = Bench::new();
    let canary = Canary::start(&bench, None);
    let nest = "trap '' TERM
        setsid sh -c 'trap \"\" TERM; : > \"$READY\"; while :; do sleep 1000; done' &
        while :; do sleep 1000; done";
    let leader = bench.stray_running(None, nest);
    let tag = earlier(&bench, "wiped");
    let identity = ProcessIdentity::of(leader.process.pid).unwrap();
    put(
        &bench,
        &intent(&tag).with_identity(gone()).with_leader(identity),
    );

    let report = sweep(&bench);
    let stopped = only(&report);
    assert_eq!(
        (stopped.end, stopped.killed),
        (StopEnd::Swept, 4),
        "{report:?}"
    );
    assert!(!leader.process.is_alive());
    assert_eq!(report.shims_lost, [tag.to_string()]);
    assert!(report.doubtful.is_empty(), "{report:?}");
    assert!(bench.record_files().is_empty());
    canary.assert_untouched();
    drop(leader);
    drop(canary);
    bench.wait_clean();
}

#[test]
fn pid_of_another_start_inode_namespace_or_boot_is_not_signalled() {
    let bench = Bench::new();
    let canary = Canary::start(&bench, None);
    let real = ProcessIdentity::of(canary.process().pid).unwrap();
    let forged = [
        (
            "start",
            ProcessIdentity {
                start_ticks: real.start_ticks - 1,
                ..real.clone()
            },
        ),
        (
            "inode",
            ProcessIdentity {
                pidfs_inode: real.pidfs_inode.map(|it| it - 1),
                ..real.clone()
            },
        ),
        (
            "boot",
            ProcessIdentity {
                boot_id: BootId("another".to_owned()),
                ..real.clone()
            },
        ),
        (
            "namespace",
            ProcessIdentity {
                pid_namespace: Some(1),
                ..real.clone()
            },
        ),
    ];
    for (spawn, identity) in forged {
        // Before Linux 6.9 there is no inode to differ.
        if identity != real {
            let record = intent(&earlier(&bench, spawn)).with_identity(identity.clone());
            put(&bench, &record.with_leader(identity));
        }
    }
    let report = sweep(&bench);
    canary.assert_untouched();
    assert!(report.stopped.is_empty(), "{report:?}");
    let doubtful = report.doubtful.join("\n");
    assert!(doubtful.contains("another pid namespace"), "{doubtful}");
    assert_eq!(report.doubtful.len(), 1, "{doubtful}");
    assert_eq!(bench.record_files(), ["namespace.json"]);
    let is_lost = |spawn: &str| report.shims_lost.iter().any(|tag| tag.ends_with(spawn));
    assert!(
        is_lost("start") && !is_lost("boot") && !is_lost("namespace"),
        "{report:?}"
    );
}

#[test]
fn tagged_process_of_the_own_group_is_reported_and_not_signalled() {
    let bench = Bench::new();
    let tag = earlier(&bench, "grouped");
    let stray = bench.stray_of_own_group(&tag.to_string());
    let canary = Canary::start(&bench, None);
    put(&bench, &intent(&tag));

    let report = sweep(&bench);
    let stopped = only(&report);
    assert_eq!(
        (stopped.end, stopped.killed),
        (StopEnd::Unkillable, 0),
        "{report:?}"
    );
    let pids: Vec<_> = stopped
        .unkillable
        .iter()
        .map(|process| process.pid)
        .collect();
    assert!(pids.contains(&stray.process.pid), "{report:?}");
    let doubtful = report.doubtful.join("\n");
    assert!(doubtful.contains("own group"), "{doubtful}");
    assert!(stray.process.is_alive());
    assert_eq!(
        bench.record_files(),
        ["grouped.json"],
        "the next start looks again"
    );
    canary.assert_untouched();
}

#[test]
fn descendant_with_the_tag_of_another_install_is_left_with_all_below_it() {
    let bench = Bench::new();
    let tag = earlier(&bench, "outer");
    let other = "other-install:1:session-1:inner";
    // In a session of its own, as every shim is: the kernel itself sends SIGHUP to a group whose
    // last tie to its session is killed while somebody of it is stopped.
    let nest = format!(
        "trap '' TERM
        SESSIOND_TAG={other} setsid sh -c 'env -u SESSIOND_TAG sleep 1000 & : > \"$READY\"; wait' &
        while :; do sleep 1000; done"
    );
    let stray = bench.stray_running(Some(&tag.to_string()), &nest);
    let inner = |process: &Process| {
        let command = process.command_line();
        process.parent() != Some(stray.process.pid) && command.starts_with("sleep")
    };
    let tagged_other = format!("SESSIOND_TAG={other}");
    let report = sweep(&bench);
    assert_eq!(only(&report).end, StopEnd::Swept, "{report:?}");
    assert!(!stray.process.is_alive());
    let left = bench.processes();
    assert!(
        left.iter()
            .any(|process| process.environment().contains(&tagged_other)),
        "whose tag is another's"
    );
    assert!(left.iter().any(inner), "who is below it");
    for process in left {
        process.signal(nix::sys::signal::Signal::SIGKILL);
    }
    bench.wait_gone();
}

#[test]
fn tagged_process_of_another_user_is_named_and_not_signalled() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("only root can start a process of another user");
        return;
    }
    let bench = Bench::new();
    let tag = earlier(&bench, "other-user");
    let mut other = OtherUser::start(&tag);
    put(&bench, &intent(&tag));
    let report = sweep(&bench);
    let stopped = only(&report);
    assert_eq!(stopped.end, StopEnd::Unkillable, "{report:?}");
    let [unkillable] = &stopped.unkillable[..] else {
        panic!("one process is named: {report:?}");
    };
    assert_eq!(unkillable.pid, other.0.id());
    assert_eq!(unkillable.name, "sleep");
    assert!(unkillable.is_denied);
    assert!(other.0.try_wait().unwrap().is_none(), "it lives");
    let doubtful = report.doubtful.join("\n");
    assert!(doubtful.contains("another user"), "{doubtful}");
    assert_eq!(bench.record_files(), ["other-user.json"]);
}

/// Runs itself in a pid namespace whose `/proc` is still that of the outer one: there a tag would
/// be read of one process, and another be held by the same number.
#[test]
fn proc_of_another_pid_namespace_is_not_believed() {
    let name = "proc_of_another_pid_namespace_is_not_believed";
    if let Some(dir) = std::env::var_os(INNER_VARIABLE) {
        return look_from_within(dir.into());
    }
    let unshare = |program: &[&OsStr]| {
        let user: &[&str] = match nix::unistd::geteuid().is_root() {
            true => &[],
            false => &["--user", "--map-root-user"],
        };
        let mut command = Command::new("unshare");
        command.args(user).args(["--pid", "--fork"]).args(program);
        command
    };
    if !unshare(&["true".as_ref()])
        .status()
        .is_ok_and(|status| status.success())
    {
        eprintln!("no pid namespace can be made here");
        return;
    }
    let bench = Bench::new();
    let tag = earlier(&bench, "outer");
    let canary = Canary::start(&bench, Some(&tag.to_string()));
    put(&bench, &intent(&tag).with_identity(gone()));
    let own = std::env::current_exe().expect("this program");
    let module = module_path!().split_once("::").expect("within the crate").1;
    let test = format!("{module}::{name}");
    let inner = unshare(&[own.as_ref(), test.as_ref(), "--exact".as_ref()])
        .env(INNER_VARIABLE, &bench.settings.registry_dir)
        .env("INSTALL", &bench.settings.install)
        .status()
        .expect("run this test again");
    assert!(inner.success());
    canary.assert_untouched();
    assert_eq!(
        bench.record_files(),
        ["outer.json"],
        "nothing was told, so it is kept"
    );
}

const INNER_VARIABLE: &str = "SESSIOND_TEST_REGISTRY";

fn look_from_within(registry_dir: PathBuf) {
    let bench = Bench::with(|settings| {
        settings.install = std::env::var("INSTALL").expect("an install");
        settings.registry_dir = registry_dir;
    });
    let report = sweep(&bench);
    let found = bench.run(bench.supervisor.inspect());
    assert!(report.stopped.is_empty(), "{report:?}");
    assert_eq!(report.cleared, 0, "{report:?}");
    let doubtful = report.doubtful.join("\n");
    assert!(doubtful.contains("pid namespace"), "{doubtful}");
    assert!(
        found.stale.is_empty() && found.strays.is_empty(),
        "{found:?}"
    );
    assert_eq!(found.tier.tier, Tier::Shims);
}

/// A process of user 65534 that sleeps.
struct OtherUser(std::process::Child);

impl OtherUser {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is about a process that no supervisor started"
    )]
    fn start(tag: &Tag) -> Self {
        let child = Command::new("sleep")
            .arg("1000")
            .env("SESSIOND_TAG", tag.to_string())
            .uid(65534)
            .process_group(0)
            .stdin(Stdio::null())
            .spawn()
            .expect("start a process of another user");
        let started = Self(child);
        let process = Process {
            pid: started.0.id(),
        };
        wait_until("it has become the program", LIMIT, || {
            let name = fs::read_to_string(format!("/proc/{}/comm", process.pid));
            ok_if(name.as_deref().ok() == Some("sleep\n"), name)
        });
        started
    }
}

impl Drop for OtherUser {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
