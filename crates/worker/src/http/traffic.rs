//! What clients ask for, in the log of whoever wants to see it: target `sessiond::clients::traffic`,
//! level debug, `client.id` in each line. What they send is in it only where the configuration says
//! so (`clients.log_payloads`).

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::time::Instant;

use super::caller::Caller;
use super::extract::too_slow;
use super::{Api, ApiError};
use crate::clients::ClientId;

const TARGET: &str = "sessiond::clients::traffic";

/// Bytes of a body that are logged.
const LOGGED_MAX_BYTES: usize = 4 << 10;

/// Runs a request's handler.
pub(super) async fn run(api: &Api, caller: Caller, request: Request, next: Next) -> Response {
    let Caller::Client(scope) = caller else {
        return next.run(request).await;
    };
    if !tracing::enabled!(target: TARGET, tracing::Level::DEBUG) {
        return next.run(request).await;
    }
    let client = scope.client;
    let method = request.method().clone();
    // Without the query, which may hold what is searched for.
    let path = request.uri().path().to_owned();
    let request = if api.context.settings.clients.log_payloads {
        match logged(api, client, request).await {
            Ok(request) => request,
            Err(error) => return error.into_response(),
        }
    } else {
        request
    };
    let begun = Instant::now();
    let response = next.run(request).await;
    let duration_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    let status = response.status().as_u16();
    tracing::debug!(target: TARGET, { client.id = %client, %method, path, status, duration_ms },
        "client asked");
    response
}

/// The request, once the beginning of its body is logged.
async fn logged(api: &Api, client: ClientId, request: Request) -> Result<Request, ApiError> {
    let limit = api.context.settings.http.body_max_bytes;
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, limit).await.map_err(|error| {
        let too_large = || {
            let message =
                format!("read a body of at most {limit} bytes (http.body_max_bytes): {error}");
            ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", message)
        };
        too_slow(&error).unwrap_or_else(too_large)
    })?;
    let payload = String::from_utf8_lossy(&body[..body.len().min(LOGGED_MAX_BYTES)]);
    let bytes = body.len();
    tracing::debug!(target: TARGET, { client.id = %client, bytes, %payload }, "client sent");
    Ok(Request::from_parts(parts, Body::from(body)))
}
