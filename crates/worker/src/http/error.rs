//! The API's errors: `{error: {code, message, details}}`, with the status that fits.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use sessiond_queue::error::{EnqueueError, MessageError, SessionError, StoreError};

use crate::accept::{AcceptError, enqueue_code};
use crate::errors::chain;
use crate::search::SearchError;
use crate::sessions::CloseError;
use crate::state::StateError;

/// There is no room for one more reader of events.
const TOO_MANY_READERS: &str = "too_many_readers";

/// A request that was not done.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
    details: Value,
}

impl ApiError {
    /// An error with no details.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            details: json!({}),
        }
    }

    /// The same with details for programs.
    #[must_use]
    pub fn with_details(self, details: Value) -> Self {
        Self { details, ..self }
    }

    /// A named field that is not what it must be.
    pub fn invalid_field(field: &str, problem: impl AsRef<str>) -> Self {
        let problem = problem.as_ref();
        Self {
            details: json!({ "field": field }),
            ..Self::new(
                StatusCode::BAD_REQUEST,
                "invalid_field",
                format!("field {field} {problem}"),
            )
        }
    }

    /// As many readers of events are there as may be, of this caller's sort.
    pub fn too_many_readers(limit: usize) -> Self {
        let message = format!(
            "there are {limit} readers of events already, the limit (events.readers_max; half of it \
             for clients)"
        );
        Self {
            details: json!({ "limit": limit }),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, TOO_MANY_READERS, message)
        }
    }

    /// No session of that name.
    pub fn unknown_session(name: &str) -> Self {
        let message = format!("session {name} does not exist");
        Self::new(StatusCode::NOT_FOUND, "unknown_session", message)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        // A limit that is reached is the caller's news, not a defect.
        if self.status.is_server_error() && self.code != TOO_MANY_READERS {
            tracing::error!(code = self.code, error = self.message, "request failed");
        }
        let error = json!({
            "code": self.code, "message": self.message, "details": self.details,
        });
        (self.status, Json(json!({ "error": error }))).into_response()
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        let status = match error {
            StoreError::Closed => StatusCode::SERVICE_UNAVAILABLE,
            StoreError::Database(_) | StoreError::Corrupt(_) | StoreError::ReadOnly => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        Self::new(status, "store_failed", chain(&error))
    }
}

impl From<EnqueueError> for ApiError {
    fn from(error: EnqueueError) -> Self {
        let code = enqueue_code(&error);
        let message = chain(&error);
        let (status, details) = match error {
            EnqueueError::Store(error) => return error.into(),
            EnqueueError::PayloadTooLarge { bytes, limit } => (
                StatusCode::PAYLOAD_TOO_LARGE,
                json!({ "field": "payload", "bytes": bytes, "limit": limit }),
            ),
            EnqueueError::InvalidField { field, .. } => {
                (StatusCode::BAD_REQUEST, json!({ "field": field }))
            }
            EnqueueError::SessionFull { limit, .. } | EnqueueError::QueueFull { limit } => {
                (StatusCode::TOO_MANY_REQUESTS, json!({ "limit": limit }))
            }
            EnqueueError::UnknownSession(_) => (StatusCode::NOT_FOUND, json!({})),
        };
        Self {
            details,
            ..Self::new(status, code, message)
        }
    }
}

impl From<AcceptError> for ApiError {
    fn from(error: AcceptError) -> Self {
        match error {
            AcceptError::Enqueue(error) => error.into(),
            AcceptError::UnknownAgent(_) => {
                Self::new(StatusCode::NOT_FOUND, error.code(), chain(&error))
            }
            AcceptError::Payload(ref payload) => {
                let details = payload.field().map(|field| json!({ "field": field }));
                Self {
                    details: details.unwrap_or_else(|| json!({})),
                    ..Self::new(StatusCode::BAD_REQUEST, error.code(), chain(&error))
                }
            }
            AcceptError::NotSetAside { .. } => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, error.code(), chain(&error))
            }
        }
    }
}

impl From<SessionError> for ApiError {
    fn from(error: SessionError) -> Self {
        Self::from(&error)
    }
}

impl From<&SessionError> for ApiError {
    fn from(error: &SessionError) -> Self {
        match error {
            SessionError::Unknown(session) => Self::unknown_session(&session.to_string()),
            SessionError::InvalidField { field, problem } => Self::invalid_field(field, problem),
            SessionError::Store(_) => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "store_failed",
                chain(error),
            ),
        }
    }
}

impl From<&SearchError> for ApiError {
    fn from(error: &SearchError) -> Self {
        match error {
            SearchError::InvalidField { field, problem } => Self::invalid_field(field, problem),
            SearchError::Closed => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", chain(error))
            }
            SearchError::Database(_) | SearchError::Store(_) => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "search_failed",
                chain(error),
            ),
        }
    }
}

impl From<SearchError> for ApiError {
    fn from(error: SearchError) -> Self {
        Self::from(&error)
    }
}

impl From<&StateError> for ApiError {
    fn from(error: &StateError) -> Self {
        match error {
            StateError::Closed => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", chain(error))
            }
            StateError::Database(_) => {
                let status = StatusCode::INTERNAL_SERVER_ERROR;
                Self::new(status, "state_failed", chain(error))
            }
        }
    }
}

impl From<StateError> for ApiError {
    fn from(error: StateError) -> Self {
        Self::from(&error)
    }
}

impl From<CloseError> for ApiError {
    fn from(error: CloseError) -> Self {
        match error {
            CloseError::Session(error) => Self::from(error.as_ref()),
            CloseError::Index(error) => Self::from(error.as_ref()),
            CloseError::State(error) => Self::from(error.as_ref()),
            CloseError::Panicked => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal",
                error.to_string(),
            ),
            CloseError::Stopping => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "stopping",
                error.to_string(),
            ),
        }
    }
}

impl From<MessageError> for ApiError {
    fn from(error: MessageError) -> Self {
        let message = chain(&error);
        match error {
            MessageError::Unknown(_) => {
                Self::new(StatusCode::NOT_FOUND, "unknown_message", message)
            }
            MessageError::WrongState { state, .. } => Self {
                details: json!({ "state": state }),
                ..Self::new(StatusCode::CONFLICT, "wrong_state", message)
            },
            MessageError::Full { limit, name, .. } => Self {
                details: json!({ "limit": limit, "name": name }),
                ..Self::new(StatusCode::TOO_MANY_REQUESTS, "queue_full", message)
            },
            MessageError::Store(error) => error.into(),
        }
    }
}
