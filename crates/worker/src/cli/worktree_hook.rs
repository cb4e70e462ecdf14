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
use super::{CliError, Global, worker};
use crate::wire::environment::TAG;
use crate::worktrees::{Removed, ShownWorktree};

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
    match event.hook_event_name.as_str() {
        "WorktreeCreate" => create(global, event).await,
        "WorktreeRemove" => remove(global, event).await,
        other => {
            let other: String = other.chars().take(64).collect();
            let hint = "it answers WorktreeCreate and WorktreeRemove";
            Err(anyhow::anyhow!("answer the hook {other:?}: {hint}").into())
        }
    }
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
    worker::start_quietly(global).await?;
    let client = Client::new(global)?;
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
    worker::start_quietly(global).await?;
    let client = Client::new(global)?;
    let wanted = Path::new(&wanted);
    let wanted = std::fs::canonicalize(wanted).unwrap_or_else(|_| wanted.to_owned());
    let at = [("path", Some(wanted.to_string_lossy().into_owned()))];
    let answer: Value = client
        .send_and_wait(Method::GET, "/v1/worktrees", &at)
        .await?;
    let worktrees: Vec<ShownWorktree> = part(&answer, "worktrees")?;
    let Some(found) = worktrees.first() else {
        // None of ours, or gone already: whoever made it removes it.
        return Ok(());
    };
    let path = format!("/v1/worktrees/{}", found.worktree.id);
    let _removed: Removed = client.send_and_wait(Method::DELETE, &path, &[]).await?;
    Ok(())
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
