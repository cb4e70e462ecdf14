//! The commands about results: list, search, context.

use clap::Args;
use reqwest::Method;
use serde_json::Value;
use sessiond_queue::types::StoredResult;

use super::client::{Client, ask, part, print_json, segment};
use super::pages::{List, print_more};
use super::sessions::session_name;
use super::table::{clean, clock_time, print, short};
use super::{CliError, Global};
use crate::search::{HITS_MAX, Hit};

/// `sessiond results`.
#[derive(Args)]
pub(super) struct ResultsArgs {
    /// The session's id, or AGENT:KEY.
    #[arg(value_parser = session_name)]
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
    /// Only after this result.
    #[arg(long, conflicts_with = "latest")]
    after: Option<i64>,
    /// At most so many.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
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
    #[arg(long, value_parser = session_name)]
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
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=i64::from(HITS_MAX)))]
    limit: u32,
    /// Make the index anew from the results.
    #[arg(long, conflicts_with_all = ["query", "project", "session", "agent", "kind", "trace"])]
    rebuild: bool,
}

pub(super) async fn results(global: &Global, args: ResultsArgs) -> Result<(), CliError> {
    let path = format!("/v1/sessions/{}/results", segment(&args.session));
    if global.json || args.latest {
        let limit = if args.latest { 1 } else { args.limit };
        let kind = args.kind;
        let query = [
            ("kind", kind.clone()),
            ("newest_first", args.latest.then(|| "true".to_owned())),
            ("after", args.after.map(|id| id.to_string())),
            ("limit", Some(limit.to_string())),
        ];
        let answer: Value = ask(global, Method::GET, &path, &query).await?;
        if global.json {
            return print_json(&answer);
        }
        let results: Vec<StoredResult> = part(&answer, "results")?;
        if results.is_empty() {
            let of_kind = kind.map_or_else(String::new, |kind| format!(" of kind {kind}"));
            println!("session {} has no result{of_kind} yet", args.session);
        }
        for stored in &results {
            let (title, body) = (&stored.result.title, &stored.result.body);
            println!("{}\n\n{}", clean(title), clean(body));
        }
        return Ok(());
    }
    let list = List {
        path: &path,
        name: "results",
        query: &[("kind", args.kind)],
        after: args.after,
        limit: args.limit,
        is_shown: &|stored: &StoredResult| {
            args.trace || !stored.result.tags.iter().any(|tag| tag == "trace")
        },
        id: &|stored| stored.id.0,
    };
    let (results, more) = list.read(global).await?;
    let rows = results
        .iter()
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
    print_more(more);
    Ok(())
}

pub(super) async fn search(global: &Global, args: SearchArgs) -> Result<(), CliError> {
    if args.rebuild {
        let accepted: Value = ask(global, Method::POST, "/v1/admin/reindex", &[]).await?;
        if global.json {
            return print_json(&accepted);
        }
        println!("the index is being made anew; `sessiond doctor` shows how far it is");
        return Ok(());
    }
    let query = [
        ("q", Some(args.query.join(" "))),
        (
            "project",
            args.project.as_deref().map(super::project).transpose()?,
        ),
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
            clean(&hit.title)
        );
        println!("    {}", short(&hit.snippet, 160));
    }
    Ok(())
}

pub(super) async fn context(global: &Global, project: &str) -> Result<(), CliError> {
    let project = super::project(project)?;
    let query = [("project", Some(project.clone()))];
    // A session of the project that is just closing is waited for.
    let answer: Value = Client::new(global)?
        .send_and_wait(Method::GET, "/v1/context", &query)
        .await?;
    if global.json {
        return print_json(&answer);
    }
    match answer["context"].as_str() {
        Some(text) => println!("{}", clean(text)),
        None => println!("nothing is known of {project} yet"),
    }
    Ok(())
}
