//! The process that dies: a real supervisor with trees, and nothing else of a worker.
//!
//! Its plan comes as its argument. It says `stands` once all its trees stand. It ends with its
//! standard input, in order, unless it was killed before.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use futures::future::join_all;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use sessiond_supervisor::{
    Child, Command, Line, ProcessLimits, Settings, Step, StepHook, Supervisor,
};
use tokio::io::AsyncReadExt;

/// The session of all trees.
pub(super) const SESSION: &str = "crash";

/// What the process is to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Plan {
    pub(super) install: String,
    pub(super) generation: String,
    pub(super) registry_dir: PathBuf,
    pub(super) shim: PathBuf,
    pub(super) grace_ms: u64,
    pub(super) task: Task,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Task {
    /// Starts trees.
    Spawn {
        /// Program and arguments of each.
        trees: Vec<Vec<String>>,
        /// Whether they are all started at once, or one after the other.
        is_at_once: bool,
        death: Option<Death>,
        /// Whether it ends them and starts anew, for ever.
        is_restless: bool,
    },
    /// Sweeps.
    Sweep,
}

/// SIGKILL at one step.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Death {
    /// Index into [`Step::ALL`].
    pub(super) step: usize,
    /// Of the spawns that come to it, the how-manieth dies, counted from 0.
    pub(super) passed: u64,
    /// Whether it kills its shims first.
    pub(super) with_shims: bool,
}

impl Task {
    /// Whether it waits for the end of its input, and ends everything then.
    fn ends_in_order(&self) -> bool {
        match self {
            Self::Spawn {
                death, is_restless, ..
            } => death.is_none() && !is_restless,
            Self::Sweep => true,
        }
    }
}

impl Plan {
    /// As the supervisor has it.
    pub(super) fn settings(&self) -> Settings {
        Settings {
            install: self.install.clone(),
            generation: self.generation.clone(),
            registry_dir: self.registry_dir.clone(),
            shim: self.shim.clone(),
            grace: Duration::from_millis(self.grace_ms),
            output_file_max_bytes: 1 << 20,
            children_max: 1000,
            spawns_per_s_max: u32::MAX,
            on_step: None,
            observer: None,
        }
    }
}

/// Does what the plan says.
pub(crate) fn main(plan: &str) -> anyhow::Result<ExitCode> {
    let plan: Plan = serde_json::from_str(plan).context("read the plan")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("start a runtime")?;
    runtime.block_on(async {
        if plan.task.ends_in_order() {
            work(plan).await?;
        } else {
            tokio::select! {
                done = work(plan) => done?,
                ended = input_end() => ended?,
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

async fn work(plan: Plan) -> anyhow::Result<()> {
    let mut settings = plan.settings();
    let ends_in_order = plan.task.ends_in_order();
    match plan.task {
        Task::Sweep => {
            let supervisor = Supervisor::open(settings)?;
            let sweep = supervisor.sweep().await;
            println!("stands");
            sweep.finished().await;
            input_end().await?;
        }
        Task::Spawn {
            trees,
            is_at_once,
            death,
            is_restless,
        } => {
            settings.on_step = death.map(Death::hook);
            let supervisor = Supervisor::open(settings)?;
            loop {
                let standing = start_all(&supervisor, &trees, is_at_once).await?;
                println!("stands");
                if ends_in_order {
                    input_end().await?;
                }
                supervisor.reap(SESSION).await;
                drop(standing);
                if !is_restless {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

async fn start_all(
    supervisor: &Supervisor,
    trees: &[Vec<String>],
    is_at_once: bool,
) -> anyhow::Result<Vec<Child>> {
    let starts = trees.iter().map(|tree| start(supervisor, tree));
    if is_at_once {
        return join_all(starts).await.into_iter().collect();
    }
    let mut started = Vec::new();
    for start in starts {
        started.push(start.await?);
    }
    Ok(started)
}

/// Starts a tree and waits until it stands, or has told all it will.
async fn start(supervisor: &Supervisor, tree: &[String]) -> anyhow::Result<Child> {
    let (program, args) = tree.split_first().context("a tree without a program")?;
    let command = Command {
        program: program.into(),
        args: args.iter().map(Into::into).collect(),
        env: vec![("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into())],
        cwd: PathBuf::from("/"),
        output_dir: None,
        line_max_bytes: 1 << 16,
        limits: ProcessLimits::default(),
        is_errand: false,
    };
    let tag = supervisor.tag(SESSION);
    let mut child = supervisor.spawn(command, tag).await?;
    while let Some(line) = child.stdout.next().await {
        if line == Line::Bytes(b"ready".to_vec()) {
            break;
        }
    }
    Ok(child)
}

async fn input_end() -> io::Result<()> {
    tokio::io::stdin().read_to_end(&mut Vec::new()).await?;
    Ok(())
}

impl Death {
    fn hook(self) -> StepHook {
        let left = AtomicU64::new(self.passed);
        StepHook::new(move |step, _tag| {
            if step != Step::ALL[self.step] {
                return;
            }
            // The one that finds none left to let pass dies.
            let passes = |left: u64| left.checked_sub(1);
            if left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, passes)
                .is_err()
            {
                self.die();
            }
        })
    }

    fn die(self) {
        if self.with_shims {
            for child in own_children() {
                kill(child, Signal::SIGKILL).ok();
            }
        }
        kill(Pid::this(), Signal::SIGKILL).ok();
        // The signal is there when the call returns, so nothing of this process goes on.
    }
}

/// This process's children, which are shims.
fn own_children() -> Vec<Pid> {
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten();
    let lists = threads.filter_map(|thread| {
        let path = thread.ok()?.path().join("children");
        fs::read_to_string(path).ok()
    });
    lists
        .flat_map(|list| {
            let pids = list.split_whitespace().filter_map(|pid| pid.parse().ok());
            pids.map(Pid::from_raw).collect::<Vec<_>>()
        })
        .collect()
}
