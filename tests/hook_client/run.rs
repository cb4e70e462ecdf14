//! Runs the hook client in a home of its own, and reads what it left there.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use sessiond::spool::reader::Piece;
use sessiond::spool::{Entry, Frame, SpoolFile};
use sessiond::wire::layout::Layout;

/// How long anything is waited for on a loaded machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

pub(crate) const HOOK: &str = env!("CARGO_BIN_EXE_sessiond-hook");

/// A payload as agents send them, of a session of its own.
pub(crate) fn payload(session: &str, event: &str) -> Vec<u8> {
    format!(r#"{{"session_id":"{session}","cwd":"/","hook_event_name":"{event}"}}"#).into_bytes()
}

/// An install in a throw-away directory.
pub(crate) struct Home {
    pub(crate) layout: Layout,
    _dir: tempfile::TempDir,
}

impl Home {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        Self {
            layout: Layout::at(dir.path().join("home")),
            _dir: dir,
        }
    }

    /// One whose socket has a path that no socket address holds.
    pub(crate) fn with_long_path() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let layout = Layout::at(dir.path().join("h".repeat(200)));
        Self { layout, _dir: dir }
    }

    /// The hook client, which will not start a worker.
    pub(crate) fn hook(&self) -> Command {
        self.starting_hook(HOOK.as_ref(), false)
    }

    /// The hook client at `path`.
    pub(crate) fn starting_hook(&self, path: &Path, may_start: bool) -> Command {
        let mut command = Command::new(path);
        command.env_clear().env("SESSIOND_HOME", self.layout.root());
        if !may_start {
            command.env("SESSIOND_NO_START", "1");
        }
        command
    }

    pub(crate) fn create_root(&self) {
        fs::create_dir_all(self.layout.root()).expect("create");
    }

    pub(crate) fn spool_files(&self) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.layout.spool_dir()) else {
            return Vec::new();
        };
        let mut files: Vec<_> = entries.map(|entry| entry.expect("entry").path()).collect();
        files.sort();
        files
    }

    /// Reads the spool as the worker does, and so empties it.
    pub(crate) fn take_spooled(&self) -> Vec<Frame> {
        let mut frames = Vec::new();
        for path in self.spool_files() {
            let mut file = SpoolFile::open(&path).expect("open");
            while let Piece::Entries(entries) = file.next_piece().expect("a piece") {
                frames.extend(entries.into_iter().map(|(_, entry)| match entry {
                    Entry::Frame(frame) => frame,
                    damage => panic!("damage in {}: {damage:?}", path.display()),
                }));
            }
        }
        frames
    }

    pub(crate) fn spooled_payloads(&self) -> Vec<Vec<u8>> {
        let frames = self.take_spooled().into_iter();
        frames.map(|frame| frame.payload).collect()
    }
}

/// What a hook gets on its standard input.
pub(crate) enum Input<'a> {
    /// These bytes and the end.
    Whole(&'a [u8]),
    /// These bytes, and no end while the hook runs.
    Open(&'a [u8]),
}

/// How a hook ended.
pub(crate) struct Ran {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) took: Duration,
}

impl Ran {
    /// Asserts what holds for every hook, and gives what it said to the agent.
    pub(crate) fn output(self) -> String {
        assert!(self.status.success(), "{}", self.status);
        String::from_utf8(self.stdout).expect("text")
    }

    /// Asserts that the hook said nothing either, and gives how long it took.
    pub(crate) fn silence(self) -> Duration {
        let took = self.took;
        assert_eq!(self.output(), "");
        took
    }
}

/// Runs a hook to its end, and until nobody holds its output any more.
pub(crate) fn run(command: &mut Command, input: Input<'_>) -> Ran {
    let started = Instant::now();
    let mut child = start(command);
    let mut stdin = child.stdin.take().expect("stdin");
    let (Input::Whole(bytes) | Input::Open(bytes)) = input;
    // The hook may leave before it has read everything.
    stdin.write_all(bytes).ok();
    let kept_open = matches!(input, Input::Open(_)).then_some(stdin);
    let mut out = child.stdout.take().expect("stdout");
    let stdout = thread::spawn(move || {
        let mut bytes = Vec::new();
        out.read_to_end(&mut bytes).map(|_| bytes)
    });
    let status = wait_for("the end of the hook", || child.try_wait().expect("wait"));
    let stdout = stdout.join().expect("the reader").expect("read");
    let mut stderr = String::new();
    let mut err = child.stderr.take().expect("stderr");
    err.read_to_string(&mut stderr).expect("read");
    drop(kept_open);
    assert_eq!(stderr, "");
    Ran {
        status,
        stdout,
        took: started.elapsed(),
    }
}

/// Runs the hook on a whole payload.
pub(crate) fn run_on(home: &Home, payload: &[u8]) -> Ran {
    run(&mut home.hook(), Input::Whole(payload))
}

#[expect(
    clippy::disallowed_methods,
    reason = "a hook's parent is an agent, not the worker"
)]
pub(crate) fn start(command: &mut Command) -> Child {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start the hook")
}

/// Polls until `condition` gives something.
#[expect(
    clippy::disallowed_methods,
    reason = "the pause between two looks; the condition decides"
)]
pub(crate) fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + LIMIT;
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(Instant::now() < until, "waited too long for {what}");
        thread::sleep(Duration::from_millis(1));
    }
}
