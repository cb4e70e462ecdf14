//! A generator made slow or failing on purpose, by the `[rehearsal]` section.
//!
//! It wraps another one, so that what is rehearsed is the ordinary path.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sessiond_queue::types::{Message, Session};

use super::{FailureClass, Generator, GeneratorFactory, Outcome};
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
    async fn open(&self, session: &Session, checkpoint: Option<String>) -> Box<dyn Generator> {
        Box::new(Rehearsed {
            inner: self.inner.open(session, checkpoint).await,
            rehearsal: self.rehearsal.clone(),
        })
    }
}

struct Rehearsed {
    inner: Box<dyn Generator>,
    rehearsal: Rehearsal,
}

#[async_trait]
impl Generator for Rehearsed {
    fn name(&self) -> &'static str {
        self.inner.name()
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
