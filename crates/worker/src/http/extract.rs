//! What requests carry, read with errors that name the field.

use std::error::Error;
use std::str::FromStr;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sessiond_queue::ids::{MessageId, SessionId};
use sessiond_queue::types::Session;

use super::access::{Access, forbidden, reaches};
use super::caller::Caller;
use super::guard::{is_json, not_json};
use super::serve::BodyTooSlow;
use super::{Api, ApiError};

/// What the path names, before it is read; `field` is blamed when it is no text. By itself axum would
/// say so in words only.
pub(super) async fn path_of<T, S>(parts: &mut Parts, state: &S, field: &str) -> Result<T, ApiError>
where
    T: DeserializeOwned + Send,
    S: Send + Sync,
{
    let Path(named) = Path::<T>::from_request_parts(parts, state)
        .await
        .map_err(|error| ApiError::invalid_field(field, error.body_text()))?;
    Ok(named)
}

/// A session named in the path by its id or as `agent:key`; 404 when there is none.
pub(super) struct SessionPath(pub(super) Session);

impl FromRequestParts<Arc<Api>> for SessionPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, ApiError> {
        #[derive(Deserialize)]
        struct Named {
            session: String,
        }
        let Named { session: name } = path_of(parts, api, "session").await?;
        find_session(api, &name).await.map(Self)
    }
}

/// The session of an id or of `agent:key`.
pub(super) async fn find_session(api: &Api, name: &str) -> Result<Session, ApiError> {
    let store = &api.context.store;
    let found = match (SessionId::from_str(name), name.split_once(':')) {
        (Ok(id), _) => store.session(id).await?,
        (Err(_), Some((agent, key))) => store.find_session(agent, key).await?,
        (Err(_), None) => {
            return Err(ApiError::invalid_field(
                "session",
                "must be a UUID or agent:key",
            ));
        }
    };
    found.ok_or_else(|| ApiError::unknown_session(name))
}

/// The same for a filter that may be absent.
pub(super) async fn find_session_of(
    api: &Api,
    name: Option<&str>,
) -> Result<Option<SessionId>, ApiError> {
    match name {
        Some(name) => Ok(Some(find_session(api, name).await?.id)),
        None => Ok(None),
    }
}

/// The same for whoever asks: a client is not told which sessions there are besides those it reaches.
pub(super) async fn find_session_for(
    api: &Api,
    caller: &Caller,
    name: Option<&str>,
) -> Result<Option<SessionId>, ApiError> {
    let (Caller::Client(scope), Some(name)) = (caller, name) else {
        return find_session_of(api, name).await;
    };
    let session = find_session(api, name).await.ok();
    let session = session.filter(|session| reaches(scope, Access::OwnProject, session));
    session
        .map(|session| Some(session.id))
        .ok_or_else(forbidden)
}

/// A message named in the path by its number.
pub(super) struct MessagePath(pub(super) MessageId);

impl<S: Send + Sync> FromRequestParts<S> for MessagePath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let name: String = path_of(parts, state, "message").await?;
        let id = name
            .parse()
            .map_err(|_| ApiError::invalid_field("message", "must be a whole number"))?;
        Ok(Self(MessageId(id)))
    }
}

/// The query string; unknown names are refused by the types' `deny_unknown_fields`.
pub(super) struct Params<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Query(params) =
            Query::<T>::from_request_parts(parts, state)
                .await
                .map_err(|error| {
                    ApiError::new(StatusCode::BAD_REQUEST, "invalid_query", error.body_text())
                })?;
        Ok(Self(params))
    }
}

/// A JSON body.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Arc<Api>> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, api: &Arc<Api>) -> Result<Self, ApiError> {
        // The guard lets what has no body at all pass.
        if !is_json(request.headers()) {
            return Err(not_json());
        }
        parse(&bytes_of(request, api).await?).map(Self)
    }
}

/// Nothing but what path and query say. Whoever sends more believes that it counts, and is told that
/// it does not; an empty object is as good as no body.
pub(super) struct NoBody;

impl FromRequest<Arc<Api>> for NoBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, api: &Arc<Api>) -> Result<Self, ApiError> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Nothing {}

        let bytes = bytes_of(request, api).await?;
        if !bytes.is_empty() {
            let Nothing {} = parse(&bytes)?;
        }
        Ok(Self)
    }
}

async fn bytes_of(request: Request, api: &Arc<Api>) -> Result<Bytes, ApiError> {
    let limit = api.context.settings.http.body_max_bytes;
    let bytes = Bytes::from_request(request, api).await;
    bytes.map_err(|error| body_error(&error, limit, "http.body_max_bytes"))
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(bytes).map_err(|error| {
        let message = format!("body: {error}");
        ApiError::new(StatusCode::BAD_REQUEST, "invalid_json", message)
    })
}

/// How many rows a page has at most: as many as were asked for, if that many are given at once.
pub(super) fn limit(asked: Option<u32>, default: u32, most: u32) -> Result<u32, ApiError> {
    match asked {
        None => Ok(default),
        Some(asked) if (1..=most).contains(&asked) => Ok(asked),
        Some(_) => {
            let problem = format!("must be a number from 1 to {most}");
            Err(ApiError::invalid_field("limit", problem))
        }
    }
}

/// A body that did not arrive whole or in time, or is over the limit.
pub(super) fn body_error(error: &BytesRejection, limit: usize, name: &str) -> ApiError {
    if error.status() == StatusCode::PAYLOAD_TOO_LARGE {
        let message = format!("the body is over the limit of {limit} bytes ({name})");
        ApiError::new(error.status(), "payload_too_large", message)
    } else {
        let other = || ApiError::new(error.status(), "invalid_body", error.body_text());
        too_slow(error).unwrap_or_else(other)
    }
}

/// What a client is told that has been too slow with its body, if that is what is wrong.
pub(super) fn too_slow(error: &(dyn Error + 'static)) -> Option<ApiError> {
    let mut source = Some(error);
    while let Some(error) = source {
        if let Some(too_slow) = error.downcast_ref::<BodyTooSlow>() {
            let (status, message) = (StatusCode::REQUEST_TIMEOUT, too_slow.to_string());
            return Some(ApiError::new(status, "body_timeout", message));
        }
        source = error.source();
    }
    None
}
