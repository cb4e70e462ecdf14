//! What the parts share: a real supervisor with a runtime, pids to choose from, and a look at who
//! was hit.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sessiond_supervisor::{Child, Command, Line, ProcessLimits, Settings, Supervisor};
use tokio::runtime::{self, Runtime};

use super::Counts;
use super::placed::Placed;
use crate::check::{self, Found};
use crate::options::Programs;
use crate::random::Chance;

/// The install of all tags here.
pub(super) const INSTALL: &str = "reuse-install";
/// The generation that runs.
pub(super) const GENERATION: &str = "2";
/// The one before it, whose traces are swept.
pub(super) const EARLIER: &str = "1";
/// The session of all trees here.
pub(super) const SESSION: &str = "session";
/// Whatever the supervisor starts here carries it; there is one run in a pid namespace.
const MARKER: &str = "reuse-torture";

/// Short, since most trees here take all of it.
pub(super) const GRACE: Duration = Duration::from_millis(30);
/// Only guards against hanging.
pub(super) const LIMIT: Duration = Duration::from_secs(60);

pub(super) struct Stage {
    pub(super) supervisor: Supervisor,
    pub(super) registry_dir: PathBuf,
    pub(super) runtime: Runtime,
    pub(super) chance: Chance,
    /// What may be asked for: far above what the kernel gives out by itself here.
    pids: std::ops::Range<u32>,
    nasty_child: PathBuf,
    dir: PathBuf,
}

/// The programs that are used, found before the namespace is entered.
pub(super) struct Means {
    shim: PathBuf,
    nasty_child: PathBuf,
}

impl Means {
    pub(super) fn find(programs: &Programs) -> anyhow::Result<Self> {
        Ok(Self {
            shim: programs.shim()?,
            nasty_child: programs.nasty_child()?,
        })
    }
}

impl Stage {
    pub(super) fn new(dir: &Path, means: Means, chance: Chance) -> Self {
        let registry_dir = dir.join("registry");
        let settings = Settings {
            install: INSTALL.to_owned(),
            generation: GENERATION.to_owned(),
            registry_dir: registry_dir.clone(),
            shim: means.shim,
            grace: GRACE,
            output_file_max_bytes: 1 << 20,
            children_max: 1000,
            spawns_per_s_max: u32::MAX,
            on_step: None,
            observer: None,
        };
        let pid_max = fs::read_to_string("/proc/sys/kernel/pid_max");
        let pid_max = pid_max.ok().and_then(|text| text.trim().parse().ok());
        let pid_max = pid_max.unwrap_or(1 << 15);
        Self {
            supervisor: Supervisor::open(settings).expect("a supervisor"),
            registry_dir,
            runtime: runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .expect("a runtime"),
            chance,
            pids: pid_max / 2..pid_max,
            nasty_child: means.nasty_child,
            dir: dir.to_owned(),
        }
    }

    /// A process on some pid.
    pub(super) fn place_anywhere(&mut self) -> Placed {
        loop {
            let span = u64::from(self.pids.end - self.pids.start);
            let offset = u32::try_from(self.chance.below(span)).expect("a pid");
            match Placed::on(self.pids.start + offset) {
                Ok(placed) => return placed,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => panic!("put a process on a pid: {error}"),
            }
        }
    }

    /// Starts a program under the supervisor.
    pub(super) async fn spawn(&self, program: &Path, args: &[&str]) -> Child {
        let command = Command {
            program: program.into(),
            args: args.iter().map(Into::into).collect(),
            env: vec![
                ("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into()),
                ("MARKER".into(), MARKER.into()),
            ],
            cwd: self.dir.clone(),
            output_dir: None,
            line_max_bytes: 1 << 16,
            limits: ProcessLimits::default(),
            is_errand: false,
        };
        let tag = self.supervisor.tag(SESSION);
        let child = self.supervisor.spawn(command, tag).await;
        child.expect("a child starts")
    }

    /// Starts `nasty-child` under the supervisor.
    pub(super) async fn spawn_nasty(&self, args: &[&str]) -> Child {
        self.spawn(&self.nasty_child, args).await
    }

    /// What lives of all that the supervisor has started.
    pub(super) fn living(&self) -> Vec<Found> {
        check::living(MARKER)
    }
}

/// Waits until the tree stands.
pub(super) async fn ready(mut child: Child) -> Child {
    match child.stdout.next().await {
        Some(Line::Bytes(line)) if line == b"ready" => child,
        other => panic!("not ready but {other:?}"),
    }
}

/// Counts whom of `canaries` anything has reached.
pub(super) fn look_at(canaries: &[Placed], when: &str, counts: &mut Counts) {
    for hit in canaries.iter().filter_map(Placed::hit) {
        counts.wrong(format!("{when}: {hit}"));
    }
}
