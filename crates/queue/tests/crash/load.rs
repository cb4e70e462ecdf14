//! A random load on a store, and its notes: what it asked for and what it was answered.
//!
//! The load goes in rounds. What is asked in a round is asked at once, so that it shares batches; in
//! one session a round asks for one claim or for one end of a claim, as a session's worker does. On a
//! runtime of one thread the same seed does the same.

use std::collections::BTreeMap;

use futures::future::join_all;
use serde::{Deserialize, Serialize};
use sessiond_queue::error::{EnqueueError, MessageError, SettleError};
use sessiond_queue::ids::{EventId, Generation, MessageId, SessionId, Timestamp};
use sessiond_queue::limits::Limits;
use sessiond_queue::store::Store;
use sessiond_queue::types::{
    Claim, Claimed, Confirm, Effect, Enqueue, NewResult, Receipt, Release, ReleaseWhy, SessionRef,
    Usage,
};
use uuid::Uuid;

use crate::random::Random;

/// Small batches, so that a round is several transactions; attempts without end, so that a message
/// is dead when the load says so.
pub(crate) const LIMITS: Limits = Limits {
    batch_max: 6,
    attempt_max: 1_000,
    rescue_max: 1_000,
    payload_max_bytes: 1 << 20,
    session_depth_max: 10_000,
    depth_max: 1_000_000,
    batch_max_bytes: 4 << 20,
    result_max_bytes: 4 << 20,
    busy_timeout: std::time::Duration::from_secs(5),
};

pub(crate) const AGENT: &str = "agent";

const KEYS: usize = 3;

pub(crate) const NOW: Timestamp = Timestamp(1_000);

/// One line of the load's notes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Note {
    /// A generation began: what an earlier one holds is not its own any more.
    Generation(i64),
    /// About to be asked for.
    Asked(Uuid, Step),
    /// Answered: it is on disk.
    Done(Uuid, Step),
    /// The store could not do it: nothing of it has happened.
    Refused(Uuid, Step),
}

/// A step of the message that came from an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Step {
    Enqueue {
        key: String,
        /// Its message and its place in the session; 0 while it is only asked for.
        message: i64,
        seq: i64,
    },
    /// With the claim's number.
    Claim(i64),
    Confirm,
    Retry,
    Poison,
    Cancel,
}

/// Where notes go.
pub(crate) type Journal<'a> = &'a (dyn Fn(Note) + Sync);

pub(crate) struct Load<'a> {
    journal: Journal<'a>,
    /// Begins the keys of its sessions.
    name: String,
    random: Random,
    owner: Generation,
    sessions: BTreeMap<usize, Session>,
    /// Enqueues that were refused: to be asked for again.
    again: Vec<(usize, Uuid)>,
}

#[derive(Default)]
struct Session {
    id: Option<SessionId>,
    held: Option<Box<Claim>>,
    accepted: Vec<(Uuid, MessageId)>,
}

enum Ask {
    Enqueue(usize, Uuid),
    Claim(usize, SessionId),
    Confirm(usize, Box<Claim>),
    Release(usize, Box<Claim>, bool),
    Cancel(Uuid, MessageId),
}

/// What a round's answer changes in the load's own mind.
enum Answer {
    Accepted(usize, Uuid, Receipt),
    EnqueueAgain(usize, Uuid),
    Holds(usize, Box<Claim>),
    Lost(usize),
    Nothing,
}

impl<'a> Load<'a> {
    pub(crate) fn new(name: &str, seed: u64, owner: Generation, journal: Journal<'a>) -> Self {
        Self {
            journal,
            name: name.to_owned(),
            random: Random(seed),
            owner,
            sessions: (0..KEYS).map(|key| (key, Session::default())).collect(),
            again: Vec::new(),
        }
    }

    /// Goes on under a new generation of the same store: what it held is lost.
    pub(crate) fn restart(&mut self, owner: Generation) {
        self.owner = owner;
        for session in self.sessions.values_mut() {
            session.held = None;
        }
    }

    /// One round; how many of its asks the store could not do.
    pub(crate) async fn round(&mut self, store: &dyn Store) -> usize {
        let asks = self.asks();
        let load = &*self;
        let answers = join_all(asks.into_iter().map(|ask| load.ask(store, ask))).await;
        let mut refused = 0;
        for (answer, was_refused) in answers {
            refused += usize::from(was_refused);
            match answer {
                Answer::Accepted(key, event, receipt) => {
                    let session = self.sessions.get_mut(&key).expect("the key is known");
                    session.id = Some(receipt.session);
                    session.accepted.push((event, receipt.message));
                }
                Answer::EnqueueAgain(key, event) => self.again.push((key, event)),
                Answer::Holds(key, claim) => {
                    self.sessions.get_mut(&key).expect("the key is known").held = Some(claim);
                }
                Answer::Lost(key) => {
                    self.sessions.get_mut(&key).expect("the key is known").held = None;
                }
                Answer::Nothing => {}
            }
        }
        refused
    }

    fn asks(&mut self) -> Vec<Ask> {
        let random = &mut self.random;
        let again = self.again.drain(..);
        let mut asks: Vec<_> = again.map(|(key, event)| Ask::Enqueue(key, event)).collect();
        for (key, session) in &self.sessions {
            for _ in 0..random.below(4) {
                asks.push(Ask::Enqueue(*key, random.uuid()));
            }
            if let Some(claim) = &session.held {
                match random.below(8) {
                    0 => asks.push(Ask::Release(*key, claim.clone(), false)),
                    1 | 2 => asks.push(Ask::Release(*key, claim.clone(), true)),
                    3 => {}
                    _ => asks.push(Ask::Confirm(*key, claim.clone())),
                }
            } else if let Some(id) = session.id {
                asks.push(Ask::Claim(*key, id));
            }
            if !session.accepted.is_empty() && random.one_in(6) {
                let newest = session.accepted.len() - 1;
                let (event, message) = session.accepted[newest - random.below(newest.min(3) + 1)];
                asks.push(Ask::Cancel(event, message));
            }
        }
        for place in (1..asks.len()).rev() {
            asks.swap(place, random.below(place + 1));
        }
        asks
    }

    async fn ask(&self, store: &dyn Store, ask: Ask) -> (Answer, bool) {
        match ask {
            Ask::Enqueue(key, event) => self.enqueue(store, key, event).await,
            Ask::Claim(key, id) => match store.claim(id, self.owner, NOW).await {
                Ok(Claimed::Message(claim)) => {
                    let step = Step::Claim(claim.fence.claim_seq.0);
                    (self.journal)(Note::Done(claim.message.event_id.0, step));
                    (Answer::Holds(key, claim), false)
                }
                Ok(_) => (Answer::Nothing, false),
                Err(_) => (Answer::Nothing, true),
            },
            Ask::Confirm(key, claim) => {
                let event = claim.message.event_id.0;
                let confirm = Confirm {
                    message: claim.message.id,
                    fence: claim.fence,
                    results: results(event),
                    checkpoint: Some(event.to_string()),
                    usage: Usage {
                        input_tokens: 1,
                        ..Usage::default()
                    },
                };
                (self.journal)(Note::Asked(event, Step::Confirm));
                let answer = store.confirm(confirm, NOW).await;
                self.settled(key, event, Step::Confirm, answer.err())
            }
            Ask::Release(key, claim, retry) => {
                let event = claim.message.event_id.0;
                let reason = "reason".to_owned();
                let (step, why) = if retry {
                    let not_before = NOW;
                    (Step::Retry, ReleaseWhy::Retry { reason, not_before })
                } else {
                    (Step::Poison, ReleaseWhy::Poison { reason })
                };
                let release = Release {
                    message: claim.message.id,
                    fence: claim.fence,
                    why,
                };
                (self.journal)(Note::Asked(event, step.clone()));
                let answer = store.release(release, NOW).await;
                self.settled(key, event, step, answer.err())
            }
            Ask::Cancel(event, message) => {
                (self.journal)(Note::Asked(event, Step::Cancel));
                match store.cancel(message, NOW).await {
                    Ok(_) => (self.journal)(Note::Done(event, Step::Cancel)),
                    Err(error) => {
                        (self.journal)(Note::Refused(event, Step::Cancel));
                        return (Answer::Nothing, matches!(error, MessageError::Store(_)));
                    }
                }
                (Answer::Nothing, false)
            }
        }
    }

    async fn enqueue(&self, store: &dyn Store, number: usize, id: Uuid) -> (Answer, bool) {
        let key = format!("{}-{number}", self.name);
        let step = |message, seq| Step::Enqueue {
            key: key.clone(),
            message,
            seq,
        };
        (self.journal)(Note::Asked(id, step(0, 0)));
        match store.enqueue(event(id, key.clone()), NOW).await {
            Ok(receipt) => {
                // A refused one had no effect, so it is no duplicate of itself.
                assert!(!receipt.duplicate, "{receipt:?}");
                (self.journal)(Note::Done(id, step(receipt.message.0, receipt.seq.0)));
                (Answer::Accepted(number, id, receipt), false)
            }
            Err(EnqueueError::Store(_)) => {
                (self.journal)(Note::Refused(id, step(0, 0)));
                (Answer::EnqueueAgain(number, id), true)
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn settled(
        &self,
        key: usize,
        event: Uuid,
        step: Step,
        error: Option<SettleError>,
    ) -> (Answer, bool) {
        match error {
            None => {
                (self.journal)(Note::Done(event, step));
                (Answer::Lost(key), false)
            }
            // A cancel came before it.
            Some(SettleError::ClaimLost(_)) => {
                (self.journal)(Note::Refused(event, step));
                (Answer::Lost(key), false)
            }
            Some(SettleError::Store(_)) => {
                (self.journal)(Note::Refused(event, step));
                (Answer::Nothing, true)
            }
            Some(error) => panic!("{error}"),
        }
    }
}

/// Begins a generation as a worker does: with the claims of its predecessors taken back.
pub(crate) async fn begin(store: &dyn Store, journal: Journal<'_>) -> Generation {
    let owner = store.begin_generation("1-1", NOW).await;
    let owner = owner.expect("a generation begins");
    journal(Note::Generation(owner.0));
    store.rescue(owner, NOW).await.expect("claims are rescued");
    owner
}

pub(crate) fn event(id: Uuid, key: String) -> Enqueue {
    Enqueue {
        event_id: EventId(id),
        session: SessionRef::Key {
            agent: AGENT.to_owned(),
            key,
        },
        kind: "X".to_owned(),
        agent_id: None,
        payload: payload(id),
        dedup: None,
        effect: Effect::None,
        cwd: None,
        project: None,
        accepted_at: NOW,
    }
}

/// The payload of an event: mostly short, now and then over several pages.
pub(crate) fn payload(event: Uuid) -> String {
    let mut random = Random(event.as_u64_pair().0);
    let words = if random.one_in(16) { 500 } else { 20 };
    format!("{event} ").repeat(1 + random.below(words))
}

/// What comes of an event: none to three results.
pub(crate) fn results(event: Uuid) -> Vec<NewResult> {
    let number = Random(event.as_u64_pair().1).below(4);
    let result = |place| NewResult {
        kind: "observation".to_owned(),
        title: format!("{place}"),
        body: format!("{event} ").repeat(20),
        ..NewResult::default()
    };
    (0..number).map(result).collect()
}
