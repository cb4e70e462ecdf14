//! What sessions own beside their rows and processes, given up part by part when they end.

use async_trait::async_trait;
use sessiond_queue::ids::SessionId;
use sessiond_queue::types::CloseDepth;

use crate::agent_watch::AgentWatch;
use crate::sessions::Belongings;
use crate::state::StateError;

/// The parts that keep something for sessions.
pub struct SessionBelongings {
    /// Whose agents live.
    pub agent_watch: AgentWatch,
}

#[async_trait]
impl Belongings for SessionBelongings {
    async fn settle(&self, session: SessionId, _: CloseDepth) -> Result<(), StateError> {
        self.agent_watch.settle(session).await
    }
}
