//! A program as sessions see it, made to order: what each start and each message comes to is the
//! test's to say, and how many there are at once is counted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use sessiond_queue::types::{Message, Session, Usage};
use tokio::sync::watch;

use crate::generator::{
    About, CloseReason, FailureClass, Generator, GeneratorFactory, IdleEnd, Kind, OpenError,
    OpenErrorKind, Outcome,
};

/// The name of its kind.
pub(super) const KIND: &str = "fake";

type Start = Arc<dyn Fn(&Session) -> Result<(), OpenError> + Send + Sync>;
type Work = Arc<dyn Fn(&Message) -> Outcome + Send + Sync>;

/// Opens them.
pub(super) struct Programs {
    start: Mutex<Start>,
    work: Mutex<Work>,
    /// Starts wait while it is shut; the same for works and closes.
    pub(super) starting: Door,
    pub(super) working: Door,
    pub(super) closing: Door,
    /// Rings those that wait for messages: they ask for their session to be closed.
    pub(super) ask: watch::Sender<bool>,
    /// How long a message takes.
    pub(super) work_ms: AtomicU64,
    /// Starts so far, those that failed too.
    pub(super) starts: AtomicU64,
    /// How many are open, and how many were at most.
    pub(super) open: AtomicU64,
    pub(super) open_most: AtomicU64,
}

/// Lets through, unless it is shut.
pub(super) struct Door(watch::Sender<bool>);

impl Door {
    fn open_one() -> Self {
        Self(watch::Sender::new(true))
    }

    pub(super) fn shut(&self) {
        self.0.send_replace(false);
    }

    pub(super) fn open(&self) {
        self.0.send_replace(true);
    }

    async fn pass(&self) {
        let mut changes = self.0.subscribe();
        let is_open = changes.wait_for(|is_open| *is_open).await;
        drop(is_open.expect("the sender is ours"));
    }
}

impl Programs {
    pub(super) fn new() -> Self {
        Self {
            start: Mutex::new(Arc::new(|_| Ok(()))),
            work: Mutex::new(Arc::new(|_| done(Usage::default()))),
            starting: Door::open_one(),
            working: Door::open_one(),
            closing: Door::open_one(),
            ask: watch::Sender::new(false),
            work_ms: AtomicU64::new(0),
            starts: AtomicU64::new(0),
            open: AtomicU64::new(0),
            open_most: AtomicU64::new(0),
        }
    }

    pub(super) fn on_start(
        &self,
        start: impl Fn(&Session) -> Result<(), OpenError> + Send + Sync + 'static,
    ) {
        *self.start.lock().expect("no panic") = Arc::new(start);
    }

    pub(super) fn on_work(&self, work: impl Fn(&Message) -> Outcome + Send + Sync + 'static) {
        *self.work.lock().expect("no panic") = Arc::new(work);
    }

    pub(super) fn starts(&self) -> u64 {
        self.starts.load(Ordering::SeqCst)
    }

    pub(super) fn open_now(&self) -> u64 {
        self.open.load(Ordering::SeqCst)
    }
}

pub(super) fn done(usage: Usage) -> Outcome {
    Outcome::Done {
        results: Vec::new(),
        checkpoint: None,
        usage,
    }
}

pub(super) fn failed(class: FailureClass) -> Outcome {
    Outcome::Failed {
        class,
        reason: "ordered".to_owned(),
        retry_after: None,
    }
}

pub(super) fn not_ready() -> OpenError {
    OpenError {
        reason: "ordered".to_owned(),
        kind: OpenErrorKind::Again,
    }
}

/// A factory is shared with its programs.
pub(super) struct Factory(pub(super) Arc<Programs>);

#[async_trait]
impl GeneratorFactory for Factory {
    fn kind(&self, _: &Session) -> Kind {
        Kind {
            name: KIND.into(),
            is_program: true,
        }
    }

    async fn open(
        &self,
        session: &Session,
        _: Option<String>,
    ) -> Result<Box<dyn Generator>, OpenError> {
        let programs = &self.0;
        programs.starts.fetch_add(1, Ordering::SeqCst);
        // Counted while it starts, as a process would be.
        let program = Program::new(programs);
        programs.starting.pass().await;
        // Called without the lock: it may panic.
        let start = Arc::clone(&*programs.start.lock().expect("no panic"));
        start(session).map(|()| Box::new(program) as Box<dyn Generator>)
    }
}

struct Program(Arc<Programs>);

impl Program {
    fn new(programs: &Arc<Programs>) -> Self {
        let open = programs.open.fetch_add(1, Ordering::SeqCst) + 1;
        programs.open_most.fetch_max(open, Ordering::SeqCst);
        Self(Arc::clone(programs))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl Generator for Program {
    fn about(&self) -> About {
        About::default()
    }

    async fn work(&mut self, message: &Message) -> Outcome {
        self.0.working.pass().await;
        let work_ms = self.0.work_ms.load(Ordering::SeqCst);
        if work_ms > 0 {
            tokio::time::sleep(Duration::from_millis(work_ms)).await;
        }
        let work = Arc::clone(&*self.0.work.lock().expect("no panic"));
        work(message)
    }

    async fn idle(&mut self) -> IdleEnd {
        let mut changes = self.0.ask.subscribe();
        drop(changes.wait_for(|asks| *asks).await.expect("it lives"));
        IdleEnd::CloseSession
    }

    async fn close(self: Box<Self>, _: CloseReason) {
        self.0.closing.pass().await;
    }
}
