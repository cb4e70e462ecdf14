//! The commands about sessions: list, show, output, checkpoint, restart, close, purge.

use std::io::IsTerminal;

use clap::{Args, Subcommand};
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use sessiond_queue::ids::SessionId;
use sessiond_queue::types::Session;

use super::client::{Client, ask, part, print_json, segment};
use super::pages::list_limit;
use super::spawns;
use super::table::{ago, clean, clock_time, or_dash, print, print_pairs, short};
use super::{CliError, Global, worktree};
use crate::doctor::SpawnReport;
use crate::generator::About;
use crate::sessions::{CloseReport, GeneratorEnd, Live};
use crate::words::counted;
use crate::worktrees::{Outcome, SettledWorktree};

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
    #[arg(long, default_value_t = 20, value_parser = list_limit())]
    limit: u32,
}

/// `sessiond session`.
#[derive(Subcommand)]
pub(super) enum SessionCommand {
    /// Show everything known of it.
    Show {
        /// Its id, or AGENT:KEY.
        #[arg(value_parser = session_name)]
        session: String,
    },
    /// Print what its programs wrote last.
    Output {
        /// Its id, or AGENT:KEY.
        #[arg(value_parser = session_name)]
        session: String,
        /// What they said to people, or the lines of the protocol.
        #[arg(long, value_parser = ["stderr", "stdout"], default_value = "stderr")]
        stream: String,
    },
    /// Print the state that its generator goes on from, as the generator gave it.
    Checkpoint {
        /// Its id, or AGENT:KEY.
        #[arg(value_parser = session_name)]
        session: String,
    },
    /// Let it start generators again after it was failing, and ask its provider at once.
    Restart {
        /// Its id, or AGENT:KEY.
        #[arg(value_parser = session_name, required_unless_present = "all")]
        session: Option<String>,
        /// Every session that is failing.
        #[arg(long, conflicts_with = "session")]
        all: bool,
    },
    /// End it; its rows stay, and messages left pending are worked afterwards.
    Close {
        /// Its id, or AGENT:KEY.
        #[arg(value_parser = session_name)]
        session: String,
        /// Work its backlog before it ends.
        #[arg(long)]
        drain: bool,
        /// Delete its rows too.
        #[arg(long)]
        purge: bool,
    },
}

/// A session as the API shows it.
#[derive(Deserialize)]
struct Shown {
    #[serde(flatten)]
    session: Session,
    residence: String,
    kind: String,
    live: Option<Live>,
    generator: Option<About>,
    waiting: Option<String>,
    /// This and the next one only of a session that is shown by itself.
    #[serde(default)]
    agents: Vec<u32>,
    #[serde(default)]
    processes: Vec<SpawnReport>,
}

/// A session's name as it was typed; what is none would ask for something else.
pub(super) fn session_name(name: &str) -> Result<String, &'static str> {
    match name.contains(':') || name.parse::<SessionId>().is_ok() {
        true => Ok(name.to_owned()),
        false => {
            Err("a session is named by its id or as AGENT:KEY; list them with: sessiond sessions")
        }
    }
}

impl Shown {
    fn state(&self) -> String {
        match &self.live {
            _ if self.session.failing.is_some() => "failing".to_owned(),
            Some(live) => format!("{:?}", live.activity).to_lowercase(),
            None => self.residence.clone(),
        }
    }
}

pub(super) async fn sessions(global: &Global, args: SessionsArgs) -> Result<(), CliError> {
    let query = [
        ("agent", args.agent),
        (
            "project",
            args.project.as_deref().map(super::project).transpose()?,
        ),
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
                format!("{} ago", ago(session.active_at)),
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
        SessionCommand::Output { session, stream } => output(global, &session, stream).await,
        SessionCommand::Checkpoint { session } => checkpoint(global, &session).await,
        SessionCommand::Restart {
            session: Some(session),
            ..
        } => restart(global, &session).await,
        SessionCommand::Restart { session: None, .. } => restart_failing(global).await,
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
    let agents: Vec<String> = shown.agents.iter().map(u32::to_string).collect();
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
        (
            "agent pids",
            or_dash((!agents.is_empty()).then(|| agents.join(", "))),
        ),
        ("pending", session.pending.to_string()),
        ("dead", session.dead.to_string()),
        ("failures", session.consecutive_failures.to_string()),
        ("last error", or_dash(session.last_error.as_deref())),
        (
            "generator",
            match &shown.generator {
                Some(about) => spawns::about(about),
                None => format!("{} (not running)", shown.kind),
            },
        ),
        ("waiting", or_dash(shown.waiting.as_deref())),
        (
            "restarts",
            shown
                .live
                .as_ref()
                .map_or(0, |live| live.restarts)
                .to_string(),
        ),
        ("failing", or_dash(session.failing.as_deref())),
        ("usage", spawns::usage(&session.usage)),
        (
            "metadata",
            Value::Object(session.metadata.clone()).to_string(),
        ),
    ];
    print_pairs(&rows);
    for spawn in &shown.processes {
        println!();
        spawns::print_tree(spawn);
    }
    Ok(())
}

async fn output(global: &Global, name: &str, stream: String) -> Result<(), CliError> {
    let path = format!("/v1/sessions/{}/output", segment(name));
    let query = [("stream", Some(stream.clone()))];
    let text = Client::new(global)?.get_text_of(&path, &query).await?;
    if global.json {
        return print_json(&json!({ "stream": stream, "text": text }));
    }
    print_as_it_is(&text);
    Ok(())
}

async fn checkpoint(global: &Global, name: &str) -> Result<(), CliError> {
    let path = format!("/v1/sessions/{}/checkpoint", segment(name));
    let text = Client::new(global)?.get_text(&path).await?;
    print_as_it_is(&format!("{text}\n"));
    Ok(())
}

/// Prints what a program gave: unchanged into a pipe, cleaned for a terminal.
fn print_as_it_is(text: &str) {
    if std::io::stdout().is_terminal() {
        print!("{}", clean(text));
    } else {
        print!("{text}");
    }
}

async fn restart(global: &Global, name: &str) -> Result<(), CliError> {
    let path = format!("/v1/sessions/{}/restart", segment(name));
    let answer: Value = ask(global, Method::POST, &path, &[]).await?;
    if global.json {
        return print_json(&answer);
    }
    let pending = answer["pending"].as_i64().unwrap_or(0);
    let waiting = match pending {
        0 => "no message is waiting".to_owned(),
        pending => format!("{} waiting", counted(pending, "message")),
    };
    let provider = if answer["asks_provider"] == true {
        "; its provider was away and is asked at once"
    } else {
        ""
    };
    println!("{name} may start its generator; {waiting}{provider}");
    Ok(())
}

async fn restart_failing(global: &Global) -> Result<(), CliError> {
    // Each of them is a write.
    let answer: Value = Client::new(global)?
        .send_and_wait(Method::POST, "/v1/failing/restart", &[])
        .await?;
    if global.json {
        return print_json(&answer);
    }
    let restarted: Vec<SessionId> = part(&answer, "restarted")?;
    match restarted.len() as u64 {
        0 => println!("no session is failing"),
        count => println!("{} may start generators again", counted(count, "session")),
    }
    Ok(())
}

async fn close(global: &Global, name: &str, drain: bool, purge: bool) -> Result<(), CliError> {
    let path = format!("/v1/sessions/{}", segment(name));
    let flag = |on: bool| on.then(|| "true".to_owned());
    let query = [("drain", flag(drain)), ("purge", flag(purge))];
    // It takes as long as a generator may take to stop, or the backlog to be worked.
    let report: CloseReport = Client::new(global)?
        .send_and_wait(Method::DELETE, &path, &query)
        .await?;
    if global.json {
        return print_json(&serde_json::to_value(&report).map_err(anyhow::Error::new)?);
    }
    println!("{name} {}", closed(&report));
    if let Some(words) = spawns::reaped(&report.reaped) {
        println!("{words}");
    }
    worktree::print_kept(&report.worktrees);
    Ok(())
}

/// What a close did, in words, and only what was so.
fn closed(report: &CloseReport) -> String {
    let mut words = report.life.map_or_else(
        || "is gone".to_owned(),
        |life| format!("is {}", format!("{life:?}").to_lowercase()),
    );
    let waited_ms = report.waited_ms;
    match report.generator {
        GeneratorEnd::None => {}
        GeneratorEnd::Stopped => {
            words.push_str(&format!("; its generator ended after {waited_ms} ms"));
        }
        GeneratorEnd::Aborted => {
            words.push_str(&format!("; its generator was aborted after {waited_ms} ms"));
        }
    }
    if report.released > 0 {
        let claims = counted(report.released, "claim");
        words.push_str(&format!("; {claims} given back"));
    }
    let is_removed = |settled: &&SettledWorktree| settled.outcome == Outcome::Removed;
    let removed = report.worktrees.iter().filter(is_removed).count() as u64;
    if removed > 0 {
        words.push_str(&format!("; {} removed", counted(removed, "worktree")));
    }
    if report.tokens_revoked > 0 {
        let tokens = counted(report.tokens_revoked, "token");
        words.push_str(&format!("; {tokens} revoked"));
    }
    if report.pending_left > 0 {
        let messages = counted(report.pending_left, "message");
        words.push_str(&format!("; {messages} left, to be worked afterwards"));
    }
    words
}

pub(super) async fn purge(global: &Global, name: &str) -> Result<(), CliError> {
    close(global, name, false, true).await
}

#[cfg(test)]
mod tests {
    use sessiond_queue::types::Life;

    use super::*;
    use crate::sessions::Depth;

    #[test]
    fn close_is_told_in_words_and_only_what_was_so() {
        let nothing = CloseReport {
            session: SessionId::mint(),
            depth: Depth::Close,
            generator: GeneratorEnd::None,
            waited_ms: 0,
            reaped: Vec::new(),
            released: 0,
            pending_left: 0,
            worktrees: Vec::new(),
            tokens_revoked: 0,
            life: Some(Life::Ended),
        };
        assert_eq!(closed(&nothing), "is ended");
        let aborted = CloseReport {
            generator: GeneratorEnd::Aborted,
            waited_ms: 12,
            released: 1,
            pending_left: 1,
            ..nothing.clone()
        };
        assert_eq!(
            closed(&aborted),
            "is ended; its generator was aborted after 12 ms; 1 claim given back; \
             1 message left, to be worked afterwards"
        );
        let purged = CloseReport {
            life: None,
            tokens_revoked: 1,
            ..nothing
        };
        assert_eq!(closed(&purged), "is gone; 1 token revoked");
    }
}
