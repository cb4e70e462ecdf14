//! `sessiond stop`: asks the worker to stop, and follows the one it has asked to its end. Another
//! may be there by then: a hook starts one as soon as the place is free.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use sessiond_supervisor::{IdentityError, ProcessIdentity, Standing};
use tokio::time::Instant;

use super::client::{Client, LOOK_EVERY, print_json, telling};
use super::worker::STOP_SLACK;
use super::{CliError, Global};
use crate::occupant::{Occupant, Phase};
use crate::wire::layout::Layout;

/// How long the next worker may take to say who it is.
const NEXT_WAIT: Duration = Duration::from_secs(1);

/// Stops the worker, and waits until it has given up its place.
pub(super) async fn stop(global: &Global) -> Result<(), CliError> {
    // Whatever became of the file meanwhile, the worker can be stopped.
    let config = global.config().unwrap_or_default();
    let shutdown = Duration::from_millis(config.session.shutdown_deadline_ms);
    let words = format!(
        "waiting for what is in work, up to {} s",
        shutdown.as_secs_f64().ceil()
    );
    telling(words, ask_and_follow(global, shutdown)).await
}

async fn ask_and_follow(global: &Global, shutdown: Duration) -> Result<(), CliError> {
    let layout = &global.layout;
    let given_up_at = Instant::now() + shutdown + STOP_SLACK;
    let Some(pid) = ask(global, given_up_at).await? else {
        if global.json {
            return print_json(&json!({ "state": "not running" }));
        }
        println!("not running");
        return Ok(());
    };
    let identity = ProcessIdentity::of(pid);
    while !has_left(layout, pid, &identity) {
        if Instant::now() >= given_up_at {
            return Err(not_stopped(pid));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let next = next(layout, pid).await;
    match next.and_then(|next| next.pid) {
        _ if global.json => {
            let pid = next.and_then(|next| next.pid);
            return print_json(&json!({ "state": "stopped", "started_since": pid }));
        }
        Some(pid) => {
            println!("stopped; process {pid} was started since, by a hook or by hand");
        }
        None if next.is_some() => println!("stopped; another one is starting"),
        None => println!("stopped"),
    }
    Ok(())
}

/// Asks whoever serves to stop: its process; `None`: nobody has the home. One that is starting is
/// asked as soon as it listens; one that is stopping was asked already.
async fn ask(global: &Global, given_up_at: Instant) -> Result<Option<u32>, CliError> {
    let client = Client::at_once(global)?;
    loop {
        let before = Occupant::look(&global.layout);
        let answer = client
            .send::<Value>(Method::POST, "/v1/admin/shutdown", &[])
            .await;
        let occupant = match &answer {
            // An older worker does not say who it is.
            Ok(answer) => {
                let pid = answer["pid"].as_u64().and_then(|pid| pid.try_into().ok());
                match pid.or_else(|| before?.pid) {
                    Some(pid) => return Ok(Some(pid)),
                    None => Occupant::look(&global.layout),
                }
            }
            Err(_) => Occupant::look(&global.layout),
        };
        match (occupant, answer) {
            (Some(occupant), _) if occupant.phase == Phase::Stopping && occupant.pid.is_some() => {
                return Ok(occupant.pid);
            }
            (None, Ok(_) | Err(CliError::NotRunning)) => return Ok(None),
            (Some(_), Ok(_) | Err(CliError::NotRunning)) if Instant::now() < given_up_at => {}
            (Some(occupant), Ok(_) | Err(CliError::NotRunning)) => {
                return Err(occupant
                    .pid
                    .map_or(CliError::NotServing(occupant), not_stopped));
            }
            (_, Err(error)) => return Err(error),
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Whether the process has ended, or given its place to another.
fn has_left(layout: &Layout, pid: u32, identity: &Result<ProcessIdentity, IdentityError>) -> bool {
    let is_gone = match identity {
        Ok(identity) => identity.check() == Standing::Gone,
        Err(IdentityError::Gone(_)) => true,
        // Another pid namespace's, or a container's init: the lock alone tells.
        Err(_) => false,
    };
    is_gone || Occupant::look(layout).and_then(|occupant| occupant.pid) != Some(pid)
}

/// Who has the home after process `pid`.
async fn next(layout: &Layout, pid: u32) -> Option<Occupant> {
    let given_up_at = Instant::now() + NEXT_WAIT;
    loop {
        let next = Occupant::look(layout)?;
        let is_known = next.pid.is_some_and(|next| next != pid);
        if is_known || Instant::now() >= given_up_at {
            return Some(next);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn not_stopped(pid: u32) -> CliError {
    anyhow::anyhow!(
        "process {pid} has not stopped; end it with: kill -9 {pid}; nothing accepted is lost"
    )
    .into()
}
