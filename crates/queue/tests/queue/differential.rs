//! The SQLite engine against the model: the same random steps, the same answers.
//!
//! `QUEUE_SEED` replays one seed; a failure prints it.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;

use sessiond_queue::conformance::{LIMITS, Subject};
use sessiond_queue::ids::{EventId, Generation, MessageId, SessionId, Timestamp};
use sessiond_queue::limits::Limits;
use sessiond_queue::store::Store;
use sessiond_queue::types::{
    Claimed, CloseDepth, Confirm, Dedup, Effect, Enqueue, Fence, MessageFilter, NewResult,
    OpenSession, Release, ReleaseWhy, ResultFilter, Retention, SessionFilter, SessionRef, Usage,
};
use uuid::Uuid;

use crate::conformance::{in_memory, on_sqlite};

const STEPS: usize = 400;

/// Roomier than the suite's, so that a refusal is not the usual answer.
const ROOMY: Limits = Limits {
    session_depth_max: 8,
    depth_max: 16,
    ..LIMITS
};
const SEEDS: u64 = 12;

const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn engines_give_the_same_answers() {
    let replayed = std::env::var("QUEUE_SEED").ok();
    let seeds = match replayed.map(|seed| seed.parse().expect("QUEUE_SEED is a number")) {
        Some(seed) => seed..seed + 1,
        None => {
            let fresh = EventId::mint().0.as_u64_pair().1 >> 8;
            fresh..fresh + SEEDS
        }
    };
    for seed in seeds {
        println!("QUEUE_SEED={seed}");
        Pair::new(seed).await.run().await;
    }
}

/// SplitMix64: small, and the same on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn pick<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize].clone()
    }

    fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

/// Both stores, fed with the same steps. Session ids are minted by each store, so they are
/// translated to names before answers are compared.
struct Pair {
    random: Random,
    model: Arc<dyn Store>,
    engine: Arc<dyn Store>,
    /// By key: the id in the model and in the engine; old ones stay, to be asked for when purged.
    sessions: Vec<(SessionId, SessionId)>,
    names: HashMap<SessionId, usize>,
    events: Vec<EventId>,
    /// Claims that are out, or were when their instance died.
    held: Vec<(MessageId, Fence)>,
    settled: Vec<(MessageId, Fence)>,
    owner: Generation,
    now: Timestamp,
    log: Vec<String>,
    _keep: Vec<Subject>,
}

const KEYS: [&str; 3] = ["a", "b", "c"];

impl Pair {
    async fn new(seed: u64) -> Self {
        let (model, engine) = (in_memory(ROOMY).await, on_sqlite(ROOMY).await);
        Self {
            random: Random(seed),
            model: model.store.clone(),
            engine: engine.store.clone(),
            sessions: Vec::new(),
            names: HashMap::new(),
            events: Vec::new(),
            held: Vec::new(),
            settled: Vec::new(),
            owner: Generation(0),
            now: Timestamp(1_000),
            log: Vec::new(),
            _keep: vec![model, engine],
        }
    }

    async fn run(mut self) {
        self.next_generation().await;
        for _ in 0..STEPS {
            self.now.0 += self.random.below(50) as i64;
            if self.random.one_in(100) {
                self.now.0 += DAY_MS;
            }
            match self.random.below(21) {
                0..=4 => self.enqueue().await,
                5..=8 => self.claim().await,
                9..=12 => self.settle().await,
                13 => self.open().await,
                14 => self.close().await,
                15 => self.message_step().await,
                16 => self.session_step().await,
                17 => self.rescue().await,
                18 => self.look().await,
                19 => self.delete().await,
                _ => self.compare_all().await,
            }
        }
        self.compare_all().await;
        let found = self.engine.verify().await.expect("the store is checked");
        assert!(found.is_sound(), "{found:?}\n{}", self.log.join("\n"));
    }

    /// Compares two answers, as text with the stores' own ids replaced.
    fn same(&mut self, step: String, model: impl Debug, engine: impl Debug) {
        let model = self.translate(format!("{model:?}"));
        let engine = self.translate(format!("{engine:?}"));
        self.log.push(format!("{step} -> {model}"));
        assert_eq!(model, engine, "after\n{}", self.log.join("\n"));
    }

    fn translate(&self, mut text: String) -> String {
        for (id, name) in &self.names {
            text = text.replace(&id.to_string(), &format!("session {name}"));
        }
        text
    }

    async fn learn_sessions(&mut self) {
        for key in KEYS {
            let model = self
                .model
                .find_session("agent", key)
                .await
                .expect("it is looked for");
            let engine = self
                .engine
                .find_session("agent", key)
                .await
                .expect("it is looked for");
            if let (Some(model), Some(engine)) = (model, engine)
                && !self.names.contains_key(&model.id)
            {
                let name = self.sessions.len();
                self.sessions.push((model.id, engine.id));
                self.names.extend([(model.id, name), (engine.id, name)]);
            }
        }
    }

    /// A session that is or was; a stranger when there is none yet.
    fn session(&mut self) -> (SessionId, SessionId) {
        if self.sessions.is_empty() || self.random.one_in(20) {
            let nobody = SessionId(Uuid::nil());
            return (nobody, nobody);
        }
        self.random.pick(&self.sessions.clone())
    }

    async fn next_generation(&mut self) {
        let model = self.model.begin_generation("1-1", self.now).await;
        let engine = self.engine.begin_generation("1-1", self.now).await;
        self.owner = *engine.as_ref().expect("a generation begins");
        self.same("begin_generation".to_owned(), model, engine);
    }

    async fn enqueue(&mut self) {
        let now = self.now;
        let repeat = !self.events.is_empty() && self.random.one_in(8);
        let event_id = if repeat {
            self.random.pick(&self.events.clone())
        } else {
            EventId(Uuid::from_u64_pair(self.random.next(), self.random.next()))
        };
        self.events.push(event_id);
        let effect = match self.random.below(8) {
            0 => Effect::Start,
            1 => Effect::Prompt("prompt".repeat(self.random.below(400) as usize)),
            2 => Effect::End {
                drain_until: now.after(std::time::Duration::from_secs(1)),
            },
            _ => Effect::None,
        };
        let key = self.random.pick(&KEYS);
        let dedup = self.random.one_in(3).then(|| Dedup {
            key: self.random.pick(&["x", "y"]).to_owned(),
            window_ms: self.random.pick(&[None, Some(0), Some(60)]),
        });
        let cwd = self
            .random
            .one_in(4)
            .then(|| format!("/{}", self.random.below(3)));
        let project = self
            .random
            .one_in(4)
            .then(|| format!("/p{}", self.random.below(2)));
        let event = Enqueue {
            event_id,
            session: SessionRef::Key {
                agent: "agent".to_owned(),
                key: key.to_owned(),
            },
            kind: self.random.pick(&["X", ""]).to_owned(),
            agent_id: None,
            payload: "p".repeat(1 + self.random.below(66) as usize),
            dedup,
            effect,
            cwd,
            project,
            accepted_at: Timestamp(now.0 - self.random.below(80) as i64),
        };
        let event = Enqueue {
            kind: if self.random.one_in(30) {
                event.kind
            } else {
                "X".to_owned()
            },
            ..event
        };
        let (mut to_model, mut to_engine) = (event.clone(), event);
        if self.random.one_in(4) {
            let (model, engine) = self.session();
            to_model.session = SessionRef::Id(model);
            to_engine.session = SessionRef::Id(engine);
        }
        let step = format!("enqueue {to_model:?}");
        let model = self.model.enqueue(to_model, now).await;
        let engine = self.engine.enqueue(to_engine, now).await;
        self.learn_sessions().await;
        self.same(step, model, engine);
    }

    async fn claim(&mut self) {
        let session = self.session();
        let model = self.model.claim(session.0, self.owner, self.now).await;
        let engine = self.engine.claim(session.1, self.owner, self.now).await;
        if let Ok(Claimed::Message(claim)) = &engine {
            self.held.push((claim.message.id, claim.fence));
        }
        self.same(format!("claim {}", session.0), model, engine);
    }

    async fn settle(&mut self) {
        let late = self.random.one_in(6);
        let claims = if late {
            &mut self.settled
        } else {
            &mut self.held
        };
        let Some((message, fence)) = claims.pop() else {
            return;
        };
        self.settled.push((message, fence));
        let not_before = Timestamp(self.now.0 + self.random.below(200) as i64);
        let reason = || "reason".to_owned();
        let why = match self.random.below(8) {
            0 | 1 => ReleaseWhy::Retry {
                reason: reason(),
                not_before,
            },
            2 => ReleaseWhy::GiveBack {
                reason: reason(),
                not_before: self.random.one_in(2).then_some(not_before),
            },
            3 => ReleaseWhy::Poison { reason: reason() },
            _ => return self.confirm(message, fence).await,
        };
        let release = Release {
            message,
            fence,
            why,
        };
        let model = self.model.release(release.clone(), self.now).await;
        let engine = self.engine.release(release.clone(), self.now).await;
        self.same(format!("{release:?}"), model, engine);
    }

    async fn confirm(&mut self, message: MessageId, fence: Fence) {
        let result = NewResult {
            kind: "observation".to_owned(),
            body: "b".repeat(self.random.below(50) as usize),
            tags: vec!["t".to_owned()],
            ..NewResult::default()
        };
        let checkpoint = "c".repeat(1 + self.random.below(102) as usize);
        let confirm = Confirm {
            message,
            fence,
            results: vec![result; self.random.below(3) as usize],
            checkpoint: self.random.one_in(2).then_some(checkpoint),
            usage: Usage {
                input_tokens: self.random.pick(&[0, 0, 3, -1, i64::MAX]),
                output_tokens: self.random.pick(&[0, 1]),
                cost_usd: self.random.pick(&[0.0, 0.5, -1.0, f64::NAN]),
            },
        };
        let model = self.model.confirm(confirm.clone(), self.now).await;
        let engine = self.engine.confirm(confirm.clone(), self.now).await;
        self.same(format!("{confirm:?}"), model, engine);
    }

    async fn open(&mut self) {
        let value = self
            .random
            .pick(&[serde_json::json!(1), serde_json::Value::Null]);
        let open = OpenSession {
            agent: "agent".to_owned(),
            key: self.random.pick(&KEYS).to_owned(),
            cwd: None,
            project: self.random.one_in(3).then(|| "/p0".to_owned()),
            metadata: [("name".to_owned(), value)].into_iter().collect(),
        };
        let model = self.model.open_session(open.clone(), self.now).await;
        let engine = self.engine.open_session(open.clone(), self.now).await;
        self.learn_sessions().await;
        self.same(format!("{open:?}"), model, engine);
    }

    /// One step of a close: they come in any order, as after crashes.
    async fn close(&mut self) {
        let (session, now) = (self.session(), self.now);
        let depth = self.random.pick(&[CloseDepth::Close, CloseDepth::Purge]);
        if self.random.one_in(2) {
            let draining = self.random.one_in(3);
            let model = self
                .model
                .mark_closing(session.0, depth, draining, now)
                .await;
            let engine = self
                .engine
                .mark_closing(session.1, depth, draining, now)
                .await;
            self.same(
                format!("mark_closing {} {depth:?} {draining}", session.0),
                model,
                engine,
            );
        }
        if self.random.one_in(2) {
            let model = self.model.purge_rows(session.0, now).await;
            let engine = self.engine.purge_rows(session.1, now).await;
            self.same(format!("purge_rows {}", session.0), model, engine);
        }
        if self.random.one_in(2) {
            let model = self.model.finish_close(session.0, now).await;
            let engine = self.engine.finish_close(session.1, now).await;
            self.same(format!("finish_close {}", session.0), model, engine);
        }
    }

    async fn message_step(&mut self) {
        let stored = self.model.stats().await.expect("stats are read").accepted as u64;
        let message = MessageId(self.random.below(stored + 2) as i64);
        if self.random.one_in(3) {
            let model = self.model.cancel(message, self.now).await;
            let engine = self.engine.cancel(message, self.now).await;
            return self.same(format!("cancel {message}"), model, engine);
        }
        let model = self.model.redrive(message, self.now).await;
        let engine = self.engine.redrive(message, self.now).await;
        self.same(format!("redrive {message}"), model, engine);
    }

    async fn session_step(&mut self) {
        let (session, now) = (self.session(), self.now);
        match self.random.below(5) {
            0 => {
                let model = self.model.begin_drain(session.0, now, now).await;
                let engine = self.engine.begin_drain(session.1, now, now).await;
                self.same(format!("begin_drain {}", session.0), model, engine);
            }
            1 => {
                let model = self.model.release_session(session.0, "aborted", now).await;
                let engine = self.engine.release_session(session.1, "aborted", now).await;
                self.same(format!("release_session {}", session.0), model, engine);
            }
            2 | 3 => {
                let reason = self.random.pick(&[None, Some("broken"), Some("")]);
                let model = self.model.set_failing(session.0, reason, now).await;
                let engine = self.engine.set_failing(session.1, reason, now).await;
                self.same(
                    format!("set_failing {} {reason:?}", session.0),
                    model,
                    engine,
                );
            }
            _ => {
                let one = self.random.one_in(2);
                let model = self.model.redrive_all(one.then_some(session.0), now).await;
                let engine = self.engine.redrive_all(one.then_some(session.1), now).await;
                self.same(format!("redrive_all {one} {}", session.0), model, engine);
            }
        }
    }

    async fn rescue(&mut self) {
        if self.random.one_in(2) {
            self.next_generation().await;
        }
        let model = self.model.rescue(self.owner, self.now).await;
        let engine = self.engine.rescue(self.owner, self.now).await;
        self.same(format!("rescue {}", self.owner), model, engine);
    }

    /// Retention, and purges of dead messages.
    async fn delete(&mut self) {
        let ages = [None, Some(0), Some(100), Some(1_000)];
        let mut age = || {
            let age_ms: Option<u64> = self.random.pick(&ages);
            age_ms.map(std::time::Duration::from_millis)
        };
        let (done_age, dead_age) = (age(), age());
        let most = [None, None, Some(0), Some(5)];
        let policy = Retention {
            done_age,
            done_max: self.random.pick(&most),
            dead_age,
            dead_max: self.random.pick(&most),
        };
        match self.random.below(6) {
            0 => {
                let one = self.random.one_in(2);
                let session = self.session();
                let model = self.model.purge_dead(one.then_some(session.0)).await;
                let engine = self.engine.purge_dead(one.then_some(session.1)).await;
                self.same(format!("purge_dead {one} {}", session.0), model, engine);
            }
            1 => {
                let stored = self.model.stats().await.expect("stats are read").accepted as u64;
                let message = MessageId(self.random.below(stored + 2) as i64);
                let model = self.model.purge_message(message).await;
                let engine = self.engine.purge_message(message).await;
                self.same(format!("purge_message {message}"), model, engine);
            }
            2 => {
                let session = self.session();
                let model = self.model.cancel_session(session.0, self.now).await;
                let engine = self.engine.cancel_session(session.1, self.now).await;
                self.same(format!("cancel_session {}", session.0), model, engine);
            }
            _ => {
                let model = self.model.retain(policy, self.now).await;
                let engine = self.engine.retain(policy, self.now).await;
                self.same(format!("{policy:?}"), model, engine);
            }
        }
    }

    async fn look(&mut self) {
        let session = self.session();
        let model = self.model.due_at(session.0).await;
        let engine = self.engine.due_at(session.1).await;
        self.same(format!("due_at {}", session.0), model, engine);
        let model = self.model.checkpoint(session.0).await;
        let engine = self.engine.checkpoint(session.1).await;
        self.same(format!("checkpoint {}", session.0), model, engine);
        let model = self.model.unfinished().await;
        let engine = self.engine.unfinished().await;
        self.same("unfinished".to_owned(), model, engine);
    }

    async fn compare_all(&mut self) {
        let sessions = SessionFilter::default;
        let (model, engine) = (
            self.model.sessions(sessions()).await,
            self.engine.sessions(sessions()).await,
        );
        self.same("sessions".to_owned(), model, engine);
        let messages = || MessageFilter {
            limit: 1_000,
            ..MessageFilter::default()
        };
        let (model, engine) = (
            self.model.messages(messages()).await,
            self.engine.messages(messages()).await,
        );
        self.same("messages".to_owned(), model, engine);
        let results = || ResultFilter {
            project: self.random_project(),
            newest_first: true,
            ..ResultFilter::default()
        };
        let (model, engine) = (
            self.model.results(results()).await,
            self.engine.results(results()).await,
        );
        self.same("results".to_owned(), model, engine);
        self.compare_histories().await;
        let limit = self.random.below(3) as u32;
        let model = self.model.usage_days(limit).await;
        let engine = self.engine.usage_days(limit).await;
        self.same(format!("usage_days {limit}"), model, engine);
        let (model, engine) = (self.model.stats().await, self.engine.stats().await);
        self.same("stats".to_owned(), model, engine);
    }

    async fn compare_histories(&mut self) {
        let stats = self.model.stats().await.expect("stats are read");
        for message in 0..=stats.accepted {
            let message = MessageId(message);
            let model = self.model.attempts(message).await;
            let engine = self.engine.attempts(message).await;
            self.same(format!("attempts {message}"), model, engine);
        }
    }

    fn random_project(&self) -> Option<String> {
        (self.now.0 % 2 == 0).then(|| "/p0".to_owned())
    }
}
