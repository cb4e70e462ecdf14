//! Programs under a real supervisor and shim, opened as the worker opens them, without a worker.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sessiond::config::{self, Config, DEFAULT_CONFIG};
use sessiond::generator::{
    CloseReason, Generator, GeneratorFactory, OpenError, Outcome, ProgramFactory, ProgramSettings,
    output_dir,
};
use sessiond_queue::SqliteStore;
use sessiond_queue::ids::{Epoch, EventId, Generation, MessageId, Seq, Timestamp};
use sessiond_queue::limits::Limits;
use sessiond_queue::store::Store;
use sessiond_queue::types::{
    Claimed, Confirm, Effect, Enqueue, Message, NewResult, OpenSession, Session, SessionRef, State,
    Usage,
};
use sessiond_supervisor::{Settings, Supervisor};

use crate::support::wait::ok_if;
use crate::support::{Home, LIMIT, wait_until};

const SHIM: &str = env!("CARGO_BIN_EXE_sessiond-shim");
const NOW: Timestamp = Timestamp(1_795_245_600_000);

/// What scripts begin with: `next` takes a message's id from its line, or ends at the end of input
/// or at a close; `done_` answers it.
const PRELUDE: &str = r#"
next() {
    IFS= read -r line || exit 0
    case $line in '{"type":"close"'*) exit 0 ;; esac
    id=${line#*'"id":'} id=${id%%,*}
}
done_() { echo '{"type":"result","ids":['$id'],"results":[]}'; }
ready() { read -r open; echo '{"type":"ready","name":"script"}'; }
"#;

/// A session, and what opens its programs.
pub(super) struct Stage {
    pub(super) settings: ProgramSettings,
    pub(super) supervisor: Supervisor,
    pub(super) store: Arc<dyn Store>,
    pub(super) session: Session,
    /// Last: nothing of the test may be left when it is dropped.
    pub(super) home: Home,
}

impl Stage {
    /// With a grace of 200 ms, a stop wait of 10 s and the configured defaults.
    pub(super) async fn new() -> Self {
        let home = Home::new();
        let root = home.layout().root().to_owned();
        fs::create_dir_all(&root).expect("the home can be made");
        let supervisor = Supervisor::open(Settings {
            install: "test".to_owned(),
            generation: "1".to_owned(),
            registry_dir: home.layout().process_dir(),
            shim: SHIM.into(),
            grace: Duration::from_millis(200),
            output_file_max_bytes: 1 << 20,
            children_max: 1000,
            spawns_per_s_max: u32::MAX,
            on_step: None,
            observer: None,
        });
        let store = SqliteStore::open(home.layout().queue_db(), Limits::default()).await;
        let store: Arc<dyn Store> = Arc::new(store.expect("a queue"));
        let session = OpenSession {
            agent: "claude-code".to_owned(),
            key: "s".to_owned(),
            cwd: Some("/p/sub".to_owned()),
            project: Some("/p".to_owned()),
            metadata: serde_json::Map::new(),
        };
        let session = store.open_session(session, NOW).await.expect("a session");
        let config: Config = toml::from_str(DEFAULT_CONFIG).expect("the defaults");
        Self {
            settings: ProgramSettings {
                generator: config.generator,
                stop_wait: Duration::from_secs(10),
                home: root,
                own_env: vec![("HOME".into(), "/home/user".into())],
            },
            supervisor: supervisor.expect("a supervisor"),
            store,
            session,
            home,
        }
    }

    /// Changes what is configured for programs.
    pub(super) fn limits(&mut self) -> &mut config::Generator {
        &mut self.settings.generator
    }

    pub(super) fn output_dir(&self) -> PathBuf {
        output_dir(&self.settings.home, self.session.id)
    }

    /// Opens a shell script that knows `ready`, `next` and `done_`.
    pub(super) async fn open(&self, script: &str) -> Result<Box<dyn Generator>, OpenError> {
        let path = self.settings.home.join("script.sh");
        fs::write(&path, format!("{PRELUDE}{script}")).expect("a script");
        let path = path.to_str().expect("a path of text");
        self.open_command(&format!("sh {path}"), None).await
    }

    /// Opens any command line.
    pub(super) async fn open_command(
        &self,
        command: &str,
        checkpoint: Option<&str>,
    ) -> Result<Box<dyn Generator>, OpenError> {
        let mut settings = self.settings.clone();
        command.clone_into(&mut settings.generator.command);
        let marker = self.home.command("sh");
        for (name, value) in marker.get_envs() {
            if name == "SESSIOND_TEST_MARKER" {
                let text = |text: &std::ffi::OsStr| text.to_str().expect("text").to_owned();
                let value = value.map(text).expect("a value");
                settings.generator.env.insert(text(name), value);
            }
        }
        let store = Arc::clone(&self.store);
        let factory = ProgramFactory::new(self.supervisor.clone(), store, settings);
        assert!(factory.kind(&self.session).is_program);
        let checkpoint = checkpoint.map(str::to_owned);
        factory.open(&self.session, checkpoint).await
    }

    /// Opens a script that must become ready.
    pub(super) async fn ready(&self, script: &str) -> Box<dyn Generator> {
        self.open(script).await.expect("the script becomes ready")
    }

    /// Opens a script that must not become ready. Asserts that nothing of it is left.
    pub(super) async fn refused(&self, script: &str) -> OpenError {
        let error = match self.open(script).await {
            Ok(_) => panic!("it became ready: {script}"),
            Err(error) => error,
        };
        self.assert_empty();
        error
    }

    /// A message of the session.
    pub(super) fn message(&self, id: i64) -> Message {
        Message {
            id: MessageId(id),
            session: self.session.id,
            seq: Seq(id),
            epoch: Epoch(0),
            event_id: EventId::mint(),
            kind: "Stop".to_owned(),
            agent_id: None,
            payload: "{}".to_owned(),
            state: State::Claimed,
            attempt: 1,
            rescues: 0,
            accepted_at: NOW,
            not_before: None,
            finished_at: None,
            last_error: None,
        }
    }

    /// Stores a result of the session as a worked message's.
    pub(super) async fn remember(&self, result: NewResult) {
        let event = Enqueue {
            event_id: EventId::mint(),
            session: SessionRef::Id(self.session.id),
            kind: "Stop".to_owned(),
            agent_id: None,
            payload: "{}".to_owned(),
            dedup: None,
            effect: Effect::None,
            cwd: None,
            project: None,
            accepted_at: NOW,
        };
        self.store.enqueue(event, NOW).await.expect("enqueue");
        let claimed = self.store.claim(self.session.id, Generation(1), NOW).await;
        let Ok(Claimed::Message(claim)) = claimed else {
            panic!("nothing was claimed: {claimed:?}");
        };
        let confirm = Confirm {
            message: claim.message.id,
            fence: claim.fence,
            results: vec![result],
            checkpoint: None,
            usage: Usage::default(),
        };
        self.store.confirm(confirm, NOW).await.expect("confirm");
    }

    /// Asserts that nothing runs.
    pub(super) fn assert_empty(&self) {
        assert_eq!(self.supervisor.list(), []);
        let left = self.home.processes();
        assert!(left.is_empty(), "{left:?}");
    }

    /// Closes a generator; asserts that nothing of it is left.
    pub(super) async fn close(&self, generator: Box<dyn Generator>) {
        generator.close(CloseReason::Session).await;
        self.assert_empty();
    }

    /// Waits until nothing runs any more. Blocks, so that it needs a runtime of several threads.
    pub(super) fn wait_empty(&self) {
        wait_until("everything ends", LIMIT, || {
            let (spawns, processes) = (self.supervisor.list(), self.home.processes());
            ok_if(
                spawns.is_empty() && processes.is_empty(),
                (spawns, processes),
            )
        });
    }
}

/// Asserts that a message was worked.
#[track_caller]
pub(super) fn done(outcome: Outcome) -> (Vec<NewResult>, Option<String>, Usage) {
    match outcome {
        Outcome::Done {
            results,
            checkpoint,
            usage,
        } => (results, checkpoint, usage),
        Outcome::Failed { reason, .. } => panic!("not worked: {reason}"),
    }
}

/// Asserts that an attempt failed and may be repeated; gives the reason.
#[track_caller]
pub(super) fn failed(outcome: Outcome) -> String {
    use sessiond::generator::FailureClass;
    match outcome {
        Outcome::Failed {
            class: FailureClass::Retry,
            reason,
            retry_after: None,
        } => reason,
        outcome => panic!("not a failure to be repeated: {outcome:?}"),
    }
}

/// A variable as the worker would have it.
pub(super) fn variable(name: &str, value: &str) -> (OsString, OsString) {
    (name.into(), value.into())
}
