//! The commands about the worker itself: run, start, status.

use std::ffi::OsString;
use std::mem::ManuallyDrop;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::pin::pin;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::Context as _;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigHandler, Signal, signal};
use tokio::signal::unix::SignalKind;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::client::{Client, LOOK_EVERY, print_json, telling};
use super::{CliError, Global, clients, logs, spawns, table};
use crate::config::Config;
use crate::daemon;
use crate::home;
use crate::http::Status;
use crate::instance::{ClaimError, Discovery, Place};
use crate::memory;
use crate::occupant::{Occupant, Phase};
use crate::wire::layout::Layout;
use crate::words::counted;

/// Threads of the worker: one session's work must not hold up another's hook.
const WORKER_THREADS: usize = 2;
/// How long `start` waits for the worker to answer.
const START_WAIT: Duration = Duration::from_secs(10);
/// How long threads may take to end once everything is stopped; the process ends with them or not.
const RUNTIME_END: Duration = Duration::from_secs(2);
/// Beyond the shutdown deadline, how long the end of a worker is waited for.
pub(super) const STOP_SLACK: Duration = Duration::from_secs(15);

/// Runs the worker. With `wait` a predecessor that is stopping is waited for, and one that serves
/// makes this one superfluous.
pub(super) fn run(global: &Global, wait: bool) -> Result<ExitCode, CliError> {
    memory::settle();
    let config = global.config()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKER_THREADS)
        .enable_all()
        .build()
        .context("start the runtime")?;
    let outcome = runtime.block_on(serve(global, config, wait));
    // Blocking work may be at a file that does not answer.
    runtime.shutdown_timeout(RUNTIME_END);
    outcome
}

async fn serve(global: &Global, config: Config, wait: bool) -> Result<ExitCode, CliError> {
    let Some(place) = place(global, &config, wait).await? else {
        return Ok(ExitCode::SUCCESS);
    };
    // The kernel gives it up when no thread of this process is left: a writer that outlives its
    // deadline must not meet a successor that has read the store already.
    let place = ManuallyDrop::new(place);
    logs::start(&global.layout, &config.log)?;
    outlive_the_terminal()?;
    let stop = CancellationToken::new();
    stop_on_signals(&stop)?;
    let mut run = pin!(daemon::run(
        global.layout.clone(),
        &place,
        config,
        stop.clone()
    ));
    let ended = tokio::select! {
        ended = &mut run => ended,
        // Told at once: when it is asked in its start-up, it ends that first.
        () = stop.cancelled() => {
            place.note(Phase::Stopping);
            run.await
        }
    };
    ended.map_err(|error| {
        tracing::error!(error = crate::errors::chain(&error), "worker failed");
        anyhow::Error::new(error)
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Takes the worker's place; `None`: somebody else serves.
async fn place(global: &Global, config: &Config, wait: bool) -> Result<Option<Place>, CliError> {
    let shutdown = Duration::from_millis(config.session.shutdown_deadline_ms);
    let deadline = Instant::now() + shutdown + STOP_SLACK;
    loop {
        match Place::claim(&global.layout) {
            Ok(place) => return Ok(Some(place)),
            Err(ClaimError::Held { .. }) if wait && Instant::now() < deadline => {
                let client = Client::at_once(global)?;
                if client.get_text("/readyz").await.is_ok() {
                    return Ok(None);
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
            Err(error @ ClaimError::Held { .. }) => return Err(occupied(&global.layout, error)),
            Err(error) => return Err(anyhow::Error::new(error).into()),
        }
    }
}

/// That another has the place, as a person would say it.
pub(super) fn occupied(layout: &Layout, error: ClaimError) -> CliError {
    let Some(occupant) = Occupant::look(layout) else {
        return anyhow::Error::new(error).into();
    };
    let who = occupant
        .pid
        .map_or_else(|| "of unknown id".to_owned(), |pid| pid.to_string());
    match occupant.phase {
        Phase::Starting => anyhow::anyhow!("a worker is starting already: process {who}"),
        Phase::Serving => anyhow::anyhow!("a worker is running already: process {who}"),
        Phase::Stopping => anyhow::anyhow!("{occupant}; run it when that has ended"),
    }
    .into()
}

/// Neither a closed terminal nor the many sockets of a busy machine end the worker.
fn outlive_the_terminal() -> Result<(), CliError> {
    // SAFETY: ignoring a signal installs no handler that could run.
    #[expect(unsafe_code, reason = "the signal disposition has no safe interface")]
    unsafe { signal(Signal::SIGHUP, SigHandler::SigIgn) }.context("ignore SIGHUP")?;
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("read the limit of open files")?;
    if let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
    Ok(())
}

/// The first signal stops the worker in order, the second at once.
fn stop_on_signals(stop: &CancellationToken) -> Result<(), CliError> {
    let mut terminate =
        tokio::signal::unix::signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt =
        tokio::signal::unix::signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    let stop = stop.clone();
    tokio::spawn(async move {
        for is_first in [true, false] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if is_first {
                tracing::info!("stopping: signal received");
                stop.cancel();
            } else {
                tracing::warn!("second signal: ending at once; the next start takes up the rest");
                std::process::exit(1);
            }
        }
    });
    Ok(())
}

/// Starts the worker detached, and waits until it is ready. One that is stopping is waited for.
pub(super) async fn start(global: &Global) -> Result<(), CliError> {
    let state = start_quietly(global).await?;
    say(global, state)
}

/// The same without a word; gives what there would be to say.
pub(super) async fn start_quietly(global: &Global) -> Result<&'static str, CliError> {
    let client = Client::at_once(global)?;
    if client.get_text("/readyz").await.is_ok() {
        return Ok("already running");
    }
    // A home or a configuration that cannot be used is best told here: the worker, once detached,
    // has nobody to tell. The home first, since the configuration lies in it.
    home::prepare(&global.layout).map_err(anyhow::Error::new)?;
    let config = global.config()?;
    let shutdown = Duration::from_millis(config.session.shutdown_deadline_ms);
    let stopped_at = Instant::now() + shutdown + STOP_SLACK;
    loop {
        wait_for_predecessor(&global.layout, stopped_at).await?;
        if come_up(&global.layout, &client).await? {
            return Ok("started");
        }
    }
}

/// Waits until no worker of this home is stopping.
async fn wait_for_predecessor(layout: &Layout, given_up_at: Instant) -> Result<(), CliError> {
    let Some(occupant) = stopping(layout) else {
        return Ok(());
    };
    let seconds = given_up_at.duration_since(Instant::now()).as_secs();
    let words = format!("{occupant}: waiting for its end, up to {seconds} s");
    let ended = async {
        while let Some(occupant) = stopping(layout) {
            if Instant::now() >= given_up_at {
                return Err(CliError::NotServing(occupant));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    };
    telling(words, ended).await
}

fn stopping(layout: &Layout) -> Option<Occupant> {
    Occupant::look(layout).filter(|occupant| occupant.phase == Phase::Stopping)
}

/// Has a worker started and waits until it is ready; `false`: it met one that is stopping.
async fn come_up(layout: &Layout, client: &Client) -> Result<bool, CliError> {
    let hook = sibling("sessiond-hook")?;
    let started = Command::new(&hook).arg("--start-worker").status();
    let status = started.with_context(|| format!("run {}", hook.display()))?;
    if !status.success() {
        return Err(anyhow::anyhow!("start the worker: {} said {status}", hook.display()).into());
    }
    let deadline = Instant::now() + START_WAIT;
    loop {
        if client.get_text("/readyz").await.is_ok() {
            return Ok(true);
        }
        match Occupant::look(layout) {
            None => {
                let at_once = || "the worker ended at once; see why with: sessiond run".to_owned();
                let why = home::problem(layout).unwrap_or_else(at_once);
                return Err(anyhow::anyhow!(why).into());
            }
            Some(occupant) if occupant.phase == Phase::Stopping => return Ok(false),
            Some(_) if Instant::now() < deadline => tokio::time::sleep(LOOK_EVERY).await,
            Some(_) => {
                let seconds = START_WAIT.as_secs();
                let hint = "see: sessiond logs, or run it in the foreground with: sessiond run";
                return Err(
                    anyhow::anyhow!("the worker is not ready after {seconds} s; {hint}").into(),
                );
            }
        }
    }
}

fn say(global: &Global, what: &str) -> Result<(), CliError> {
    let discovery = Discovery::read(&global.layout);
    if global.json {
        return print_json(&serde_json::json!({ "state": what, "instance": discovery }));
    }
    match discovery {
        Some(discovery) => {
            let port = discovery
                .port
                .map_or_else(String::new, |port| format!(", 127.0.0.1:{port}"));
            println!(
                "{what}: process {}, {}{port}",
                discovery.pid,
                discovery.socket.display()
            );
        }
        None => println!("{what}"),
    }
    Ok(())
}

/// Shows the worker's state; with `wait_idle` once nothing is left to do.
pub(super) async fn status(global: &Global, wait_idle: Option<u64>) -> Result<(), CliError> {
    let wait = Duration::from_secs(wait_idle.unwrap_or(0));
    let client = Client::waiting(global, wait)?;
    let deadline = Instant::now() + wait;
    let status: Status = loop {
        let status: Status = client.get("/v1/status").await?;
        let is_idle = status.depth == 0
            && !status.processing
            && status.index_behind == 0
            && status.spool_files == 0;
        if wait_idle.is_none() || is_idle {
            break status;
        }
        if Instant::now() >= deadline {
            let depth = status.depth;
            return Err(anyhow::anyhow!(
                "wait for idle: {} still pending",
                counted(depth, "message")
            )
            .into());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    };
    let discovery = Discovery::read(&global.layout);
    if global.json {
        let mut shown = serde_json::to_value(&status).map_err(anyhow::Error::new)?;
        shown["instance"] = serde_json::to_value(discovery).map_err(anyhow::Error::new)?;
        return print_json(&shown);
    }
    if let Some(discovery) = discovery {
        let age = table::ago(discovery.started_at);
        println!(
            "worker    process {}, version {}, for {age}",
            discovery.pid, discovery.version
        );
    }
    let working = if status.processing { "at work" } else { "idle" };
    println!(
        "state     {}",
        if status.ready { working } else { "starting" }
    );
    println!("pending   {}", status.depth);
    let life = status.sessions;
    println!(
        "sessions  {} open, {} closing, {} ended; {} in memory",
        life.open, life.closing, life.ended, status.active
    );
    let slots = status.slots;
    if slots.held + slots.waiting > 0 {
        println!(
            "programs  {} of {} run, {} waiting for a slot",
            slots.held, slots.max, slots.waiting
        );
    }
    println!("clients   {}", clients::counts(&status.clients));
    spawns::print_breakers(&status.breakers);
    Ok(())
}

/// What follows `sessiond hook`, unless that is asked for help.
pub(super) fn hook_arguments(
    mut all: impl Iterator<Item = OsString>,
) -> Option<impl Iterator<Item = OsString>> {
    if all.nth(1)? != "hook" {
        return None;
    }
    let arguments: Vec<OsString> = all.collect();
    let is_help = |argument: &OsString| argument == "--help" || argument == "-h";
    (!arguments.iter().any(is_help)).then(|| arguments.into_iter())
}

/// Becomes the hook client.
pub(super) fn hook(arguments: impl IntoIterator<Item = OsString>) -> Result<ExitCode, CliError> {
    let hook = sibling("sessiond-hook")?;
    let error = Command::new(&hook).args(arguments).exec();
    Err(anyhow::Error::new(error)
        .context(format!("run {}", hook.display()))
        .into())
}

/// A binary that was installed beside this one.
fn sibling(name: &str) -> Result<PathBuf, CliError> {
    let own = std::env::current_exe().context("find this program's file")?;
    let sibling = own.with_file_name(name);
    if sibling.exists() {
        return Ok(sibling);
    }
    Err(anyhow::anyhow!("find {name} beside {}", own.display()).into())
}
