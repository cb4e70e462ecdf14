//! The one way out: what happens when a client goes, whatever the reason.

use std::sync::Arc;

use sessiond_queue::ids::SessionId;

use super::client::{Client, ClientId, Gone, Kind, Why};
use super::entry::Entry;
use super::{Clients, Shared, rows};
use crate::events::Event;
use crate::state::StateError;

/// A client was not removed.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// It does not exist, or not any more.
    #[error("client {0} does not exist")]
    Unknown(ClientId),
    /// The removal could not be stored, and nothing was removed.
    #[error(transparent)]
    State(#[from] StateError),
}

impl Clients {
    /// Removes a client. A token that was revoked so is so for good: it is on disk.
    pub async fn remove(&self, id: ClientId) -> Result<Client, RemoveError> {
        let shared = &self.shared;
        let kind = self.get(id).ok_or(RemoveError::Unknown(id))?.kind;
        let mut writer = match kind {
            Kind::Registered => shared.state.durable_writer().await?,
            Kind::Http | Kind::Mcp => shared.state.writer().await?,
        };
        let deleted = rows::delete(&mut writer, std::iter::once(id)).await;
        deleted.map_err(StateError::from)?;
        let removed = shared.registry().remove(id);
        drop(writer);
        // Somebody else was faster.
        let removed = removed.ok_or(RemoveError::Unknown(id))?;
        shared.part(&removed, Why::Removed);
        Ok(removed.shown())
    }

    /// Removes all clients, of a kind or at all; answers how many.
    pub async fn clear(&self, kind: Option<Kind>) -> Result<usize, StateError> {
        let shared = &self.shared;
        let mut writer = shared.state.durable_writer().await?;
        rows::clear(&mut writer, kind).await?;
        let mut registry = shared.registry();
        let wanted = |entry: &&Entry| kind.is_none_or(|kind| entry.kind == kind);
        let wanted: Vec<_> = registry
            .all()
            .filter(wanted)
            .map(|entry| entry.id)
            .collect();
        let removed: Vec<_> = wanted
            .into_iter()
            .filter_map(|id| registry.remove(id))
            .collect();
        if kind.is_none() {
            registry.skipped = 0;
        }
        drop(registry);
        drop(writer);
        for entry in &removed {
            shared.part(entry, Why::Removed);
        }
        Ok(removed.len())
    }

    /// Revokes the tokens of a session, for good, and forgets what is stored of them; answers how
    /// many. May be repeated.
    pub async fn revoke(&self, session: SessionId) -> Result<u64, StateError> {
        let shared = &self.shared;
        // Without such a row nothing is written, and nothing is waited for on the disk.
        let mut writer = shared.state.durable_writer().await?;
        rows::delete_of_session(&mut writer, session).await?;
        let mut registry = shared.registry();
        let removed = registry
            .of_session(session)
            .and_then(|id| registry.remove(id));
        drop(registry);
        drop(writer);
        if let Some(removed) = &removed {
            shared.part(removed, Why::SessionEnded);
        }
        Ok(u64::from(removed.is_some()))
    }
}

impl Shared {
    /// Takes clients out of the registry whose rows are still there; those are deleted with the next
    /// batch. A worker that dies before that finds for itself that they are gone.
    pub(super) fn dismiss(&self, ids: &[ClientId], why: Why) {
        let mut registry = self.registry();
        let removed: Vec<_> = ids.iter().filter_map(|id| registry.remove(*id)).collect();
        let gone = removed.iter().map(|entry| entry.id);
        registry.unsaved.gone.extend(gone);
        drop(registry);
        for entry in &removed {
            self.part(entry, why);
        }
        self.unsaved.notify_one();
    }

    /// Tells that a client is gone, which it is.
    pub(super) fn part(&self, entry: &Entry, why: Why) {
        let (id, kind) = (entry.id, entry.kind);
        tracing::debug!(client.id = %id, kind = kind.as_str(), ?why, "client gone");
        let client = id;
        self.events
            .emit(entry.session, Event::ClientGone { client, kind, why });
        let subscribers = self.subscribers();
        if subscribers.is_empty() {
            return;
        }
        let gone = Arc::new(Gone {
            client: entry.shown(),
            why,
        });
        for subscriber in subscribers.iter() {
            subscriber.tell(&gone);
        }
    }
}
