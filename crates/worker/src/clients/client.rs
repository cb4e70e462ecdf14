//! What a client is, as it is shown: never its token, never its presence.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sessiond_queue::ids::{SessionId, Timestamp};
use uuid::Uuid;

/// One client. Minted by the registry (UUIDv7), or chosen by who opens an HTTP or MCP session.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(transparent)]
pub struct ClientId(pub Uuid);

impl ClientId {
    /// A fresh, time-ordered id.
    pub fn mint() -> Self {
        Self(Uuid::now_v7())
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientId({})", self.0)
    }
}

impl FromStr for ClientId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// The kinds of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = ClientKind))]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A process with a token. It goes with its process, with its session, or when its token is
    /// too old.
    Registered,
    /// An HTTP session. It goes when it has not been touched for the TTL.
    Http,
    /// An MCP session; likewise.
    Mcp,
}

impl Kind {
    /// The word used in SQL, HTTP and the CLI.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Registered => "registered",
            Self::Http => "http",
            Self::Mcp => "mcp",
        }
    }

    /// Whether it lasts as long as it is touched.
    pub fn is_kept_by_touch(self) -> bool {
        self != Self::Registered
    }
}

/// A client as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct Client {
    /// Its id.
    pub id: ClientId,
    /// What it is.
    pub kind: Kind,
    /// What it is called.
    pub name: String,
    /// Its version.
    pub version: Option<String>,
    /// Where it works.
    pub cwd: Option<String>,
    /// Root of the project it works in.
    pub project: Option<String>,
    /// The session that its token is for.
    pub session: Option<SessionId>,
    /// What it is there for, in a word of its own.
    pub role: Option<String>,
    /// What it belongs to, in words of its own.
    pub groups: Vec<String>,
    /// Free names and values, merged by PATCH.
    #[cfg_attr(test, schema(value_type = Object))]
    pub metadata: Map<String, Value>,
    /// Its process.
    pub pid: Option<u32>,
    /// Whether key material is held for it, which nobody is shown.
    pub has_presence: bool,
    /// When it was registered.
    pub created_at: Timestamp,
    /// When it was last touched.
    pub touched_at: Timestamp,
    /// When it goes, if nothing touches it.
    pub expires_at: Timestamp,
}

/// Why a client is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// Somebody asked for it.
    Removed,
    /// Its session was registered again.
    Replaced,
    /// It was not touched for its TTL, or its token has become too old.
    Expired,
    /// Its process has ended, or its pid is another's by now.
    ProcessEnded,
    /// Its session was closed or purged.
    SessionEnded,
}

/// A client that is gone, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Gone {
    /// As it was last.
    pub client: Client,
    /// Why it is gone.
    pub why: Why,
}

/// How many clients there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = ClientCounts))]
pub struct Counts {
    /// Processes with a token.
    pub registered: usize,
    /// HTTP sessions.
    pub http: usize,
    /// MCP sessions.
    pub mcp: usize,
}

impl Counts {
    /// All of them.
    pub fn all(&self) -> usize {
        self.registered + self.http + self.mcp
    }

    pub(super) fn of(&mut self, kind: Kind) -> &mut usize {
        match kind {
            Kind::Registered => &mut self.registered,
            Kind::Http => &mut self.http,
            Kind::Mcp => &mut self.mcp,
        }
    }
}

/// What the doctor is told of clients.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct ClientsReport {
    /// How many there are.
    #[serde(flatten)]
    pub counts: Counts,
    /// Processes that the kernel wakes us for when they end.
    pub watched: usize,
    /// Processes that have to be looked at from time to time.
    pub swept: usize,
    /// Clients whose process cannot be told apart for certain; they go when they expire.
    pub unverifiable: usize,
    /// Stored clients that could not be read at the start. They stay in `state.db` until they
    /// expire, their session ends or they are cleared.
    pub skipped: usize,
    /// Why the last attempt to store what has changed failed.
    pub last_error: Option<String>,
}
