//! What is answered when a client is not registered, opened, changed or removed.

use axum::http::StatusCode;
use serde_json::json;

use crate::clients::{ChangeError, ClientId, InvalidField, OpenError, RegisterError, RemoveError};
use crate::errors::chain;
use crate::http::ApiError;

pub(super) fn unknown(id: ClientId) -> ApiError {
    let message = format!("client {id} does not exist");
    ApiError::new(StatusCode::NOT_FOUND, "unknown_client", message)
}

impl From<InvalidField> for ApiError {
    fn from(error: InvalidField) -> Self {
        Self::invalid_field(error.field, error.problem)
    }
}

impl From<RegisterError> for ApiError {
    fn from(error: RegisterError) -> Self {
        let message = chain(&error);
        let conflict = |code| Self::new(StatusCode::CONFLICT, code, message.clone());
        match error {
            // It has a longer name here.
            RegisterError::InvalidField(InvalidField {
                field: "name",
                problem,
            }) => Self::invalid_field("display_name", problem),
            RegisterError::InvalidField(error) => error.into(),
            RegisterError::UnknownSession(session) => Self::unknown_session(&session.to_string()),
            RegisterError::SessionNotOpen { life, .. } => {
                conflict("session_not_open").with_details(json!({ "life": life }))
            }
            RegisterError::TokenInUse => conflict("token_in_use"),
            RegisterError::Full { limit } => full(message, limit),
            RegisterError::Random(_) => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
            }
            RegisterError::Store(error) => error.into(),
            RegisterError::State(error) => error.into(),
        }
    }
}

impl From<OpenError> for ApiError {
    fn from(error: OpenError) -> Self {
        let message = chain(&error);
        match error {
            OpenError::InvalidField(error) => error.into(),
            OpenError::Disabled => Self::new(StatusCode::CONFLICT, "clients_disabled", message),
            OpenError::WrongKind { kind, .. } => {
                let details = json!({ "kind": kind });
                Self::new(StatusCode::CONFLICT, "wrong_kind", message).with_details(details)
            }
            OpenError::Full { limit } => full(message, limit),
        }
    }
}

fn full(message: String, limit: usize) -> ApiError {
    let error = ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many_clients", message);
    error.with_details(json!({ "limit": limit, "name": "clients.clients_max" }))
}

impl From<ChangeError> for ApiError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Unknown(id) => unknown(id),
            ChangeError::InvalidField(error) => error.into(),
        }
    }
}

impl From<RemoveError> for ApiError {
    fn from(error: RemoveError) -> Self {
        match error {
            RemoveError::Unknown(id) => unknown(id),
            RemoveError::State(error) => error.into(),
        }
    }
}
