//! `sessiond worktree hook`: answers Claude Code's WorktreeCreate and WorktreeRemove.
//!
//! Unlike every other hook, WorktreeCreate is an order: its standard output is the path and nothing
//! else, and any failure has to be told by the exit code. So the worker is started if need be, and
//! waited for.

use std::io::Read as _;
use std::path::Path;

use anyhow::Context as _;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use sessiond_supervisor::Tag;

use super::client::{Client, part, segment};
use super::worktree::find_at;
use super::{CliError, Global, worker};
use crate::errors::chain;
use crate::wire::environment::TAG;
use crate::worktrees::Removed;

/// Bytes of an event that are read: it names a session and two paths.
const INPUT_MAX_BYTES: u64 = 1 << 20;
/// Whose hooks these are.
const AGENT: &str = "claude-code";

/// What the agent says; it may say more.
#[derive(Debug, Deserialize)]
struct Event {
    hook_event_name: String,
    session_id: Option<String>,
    cwd: Option<String>,
    name: Option<String>,
    worktree_path: Option<String>,
}

pub(super) async fn answer(global: &Global) -> Result<(), CliError> {
    let event = read()?;
    let answered = match event.hook_event_name.as_str() {
        "WorktreeCreate" => create(global, event).await,
        "WorktreeRemove" => remove(global, event).await,
        other => {
            let other: String = other.chars().take(64).collect();
            let hint = "it answers WorktreeCreate and WorktreeRemove";
            Err(anyhow::anyhow!("answer the hook {other:?}: {hint}").into())
        }
    };
    // The agent has typed nothing: whatever the worker refuses has failed.
    answered.map_err(|error| match error {
        CliError::Refused { message, .. } => anyhow::anyhow!(message).into(),
        error => error,
    })
}

fn read() -> Result<Event, CliError> {
    let mut input = Vec::new();
    std::io::stdin()
        .lock()
        .take(INPUT_MAX_BYTES + 1)
        .read_to_end(&mut input)
        .context("read the hook's event")?;
    if input.len() as u64 > INPUT_MAX_BYTES {
        return Err(anyhow::anyhow!("read the hook's event: over {INPUT_MAX_BYTES} bytes").into());
    }
    let event = serde_json::from_slice(&input);
    Ok(event.context("read the hook's event")?)
}

async fn create(global: &Global, event: Event) -> Result<(), CliError> {
    let session = required("session_id", event.session_id)?;
    let cwd = required("cwd", event.cwd)?;
    refuse_own_tree(global)?;
    let client = started(global).await?;
    let words = "waiting for the worker";
    let body = json!({ "agent": AGENT, "key": session, "cwd": cwd });
    let opened: Value = client.post_and_wait("/v1/sessions", &body, words).await?;
    // By its id: it is the same session whatever its key is made of.
    let id: String = part(&opened, "id")?;
    let path = format!("/v1/sessions/{}/worktrees", segment(&id));
    let body = json!({ "repo": cwd, "name": event.name });
    let words = "waiting for git to check it out";
    let added: Value = client.post_and_wait(&path, &body, words).await?;
    let path: String = part(&added, "path")?;
    println!("{path}");
    Ok(())
}

async fn remove(global: &Global, event: Event) -> Result<(), CliError> {
    let wanted = required("worktree_path", event.worktree_path)?;
    refuse_own_tree(global)?;
    let client = started(global).await?;
    let Some(id) = find_at(&client, Path::new(&wanted)).await? else {
        // None of ours, or gone already: whoever made it removes it.
        return Ok(());
    };
    let path = format!("/v1/worktrees/{id}");
    let _removed: Removed = client.send_and_wait(Method::DELETE, &path, &[]).await?;
    Ok(())
}

/// A worker that runs, started if need be. That none can be is told by an exit code of its own.
async fn started(global: &Global) -> Result<Client, CliError> {
    let started = worker::start_quietly(global).await;
    started.map_err(|error| match error {
        CliError::Other(error) => CliError::Unfit(chain(error.as_ref())),
        error => error,
    })?;
    Client::new(global)
}

fn required(field: &str, value: Option<String>) -> Result<String, CliError> {
    let value = value.filter(|value| !value.is_empty());
    Ok(value.with_context(|| format!("read the hook's event: it has no {field}"))?)
}

/// An agent that the worker itself runs ends with its program; a session made for it would be
/// nobody's to end.
fn refuse_own_tree(global: &Global) -> Result<(), CliError> {
    let tag = std::env::var(TAG).ok().and_then(|tag| tag.parse().ok());
    let install = std::fs::read_to_string(global.layout.install_file()).unwrap_or_default();
    if tag.is_some_and(|tag: Tag| tag.is_of_install(install.trim())) {
        let problem = "this runs inside of a program that sessiond runs itself";
        return Err(anyhow::anyhow!("answer the hook: {problem}").into());
    }
    Ok(())
}
