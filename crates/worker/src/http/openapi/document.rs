//! The document, made from the annotations beside the handlers.

use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ComponentsBuilder, OpenApi as Document, Ref, RefOr, Response};
use utoipa::{Modify, OpenApi};

use super::refusals;
use crate::http::{admin, events, hooks, messages, output, search, sessions, worktrees};

const DESCRIPTION: &str = "\
The API of a sessiond worker, over its unix socket (for its owner and root, without a token) and over \
loopback TCP (for the bearer of the token, `application/json` only).

A session is named by its id or as `agent:key`. Times are milliseconds since 1970. Every refusal of \
the API is `{error: {code, message, details}}`; what is no HTTP at all, a head that is too large (431) \
and a request that is not whole in time are answered, if at all, without a body. New fields may come \
into answers at any time; unknown fields of requests are refused.";

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
    document
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
        let components = document.components.take().unwrap_or_default();
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        let components = ComponentsBuilder::from(components)
            .responses_from_iter(refusals::all())
            .security_scheme("bearer", SecurityScheme::Http(bearer))
            .build();
        document.components = Some(components);
        for (path, method, operation) in operations(document) {
            operation.operation_id = Some(operation_id(method, &path));
            for (status, refusal) in common_refusals(&path, method, operation) {
                let reference: RefOr<Response> = Ref::from_response_name(refusal).into();
                let responses = &mut operation.responses.responses;
                responses.entry(status.to_owned()).or_insert(reference);
            }
            let open = utoipa::openapi::SecurityRequirement::default();
            let scopes: [String; 0] = [];
            let bearer = utoipa::openapi::SecurityRequirement::new("bearer", scopes);
            operation.security = Some(match path.as_str() {
                "/livez" => vec![open],
                _ => vec![bearer],
            });
        }
    }
}

/// Of a shape that no two have: `get_v1_sessions_session_results`.
fn operation_id(method: &str, path: &str) -> String {
    let is_word = |c: char| c.is_ascii_alphanumeric();
    let words = path.split(|c| !is_word(c)).filter(|word| !word.is_empty());
    let words: Vec<_> = std::iter::once(method).chain(words).collect();
    words.join("_")
}

fn common_refusals(
    path: &str,
    method: &str,
    operation: &Operation,
) -> Vec<(&'static str, &'static str)> {
    let mut refusals = vec![("403", "Forbidden")];
    if path == "/livez" {
        return refusals;
    }
    refusals.extend([
        ("401", "Unauthorized"),
        ("500", "Failed"),
        ("503", "Stopping"),
    ]);
    if matches!(method, "post" | "patch") {
        refusals.push(("415", "UnsupportedMediaType"));
    }
    if operation.request_body.is_some() {
        refusals.extend([("408", "BodyTimeout"), ("413", "TooLarge")]);
    }
    refusals
}
