//! The API: HTTP over a unix socket and over loopback TCP, one router for both.
//!
//! Handlers translate: a request into a call of the part that knows, its answer into JSON. The unix
//! socket admits its owner only; TCP goes through `guard`.
//!
//! Modules in reading order: `listen`, `guard`, `extract`, `error`, then one a group of endpoints.

mod admin;
mod error;
mod events;
mod extract;
mod guard;
mod hooks;
mod listen;
mod messages;
mod output;
mod search;
mod sessions;
mod worktrees;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use tokio_util::sync::CancellationToken;

pub use admin::{Fixes, Status};
pub use error::ApiError;
pub use guard::Guard;
pub use listen::{BindError, Listeners, PeerChecked};

use crate::accept::Acceptor;
use crate::agent_watch::AgentWatch;
use crate::doctor::Doctor;
use crate::events::Feed;
use crate::processes::SessionProcesses;
use crate::search::{Indexer, SearchIndex};
use crate::sessions::{Context, Sessions};
use crate::state::StateDb;
use crate::takeover::TakeOver;
use crate::upkeep::Upkeep;
use crate::worktrees::Worktrees;

/// What the handlers work with.
pub struct Api {
    /// Store, clock, configuration.
    pub context: Arc<Context>,
    /// Sessions in memory.
    pub sessions: Sessions,
    /// Takes events in.
    pub acceptor: Arc<Acceptor>,
    /// Knows whose agents live.
    pub agent_watch: AgentWatch,
    /// What is not the queue's.
    pub state: StateDb,
    /// Finds results.
    pub search: SearchIndex,
    /// Fills the index.
    pub indexer: Indexer,
    /// Keeps the store in order.
    pub upkeep: Upkeep,
    /// What runs for sessions.
    pub processes: SessionProcesses,
    /// What happens, for those who follow it.
    pub feed: Feed,
    /// Sessions' worktrees.
    pub worktrees: Worktrees,
    /// Examines everything.
    pub doctor: Doctor,
    /// What this start has taken over; not set before it has.
    pub takeover: OnceLock<TakeOver>,
    /// Cancelled to stop the worker.
    pub stop: CancellationToken,
    /// Set once start-up has done everything that work depends on.
    pub ready: AtomicBool,
}

/// Every endpoint.
pub fn router(api: Arc<Api>) -> Router {
    let hook_body = DefaultBodyLimit::max(api.context.settings.hook.body_max_bytes);
    let body = DefaultBodyLimit::max(api.context.settings.http.body_max_bytes);
    let hooks = Router::new()
        .route("/v1/hooks/{agent}", post(hooks::post))
        .layer(hook_body);
    Router::new()
        .route("/v1/sessions", get(sessions::list).post(sessions::open))
        .route(
            "/v1/sessions/{session}",
            get(sessions::show)
                .patch(sessions::patch)
                .delete(sessions::delete),
        )
        .route(
            "/v1/sessions/{session}/messages",
            get(messages::list_of_session)
                .post(messages::enqueue)
                .delete(messages::cancel_of_session),
        )
        .route("/v1/sessions/{session}/results", get(sessions::results))
        .route("/v1/sessions/{session}/output", get(output::show))
        .route("/v1/sessions/{session}/restart", post(sessions::restart))
        .route(
            "/v1/sessions/{session}/checkpoint",
            get(sessions::checkpoint),
        )
        .route(
            "/v1/sessions/{session}/worktrees",
            get(worktrees::list_of_session)
                .post(worktrees::add)
                .delete(worktrees::remove_of_session),
        )
        .route(
            "/v1/sessions/{session}/worktrees/{id}",
            delete(worktrees::remove_one_of_session),
        )
        .route("/v1/worktrees", get(worktrees::list))
        .route("/v1/worktrees/prune", post(worktrees::prune))
        .route("/v1/worktrees/{id}", delete(worktrees::remove))
        .route("/v1/failing/restart", post(sessions::restart_failing))
        .route("/v1/messages", get(messages::list))
        .route(
            "/v1/messages/{message}",
            get(messages::show).delete(messages::cancel),
        )
        .route("/v1/messages/{message}/redrive", post(messages::redrive))
        .route("/v1/dead", delete(messages::purge_all))
        .route("/v1/dead/{message}", delete(messages::purge))
        .route("/v1/dead/redrive", post(messages::redrive_all))
        .route("/v1/search", get(search::search))
        .route("/v1/context", get(search::context))
        .route("/v1/events", get(events::follow))
        .route("/v1/status", get(admin::status))
        .route("/v1/admin/doctor", get(admin::doctor))
        .route("/api/admin/doctor", get(admin::doctor))
        .route("/v1/admin/doctor/fix", post(admin::fix))
        .route("/api/admin/doctor/fix", post(admin::fix))
        .route("/v1/admin/reindex", post(admin::reindex))
        .route("/v1/admin/shutdown", post(admin::shutdown))
        .route("/livez", get(admin::livez))
        .route("/readyz", get(admin::readyz))
        .route("/metrics", get(admin::metrics))
        .layer(body)
        .merge(hooks)
        .fallback(admin::not_found)
        .method_not_allowed_fallback(admin::method_not_allowed)
        .layer(middleware::from_fn(run_to_end))
        .with_state(api)
}

/// Runs a request's handler in a task of its own. A client that hangs up must not cut off what was
/// begun for it: between the commit of an event and the wake-up that follows, the event would lie
/// unworked until its session's next one.
async fn run_to_end(request: Request, next: Next) -> Response {
    let handled = tokio::spawn(next.run(request)).await;
    handled.unwrap_or_else(|error| {
        let message = format!("answer the request: {error}");
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message).into_response()
    })
}
