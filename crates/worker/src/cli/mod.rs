//! The command line: what can be asked, and what the exit code says.
//!
//! Modules in reading order: `client` (talks to the worker), `worker` (run, start, status), `stop`,
//! `sessions`, `messages`, `results`, `clients`, `watch` (with `told`, how an event reads), `doctor`, `fix`
//! (what the doctor mends), `worktree` and `worktree_hook`,
//! `processes` and `spawns` (how processes, programs and what they cost look), `logs`, `table` (how things look), `pages` (long lists), `pipe` (what a closed one does).

mod client;
mod clients;
mod doctor;
mod fix;
mod logs;
mod messages;
mod pages;
mod pipe;
mod processes;
mod results;
mod sessions;
mod spawns;
mod stop;
mod table;
mod told;
mod watch;
mod worker;
mod worktree;
mod worktree_hook;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{CommandFactory, Parser, Subcommand};
use serde_json::json;

use crate::agents::Projects;
use crate::config::Config;
use crate::errors::chain;
use crate::occupant::Occupant;
use crate::wire::layout::Layout;

/// Exit codes, shown by `--help`.
const EXIT_CODES: &str = "\
Exit codes: 0 done; 1 failed; 2 wrong usage; 3 no worker is running, or it is starting or
stopping; 4 no such session, message, client, output, checkpoint or worktree; 10 the doctor
says degraded; 11 the doctor says failing.

All state lies in SESSIOND_HOME, else in $XDG_STATE_HOME/sessiond (~/.local/state/sessiond).";

#[derive(Parser)]
#[command(
    name = "sessiond",
    version,
    about = "The durable background worker behind coding-agent hook scripts",
    after_help = EXIT_CODES
)]
struct Cli {
    /// Print JSON instead of tables.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the worker in the foreground.
    Run,
    /// Run the worker for a hook or `start`: waits for a predecessor that is stopping.
    #[command(hide = true)]
    Launch,
    /// Start the worker in the background, detached from this terminal.
    Start,
    /// Stop the worker; what is not done is on disk.
    Stop,
    /// Say whether the worker runs and whether it is at work.
    Status {
        /// Wait until nothing is pending, at most so many seconds.
        #[arg(long, value_name = "SECONDS")]
        wait_idle: Option<u64>,
    },
    /// Examine the worker and say what is wrong and what to do.
    Doctor {
        /// Check the database's integrity and recount every counter. Slow on a large store.
        #[arg(long)]
        deep: bool,
        /// Show what can be mended of processes and their records (strays, stale records), and mend
        /// it once you have agreed. The exit code tells what the doctor says afterwards.
        #[arg(long)]
        fix: bool,
        /// Mend it without asking.
        #[arg(long, requires = "fix")]
        yes: bool,
    },
    /// Print the worker's log.
    Logs {
        /// Lines from the end.
        #[arg(short = 'n', long, default_value_t = 50)]
        lines: usize,
    },
    /// List sessions, last active first.
    Sessions(sessions::SessionsArgs),
    /// Show one session, its programs' output or its checkpoint; restart or close it.
    #[command(subcommand)]
    Session(sessions::SessionCommand),
    /// List messages; show or cancel one.
    Messages(messages::MessagesArgs),
    /// Dead letters: list, redrive or purge them.
    #[command(subcommand)]
    Dead(messages::DeadCommand),
    /// Show what was made of a session's messages.
    Results(results::ResultsArgs),
    /// Find results.
    Search(results::SearchArgs),
    /// Show what the next session of a project is told at its start.
    Context {
        /// The project: its root, or any directory in it when it is a git repository.
        #[arg(long, default_value = ".")]
        project: String,
    },
    /// Show what happens, as it happens. Ends with Ctrl-C.
    Watch(watch::WatchArgs),
    /// Delete a session with all its rows.
    Purge {
        /// Its id, or AGENT:KEY.
        #[arg(value_parser = sessions::session_name)]
        session: String,
    },
    /// Git worktrees of sessions: add, list, remove or prune them; answer an agent's hooks.
    #[command(subcommand)]
    Worktree(worktree::WorktreeCommand),
    /// Hand an event on standard input over, like `sessiond-hook`.
    Hook {
        /// The agent whose event it is.
        #[arg(long, default_value = "claude-code")]
        agent: String,
    },
    /// List clients: registered processes, HTTP and MCP sessions.
    Clients(clients::ClientsArgs),
    /// Show or remove one client.
    #[command(subcommand)]
    Client(clients::ClientCommand),
    /// Show the configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Print the commented defaults.
    Default,
    /// Print where the configuration and the state lie.
    Path,
    /// Check the configuration in force, its programs and the home.
    Check,
}

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
enum CliError {
    /// Nobody answers at the socket.
    #[error("no worker is running; start it with: sessiond start")]
    NotRunning,
    /// Nobody answers, and nobody can be started.
    #[error("no worker can start: {0}")]
    Unfit(String),
    /// Nobody answers yet, or any more.
    #[error("{}{}", .0, after(.0))]
    NotServing(Occupant),
    /// Somebody has the home and maybe takes the connection, and nothing more.
    #[error(
        "process {holder} serves but does not answer; if it stays so, end it with: kill -9 {holder}; \
         nothing accepted is lost"
    )]
    NotAnswering {
        /// The worker's process id.
        holder: String,
    },
    /// The worker refused.
    #[error("{message}")]
    Refused {
        /// Its code.
        code: String,
        /// Its words.
        message: String,
    },
    /// Anything else.
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

impl CliError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::NotRunning | Self::Unfit(_) | Self::NotServing(_) => 3,
            Self::Refused { code, .. } if code.starts_with("unknown_") => 4,
            // What was typed is what the worker was asked.
            Self::Refused { code, .. } if ["invalid_field", "invalid_query"].contains(&&**code) => {
                2
            }
            Self::NotAnswering { .. } | Self::Refused { .. } | Self::Other(_) => 1,
        }
    }
}

/// What comes after one that does not serve.
fn after(occupant: &Occupant) -> &'static str {
    if occupant.is_coming() {
        "; ask again in a moment"
    } else {
        "; the next hook, or `sessiond start`, starts the next one"
    }
}

/// What every command works with.
struct Global {
    layout: Layout,
    json: bool,
}

impl Global {
    fn config(&self) -> Result<Config, CliError> {
        let file = self.layout.config_file();
        Ok(Config::load(file, Config::variables()).map_err(anyhow::Error::new)?)
    }
}

/// A project as the worker names it: its root, when `path` lies in one.
fn project(path: &str) -> Result<String, CliError> {
    // The worker has another working directory; a project is named by its whole path.
    let path = std::path::absolute(path).context("find the current directory")?;
    let path = std::fs::canonicalize(&path).unwrap_or(path);
    Ok(Projects::default().of(&path.to_string_lossy()))
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let outcome = match worker::hook_arguments(std::env::args_os()) {
        // Not read here: a usage error's exit code would cost the agent its turn.
        Some(arguments) => worker::hook(arguments),
        None => dispatch(Cli::parse()),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("sessiond: {}", chain(&error));
            ExitCode::from(error.exit_code())
        }
    }
}

fn dispatch(cli: Cli) -> Result<ExitCode, CliError> {
    if !matches!(cli.command, Command::Run | Command::Launch) {
        pipe::end_with_the_reader();
    }
    if let Some(home) = std::env::var_os("SESSIOND_HOME").map(PathBuf::from)
        && home.is_relative()
        && !home.as_os_str().is_empty()
    {
        let home = home.display();
        return Err(
            anyhow::anyhow!("use SESSIOND_HOME={home}: it must be an absolute path").into(),
        );
    }
    let layout = Layout::from_env(|name| std::env::var_os(name)).ok_or_else(|| {
        anyhow::anyhow!("find the home: set SESSIOND_HOME or HOME to an absolute path")
    })?;
    let global = Global {
        layout,
        json: cli.json,
    };
    match cli.command {
        Command::Run => return worker::run(&global, false),
        Command::Launch => return worker::run(&global, true),
        Command::Hook { agent } => {
            return worker::hook(["--agent".into(), agent.into()]);
        }
        Command::Logs { lines } => logs::print(&global.layout, lines)?,
        Command::Config(command) => config(&global, &command)?,
        Command::Completions { shell } => {
            let mut command = Cli::command();
            clap_complete::generate(shell, &mut command, "sessiond", &mut std::io::stdout());
        }
        command => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(anyhow::Error::new)?;
            return runtime.block_on(ask(&global, command));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The commands that talk to the worker.
async fn ask(global: &Global, command: Command) -> Result<ExitCode, CliError> {
    match command {
        Command::Start => worker::start(global).await?,
        Command::Stop => stop::stop(global).await?,
        Command::Status { wait_idle } => worker::status(global, wait_idle).await?,
        Command::Doctor {
            deep,
            fix: true,
            yes,
            ..
        } => return fix::fix(global, deep, yes).await,
        Command::Doctor { deep, .. } => return doctor::doctor(global, deep).await,
        Command::Sessions(args) => sessions::sessions(global, args).await?,
        Command::Session(command) => sessions::session(global, command).await?,
        Command::Messages(args) => messages::messages(global, args).await?,
        Command::Dead(command) => messages::dead(global, command).await?,
        Command::Results(args) => results::results(global, args).await?,
        Command::Search(args) => results::search(global, args).await?,
        Command::Context { project } => results::context(global, &project).await?,
        Command::Watch(args) => watch::watch(global, args).await?,
        Command::Clients(args) => clients::clients(global, args).await?,
        Command::Client(command) => clients::client(global, command).await?,
        Command::Purge { session } => sessions::purge(global, &session).await?,
        Command::Worktree(command) => worktree::worktree(global, command).await?,
        Command::Run
        | Command::Launch
        | Command::Hook { .. }
        | Command::Logs { .. }
        | Command::Config(_)
        | Command::Completions { .. } => unreachable!("handled without the worker"),
    }
    Ok(ExitCode::SUCCESS)
}

fn config(global: &Global, command: &ConfigCommand) -> Result<(), CliError> {
    match command {
        ConfigCommand::Default => print!("{}", crate::config::DEFAULT_CONFIG),
        ConfigCommand::Path if global.json => {
            let (file, root) = (global.layout.config_file(), global.layout.root());
            return client::print_json(&json!({ "configuration": file, "state": root }));
        }
        ConfigCommand::Path => {
            println!("configuration  {}", global.layout.config_file().display());
            println!("state          {}", global.layout.root().display());
        }
        ConfigCommand::Check => {
            let config = global.config()?;
            let programs = config.generator.programs();
            let mut missing: Vec<String> = programs
                .iter()
                .filter_map(|(value, program)| Some(format!("{value}: {}", program.missing()?)))
                .collect();
            // Nobody needs worktrees who has not named a git of his own.
            if config.worktrees.git != Config::default().worktrees.git
                && let Some(problem) = config.worktrees.git_problem()
            {
                missing.push(format!("worktrees.git: {problem}"));
            }
            if !missing.is_empty() {
                let file = global.layout.config_file().display();
                let missing = missing.join("; ");
                return Err(anyhow::anyhow!("use the configuration {file}: {missing}").into());
            }
            if let Some(problem) = crate::home::problem(&global.layout) {
                return Err(anyhow::anyhow!("no worker can start: {problem}").into());
            }
            if global.json {
                return client::print_json(&json!({ "ok": true }));
            }
            println!("ok");
        }
    }
    Ok(())
}
