//! A random load on a store, which notes what it asks for and what it is answered.
//!
//! The load goes in rounds. What is asked in a round is asked at once, so that it shares batches; in
//! one session a round asks for one claim or for one end of a claim, as a session's worker does, or
//! for one step of its close and nothing else. On a runtime of one thread the same seed does the
//! same.

use std::collections::BTreeMap;

use futures::future::join_all;
use sessiond_queue::ids::{EventId, Generation, MessageId, SessionId, Timestamp};
use sessiond_queue::limits::Limits;
use sessiond_queue::store::Store;
use sessiond_queue::types::{Claim, CloseDepth, Closed, Effect, Enqueue, NewResult, SessionRef};
use uuid::Uuid;

use crate::ask::{Answer, Ask, Asker, CloseStep};
use crate::notes::{Note, Of, Step};
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
    log_max_pages: 12,
    busy_timeout: std::time::Duration::from_secs(5),
};

/// With a log that is not folded before the load ends.
pub(crate) const LONG_LOG: Limits = Limits {
    log_max_pages: 4_000,
    ..LIMITS
};

pub(crate) const AGENT: &str = "agent";

const KEYS: usize = 3;

pub(crate) const NOW: Timestamp = Timestamp(1_000);

/// Where notes go.
pub(crate) type Journal<'a> = &'a (dyn Fn(Note) + Sync);

pub(crate) struct Load<'a> {
    asker: Asker<'a>,
    random: Random,
    sessions: BTreeMap<usize, Session>,
    /// Enqueues that were refused: to be asked for again.
    again: Vec<(usize, Uuid)>,
}

#[derive(Default)]
struct Session {
    id: Option<SessionId>,
    held: Option<Box<Claim>>,
    accepted: Vec<(Uuid, MessageId)>,
    /// Those that are dead.
    dead: Vec<(Uuid, MessageId)>,
    /// What its close asks for next.
    closing: Option<CloseStep>,
}

impl<'a> Load<'a> {
    pub(crate) fn new(name: &str, seed: u64, owner: Generation, journal: Journal<'a>) -> Self {
        Self {
            asker: Asker {
                journal,
                name: name.to_owned(),
                owner,
            },
            random: Random(seed),
            sessions: (0..KEYS).map(|key| (key, Session::default())).collect(),
            again: Vec::new(),
        }
    }

    /// Goes on under a new generation of the same store: what it held is lost, and its closes are
    /// finished.
    pub(crate) fn restart(&mut self, owner: Generation) {
        self.asker.owner = owner;
        // What was refused since a sync failed may be found by whoever opens the file next: asked for
        // again it would be a duplicate, and not of the epoch it is noted in.
        self.again.clear();
        for session in self.sessions.values_mut() {
            session.held = None;
            if session.closing.is_some() {
                *session = Session::default();
            }
        }
    }

    /// One round; how many of its asks the store could not do.
    pub(crate) async fn round(&mut self, store: &dyn Store) -> usize {
        let asks = self.asks();
        let asker = &self.asker;
        let answers = join_all(asks.into_iter().map(|ask| asker.ask(store, ask))).await;
        let mut refused = 0;
        for (key, answer) in answers {
            match answer {
                Answer::EnqueueAgain(event) => {
                    self.again.push((key, event));
                    refused += 1;
                }
                Answer::Refused => refused += 1,
                answer => {
                    let session = self.sessions.get_mut(&key).expect("the key is known");
                    session.learn(answer);
                }
            }
        }
        refused
    }

    fn asks(&mut self) -> Vec<Ask> {
        let random = &mut self.random;
        let mut asks = Vec::new();
        let mut again = std::mem::take(&mut self.again);
        for (key, session) in &self.sessions {
            if let Some((id, step)) = session.close_step(random) {
                asks.push(Ask::Close(*key, id, step));
                continue;
            }
            let again = again.extract_if(.., |(of, _)| of == key);
            asks.extend(again.map(|(key, event)| Ask::Enqueue(key, event)));
            session.add_asks(*key, random, &mut asks);
        }
        self.again = again;
        if random.one_in(8) {
            asks.push(Ask::Retain);
        }
        for place in (1..asks.len()).rev() {
            asks.swap(place, random.below(place + 1));
        }
        asks
    }
}

impl Session {
    /// What its close asks for now, if it is closing or is to close.
    fn close_step(&self, random: &mut Random) -> Option<(SessionId, CloseStep)> {
        let id = self.id?;
        match self.closing {
            Some(step) => random.one_in(2).then_some((id, step)),
            None => {
                let depth = CloseDepth::ALL[random.below(2)];
                random.one_in(12).then_some((id, CloseStep::Mark(depth)))
            }
        }
    }

    fn add_asks(&self, key: usize, random: &mut Random, asks: &mut Vec<Ask>) {
        for _ in 0..random.below(4) {
            asks.push(Ask::Enqueue(key, random.uuid()));
        }
        if let Some(claim) = &self.held {
            match random.below(8) {
                0 => asks.push(Ask::Release(key, claim.clone(), false)),
                1 | 2 => asks.push(Ask::Release(key, claim.clone(), true)),
                3 => {}
                _ => asks.push(Ask::Confirm(key, claim.clone())),
            }
        } else if let Some(id) = self.id {
            asks.push(Ask::Claim(key, id));
        }
        if !self.accepted.is_empty() && random.one_in(6) {
            let newest = self.accepted.len() - 1;
            let (event, message) = self.accepted[newest - random.below(newest.min(3) + 1)];
            // One that is dead may be redriven in the same moment, and nobody knew which was first.
            if !self.dead.contains(&(event, message)) {
                asks.push(Ask::Cancel(key, event, message));
            }
        }
        if !self.dead.is_empty() {
            let (event, message) = self.dead[random.below(self.dead.len())];
            match random.below(8) {
                0 | 1 => asks.push(Ask::Redrive(key, event, message)),
                2 => asks.push(Ask::Purge(key, event, message)),
                _ => {}
            }
        }
    }

    fn learn(&mut self, answer: Answer) {
        match answer {
            Answer::Accepted(event, receipt) => {
                self.id = Some(receipt.session);
                self.accepted.push((event, receipt.message));
            }
            Answer::Holds(claim) => self.held = Some(claim),
            Answer::Lost => self.held = None,
            Answer::Dead(event, message) => {
                self.held = None;
                self.dead.push((event, message));
            }
            Answer::NotDead(event) => self.dead.retain(|(dead, _)| *dead != event),
            Answer::Marked(depth) => {
                self.closing = Some(match depth {
                    CloseDepth::Close => CloseStep::Finish(depth),
                    CloseDepth::Purge => CloseStep::PurgeRows,
                });
                if depth == CloseDepth::Purge {
                    // They go; a claim that is out is to find that out by itself.
                    self.accepted.clear();
                    self.dead.clear();
                }
            }
            Answer::RowsPurged => self.closing = Some(CloseStep::Finish(CloseDepth::Purge)),
            Answer::Finished(Closed { life, .. }) => {
                self.closing = None;
                self.id = self.id.filter(|_| life.is_some());
            }
            Answer::Nothing | Answer::Refused | Answer::EnqueueAgain(_) => {}
        }
    }
}

/// Begins a generation as a worker does: with the claims of its predecessors taken back, and their
/// closes finished.
pub(crate) async fn begin(store: &dyn Store, journal: Journal<'_>) -> Generation {
    let owner = store.begin_generation("1-1", NOW).await;
    let owner = owner.expect("a generation begins");
    journal(Note::Generation(owner.0));
    store.rescue(owner, NOW).await.expect("claims are rescued");
    journal(Note::Done(Of::All, Step::Rescue));
    finish_closes(store, journal).await;
    owner
}

/// Finishes what was closing.
async fn finish_closes(store: &dyn Store, journal: Journal<'_>) {
    let unfinished = store.unfinished().await.expect("they are listed");
    for (id, depth) in unfinished
        .iter()
        .filter_map(|left| Some((left.session, left.closing?)))
    {
        let session = store.session(id).await.expect("it is read");
        let of = Of::Session(session.expect("it is there").key);
        if depth == CloseDepth::Purge {
            journal(Note::Asked(of.clone(), Step::PurgeRows));
            store.purge_rows(id, NOW).await.expect("rows are purged");
            journal(Note::Done(of.clone(), Step::PurgeRows));
        }
        let gone = depth == CloseDepth::Purge;
        journal(Note::Asked(of.clone(), Step::Finish { gone }));
        let closed = store.finish_close(id, NOW).await;
        let gone = closed.expect("the close is finished").life.is_none();
        journal(Note::Done(of, Step::Finish { gone }));
    }
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
