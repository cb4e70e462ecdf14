//! The commands about worktrees: add, list, remove, prune. The hook is `worktree_hook`.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Subcommand;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::client::{Client, part, print_json, segment};
use super::sessions::session_name;
use super::table::{ago, clean, print};
use super::{CliError, Global, worktree_hook};
use crate::words::listed;
use crate::worktrees::{Loss, Outcome, Reason, Removed, SettledWorktree, ShownWorktree, Stage};

/// `sessiond worktree`.
#[derive(Subcommand)]
pub(super) enum WorktreeCommand {
    /// Make a worktree for a session, with a branch of its own, and print where it is.
    Add {
        /// The session's id, or AGENT:KEY.
        #[arg(value_parser = session_name)]
        session: String,
        /// The repository, or a directory in it.
        #[arg(default_value = ".")]
        repo: PathBuf,
        /// What its branch begins at; the repository's HEAD unless given.
        #[arg(long)]
        base: Option<String>,
        /// What its directory is called; as the session unless given.
        #[arg(long)]
        name: Option<String>,
    },
    /// List worktrees, also those that ended sessions have left, and how each of them is.
    List {
        /// Only of this session: its id, or AGENT:KEY.
        #[arg(long, value_parser = session_name)]
        session: Option<String>,
    },
    /// Remove a worktree, with its branch if that has no commits of its own.
    Remove {
        /// Its id, its path or its branch.
        worktree: String,
        /// What may be lost with it, separated by commas. Without it nothing is, and what would be
        /// is told.
        #[arg(long, value_name = "LOSSES", value_parser = losses)]
        force: Option<String>,
    },
    /// Remove what ended sessions have left and nothing would be lost with any more; forget what is
    /// gone.
    Prune,
    /// Answer Claude Code's WorktreeCreate and WorktreeRemove hooks.
    Hook,
}

pub(super) async fn worktree(global: &Global, command: WorktreeCommand) -> Result<(), CliError> {
    match command {
        WorktreeCommand::Add {
            session,
            repo,
            base,
            name,
        } => {
            // The worker has another working directory.
            let repo = std::path::absolute(repo).context("find the current directory")?;
            let body = json!({ "repo": repo, "base": base, "name": name });
            add(global, &session, &body).await
        }
        WorktreeCommand::List { session } => list(global, session.as_deref()).await,
        WorktreeCommand::Remove { worktree, force } => remove(global, &worktree, force).await,
        WorktreeCommand::Prune => prune(global).await,
        WorktreeCommand::Hook => worktree_hook::answer(global).await,
    }
}

async fn add(global: &Global, session: &str, body: &Value) -> Result<(), CliError> {
    let path = format!("/v1/sessions/{}/worktrees", segment(session));
    let words = "waiting for git to check it out";
    let answer: Value = Client::new(global)?
        .post_and_wait(&path, body, words)
        .await?;
    if global.json {
        return print_json(&answer);
    }
    let path: String = part(&answer, "path")?;
    println!("{path}");
    Ok(())
}

async fn list(global: &Global, session: Option<&str>) -> Result<(), CliError> {
    let path = match session {
        Some(session) => format!("/v1/sessions/{}/worktrees", segment(session)),
        None => "/v1/worktrees".to_owned(),
    };
    // Each is looked at by git.
    let answer: Value = Client::new(global)?
        .send_and_wait(Method::GET, &path, &[])
        .await?;
    if global.json {
        return print_json(&answer);
    }
    let worktrees: Vec<ShownWorktree> = part(&answer, "worktrees")?;
    let rows = worktrees.iter().map(|shown| {
        let worktree = &shown.worktree;
        let kept = if is_kept(shown) { "kept: " } else { "" };
        let state = match shown.ahead {
            0 => format!("{kept}{}", shown.state),
            ahead => format!("{kept}{} (ahead by {ahead})", shown.state),
        };
        vec![
            worktree.id.to_string(),
            worktree.session_name.clone(),
            state,
            worktree.branch.clone(),
            format!("{} ago", ago(worktree.created_at)),
            worktree.path.display().to_string(),
        ]
    });
    print(
        &["id", "session", "state", "branch", "created", "path"],
        rows.collect(),
    );
    for shown in worktrees.iter().filter(|shown| is_kept(shown)) {
        let worktree = &shown.worktree;
        println!();
        print_ways(
            &worktree.path,
            &worktree.reasons,
            shown.how_to_merge.as_deref(),
            shown.how_to_discard.as_deref(),
        );
    }
    Ok(())
}

/// Whether its session has ended and left it.
fn is_kept(shown: &ShownWorktree) -> bool {
    shown.worktree.stage == Stage::Kept
}

/// Losses that are agreed to, as they were typed.
fn losses(list: &str) -> Result<String, String> {
    let mut words = list.split(',').map(str::trim);
    match words.all(|word| Loss::agreed(word).is_some()) {
        true => Ok(list.to_owned()),
        false => Err(format!(
            "what may be lost is named by {}",
            Loss::agreeable()
        )),
    }
}

/// The worktree at a path, if it is one of ours.
pub(super) async fn find_at(client: &Client, path: &Path) -> Result<Option<Uuid>, CliError> {
    let path = std::fs::canonicalize(path).unwrap_or_else(|_gone| path.to_owned());
    let at = [("path", Some(path.to_string_lossy().into_owned()))];
    let found = shown(client, &at).await?;
    Ok(found.first().map(|shown| shown.worktree.id))
}

async fn shown(
    client: &Client,
    query: &[(&str, Option<String>)],
) -> Result<Vec<ShownWorktree>, CliError> {
    // Each is looked at by git.
    let answer: Value = client
        .send_and_wait(Method::GET, "/v1/worktrees", query)
        .await?;
    part(&answer, "worktrees")
}

/// The worktree that is meant by an id, a path or a branch.
async fn find(client: &Client, name: &str) -> Result<Uuid, CliError> {
    if let Ok(id) = name.parse() {
        return Ok(id);
    }
    // Without a current directory a relative path is nowhere; a branch is there all the same.
    if let Ok(path) = std::path::absolute(name)
        && let Some(id) = find_at(client, &path).await?
    {
        return Ok(id);
    }
    let all = shown(client, &[]).await?;
    let of_branch = all.iter().filter(|shown| shown.worktree.branch == name);
    let ids: Vec<Uuid> = of_branch.map(|shown| shown.worktree.id).collect();
    match ids[..] {
        [id] => Ok(id),
        [] => Err(CliError::Refused {
            code: "unknown_worktree".to_owned(),
            message: format!(
                "no worktree has the id, path or branch {name}; list them with: \
                 sessiond worktree list"
            ),
        }),
        // Each repository has branches of its own.
        [..] => {
            let ids = listed(&ids, ids.len());
            Err(anyhow::anyhow!("find the worktree {name}: {ids} have this branch").into())
        }
    }
}

async fn remove(global: &Global, name: &str, force: Option<String>) -> Result<(), CliError> {
    let client = Client::new(global)?;
    let path = format!("/v1/worktrees/{}", find(&client, name).await?);
    let removed: Removed = client
        .send_and_wait(Method::DELETE, &path, &[("force", force)])
        .await?;
    if global.json {
        return print_json(&serde_json::to_value(&removed).map_err(anyhow::Error::new)?);
    }
    let (path, branch) = (removed.path.display(), &removed.branch);
    let done = match removed.was_moved {
        true => format!("forgot {path}, which was moved; it stays, with its branch {branch}"),
        false => format!("removed {path}"),
    };
    println!("{}", clean(&done));
    for lost in &removed.lost {
        println!("lost: {}", clean(&lost.message));
    }
    Ok(())
}

async fn prune(global: &Global) -> Result<(), CliError> {
    let answer: Value = Client::new(global)?
        .send_and_wait(Method::POST, "/v1/worktrees/prune", &[])
        .await?;
    if global.json {
        return print_json(&answer);
    }
    let settled: Vec<SettledWorktree> = part(&answer, "worktrees")?;
    if settled.is_empty() {
        println!("nothing to remove or to forget");
    }
    for removed in &settled {
        if removed.outcome == Outcome::Removed {
            println!("{}", clean(&gone(removed)));
        }
    }
    print_kept(&settled);
    Ok(())
}

/// What was done with one that is gone.
fn gone(removed: &SettledWorktree) -> String {
    let (path, branch) = (removed.path.display(), &removed.branch);
    match (removed.was_missing, removed.is_branch_deleted) {
        (false, true) => format!("removed {path} and its branch {branch}"),
        (false, false) => format!("removed {path}"),
        (true, true) => {
            format!("forgot {path}, whose directory was gone, and removed its branch {branch}")
        }
        (true, false) => format!("forgot {path}, whose directory was gone"),
    }
}

/// Says of each worktree that was kept where it is, why, and what can be done with it.
pub(super) fn print_kept(settled: &[SettledWorktree]) {
    for kept in settled {
        if kept.outcome == Outcome::Kept {
            print_ways(
                &kept.path,
                &kept.reasons,
                kept.how_to_merge.as_deref(),
                kept.how_to_discard.as_deref(),
            );
        }
    }
}

fn print_ways(path: &Path, reasons: &[Reason], merge: Option<&str>, discard: Option<&str>) {
    let path = path.to_string_lossy();
    let path = clean(&path);
    let is_moved = reasons.iter().any(|reason| reason.code == Loss::Moved);
    let reasons: Vec<&str> = reasons
        .iter()
        .map(|reason| reason.message.as_str())
        .collect();
    match reasons.is_empty() {
        true => println!("kept worktree {path}: nothing would be lost any more"),
        false => println!("kept worktree {path}: {}", clean(&reasons.join("; "))),
    }
    let discarding = if is_moved { "forget" } else { "discard" };
    for (name, command) in [("merge", merge), (discarding, discard)] {
        if let Some(command) = command {
            println!("  to {name} it: {}", clean(command));
        }
    }
}
