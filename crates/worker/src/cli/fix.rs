//! `sessiond doctor --fix`: shows what can be mended of processes and their records, and mends it
//! when it is told to.
//!
//! The running worker does it; without one this command does, and holds the home's lock meanwhile,
//! so that no worker starts what is just being ended.

use std::io::{IsTerminal, Write, stdin, stdout};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;
use sessiond_supervisor::Fix;

use super::client::{Client, print_json, telling};
use super::worker::occupied;
use super::{CliError, Global, doctor, processes};
use crate::doctor::{fix_home, fixes_of_home};
use crate::http::Fixes;
use crate::instance::{ClaimError, Place, install_of};
use crate::occupant::Phase;

/// What a person is told while processes are being ended.
const ENDING: &str = "waiting for processes to end";

/// Shows what would be done. Does it with `is_sure`, or when a person at the terminal says so. Then
/// examines everything: the verdict is that of what is left.
pub(super) async fn fix(global: &Global, deep: bool, is_sure: bool) -> Result<ExitCode, CliError> {
    let plan = fixes(global, true).await?;
    // What is done all the same is told once, with what came of it.
    if !global.json && (plan.is_empty() || !is_sure) {
        processes::print_plan(&plan);
    }
    let is_wanted = !plan.is_empty() && (is_sure || (!global.json && agrees()?));
    let done = if is_wanted {
        Some(fixes(global, false).await?)
    } else {
        None
    };
    let report = doctor::examine(global, deep).await?;
    let code = doctor::exit_code(report.verdict);
    if global.json {
        let fixes = done.unwrap_or(plan);
        let said = json!({ "dry_run": !is_sure, "fixes": fixes, "report": report });
        print_json(&said)?;
        return Ok(code);
    }
    match done {
        Some(done) => processes::print_fixes(&done),
        None if plan.is_empty() => {}
        None => println!("\nnothing was done; to do it, run it again with --yes"),
    }
    println!();
    doctor::show_verdict(&report);
    Ok(code)
}

/// Asks whoever sits at the terminal; where nobody does, nobody agrees.
fn agrees() -> Result<bool, CliError> {
    if !stdin().is_terminal() || !stdout().is_terminal() {
        return Ok(false);
    }
    print!("\ndo that? [y/N] ");
    stdout().flush().map_err(anyhow::Error::new)?;
    let mut answer = String::new();
    stdin().read_line(&mut answer).map_err(anyhow::Error::new)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

async fn fixes(global: &Global, is_dry_run: bool) -> Result<Vec<Fix>, CliError> {
    let client = Client::waiting(global, Duration::ZERO)?;
    let body = json!({ "dry_run": is_dry_run });
    let answer = client
        .post_and_wait::<Fixes>("/v1/admin/doctor/fix", &body, ENDING)
        .await;
    match answer {
        Err(CliError::NotRunning | CliError::Unfit(_)) => without_worker(global, is_dry_run).await,
        answer => Ok(answer?.fixes),
    }
}

async fn without_worker(global: &Global, is_dry_run: bool) -> Result<Vec<Fix>, CliError> {
    let layout = &global.layout;
    // Whatever became of the file meanwhile, what is left can be ended.
    let config = global.config().unwrap_or_default();
    // Where nobody has been, nothing is made either.
    if is_dry_run || install_of(layout).is_none() {
        let planned = fixes_of_home(layout, &config).await;
        return Ok(planned.map_err(anyhow::Error::new)?);
    }
    let place = match Place::claim(layout) {
        Ok(place) => place,
        Err(error @ ClaimError::Held { .. }) => return Err(occupied(layout, error)),
        Err(error) => return Err(anyhow::Error::new(error).into()),
    };
    // A worker that a hook starts meanwhile waits, as for one that stops.
    place.note(Phase::Stopping);
    let fixing = fix_home(layout, &place, &config);
    let done = telling(ENDING.to_owned(), fixing).await;
    Ok(done.map_err(anyhow::Error::new)?)
}
