//! `/v1/search` and `/v1/context`: results found again.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};

use super::caller::{Caller, Reach};
use super::extract::{Params, find_session_of};
use super::{Api, ApiError};
use crate::search::{SearchError, SearchQuery};

/// Query of `GET /v1/search`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SearchParams {
    q: String,
    project: Option<String>,
    session: Option<String>,
    agent: Option<String>,
    kind: Option<String>,
    #[serde(default)]
    include_trace: bool,
    #[serde(default)]
    limit: u32,
}

pub(super) async fn search(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Params(params): Params<SearchParams>,
) -> Result<Json<Value>, ApiError> {
    let shown = caller.narrow(Reach {
        session: find_session_of(&api, params.session.as_deref()).await?,
        project: params.project,
    })?;
    let query = SearchQuery {
        text: params.q,
        project: shown.project,
        session: shown.session,
        agent: params.agent,
        kind: params.kind,
        include_trace: params.include_trace,
        limit: params.limit,
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
    Ok(Json(json!({ "hits": hits })))
}

/// Query of `GET /v1/context`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ContextParams {
    project: String,
}

pub(super) async fn context(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Params(params): Params<ContextParams>,
) -> Result<Json<Value>, ApiError> {
    // It is named, so it is shown or refused.
    caller.narrow(Reach {
        session: None,
        project: Some(params.project.clone()),
    })?;
    let budget = api.context.settings.hook.context_max_chars;
    let store = api.context.store.as_ref();
    let text = crate::context::context(store, &params.project, None, budget).await?;
    Ok(Json(json!({ "project": params.project, "context": text })))
}
