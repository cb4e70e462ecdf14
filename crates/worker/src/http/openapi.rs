//! `GET /v1/openapi.json`: the document of the API, for programs.
//!
//! What is served is the file in the tree, `docs/openapi.json`. The tests make the document from the
//! annotations of the handlers and types, and fail when the file is another: so a worker that is
//! never asked for it pays nothing for it, neither at its start nor in memory.

#[cfg(test)]
mod document;
#[cfg(test)]
pub(super) mod refusals;
#[cfg(test)]
mod tests;

use axum::http::header;
use axum::response::IntoResponse;

/// The document.
const DOCUMENT: &str = include_str!("../../../../docs/openapi.json");

/// This document.
#[cfg_attr(test, utoipa::path(
    get, path = "/v1/openapi.json", tag = "monitoring",
    responses((status = 200, description = "The document.", body = serde_json::Value, example = json!({"openapi": "3.1.0"}))),
))]
pub(super) async fn show() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT)
}
