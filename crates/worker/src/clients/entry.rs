//! One client in memory, kept small: ten thousand of them are at home in a few MiB.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use sessiond_queue::ids::{SessionId, Timestamp};
use sessiond_supervisor::ProcessIdentity;
use tokio::time::Instant;
use tokio_util::time::delay_queue::Key;

use super::about::{About, InvalidField, merge};
use super::client::{Client, ClientId, Kind};
use super::limits::TOUCH_EVERY;
use super::token::TokenHash;

/// One client.
pub(super) struct Entry {
    pub(super) id: ClientId,
    pub(super) kind: Kind,
    /// Of registered ones, and of no others.
    pub(super) token: Option<TokenHash>,
    pub(super) session: Option<SessionId>,
    /// Shared with each request that it makes.
    pub(super) project: Option<Arc<str>>,
    pub(super) name: Box<str>,
    pub(super) version: Option<Box<str>>,
    pub(super) cwd: Option<Box<str>>,
    pub(super) role: Option<Box<str>>,
    pub(super) groups: Box<[Box<str>]>,
    /// JSON text: a tree of it takes several times as much.
    pub(super) metadata: Box<str>,
    /// Only here, and gone with the entry.
    pub(super) presence: Option<SecretString>,
    /// Shared by all clients of the process.
    pub(super) process: Option<Arc<ProcessIdentity>>,
    pub(super) created_at: Timestamp,
    pub(super) touched_at: Timestamp,
    pub(super) expires_at: Timestamp,
    /// The same by the clock that nobody sets.
    pub(super) deadline: Instant,
    /// Its place in the timer queue; the registry's own.
    pub(super) timer: Option<Key>,
}

impl Entry {
    /// One that begins now. `about` was checked.
    pub(super) fn new(
        id: ClientId,
        kind: Kind,
        about: About,
        now: Timestamp,
        ttl: Duration,
    ) -> Result<Self, InvalidField> {
        let boxed = |text: Option<String>| text.map(String::into_boxed_str);
        Ok(Self {
            id,
            kind,
            token: None,
            session: None,
            project: about.project.map(Arc::from),
            name: about.name.into_boxed_str(),
            version: boxed(about.version),
            cwd: boxed(about.cwd),
            role: boxed(about.role),
            groups: about
                .groups
                .into_iter()
                .map(String::into_boxed_str)
                .collect(),
            metadata: merge("{}", about.metadata)?,
            presence: None,
            process: None,
            created_at: now,
            touched_at: now,
            expires_at: now.after(ttl),
            deadline: Instant::now() + ttl,
            timer: None,
        })
    }

    /// Begins its TTL anew, `now` by the wall clock and `at` by the other; `false`: it was touched a moment ago, and nothing was changed.
    pub(super) fn touch(&mut self, now: Timestamp, at: Instant, ttl: Duration) -> bool {
        let deadline = at + ttl;
        if deadline.saturating_duration_since(self.deadline) < TOUCH_EVERY {
            return false;
        }
        self.deadline = deadline;
        self.touched_at = now;
        self.expires_at = now.after(ttl);
        true
    }

    /// Whether it counts no more, timer or not: a clock that was set forward, or a machine that
    /// slept, ends tokens too.
    pub(super) fn is_over(&self, now: Timestamp) -> bool {
        self.deadline <= Instant::now() || self.expires_at <= now
    }

    /// As it is shown.
    pub(super) fn shown(&self) -> Client {
        let text = |text: &Option<Box<str>>| text.as_deref().map(str::to_owned);
        Client {
            id: self.id,
            kind: self.kind,
            name: self.name.to_string(),
            version: text(&self.version),
            cwd: text(&self.cwd),
            project: self.project.as_deref().map(str::to_owned),
            session: self.session,
            role: text(&self.role),
            groups: self.groups.iter().map(ToString::to_string).collect(),
            // It was written by `merge`.
            metadata: serde_json::from_str(&self.metadata).unwrap_or_default(),
            pid: self.process.as_ref().map(|process| process.pid),
            has_presence: self.presence.is_some(),
            created_at: self.created_at,
            touched_at: self.touched_at,
            expires_at: self.expires_at,
        }
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("id", &self.id)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}
