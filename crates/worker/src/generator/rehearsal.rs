//! A generator made slow or failing on purpose, by the `[rehearsal]` section.
//!
//! It wraps another one, so that what is rehearsed is the ordinary path.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sessiond_queue::types::{Message, Session};

use super::{
    About, CloseReason, FailureClass, Generator, GeneratorFactory, IdleEnd, Kind, OpenError,
    Outcome,
};
use crate::config::{FailClass, Rehearsal};

/// Opens rehearsed generators.
pub struct RehearsalFactory {
    inner: Arc<dyn GeneratorFactory>,
    rehearsal: Rehearsal,
}

impl RehearsalFactory {
    /// Wraps `inner` as configured.
    pub fn new(inner: Arc<dyn GeneratorFactory>, rehearsal: Rehearsal) -> Self {
        Self { inner, rehearsal }
    }
}

#[async_trait]
impl GeneratorFactory for RehearsalFactory {
    fn kind(&self, session: &Session) -> Kind {
        self.inner.kind(session)
    }

    async fn open(
        &self,
        session: &Session,
        checkpoint: Option<String>,
    ) -> Result<Box<dyn Generator>, OpenError> {
        Ok(Box::new(Rehearsed {
            inner: self.inner.open(session, checkpoint).await?,
            rehearsal: self.rehearsal.clone(),
        }))
    }
}

struct Rehearsed {
    inner: Box<dyn Generator>,
    rehearsal: Rehearsal,
}

#[async_trait]
impl Generator for Rehearsed {
    fn about(&self) -> About {
        self.inner.about()
    }

    async fn idle(&mut self) -> IdleEnd {
        self.inner.idle().await
    }

    async fn close(self: Box<Self>, reason: CloseReason) {
        self.inner.close(reason).await;
    }

    async fn work(&mut self, message: &Message) -> Outcome {
        tokio::time::sleep(Duration::from_millis(self.rehearsal.delay_ms)).await;
        if self.rehearsal.fail_kind.is_empty() || self.rehearsal.fail_kind != message.kind {
            return self.inner.work(message).await;
        }
        let class = match self.rehearsal.fail_class {
            FailClass::Retry => FailureClass::Retry,
            FailClass::Poison => FailureClass::Poison,
            FailClass::Unavailable => FailureClass::Unavailable,
            FailClass::Panic => panic!("rehearsed panic"),
        };
        Outcome::Failed {
            class,
            reason: format!("rehearsed failure of {}", message.kind),
            retry_after: None,
        }
    }
}
