//! What belongs to a session besides its rows and its processes, given up part by part when it ends.

use async_trait::async_trait;
use sessiond_queue::ids::SessionId;
use sessiond_queue::types::CloseDepth;

use crate::agent_watch::AgentWatch;
use crate::clients::Clients;
use crate::sessions::{Belongings, Settled};
use crate::state::StateError;
use crate::worktrees::Worktrees;

/// The parts that keep something for sessions.
#[derive(Clone)]
pub struct SessionBelongings {
    /// Whose agents live.
    pub agent_watch: AgentWatch,
    /// Tokens.
    pub clients: Clients,
    /// Git worktrees.
    pub worktrees: Worktrees,
}

#[async_trait]
impl Belongings for SessionBelongings {
    fn is_at_work(&self, session: SessionId) -> bool {
        self.worktrees.is_at_work(session)
    }

    async fn settle(&self, session: SessionId, _: CloseDepth) -> Result<Settled, StateError> {
        self.agent_watch.settle(session).await?;
        Ok(Settled {
            // A token opens what its session has, and ends with it at whatever depth.
            tokens_revoked: self.clients.revoke(session).await?,
            worktrees: self.worktrees.settle(session).await?,
        })
    }
}
