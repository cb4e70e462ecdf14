//! Where the walk happens: one home with a repository, and what is known of all sessions together.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use serde_json::{Value, json};
use sessiond::clock::Clock;

use crate::support::http::Request;
use crate::support::{Api, Home, LIMIT, Response, example, launch};

/// How long a TTL client lasts: some expire between two steps, most between two rounds.
pub(super) const TTL: Duration = Duration::from_millis(2_500);
/// What a kill may take of TTL clients.
pub(super) const SAVE_INTERVAL: Duration = Duration::from_millis(200);

/// Sessions in this directory are worked by a program, the others by the digest.
pub(super) const PROGRAMS_DIR: &str = "/home/user/programs";

/// The worker is not there, or not any more: nobody knows what became of the request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Down;

/// What all threads share.
pub(super) struct World {
    pub(super) home: Home,
    pub(super) api: Api,
    pub(super) repo: PathBuf,
    may_be_down: AtomicBool,
    known: Mutex<Known>,
}

/// What is known of all sessions together.
#[derive(Default)]
pub(super) struct Known {
    /// Every session that was ever told of, by id.
    pub(super) sessions: BTreeSet<String>,
    /// Those of them that were seen to be gone.
    pub(super) gone: BTreeSet<String>,
    /// Every token that may still be good, with the client's id.
    pub(super) tokens: BTreeMap<String, String>,
    /// Tokens that were refused, the newest last.
    pub(super) refused: Vec<String>,
    counts: BTreeMap<&'static str, u64>,
}

impl World {
    pub(super) fn new() -> Self {
        let home = Home::new()
            .with("clients.ttl_ms", TTL.as_millis())
            .with("clients.save_interval_ms", SAVE_INTERVAL.as_millis())
            .with("session.idle_unload_ms", 3_000)
            .with("session.generator_idle_end_ms", 1_500)
            .with("supervisor.spawns_per_s_max", 1_000)
            .with("supervisor.grace_ms", 2_000)
            .with("worktrees.settle_timeout_ms", 25_000)
            .with("queue.backoff_base_ms", 1)
            .with("queue.backoff_cap_ms", 20)
            .with("queue.rescue_max", 1_000_000)
            // Programs are killed often; that is not what this is about.
            .with("queue.attempt_max", 1_000)
            .with("generator.restart_max", 1_000);
        let program = example("test-generator");
        let command = format!("'{}' /nonexistent", program.display());
        home.write_config(&format!(
            "[[generator.rule]]\nproject = {PROGRAMS_DIR:?}\ncommand = {command:?}\n"
        ));
        let root = home.layout().root();
        let repo = root.parent().expect("it is in a directory").join("app");
        fs::create_dir_all(&repo).expect("a directory");
        let api = home.api();
        let world = Self {
            home,
            api,
            repo,
            may_be_down: AtomicBool::new(false),
            known: Mutex::default(),
        };
        world.git(&["init", "-q", "-b", "main"]);
        world.git(&["commit", "-q", "--allow-empty", "-m", "first"]);
        world
    }

    /// Runs git in the repository; gives what it prints.
    #[track_caller]
    pub(super) fn git(&self, args: &[&str]) -> String {
        let mut command = self.home.command("git");
        command
            .current_dir(&self.repo)
            .args(["-c", "user.name=test", "-c", "user.email=test@localhost"])
            .args(args);
        launch::run(&mut command, b"", LIMIT).text().to_owned()
    }

    /// Whether the worker may be ended at any moment.
    pub(super) fn set_may_be_down(&self, may_be_down: bool) {
        self.may_be_down.store(may_be_down, Ordering::SeqCst);
    }

    /// A request. Without an answer, or with one that says that the worker is stopping, it is down.
    #[track_caller]
    pub(super) fn ask(
        &self,
        method: &str,
        target: &str,
        body: Option<&Value>,
    ) -> Result<Response, Down> {
        self.ask_with(method, target, body, &[])
    }

    /// The same with headers.
    #[track_caller]
    pub(super) fn ask_with(
        &self,
        method: &str,
        target: &str,
        body: Option<&Value>,
        headers: &[(&'static str, String)],
    ) -> Result<Response, Down> {
        let mut headers = headers.to_vec();
        if body.is_some() {
            headers.push(("content-type", "application/json".to_owned()));
        }
        let body = body.map(|body| body.to_string().into_bytes());
        let request = Request {
            method,
            target,
            headers,
            body,
        };
        let answer = self.api.try_send(&request);
        // Looked at afterwards: before that, it may have been about to be ended.
        let may_be_down = self.may_be_down.load(Ordering::SeqCst);
        match answer {
            Ok(response) if response.status == 503 && may_be_down => Err(Down),
            Ok(response) => Ok(response),
            Err(_) if may_be_down => Err(Down),
            Err(error) => panic!("{method} {target}: {error}"),
        }
    }

    /// Whether a token is good.
    #[track_caller]
    pub(super) fn is_good(&self, token: &str) -> Result<bool, Down> {
        let bearer = [("authorization", format!("Bearer {token}"))];
        let me = self.ask_with("GET", "/v1/clients/me", None, &bearer)?;
        match me.status {
            200 => Ok(true),
            401 => Ok(false),
            status => panic!("{status}: {}", me.text()),
        }
    }

    /// Not waiting for anything to happen: the moment is what matters.
    pub(super) fn pause(&self, time: Duration) {
        let (_held, never) = std::sync::mpsc::channel::<()>();
        assert!(never.recv_timeout(time).is_err());
    }

    pub(super) fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().expect("no thread has failed")
    }

    pub(super) fn count(&self, what: &'static str) {
        *self.known().counts.entry(what).or_default() += 1;
    }

    pub(super) fn print_counts(&self) {
        for (what, count) in &self.known().counts {
            println!("counted {count} {what}");
        }
    }

    /// Clients as they are listed.
    #[track_caller]
    pub(super) fn listed_clients(&self) -> Vec<Value> {
        let listed: Value = self.api.get("/v1/clients?limit=1000");
        listed["clients"].as_array().expect("clients").clone()
    }

    /// Asserts that a worker which was stopped in order has left every client to the next one, with
    /// the time that it had.
    #[track_caller]
    pub(super) fn assert_same_clients(&self, before: &[Value]) {
        let after = self.listed_clients();
        let is_over = |client: &Value| {
            let expires_at = client["expires_at"].as_i64().expect("a time");
            expires_at <= Clock.now().0
        };
        for client in before {
            let same = after.iter().find(|same| same["id"] == client["id"]);
            match same {
                Some(same) => assert_eq!(same, client, "as it was"),
                None => assert!(is_over(client), "{client} is forgotten by a stop"),
            }
        }
        let is_known = |client: &&Value| before.iter().any(|known| known["id"] == client["id"]);
        let unknown: Vec<_> = after.iter().filter(|client| !is_known(client)).collect();
        assert!(unknown.is_empty(), "{unknown:?} come from nowhere");
    }

    /// Removes what belongs to nobody's slot any more: clients, the session of all threads, kept
    /// worktrees.
    #[track_caller]
    pub(super) fn give_up(&self) {
        for session in self.api.sessions() {
            let id = session.session.id;
            self.api.close(&id.to_string(), "?purge=true");
        }
        self.api.call("DELETE", "/v1/clients").json::<Value>();
        let listed: Value = self.api.get("/v1/worktrees");
        for worktree in listed["worktrees"].as_array().expect("worktrees") {
            let id = worktree["id"].as_str().expect("an id");
            let target = format!("/v1/worktrees/{id}?force=untracked_files");
            self.api.call("DELETE", &target).json::<Value>();
        }
    }
}

/// Body of what has no fields but these.
pub(super) fn metadata(number: u64) -> Value {
    json!({ "metadata": { "number": number } })
}
