//! Who is let in, and how far: everything that is decided before a handler runs.
//!
//! Any page a user visits can send requests to a loopback port, and by DNS rebinding under a name
//! of its own. So over TCP the Host and Origin headers have to be ours, and nothing is done without a
//! token. Over the unix socket, which admits its owner only, a token narrows what may be done. A body
//! has to be called JSON on both: a web page cannot say that without asking first, and nobody answers
//! that it may.
//!
//! In this order: Host and Origin (403), token (401), what the token reaches (403), content type
//! (415).

use std::sync::Arc;

use axum::RequestExt as _;
use axum::extract::{MatchedPath, RawPathParams, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::access::{self, Access, Table};
use super::caller::Caller;
use super::{Api, ApiError, traffic};
use crate::clients::TokenHash;

/// Where a request came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The unix socket: the peer is the owner, unless it says who it is.
    Unix,
    /// Loopback TCP at this port: whoever is on this machine, and every web page.
    Tcp(u16),
}

/// What each request is checked against.
#[derive(Clone)]
pub(super) struct Guard {
    pub(super) side: Side,
    /// That of the worker's own token.
    pub(super) owner: TokenHash,
    pub(super) table: Arc<Table>,
    pub(super) api: Arc<Api>,
}

impl Guard {
    /// Axum's middleware.
    pub(super) async fn check(State(guard): State<Self>, request: Request, next: Next) -> Response {
        match guard.admit(request).await {
            Ok((caller, request)) => traffic::run(&guard.api, caller, request, next).await,
            Err(refusal) => refusal.into_response(),
        }
    }

    /// Who asks, and the request that may be handled.
    async fn admit(&self, mut request: Request) -> Result<(Caller, Request), Refusal> {
        if let Side::Tcp(port) = self.side {
            check_host(request.headers(), port)?;
        }
        let path = request.extensions().get::<MatchedPath>();
        let access = path.map(|path| self.table.access(request.method(), path.as_str()));
        let caller = match access {
            Some(Access::Open) => Caller::Owner,
            _ => self.caller(request.headers())?,
        };
        // Without a path there is nothing to be reached.
        if let (Caller::Client(scope), Some(access)) = (&caller, access) {
            let params: Option<RawPathParams> = request.extract_parts().await.ok();
            let param = |wanted: &str| {
                let mut params = params.iter().flatten();
                let found = params.find(|(name, _)| *name == wanted);
                found.map(|(_, value)| value.to_owned())
            };
            access::check(&self.api, scope, access, param).await?;
        }
        check_content_type(request.headers())?;
        request.extensions_mut().insert(caller.clone());
        Ok((caller, request))
    }

    fn caller(&self, headers: &HeaderMap) -> Result<Caller, Refusal> {
        if self.side == Side::Unix && !headers.contains_key(header::AUTHORIZATION) {
            return Ok(Caller::Owner);
        }
        let credentials = text(headers, header::AUTHORIZATION);
        let token = credentials.and_then(bearer).ok_or(Refusal::NoToken)?;
        let token = TokenHash::of(token);
        if self.owner.is(&token) {
            return Ok(Caller::Owner);
        }
        let scope = self.api.clients.resolve(&token);
        scope.map(Caller::Client).ok_or(Refusal::UnknownToken)
    }
}

/// The token of credentials, whose scheme may be written in any case (RFC 9110, 11.1).
fn bearer(credentials: &str) -> Option<&str> {
    let (scheme, token) = credentials.split_once(' ')?;
    let is_bearer = scheme.eq_ignore_ascii_case("bearer");
    is_bearer.then(|| token.trim_start_matches(' '))
}

/// Why a request is not handled.
enum Refusal {
    NoToken,
    UnknownToken,
    Other(ApiError),
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self::Other(error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let message = match self {
            Self::NoToken => {
                "a bearer token is needed: that of the file named by the discovery file, or a client's"
            }
            Self::UnknownToken => "the token is not known, or not any more",
            Self::Other(error) => return error.into_response(),
        };
        let error = ApiError::new(StatusCode::UNAUTHORIZED, "unauthorized", message);
        let scheme = (header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        ([scheme], error).into_response()
    }
}

fn check_host(headers: &HeaderMap, port: u16) -> Result<(), ApiError> {
    let forbidden = |message| Err(ApiError::new(StatusCode::FORBIDDEN, "forbidden", message));
    if !text(headers, header::HOST).is_some_and(|host| is_ours(host, port)) {
        return forbidden("the Host header is not this worker's");
    }
    if headers.contains_key(header::ORIGIN) {
        let origin = text(headers, header::ORIGIN).and_then(|text| text.strip_prefix("http://"));
        if !origin.is_some_and(|origin| is_ours(origin, port)) {
            return forbidden("the Origin header is not this worker's");
        }
    }
    Ok(())
}

fn is_ours(host: &str, own_port: u16) -> bool {
    let Some((name, port)) = host.rsplit_once(':') else {
        return false;
    };
    ["127.0.0.1", "localhost", "[::1]"].contains(&name) && port.parse() == Ok(own_port)
}

/// A body, whatever the method, has to be JSON.
fn check_content_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let is_empty = !headers.contains_key(header::TRANSFER_ENCODING)
        && text(headers, header::CONTENT_LENGTH).is_none_or(|length| length == "0");
    if is_empty || is_json(headers) {
        return Ok(());
    }
    Err(not_json())
}

/// Whether a body is called JSON.
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let content_type = text(headers, header::CONTENT_TYPE);
    content_type
        .and_then(|value| value.split(';').next())
        .is_some_and(|value| value.trim().eq_ignore_ascii_case("application/json"))
}

/// What whoever sends something else is told.
pub(super) fn not_json() -> ApiError {
    ApiError::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "unsupported_media_type",
        "the content type must be application/json",
    )
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
