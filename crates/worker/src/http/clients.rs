//! `/v1/clients`: register, open, list, show, touch, merge metadata, remove.

use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::caller::Caller;
use super::extract::{Body, Params, find_session_of};
use super::{Api, ApiError};
use crate::clients::{
    About, ChangeError, Client, ClientId, Filter, InvalidField, Kind, OpenError, Opening,
    RegisterError, Registration, RemoveError,
};
use crate::errors::chain;

/// A client named in the path by its id.
pub(super) struct ClientPath(ClientId);

impl<S: Send + Sync> FromRequestParts<S> for ClientPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Path(name) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|error| ApiError::invalid_field("client", error.body_text()))?;
        let id = name.parse();
        id.map(Self)
            .map_err(|_| ApiError::invalid_field("client", "must be a UUID"))
    }
}

/// Body of `POST /v1/clients/register`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RegisterBody {
    session: Option<String>,
    pid: Option<u32>,
    display_name: String,
    cwd: Option<String>,
    role: Option<String>,
    #[serde(default)]
    groups: Vec<String>,
    #[serde(default)]
    metadata: Map<String, Value>,
    presence: Option<SecretString>,
    token: Option<SecretString>,
}

/// Its answer.
#[derive(Serialize)]
struct RegisteredShown<'a> {
    client: Client,
    /// `null` when it is the caller's own.
    token: Option<&'a str>,
    replaced: Option<ClientId>,
}

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
        client: registered.client,
        token: (!is_own).then(|| registered.token.expose()),
        replaced: registered.replaced,
    };
    let no_store = [(header::CACHE_CONTROL, "no-store")];
    Ok((StatusCode::CREATED, no_store, Json(shown)).into_response())
}

/// Body of `POST /v1/clients`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OpenBody {
    id: Option<ClientId>,
    kind: Option<Kind>,
    #[serde(default)]
    name: String,
    version: Option<String>,
    cwd: Option<String>,
    project: Option<String>,
    #[serde(default)]
    metadata: Map<String, Value>,
}

/// 201 for a new one, 200 for one that was open.
pub(super) async fn open(
    State(api): State<Arc<Api>>,
    Body(body): Body<OpenBody>,
) -> Result<(StatusCode, Json<Client>), ApiError> {
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
    Ok((status, Json(opened.client)))
}

/// Query of `GET /v1/clients`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListParams {
    kind: Option<Kind>,
    session: Option<String>,
    project: Option<String>,
    after: Option<ClientId>,
    #[serde(default)]
    limit: usize,
}

pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Params(params): Params<ListParams>,
) -> Result<Json<Value>, ApiError> {
    let filter = Filter {
        kind: params.kind,
        session: find_session_of(&api, params.session.as_deref()).await?,
        project: params.project,
        after: params.after,
        limit: params.limit,
    };
    let (clients, count) = api.clients.list(&filter);
    Ok(Json(json!({ "clients": clients, "count": count })))
}

/// Query of `DELETE /v1/clients`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClearParams {
    kind: Option<Kind>,
}

pub(super) async fn clear(
    State(api): State<Arc<Api>>,
    Params(params): Params<ClearParams>,
) -> Result<Json<Value>, ApiError> {
    let removed = api.clients.clear(params.kind).await?;
    Ok(Json(json!({ "removed": removed })))
}

/// Who asks.
pub(super) async fn me(State(api): State<Arc<Api>>, caller: Caller) -> Json<Value> {
    Json(match caller {
        Caller::Owner => json!({ "caller": "owner", "client": null }),
        Caller::Client(scope) => {
            json!({ "caller": "client", "client": api.clients.get(scope.client) })
        }
    })
}

pub(super) async fn show(
    State(api): State<Arc<Api>>,
    ClientPath(id): ClientPath,
) -> Result<Json<Client>, ApiError> {
    let client = api.clients.get(id);
    client.map(Json).ok_or_else(|| unknown(id))
}

pub(super) async fn touch(
    State(api): State<Arc<Api>>,
    ClientPath(id): ClientPath,
) -> Result<Json<Client>, ApiError> {
    Ok(Json(api.clients.touch(id)?))
}

/// Body of `PATCH /v1/clients/{client}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PatchBody {
    metadata: Map<String, Value>,
}

pub(super) async fn patch(
    State(api): State<Arc<Api>>,
    ClientPath(id): ClientPath,
    Body(body): Body<PatchBody>,
) -> Result<Json<Client>, ApiError> {
    Ok(Json(api.clients.patch(id, body.metadata)?))
}

pub(super) async fn remove(
    State(api): State<Arc<Api>>,
    ClientPath(id): ClientPath,
) -> Result<Json<Client>, ApiError> {
    Ok(Json(api.clients.remove(id).await?))
}

fn unknown(id: ClientId) -> ApiError {
    let message = format!("client {id} does not exist");
    ApiError::new(StatusCode::NOT_FOUND, "unknown_client", message)
}

impl From<InvalidField> for ApiError {
    fn from(error: InvalidField) -> Self {
        Self::invalid_field(error.field, error.problem)
    }
}

impl From<RegisterError> for ApiError {
    fn from(error: RegisterError) -> Self {
        let message = chain(&error);
        let conflict = |code| Self::new(StatusCode::CONFLICT, code, message.clone());
        match error {
            // It has a longer name here.
            RegisterError::InvalidField(InvalidField {
                field: "name",
                problem,
            }) => Self::invalid_field("display_name", problem),
            RegisterError::InvalidField(error) => error.into(),
            RegisterError::UnknownSession(session) => Self::unknown_session(&session.to_string()),
            RegisterError::SessionNotOpen { life, .. } => {
                conflict("session_not_open").with_details(json!({ "life": life }))
            }
            RegisterError::TokenInUse => conflict("token_in_use"),
            RegisterError::Full { limit } => full(message, limit),
            RegisterError::Random(_) => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
            }
            RegisterError::Store(error) => error.into(),
            RegisterError::State(error) => error.into(),
        }
    }
}

impl From<OpenError> for ApiError {
    fn from(error: OpenError) -> Self {
        let message = chain(&error);
        match error {
            OpenError::InvalidField(error) => error.into(),
            OpenError::Disabled => Self::new(StatusCode::CONFLICT, "clients_disabled", message),
            OpenError::WrongKind { kind, .. } => {
                let details = json!({ "kind": kind });
                Self::new(StatusCode::CONFLICT, "wrong_kind", message).with_details(details)
            }
            OpenError::Full { limit } => full(message, limit),
        }
    }
}

fn full(message: String, limit: usize) -> ApiError {
    let error = ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many_clients", message);
    error.with_details(json!({ "limit": limit, "name": "clients.clients_max" }))
}

impl From<ChangeError> for ApiError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Unknown(id) => unknown(id),
            ChangeError::InvalidField(error) => error.into(),
        }
    }
}

impl From<RemoveError> for ApiError {
    fn from(error: RemoveError) -> Self {
        match error {
            RemoveError::Unknown(id) => unknown(id),
            RemoveError::State(error) => error.into(),
        }
    }
}
