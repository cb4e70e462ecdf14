//! The commands about messages and dead letters.

use clap::{ArgGroup, Args, Subcommand};
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sessiond_queue::types::{Attempt, Message, Redriven};

use super::client::{ask, part, print_json, segment};
use super::pages::{List, print_more};
use super::sessions::session_name;
use super::table::{clean, clock_time, or_dash, print, print_pairs, short};
use super::{CliError, Global};
use crate::words::counted;

/// `sessiond messages`.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct MessagesArgs {
    #[command(subcommand)]
    command: Option<MessageCommand>,
    /// Only of this session (id, or AGENT:KEY).
    #[arg(long, value_parser = session_name)]
    session: Option<String>,
    /// Only in this state.
    #[arg(long, value_parser = ["pending", "claimed", "done", "dead", "cancelled"])]
    state: Option<String>,
    /// Only after this message.
    #[arg(long)]
    after: Option<i64>,
    /// At most so many.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

#[derive(Subcommand)]
enum MessageCommand {
    /// Show one message with its payload and its history.
    Show {
        /// Its number.
        message: i64,
    },
    /// Take a pending or claimed message out for good, or all of a session.
    #[command(group(ArgGroup::new("which").args(["message", "session"]).required(true)))]
    Cancel {
        /// The message's number.
        message: Option<i64>,
        /// All of this session (id, or AGENT:KEY).
        #[arg(long, value_parser = session_name)]
        session: Option<String>,
    },
}

/// `sessiond dead`.
#[derive(Subcommand)]
pub(super) enum DeadCommand {
    /// List dead messages and why they died.
    List {
        /// Only of this session (id, or AGENT:KEY).
        #[arg(long, value_parser = session_name)]
        session: Option<String>,
        /// Only after this message.
        #[arg(long)]
        after: Option<i64>,
        /// At most so many.
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
        /// Each with the history of its attempts.
        #[arg(long)]
        attempts: bool,
    },
    /// Make dead messages pending again: one, all of a session, or all.
    #[command(group(
        ArgGroup::new("which").args(["message", "session", "all"]).required(true).multiple(true)
    ))]
    Redrive {
        /// The message's number.
        #[arg(conflicts_with_all = ["session", "all"])]
        message: Option<i64>,
        /// All of this session (id, or AGENT:KEY).
        #[arg(long, value_parser = session_name)]
        session: Option<String>,
        /// All there are.
        #[arg(long)]
        all: bool,
    },
    /// Delete dead messages for good: one, all of a session, or all.
    #[command(group(
        ArgGroup::new("which").args(["message", "session", "all"]).required(true).multiple(true)
    ))]
    Purge {
        /// The message's number.
        #[arg(conflicts_with_all = ["session", "all"])]
        message: Option<i64>,
        /// All of this session (id, or AGENT:KEY).
        #[arg(long, value_parser = session_name)]
        session: Option<String>,
        /// All there are.
        #[arg(long)]
        all: bool,
    },
}

pub(super) async fn messages(global: &Global, args: MessagesArgs) -> Result<(), CliError> {
    match args.command {
        None => {
            let query = [("session", args.session), ("state", args.state)];
            list_messages(global, &query, args.after, args.limit).await
        }
        Some(MessageCommand::Show { message }) => {
            let path = format!("/v1/messages/{message}");
            let answer: Value = ask(global, Method::GET, &path, &[]).await?;
            if global.json {
                return print_json(&answer);
            }
            show_message(answer)
        }
        Some(MessageCommand::Cancel {
            message: Some(message),
            ..
        }) => {
            let path = format!("/v1/messages/{message}");
            let answer: Value = ask(global, Method::DELETE, &path, &[]).await?;
            if global.json {
                return print_json(&answer);
            }
            println!("message {message} is cancelled");
            Ok(())
        }
        Some(MessageCommand::Cancel {
            message: None,
            session,
        }) => {
            let session = session.unwrap_or_default();
            let path = format!("/v1/sessions/{}/messages", segment(&session));
            let answer: Value = ask(global, Method::DELETE, &path, &[]).await?;
            if global.json {
                return print_json(&answer);
            }
            let messages: u64 = part(&answer, "messages")?;
            println!("{} cancelled", counted(messages, "message"));
            Ok(())
        }
    }
}

fn show_message(answer: Value) -> Result<(), CliError> {
    let attempts: Vec<Attempt> = part(&answer, "attempts")?;
    let message: Message = serde_json::from_value(answer).map_err(anyhow::Error::new)?;
    let rows = [
        ("message", message.id.to_string()),
        ("session", message.session.to_string()),
        ("seq", message.seq.to_string()),
        ("kind", message.kind.clone()),
        ("state", message.state.as_str().to_owned()),
        ("attempt", message.attempt.to_string()),
        ("fired", clock_time(message.accepted_at)),
        ("error", or_dash(message.last_error.as_deref())),
    ];
    print_pairs(&rows);
    println!("\n{}", clean(&message.payload.to_string()));
    if attempts.is_empty() {
        return Ok(());
    }
    println!();
    print_attempts(&attempts);
    Ok(())
}

fn print_attempts(attempts: &[Attempt]) {
    let rows = attempts
        .iter()
        .map(|attempt| {
            let number = (attempt.attempt > 0).then_some(attempt.attempt);
            vec![
                or_dash(number),
                clock_time(attempt.ended_at),
                attempt.outcome.as_str().to_owned(),
                attempt.reason.clone().unwrap_or_default(),
            ]
        })
        .collect();
    print(&["attempt", "ended", "outcome", "reason"], rows);
}

async fn list_messages(
    global: &Global,
    query: &[(&str, Option<String>)],
    after: Option<i64>,
    limit: u32,
) -> Result<(), CliError> {
    let list = List {
        path: "/v1/messages",
        name: "messages",
        query,
        after,
        limit,
        is_shown: &|_: &Message| true,
        id: &|message| message.id.0,
    };
    let (messages, more) = list.read(global).await?;
    if global.json {
        return print_json(&json!({ "messages": messages }));
    }
    let rows = messages
        .iter()
        .map(|message| {
            vec![
                message.id.to_string(),
                message.session.to_string(),
                message.seq.to_string(),
                message.kind.clone(),
                message.state.as_str().to_owned(),
                message.attempt.to_string(),
                clock_time(message.accepted_at),
                short(message.last_error.as_deref().unwrap_or(""), 50),
            ]
        })
        .collect();
    print(
        &[
            "message", "session", "seq", "kind", "state", "attempt", "fired", "error",
        ],
        rows,
    );
    print_more(more);
    Ok(())
}

/// A listed message with its history.
#[derive(Serialize, Deserialize)]
struct Detailed {
    #[serde(flatten)]
    message: Message,
    attempts: Vec<Attempt>,
}

async fn list_attempts(
    global: &Global,
    query: &[(&str, Option<String>)],
    after: Option<i64>,
    limit: u32,
) -> Result<(), CliError> {
    let list = List {
        path: "/v1/messages",
        name: "messages",
        query,
        after,
        limit,
        is_shown: &|_: &Detailed| true,
        id: &|detailed| detailed.message.id.0,
    };
    let (messages, more) = list.read(global).await?;
    if global.json {
        return print_json(&json!({ "messages": messages }));
    }
    for Detailed { message, attempts } in &messages {
        println!(
            "message {} ({}) of session {}: {}",
            message.id,
            message.kind,
            message.session,
            or_dash(message.last_error.as_deref()),
        );
        print_attempts(attempts);
        println!();
    }
    print_more(more);
    Ok(())
}

pub(super) async fn dead(global: &Global, command: DeadCommand) -> Result<(), CliError> {
    match command {
        DeadCommand::List {
            session,
            after,
            limit,
            attempts,
        } => {
            let state = ("state", Some("dead".to_owned()));
            if attempts {
                let query = [
                    state,
                    ("session", session),
                    ("attempts", Some("true".into())),
                ];
                list_attempts(global, &query, after, limit).await
            } else {
                list_messages(global, &[state, ("session", session)], after, limit).await
            }
        }
        DeadCommand::Redrive {
            message: Some(message),
            ..
        } => {
            let path = format!("/v1/messages/{message}/redrive");
            let redriven: Redriven = ask(global, Method::POST, &path, &[]).await?;
            show_redriven(global, &[redriven])
        }
        DeadCommand::Redrive {
            message: None,
            session,
            ..
        } => {
            let query = [("session", session.clone())];
            let answer: Value = ask(global, Method::POST, "/v1/dead/redrive", &query).await?;
            let redriven: Vec<Redriven> = part(&answer, "redriven")?;
            show_redriven(global, &redriven)?;
            show_still_dead(global, session).await
        }
        DeadCommand::Purge {
            message, session, ..
        } => {
            let path = match message {
                Some(message) => format!("/v1/dead/{message}"),
                None => "/v1/dead".to_owned(),
            };
            let query = [("session", session)];
            let answer: Value = ask(global, Method::DELETE, &path, &query).await?;
            if global.json {
                return print_json(&answer);
            }
            let purged: u64 = part(&answer, "purged")?;
            println!("{} purged", counted(purged, "dead message"));
            Ok(())
        }
    }
}

/// Says so when a limit has left dead messages as they are.
async fn show_still_dead(global: &Global, session: Option<String>) -> Result<(), CliError> {
    if global.json {
        return Ok(());
    }
    let query = [
        ("state", Some("dead".to_owned())),
        ("session", session),
        ("limit", Some("1".to_owned())),
    ];
    let answer: Value = ask(global, Method::GET, "/v1/messages", &query).await?;
    let dead: Vec<Value> = part(&answer, "messages")?;
    if !dead.is_empty() {
        println!(
            "others stay dead: the backlog is at its limit (queue.session_depth_max, \
             queue.depth_max); redrive again when it is shorter"
        );
    }
    Ok(())
}

fn show_redriven(global: &Global, redriven: &[Redriven]) -> Result<(), CliError> {
    if global.json {
        return print_json(&serde_json::to_value(redriven).map_err(anyhow::Error::new)?);
    }
    for message in redriven {
        let place = if message.kept_place {
            "in its old place"
        } else {
            "as the last of its session, since later ones were in work already"
        };
        println!("message {} is pending, {place}", message.message);
    }
    if redriven.is_empty() {
        println!("no message is dead");
    }
    Ok(())
}
