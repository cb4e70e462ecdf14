//! `POST /v1/hooks/{agent}`: a hook's event, raw, answered once it is on disk.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use sessiond_queue::error::StoreError;
use sessiond_queue::ids::{EventId, SessionId, Timestamp};
#[cfg(test)]
use sessiond_queue::types::Receipt;
use sessiond_queue::types::SessionFilter;
use tokio::time::Instant;

use super::extract::{body_error, path_of};
#[cfg(test)]
use super::openapi::refusals::{Full, InvalidRequest, UnknownAgent};
use super::{Api, ApiError};
use crate::accept::{AcceptError, ContextWanted, Incoming};
use crate::agents::context_output;
use crate::sessions::SessionEvent;
use crate::wire::http::{
    AGENT_PROCESS_HEADER, EVENT_ID_HEADER, FIRED_AT_HEADER, IS_SET_ASIDE, OUTPUT_AGENT,
    OUTPUT_HEADER, SET_ASIDE_HEADER,
};

/// Sessions of a project that are looked at for one that is just closing.
const SIBLINGS_MAX: u32 = 20;

/// An agent named in the path.
pub(super) struct AgentPath(String);

impl<S: Send + Sync> FromRequestParts<S> for AgentPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        path_of(parts, state, "agent").await.map(Self)
    }
}

/// Takes a hook's event, and answers once it is on disk.
#[cfg_attr(test, utoipa::path(
    post, path = "/v1/hooks/{agent}", tag = "hooks",
    params(("agent" = String, Path, description = "The agent's name", min_length = 1, max_length = 512, example = "claude-code"), ("sessiond-event-id" = Option<uuid::Uuid>, Header, description = "The firing's id, the same at each retry"), ("sessiond-fired-at" = Option<i64>, Header, description = "When it fired, in ms since 1970")),
    request_body(content = serde_json::Value, content_type = "application/json", description = "The payload as the agent gave it", example = json!({"session_id": "1f0c", "hook_event_name": "UserPromptSubmit", "cwd": "/home/me/work", "prompt": "hello"})),
    responses(
        (status = 200, description = "What the hook is to print: the output that the agent expects.", body = serde_json::Value, example = json!({"hookSpecificOutput": {"hookEventName": "SessionStart", "additionalContext": "…"}})),
        (status = 202, description = "The event is on disk.", body = Receipt),
        (status = 400, response = InvalidRequest),
        (status = 404, response = UnknownAgent),
        (status = 429, response = Full),
    ),
))]
pub(super) async fn post(
    State(api): State<Arc<Api>>,
    AgentPath(agent): AgentPath,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let limit = api.context.settings.hook.body_max_bytes;
    let raw = body.map_err(|error| body_error(&error, limit, "hook.body_max_bytes"))?;
    let event_id = header_value(&headers, EVENT_ID_HEADER)?.unwrap_or_else(EventId::mint);
    let fired_at =
        header_value(&headers, FIRED_AT_HEADER)?.map_or_else(|| api.context.clock.now(), Timestamp);
    // What is no text is no process either: the watch counts it.
    let agent_process = headers.get(AGENT_PROCESS_HEADER);
    let agent_process = agent_process.map(|value| String::from_utf8_lossy(value.as_bytes()));
    let incoming = Incoming {
        agent: &agent,
        event_id,
        fired_at,
        agent_process: agent_process.as_deref(),
        raw: &raw,
    };
    let accepted = match api.acceptor.accept(incoming).await {
        Ok(accepted) => accepted,
        Err(error) => return Ok(refusal(error)),
    };
    if let Some(wanted) = &accepted.context {
        // The event is on disk; an answer that cannot be made is no reason to refuse it.
        match output(&api, wanted, &accepted.kind, accepted.receipt.session).await {
            Ok(Some(output)) => {
                let headers = [
                    (header::CONTENT_TYPE.as_str(), "application/json"),
                    (OUTPUT_HEADER, OUTPUT_AGENT),
                ];
                return Ok((headers, output).into_response());
            }
            Ok(None) => {}
            Err(error) => {
                tracing::error!(
                    error = crate::errors::chain(&error),
                    "context could not be made"
                );
            }
        }
    }
    Ok((StatusCode::ACCEPTED, Json(accepted.receipt)).into_response())
}

/// Tells the hook whether the event is settled. Whatever was refused earlier was not set aside, and
/// does not say so.
fn refusal(error: AcceptError) -> Response {
    let is_set_aside = !error.is_temporary();
    let refused = ApiError::from(error);
    if is_set_aside {
        ([(SET_ASIDE_HEADER, IS_SET_ASIDE)], refused).into_response()
    } else {
        refused.into_response()
    }
}

fn header_value<T: std::str::FromStr>(
    headers: &HeaderMap,
    name: &'static str,
) -> Result<Option<T>, ApiError> {
    let Some(value) = headers.get(name) else {
        return Ok(None);
    };
    let parsed = value.to_str().ok().and_then(|text| text.parse().ok());
    parsed
        .map(Some)
        .ok_or_else(|| ApiError::invalid_field(name, "is malformed"))
}

/// What the agent is to be told, in its own form.
async fn output(
    api: &Api,
    wanted: &ContextWanted,
    kind: &str,
    session: SessionId,
) -> Result<Option<String>, StoreError> {
    wait_for_siblings(api, &wanted.project, session).await?;
    let budget = api.context.settings.hook.context_max_chars;
    let store = api.context.store.as_ref();
    let text = crate::context::context(store, &wanted.project, Some(session), budget).await?;
    Ok(text.and_then(|text| context_output(wanted.agent, kind, &text)))
}

/// Lets sessions of the project that are just ending finish, so that their summaries are in the
/// context: `/clear` ends one session and starts the next at once.
async fn wait_for_siblings(api: &Api, project: &str, session: SessionId) -> Result<(), StoreError> {
    let wait = Duration::from_millis(api.context.settings.hook.context_wait_ms);
    let deadline = Instant::now() + wait;
    // Subscribe first, then look.
    let mut events = api.sessions.subscribe();
    let filter = SessionFilter {
        project: Some(project.to_owned()),
        limit: SIBLINGS_MAX,
        ..SessionFilter::default()
    };
    let siblings = api.context.store.sessions(filter).await?;
    let mut ending: Vec<SessionId> = siblings
        .iter()
        .filter(|sibling| sibling.id != session)
        .filter(|sibling| sibling.drain_until.is_some() || sibling.close_depth.is_some())
        .map(|sibling| sibling.id)
        .collect();
    while !ending.is_empty() {
        match tokio::time::timeout_at(deadline, events.recv()).await {
            Ok(Ok(SessionEvent::Closed(report))) => ending.retain(|id| *id != report.session),
            // Too late, too many events, or the worker stops: the context is made as it is.
            Ok(Err(_)) | Err(_) => break,
        }
    }
    Ok(())
}
