//! A supervisor of a test's own, with everything that it starts.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::Signal;
use sessiond_supervisor::{Child, Command, Line, ProcessLimits, Settings, SpawnRecord, Supervisor};
use tempfile::TempDir;
use tokio::runtime::{self, Runtime};
use uuid::Uuid;

use crate::support::stranger::{become_stranger, lend};
use crate::support::wait::ok_if;
use crate::support::{LIMIT, Process, wait_until};

pub(super) const SHIM: &str = env!("CARGO_BIN_EXE_sessiond-shim");
pub(super) const SESSION: &str = "session-1";
/// Long enough to tell what ends within it from what needs killing, on a busy machine too.
pub(super) const GRACE: Duration = Duration::from_millis(700);
const MARKER: &str = "SESSIOND_TEST_MARKER";
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// What a stray runs: it ends only by SIGKILL.
const STUBBORN: &str = "trap '' TERM; : > \"$READY\"; while :; do sleep 1000; done";

/// An install of the test's own. Whatever carries its marker must be gone when it is dropped.
pub(super) struct Bench {
    pub(super) supervisor: Supervisor,
    pub(super) settings: Settings,
    runtime: Option<Runtime>,
    marker: String,
    pub(super) dir: TempDir,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::with(|_| ())
    }

    pub(super) fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut settings = Settings {
            install: Uuid::new_v4().to_string(),
            generation: "2".to_owned(),
            registry_dir: dir.path().join("registry"),
            shim: SHIM.into(),
            grace: GRACE,
            output_file_max_bytes: 1 << 20,
            children_max: 1000,
            spawns_per_s_max: u32::MAX,
            on_step: None,
            observer: None,
        };
        change(&mut settings);
        Self {
            supervisor: Supervisor::open(settings.clone()).expect("a supervisor"),
            settings,
            runtime: Some(runtime()),
            marker: Uuid::new_v4().to_string(),
            dir,
        }
    }

    /// The install of another user, whom this whole process becomes: only in one of its own. Before
    /// that `prepare` is given the directory.
    pub(super) fn of_stranger(prepare: impl FnOnce(&Path)) -> Self {
        Self::with(|settings| {
            let dir = settings.registry_dir.parent().expect("a directory");
            prepare(dir);
            settings.shim = lend(Path::new(SHIM), dir.join("shim"));
            fs::create_dir(&settings.registry_dir).expect("a directory");
            become_stranger(&[dir, &settings.registry_dir]);
        })
    }

    /// Runs a test's body, within the limit.
    #[track_caller]
    pub(super) fn run<T>(&self, body: impl Future<Output = T>) -> T {
        let runtime = self.runtime.as_ref().expect("the runtime is there");
        runtime
            .block_on(async { tokio::time::timeout(LIMIT, body).await })
            .expect("the body ends within the limit")
    }

    /// What the death of the worker does to a supervisor: its tasks stop where they are, and its
    /// descriptors close.
    pub(super) fn drop_runtime(&mut self) {
        drop(self.runtime.take());
        self.runtime = Some(runtime());
    }

    /// A shell that runs `script`.
    pub(super) fn shell(&self, script: &str) -> Command {
        Command {
            program: "sh".into(),
            args: vec!["-c".into(), script.into()],
            env: vec![
                ("PATH".into(), PATH.into()),
                (MARKER.into(), self.marker.clone().into()),
            ],
            cwd: self.dir.path().to_owned(),
            output_dir: None,
            line_max_bytes: 1 << 20,
            limits: ProcessLimits::default(),
            is_errand: false,
        }
    }

    /// A running shell, of [`SESSION`].
    pub(super) async fn spawn(&self, script: &str) -> Child {
        self.spawn_for(SESSION, self.shell(script)).await
    }

    pub(super) async fn spawn_for(&self, session: &str, command: Command) -> Child {
        let tag = self.supervisor.tag(session);
        self.supervisor
            .spawn(command, tag)
            .await
            .expect("the child starts")
    }

    /// A process that the supervisor did not start, with a tag. It ends only by SIGKILL.
    pub(super) fn stray(&self, tag: Option<&str>) -> Stray {
        Stray::start(self.dir.path(), &self.marker, tag)
    }

    /// The same in the test's own group, where nobody is ever signalled.
    pub(super) fn stray_of_own_group(&self, tag: &str) -> Stray {
        let own_group = Process {
            pid: std::process::id(),
        }
        .group();
        let own_group = i32::try_from(own_group.expect("a group")).expect("a group's id");
        Stray::start_as(
            self.dir.path(),
            &self.marker,
            Some(tag),
            STUBBORN,
            own_group,
        )
    }

    /// The same with a script of its own, which makes the file `$READY` once all of it stands.
    pub(super) fn stray_running(&self, tag: Option<&str>, script: &str) -> Stray {
        Stray::start_as(self.dir.path(), &self.marker, tag, script, 0)
    }

    /// The records, read as files: opening a registry clears its puts in progress.
    pub(super) fn records(&self) -> Vec<SpawnRecord> {
        let paths = self.record_files().into_iter();
        let texts = paths.filter_map(|name| {
            // One that was removed meanwhile is none.
            fs::read(self.settings.registry_dir.join(name)).ok()
        });
        texts
            .filter_map(|text| serde_json::from_slice(&text).ok())
            .collect()
    }

    /// Everything that was started here and lives.
    pub(super) fn processes(&self) -> Vec<Process> {
        let mut found = Process::all_with(&format!("{MARKER}={}", self.marker));
        found.retain(|process| process.is_alive());
        found
    }

    /// Waits until no process is left.
    #[track_caller]
    pub(super) fn wait_gone(&self) {
        wait_until("no process is left", LIMIT, || {
            let processes = self.processes();
            ok_if(processes.is_empty(), processes)
        });
    }

    /// Waits until no process and no record is left.
    #[track_caller]
    pub(super) fn wait_clean(&self) {
        wait_until("no process and no record is left", LIMIT, || {
            let (processes, records) = (self.processes(), self.record_files());
            let is_clean = processes.is_empty() && records.is_empty();
            ok_if(is_clean, (processes, records))
        });
    }

    /// The names of all files in the registry.
    pub(super) fn record_files(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.settings.registry_dir).expect("the registry");
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        names.collect()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        drop(self.runtime.take());
        let survivors = self.processes();
        let told: Vec<_> = survivors
            .iter()
            .map(|process| format!("{}: {}", process.pid, process.command_line()))
            .collect();
        for process in survivors {
            process.signal(Signal::SIGKILL);
        }
        if !std::thread::panicking() {
            assert!(told.is_empty(), "these live on: {told:?}");
        }
    }
}

fn runtime() -> Runtime {
    runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
}

/// A process without a shim, which is killed when it is dropped.
pub(super) struct Stray {
    child: std::process::Child,
    pub(super) process: Process,
}

impl Stray {
    fn start(dir: &Path, marker: &str, tag: Option<&str>) -> Self {
        let stray = Self::start_as(dir, marker, tag, STUBBORN, 0);
        let of_it = format!("READY={}", stray.ready());
        wait_until("its sleep has become one", LIMIT, || {
            let all = Process::all_with(&of_it);
            let is_sleep = |process: &Process| process.command_line().starts_with("sleep");
            ok_if(all.iter().any(is_sleep), all)
        });
        stray
    }

    /// `group`: 0 for one of its own.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is about processes that no supervisor started"
    )]
    fn start_as(dir: &Path, marker: &str, tag: Option<&str>, script: &str, group: i32) -> Self {
        let ready = dir.join(format!("ready-{}", Uuid::new_v4()));
        let mut command = std::process::Command::new("sh");
        command
            .args(["-c", script])
            .env_clear()
            .env("PATH", PATH)
            .env(MARKER, marker)
            .env("READY", &ready)
            .process_group(group)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        if let Some(tag) = tag {
            command.env("SESSIOND_TAG", tag);
        }
        let child = command.spawn().expect("start a shell");
        wait_until("the stray stands", LIMIT, || {
            ok_if(ready.exists(), "not yet")
        });
        let process = Process { pid: child.id() };
        Self { child, process }
    }
}

impl Drop for Stray {
    fn drop(&mut self) {
        // Its sleep too, which has the same marker; both fail only for what has ended.
        for process in Process::all_with(&format!("READY={}", self.ready())) {
            process.signal(Signal::SIGKILL);
        }
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Stray {
    /// The file that it made; also the beginning of the names of others.
    pub(super) fn ready(&self) -> String {
        let environment = self.process.environment();
        let found = environment
            .iter()
            .find_map(|assignment| assignment.strip_prefix("READY="));
        found.unwrap_or_default().to_owned()
    }
}

/// The next line, which is there.
pub(super) async fn line(child: &mut Child) -> String {
    match child.stdout.next().await {
        Some(Line::Bytes(bytes)) => String::from_utf8(bytes).expect("a line of text"),
        other => panic!("no line but {other:?}"),
    }
}
