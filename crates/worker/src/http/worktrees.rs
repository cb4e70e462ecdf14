//! `/v1/sessions/{session}/worktrees` and `/v1/worktrees`: add, list, remove, prune.

use std::path::PathBuf;
use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sessiond_queue::ids::{SessionId, Timestamp};
use uuid::Uuid;

use super::caller::Caller;
use super::extract::{Body, NoBody, Params, SessionPath, path_of};
#[cfg(test)]
use super::openapi::refusals::{
    Full, GitTimeout, InvalidRequest, UnknownSession, UnknownWorktree, WorktreeRefused,
};
use super::{Api, ApiError};
use crate::errors::chain;
use crate::worktrees::{
    AddError, GitError, Loss, PruneError, RemoveError, Removed, SettledWorktree, ShownWorktree,
    Wanted, Worktree,
};

/// Body of `POST /v1/sessions/{session}/worktrees`.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = AddWorktree, example = json!({"repo": "/home/me/work", "base": "main"})))]
#[serde(deny_unknown_fields)]
pub(super) struct AddBody {
    /// Any directory of the repository, absolute.
    repo: String,
    /// Where its branch begins: a branch or a commit; absent: what the repository has checked out.
    base: Option<String>,
    /// What it is called, besides the session.
    name: Option<String>,
}

/// A worktree that was added.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = AddedWorktree))]
pub(super) struct Added {
    id: Uuid,
    session: SessionId,
    #[cfg_attr(test, schema(value_type = String))]
    path: PathBuf,
    branch: String,
    /// The commit it begins at.
    base_commit: String,
    /// The branch whose tip that was.
    base_branch: Option<String>,
    #[cfg_attr(test, schema(value_type = String))]
    repo: PathBuf,
    created_at: Timestamp,
}

impl From<Worktree> for Added {
    fn from(worktree: Worktree) -> Self {
        Self {
            id: worktree.id,
            session: worktree.session,
            path: worktree.path,
            branch: worktree.branch,
            base_commit: worktree.base_commit,
            base_branch: worktree.base_branch,
            repo: worktree.repo,
            created_at: worktree.created_at,
        }
    }
}

/// Adds a worktree for a session that is open.
#[cfg_attr(test, utoipa::path(
    post, path = "/v1/sessions/{session}/worktrees", tag = "worktrees",
    params(("session" = String, Path, description = "A session: its id, or `agent:key`", min_length = 1, max_length = 1100, example = "claude-code:1f0c")),
    request_body(content = AddBody),
    responses(
        (status = 201, description = "It was added.", body = Added),
        (status = 400, response = InvalidRequest),
        (status = 404, response = UnknownSession),
        (status = 409, response = WorktreeRefused),
        (status = 429, response = Full),
        (status = 504, response = GitTimeout),
    ),
))]
pub(super) async fn add(
    State(api): State<Arc<Api>>,
    caller: Caller,
    SessionPath(session): SessionPath,
    Body(body): Body<AddBody>,
) -> Result<(StatusCode, Json<Added>), ApiError> {
    let wanted = Wanted {
        repo: caller.directory(body.repo).await?,
        base: body.base,
        name: body.name,
    };
    let worktree = api.worktrees.add(&session, wanted).await?;
    Ok((StatusCode::CREATED, Json(worktree.into())))
}

/// Answer of the listings.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(super) struct WorktreeList {
    worktrees: Vec<ShownWorktree>,
}

/// Answer of `POST /v1/worktrees/prune`.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(super) struct SettledList {
    worktrees: Vec<SettledWorktree>,
}

/// Lists a session's worktrees.
#[cfg_attr(test, utoipa::path(
    get, path = "/v1/sessions/{session}/worktrees", tag = "worktrees",
    params(("session" = String, Path, description = "A session: its id, or `agent:key`", min_length = 1, max_length = 1100, example = "claude-code:1f0c")),
    responses(
        (status = 200, description = "The worktrees.", body = WorktreeList),
        (status = 400, response = InvalidRequest),
        (status = 404, response = UnknownSession),
    ),
))]
pub(super) async fn list_of_session(
    State(api): State<Arc<Api>>,
    SessionPath(session): SessionPath,
) -> Result<Json<WorktreeList>, ApiError> {
    let worktrees = api.worktrees.list(Some(session.id), None).await?;
    Ok(Json(WorktreeList { worktrees }))
}

/// Query of `GET /v1/worktrees`.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(utoipa::IntoParams), into_params(parameter_in = Query))]
#[serde(deny_unknown_fields)]
pub(super) struct ListParams {
    /// Only the one at this path.
    #[cfg_attr(test, param(value_type = Option<String>))]
    path: Option<PathBuf>,
}

/// Lists the worktrees of all sessions, ended and purged ones too.
#[cfg_attr(test, utoipa::path(
    get, path = "/v1/worktrees", tag = "worktrees",
    params(ListParams),
    responses(
        (status = 200, description = "The worktrees.", body = WorktreeList),
        (status = 400, response = InvalidRequest),
    ),
))]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Params(params): Params<ListParams>,
) -> Result<Json<WorktreeList>, ApiError> {
    let worktrees = api.worktrees.list(None, params.path.as_deref()).await?;
    Ok(Json(WorktreeList { worktrees }))
}

/// Query of a removal.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(utoipa::IntoParams), into_params(parameter_in = Query))]
#[serde(deny_unknown_fields)]
pub(super) struct RemoveParams {
    /// Which one.
    #[cfg_attr(test, param(value_type = Uuid, required))]
    id: Option<String>,
    /// The losses that are agreed to, separated by commas.
    force: Option<String>,
}

/// Removes a worktree of a session.
#[cfg_attr(test, utoipa::path(
    delete, path = "/v1/sessions/{session}/worktrees", tag = "worktrees",
    params(("session" = String, Path, description = "A session: its id, or `agent:key`", min_length = 1, max_length = 1100, example = "claude-code:1f0c"), RemoveParams),
    responses(
        (status = 200, description = "It is gone.", body = Removed),
        (status = 400, response = InvalidRequest),
        (status = 404, response = UnknownWorktree),
        (status = 409, response = WorktreeRefused),
        (status = 504, response = GitTimeout),
    ),
))]
pub(super) async fn remove_of_session(
    State(api): State<Arc<Api>>,
    SessionPath(session): SessionPath,
    Params(params): Params<RemoveParams>,
) -> Result<Json<Removed>, ApiError> {
    let missing = || ApiError::invalid_field("id", "is missing: which worktree is to be removed");
    let id = worktree_id(params.id.as_deref().ok_or_else(missing)?)?;
    remove_worktree(&api, Some(session.id), id, params.force.as_deref()).await
}

/// A worktree named in the path; a session that is named before it has an extractor of its own.
pub(super) struct WorktreePath(Uuid);

impl<S: Send + Sync> FromRequestParts<S> for WorktreePath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        #[derive(Deserialize)]
        struct Named {
            id: String,
        }
        let Named { id } = path_of(parts, state, "id").await?;
        worktree_id(&id).map(Self)
    }
}

fn worktree_id(text: &str) -> Result<Uuid, ApiError> {
    let parsed = text.parse();
    parsed.map_err(|_| ApiError::invalid_field("id", "must be a worktree's id, a UUID"))
}

/// Query of a removal whose path has the id.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(utoipa::IntoParams), into_params(parameter_in = Query))]
#[serde(deny_unknown_fields)]
pub(super) struct ForceParams {
    /// The losses that are agreed to, separated by commas.
    force: Option<String>,
}

/// Removes a worktree of a session.
#[cfg_attr(test, utoipa::path(
    delete, path = "/v1/sessions/{session}/worktrees/{id}", tag = "worktrees",
    params(("session" = String, Path, description = "A session: its id, or `agent:key`", min_length = 1, max_length = 1100, example = "claude-code:1f0c"), ("id" = Uuid, Path, description = "A worktree's id"), ForceParams),
    responses(
        (status = 200, description = "It is gone.", body = Removed),
        (status = 400, response = InvalidRequest),
        (status = 404, response = UnknownWorktree),
        (status = 409, response = WorktreeRefused),
        (status = 504, response = GitTimeout),
    ),
))]
pub(super) async fn remove_one_of_session(
    State(api): State<Arc<Api>>,
    SessionPath(session): SessionPath,
    WorktreePath(id): WorktreePath,
    Params(params): Params<ForceParams>,
) -> Result<Json<Removed>, ApiError> {
    remove_worktree(&api, Some(session.id), id, params.force.as_deref()).await
}

/// Removes a worktree, unless something would be lost that was not agreed to.
#[cfg_attr(test, utoipa::path(
    delete, path = "/v1/worktrees/{id}", tag = "worktrees",
    params(("id" = Uuid, Path, description = "A worktree's id"), ForceParams),
    responses(
        (status = 200, description = "It is gone.", body = Removed),
        (status = 400, response = InvalidRequest),
        (status = 404, response = UnknownWorktree),
        (status = 409, response = WorktreeRefused),
        (status = 504, response = GitTimeout),
    ),
))]
pub(super) async fn remove(
    State(api): State<Arc<Api>>,
    WorktreePath(id): WorktreePath,
    Params(params): Params<ForceParams>,
) -> Result<Json<Removed>, ApiError> {
    remove_worktree(&api, None, id, params.force.as_deref()).await
}

async fn remove_worktree(
    api: &Api,
    session: Option<SessionId>,
    id: Uuid,
    force: Option<&str>,
) -> Result<Json<Removed>, ApiError> {
    let agreed = agreed(force.unwrap_or_default())?;
    Ok(Json(api.worktrees.remove(id, session, &agreed).await?))
}

/// The losses that are agreed to. There is no word for all of them: whoever forces says what he
/// knows to be lost.
fn agreed(force: &str) -> Result<Vec<Loss>, ApiError> {
    let words = force.split(',').map(str::trim);
    let words = words.filter(|word| !word.is_empty());
    let losses = words.map(|word| {
        Loss::agreed(word).ok_or_else(|| {
            let known = Loss::agreeable();
            let problem = format!("must name what may be lost, separated by commas: {known}");
            ApiError::invalid_field("force", problem)
        })
    });
    losses.collect()
}

/// Removes what sessions have left and nothing would be lost with.
#[cfg_attr(test, utoipa::path(
    post, path = "/v1/worktrees/prune", tag = "worktrees",
    responses(
        (status = 200, description = "What became of each.", body = SettledList),
        (status = 400, response = InvalidRequest),
    ),
))]
pub(super) async fn prune(
    State(api): State<Arc<Api>>,
    _: NoBody,
) -> Result<Json<SettledList>, ApiError> {
    let worktrees = api.worktrees.prune().await?;
    Ok(Json(SettledList { worktrees }))
}

fn git_error(error: &GitError) -> ApiError {
    let (status, code) = match error {
        GitError::Missing { .. } => (StatusCode::SERVICE_UNAVAILABLE, "git_missing"),
        GitError::Ended { .. } => (StatusCode::SERVICE_UNAVAILABLE, "git_ended"),
        GitError::Timeout { .. } => (StatusCode::GATEWAY_TIMEOUT, "git_timeout"),
        GitError::Start(_) => (StatusCode::SERVICE_UNAVAILABLE, "git_not_started"),
        GitError::NoDirectory { .. } | GitError::TooMuch { .. } | GitError::Failed { .. } => {
            (StatusCode::CONFLICT, "git_refused")
        }
    };
    ApiError::new(status, code, chain(error))
}

impl From<AddError> for ApiError {
    fn from(error: AddError) -> Self {
        let message = chain(&error);
        match error {
            AddError::InvalidField { field, problem } => Self::invalid_field(field, problem),
            AddError::NotOpen { .. } => {
                Self::new(StatusCode::CONFLICT, "session_not_open", message)
            }
            AddError::Full { .. } => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_worktrees", message)
            }
            AddError::Empty { .. } => Self::new(StatusCode::CONFLICT, "empty_repository", message),
            AddError::Root { .. } | AddError::Inside { .. } => {
                Self::new(StatusCode::CONFLICT, "unusable_root", message)
            }
            AddError::Busy(_) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "repository_busy", message)
            }
            AddError::Git(error) => git_error(&error),
            AddError::State(error) => error.into(),
            AddError::Store(error) => error.into(),
        }
    }
}

impl From<RemoveError> for ApiError {
    fn from(error: RemoveError) -> Self {
        let message = chain(&error);
        match error {
            RemoveError::Unknown(_) => {
                Self::new(StatusCode::NOT_FOUND, "unknown_worktree", message)
            }
            RemoveError::WouldLose { reasons, .. } => {
                Self::new(StatusCode::CONFLICT, "would_lose", message)
                    .with_details(json!({ "reasons": reasons }))
            }
            RemoveError::CannotTell { reasons, .. } => {
                Self::new(StatusCode::CONFLICT, "cannot_tell", message)
                    .with_details(json!({ "reasons": reasons }))
            }
            RemoveError::Busy(_) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "repository_busy", message)
            }
            RemoveError::State(error) => error.into(),
        }
    }
}

impl From<PruneError> for ApiError {
    fn from(error: PruneError) -> Self {
        match error {
            PruneError::State(error) => error.into(),
            PruneError::Store(error) => error.into(),
        }
    }
}
