//! A process registers and gets its token: committed before it is answered.

use std::sync::Arc;

use secrecy::{ExposeSecret as _, SecretString};
use sessiond_queue::error::StoreError;
use sessiond_queue::ids::{SessionId, Timestamp};
use sessiond_queue::types::{Life, Session};
use sessiond_supervisor::{IdentityError, ProcessIdentity};
use sqlx::Connection as _;

use super::about::{About, InvalidField, invalid};
use super::client::{Client, ClientId, Kind, Why};
use super::entry::Entry;
use super::limits::PRESENCE_MAX_BYTES;
use super::rows::{self, Batch};
use super::token::{Token, TokenHash, UnfitToken};
use super::{Clients, Shared};
use crate::events::Event;
use crate::state::{StateError, Writer};

/// Who registers.
#[derive(Debug, Default)]
pub struct Registration {
    /// The session that the token is for; it must be open.
    pub session: Option<SessionId>,
    /// The process whose end is the client's.
    pub pid: Option<u32>,
    /// What it says of itself.
    pub about: About,
    /// Key material that is held for it, and shown to nobody.
    pub presence: Option<SecretString>,
    /// A token of its own; without it one is made.
    pub token: Option<SecretString>,
}

/// Who is registered, and how it proves that.
#[derive(Debug)]
pub struct Registered {
    /// The client.
    pub client: Client,
    /// Its token, which nobody can tell again.
    pub token: Token,
    /// The client of the same session whose place it takes.
    pub replaced: Option<ClientId>,
}

/// A registration was not done.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// A named field is not what it must be.
    #[error(transparent)]
    InvalidField(#[from] InvalidField),
    /// The session does not exist.
    #[error("session {0} does not exist")]
    UnknownSession(SessionId),
    /// The session is closing or has ended: what is given to it now nobody would take back.
    #[error("session {session} is {}, not open", .life.as_str())]
    SessionNotOpen {
        /// The session.
        session: SessionId,
        /// Where it is in its life.
        life: Life,
    },
    /// Another client has that token.
    #[error("the token is another client's")]
    TokenInUse,
    /// There are as many clients as there may be.
    #[error("register a client: there are {limit} already (clients.clients_max)")]
    Full {
        /// How many there may be.
        limit: usize,
    },
    /// The operating system gave no random bytes.
    #[error("make a token")]
    Random(#[from] getrandom::Error),
    /// The session could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The registration could not be stored.
    #[error(transparent)]
    State(#[from] StateError),
}

impl From<UnfitToken> for RegisterError {
    fn from(error: UnfitToken) -> Self {
        invalid("token", error.to_string()).into()
    }
}

impl From<sqlx::Error> for RegisterError {
    fn from(error: sqlx::Error) -> Self {
        StateError::from(error).into()
    }
}

impl Clients {
    /// Registers a process. It takes the place of its session's last client, whose token is refused
    /// from then on. Once this has answered, both are on disk.
    pub async fn register(&self, wanted: Registration) -> Result<Registered, RegisterError> {
        let shared = &self.shared;
        wanted.about.check()?;
        let presence = wanted
            .presence
            .as_ref()
            .map(|text| text.expose_secret().len());
        if let Some(bytes) = presence.filter(|bytes| *bytes > PRESENCE_MAX_BYTES) {
            let problem = format!("has {bytes} bytes, over the limit of {PRESENCE_MAX_BYTES}");
            return Err(invalid("presence", problem).into());
        }
        let token = match wanted.token {
            Some(token) => Token::given(token)?,
            None => Token::mint()?,
        };
        let process = wanted.pid.map(identity).transpose()?;
        // From here on nobody else registers, and no session's tokens are revoked.
        let mut writer = shared.state.durable_writer().await?;
        let session = match wanted.session {
            Some(id) => Some(shared.open_session(id).await?),
            None => None,
        };
        let mut about = wanted.about;
        let of_session = session.as_ref().and_then(|session| session.project.clone());
        about.project = of_session.or(about.project);
        shared.place(&mut about);
        let now = shared.clock.now();
        let ttl = shared.token_ttl();
        let mut entry = Entry::new(ClientId::mint(), Kind::Registered, about, now, ttl)?;
        entry.token = Some(token.hash());
        entry.session = session.map(|session| session.id);
        entry.presence = wanted.presence;
        entry.process = process.map(Arc::new);
        let replaced = shared.make_room(&entry, now)?;
        store(&mut writer, &entry).await?;
        let client = shared.admit(entry, replaced);
        drop(writer);
        Ok(Registered {
            client,
            token,
            replaced,
        })
    }
}

impl Shared {
    /// Fills the project in that belongs to the working directory.
    pub(super) fn place(&self, about: &mut About) {
        if about.project.is_none() {
            about.project = about.cwd.as_deref().map(|cwd| self.projects.of(cwd));
        }
    }

    async fn open_session(&self, id: SessionId) -> Result<Session, RegisterError> {
        let session = self.store.session(id).await?;
        let session = session.ok_or(RegisterError::UnknownSession(id))?;
        match session.life {
            Life::Open => Ok(session),
            life => Err(RegisterError::SessionNotOpen { session: id, life }),
        }
    }

    /// Whether there is room for the client, and whose place it takes.
    fn make_room(&self, entry: &Entry, now: Timestamp) -> Result<Option<ClientId>, RegisterError> {
        let mut over = None;
        let mut registry = self.registry();
        let replaced = entry
            .session
            .and_then(|session| registry.of_session(session));
        let same_token = entry
            .token
            .as_ref()
            .and_then(|token| registry.of_token(token));
        let same_token = same_token.map(|other| (other.id, other.is_over(now)));
        match same_token {
            Some((other, _)) if Some(other) == replaced => {}
            Some((other, true)) => over = registry.remove(other),
            Some(_) => return Err(RegisterError::TokenInUse),
            None => {}
        }
        let limit = self.settings.clients_max;
        let others = registry.counts().all() - usize::from(replaced.is_some());
        drop(registry);
        if let Some(over) = over {
            self.part(&over, Why::Expired);
        }
        if others >= limit {
            return Err(RegisterError::Full { limit });
        }
        Ok(replaced)
    }

    /// Takes in who has been stored, and lets go whom it replaces.
    fn admit(self: &Arc<Self>, entry: Entry, replaced: Option<ClientId>) -> Client {
        let standing = entry
            .process
            .as_deref()
            .and_then(|process| self.look(process));
        let (client, id) = (entry.shown(), entry.id);
        let mut registry = self.registry();
        let left = replaced.and_then(|id| registry.remove(id));
        let is_gone = self.insert_watched(&mut registry, entry, standing);
        drop(registry);
        if let Some(left) = left {
            self.part(&left, Why::Replaced);
        }
        let registered = Event::ClientRegistered {
            client: id,
            kind: Kind::Registered,
            name: client.name.clone(),
        };
        self.events.emit(client.session, registered);
        tracing::debug!(client.id = %id, pid = client.pid, session.id = ?client.session,
            "client registered");
        if is_gone {
            self.dismiss(&[id], Why::ProcessEnded);
        }
        client
    }
}

fn identity(pid: u32) -> Result<ProcessIdentity, InvalidField> {
    ProcessIdentity::of(pid).map_err(|error| match error {
        IdentityError::Refused(_) => invalid("pid", "is none that can be a client's"),
        IdentityError::Gone(_) => invalid("pid", "is no running process"),
        error => invalid("pid", format!("cannot be watched: {error}")),
    })
}

/// One transaction: the new row instead of those of its session and of its token.
async fn store(writer: &mut Writer<'_>, entry: &Entry) -> Result<(), sqlx::Error> {
    let batch = Batch::of(std::iter::once(entry))?;
    let mut transaction = writer.begin().await?;
    if let Some(session) = entry.session {
        rows::delete_of_session(&mut transaction, session).await?;
    }
    let token: Option<TokenHash> = entry.token;
    if let Some(token) = token {
        rows::delete_of_token(&mut transaction, token).await?;
    }
    rows::save(&mut transaction, &batch).await?;
    transaction.commit().await
}
