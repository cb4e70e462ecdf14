//! A supervisor of a measurement's own, and the trees that it starts.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sessiond_supervisor::{Child, Command, Line, ProcessLimits, Settings, SpawnInfo, Supervisor};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

pub(super) const SHIM: &str = env!("CARGO_BIN_EXE_sessiond-shim");
pub(super) const SESSION: &str = "bench";

/// It only guards against hanging.
pub(super) const LIMIT: Duration = Duration::from_secs(60);

/// Between two looks for a tree that is being built, which nothing is measured of.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A usual environment, which every process here has, is 4 KiB of so many variables: a look through
/// all processes reads each one's.
const VARIABLES: usize = 40;
const VARIABLE_BYTES: usize = 100;

/// A supervisor and its directory.
pub(super) struct Stage {
    pub(super) supervisor: Supervisor,
    /// Kept only to be removed.
    _dir: TempDir,
}

impl Stage {
    pub(super) fn new(grace: Duration) -> anyhow::Result<Self> {
        let dir = TempDir::new()?;
        let supervisor = open(dir.path(), "1", grace)?;
        Ok(Self {
            supervisor,
            _dir: dir,
        })
    }

    /// A child that is ready.
    pub(super) async fn spawn(&self, args: &[&str]) -> anyhow::Result<Child> {
        spawn(&self.supervisor, args).await
    }

    /// A child whose tree has so many processes, and their pids, its shim's first.
    pub(super) async fn tree(
        &self,
        args: &[&str],
        processes: usize,
    ) -> anyhow::Result<(Child, Vec<u32>)> {
        tree(&self.supervisor, args, processes).await
    }
}

/// A supervisor with this generation on a directory.
pub(super) fn open(dir: &Path, generation: &str, grace: Duration) -> anyhow::Result<Supervisor> {
    Ok(Supervisor::open(Settings {
        install: install(dir),
        generation: generation.to_owned(),
        registry_dir: registry(dir),
        shim: SHIM.into(),
        grace,
        output_file_max_bytes: 1 << 20,
        children_max: 2_000,
        spawns_per_s_max: u32::MAX,
        on_step: None,
        observer: None,
    })?)
}

/// The install of a directory, and of no other: a sweep ends whatever is of its own.
pub(super) fn install(dir: &Path) -> String {
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    name.trim_start_matches('.').to_owned()
}

/// Where that one has its records.
pub(super) fn registry(dir: &Path) -> PathBuf {
    dir.join("processes")
}

pub(super) async fn spawn(supervisor: &Supervisor, args: &[&str]) -> anyhow::Result<Child> {
    let command = Command {
        program: example("nasty-child")?.into(),
        args: args.iter().map(Into::into).collect(),
        env: environment()
            .map(|(name, value)| (name.into(), value.into()))
            .collect(),
        cwd: "/".into(),
        output_dir: None,
        line_max_bytes: 1 << 10,
        limits: ProcessLimits::default(),
        is_errand: false,
    };
    let mut child = supervisor.spawn(command, supervisor.tag(SESSION)).await?;
    let line = timeout(LIMIT, child.stdout.next()).await?;
    anyhow::ensure!(
        line == Some(Line::Bytes(b"ready".to_vec())),
        "{args:?} said {line:?}"
    );
    Ok(child)
}

pub(super) async fn tree(
    supervisor: &Supervisor,
    args: &[&str],
    processes: usize,
) -> anyhow::Result<(Child, Vec<u32>)> {
    let child = spawn(supervisor, args).await?;
    let tag = child.control.tag().to_string();
    let is_it = |info: &SpawnInfo| info.tag == tag;
    let info = supervisor.list().into_iter().find(is_it);
    let info = info.context("the child is not listed")?;
    // `ready` is the leader's word; those below it may still be on their way.
    let grown = async {
        loop {
            let pids: Vec<u32> = supervisor.tree(&info).iter().map(|one| one.pid).collect();
            if pids.len() > processes {
                return pids;
            }
            sleep(LOOK_EVERY).await;
        }
    };
    let pids = timeout(LIMIT, grown).await;
    Ok((
        child,
        pids.with_context(|| format!("the tree of {args:?}"))?,
    ))
}

pub(super) fn environment() -> impl Iterator<Item = (String, String)> {
    (0..VARIABLES).map(|number| {
        let name = format!("SESSIOND_BENCH_PADDING_{number}");
        let value = "x".repeat(VARIABLE_BYTES - name.len() - 2);
        (name, value)
    })
}

/// A program of the package's examples, which cargo builds beside its others.
pub(super) fn example(name: &str) -> anyhow::Result<PathBuf> {
    let dir = Path::new(SHIM)
        .parent()
        .context("a directory of programs")?;
    let path = dir.join("examples").join(name);
    let is_release = dir.ends_with("release");
    let profile = if is_release { "--release " } else { "" };
    anyhow::ensure!(
        path.is_file(),
        "{name} is not built: cargo build {profile}-p sessiond --examples"
    );
    Ok(path)
}

/// A thousand children have more descriptors than many shells allow; the worker does the same.
pub(super) fn raise_descriptor_limit() -> anyhow::Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let current = maximum;
    Ok(setrlimit(Resource::Nofile, Rlimit { current, maximum })?)
}
