//! A queue and its user: does the steps, and says what was answered.
//!
//! Each store mints session ids of its own; what is said names sessions by the order they came up
//! in, so that what two sides say can be compared.

use std::fmt::Debug;
use std::time::Duration;

use futures::future::join_all;
use serde_json::{Map, Value};
use sessiond_queue::error::SettleError;
use sessiond_queue::ids::{ClaimSeq, Epoch, EventId, Generation, MessageId, SessionId, Timestamp};
use sessiond_queue::store::Store;
use sessiond_queue::types::{
    Claimed, CloseDepth, Confirm, Dedup, Effect, Enqueue, Fence, MessageFilter, NewResult,
    OpenSession, Release, ReleaseWhy, SessionRef, State, Usage,
};
use uuid::Uuid;

use super::step::{Act, End, Event, Forged, OfClaim, OfMessage, OfSession, Settlement, Step, To};
use super::{look, step};

pub(super) const AGENT: &str = "agent";

/// How long a drain may take.
const DRAIN: Duration = Duration::from_secs(1);

/// A queue, and what its user knows of it.
#[derive(Clone, Debug)]
pub(super) struct Side<S> {
    pub(super) store: S,
    /// In the order they came up in; purged ones stay, to be asked for.
    pub(super) sessions: Vec<SessionId>,
    pub(super) claims: Vec<Given>,
    pub(super) now: Timestamp,
    owner: Generation,
    /// How many events there were.
    events: u64,
    /// How many messages were accepted.
    pub(super) accepted: i64,
}

/// A claim that was handed out.
#[derive(Clone, Debug)]
pub(super) struct Given {
    message: MessageId,
    session: SessionId,
    fence: Fence,
    /// Whether its user knows that it is over: settled, rescued, cancelled, given back or lost.
    pub(super) over: bool,
}

impl<S: Store> Side<S> {
    pub(super) async fn new(store: S) -> Self {
        let now = Timestamp(1_000);
        let owner = store.begin_generation("1-1", now).await;
        Self {
            store,
            sessions: Vec::new(),
            claims: Vec::new(),
            now,
            owner: owner.expect("a generation begins"),
            events: 0,
            accepted: 0,
        }
    }

    /// Does a step and says what was answered.
    pub(super) async fn perform(&mut self, step: &Step) -> String {
        self.now.0 += step.after_ms;
        let said = match &step.act {
            Act::Enqueue(events) => self.enqueue(events).await,
            Act::Claim(sessions) => self.claim(sessions).await,
            Act::Settle(settlements) => self.settle(settlements).await,
            Act::NextGeneration => self.next_generation().await,
            Act::Reopen { as_next: true } => self.next_generation().await,
            Act::Reopen { as_next: false } => String::new(),
            Act::Shrink => self.shrink().await,
            Act::Look => look::closely(self).await,
            Act::Cancel(_)
            | Act::Redrive(_)
            | Act::PurgeMessage(_)
            | Act::Rescue
            | Act::RedriveAll(_)
            | Act::PurgeDead(_)
            | Act::Retain(_) => self.change_messages(&step.act).await,
            of_a_session => self.change_session(of_a_session).await,
        };
        self.named(&said)
    }

    /// Whether a step is nothing but the ends of claims that are over, or were never given so.
    pub(super) fn is_late(&self, step: &Step) -> bool {
        let Act::Settle(settlements) = &step.act else {
            return false;
        };
        settlements.iter().all(|settlement| {
            let Some((message, fence)) = self.shown(settlement) else {
                return false;
            };
            let is_its = |given: &Given| given.message == message && given.fence == fence;
            let place = self.claims.iter().position(is_its);
            place.is_none_or(|place| {
                let (given, later) = (&self.claims[place], &self.claims[place + 1..]);
                given.over || later.iter().any(|later| later.message == message)
            })
        })
    }

    /// How many claims wait for a rescue.
    pub(super) fn stale_claims(&self) -> usize {
        let of_others = |given: &&Given| !given.over && given.fence.generation < self.owner;
        self.claims.iter().filter(of_others).count()
    }

    /// Replaces session ids by the order they came up in.
    pub(super) fn named(&self, said: &str) -> String {
        const ID: &str = "SessionId(";
        let mut pieces = said.split(ID);
        let mut named = pieces.next().unwrap_or_default().to_owned();
        for piece in pieces {
            let (id, rest) = piece.split_at(piece.find(')').expect("an id ends"));
            let place = self
                .sessions
                .iter()
                .position(|known| known.to_string() == id);
            named.push_str(ID);
            match place {
                Some(place) => named.push_str(&place.to_string()),
                None => named.push_str(id),
            }
            named.push_str(rest);
        }
        named
    }

    fn session_of(&self, newer: OfSession) -> SessionId {
        let known = self.sessions.iter().rev().nth(newer);
        known.copied().unwrap_or(SessionId(Uuid::nil()))
    }

    /// The message and the fence that are shown for an end, if there is such a claim. A forged fence
    /// may happen to be that of another claim.
    fn shown(&self, settlement: &Settlement) -> Option<(MessageId, Fence)> {
        let (newer, with_over) = match settlement.claim {
            OfClaim::Open(newer) => (newer, false),
            OfClaim::Any(newer) => (newer, true),
        };
        let fit = self.claims.iter().rev();
        let given = fit.filter(|given| with_over || !given.over).nth(newer)?;
        Some((given.message, forge(given.fence, settlement.forged)))
    }

    async fn message_of(&self, message: OfMessage) -> MessageId {
        let (state, newer) = match message {
            OfMessage::Any(newer) => return MessageId((self.accepted + 1 - newer).max(0)),
            OfMessage::In(state, newer) => (state, newer),
        };
        let filter = MessageFilter {
            state: Some(state),
            limit: u32::MAX,
            ..MessageFilter::default()
        };
        let there = self.store.messages(filter).await;
        let there = there.expect("messages are listed");
        let wanted = there.iter().rev().nth(newer);
        wanted.map_or(MessageId(0), |message| message.id)
    }

    /// The number of messages in a state.
    pub(super) async fn count(&self, state: State) -> usize {
        let depth = self.store.stats().await.expect("stats are read").depth;
        let count = match state {
            State::Pending => depth.pending,
            State::Claimed => depth.claimed,
            State::Done => depth.done,
            State::Dead => depth.dead,
            State::Cancelled => depth.cancelled,
        };
        usize::try_from(count).expect("a count is not negative")
    }

    fn learn(&mut self, session: SessionId) {
        if !self.sessions.contains(&session) {
            self.sessions.push(session);
        }
    }

    async fn enqueue(&mut self, events: &[Event]) -> String {
        let events: Vec<_> = events.iter().map(|event| self.event(event)).collect();
        let (store, now) = (&self.store, self.now);
        let stored = join_all(events.into_iter().map(|event| store.enqueue(event, now))).await;
        for receipt in stored.iter().flatten() {
            self.learn(receipt.session);
            self.accepted = self.accepted.max(receipt.message.0);
        }
        say(stored)
    }

    fn event(&mut self, event: &Event) -> Enqueue {
        let newer = event.repeats.and_then(|newer| u64::try_from(newer).ok());
        let number = match newer {
            Some(newer) => self.events.saturating_sub(newer),
            None => {
                self.events += 1;
                self.events
            }
        };
        let session = match event.to {
            To::Key(key) => SessionRef::Key {
                agent: AGENT.to_owned(),
                key: key.to_owned(),
            },
            To::Session(newer) => SessionRef::Id(self.session_of(newer)),
        };
        let dedup = event.dedup.map(|(key, window_ms)| Dedup {
            key: key.to_owned(),
            window_ms,
        });
        Enqueue {
            event_id: EventId(Uuid::from_u64_pair(1, number)),
            session,
            kind: event.kind.to_owned(),
            agent_id: None,
            payload: "p".repeat(event.payload_bytes),
            dedup,
            effect: match event.effect {
                step::Effect::None => Effect::None,
                step::Effect::Start => Effect::Start,
                step::Effect::Prompt(bytes) => Effect::Prompt("p".repeat(bytes)),
                step::Effect::End => Effect::End {
                    drain_until: self.now.after(DRAIN),
                },
            },
            cwd: event.cwd.map(str::to_owned),
            project: event.project.map(str::to_owned),
            accepted_at: Timestamp(self.now.0 - event.age_ms),
        }
    }

    async fn claim(&mut self, sessions: &[OfSession]) -> String {
        let sessions = sessions.iter().map(|newer| self.session_of(*newer));
        let (owner, now) = (self.owner, self.now);
        let claims = sessions.map(|session| self.store.claim(session, owner, now));
        let claimed = join_all(claims).await;
        for answer in &claimed {
            if let Ok(Claimed::Message(claim)) = answer {
                self.claims.push(Given {
                    message: claim.message.id,
                    session: claim.message.session,
                    fence: claim.fence,
                    over: false,
                });
            }
        }
        say(claimed)
    }

    async fn settle(&mut self, settlements: &[Settlement]) -> String {
        let shown = settlements.iter();
        let shown = shown.filter_map(|ask| Some((self.shown(ask)?, &ask.end)));
        let shown: Vec<_> = shown.collect();
        let ends = shown.iter();
        let ends = ends.map(|((message, fence), end)| self.end(*message, *fence, end));
        let answers = join_all(ends).await;
        for (answer, (shown, _)) in answers.iter().zip(shown) {
            if matches!(answer, Ok(_) | Err(SettleError::ClaimLost(_))) {
                self.are_over(|given| (given.message, given.fence) == shown);
            }
        }
        say(answers)
    }

    async fn end(
        &self,
        message: MessageId,
        fence: Fence,
        end: &End,
    ) -> Result<String, SettleError> {
        let reason = "reason".to_owned();
        let after = |delay: i64| Timestamp(self.now.0 + delay);
        let why = match end {
            End::Retry(delay) => ReleaseWhy::Retry {
                reason,
                not_before: after(*delay),
            },
            End::GiveBack(delay) => ReleaseWhy::GiveBack {
                reason,
                not_before: delay.map(after),
            },
            End::Poison => ReleaseWhy::Poison { reason },
            End::Confirm {
                results,
                checkpoint,
                input_tokens,
                cost_usd,
            } => {
                let confirm = Confirm {
                    message,
                    fence,
                    results: results.iter().map(|bytes| result(*bytes)).collect(),
                    checkpoint: checkpoint.map(|bytes| "c".repeat(bytes)),
                    usage: Usage {
                        input_tokens: *input_tokens,
                        output_tokens: 1,
                        cost_usd: *cost_usd,
                    },
                };
                let confirmed = self.store.confirm(confirm, self.now).await;
                return confirmed.map(|()| "confirmed".to_owned());
            }
        };
        let release = Release {
            message,
            fence,
            why,
        };
        let released = self.store.release(release, self.now).await;
        released.map(|released| format!("{released:?}"))
    }

    async fn next_generation(&mut self) -> String {
        let begun = self.store.begin_generation("1-1", self.now).await;
        if let Ok(generation) = begun {
            self.owner = generation;
        }
        say(begun)
    }

    async fn shrink(&self) -> String {
        // The model has no file: what is answered differs, and nothing else may.
        self.store.shrink().await.expect("the file shrinks");
        self.store.fold_log().await.expect("the log is folded in");
        String::new()
    }

    async fn change_messages(&mut self, act: &Act) -> String {
        let (store, now) = (&self.store, self.now);
        let of = |newer: &Option<OfSession>| newer.map(|newer| self.session_of(newer));
        match act {
            Act::Cancel(message) => {
                let message = self.message_of(*message).await;
                let cancelled = store.cancel(message, now).await;
                if cancelled.is_ok() {
                    self.are_over(|given| given.message == message);
                }
                say(cancelled)
            }
            Act::Rescue => {
                let owner = self.owner;
                let rescued = store.rescue(owner, now).await;
                self.are_over(|given| given.fence.generation < owner);
                say(rescued)
            }
            Act::Redrive(message) => say(store.redrive(self.message_of(*message).await, now).await),
            Act::RedriveAll(session) => say(store.redrive_all(of(session), now).await),
            Act::PurgeMessage(message) => {
                say(store.purge_message(self.message_of(*message).await).await)
            }
            Act::PurgeDead(session) => say(store.purge_dead(of(session)).await),
            Act::Retain(policy) => say(store.retain(*policy, now).await),
            other => unreachable!("{other:?} is done elsewhere"),
        }
    }

    async fn change_session(&mut self, act: &Act) -> String {
        let (store, now) = (&self.store, self.now);
        let of = |newer: &OfSession| self.session_of(*newer);
        match act {
            Act::Open {
                key,
                project,
                value,
            } => {
                let open = OpenSession {
                    agent: AGENT.to_owned(),
                    key: (*key).to_owned(),
                    cwd: None,
                    project: project.map(str::to_owned),
                    metadata: metadata(*value),
                };
                let opened = store.open_session(open, now).await;
                if let Ok(session) = &opened {
                    self.learn(session.id);
                }
                say(opened)
            }
            Act::ReleaseSession(session) => {
                let session = of(session);
                let released = store.release_session(session, "aborted", now).await;
                self.are_over(|given| given.session == session);
                say(released)
            }
            Act::CancelSession(session) => {
                let session = of(session);
                let cancelled = store.cancel_session(session, now).await;
                self.are_over(|given| given.session == session);
                say(cancelled)
            }
            Act::Patch(session, value) => say(store
                .patch_metadata(of(session), metadata(*value), now)
                .await),
            Act::SetFailing(session, reason) => {
                say(store.set_failing(of(session), *reason, now).await)
            }
            Act::Drain(session) => say(store.begin_drain(of(session), now.after(DRAIN), now).await),
            Act::MarkClosing(session, depth, if_draining) => {
                let depth: CloseDepth = *depth;
                say(store
                    .mark_closing(of(session), depth, *if_draining, now)
                    .await)
            }
            Act::PurgeRows(session) => say(store.purge_rows(of(session), now).await),
            Act::FinishClose(session) => say(store.finish_close(of(session), now).await),
            other => unreachable!("{other:?} is done elsewhere"),
        }
    }

    fn are_over(&mut self, which: impl Fn(&Given) -> bool) {
        for given in self.claims.iter_mut().filter(|given| which(given)) {
            given.over = true;
        }
    }
}

fn say(answer: impl Debug) -> String {
    format!("{answer:?}")
}

/// `None` removes the name.
fn metadata(value: Option<i64>) -> Map<String, Value> {
    [("name".to_owned(), Value::from(value))]
        .into_iter()
        .collect()
}

fn result(bytes: usize) -> NewResult {
    NewResult {
        kind: "observation".to_owned(),
        body: "b".repeat(bytes),
        tags: vec!["t".to_owned()],
        ..NewResult::default()
    }
}

fn forge(fence: Fence, forged: Option<Forged>) -> Fence {
    match forged {
        None => fence,
        Some(Forged::Generation(by)) => Fence {
            generation: Generation(fence.generation.0 + by),
            ..fence
        },
        Some(Forged::Epoch(by)) => Fence {
            epoch: Epoch(fence.epoch.0 + by),
            ..fence
        },
        Some(Forged::ClaimSeq(by)) => Fence {
            claim_seq: ClaimSeq(fence.claim_seq.0 + by),
            ..fence
        },
    }
}
