//! The command line, and where the programs are that it needs.

use std::env;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::{Args, Parser, Subcommand};
use uuid::Uuid;

/// Ends trees that do not want to end, and counts who is left and who else was hit.
#[derive(Debug, Parser)]
#[command(name = "torture")]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) what: What,
}

#[derive(Debug, Subcommand)]
pub(crate) enum What {
    /// Names the cases of `run`.
    List,
    /// One tree after the other is started, ended and looked for.
    Run(Box<Run>),
    /// Kills workers and shims at exactly one step, and counts what is left.
    Crash(Crash),
    /// What dies in `crash`.
    #[command(hide = true)]
    CrashWorker {
        /// What it is to do.
        plan: String,
    },
    /// Gives pids again the moment they are free, and counts wrong signals.
    Reuse(Reuse),
}

/// How many crashes.
#[derive(Clone, Debug, Args)]
pub(crate) struct Crash {
    #[command(flatten)]
    pub(crate) amount: Amount,
    /// Becomes this user first, as root; programs are put where it may run them.
    #[arg(long, value_name = "UID")]
    pub(crate) as_user: Option<u32>,
    #[command(flatten)]
    pub(crate) programs: Programs,
}

/// How many pids.
#[derive(Clone, Debug, Args)]
pub(crate) struct Reuse {
    #[command(flatten)]
    pub(crate) amount: Amount,
    #[command(flatten)]
    pub(crate) programs: Programs,
}

/// How much is done.
#[derive(Clone, Debug, Args)]
pub(crate) struct Amount {
    /// Crashes, of which each kind comes up once in 25, or pids that are given again.
    #[arg(long, default_value_t = 1000)]
    pub(crate) rounds: u64,
    /// Goes on for so long, and until the rounds are done.
    #[arg(long, value_name = "N", default_value_t = 0)]
    minutes: u64,
    /// Replays the choices of a run; printed when it is not given.
    #[arg(long)]
    seed: Option<u64>,
}

impl Amount {
    /// The seed that was asked for, or one of its own; it is printed.
    pub(crate) fn seed(&self) -> u64 {
        let seed = self.seed.unwrap_or_else(|| Uuid::new_v4().as_u64_pair().0);
        println!("seed {seed}");
        seed
    }

    /// How long it goes on.
    pub(crate) fn time(&self) -> Duration {
        Duration::from_secs(60 * self.minutes)
    }

    /// What is the same for another user.
    pub(crate) fn shared_args(&self) -> Vec<String> {
        let mut args = vec![
            format!("--rounds={}", self.rounds),
            format!("--minutes={}", self.minutes),
        ];
        args.extend(self.seed.map(|seed| format!("--seed={seed}")));
        args
    }
}

/// Which trees, how often, and by which means.
#[derive(Clone, Debug, Args)]
pub(crate) struct Run {
    /// The cases; none: all that the means can play.
    pub(crate) cases: Vec<String>,
    /// How trees are started and ended.
    #[arg(long, default_value = "sessiond")]
    pub(crate) means: String,
    /// Rounds of each case, instead of as many as its cost allows.
    #[arg(long)]
    pub(crate) rounds: Option<u64>,
    /// A few rounds of each, and smaller sizes.
    #[arg(long)]
    pub(crate) short: bool,
    /// Chooses the order of the cases; printed when it is not given.
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// From SIGTERM to SIGKILL.
    #[arg(long, default_value_t = 100)]
    pub(crate) grace_ms: u64,
    /// One JSON object a line and case, instead of the table.
    #[arg(long)]
    pub(crate) json: bool,
    /// Plays all again and again in random order, for so long and until each case has had its
    /// rounds, or something is wrong.
    #[arg(long, value_name = "N", conflicts_with_all = ["rounds", "short"])]
    pub(crate) minutes: Option<u64>,
    /// Becomes this user first, as root; programs are put where it may run them.
    #[arg(long, value_name = "UID")]
    pub(crate) as_user: Option<u32>,
    #[command(flatten)]
    pub(crate) programs: Programs,
}

impl Run {
    /// What is the same for another user.
    pub(crate) fn shared_args(&self) -> Vec<String> {
        let mut args = self.cases.clone();
        let mut option = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                args.extend([name.to_owned(), value]);
            }
        };
        option("--means", Some(self.means.clone()));
        option("--grace-ms", Some(self.grace_ms.to_string()));
        option("--rounds", self.rounds.map(|rounds| rounds.to_string()));
        option("--seed", self.seed.map(|seed| seed.to_string()));
        option("--minutes", self.minutes.map(|minutes| minutes.to_string()));
        let flags = [("--short", self.short), ("--json", self.json)];
        let set = flags.into_iter().filter(|(_, is_set)| *is_set);
        args.extend(set.map(|(flag, _)| flag.to_owned()));
        args
    }

    pub(crate) fn grace(&self) -> Duration {
        Duration::from_millis(self.grace_ms)
    }
}

/// Programs that are needed; those that are not given lie beside this one, as cargo builds them.
#[derive(Clone, Debug, Args)]
pub(crate) struct Programs {
    /// The program that misbehaves.
    #[arg(long, value_name = "PATH")]
    nasty_child: Option<PathBuf>,
    /// The shim.
    #[arg(long, value_name = "PATH")]
    shim: Option<PathBuf>,
    /// The hook client.
    #[arg(long, value_name = "PATH")]
    hook: Option<PathBuf>,
    /// A copy of `nasty-child` with another user's set-user-id bit.
    #[arg(long, value_name = "PATH")]
    pub(crate) setuid_program: Option<PathBuf>,
}

impl Programs {
    /// `nasty-child`.
    pub(crate) fn nasty_child(&self) -> anyhow::Result<PathBuf> {
        find(self.nasty_child.as_deref(), "nasty-child")
    }

    /// `sessiond-shim`.
    pub(crate) fn shim(&self) -> anyhow::Result<PathBuf> {
        find(self.shim.as_deref(), "sessiond-shim")
    }

    /// `sessiond-hook`.
    pub(crate) fn hook(&self) -> anyhow::Result<PathBuf> {
        find(self.hook.as_deref(), "sessiond-hook")
    }

    /// `sessiond`, if it lies beside this program.
    pub(crate) fn worker(&self) -> Option<PathBuf> {
        find(None, "sessiond").ok()
    }
}

fn find(given: Option<&Path>, name: &str) -> anyhow::Result<PathBuf> {
    let found = match given {
        Some(path) => path.to_owned(),
        None => {
            // An example lies in `examples/` below the programs of its package.
            let own = env::current_exe().context("find this program")?;
            let dirs = own.ancestors().skip(1).take(2);
            let mut found = dirs.map(|dir| dir.join(name));
            let found = found.find(|path| path.is_file());
            found.with_context(|| format!("{name} is not beside {}", own.display()))?
        }
    };
    ensure!(found.is_file(), "{} is no file", found.display());
    // It is run from other directories than this one.
    found
        .canonicalize()
        .with_context(|| format!("find {}", found.display()))
}
