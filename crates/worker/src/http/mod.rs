//! The API: HTTP over a unix socket and over loopback TCP, one router for both.
//!
//! Handlers translate: a request into a call of the part that knows, its answer into JSON. Before
//! that, `guard` has found out who asks (`caller`) and whether the route is for him (`access`).
//!
//! Modules in reading order: `listen`, `serve`, `guard`, `caller`, `access`, `traffic`, `extract`,
//! `error`, then one a group of endpoints.

mod access;
mod admin;
mod caller;
mod clients;
mod error;
mod events;
mod extract;
mod guard;
mod hooks;
mod listen;
mod messages;
mod openapi;
mod output;
mod search;
mod serve;
mod sessions;
mod traffic;
mod worktrees;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use tokio_util::sync::CancellationToken;

use self::access::Routes;
use self::guard::Guard;
pub use access::{Access, Table};
pub use admin::{Fixes, Status};
pub use caller::{Caller, Reach};
pub use clients::ShownClient;
pub use error::ApiError;
pub use guard::Side;
pub use listen::{BindError, Listeners, PeerChecked};
pub use serve::{ConnectionLimits, serve};

use crate::accept::Acceptor;
use crate::agent_watch::AgentWatch;
use crate::clients::{Clients, TokenHash};
use crate::config::Config;
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
    /// Registered processes and connections.
    pub clients: Clients,
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
    /// Cancelled once the stop has been told to those who follow what happens.
    pub parting: CancellationToken,
    /// Set once start-up has done everything that work depends on.
    pub ready: AtomicBool,
}

/// Every endpoint as it is reached from one side; `token` is the worker's own.
pub fn router(api: Arc<Api>, side: Side, token: &str) -> Router {
    let (router, table) = routes(&api.context.settings).into_parts();
    let guard = Guard {
        side,
        owner: TokenHash::of(token),
        table: Arc::new(table),
        api: Arc::clone(&api),
    };
    router
        .fallback(admin::not_found)
        .method_not_allowed_fallback(admin::method_not_allowed)
        .layer(middleware::from_fn(run_to_end))
        .with_state(api)
        .layer(middleware::from_fn_with_state(guard, Guard::check))
}

/// Every route, and who may use it.
fn routes(settings: &Config) -> Routes {
    use Access::{Client, Itself, Narrowed, Open, OwnProject, OwnSession, Owner};

    let hooks = Routes::default()
        .post("/v1/hooks/{agent}", Owner, hooks::post)
        .with_body_max(settings.hook.body_max_bytes);
    Routes::default()
        .get("/v1/sessions", Narrowed, sessions::list)
        .post("/v1/sessions", Owner, sessions::open)
        .get("/v1/sessions/{session}", OwnProject, sessions::show)
        .patch("/v1/sessions/{session}", OwnSession, sessions::patch)
        .delete("/v1/sessions/{session}", OwnSession, sessions::delete)
        .get(
            "/v1/sessions/{session}/messages",
            OwnProject,
            messages::list_of_session,
        )
        .post(
            "/v1/sessions/{session}/messages",
            OwnSession,
            messages::enqueue,
        )
        .delete(
            "/v1/sessions/{session}/messages",
            OwnSession,
            messages::cancel_of_session,
        )
        .get(
            "/v1/sessions/{session}/results",
            OwnProject,
            sessions::results,
        )
        .get("/v1/sessions/{session}/output", OwnProject, output::show)
        .post(
            "/v1/sessions/{session}/restart",
            OwnSession,
            sessions::restart,
        )
        .get(
            "/v1/sessions/{session}/checkpoint",
            OwnProject,
            sessions::checkpoint,
        )
        .get(
            "/v1/sessions/{session}/worktrees",
            OwnProject,
            worktrees::list_of_session,
        )
        .post(
            "/v1/sessions/{session}/worktrees",
            OwnSession,
            worktrees::add,
        )
        .delete(
            "/v1/sessions/{session}/worktrees",
            OwnSession,
            worktrees::remove_of_session,
        )
        .delete(
            "/v1/sessions/{session}/worktrees/{id}",
            OwnSession,
            worktrees::remove_one_of_session,
        )
        .get("/v1/worktrees", Owner, worktrees::list)
        .post("/v1/worktrees/prune", Owner, worktrees::prune)
        .delete("/v1/worktrees/{id}", Owner, worktrees::remove)
        .post("/v1/failing/restart", Owner, sessions::restart_failing)
        .get("/v1/messages", Owner, messages::list)
        .get("/v1/messages/{message}", Owner, messages::show)
        .delete("/v1/messages/{message}", Owner, messages::cancel)
        .post("/v1/messages/{message}/redrive", Owner, messages::redrive)
        .delete("/v1/dead", Owner, messages::purge_all)
        .delete("/v1/dead/{message}", Owner, messages::purge)
        .post("/v1/dead/redrive", Owner, messages::redrive_all)
        .get("/v1/search", Narrowed, search::search)
        .get("/v1/context", Narrowed, search::context)
        .get("/v1/events", Narrowed, events::follow)
        .post("/v1/clients/register", Owner, clients::register)
        .get("/v1/clients", Owner, clients::list)
        .post("/v1/clients", Owner, clients::open)
        .delete("/v1/clients", Owner, clients::clear)
        .get("/v1/clients/me", Client, clients::me)
        .get("/v1/clients/{client}", Itself, clients::show)
        .patch("/v1/clients/{client}", Itself, clients::patch)
        .delete("/v1/clients/{client}", Itself, clients::remove)
        .post("/v1/clients/{client}/touch", Itself, clients::touch)
        .get("/v1/status", Owner, admin::status)
        .get("/v1/admin/doctor", Owner, admin::doctor)
        .get("/api/admin/doctor", Owner, admin::doctor_too)
        .post("/v1/admin/doctor/fix", Owner, admin::fix)
        .post("/api/admin/doctor/fix", Owner, admin::fix_too)
        .post("/v1/admin/reindex", Owner, admin::reindex)
        .post("/v1/admin/shutdown", Owner, admin::shutdown)
        .get("/livez", Open, admin::livez)
        .get("/readyz", Owner, admin::readyz)
        .get("/metrics", Owner, admin::metrics)
        .get("/v1/openapi.json", Owner, openapi::show)
        .with_body_max(settings.http.body_max_bytes)
        .merge(hooks)
}

/// Every route with its class, for whoever wants to walk through them.
pub fn access_table() -> Table {
    routes(&Config::default()).into_parts().1
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
