//! Who starts a worker, how many, and what is left between the two.
//!
//! The worker here is a shell script beside a link to the hook client: it records its process id
//! and becomes a `sleep`, which keeps what it inherited.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use sessiond::launch;

use super::run::{HOOK, Home, Input, Ran, payload, run, wait_for};

const SCRIPT: &str = "#!/bin/sh\necho \"$$ $*\" >> \"$SESSIOND_HOME/starts\"\nexec sleep 60\n";

/// Signals 32 and 33: the C library uses them itself, and lets nobody reset them.
const C_LIBRARY_SIGNALS: u64 = 0b11 << 31;

/// A home, and an installation whose worker is the script. Ends what was started when dropped.
struct Install {
    home: Home,
    bin: tempfile::TempDir,
}

impl Install {
    fn new() -> Self {
        // Beside the target directory, where a link to the hook client can be made: a copy might
        // be busy when another test forks while it is written.
        let bin = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        fs::hard_link(HOOK, bin.path().join("sessiond-hook")).expect("link");
        let script = bin.path().join("sessiond");
        fs::write(&script, SCRIPT).expect("write");
        let executable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(&script, executable).expect("chmod");
        Self {
            home: Home::new(),
            bin,
        }
    }

    fn hook(&self) -> Command {
        self.home
            .starting_hook(&self.bin.path().join("sessiond-hook"), true)
    }

    fn run(&self) -> Ran {
        let mut hook = self.hook();
        let hook = hook.env("SESSIOND_HOOK_DEADLINE_MS", "20000");
        run(hook, Input::Whole(&payload("s", "Stop")))
    }

    /// Process id and arguments of each start so far.
    fn starts(&self) -> Vec<(Pid, String)> {
        let text = fs::read_to_string(self.home.layout.root().join("starts"));
        let text = text.unwrap_or_default();
        let starts = text.lines().map(|line| {
            let (pid, arguments) = line.split_once(' ').expect("pid and arguments");
            let pid = pid.parse().ok().and_then(Pid::from_raw);
            (pid.expect("a process id"), arguments.to_owned())
        });
        starts.collect()
    }

    /// The worker of the `count`th start, once it has become what it stays.
    fn worker(&self, count: usize) -> PathBuf {
        wait_for("the worker to start", || {
            let (pid, _) = self.starts().get(count - 1)?.clone();
            let process = process(pid);
            let name = fs::read_to_string(process.join("comm")).ok()?;
            (name.trim() == "sleep").then_some(process)
        })
    }

    fn kill(&self, count: usize) {
        let process = self.worker(count);
        let (pid, _) = self.starts()[count - 1];
        kill_process(pid, Signal::KILL).expect("kill");
        wait_for("the worker to end", || is_gone(&process).then_some(()));
    }
}

impl Drop for Install {
    fn drop(&mut self) {
        for (pid, _) in self.starts() {
            // Only what still is the script's: the number may be another's by now.
            let name = fs::read_to_string(process(pid).join("comm")).unwrap_or_default();
            if ["sleep", "sessiond"].contains(&name.trim()) {
                // It may end by itself meanwhile.
                kill_process(pid, Signal::KILL).ok();
            }
        }
    }
}

fn process(pid: Pid) -> PathBuf {
    Path::new("/proc").join(pid.as_raw_nonzero().to_string())
}

/// Gone, or a corpse that its reaper has not collected: neither holds anything.
fn is_gone(process: &Path) -> bool {
    let stat = fs::read_to_string(process.join("stat"));
    stat.map_or(true, |stat| stat.contains(") Z "))
}

/// A number of `/proc/<pid>/stat`, counted from the parent's id as 0.
fn stat_number(process: &Path, index: usize) -> i32 {
    let stat = fs::read_to_string(process.join("stat")).expect("stat");
    let (_, fields) = stat.rsplit_once(") ").expect("a name");
    let number = fields.split(' ').nth(index + 1).expect("a field");
    number.parse().expect("a number")
}

#[test]
fn ten_hooks_at_once_start_one_worker_and_lose_nothing() {
    let install = Install::new();
    thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| install.run().silence());
        }
    });
    install.worker(1);
    // Every hook has left, and only the holder of the lock may start; the worker holds it now.
    assert!(install.home.layout.start_lock_file().exists());
    install.run().silence();
    let arguments: Vec<_> = install.starts().into_iter().map(|start| start.1).collect();
    assert_eq!(arguments, ["launch"]);
    assert_eq!(install.home.spooled_payloads().len(), 11);
}

#[test]
fn dead_worker_is_replaced_by_the_next_hook() {
    let install = Install::new();
    install.run().silence();
    install.kill(1);
    // This event finds a spool file, and must see to a worker all the same.
    assert_eq!(install.home.spool_files().len(), 1);
    install.run().silence();
    install.worker(2);
    assert_eq!(install.starts().len(), 2);
}

#[test]
fn worker_keeps_nothing_of_the_hook() {
    let install = Install::new();
    let mut hook = install.hook();
    hook.current_dir(install.bin.path())
        .env("ANTHROPIC_API_KEY", "secret")
        .env("PATH", install.bin.path())
        .env("LANG", "C.UTF-8")
        .env("SESSIOND_TAG", "other:1:s:p");
    // Returns only when nobody holds the hook's output: the worker does not.
    run(&mut hook, Input::Whole(&payload("s", "Stop"))).silence();
    let worker = install.worker(1);

    let own = Path::new("/proc/self");
    let own_id = i32::try_from(std::process::id()).expect("a process id");
    let (parent, session) = (stat_number(&worker, 0), stat_number(&worker, 2));
    assert_ne!(parent, own_id, "left the tree of whoever ran the hook");
    assert_ne!(session, stat_number(own, 2));
    assert_eq!(
        stat_number(&worker, 1),
        session,
        "alone in its process group"
    );
    let name = worker
        .file_name()
        .and_then(|name| name.to_str())
        .expect("a name");
    assert_ne!(session.to_string(), name, "leads no session");

    let target = |fd: &str| fs::read_link(worker.join("fd").join(fd)).expect("a descriptor");
    for fd in ["0", "1", "2"] {
        assert_eq!(target(fd), Path::new("/dev/null"));
    }
    let lock = fs::canonicalize(install.home.layout.start_lock_file()).expect("a path");
    assert_eq!(target("3"), lock);
    // The program's loader has files open for a moment.
    wait_for("the worker to hold nothing else", || {
        let count = fs::read_dir(worker.join("fd")).expect("list").count();
        (count == 4).then_some(())
    });
    let cwd = fs::read_link(worker.join("cwd")).expect("a directory");
    assert_eq!(cwd, Path::new("/"));

    let status = fs::read_to_string(worker.join("status")).expect("status");
    for field in ["SigBlk:\t", "SigIgn:\t"] {
        let mask = status.lines().find_map(|line| line.strip_prefix(field));
        let mask = u64::from_str_radix(mask.expect(field), 16).expect("a mask");
        assert_eq!(mask & !C_LIBRARY_SIGNALS, 0, "{field}{mask:x}");
    }
}

#[test]
fn worker_has_a_clean_environment() {
    let install = Install::new();
    let mut hook = install.hook();
    hook.env("ANTHROPIC_API_KEY", "secret")
        .env("CLAUDECODE", "1")
        .env("PATH", install.bin.path())
        .env("LC_ALL", "C")
        .env("HOME", "/home/user")
        .env("SESSIOND_TAG", "other:1:s:p");
    run(&mut hook, Input::Whole(b"{}")).silence();
    let worker = install.worker(1);
    // A process that is just becoming another program has its new name before its environment.
    let environ = wait_for("the worker's environment", || {
        let environ = fs::read_to_string(worker.join("environ")).ok()?;
        (!environ.is_empty()).then_some(environ)
    });
    let mut found: Vec<_> = environ
        .split_terminator('\0')
        // The shell's own.
        .filter(|variable| !variable.starts_with("PWD=") && !variable.starts_with("_="))
        .collect();
    found.sort_unstable();
    let home = format!("SESSIOND_HOME={}", install.home.layout.root().display());
    let wanted = [
        "HOME=/home/user",
        "LC_ALL=C",
        "PATH=/usr/local/bin:/usr/bin:/bin",
        home.as_str(),
        "SESSIOND_START_LOCK_FD=3",
    ];
    // The shell exports neither OLDPWD nor SHLVL unless it is given them.
    assert_eq!(found, wanted);
}

#[test]
fn nobody_starts_a_worker_when_told_not_to() {
    let install = Install::new();
    fs::create_dir_all(install.home.layout.root()).expect("create");
    fs::write(install.home.layout.install_file(), "mine").expect("write");
    let mut told = install.hook();
    run(told.env("SESSIOND_NO_START", "1"), Input::Whole(b"{}")).silence();
    let mut own = install.hook();
    run(own.env("SESSIOND_TAG", "mine:1:s:p"), Input::Whole(b"{}")).silence();
    // Neither went as far as the lock.
    assert!(!install.home.layout.start_lock_file().exists());
    assert_eq!(install.home.spooled_payloads().len(), 1);
}

#[test]
fn hook_without_an_installed_worker_leaves_the_event_and_the_lock() {
    let install = Install::new();
    fs::remove_file(install.bin.path().join("sessiond")).expect("remove");
    install.run().silence();
    assert_eq!(install.home.spooled_payloads().len(), 1);
    let lock = fs::File::open(install.home.layout.start_lock_file()).expect("open");
    lock.try_lock().expect("the lock is free");
}

#[test]
fn command_line_starts_a_worker_as_hooks_do() {
    let install = Install::new();
    let sessiond = install.bin.path().join("sessiond");
    for _ in 0..2 {
        launch::start_detached(&install.home.layout, &sessiond).expect("start");
    }
    let worker = install.worker(1);
    let stdin = fs::read_link(worker.join("fd/0")).expect("a descriptor");
    assert_eq!(stdin, Path::new("/dev/null"));
    assert_eq!(install.starts().len(), 1);
    assert!(install.home.spool_files().is_empty());
}
