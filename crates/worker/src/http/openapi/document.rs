//! The document, made from the annotations beside the handlers.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;
use utoipa::openapi::extensions::ExtensionsBuilder;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::schema::Schema;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ComponentsBuilder, OpenApi as Document, Ref, RefOr, Response};
use utoipa::{Modify, OpenApi};

use super::refusals;
use crate::events::known_types;
use crate::http::access::Access;
use crate::http::{
    access_table, admin, clients, events, hooks, messages, output, search, sessions, worktrees,
};

/// An answer of each kind, by the name of its schema.
const EXAMPLES: &str = include_str!("examples.json");

const DESCRIPTION: &str = "\
The API of a sessiond worker, over its unix socket (for its owner and root, without a token) and over \
loopback TCP (for the bearer of the worker's token). On both sides the bearer of a client's token \
(`POST /v1/clients/register`) may do what `x-access` of an operation says. A body, whatever the method, \
is `application/json`.

`x-access` names who may use an operation besides the owner, who may use all: `open` everybody, without \
a token; `owner` nobody else; `client` every client, of itself; `itself` the client that the path names; \
`own_session` the client whose session the path names; `own_project` likewise, and every client of that \
session's project; `narrowed` every client, which is shown what is of its project or else its session.

A session is named by its id or as `agent:key`. Times are milliseconds since 1970. Every refusal of \
the API is `{error: {code, message, details}}`; what is no HTTP at all, a head that is too large (431) \
and a request that is not whole in time are answered, if at all, without a body. New fields may come \
into answers at any time; unknown fields of requests are refused.";

const BEARER: &str = "\
The worker's own token, in the file that the discovery file names, which opens everything; or that of a \
client, which opens what `x-access` says. Over the unix socket none is needed, and then the caller is \
the owner.";

#[derive(OpenApi)]
#[openapi(
    paths(
        hooks::post,
        sessions::open,
        sessions::list,
        sessions::show,
        sessions::patch,
        sessions::delete,
        sessions::results,
        sessions::restart,
        sessions::restart_failing,
        sessions::checkpoint,
        output::show,
        messages::enqueue,
        messages::list,
        messages::list_of_session,
        messages::show,
        messages::cancel,
        messages::cancel_of_session,
        messages::redrive,
        messages::redrive_all,
        messages::purge,
        messages::purge_all,
        search::search,
        search::context,
        worktrees::add,
        worktrees::list_of_session,
        worktrees::list,
        worktrees::remove_of_session,
        worktrees::remove_one_of_session,
        worktrees::remove,
        worktrees::prune,
        clients::register,
        clients::open,
        clients::list,
        clients::clear,
        clients::me,
        clients::show,
        clients::touch,
        clients::patch,
        clients::remove,
        events::follow,
        admin::status,
        admin::doctor,
        admin::doctor_too,
        admin::fix,
        admin::fix_too,
        admin::reindex,
        admin::shutdown,
        admin::livez,
        admin::readyz,
        admin::metrics,
        super::show,
    ),
    components(schemas(refusals::ErrorBody)),
    tags(
        (name = "hooks", description = "Events of agents."),
        (name = "sessions", description = "Sessions, and what runs for them."),
        (name = "messages", description = "What is queued, dead letters among it."),
        (name = "results", description = "What came of the messages."),
        (name = "worktrees", description = "Git worktrees of sessions."),
        (name = "clients", description = "Registered processes and connections."),
        (name = "admin", description = "The worker itself."),
        (name = "monitoring", description = "What monitors and tools ask for."),
    ),
    modifiers(&Common),
)]
struct Api;

/// The document as it is written to the tree.
pub(super) fn text() -> String {
    let mut text = document().to_pretty_json().expect("the document is JSON");
    text.push('\n');
    text
}

pub(super) fn document() -> Document {
    let mut document = Api::openapi();
    document.info.title = "sessiond".to_owned();
    document.info.description = Some(DESCRIPTION.to_owned());
    document.info.contact = None;
    name_events(&mut document);
    document
}

/// Adds the names of events to the parameter that takes them: an annotation is a constant.
fn name_events(document: &mut Document) {
    for (path, _, operation) in operations(document) {
        for parameter in operation.parameters.iter_mut().flatten() {
            let RefOr::T(parameter) = parameter else {
                continue;
            };
            if path == "/v1/events" && parameter.name == "type" {
                let description = parameter.description.get_or_insert_default();
                description.push_str(&format!(" They are {}.", known_types()));
            }
        }
    }
}

/// Every operation of the document, with its path and method.
pub(super) fn operations(document: &mut Document) -> Vec<(String, &str, &mut Operation)> {
    let mut found = Vec::new();
    for (path, item) in &mut document.paths.paths {
        let PathItem {
            get,
            put,
            post,
            delete,
            patch,
            ..
        } = item;
        let methods = [
            ("get", get),
            ("put", put),
            ("post", post),
            ("delete", delete),
            ("patch", patch),
        ];
        for (method, operation) in methods {
            if let Some(operation) = operation {
                found.push((path.clone(), method, operation));
            }
        }
    }
    found
}

/// What holds for every operation, so that no annotation has to say it.
struct Common;

impl Modify for Common {
    fn modify(&self, document: &mut Document) {
        let mut components = document.components.take().unwrap_or_default();
        let examples: BTreeMap<String, Value> =
            serde_json::from_str(EXAMPLES).expect("the examples are an object");
        for (name, example) in examples {
            match components.schemas.get_mut(&name) {
                Some(RefOr::T(Schema::Object(schema))) => schema.example = Some(example),
                Some(RefOr::T(Schema::AllOf(schema))) => schema.example = Some(example),
                _ => panic!("{name} of the examples is no schema of an object"),
            }
        }
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some(BEARER))
            .build();
        let components = ComponentsBuilder::from(components)
            .responses_from_iter(refusals::all())
            .security_scheme("bearer", SecurityScheme::Http(bearer))
            .build();
        document.components = Some(components);
        let access_of: HashMap<String, Access> = access_table()
            .routes()
            .into_iter()
            .map(|(method, path, access)| (named(method.as_str(), path), access))
            .collect();
        for (path, method, operation) in operations(document) {
            operation.operation_id = Some(operation_id(method, &path));
            // One that is no route is found by a test.
            let access = access_of.get(&named(method, &path));
            let access = access.copied().unwrap_or(Access::Owner);
            let extensions = ExtensionsBuilder::new().add("x-access", word(access));
            operation.extensions = Some(extensions.build());
            for (status, refusal) in common_refusals(access, operation) {
                let reference: RefOr<Response> = Ref::from_response_name(refusal).into();
                let responses = &mut operation.responses.responses;
                responses.entry(status.to_owned()).or_insert(reference);
            }
            let open = utoipa::openapi::SecurityRequirement::default();
            let scopes: [String; 0] = [];
            let bearer = utoipa::openapi::SecurityRequirement::new("bearer", scopes);
            operation.security = Some(match access {
                Access::Open => vec![open],
                _ => vec![bearer],
            });
        }
    }
}

/// `get /path`.
pub(super) fn named(method: &str, path: &str) -> String {
    format!("{} {path}", method.to_lowercase())
}

/// The value of `x-access`.
fn word(access: Access) -> &'static str {
    match access {
        Access::Open => "open",
        Access::Owner => "owner",
        Access::Client => "client",
        Access::Itself => "itself",
        Access::OwnSession => "own_session",
        Access::OwnProject => "own_project",
        Access::Narrowed => "narrowed",
    }
}

/// Of a shape that no two have: `get_v1_sessions_session_results`.
fn operation_id(method: &str, path: &str) -> String {
    let is_word = |c: char| c.is_ascii_alphanumeric();
    let words = path.split(|c| !is_word(c)).filter(|word| !word.is_empty());
    let words: Vec<_> = std::iter::once(method).chain(words).collect();
    words.join("_")
}

fn common_refusals(access: Access, operation: &Operation) -> Vec<(&'static str, &'static str)> {
    let mut refusals = vec![("415", "UnsupportedMediaType")];
    if access == Access::Open {
        refusals.push(("403", "ForbiddenHost"));
        return refusals;
    }
    refusals.extend([
        ("401", "Unauthorized"),
        ("403", "Forbidden"),
        ("500", "Failed"),
        ("503", "Stopping"),
    ]);
    if operation.request_body.is_some() {
        refusals.extend([("408", "BodyTimeout"), ("413", "TooLarge")]);
    }
    refusals
}
