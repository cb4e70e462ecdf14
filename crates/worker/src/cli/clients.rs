//! The commands about clients: list, show, remove; and how many there are, in a line.

use clap::{Args, Subcommand, ValueEnum};
use reqwest::Method;
use serde_json::{Value, json};

use super::client::{ask, part, print_json};
use super::pages::list_limit;
use super::table::{ago, clock_time, or_dash, print, print_pairs, short};
use super::{CliError, Global};
use crate::clients::{ClientId, ClientsReport, Counts};
use crate::http::ShownClient;

/// Filters of the listing.
#[derive(Args)]
pub(super) struct ClientsArgs {
    /// Only of this kind.
    #[arg(long, value_enum)]
    kind: Option<WantedKind>,
    /// Only that of this session, named by its id or as AGENT:KEY.
    #[arg(long, value_parser = super::sessions::session_name)]
    session: Option<String>,
    /// At most so many.
    #[arg(long, default_value_t = 50, value_parser = list_limit())]
    limit: u32,
}

/// The kinds of clients, as they are typed.
#[derive(Clone, Copy, ValueEnum)]
enum WantedKind {
    Registered,
    Http,
    Mcp,
}

impl WantedKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Registered => "registered",
            Self::Http => "http",
            Self::Mcp => "mcp",
        }
    }
}

/// What is done with one client.
#[derive(Subcommand)]
pub(super) enum ClientCommand {
    /// Show one client.
    Show {
        /// Its id.
        #[arg(value_parser = client_id)]
        client: ClientId,
    },
    /// Remove one client; its token is refused from then on.
    Remove {
        /// Its id.
        #[arg(value_parser = client_id)]
        client: ClientId,
    },
}

/// A client's id as it was typed.
fn client_id(text: &str) -> Result<ClientId, &'static str> {
    let problem = "a client is named by its id, a UUID; list them with: sessiond clients";
    text.parse().map_err(|_| problem)
}

pub(super) async fn clients(global: &Global, args: ClientsArgs) -> Result<(), CliError> {
    let query = [
        ("kind", args.kind.map(|kind| kind.as_str().to_owned())),
        ("session", args.session),
        ("limit", Some(args.limit.to_string())),
    ];
    let answer: Value = ask(global, Method::GET, "/v1/clients", &query).await?;
    if global.json {
        return print_json(&answer);
    }
    let clients: Vec<ShownClient> = part(&answer, "clients")?;
    let rows = clients.iter().map(|shown| {
        let client = &shown.client;
        vec![
            client.id.to_string(),
            client.kind.as_str().to_owned(),
            short(&client.name, 32),
            or_dash(client.pid),
            session(shown),
            format!("{} ago", ago(client.touched_at)),
            clock_time(client.expires_at),
        ]
    });
    let headings = [
        "client", "kind", "name", "pid", "session", "touched", "expires",
    ];
    print(&headings, rows.collect());
    let count = answer["count"].as_u64().unwrap_or_default();
    if count > clients.len() as u64 {
        println!("{} of {count}", clients.len());
    }
    Ok(())
}

pub(super) async fn client(global: &Global, command: ClientCommand) -> Result<(), CliError> {
    match command {
        ClientCommand::Show { client } => {
            let shown: Value = ask(global, Method::GET, &path(client), &[]).await?;
            if global.json {
                return print_json(&shown);
            }
            let shown: ShownClient = serde_json::from_value(shown).map_err(anyhow::Error::new)?;
            let session = session(&shown);
            let client = shown.client;
            print_pairs(&[
                ("client", client.id.to_string()),
                ("kind", client.kind.as_str().to_owned()),
                ("name", client.name),
                ("version", or_dash(client.version)),
                ("pid", or_dash(client.pid)),
                ("session", session),
                ("project", or_dash(client.project)),
                ("cwd", or_dash(client.cwd)),
                ("role", or_dash(client.role)),
                ("groups", client.groups.join(", ")),
                ("metadata", Value::Object(client.metadata).to_string()),
                ("registered", format!("{} ago", ago(client.created_at))),
                ("touched", format!("{} ago", ago(client.touched_at))),
                ("expires", clock_time(client.expires_at)),
            ]);
        }
        ClientCommand::Remove { client } => {
            let removed: Value = ask(global, Method::DELETE, &path(client), &[]).await?;
            if global.json {
                return print_json(&json!({ "removed": removed }));
            }
            println!("removed {client}");
        }
    }
    Ok(())
}

/// The session of a client, as other tables name it; by its id when it is purged.
fn session(shown: &ShownClient) -> String {
    let id = || or_dash(shown.client.session);
    shown.session_name.clone().unwrap_or_else(id)
}

fn path(client: ClientId) -> String {
    format!("/v1/clients/{client}")
}

/// How many there are.
pub(super) fn counts(counts: &Counts) -> String {
    let Counts {
        registered,
        http,
        mcp,
    } = counts;
    format!("{registered} registered, {http} http, {mcp} mcp")
}

/// The same, with how their ends come to be known.
pub(super) fn report(report: &ClientsReport) -> String {
    let mut text = format!(
        "{}; {} watched",
        counts(&report.counts),
        processes(report.watched)
    );
    for (number, what) in [
        (report.swept, "looked at every 5 s"),
        (report.unverifiable, "in doubt"),
        (report.skipped, "kept aside"),
    ] {
        if number > 0 {
            text.push_str(&format!(", {number} {what}"));
        }
    }
    text
}

fn processes(number: usize) -> String {
    crate::words::processes(u64::try_from(number).unwrap_or(u64::MAX))
}
