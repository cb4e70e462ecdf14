//! The one way an event enters, whether it comes through the API or from the spool.
//!
//! Reads the payload by its agent's rules, stores it, wakes its session. What can never be accepted
//! is set aside here, so that no caller can forget to.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use sessiond_queue::error::EnqueueError;
use sessiond_queue::ids::{EventId, Timestamp};
use sessiond_queue::types::{Effect, Enqueue, Receipt, SessionRef};

use crate::agent_watch::AgentWatch;
use crate::agents::{Agent, PayloadError, Projects, UnknownAgent, read_event};
use crate::events::{Event, Events, Who};
use crate::sessions::{Context, Sessions};
use crate::set_aside::SetAside;

/// One event as a hook hands it over.
#[derive(Clone, Copy, Debug)]
pub struct Incoming<'a> {
    /// The agent's name, for example `claude-code`.
    pub agent: &'a str,
    /// Identity of the firing.
    pub event_id: EventId,
    /// When the hook fired, by its clock.
    pub fired_at: Timestamp,
    /// Which process the agent is, as its hook says; unread.
    pub agent_process: Option<&'a str>,
    /// What the agent wrote to the hook.
    pub raw: &'a [u8],
}

/// An event that is on disk.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// Where it was stored.
    pub receipt: Receipt,
    /// The agent's name of the event.
    pub kind: String,
    /// Set when the agent takes context as an answer to this event.
    pub context: Option<ContextWanted>,
}

/// Who asks for context.
#[derive(Clone, Debug)]
pub struct ContextWanted {
    /// Whose form the answer takes.
    pub agent: Agent,
    /// The project it is about.
    pub project: String,
}

/// An event was not stored.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// No adapter of that name.
    #[error(transparent)]
    UnknownAgent(#[from] UnknownAgent),
    /// Not what the agent's events look like.
    #[error(transparent)]
    Payload(#[from] PayloadError),
    /// The queue did not take it.
    #[error(transparent)]
    Enqueue(#[from] EnqueueError),
    /// It can never be accepted, and could not be set aside either.
    #[error("set an event aside that cannot be accepted ({reason})")]
    NotSetAside {
        /// Why it cannot be accepted: a word for programs.
        reason: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl AcceptError {
    /// A word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnknownAgent(_) => "unknown_agent",
            Self::Payload(error) => error.code(),
            Self::Enqueue(error) => enqueue_code(error),
            Self::NotSetAside { .. } => "not_set_aside",
        }
    }

    /// Whether whoever has the event must keep it and hand it over again; otherwise it was set aside.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::UnknownAgent(_) | Self::Payload(_) => false,
            Self::NotSetAside { .. } => true,
            Self::Enqueue(error) => match error {
                EnqueueError::SessionFull { .. }
                | EnqueueError::QueueFull { .. }
                | EnqueueError::Store(_) => true,
                EnqueueError::PayloadTooLarge { .. }
                | EnqueueError::InvalidField { .. }
                | EnqueueError::UnknownSession(_) => false,
            },
        }
    }
}

/// The word for programs of an enqueue that failed.
pub fn enqueue_code(error: &EnqueueError) -> &'static str {
    match error {
        EnqueueError::PayloadTooLarge { .. } => "payload_too_large",
        EnqueueError::InvalidField { .. } => "invalid_field",
        EnqueueError::SessionFull { .. } => "session_full",
        EnqueueError::QueueFull { .. } => "queue_full",
        EnqueueError::UnknownSession(_) => "unknown_session",
        EnqueueError::Store(_) => "store_failed",
    }
}

/// Tells that an event is on disk, unless it was before.
pub(crate) fn tell_accepted(events: &Events, receipt: &Receipt, kind: &str) {
    if receipt.duplicate {
        return;
    }
    let accepted = Event::MessageAccepted {
        message: receipt.message,
        seq: receipt.seq,
        kind: kind.into(),
    };
    events.emit(Some(receipt.session), accepted);
}

/// Takes events in.
pub struct Acceptor {
    context: Arc<Context>,
    sessions: Sessions,
    agent_watch: AgentWatch,
    projects: Projects,
    set_aside: Arc<SetAside>,
}

impl Acceptor {
    /// An acceptor that stores through `context`, wakes through `sessions`, and tells `agent_watch`
    /// whose events these are.
    pub fn new(
        context: Arc<Context>,
        sessions: Sessions,
        agent_watch: AgentWatch,
        set_aside: Arc<SetAside>,
    ) -> Self {
        Self {
            context,
            sessions,
            agent_watch,
            projects: Projects::default(),
            set_aside,
        }
    }

    /// Stores one event. What can never be accepted is set aside before the error is returned; an
    /// event that could not be set aside either is a temporary error.
    pub async fn accept(&self, incoming: Incoming<'_>) -> Result<Accepted, AcceptError> {
        let error = match self.try_accept(incoming).await {
            Ok(accepted) => return Ok(accepted),
            Err(error) if error.is_temporary() => error,
            Err(error) => match self.put_aside(incoming, &error).await {
                Ok(()) => return Err(error),
                Err(source) => AcceptError::NotSetAside {
                    reason: error.code(),
                    source,
                },
            },
        };
        tracing::warn!(
            agent = incoming.agent,
            error = crate::errors::chain(&error),
            "event not accepted yet"
        );
        Err(error)
    }

    /// The project that a working directory belongs to.
    pub fn project(&self, cwd: &str) -> String {
        self.projects.of(cwd)
    }

    async fn try_accept(&self, incoming: Incoming<'_>) -> Result<Accepted, AcceptError> {
        let agent: Agent = incoming.agent.parse()?;
        let settings = &self.context.settings;
        let limit = settings.queue.payload_max_bytes;
        if incoming.raw.len() > limit {
            let bytes = incoming.raw.len();
            return Err(EnqueueError::PayloadTooLarge { bytes, limit }.into());
        }
        let drain_max = Duration::from_millis(settings.session.drain_max_ms);
        // The drain is for the backlog as it stands now: a spooled end may have fired days ago.
        let now = self.context.clock.now();
        let event = read_event(agent, incoming.raw, now, drain_max)?;
        let project = event.cwd.as_deref().map(|cwd| self.project(cwd));
        let key = event.session_key.clone();
        let enqueue = Enqueue {
            event_id: incoming.event_id,
            session: SessionRef::Key {
                agent: agent.as_str().to_owned(),
                key: event.session_key,
            },
            kind: event.kind.clone(),
            agent_id: event.agent_id,
            payload: event.payload,
            dedup: event.dedup,
            effect: event.effect.clone(),
            cwd: event.cwd,
            project: project.clone(),
            // A hook's clock is this machine's; a time to come is a slip and would hold up the order.
            accepted_at: incoming.fired_at.min(now),
        };
        let taking = self.agent_watch.taking().await;
        let receipt = self.context.store.enqueue(enqueue, now).await?;
        let events = &self.context.events;
        if receipt.session_created {
            let who = Box::new(Who {
                agent: agent.as_str().to_owned(),
                key,
                project: project.clone(),
            });
            events.emit(Some(receipt.session), Event::SessionCreated { who });
        }
        tell_accepted(events, &receipt, &event.kind);
        // A duplicate had its effect when it came first; but that it comes again may mean that
        // whoever took it in was cut off before the wake-up.
        let effect = match receipt.duplicate {
            true => &Effect::None,
            false => &event.effect,
        };
        self.sessions.wake(receipt.session, effect).await;
        match (&event.effect, incoming.agent_process) {
            // When it comes again, the session may have been resumed since.
            (Effect::End { .. }, _) if receipt.duplicate => {}
            (Effect::End { .. }, _) => self.agent_watch.left(receipt.session).await,
            (_, Some(named)) => self.agent_watch.seen(receipt.session, named).await,
            (_, None) => {}
        }
        drop(taking);
        let context = project
            .filter(|_| event.wants_context)
            .map(|project| ContextWanted { agent, project });
        Ok(Accepted {
            receipt,
            kind: event.kind,
            context,
        })
    }

    async fn put_aside(&self, incoming: Incoming<'_>, error: &AcceptError) -> io::Result<()> {
        let (code, message) = (error.code(), crate::errors::chain(error));
        let (agent, bytes) = (incoming.agent, incoming.raw.len());
        tracing::warn!(agent, code, message, bytes, "event refused");
        let (agent, raw) = (agent.to_owned(), incoming.raw.to_vec());
        let event_id = Some(incoming.event_id);
        let set_aside = Arc::clone(&self.set_aside);
        let now = self.context.clock.now();
        let put = move || set_aside.put(now, event_id, &agent, code, &message, &raw);
        tokio::task::spawn_blocking(put)
            .await
            .map_err(io::Error::other)?
            .map(drop)
    }
}
