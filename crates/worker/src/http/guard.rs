//! Who is let in over TCP: the bearer of the token, from this machine, not from a web page.
//!
//! Any page a user visits can send requests to a loopback port, and by DNS rebinding under a name
//! of its own. So the Host and Origin headers have to be ours, and nothing is done without the
//! token.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use subtle::ConstantTimeEq;

use super::ApiError;

/// What a TCP request is checked against.
#[derive(Clone)]
pub struct Guard {
    token: Arc<str>,
    port: u16,
}

impl Guard {
    /// Admits bearers of `token` to `port`.
    pub fn new(token: &str, port: u16) -> Self {
        Self {
            token: token.into(),
            port,
        }
    }

    /// Axum's middleware.
    pub async fn check(State(guard): State<Self>, request: Request, next: Next) -> Response {
        match guard.refusal(&request) {
            None => next.run(request).await,
            Some(error) => error.into_response(),
        }
    }

    fn refusal(&self, request: &Request) -> Option<ApiError> {
        let headers = request.headers();
        let forbidden = |message| Some(ApiError::new(StatusCode::FORBIDDEN, "forbidden", message));
        if !text(headers, header::HOST).is_some_and(|host| self.is_ours(host)) {
            return forbidden("the Host header is not this worker's");
        }
        if headers.contains_key(header::ORIGIN) {
            let origin =
                text(headers, header::ORIGIN).and_then(|text| text.strip_prefix("http://"));
            if !origin.is_some_and(|origin| self.is_ours(origin)) {
                return forbidden("the Origin header is not this worker's");
            }
        }
        // Liveness tells nothing that the open port does not.
        if request.uri().path() == "/livez" {
            return None;
        }
        let bearer =
            text(headers, header::AUTHORIZATION).and_then(|text| text.strip_prefix("Bearer "));
        let is_bearer =
            bearer.is_some_and(|bearer| bearer.as_bytes().ct_eq(self.token.as_bytes()).into());
        if !is_bearer {
            let message = "a bearer token is needed; it is in the file named by the discovery file";
            return Some(ApiError::new(
                StatusCode::UNAUTHORIZED,
                "unauthorized",
                message,
            ));
        }
        let has_body = matches!(
            *request.method(),
            Method::POST | Method::PATCH | Method::PUT
        ) && text(headers, header::CONTENT_LENGTH) != Some("0")
            && (headers.contains_key(header::CONTENT_LENGTH)
                || headers.contains_key(header::TRANSFER_ENCODING));
        let is_json = text(headers, header::CONTENT_TYPE)
            .and_then(|value| value.split(';').next())
            .is_some_and(|value| value.trim().eq_ignore_ascii_case("application/json"));
        if has_body && !is_json {
            let message = "the content type must be application/json";
            let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            return Some(ApiError::new(status, "unsupported_media_type", message));
        }
        None
    }

    fn is_ours(&self, host: &str) -> bool {
        let Some((name, port)) = host.rsplit_once(':') else {
            return false;
        };
        ["127.0.0.1", "localhost", "[::1]"].contains(&name) && port.parse() == Ok(self.port)
    }
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
