//! `/v1/clients`: register, open, list, show, touch, merge metadata, remove.
//!
//! `shown` is how a client is answered, `refusals` what is answered instead.

mod refusals;
mod shown;

use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use secrecy::SecretString;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};

use super::caller::Caller;
use super::extract::{Body, NoBody, Params, find_session_of, limit, path_of};
#[cfg(test)]
use super::openapi::refusals::{
    ClientRefused, ClientsFull, InvalidRequest, UnknownClient, UnknownSession,
};
use super::{Api, ApiError};
use crate::clients::limits::{LIST_DEFAULT, LIST_MAX};
use crate::clients::{About, ClientId, Filter, Kind, Opening, Registration, Token};

use self::refusals::unknown;
pub use self::shown::ShownClient;

/// A client named in the path by its id.
pub(super) struct ClientPath(ClientId);

impl<S: Send + Sync> FromRequestParts<S> for ClientPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let name: String = path_of(parts, state, "client").await?;
        let id = name.parse();
        id.map(Self)
            .map_err(|_| ApiError::invalid_field("client", "must be a UUID"))
    }
}

/// Body of `POST /v1/clients/register`.
#[derive(Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = RegisterClient, example = json!({"display_name": "claude", "session": "claude-code:1f0c", "pid": 4242, "cwd": "/home/me/work", "role": "agent", "groups": ["review"], "metadata": {"window": 3}})))]
#[serde(deny_unknown_fields)]
pub(super) struct RegisterBody {
    /// The session that the token is for, which must be open: its id, or `agent:key`.
    #[cfg_attr(test, schema(min_length = 1, max_length = 1100))]
    session: Option<String>,
    /// A process that runs; the client goes when it ends.
    #[cfg_attr(test, schema(minimum = 2, maximum = 2147483647))]
    pid: Option<u32>,
    /// What it is called.
    #[cfg_attr(
        test,
        schema(
            min_length = 1,
            max_length = 256,
            pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f]*$"
        )
    )]
    display_name: String,
    /// Where it works; without a session its project is found from there.
    #[cfg_attr(test, schema(max_length = 4096))]
    cwd: Option<String>,
    /// What it is there for, in a word of its own.
    #[cfg_attr(
        test,
        schema(max_length = 64, pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f]*$")
    )]
    role: Option<String>,
    /// What it belongs to, each at most 64 bytes without control characters.
    #[serde(default)]
    #[cfg_attr(test, schema(max_items = 32))]
    groups: Vec<String>,
    /// Free names and values, at most 16 KiB in all; `null` is left out.
    #[serde(default)]
    #[cfg_attr(test, schema(value_type = Object))]
    metadata: Map<String, Value>,
    /// Key material that is held in memory and shown to nobody.
    #[cfg_attr(test, schema(value_type = Option<String>, format = Password, max_length = 4096))]
    presence: Option<SecretString>,
    /// A token of its own, which must not be guessable; without it one is made.
    #[cfg_attr(test, schema(
        value_type = Option<String>, format = Password, min_length = 32, max_length = 512,
        pattern = "^[A-Za-z0-9._~+/=-]+$"
    ))]
    token: Option<SecretString>,
}

/// A client that has registered.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = ClientRegistered))]
pub(super) struct RegisteredShown {
    client: ShownClient,
    /// Its token, shown this once; `null` when it is the caller's own.
    #[serde(serialize_with = "exposed")]
    #[cfg_attr(test, schema(value_type = Option<String>, format = Password, required))]
    token: Option<Token>,
    /// The client of the same session whose place it takes.
    replaced: Option<ClientId>,
}

/// The one place where a token is told.
fn exposed<S: Serializer>(token: &Option<Token>, serializer: S) -> Result<S::Ok, S::Error> {
    token.as_ref().map(Token::expose).serialize(serializer)
}

/// Registers a process, which gets a token for what is its own. It takes the place of the client
/// that its session had, whose token is refused from then on.
#[cfg_attr(test, utoipa::path(
    post, path = "/v1/clients/register", tag = "clients",
    request_body(content = RegisterBody),
    responses(
        (status = 201, description = "It is registered, and that is on disk.", body = RegisteredShown,
            headers(("Cache-Control" = String, description = "`no-store`: the token is shown once."))),
        (status = 400, response = InvalidRequest),
        (status = 404, response = UnknownSession),
        (status = 409, response = ClientRefused),
        (status = 429, response = ClientsFull),
    ),
))]
pub(super) async fn register(
    State(api): State<Arc<Api>>,
    Body(body): Body<RegisterBody>,
) -> Result<Response, ApiError> {
    if body.display_name.is_empty() {
        return Err(ApiError::invalid_field("display_name", "is empty"));
    }
    let is_own = body.token.is_some();
    let registration = Registration {
        session: find_session_of(&api, body.session.as_deref()).await?,
        pid: body.pid,
        about: About {
            name: body.display_name,
            cwd: body.cwd,
            role: body.role,
            groups: body.groups,
            metadata: body.metadata,
            ..About::default()
        },
        presence: body.presence,
        token: body.token,
    };
    let registered = api.clients.register(registration).await?;
    let shown = RegisteredShown {
        client: shown::show(&api, registered.client).await,
        token: (!is_own).then_some(registered.token),
        replaced: registered.replaced,
    };
    let no_store = [(header::CACHE_CONTROL, "no-store")];
    Ok((StatusCode::CREATED, no_store, Json(shown)).into_response())
}

/// Body of `POST /v1/clients`.
#[derive(Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = OpenClient, example = json!({"kind": "mcp", "name": "editor", "version": "1.4", "cwd": "/home/me/work"})))]
#[serde(deny_unknown_fields)]
pub(super) struct OpenBody {
    /// The id of one that may be open; without it one is made.
    id: Option<ClientId>,
    /// `http`, which it is by itself, or `mcp`.
    #[cfg_attr(test, schema(value_type = Option<SessionKind>, inline))]
    kind: Option<Kind>,
    /// What it is called; of one that is open, empty leaves it as it is.
    #[serde(default)]
    #[cfg_attr(
        test,
        schema(max_length = 256, pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f]*$")
    )]
    name: String,
    /// Its version.
    #[cfg_attr(
        test,
        schema(max_length = 64, pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f]*$")
    )]
    version: Option<String>,
    /// Where it works.
    #[cfg_attr(test, schema(max_length = 4096))]
    cwd: Option<String>,
    /// Root of its project; without it, it is found from `cwd`.
    #[cfg_attr(test, schema(max_length = 4096))]
    project: Option<String>,
    /// Merged into what is there; `null` removes a name. At most 16 KiB in all.
    #[serde(default)]
    #[cfg_attr(test, schema(value_type = Object))]
    metadata: Map<String, Value>,
}

/// The kinds that are opened.
#[cfg(test)]
#[derive(utoipa::ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "the document's part of `Kind`")]
enum SessionKind {
    Http,
    Mcp,
}

/// Opens an HTTP or MCP session, which lasts as long as it is touched. One that is open is touched,
/// and what is named is changed.
#[cfg_attr(test, utoipa::path(
    post, path = "/v1/clients", tag = "clients",
    request_body(content = OpenBody),
    responses(
        (status = 200, description = "It was open.", body = ShownClient),
        (status = 201, description = "It is new.", body = ShownClient),
        (status = 400, response = InvalidRequest),
        (status = 409, response = ClientRefused),
        (status = 429, response = ClientsFull),
    ),
))]
pub(super) async fn open(
    State(api): State<Arc<Api>>,
    Body(body): Body<OpenBody>,
) -> Result<(StatusCode, Json<ShownClient>), ApiError> {
    let kind = body.kind.unwrap_or(Kind::Http);
    if kind == Kind::Registered {
        let problem = "must be http or mcp; processes register at /v1/clients/register";
        return Err(ApiError::invalid_field("kind", problem));
    }
    let opened = api.clients.open_session(Opening {
        id: body.id,
        kind,
        about: About {
            name: body.name,
            version: body.version,
            cwd: body.cwd,
            project: body.project,
            metadata: body.metadata,
            ..About::default()
        },
    })?;
    let status = if opened.is_new {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok((status, Json(shown::show(&api, opened.client).await)))
}

/// Query of `GET /v1/clients`.
#[derive(Deserialize)]
#[cfg_attr(test, derive(utoipa::IntoParams), into_params(parameter_in = Query))]
#[serde(deny_unknown_fields)]
pub(super) struct ListParams {
    /// Only of this kind.
    #[cfg_attr(test, param(inline))]
    kind: Option<Kind>,
    /// Only that of this session: its id, or `agent:key`.
    #[cfg_attr(test, param(min_length = 1, max_length = 1100))]
    session: Option<String>,
    /// Only of this project.
    project: Option<String>,
    /// Only those behind this one, by id.
    after: Option<ClientId>,
    /// At most so many; 100 unless it is named.
    #[cfg_attr(test, param(minimum = 1, maximum = 1000))]
    limit: Option<u32>,
}

/// Answer of `GET /v1/clients`.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(super) struct ClientList {
    /// By id.
    clients: Vec<ShownClient>,
    /// How many are wanted in all, on other pages too.
    count: usize,
}

/// Lists clients, by id.
#[cfg_attr(test, utoipa::path(
    get, path = "/v1/clients", tag = "clients",
    params(ListParams),
    responses(
        (status = 200, description = "The clients.", body = ClientList),
        (status = 400, response = InvalidRequest),
        (status = 404, response = UnknownSession),
    ),
))]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Params(params): Params<ListParams>,
) -> Result<Json<ClientList>, ApiError> {
    let filter = Filter {
        kind: params.kind,
        session: find_session_of(&api, params.session.as_deref()).await?,
        project: params.project,
        after: params.after,
        limit: limit(params.limit, LIST_DEFAULT as u32, LIST_MAX as u32)? as usize,
    };
    let (clients, count) = api.clients.list(&filter);
    let clients = shown::show_all(&api, clients).await;
    Ok(Json(ClientList { clients, count }))
}

/// Query of `DELETE /v1/clients`.
#[derive(Deserialize)]
#[cfg_attr(test, derive(utoipa::IntoParams), into_params(parameter_in = Query))]
#[serde(deny_unknown_fields)]
pub(super) struct ClearParams {
    /// Only of this kind.
    #[cfg_attr(test, param(inline))]
    kind: Option<Kind>,
}

/// Answer of `DELETE /v1/clients`.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(super) struct ClientsCleared {
    /// How many there were.
    removed: usize,
}

/// Removes all clients, or those of a kind. Their tokens are refused from then on.
#[cfg_attr(test, utoipa::path(
    delete, path = "/v1/clients", tag = "clients",
    params(ClearParams),
    responses(
        (status = 200, description = "They are gone, and that is on disk.", body = ClientsCleared),
        (status = 400, response = InvalidRequest),
    ),
))]
pub(super) async fn clear(
    State(api): State<Arc<Api>>,
    Params(params): Params<ClearParams>,
    _: NoBody,
) -> Result<Json<ClientsCleared>, ApiError> {
    let removed = api.clients.clear(params.kind).await?;
    Ok(Json(ClientsCleared { removed }))
}

/// Answer of `GET /v1/clients/me`.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = WhoAsks))]
pub(super) struct Me {
    caller: CallerKind,
    /// `null` for the owner.
    client: Option<ShownClient>,
}

/// What a caller is.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub(super) enum CallerKind {
    /// The user whose worker this is.
    Owner,
    /// The bearer of a client's token.
    Client,
}

/// Tells who asks.
#[cfg_attr(test, utoipa::path(
    get, path = "/v1/clients/me", tag = "clients",
    responses(
        (status = 200, description = "The caller.", body = Me),
    ),
))]
pub(super) async fn me(State(api): State<Arc<Api>>, caller: Caller) -> Json<Me> {
    let (caller, client) = match caller {
        Caller::Owner => (CallerKind::Owner, None),
        Caller::Client(scope) => (CallerKind::Client, api.clients.get(scope.client)),
    };
    let client = match client {
        Some(client) => Some(shown::show(&api, client).await),
        None => None,
    };
    Json(Me { caller, client })
}

/// Shows a client.
#[cfg_attr(test, utoipa::path(
    get, path = "/v1/clients/{client}", tag = "clients",
    params(("client" = ClientId, Path, description = "A client's id")),
    responses(
        (status = 200, description = "The client.", body = ShownClient),
        (status = 400, response = InvalidRequest),
        (status = 404, response = UnknownClient),
    ),
))]
pub(super) async fn show(
    State(api): State<Arc<Api>>,
    ClientPath(id): ClientPath,
) -> Result<Json<ShownClient>, ApiError> {
    let client = api.clients.get(id).ok_or_else(|| unknown(id))?;
    Ok(Json(shown::show(&api, client).await))
}

/// Begins the time of an HTTP or MCP session anew. A token's time is not changed.
#[cfg_attr(test, utoipa::path(
    post, path = "/v1/clients/{client}/touch", tag = "clients",
    params(("client" = ClientId, Path, description = "A client's id")),
    responses(
        (status = 200, description = "The client.", body = ShownClient),
        (status = 400, response = InvalidRequest),
        (status = 404, response = UnknownClient),
    ),
))]
pub(super) async fn touch(
    State(api): State<Arc<Api>>,
    ClientPath(id): ClientPath,
    _: NoBody,
) -> Result<Json<ShownClient>, ApiError> {
    let client = api.clients.touch(id)?;
    Ok(Json(shown::show(&api, client).await))
}

/// Body of `PATCH /v1/clients/{client}`.
#[derive(Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = PatchClient, example = json!({"metadata": {"window": 4, "title": null}})))]
#[serde(deny_unknown_fields)]
pub(super) struct PatchBody {
    /// Merged into what is there; `null` removes a name. At most 16 KiB in all.
    #[cfg_attr(test, schema(value_type = Object))]
    metadata: Map<String, Value>,
}

/// Merges a client's metadata.
#[cfg_attr(test, utoipa::path(
    patch, path = "/v1/clients/{client}", tag = "clients",
    params(("client" = ClientId, Path, description = "A client's id")),
    request_body(content = PatchBody),
    responses(
        (status = 200, description = "The client, changed.", body = ShownClient),
        (status = 400, response = InvalidRequest),
        (status = 404, response = UnknownClient),
    ),
))]
pub(super) async fn patch(
    State(api): State<Arc<Api>>,
    ClientPath(id): ClientPath,
    Body(body): Body<PatchBody>,
) -> Result<Json<ShownClient>, ApiError> {
    let client = api.clients.patch(id, body.metadata)?;
    Ok(Json(shown::show(&api, client).await))
}

/// Removes a client. Its token is refused from then on.
#[cfg_attr(test, utoipa::path(
    delete, path = "/v1/clients/{client}", tag = "clients",
    params(("client" = ClientId, Path, description = "A client's id")),
    responses(
        (status = 200, description = "It is gone; as it was last.", body = ShownClient),
        (status = 400, response = InvalidRequest),
        (status = 404, response = UnknownClient),
    ),
))]
pub(super) async fn remove(
    State(api): State<Arc<Api>>,
    ClientPath(id): ClientPath,
) -> Result<Json<ShownClient>, ApiError> {
    let client = api.clients.remove(id).await?;
    Ok(Json(shown::show(&api, client).await))
}
