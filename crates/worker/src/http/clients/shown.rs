//! A client as it is answered: with its session's name, which people know it by.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use sessiond_queue::ids::SessionId;

use crate::clients::Client;
use crate::errors::chain;
use crate::http::Api;

/// A client as it is answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct ShownClient {
    /// As it is registered.
    #[serde(flatten)]
    pub client: Client,
    /// Its session's name, `agent:key`; `null`: it has none, or that is purged.
    pub session_name: Option<String>,
}

/// One client.
pub(super) async fn show(api: &Api, client: Client) -> ShownClient {
    let session_name = match client.session {
        Some(session) => names(api, &[session]).await.remove(&session),
        None => None,
    };
    ShownClient {
        client,
        session_name,
    }
}

/// Several clients, in their order.
pub(super) async fn show_all(api: &Api, clients: Vec<Client>) -> Vec<ShownClient> {
    let sessions: Vec<SessionId> = clients.iter().filter_map(|client| client.session).collect();
    // A session has one client.
    let mut names = names(api, &sessions).await;
    let show = |client: Client| ShownClient {
        session_name: client.session.and_then(|session| names.remove(&session)),
        client,
    };
    clients.into_iter().map(show).collect()
}

/// What is done is done, and a token is told but once: a name that cannot be read refuses nothing.
async fn names(api: &Api, sessions: &[SessionId]) -> HashMap<SessionId, String> {
    if sessions.is_empty() {
        return HashMap::new();
    }
    let rows = api.context.store.sessions_by_id(sessions).await;
    let rows = rows.unwrap_or_else(|error| {
        tracing::warn!(
            error = chain(&error),
            "clients without their sessions' names"
        );
        Vec::new()
    });
    let name = |row: sessiond_queue::types::Session| (row.id, format!("{}:{}", row.agent, row.key));
    rows.into_iter().map(name).collect()
}
