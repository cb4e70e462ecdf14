//! HTTP and MCP sessions: clients that last as long as they are used. Written in batches.

use serde_json::{Map, Value};
use tokio::time::Instant;

use super::about::{About, InvalidField, merge};
use super::client::{Client, ClientId, Kind, Why};
use super::entry::Entry;
use super::{Clients, Shared};
use crate::events::Event;

/// Who opens a session.
#[derive(Clone, Debug)]
pub struct Opening {
    /// An id that is known already, here or to the client; without it one is minted.
    pub id: Option<ClientId>,
    /// `http` or `mcp`.
    pub kind: Kind,
    /// What it says of itself; of one that is there already, what is named is changed.
    pub about: About,
}

/// An open session.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The client.
    pub client: Client,
    /// Whether it was not there before.
    pub is_new: bool,
}

/// A session was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A named field is not what it must be.
    #[error(transparent)]
    InvalidField(#[from] InvalidField),
    /// Such sessions are not wanted.
    #[error("open a client session: they are switched off (clients.enabled)")]
    Disabled,
    /// The id is that of a client of another kind.
    #[error("client {id} is of kind {}", .kind.as_str())]
    WrongKind {
        /// The client.
        id: ClientId,
        /// What it is.
        kind: Kind,
    },
    /// There are as many clients as there may be.
    #[error("open a client session: there are {limit} clients already (clients.clients_max)")]
    Full {
        /// How many there may be.
        limit: usize,
    },
}

/// A client was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// It does not exist, or not any more.
    #[error("client {0} does not exist")]
    Unknown(ClientId),
    /// A named field is not what it must be.
    #[error(transparent)]
    InvalidField(#[from] InvalidField),
}

impl Clients {
    /// Opens a session, or finds it open, which is a touch.
    pub fn open_session(&self, mut opening: Opening) -> Result<Opened, OpenError> {
        let shared = &self.shared;
        if !shared.settings.enabled {
            return Err(OpenError::Disabled);
        }
        opening.about.check()?;
        shared.place(&mut opening.about);
        let id = opening.id.unwrap_or_else(ClientId::mint);
        shared.let_go_if_over(id);
        let opened = shared.find_or_insert(id, opening)?;
        if opened.is_new {
            let (kind, name) = (opened.client.kind, opened.client.name.clone());
            let client = id;
            let registered = Event::ClientRegistered { client, kind, name };
            shared.events.emit(None, registered);
            tracing::debug!(client.id = %id, kind = kind.as_str(), "client session opened");
        }
        shared.unsaved.notify_one();
        Ok(opened)
    }

    /// Begins the TTL of a session anew. A registered client's time is not changed: its token is
    /// only so old.
    pub fn touch(&self, id: ClientId) -> Result<Client, ChangeError> {
        let shared = &self.shared;
        let now = shared.clock.now();
        let mut registry = shared.registry();
        let entry = registry.get_mut(id).filter(|entry| !entry.is_over(now));
        let entry = entry.ok_or(ChangeError::Unknown(id))?;
        let is_changed =
            entry.kind.is_kept_by_touch() && entry.touch(now, Instant::now(), shared.ttl());
        let client = entry.shown();
        if is_changed {
            registry.unsaved.changed.insert(id);
            drop(registry);
            shared.unsaved.notify_one();
            tracing::debug!(client.id = %id, "client touched");
        }
        Ok(client)
    }

    /// Merges a client's metadata, where `null` removes a name.
    pub fn patch(&self, id: ClientId, patch: Map<String, Value>) -> Result<Client, ChangeError> {
        let shared = &self.shared;
        let now = shared.clock.now();
        let mut registry = shared.registry();
        let entry = registry.get_mut(id).filter(|entry| !entry.is_over(now));
        let entry = entry.ok_or(ChangeError::Unknown(id))?;
        entry.metadata = merge(&entry.metadata, patch)?;
        let client = entry.shown();
        registry.unsaved.changed.insert(id);
        drop(registry);
        shared.unsaved.notify_one();
        tracing::debug!(client.id = %id, "client changed");
        Ok(client)
    }
}

impl Shared {
    /// One whose time is over makes room, though its timer has not come to it yet.
    fn let_go_if_over(&self, id: ClientId) {
        let now = self.clock.now();
        if self
            .registry()
            .get(id)
            .is_some_and(|entry| entry.is_over(now))
        {
            self.dismiss(&[id], Why::Expired);
        }
    }

    fn find_or_insert(&self, id: ClientId, opening: Opening) -> Result<Opened, OpenError> {
        let (now, ttl, limit) = (self.clock.now(), self.ttl(), self.settings.clients_max);
        let mut registry = self.registry();
        let Some(entry) = registry.get_mut(id) else {
            if registry.counts().all() >= limit {
                return Err(OpenError::Full { limit });
            }
            let entry = Entry::new(id, opening.kind, opening.about, now, ttl)?;
            let client = entry.shown();
            registry.insert(Box::new(entry));
            registry.unsaved.changed.insert(id);
            return Ok(Opened {
                client,
                is_new: true,
            });
        };
        if entry.kind != opening.kind {
            let kind = entry.kind;
            return Err(OpenError::WrongKind { id, kind });
        }
        let About {
            name,
            version,
            cwd,
            project,
            metadata,
            ..
        } = opening.about;
        entry.metadata = merge(&entry.metadata, metadata)?;
        if !name.is_empty() {
            entry.name = name.into_boxed_str();
        }
        if let Some(version) = version {
            entry.version = Some(version.into_boxed_str());
        }
        if let Some(cwd) = cwd {
            entry.cwd = Some(cwd.into_boxed_str());
        }
        if let Some(project) = project {
            entry.project = Some(project.into());
        }
        entry.touch(now, Instant::now(), ttl);
        let client = entry.shown();
        registry.unsaved.changed.insert(id);
        Ok(Opened {
            client,
            is_new: false,
        })
    }
}
