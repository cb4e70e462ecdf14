//! The answers that say no, each a component of the document: `{error: {code, message, details}}`.

use serde_json::{Value, json};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{ToResponse, ToSchema};

/// A request that was not done.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the shape of what `ApiError` answers with")]
pub(super) struct ErrorBody {
    error: ErrorDetail,
}

/// Why it was not.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the shape of what `ApiError` answers with")]
pub(super) struct ErrorDetail {
    /// A word for programs.
    code: String,
    /// For people.
    message: String,
    /// What belongs to the code, for example the `field` that is wrong.
    #[schema(value_type = Object)]
    details: Value,
}

macro_rules! refusals {
    ($($name:ident: $description:literal, $code:literal, $message:literal, $details:tt;)*) => {
        $(
            #[doc = $description]
            pub(in crate::http) struct $name;

            impl<'r> ToResponse<'r> for $name {
                fn response() -> (&'r str, RefOr<Response>) {
                    let example = json!({
                        "error": { "code": $code, "message": $message, "details": $details }
                    });
                    let content = ContentBuilder::new()
                        .schema(Some(Ref::from_schema_name("ErrorBody")))
                        .example(Some(example))
                        .build();
                    let response = ResponseBuilder::new()
                        .description($description)
                        .content("application/json", content)
                        .build();
                    (stringify!($name), response.into())
                }
            }
        )*

        /// All of them, by name.
        pub(super) fn all() -> Vec<(&'static str, RefOr<Response>)> {
            vec![$($name::response()),*]
        }
    };
}

refusals! {
    InvalidRequest: "Something of it is not what it must be: `invalid_field` and `field_missing` \
        name the field; `invalid_query`, `invalid_json`, `invalid_body` and `payload_not_json` say \
        what is wrong.",
        "invalid_field", "field message must be a whole number", { "field": "message" };
    Unauthorized: "Over TCP: without a bearer token. On both sides: with one that is not known, or \
        not any more. Over the unix socket the owner needs none.",
        "unauthorized",
        "a bearer token is needed: that of the file named by the discovery file, or a client's", {};
    Forbidden: "Over TCP: the Host or Origin header is not this worker's. On both sides: a client's \
        token does not reach this, or what it names is not there.",
        "forbidden", "the client's token does not reach this", {};
    ForbiddenHost: "Over TCP: the Host or Origin header is not this worker's.",
        "forbidden", "the Host header is not this worker's", {};
    UnknownSession: "There is no such session.",
        "unknown_session", "session claude-code:1f0c does not exist", {};
    UnknownMessage: "There is no such message.",
        "unknown_message", "message 42 does not exist", {};
    UnknownAgent: "No agent of that name is known.",
        "unknown_agent", "agent nobody is not known", {};
    UnknownOutput: "There is no such session, or no program of it wrote anything \
        (`unknown_output`).",
        "unknown_session", "session claude-code:1f0c does not exist", {};
    UnknownCheckpoint: "There is no such session, or it has no checkpoint yet \
        (`unknown_checkpoint`).",
        "unknown_session", "session claude-code:1f0c does not exist", {};
    UnknownWorktree: "There is no such session, or no such worktree of it (`unknown_worktree`).",
        "unknown_worktree", "worktree 01a2… does not exist", {};
    UnknownClient: "There is no such client, or not any more.",
        "unknown_client", "client 01a2… does not exist", {};
    ClientRefused: "The session is not open (`session_not_open`), the token is another client's \
        (`token_in_use`), the id is that of a client of another kind (`wrong_kind`), or HTTP and MCP \
        sessions are switched off (`clients_disabled`).",
        "session_not_open", "session 01a2… is ended, not open", { "life": "ended" };
    ClientsFull: "There are as many clients as may be.",
        "too_many_clients", "register a client: there are 10000 already (clients.clients_max)",
        { "limit": 10000, "name": "clients.clients_max" };
    WorktreeRefused: "Something would be lost (`would_lose`, with `reasons`), or it cannot be told \
        (`cannot_tell`); the session is not open, the repository is empty, the place unusable, or \
        git refused.",
        "git_refused", "git worktree add ended with 128", {};
    GitTimeout: "git did not end in time.",
        "git_timeout", "git worktree add did not end in time", {};
    BodyTimeout: "The body paused, or took, too long.",
        "body_timeout", "nothing of the body came for 5000 ms (http.body_pause_max_ms)", {};
    WrongState: "The message is not in a state in which that can be done.",
        "wrong_state", "message 42 is done", { "state": "done" };
    TooLarge: "The body or the payload is over its limit.",
        "payload_too_large",
        "the body is over the limit of 2097152 bytes (http.body_max_bytes)", {};
    UnsupportedMediaType: "The content type is not `application/json`.",
        "unsupported_media_type", "the content type must be application/json", {};
    Full: "There are as many messages or worktrees as may be.",
        "session_full", "10000 messages of the session are pending", { "limit": 10000 };
    Failed: "The worker could not do it; its log says why.",
        "store_failed", "the database cannot be used", {};
    Stopping: "Not now: the worker stops, or something that it needs is not there or busy.",
        "store_failed", "the store is closed", {};
}
