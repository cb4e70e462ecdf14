//! `/v1/sessions`: get-or-create, list, show, merge metadata, restart, close, results, checkpoint.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sessiond_queue::ids::{ResultId, SessionId};
use sessiond_queue::types::{
    Effect, Life, OpenSession, ResultFilter, Session, SessionFilter, StoredResult,
};

use super::caller::{Caller, Reach};
use super::extract::{Body, Params, SessionPath};
use super::{Api, ApiError};
use crate::doctor::{SpawnReport, spawns};
use crate::events::{Event, Who};
use crate::generator::About;
use crate::sessions::{CloseReport, Depth, Live};

/// Body of `POST /v1/sessions`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OpenBody {
    agent: String,
    key: String,
    cwd: Option<String>,
    project: Option<String>,
    #[serde(default)]
    metadata: Map<String, Value>,
}

/// A session, and what it does in memory.
#[derive(Debug, Serialize)]
pub(super) struct Shown {
    #[serde(flatten)]
    session: Session,
    /// `active` in memory, `dormant` on disk only.
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

pub(super) async fn open(
    State(api): State<Arc<Api>>,
    Body(body): Body<OpenBody>,
) -> Result<Json<Shown>, ApiError> {
    let open = OpenSession {
        agent: body.agent,
        key: body.key,
        cwd: body.cwd,
        project: body.project,
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

/// Query of `GET /v1/sessions`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListParams {
    agent: Option<String>,
    project: Option<String>,
    life: Option<Life>,
    #[serde(default)]
    limit: u32,
}

pub(super) async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Params(params): Params<ListParams>,
) -> Result<Json<Value>, ApiError> {
    let shown = caller.narrow(Reach {
        session: None,
        project: params.project,
    })?;
    let filter = SessionFilter {
        agent: params.agent,
        project: shown.project,
        life: params.life,
        limit: params.limit,
    };
    let sessions = match shown.session {
        Some(own) => own_session(&api, own, &filter).await?,
        None => api.context.store.sessions(filter).await?,
    };
    let live = api.sessions.live().await;
    let shown: Vec<_> = sessions
        .into_iter()
        .map(|session| Shown::new(&api, session, &live))
        .collect();
    Ok(Json(json!({ "sessions": shown })))
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
pub(super) async fn restart(
    State(api): State<Arc<Api>>,
    SessionPath(session): SessionPath,
) -> Result<Json<RestartedShown>, ApiError> {
    let restarted = api.sessions.restart(session.id).await?;
    let live = api.sessions.live().await;
    Ok(Json(RestartedShown {
        shown: Shown::new(&api, restarted.session, &live),
        asks_provider: restarted.asks_provider,
    }))
}

/// The same for every failing session.
pub(super) async fn restart_failing(State(api): State<Arc<Api>>) -> Result<Json<Value>, ApiError> {
    let restarted = api.sessions.restart_failing().await?;
    Ok(Json(json!({ "restarted": restarted })))
}

/// The state that its generator goes on from, as the generator gave it.
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
#[serde(deny_unknown_fields)]
pub(super) struct PatchBody {
    metadata: Map<String, Value>,
}

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
#[serde(deny_unknown_fields)]
pub(super) struct DeleteParams {
    #[serde(default)]
    drain: bool,
    #[serde(default)]
    purge: bool,
}

pub(super) async fn delete(
    State(api): State<Arc<Api>>,
    SessionPath(session): SessionPath,
    Params(params): Params<DeleteParams>,
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
#[serde(deny_unknown_fields)]
pub(super) struct ResultParams {
    kind: Option<String>,
    after: Option<i64>,
    #[serde(default)]
    newest_first: bool,
    #[serde(default)]
    limit: u32,
}

pub(super) async fn results(
    State(api): State<Arc<Api>>,
    SessionPath(session): SessionPath,
    Params(params): Params<ResultParams>,
) -> Result<Json<Value>, ApiError> {
    let filter = ResultFilter {
        session: Some(session.id),
        kind: params.kind,
        after: params.after.map(ResultId),
        newest_first: params.newest_first,
        limit: params.limit,
        ..ResultFilter::default()
    };
    let results: Vec<StoredResult> = api.context.store.results(filter).await?;
    Ok(Json(json!({ "results": results })))
}
