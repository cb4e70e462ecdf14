//! A throw-away install: its directory, its settings, and everything that is run in it.
//!
//! Every process that is started here, and all that these start, carries a marker in its
//! environment. The home ends with the test, and the test fails when any of them is still there.

use std::fmt::Display;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use sessiond::instance::Discovery;
use sessiond::wire::layout::Layout;
use tempfile::TempDir;
use uuid::Uuid;

use super::api::Api;
use super::database::Database;
use super::launch::{self, Ran};
use super::process::Process;
use super::wait::{LIMIT, ok_if, wait_until};
use super::worker::Worker;

/// The real binaries.
pub const SESSIOND: &str = env!("CARGO_BIN_EXE_sessiond");
/// See [`SESSIOND`].
pub const HOOK: &str = env!("CARGO_BIN_EXE_sessiond-hook");

/// The variable by which a test finds its own processes.
const MARKER: &str = "SESSIOND_TEST_MARKER";
/// The grace of a test's worker, and some.
const SHIMS_END: Duration = Duration::from_secs(8);
/// Log lines that a failed test shows.
const LOG_TAIL: usize = 60;
/// Enough for a hook on a machine that is busy with other tests. What the hook does at the end of
/// its real deadline is asked for by [`Home::set_hook_deadline_ms`].
const HOOK_DEADLINE_MS: u64 = 20_000;

/// One install.
pub struct Home {
    layout: Layout,
    marker: String,
    settings: Vec<(String, String)>,
    hooks_may_start: bool,
    hook_deadline_ms: Option<u64>,
    /// Last: everything else may look into it while it is dropped.
    dir: TempDir,
}

impl Home {
    /// An empty install whose worker takes any free TCP port and whose hooks start no worker.
    #[expect(clippy::new_without_default, reason = "nothing about it is a default")]
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        Self {
            layout: Layout::at(dir.path().join("home")),
            marker: format!("{MARKER}={}", Uuid::new_v4()),
            settings: vec![("SESSIOND_HTTP_PORT".to_owned(), "0".to_owned())],
            hooks_may_start: false,
            hook_deadline_ms: Some(HOOK_DEADLINE_MS),
            dir,
        }
    }

    /// The same with a setting, for example `("session.idle_unload_ms", 50)`.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Display) -> Self {
        self.set(name, value);
        self
    }

    /// Changes a setting of what is started from now on.
    pub fn set(&mut self, name: &str, value: impl Display) {
        self.unset(name);
        self.settings.push((variable(name), value.to_string()));
    }

    /// Takes a setting back.
    pub fn unset(&mut self, name: &str) {
        let variable = variable(name);
        self.settings.retain(|(known, _)| *known != variable);
    }

    /// Sets any variable for what is started from now on.
    pub fn set_variable(&mut self, name: &str, value: &str) {
        self.settings.push((name.to_owned(), value.to_owned()));
    }

    /// Lets hooks start a worker, as they do outside of tests. [`Home::stop_detached`] ends it.
    pub fn let_hooks_start(&mut self) {
        self.hooks_may_start = true;
    }

    /// Sets the deadline of hooks; `None`: their own.
    pub fn set_hook_deadline_ms(&mut self, deadline_ms: Option<u64>) {
        self.hook_deadline_ms = deadline_ms;
    }

    /// Where things lie.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// A program with this install's environment and nothing of the test's own.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let (marker, value) = self.marker.split_once('=').expect("an assignment");
        command
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", self.dir.path())
            .env("SESSIOND_HOME", self.layout.root())
            .env(marker, value)
            .envs(self.settings.iter().map(|(name, value)| (name, value)))
            .current_dir(self.dir.path());
        command
    }

    /// The hook client of an agent, to be given an environment of its own.
    pub fn hook_command(&self, agent: &str) -> Command {
        let mut command = self.command(HOOK);
        command.args(["--agent", agent]);
        if !self.hooks_may_start {
            command.env("SESSIOND_NO_START", "1");
        }
        if let Some(deadline_ms) = self.hook_deadline_ms {
            command.env("SESSIOND_HOOK_DEADLINE_MS", deadline_ms.to_string());
        }
        command
    }

    /// Fires a hook. Asserts that it exits 0, whatever else.
    #[track_caller]
    pub fn hook(&self, agent: &str, payload: impl AsRef<[u8]>) -> Ran {
        let ran = launch::run(&mut self.hook_command(agent), payload.as_ref(), LIMIT);
        assert_eq!(ran.code(), 0, "a hook exits 0, whatever happens: {ran:?}");
        ran
    }

    /// Runs the command line to its end.
    #[track_caller]
    pub fn cli(&self, args: &[&str]) -> Ran {
        launch::run(self.command(SESSIOND).args(args), b"", LIMIT)
    }

    /// Runs a worker in the foreground, and waits until it is ready.
    #[track_caller]
    pub fn start(&self) -> Worker {
        let mut worker = self.start_unready();
        worker.wait_ready();
        worker
    }

    /// Runs a worker in the foreground, without waiting for anything.
    #[track_caller]
    pub fn start_unready(&self) -> Worker {
        let errors = fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(self.errors_file());
        let child = launch::spawn(
            self.command(SESSIOND)
                .arg("run")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(errors.expect("a file for complaints")),
        );
        Worker::new(child, self.api())
    }

    /// The API of whichever worker runs here.
    pub fn api(&self) -> Api {
        Api::new(self.layout.socket())
    }

    /// The database.
    #[track_caller]
    pub fn database(&self) -> Database {
        Database::open(&self.layout)
    }

    /// What the running worker says of itself.
    pub fn discovery(&self) -> Option<Discovery> {
        Discovery::read(&self.layout)
    }

    /// How many files wait in the spool.
    pub fn spool_files(&self) -> usize {
        fs::read_dir(self.layout.spool_dir()).map_or(0, Iterator::count)
    }

    /// The whole log.
    pub fn log(&self) -> String {
        let Ok(entries) = fs::read_dir(self.layout.log_dir()) else {
            return String::new();
        };
        let mut files: Vec<_> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .collect();
        files.sort();
        files
            .iter()
            .filter_map(|file| fs::read_to_string(file).ok())
            .collect()
    }

    /// Every process of this install that is there: what the test has started, by the marker, and
    /// what the worker has, by its tag.
    pub fn processes(&self) -> Vec<Process> {
        let install = fs::read_to_string(self.layout.install_file()).unwrap_or_default();
        let tag = match install.trim() {
            "" => None,
            install => Some(format!("SESSIOND_TAG={install}:")),
        };
        Process::all_where(|assignment| {
            assignment == self.marker || tag.as_ref().is_some_and(|tag| assignment.starts_with(tag))
        })
    }

    /// Writes the configuration file; the settings of the environment go before it.
    pub fn write_config(&self, text: &str) {
        let file = self.layout.config_file();
        let dir = file.parent().expect("it is in a directory");
        let mut private = fs::DirBuilder::new();
        private
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .expect("a directory");
        fs::write(file, text).expect("a file");
    }

    /// Waits for the worker that a hook has started, and gives it.
    #[track_caller]
    pub fn wait_detached(&self) -> Process {
        wait_until("a worker that a hook started is ready", LIMIT, || {
            ok_if(self.api().is_ready(), self.processes())?;
            let discovery = self.discovery().ok_or_else(Vec::new)?;
            Ok::<_, Vec<Process>>(Process { pid: discovery.pid })
        })
    }

    /// Stops the worker that a hook has started, and waits until nothing of this install is left.
    #[track_caller]
    pub fn stop_detached(&self) {
        self.cli(&["stop"]).text();
        wait_until("every process of the install ends", LIMIT, || {
            let left = self.processes();
            ok_if(left.is_empty(), left)
        });
    }

    fn errors_file(&self) -> std::path::PathBuf {
        self.dir.path().join("worker.stderr")
    }
}

impl Home {
    /// What is left once the shims of a worker that is gone had time to end their trees.
    fn wait_for_shims(&self) -> Vec<Process> {
        let given_up_at = Instant::now() + SHIMS_END;
        loop {
            let left = self.processes();
            // Without a command line it has just ended, or is about to become what it was started as.
            let ends = |process: &Process| {
                let command = process.command_line();
                command.is_empty() || command.contains("sessiond-shim")
            };
            if !left.iter().any(ends) || Instant::now() >= given_up_at {
                return left;
            }
            thread::yield_now();
        }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let survivors = self.wait_for_shims();
        let told: Vec<_> = survivors
            .iter()
            .map(|process| format!("{}: {}", process.pid, process.command_line()))
            .collect();
        for process in &survivors {
            process.signal(Signal::SIGKILL);
        }
        if thread::panicking() {
            let log = self.log();
            let lines: Vec<_> = log.lines().collect();
            let tail = lines[lines.len().saturating_sub(LOG_TAIL)..].join("\n");
            let errors = fs::read_to_string(self.errors_file()).unwrap_or_default();
            eprintln!(
                "-- worker's log, last {LOG_TAIL} lines:\n{tail}\n-- its complaints:\n{errors}"
            );
        } else {
            assert!(
                survivors.is_empty(),
                "processes outlived the test: {told:?}"
            );
        }
    }
}

/// The environment's name of a setting.
fn variable(name: &str) -> String {
    format!("SESSIOND_{}", name.replace('.', "_").to_uppercase())
}
