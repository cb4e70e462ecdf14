//! `/v1/sessions`: get-or-create, list, show, merge metadata, restart, close, results, checkpoint.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sessiond_queue::ids::{ResultId, SessionId};
use sessiond_queue::limits::{LIST_DEFAULT, LIST_MAX};
use sessiond_queue::types::{
    Effect, Life, OpenSession, ResultFilter, Session, SessionFilter, StoredResult,
};

use super::caller::{Caller, Reach};
use super::extract::{Body, NoBody, Params, SessionPath, limit};
#[cfg(test)]
use super::openapi::refusals::{InvalidRequest, UnknownCheckpoint, UnknownSession};
use super::{Api, ApiError};
use crate::doctor::{SpawnReport, spawns};
use crate::events::{Event, Who};
use crate::generator::About;
use crate::sessions::{CloseReport, Depth, Live};

/// Body of `POST /v1/sessions`.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = OpenSession, example = json!({"agent": "claude-code", "key": "1f0c", "cwd": "/home/me/work", "project": "/home/me/work", "metadata": {"title": "notes"}})))]
#[serde(deny_unknown_fields)]
pub(super) struct OpenBody {
    /// The agent's name, without a colon.
    #[cfg_attr(test, schema(min_length = 1, max_length = 512, pattern = "^[^:]+$"))]
    agent: String,
    /// The agent's own id of the session.
    #[cfg_attr(test, schema(min_length = 1, max_length = 512))]
    key: String,
    /// Its working directory.
    #[cfg_attr(test, schema(max_length = 4096))]
    cwd: Option<String>,
    /// Its project, usually the root of a repository; that of `cwd` unless it is said.
    #[cfg_attr(test, schema(max_length = 4096))]
    project: Option<String>,
    /// Merged into what is there; `null` removes a name. At most 64 KiB in all.
    #[serde(default)]
    #[cfg_attr(test, schema(value_type = Object))]
    metadata: Map<String, Value>,
}

/// A session, and what it does in memory.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = SessionShown))]
pub(super) struct Shown {
    #[serde(flatten)]
    session: Session,
    /// `active` in memory, `dormant` on disk only.
    #[cfg_attr(test, schema(value_type = String, example = "active"))]
    residence: &'static str,
    /// What works its messages, by the configuration.
    kind: String,
    /// The generator that is open.
    generator: Option<About>,
    /// Why it may not work just now, though it has work.
    waiting: Option<String>,
    /// `null` when dormant.
    live: Option<Live>,
}

/// A session with everything that runs for it.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = SessionDetailed))]
pub(super) struct Detailed {
    #[serde(flatten)]
    shown: Shown,
    /// The processes of its agent that live, as far as is known; empty: it is not known.
    agents: Vec<u32>,
    /// Its programs, each with its tree.
    processes: Vec<SpawnReport>,
}

/// A session after a restart by hand.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = SessionRestarted))]
pub(super) struct RestartedShown {
    #[serde(flatten)]
    shown: Shown,
    /// Whether its provider was away, and is asked at once.
    asks_provider: bool,
}

impl Shown {
    fn new(api: &Api, session: Session, live: &[Live]) -> Self {
        let kind = api.context.factory.kind(&session).name;
        let live = live.iter().find(|live| live.session == session.id).cloned();
        let residence = if live.is_some() { "active" } else { "dormant" };
        Self {
            session,
            residence,
            kind: kind.to_string(),
            generator: live.as_ref().and_then(|live| live.about.clone()),
            waiting: live.as_ref().and_then(|live| live.waiting.clone()),
            live,
        }
    }
}

/// Gets a session, or makes it.
#[cfg_attr(test, utoipa::path(
    post, path = "/v1/sessions", tag = "sessions",
    request_body(content = OpenBody),
    responses(
        (status = 200, description = "The session, made or found; it is open.", body = Shown),
        (status = 400, response = InvalidRequest),
    ),
))]
pub(super) async fn open(
    State(api): State<Arc<Api>>,
    Body(body): Body<OpenBody>,
) -> Result<Json<Shown>, ApiError> {
    let place = || body.cwd.as_deref().map(|cwd| api.acceptor.project(cwd));
    let open = OpenSession {
        agent: body.agent,
        key: body.key,
        project: body.project.or_else(place),
        cwd: body.cwd,
        metadata: body.metadata,
    };
    let (store, now) = (&api.context.store, api.context.clock.now());
    let is_known = store.find_session(&open.agent, &open.key).await?.is_some();
    let session = store.open_session(open, now).await?;
    // Another one may have been quicker.
    if !is_known && session.created_at == now {
        let who = Box::new(Who {
            agent: session.agent.clone(),
            key: session.key.clone(),
            project: session.project.clone(),
        });
        let created = Event::SessionCreated { who };
        api.context.events.emit(Some(session.id), created);
    }
    api.sessions.wake(session.id, &Effect::Start).await;
    let live = api.sessions.live().await;
    Ok(Json(Shown::new(&api, session, &live)))
}

/// Answer of `GET /v1/sessions`.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(super) struct SessionList {
    /// Newest activity first.
    sessions: Vec<Shown>,
}

/// Answer of `POST /v1/failing/restart`.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(super) struct RestartedList {
    /// Those that were failing.
    restarted: Vec<SessionId>,
}

/// Answer of `GET /v1/sessions/{session}/results`.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(super) struct ResultList {
    /// In the order that was asked for.
    results: Vec<StoredResult>,
}

/// Query of `GET /v1/sessions`.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(utoipa::IntoParams), into_params(parameter_in = Query))]
#[serde(deny_unknown_fields)]
pub(super) struct ListParams {
    /// Only sessions of this agent.
    agent: Option<String>,
    /// Only sessions of this project.
    project: Option<String>,
    /// Only sessions in this stage of life.
    #[cfg_attr(test, param(inline))]
    life: Option<Life>,
    /// At most so many; 100 unless it is named.
    #[cfg_attr(test, param(minimum = 1, maximum = 1000))]
    limit: Option<u32>,
}

/// Lists sessions, the one with the newest activity first.
#[cfg_attr(test, utoipa::path(
    get, path = "/v1/sessions", tag = "sessions",
    params(ListParams),
    responses(
        (status = 200, description = "The sessions.", body = SessionList),
        (status = 400, response = InvalidRequest),
    ),
))]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Params(params): Params<ListParams>,
) -> Result<Json<SessionList>, ApiError> {
    let shown = caller.narrow(Reach {
        session: None,
        project: params.project,
    })?;
    let filter = SessionFilter {
        agent: params.agent,
        project: shown.project,
        life: params.life,
        limit: limit(params.limit, LIST_DEFAULT, LIST_MAX)?,
    };
    let sessions = match shown.session {
        Some(own) => own_session(&api, own, &filter).await?,
        None => api.context.store.sessions(filter).await?,
    };
    let live = api.sessions.live().await;
    let sessions = sessions
        .into_iter()
        .map(|session| Shown::new(&api, session, &live))
        .collect();
    Ok(Json(SessionList { sessions }))
}

/// The one session of a caller that has no project, if it is wanted.
async fn own_session(
    api: &Api,
    own: SessionId,
    filter: &SessionFilter,
) -> Result<Vec<Session>, ApiError> {
    let session = api.context.store.session(own).await?;
    let is_wanted = |session: &Session| {
        filter
            .agent
            .as_ref()
            .is_none_or(|agent| *agent == session.agent)
            && filter.life.is_none_or(|life| life == session.life)
    };
    Ok(session.into_iter().filter(is_wanted).collect())
}

/// Shows a session with everything that runs for it.
#[cfg_attr(test, utoipa::path(
    get, path = "/v1/sessions/{session}", tag = "sessions",
    params(("session" = String, Path, description = "A session: its id, or `agent:key`", min_length = 1, max_length = 1100, example = "claude-code:1f0c")),
    responses(
        (status = 200, description = "The session with its programs.", body = Detailed),
        (status = 400, response = InvalidRequest),
        (status = 404, response = UnknownSession),
    ),
))]
pub(super) async fn show(
    State(api): State<Arc<Api>>,
    SessionPath(session): SessionPath,
) -> Json<Detailed> {
    let live = api.sessions.live().await;
    let now = api.context.clock.now();
    Json(Detailed {
        agents: api.agent_watch.pids(session.id),
        processes: spawns(&api.processes, Some(session.id), now).await,
        shown: Shown::new(&api, session, &live),
    })
}

/// Lets a failing session start generators again, and one that waits for its provider ask at once;
/// of no effect on another one.
#[cfg_attr(test, utoipa::path(
    post, path = "/v1/sessions/{session}/restart", tag = "sessions",
    params(("session" = String, Path, description = "A session: its id, or `agent:key`", min_length = 1, max_length = 1100, example = "claude-code:1f0c")),
    responses(
        (status = 200, description = "The session.", body = RestartedShown),
        (status = 400, response = InvalidRequest),
        (status = 404, response = UnknownSession),
    ),
))]
pub(super) async fn restart(
    State(api): State<Arc<Api>>,
    SessionPath(session): SessionPath,
    _: NoBody,
) -> Result<Json<RestartedShown>, ApiError> {
    let restarted = api.sessions.restart(session.id).await?;
    let live = api.sessions.live().await;
    Ok(Json(RestartedShown {
        shown: Shown::new(&api, restarted.session, &live),
        asks_provider: restarted.asks_provider,
    }))
}

/// Restarts every failing session.
#[cfg_attr(test, utoipa::path(
    post, path = "/v1/failing/restart", tag = "sessions",
    responses(
        (status = 200, description = "Whose generators may start again.", body = RestartedList),
        (status = 400, response = InvalidRequest),
    ),
))]
pub(super) async fn restart_failing(
    State(api): State<Arc<Api>>,
    _: NoBody,
) -> Result<Json<RestartedList>, ApiError> {
    let restarted = api.sessions.restart_failing().await?;
    Ok(Json(RestartedList { restarted }))
}

/// The state that its generator goes on from, as the generator gave it.
#[cfg_attr(test, utoipa::path(
    get, path = "/v1/sessions/{session}/checkpoint", tag = "sessions",
    params(("session" = String, Path, description = "A session: its id, or `agent:key`", min_length = 1, max_length = 1100, example = "claude-code:1f0c")),
    responses(
        (status = 200, description = "The checkpoint, as the generator gave it.", body = serde_json::Value, example = json!({"seen": 3})),
        (status = 400, response = InvalidRequest),
        (status = 404, response = UnknownCheckpoint),
    ),
))]
pub(super) async fn checkpoint(
    State(api): State<Arc<Api>>,
    SessionPath(session): SessionPath,
) -> Result<Response, ApiError> {
    let stored = api.context.store.checkpoint(session.id).await?;
    let text = stored.ok_or_else(|| {
        let message = format!("session {} has no checkpoint yet", session.id);
        ApiError::new(StatusCode::NOT_FOUND, "unknown_checkpoint", message)
    })?;
    let content_type = [(header::CONTENT_TYPE, "application/json")];
    Ok((content_type, text).into_response())
}

/// Body of `PATCH /v1/sessions/{session}`.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = PatchSession, example = json!({"metadata": {"title": "other notes", "done": null}})))]
#[serde(deny_unknown_fields)]
pub(super) struct PatchBody {
    /// Merged into what is there; `null` removes a name. At most 64 KiB in all.
    #[cfg_attr(test, schema(value_type = Object))]
    metadata: Map<String, Value>,
}

/// Merges into a session's metadata.
#[cfg_attr(test, utoipa::path(
    patch, path = "/v1/sessions/{session}", tag = "sessions",
    params(("session" = String, Path, description = "A session: its id, or `agent:key`", min_length = 1, max_length = 1100, example = "claude-code:1f0c")),
    request_body(content = PatchBody),
    responses(
        (status = 200, description = "The session after the merge.", body = Shown),
        (status = 400, response = InvalidRequest),
        (status = 404, response = UnknownSession),
    ),
))]
pub(super) async fn patch(
    State(api): State<Arc<Api>>,
    SessionPath(session): SessionPath,
    Body(body): Body<PatchBody>,
) -> Result<Json<Shown>, ApiError> {
    let now = api.context.clock.now();
    let session = api
        .context
        .store
        .patch_metadata(session.id, body.metadata, now)
        .await?;
    let live = api.sessions.live().await;
    Ok(Json(Shown::new(&api, session, &live)))
}

/// Query of `DELETE /v1/sessions/{session}`.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(utoipa::IntoParams), into_params(parameter_in = Query))]
#[serde(deny_unknown_fields)]
pub(super) struct DeleteParams {
    /// Work off the backlog first, for at most `session.drain_max_ms`.
    #[serde(default)]
    drain: bool,
    /// Delete everything of the session too.
    #[serde(default)]
    purge: bool,
}

/// Closes a session, and answers when nothing of it runs any more: that may take a minute, and goes on when the client hangs up.
#[cfg_attr(test, utoipa::path(
    delete, path = "/v1/sessions/{session}", tag = "sessions",
    params(("session" = String, Path, description = "A session: its id, or `agent:key`", min_length = 1, max_length = 1100, example = "claude-code:1f0c"), DeleteParams),
    responses(
        (status = 200, description = "What was closed.", body = CloseReport),
        (status = 400, response = InvalidRequest),
        (status = 404, response = UnknownSession),
    ),
))]
pub(super) async fn delete(
    State(api): State<Arc<Api>>,
    SessionPath(session): SessionPath,
    Params(params): Params<DeleteParams>,
    _: NoBody,
) -> Result<(StatusCode, Json<CloseReport>), ApiError> {
    let depth = if params.purge {
        Depth::Purge
    } else {
        Depth::Close
    };
    // The close goes on when the client hangs up: the dispatcher owns it.
    let report = api.sessions.close(session.id, depth, params.drain).await?;
    Ok((StatusCode::OK, Json(report)))
}

/// Query of `GET /v1/sessions/{session}/results`.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(utoipa::IntoParams), into_params(parameter_in = Query))]
#[serde(deny_unknown_fields)]
pub(super) struct ResultParams {
    /// Only results of this kind.
    kind: Option<String>,
    /// Only results after this id; before it, if the newest are first.
    after: Option<i64>,
    /// The newest first.
    #[serde(default)]
    newest_first: bool,
    /// At most so many; 100 unless it is named.
    #[cfg_attr(test, param(minimum = 1, maximum = 1000))]
    limit: Option<u32>,
}

/// Lists a session's results.
#[cfg_attr(test, utoipa::path(
    get, path = "/v1/sessions/{session}/results", tag = "sessions",
    params(("session" = String, Path, description = "A session: its id, or `agent:key`", min_length = 1, max_length = 1100, example = "claude-code:1f0c"), ResultParams),
    responses(
        (status = 200, description = "The results.", body = ResultList),
        (status = 400, response = InvalidRequest),
        (status = 404, response = UnknownSession),
    ),
))]
pub(super) async fn results(
    State(api): State<Arc<Api>>,
    SessionPath(session): SessionPath,
    Params(params): Params<ResultParams>,
) -> Result<Json<ResultList>, ApiError> {
    let filter = ResultFilter {
        session: Some(session.id),
        kind: params.kind,
        after: params.after.map(ResultId),
        newest_first: params.newest_first,
        limit: limit(params.limit, LIST_DEFAULT, LIST_MAX)?,
        ..ResultFilter::default()
    };
    let results = api.context.store.results(filter).await?;
    Ok(Json(ResultList { results }))
}
