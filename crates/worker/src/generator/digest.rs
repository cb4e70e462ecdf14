//! The built-in generator: the digest, in process, without slot or child.

use async_trait::async_trait;
use sessiond_queue::types::{Message, Session, Usage};

use super::{About, Generator, GeneratorFactory, Kind, OpenError, Outcome};
use crate::agents::Agent;
use crate::digest::{DigestMessage, digest};

/// What it is called in the configuration and in reports.
pub(super) const NAME: &str = "digest";

/// Opens digests.
#[derive(Clone, Copy, Debug, Default)]
pub struct DigestFactory;

#[async_trait]
impl GeneratorFactory for DigestFactory {
    fn kind(&self, _: &Session) -> Kind {
        Kind {
            name: NAME.into(),
            is_program: false,
        }
    }

    async fn open(
        &self,
        session: &Session,
        checkpoint: Option<String>,
    ) -> Result<Box<dyn Generator>, OpenError> {
        // A session opened through the API may name any program as its agent.
        let agent = session.agent.parse().unwrap_or(Agent::Generic);
        Ok(Box::new(Digest { agent, checkpoint }))
    }
}

struct Digest {
    agent: Agent,
    checkpoint: Option<String>,
}

#[async_trait]
impl Generator for Digest {
    fn about(&self) -> About {
        About {
            name: NAME.to_owned(),
            ..About::default()
        }
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
