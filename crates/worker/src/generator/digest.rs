//! The built-in generator: the digest, in process, without slot or child.

use async_trait::async_trait;
use sessiond_queue::types::{Message, Session, Usage};

use super::{Generator, GeneratorFactory, Outcome};
use crate::agents::Agent;
use crate::digest::{DigestMessage, digest};

/// Opens digests.
#[derive(Clone, Copy, Debug, Default)]
pub struct DigestFactory;

#[async_trait]
impl GeneratorFactory for DigestFactory {
    async fn open(&self, session: &Session, checkpoint: Option<String>) -> Box<dyn Generator> {
        // A session opened through the API may name any program as its agent.
        let agent = session.agent.parse().unwrap_or(Agent::Generic);
        Box::new(Digest { agent, checkpoint })
    }
}

struct Digest {
    agent: Agent,
    checkpoint: Option<String>,
}

#[async_trait]
impl Generator for Digest {
    fn name(&self) -> &'static str {
        "digest"
    }

    async fn work(&mut self, message: &Message) -> Outcome {
        let input = DigestMessage {
            seq: message.seq,
            kind: &message.kind,
            agent_id: message.agent_id.as_deref(),
            accepted_at: message.accepted_at,
            payload: &message.payload,
        };
        let digested = digest(self.agent, self.checkpoint.as_deref(), &input);
        self.checkpoint = Some(digested.checkpoint.clone());
        Outcome::Done {
            results: digested.results,
            checkpoint: Some(digested.checkpoint),
            usage: Usage::default(),
        }
    }
}
