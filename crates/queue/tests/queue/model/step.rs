//! What may be asked of a queue, as plain data, and how it is chosen.
//!
//! A step names sessions, messages and claims by how many newer ones there are, so that a step still
//! means the same after a shrink has taken out earlier ones. Times and sizes are small numbers:
//! then both sides of every edge come up often.

use std::time::Duration;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use sessiond_queue::types::{CloseDepth, Retention, State};

/// One step; time passes before it.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) after_ms: i64,
    pub(super) act: Act,
}

/// What is asked for. Where there are several, they are asked for at once.
#[derive(Clone, Debug)]
pub(super) enum Act {
    Enqueue(Vec<Event>),
    Claim(Vec<OfSession>),
    Settle(Vec<Settlement>),
    ReleaseSession(OfSession),
    Rescue,
    Cancel(OfMessage),
    CancelSession(OfSession),
    Redrive(OfMessage),
    RedriveAll(Option<OfSession>),
    PurgeMessage(OfMessage),
    PurgeDead(Option<OfSession>),
    Retain(Retention),
    Open {
        key: &'static str,
        project: Option<&'static str>,
        value: Option<i64>,
    },
    Patch(OfSession, Option<i64>),
    SetFailing(OfSession, Option<&'static str>),
    Drain(OfSession),
    MarkClosing(OfSession, CloseDepth, bool),
    PurgeRows(OfSession),
    FinishClose(OfSession),
    NextGeneration,
    /// The store is closed and the same file opened again, perhaps by the next instance.
    Reopen {
        as_next: bool,
    },
    /// The file is made smaller and the log folded in, which nobody must notice.
    Shrink,
    Look,
}

/// The session with so many newer ones; beyond the first, one that never was.
pub(super) type OfSession = usize;

/// A message.
#[derive(Clone, Copy, Debug)]
pub(super) enum OfMessage {
    /// With so many newer ones; beyond the first, one that never was.
    Any(i64),
    /// With so many newer ones in that state.
    In(State, usize),
}

/// A claim that was handed out, with so many newer ones.
#[derive(Clone, Copy, Debug)]
pub(super) enum OfClaim {
    /// Of those whose end was not told yet.
    Open(usize),
    Any(usize),
}

#[derive(Clone, Debug)]
pub(super) struct Settlement {
    pub(super) claim: OfClaim,
    pub(super) forged: Option<Forged>,
    pub(super) end: End,
}

/// A field of a fence that is not the claim's own, and by how much.
#[derive(Clone, Copy, Debug)]
pub(super) enum Forged {
    Generation(i64),
    Epoch(i64),
    ClaimSeq(i64),
}

#[derive(Clone, Debug)]
pub(super) enum End {
    Confirm {
        /// The bytes of each result.
        results: Vec<usize>,
        checkpoint: Option<usize>,
        input_tokens: i64,
        cost_usd: f64,
    },
    /// With the delay of the next attempt.
    Retry(i64),
    GiveBack(Option<i64>),
    Poison,
}

#[derive(Clone, Debug)]
pub(super) struct Event {
    /// The event with so many newer ones again; `None`: a new one.
    pub(super) repeats: Option<usize>,
    pub(super) to: To,
    pub(super) kind: &'static str,
    pub(super) payload_bytes: usize,
    pub(super) dedup: Option<(&'static str, Option<i64>)>,
    pub(super) effect: Effect,
    pub(super) cwd: Option<&'static str>,
    pub(super) project: Option<&'static str>,
    /// How long ago its hook fired.
    pub(super) age_ms: i64,
}

#[derive(Clone, Debug)]
pub(super) enum To {
    Key(&'static str),
    Session(OfSession),
}

#[derive(Clone, Debug)]
pub(super) enum Effect {
    None,
    Start,
    /// With the bytes of the prompt.
    Prompt(usize),
    End,
}

pub(super) const KEYS: [&str; 3] = ["a", "b", "c"];
const PROJECTS: [&str; 2] = ["/p0", "/p1"];
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// What is worth asking for next depends on what there is.
pub(super) struct Chances {
    pub(super) sessions: usize,
    pub(super) open_claims: usize,
    /// Those of them that an earlier generation holds.
    pub(super) stale_claims: usize,
    pub(super) claims: usize,
    pub(super) dead: usize,
    pub(super) closing: bool,
}

pub(super) fn steps(there: &Chances) -> BoxedStrategy<Step> {
    let after_ms = prop_oneof![
        12 => Just(0),
        10 => 0..4_i64,
        2 => 4..60_i64,
        1 => Just(DAY_MS),
    ];
    (after_ms, acts(there))
        .prop_map(|(after_ms, act)| Step { after_ms, act })
        .boxed()
}

fn acts(there: &Chances) -> BoxedStrategy<Act> {
    let session = session(there);
    let some_or_all = option::of(session.clone());
    let if_any = |weight, count: usize| if count > 0 { weight } else { 0 };
    let all = vec![
        (12, vec(event(there), 1..4).prop_map(Act::Enqueue).boxed()),
        (10, vec(session.clone(), 1..4).prop_map(Act::Claim).boxed()),
        (
            if_any(10, there.open_claims),
            settle(OfClaim::Open, there.open_claims),
        ),
        (if_any(10, there.claims), settle(OfClaim::Any, there.claims)),
        (2, session.clone().prop_map(Act::ReleaseSession).boxed()),
        (
            2 + if_any(12, there.stale_claims),
            Just(Act::Rescue).boxed(),
        ),
        (2, message(State::Claimed).prop_map(Act::Cancel).boxed()),
        (1, session.clone().prop_map(Act::CancelSession).boxed()),
        (
            if_any(4, there.dead) + 1,
            message(State::Dead).prop_map(Act::Redrive).boxed(),
        ),
        (
            if_any(2, there.dead) + 1,
            some_or_all.clone().prop_map(Act::RedriveAll).boxed(),
        ),
        (1, message(State::Dead).prop_map(Act::PurgeMessage).boxed()),
        (1, some_or_all.prop_map(Act::PurgeDead).boxed()),
        (5, retention().prop_map(Act::Retain).boxed()),
        (2, open()),
        (
            1,
            (session.clone(), option::of(0..3_i64))
                .prop_map(|(session, value)| Act::Patch(session, value))
                .boxed(),
        ),
        (
            2,
            (
                session.clone(),
                select(vec![None, Some("broken"), Some("")]),
            )
                .prop_map(|(session, reason)| Act::SetFailing(session, reason))
                .boxed(),
        ),
        (1, session.clone().prop_map(Act::Drain).boxed()),
        (
            3,
            (
                session.clone(),
                select(&CloseDepth::ALL[..]),
                prop::bool::weighted(0.3),
            )
                .prop_map(|(session, depth, drains)| Act::MarkClosing(session, depth, drains))
                .boxed(),
        ),
        (
            if_any(4, usize::from(there.closing)) + 1,
            session.clone().prop_map(Act::PurgeRows).boxed(),
        ),
        (
            if_any(4, usize::from(there.closing)) + 1,
            session.prop_map(Act::FinishClose).boxed(),
        ),
        (
            2 + if_any(3, there.open_claims),
            Just(Act::NextGeneration).boxed(),
        ),
        (
            2,
            any::<bool>()
                .prop_map(|as_next| Act::Reopen { as_next })
                .boxed(),
        ),
        (1, Just(Act::Shrink).boxed()),
        (3, Just(Act::Look).boxed()),
    ];
    let possible = all.into_iter().filter(|(weight, _)| *weight > 0);
    prop::strategy::Union::new_weighted(possible.collect()).boxed()
}

fn session(there: &Chances) -> BoxedStrategy<OfSession> {
    let known = 0..there.sessions.max(1);
    prop_oneof![20 => known, 1 => Just(usize::MAX)].boxed()
}

fn message(state: State) -> BoxedStrategy<OfMessage> {
    prop_oneof![
        2 => (0..4_usize).prop_map(move |back| OfMessage::In(state, back)),
        1 => (0..24_i64).prop_map(OfMessage::Any),
    ]
    .boxed()
}

fn event(there: &Chances) -> BoxedStrategy<Event> {
    let to = prop_oneof![
        6 => Just(To::Key(KEYS[0])),
        6 => select(&KEYS[..]).prop_map(To::Key),
        4 => session(there).prop_map(To::Session),
    ];
    let window_ms = select(vec![None, Some(0), Some(2)]);
    let effect = prop_oneof![
        8 => Just(Effect::None),
        1 => Just(Effect::Start),
        2 => prop_oneof![0..20_usize, 2_040..2_060_usize].prop_map(Effect::Prompt),
        1 => Just(Effect::End),
    ];
    (
        option::weighted(0.15, 0..4_usize),
        to,
        prop_oneof![30 => Just("X"), 1 => Just("")],
        prop_oneof![1..8_usize, 62..67_usize],
        option::weighted(0.4, (select(vec!["x", "y"]), window_ms)),
        effect,
        option::weighted(0.2, select(vec!["/0", "/1"])),
        option::weighted(0.2, select(&PROJECTS[..])),
        0..4_i64,
    )
        .prop_map(
            |(repeats, to, kind, payload_bytes, dedup, effect, cwd, project, age_ms)| Event {
                repeats,
                to,
                kind,
                payload_bytes,
                dedup,
                effect,
                cwd,
                project,
                age_ms,
            },
        )
        .boxed()
}

fn settle(which: fn(usize) -> OfClaim, claims: usize) -> BoxedStrategy<Act> {
    let by = select(vec![-1_i64, 1]);
    let forged = prop_oneof![
        by.clone().prop_map(Forged::Generation),
        by.clone().prop_map(Forged::Epoch),
        by.prop_map(Forged::ClaimSeq),
    ];
    let settlement = (
        (0..claims.max(1)).prop_map(which),
        option::weighted(0.15, forged),
        end(),
    )
        .prop_map(|(claim, forged, end)| Settlement { claim, forged, end });
    let alone = settlement
        .clone()
        .prop_map(|settlement| std::vec![settlement]);
    prop_oneof![3 => alone, 1 => vec(settlement, 2..4)]
        .prop_map(Act::Settle)
        .boxed()
}

fn end() -> BoxedStrategy<End> {
    let confirm = (
        vec(prop_oneof![0..8_usize, 80..90_usize], 0..3),
        option::of(prop_oneof![1..8_usize, 98..103_usize]),
        select(vec![0, 0, 3, -1, i64::MAX]),
        select(vec![0.0, 0.5, -1.0, f64::NAN]),
    )
        .prop_map(
            |(results, checkpoint, input_tokens, cost_usd)| End::Confirm {
                results,
                checkpoint,
                input_tokens,
                cost_usd,
            },
        );
    prop_oneof![
        4 => confirm,
        2 => (0..10_i64).prop_map(End::Retry),
        1 => option::of(0..10_i64).prop_map(End::GiveBack),
        1 => Just(End::Poison),
    ]
    .boxed()
}

fn retention() -> BoxedStrategy<Retention> {
    let age = || {
        let ages = [None, Some(0), Some(1), Some(2), Some(50)];
        select(ages.map(|ms| ms.map(Duration::from_millis)).to_vec())
    };
    let most = || select(vec![None, None, Some(0), Some(1), Some(4)]);
    let done = (age(), most());
    // Mostly the dead stay, to be redriven behind what is gone.
    let dead = prop_oneof![3 => Just((None, None)), 2 => (age(), most())];
    (done, dead)
        .prop_map(|((done_age, done_max), (dead_age, dead_max))| Retention {
            done_age,
            done_max,
            dead_age,
            dead_max,
        })
        .boxed()
}

fn open() -> BoxedStrategy<Act> {
    (
        select(&KEYS[..]),
        option::weighted(0.3, select(&PROJECTS[..])),
        option::of(0..3_i64),
    )
        .prop_map(|(key, project, value)| Act::Open {
            key,
            project,
            value,
        })
        .boxed()
}
