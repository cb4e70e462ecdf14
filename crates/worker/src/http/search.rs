//! `/v1/search` and `/v1/context`: results found again.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};

use super::caller::{Caller, Reach};
use super::extract::{Params, find_session_for, limit};
#[cfg(test)]
use super::openapi::refusals::{InvalidRequest, UnknownSession};
use super::{Api, ApiError};
use crate::search::{HITS_DEFAULT, HITS_MAX, Hit, SearchError, SearchQuery};

/// Query of `GET /v1/search`.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(utoipa::IntoParams), into_params(parameter_in = Query))]
#[serde(deny_unknown_fields)]
pub(super) struct SearchParams {
    /// Words, all of which must be there; the last of them may be a beginning.
    #[cfg_attr(test, param(max_length = 1024, example = "parser bug"))]
    q: String,
    /// Only results of this project.
    project: Option<String>,
    /// Only results of this session: its id, or `agent:key`.
    session: Option<String>,
    /// Only results of this agent.
    agent: Option<String>,
    /// Only results of this kind.
    kind: Option<String>,
    /// Also what was merely noted of each tool call.
    #[serde(default)]
    include_trace: bool,
    /// At most so many; 20 unless it is named.
    #[cfg_attr(test, param(minimum = 1, maximum = 200))]
    limit: Option<u32>,
}

/// Answer of `GET /v1/search`.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(super) struct HitList {
    /// The best first.
    hits: Vec<Hit>,
}

/// Finds results by their words.
#[cfg_attr(test, utoipa::path(
    get, path = "/v1/search", tag = "results",
    params(SearchParams),
    responses(
        (status = 200, description = "What was found.", body = HitList),
        (status = 400, response = InvalidRequest),
        (status = 404, response = UnknownSession),
    ),
))]
pub(super) async fn search(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Params(params): Params<SearchParams>,
) -> Result<Json<HitList>, ApiError> {
    let shown = caller.narrow(Reach {
        session: find_session_for(&api, &caller, params.session.as_deref()).await?,
        project: params.project,
    })?;
    let query = SearchQuery {
        text: params.q,
        project: shown.project,
        session: shown.session,
        agent: params.agent,
        kind: params.kind,
        include_trace: params.include_trace,
        limit: limit(params.limit, HITS_DEFAULT, HITS_MAX)?,
    };
    let hits = api
        .search
        .search(&query)
        .await
        .map_err(|error| match error {
            // The text has a shorter name here.
            SearchError::InvalidField {
                field: "text",
                problem,
            } => ApiError::invalid_field("q", problem),
            error => error.into(),
        })?;
    Ok(Json(HitList { hits }))
}

/// Query of `GET /v1/context`.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(utoipa::IntoParams), into_params(parameter_in = Query))]
#[serde(deny_unknown_fields)]
pub(super) struct ContextParams {
    /// The project, as in sessions.
    project: String,
}

/// Answer of `GET /v1/context`.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = ProjectContext))]
pub(super) struct ContextShown {
    project: String,
    /// `null`: nothing is known of the project.
    context: Option<String>,
}

/// What a new session of a project would be told.
#[cfg_attr(test, utoipa::path(
    get, path = "/v1/context", tag = "results",
    params(ContextParams),
    responses(
        (status = 200, description = "The context.", body = ContextShown),
        (status = 400, response = InvalidRequest),
    ),
))]
pub(super) async fn context(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Params(params): Params<ContextParams>,
) -> Result<Json<ContextShown>, ApiError> {
    // It is named, so it is shown or refused.
    caller.narrow(Reach {
        session: None,
        project: Some(params.project.clone()),
    })?;
    let budget = api.context.settings.hook.context_max_chars;
    let store = api.context.store.as_ref();
    let context = crate::context::context(store, &params.project, None, budget).await?;
    let project = params.project;
    Ok(Json(ContextShown { project, context }))
}
