//! Status, doctor, shutdown, and what monitors ask for.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use sessiond_queue::types::{LifeCounts, Stats};
use sessiond_supervisor::Fix;

use super::extract::{Body, Params};
#[cfg(test)]
use super::openapi::refusals::InvalidRequest;
use super::{Api, ApiError};
use crate::admission::{BreakerStatus, SlotCounts};
use crate::clients::Counts;
use crate::doctor::Report;
use crate::sessions::{Activity, Live};

/// Answer of `GET /v1/status`.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct Status {
    /// Whether start-up has finished.
    pub ready: bool,
    /// Messages pending or claimed.
    pub depth: i64,
    /// Whether any message is in work.
    pub processing: bool,
    /// Sessions by life.
    pub sessions: LifeCounts,
    /// Sessions in memory.
    pub active: usize,
    /// How many programs run and wait.
    pub slots: SlotCounts,
    /// The kinds of generators whose provider was last unavailable.
    pub breakers: Vec<BreakerStatus>,
    /// Results that search does not know yet.
    pub index_behind: i64,
    /// Files in the spool.
    pub spool_files: u64,
    /// Registered processes and connections.
    #[serde(default)]
    pub clients: Counts,
}

/// How much there is to do, and whether anything is being done.
#[cfg_attr(test, utoipa::path(
    get, path = "/v1/status", tag = "admin",
    responses(
        (status = 200, description = "The state.", body = Status),
    ),
))]
pub(super) async fn status(State(api): State<Arc<Api>>) -> Result<Json<Status>, ApiError> {
    let stats = api.context.store.stats().await?;
    let live = api.sessions.live().await;
    Ok(Json(Status {
        ready: api.ready.load(Ordering::Acquire),
        depth: depth(&stats),
        processing: live.iter().any(is_working),
        sessions: stats.sessions,
        active: live.len(),
        slots: api.context.admission.slots.counts(),
        breakers: api.context.admission.breakers.status(),
        index_behind: api.search.behind(api.context.store.as_ref()).await?,
        spool_files: api
            .doctor
            .spool_status()
            .await
            .map_err(spool_unreadable)?
            .files,
        clients: api.clients.counts(),
    }))
}

fn spool_unreadable(error: std::io::Error) -> ApiError {
    let message = format!("read the spool: {error}");
    ApiError::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "spool_unreadable",
        message,
    )
}

fn depth(stats: &Stats) -> i64 {
    stats.depth.pending + stats.depth.claimed
}

fn is_working(live: &Live) -> bool {
    live.working_on.is_some() || live.activity == Activity::Working
}

/// Query of the doctor.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(utoipa::IntoParams), into_params(parameter_in = Query))]
#[serde(deny_unknown_fields)]
pub(super) struct DoctorParams {
    /// Also what takes long: every row is looked at.
    #[serde(default)]
    deep: bool,
}

/// Examines everything.
#[cfg_attr(test, utoipa::path(
    get, path = "/v1/admin/doctor", tag = "admin",
    params(DoctorParams),
    responses(
        (status = 200, description = "What was found.", body = Report),
        (status = 400, response = InvalidRequest),
    ),
))]
pub(super) async fn doctor(
    State(api): State<Arc<Api>>,
    Params(params): Params<DoctorParams>,
) -> Json<Report> {
    Json(api.doctor.examine(&api, params.deep).await)
}

/// The same at the path that other workers of this kind have.
#[cfg_attr(test, utoipa::path(
    get, path = "/api/admin/doctor", tag = "admin",
    params(DoctorParams),
    responses(
        (status = 200, description = "What was found.", body = Report),
        (status = 400, response = InvalidRequest),
    ),
))]
pub(super) async fn doctor_too(api: State<Arc<Api>>, params: Params<DoctorParams>) -> Json<Report> {
    doctor(api, params).await
}

/// Body of `POST /v1/admin/doctor/fix`.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = FixProcesses, example = json!({"dry_run": true})))]
#[serde(deny_unknown_fields)]
pub(super) struct FixBody {
    /// Only say what would be done.
    dry_run: bool,
}

/// Its answer.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct Fixes {
    /// What was done of processes and their records, or would be.
    pub fixes: Vec<Fix>,
}

/// Ends processes that nobody owns and clears their records; answers once everything has ended that is to end.
#[cfg_attr(test, utoipa::path(
    post, path = "/v1/admin/doctor/fix", tag = "admin",
    request_body(content = FixBody),
    responses(
        (status = 200, description = "What was done.", body = Fixes),
        (status = 400, response = InvalidRequest),
    ),
))]
pub(super) async fn fix(State(api): State<Arc<Api>>, Body(body): Body<FixBody>) -> Json<Fixes> {
    let fixes = api.processes.supervisor().fix(body.dry_run).await;
    if !body.dry_run {
        tracing::info!(?fixes, "processes and records mended");
    }
    Json(Fixes { fixes })
}

/// Answer of `POST /v1/admin/reindex`.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(example = json!({"rebuilding": true})))]
pub(super) struct Rebuilding {
    rebuilding: bool,
}

/// The same at the path that other workers of this kind have.
#[cfg_attr(test, utoipa::path(
    post, path = "/api/admin/doctor/fix", tag = "admin",
    request_body(content = FixBody),
    responses(
        (status = 200, description = "What was done.", body = Fixes),
        (status = 400, response = InvalidRequest),
    ),
))]
pub(super) async fn fix_too(api: State<Arc<Api>>, body: Body<FixBody>) -> Json<Fixes> {
    fix(api, body).await
}

/// Rebuilds the search index.
#[cfg_attr(test, utoipa::path(
    post, path = "/v1/admin/reindex", tag = "admin",
    responses(
        (status = 202, description = "It is being rebuilt.", body = Rebuilding),
    ),
))]
pub(super) async fn reindex(
    State(api): State<Arc<Api>>,
) -> Result<(StatusCode, Json<Rebuilding>), ApiError> {
    api.indexer.rebuild().await?;
    let rebuilding = Rebuilding { rebuilding: true };
    Ok((StatusCode::ACCEPTED, Json(rebuilding)))
}

/// Answer of `POST /v1/admin/shutdown`.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(example = json!({"stopping": true, "pid": 4711})))]
pub(super) struct ShuttingDown {
    stopping: bool,
    /// Whose end to wait for: by then another worker may have the socket.
    pid: u32,
}

/// Stops the worker in order.
#[cfg_attr(test, utoipa::path(
    post, path = "/v1/admin/shutdown", tag = "admin",
    responses(
        (status = 202, description = "It stops.", body = ShuttingDown),
    ),
))]
pub(super) async fn shutdown(State(api): State<Arc<Api>>) -> (StatusCode, Json<ShuttingDown>) {
    tracing::info!("stopping: asked through the API");
    api.stop.cancel();
    let answer = ShuttingDown {
        stopping: true,
        pid: std::process::id(),
    };
    (StatusCode::ACCEPTED, Json(answer))
}

/// The process answers.
#[cfg_attr(test, utoipa::path(
    get, path = "/livez", tag = "monitoring",
    responses(
        (status = 200, description = "It answers.", body = String, content_type = "text/plain", example = "ok\n"),
    ),
))]
pub(super) async fn livez() -> &'static str {
    "ok\n"
}

/// Start-up is done, and the worker does not stop.
#[cfg_attr(test, utoipa::path(
    get, path = "/readyz", tag = "monitoring",
    responses(
        (status = 200, description = "It is ready.", body = String, content_type = "text/plain", example = "ok\n"),
        (status = 503, description = "It is starting, or stopping.", body = String, content_type = "text/plain", example = "starting\n"),
    ),
))]
pub(super) async fn readyz(State(api): State<Arc<Api>>) -> (StatusCode, &'static str) {
    if api.stop.is_cancelled() {
        (StatusCode::SERVICE_UNAVAILABLE, "stopping\n")
    } else if api.ready.load(Ordering::Acquire) {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "starting\n")
    }
}

/// Counters and gauges in the text format of Prometheus.
#[cfg_attr(test, utoipa::path(
    get, path = "/metrics", tag = "monitoring",
    responses(
        (status = 200, description = "Counters and gauges.", body = String, content_type = "text/plain", example = "# TYPE sessiond_messages gauge\nsessiond_messages{state=\"pending\"} 3\n"),
    ),
))]
pub(super) async fn metrics(State(api): State<Arc<Api>>) -> Result<Response, ApiError> {
    let stats = api.context.store.stats().await?;
    let live = api.sessions.live().await;
    let states = [
        ("pending", stats.depth.pending),
        ("claimed", stats.depth.claimed),
        ("done", stats.depth.done),
        ("dead", stats.depth.dead),
        ("cancelled", stats.depth.cancelled),
    ];
    let mut text = String::from("# TYPE sessiond_messages gauge\n");
    for (state, count) in states {
        // Writing to a string cannot fail.
        let _infallible = writeln!(text, "sessiond_messages{{state=\"{state}\"}} {count}");
    }
    let values = [
        (
            "sessiond_messages_accepted_total",
            "counter",
            stats.accepted,
        ),
        (
            "sessiond_messages_duplicate_total",
            "counter",
            stats.duplicates,
        ),
        ("sessiond_results_total", "counter", stats.results),
        ("sessiond_sessions_active", "gauge", count(live.len())),
        (
            "sessiond_clients",
            "gauge",
            count(api.clients.counts().all()),
        ),
        (
            "sessiond_sessions_working",
            "gauge",
            count(live.iter().filter(|l| is_working(l)).count()),
        ),
        (
            "sessiond_search_behind",
            "gauge",
            api.search.behind(api.context.store.as_ref()).await?,
        ),
    ];
    for (name, kind, value) in values {
        // Writing to a string cannot fail.
        let _infallible = writeln!(text, "# TYPE {name} {kind}\n{name} {value}");
    }
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response())
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) async fn not_found() -> ApiError {
    ApiError::new(
        StatusCode::NOT_FOUND,
        "unknown_path",
        "there is no such endpoint",
    )
}

pub(super) async fn method_not_allowed() -> ApiError {
    let message = "the endpoint does not take this method";
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        message,
    )
}
