//! The commands about sessions, messages and results.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sessiond_queue::types::{Message, Redriven, Session, StoredResult};

use super::client::{Client, segment};
use super::table::{ago, clock_time, or_dash, print, short};
use super::{CliError, Global};
use crate::search::Hit;
use crate::sessions::{CloseReport, Live};

/// `sessiond sessions`.
#[derive(Args)]
pub(super) struct SessionsArgs {
    /// Only of this agent.
    #[arg(long)]
    agent: Option<String>,
    /// Only of this project.
    #[arg(long)]
    project: Option<String>,
    /// Only in this stage of life.
    #[arg(long, value_parser = ["open", "closing", "ended"])]
    life: Option<String>,
    /// At most so many.
    #[arg(long, default_value_t = 20)]
    limit: u32,
}

/// `sessiond session`.
#[derive(Subcommand)]
pub(super) enum SessionCommand {
    /// Show everything known of it.
    Show {
        /// Its id, or AGENT:KEY.
        session: String,
    },
    /// End it; its rows stay.
    Close {
        /// Its id, or AGENT:KEY.
        session: String,
        /// Work its backlog first.
        #[arg(long)]
        drain: bool,
        /// Delete its rows too.
        #[arg(long)]
        purge: bool,
    },
}

/// `sessiond messages`.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct MessagesArgs {
    #[command(subcommand)]
    command: Option<MessageCommand>,
    /// Only of this session (id, or AGENT:KEY).
    #[arg(long)]
    session: Option<String>,
    /// Only in this state.
    #[arg(long, value_parser = ["pending", "claimed", "done", "dead", "cancelled"])]
    state: Option<String>,
    /// Only after this message.
    #[arg(long)]
    after: Option<i64>,
    /// At most so many.
    #[arg(long, default_value_t = 50)]
    limit: u32,
}

#[derive(Subcommand)]
enum MessageCommand {
    /// Show one message with its payload.
    Show {
        /// Its number.
        message: i64,
    },
    /// Take a pending or claimed message out for good.
    Cancel {
        /// Its number.
        message: i64,
    },
}

/// `sessiond dead`.
#[derive(Subcommand)]
pub(super) enum DeadCommand {
    /// List dead messages and why they died.
    List {
        /// Only of this session (id, or AGENT:KEY).
        #[arg(long)]
        session: Option<String>,
    },
    /// Make dead messages pending again.
    Redrive {
        /// The message's number.
        #[arg(required_unless_present = "all")]
        message: Option<i64>,
        /// All of them.
        #[arg(long, conflicts_with = "message")]
        all: bool,
        /// With --all: only of this session (id, or AGENT:KEY).
        #[arg(long, requires = "all")]
        session: Option<String>,
    },
}

/// `sessiond results`.
#[derive(Args)]
pub(super) struct ResultsArgs {
    /// The session's id, or AGENT:KEY.
    session: String,
    /// Only of this kind, for example summary or observation.
    #[arg(long)]
    kind: Option<String>,
    /// Only the newest one, in full.
    #[arg(long)]
    latest: bool,
    /// With those that only trace what is going to happen.
    #[arg(long)]
    trace: bool,
    /// At most so many.
    #[arg(long, default_value_t = 100)]
    limit: u32,
}

/// `sessiond search`.
#[derive(Args)]
pub(super) struct SearchArgs {
    /// Words, the last of them as a beginning; "a phrase" in double quotes.
    #[arg(required_unless_present = "rebuild")]
    query: Vec<String>,
    /// Only of this project.
    #[arg(long)]
    project: Option<String>,
    /// Only of this session (id, or AGENT:KEY).
    #[arg(long)]
    session: Option<String>,
    /// Only of this agent.
    #[arg(long)]
    agent: Option<String>,
    /// Only of this kind.
    #[arg(long)]
    kind: Option<String>,
    /// With results that only trace what is going to happen.
    #[arg(long)]
    trace: bool,
    /// At most so many.
    #[arg(long, default_value_t = 10)]
    limit: u32,
    /// Make the index anew from the results.
    #[arg(long, exclusive = true)]
    rebuild: bool,
}

/// A session as the API shows it.
#[derive(Deserialize)]
struct Shown {
    #[serde(flatten)]
    session: Session,
    residence: String,
    live: Option<Live>,
}

impl Shown {
    fn state(&self) -> String {
        match &self.live {
            Some(live) => format!("{:?}", live.activity).to_lowercase(),
            None => self.residence.clone(),
        }
    }
}

pub(super) async fn sessions(global: &Global, args: SessionsArgs) -> Result<(), CliError> {
    let query = [
        ("agent", args.agent),
        ("project", args.project),
        ("life", args.life),
        ("limit", Some(args.limit.to_string())),
    ];
    let answer: Value = ask(global, Method::GET, "/v1/sessions", &query).await?;
    if global.json {
        return print_json(&answer);
    }
    let sessions: Vec<Shown> = part(&answer, "sessions")?;
    let rows = sessions
        .iter()
        .map(|shown| {
            let session = &shown.session;
            vec![
                format!("{}:{}", session.agent, session.key),
                format!("{:?}", session.life).to_lowercase(),
                shown.state(),
                session.pending.to_string(),
                session.prompt_number.to_string(),
                ago(session.active_at),
                short(session.project.as_deref().unwrap_or("-"), 40),
            ]
        })
        .collect();
    print(
        &[
            "session", "life", "state", "pending", "prompts", "active", "project",
        ],
        rows,
    );
    Ok(())
}

pub(super) async fn session(global: &Global, command: SessionCommand) -> Result<(), CliError> {
    match command {
        SessionCommand::Show { session } => show_session(global, &session).await,
        SessionCommand::Close {
            session,
            drain,
            purge,
        } => close(global, &session, drain, purge).await,
    }
}

async fn show_session(global: &Global, name: &str) -> Result<(), CliError> {
    let path = format!("/v1/sessions/{}", segment(name));
    let answer: Value = ask(global, Method::GET, &path, &[]).await?;
    if global.json {
        return print_json(&answer);
    }
    let shown: Shown = serde_json::from_value(answer).map_err(anyhow::Error::new)?;
    let session = &shown.session;
    let rows = [
        ("session", format!("{}:{}", session.agent, session.key)),
        ("id", session.id.to_string()),
        ("life", format!("{:?}", session.life).to_lowercase()),
        ("state", shown.state()),
        ("project", or_dash(session.project.as_deref())),
        ("cwd", or_dash(session.cwd.as_deref())),
        (
            "prompt",
            format!(
                "{}: {}",
                session.prompt_number,
                short(session.prompt.as_deref().unwrap_or("-"), 60)
            ),
        ),
        ("created", clock_time(session.created_at)),
        ("active", format!("{} ago", ago(session.active_at))),
        ("pending", session.pending.to_string()),
        ("dead", session.dead.to_string()),
        ("failures", session.consecutive_failures.to_string()),
        ("last error", or_dash(session.last_error.as_deref())),
        (
            "metadata",
            Value::Object(session.metadata.clone()).to_string(),
        ),
    ];
    for (name, value) in rows {
        println!("{name:<11}{value}");
    }
    Ok(())
}

async fn close(global: &Global, name: &str, drain: bool, purge: bool) -> Result<(), CliError> {
    let path = format!("/v1/sessions/{}", segment(name));
    let flag = |on: bool| on.then(|| "true".to_owned());
    let query = [("drain", flag(drain)), ("purge", flag(purge))];
    let report: CloseReport = ask(global, Method::DELETE, &path, &query).await?;
    if global.json {
        return print_json(&serde_json::to_value(&report).map_err(anyhow::Error::new)?);
    }
    let life = report.life.map_or_else(
        || "gone".to_owned(),
        |life| format!("{life:?}").to_lowercase(),
    );
    println!(
        "{name} is {life}; generator: {} after {} ms; {} claims given back, {} messages left",
        format!("{:?}", report.generator).to_lowercase(),
        report.waited_ms,
        report.released,
        report.pending_left
    );
    Ok(())
}

pub(super) async fn purge(global: &Global, name: &str) -> Result<(), CliError> {
    close(global, name, false, true).await
}

pub(super) async fn messages(global: &Global, args: MessagesArgs) -> Result<(), CliError> {
    match args.command {
        None => {
            let query = [
                ("session", args.session),
                ("state", args.state),
                ("after", args.after.map(|id| id.to_string())),
                ("limit", Some(args.limit.to_string())),
            ];
            list_messages(global, &query).await
        }
        Some(MessageCommand::Show { message }) => {
            let path = format!("/v1/messages/{message}");
            let answer: Value = ask(global, Method::GET, &path, &[]).await?;
            print_json(&answer)
        }
        Some(MessageCommand::Cancel { message }) => {
            let path = format!("/v1/messages/{message}");
            let answer: Value = ask(global, Method::DELETE, &path, &[]).await?;
            if global.json {
                return print_json(&answer);
            }
            println!("message {message} is cancelled");
            Ok(())
        }
    }
}

async fn list_messages(global: &Global, query: &[(&str, Option<String>)]) -> Result<(), CliError> {
    let answer: Value = ask(global, Method::GET, "/v1/messages", query).await?;
    if global.json {
        return print_json(&answer);
    }
    let messages: Vec<Message> = part(&answer, "messages")?;
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
    Ok(())
}

pub(super) async fn dead(global: &Global, command: DeadCommand) -> Result<(), CliError> {
    match command {
        DeadCommand::List { session } => {
            let query = [("state", Some("dead".to_owned())), ("session", session)];
            list_messages(global, &query).await
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
            let query = [("session", session)];
            let answer: Value = ask(global, Method::POST, "/v1/dead/redrive", &query).await?;
            let redriven: Vec<Redriven> = part(&answer, "redriven")?;
            show_redriven(global, &redriven)
        }
    }
}

fn show_redriven(global: &Global, redriven: &[Redriven]) -> Result<(), CliError> {
    if global.json {
        return print_json(&serde_json::to_value(redriven).map_err(anyhow::Error::new)?);
    }
    for message in redriven {
        let place = if message.kept_place {
            "in its old place"
        } else {
            "as the last of its session, since later ones were worked already"
        };
        println!("message {} is pending, {place}", message.message);
    }
    if redriven.is_empty() {
        println!("no message is dead");
    }
    Ok(())
}

pub(super) async fn results(global: &Global, args: ResultsArgs) -> Result<(), CliError> {
    let path = format!("/v1/sessions/{}/results", segment(&args.session));
    let query = [
        ("kind", args.kind),
        ("newest_first", args.latest.then(|| "true".to_owned())),
        (
            "limit",
            Some(if args.latest { 1 } else { args.limit }.to_string()),
        ),
    ];
    let answer: Value = ask(global, Method::GET, &path, &query).await?;
    if global.json {
        return print_json(&answer);
    }
    let results: Vec<StoredResult> = part(&answer, "results")?;
    if args.latest {
        for stored in &results {
            println!("{}\n\n{}", stored.result.title, stored.result.body);
        }
        return Ok(());
    }
    let is_shown =
        |stored: &&StoredResult| args.trace || !stored.result.tags.iter().any(|tag| tag == "trace");
    let rows = results
        .iter()
        .filter(is_shown)
        .map(|stored| {
            vec![
                stored.seq.to_string(),
                clock_time(stored.accepted_at),
                stored.result.kind.clone(),
                stored.result.title.clone(),
            ]
        })
        .collect();
    print(&["seq", "fired", "kind", "title"], rows);
    Ok(())
}

pub(super) async fn search(global: &Global, args: SearchArgs) -> Result<(), CliError> {
    if args.rebuild {
        let _accepted: Value = ask(global, Method::POST, "/v1/admin/reindex", &[]).await?;
        println!("the index is being made anew; `sessiond doctor` shows how far it is");
        return Ok(());
    }
    let query = [
        ("q", Some(args.query.join(" "))),
        ("project", args.project),
        ("session", args.session),
        ("agent", args.agent),
        ("kind", args.kind),
        ("include_trace", args.trace.then(|| "true".to_owned())),
        ("limit", Some(args.limit.to_string())),
    ];
    let answer: Value = ask(global, Method::GET, "/v1/search", &query).await?;
    if global.json {
        return print_json(&answer);
    }
    let hits: Vec<Hit> = part(&answer, "hits")?;
    if hits.is_empty() {
        println!("nothing found");
    }
    for hit in hits {
        println!(
            "{}  {} {}  {}",
            clock_time(hit.accepted_at),
            hit.agent,
            hit.kind,
            hit.title
        );
        println!("    {}", short(&hit.snippet, 160));
    }
    Ok(())
}

pub(super) async fn context(global: &Global, project: &str) -> Result<(), CliError> {
    // The worker has another working directory; a project is named by its whole path.
    let path = std::path::absolute(project).map_err(anyhow::Error::new)?;
    let project = std::fs::canonicalize(&path).unwrap_or(path);
    let query = [("project", Some(project.to_string_lossy().into_owned()))];
    let answer: Value = ask(global, Method::GET, "/v1/context", &query).await?;
    if global.json {
        return print_json(&answer);
    }
    match answer["context"].as_str() {
        Some(text) => println!("{text}"),
        None => println!("nothing is known of {} yet", project.display()),
    }
    Ok(())
}

async fn ask<T: DeserializeOwned>(
    global: &Global,
    method: Method,
    path: &str,
    query: &[(&str, Option<String>)],
) -> Result<T, CliError> {
    Client::new(global)?.send(method, path, query).await
}

fn part<T: DeserializeOwned>(answer: &Value, name: &str) -> Result<T, CliError> {
    Ok(serde_json::from_value(answer[name].clone()).map_err(anyhow::Error::new)?)
}

fn print_json(value: &Value) -> Result<(), CliError> {
    println!(
        "{}",
        serde_json::to_string_pretty(value).map_err(anyhow::Error::new)?
    );
    Ok(())
}
