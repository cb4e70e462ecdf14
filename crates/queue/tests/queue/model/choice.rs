//! How the next step is chosen, from what there is.
//!
//! Times and sizes are small numbers: then both sides of every edge come up often.

use std::time::Duration;

use proptest::collection::vec as some;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::Union;
use sessiond_queue::types::{CloseDepth, Retention, State};

use super::step::{
    Act, Effect, End, Event, Forged, KEYS, OfClaim, OfMessage, OfSession, Settlement, Step, To,
};

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
    pub(super) closing: usize,
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
    let all = [
        acts_of_work(there),
        acts_on_messages(there),
        acts_on_sessions(there),
        acts_on_the_store(there),
    ];
    let possible = all.into_iter().flatten().filter(|(weight, _)| *weight > 0);
    Union::new_weighted(possible.collect()).boxed()
}

/// Acts, each as often as its weight says.
type Weighted = Vec<(u32, BoxedStrategy<Act>)>;

/// A weight, if there is something to choose from.
fn if_any(weight: u32, count: usize) -> u32 {
    if count > 0 { weight } else { 0 }
}

fn acts_of_work(there: &Chances) -> Weighted {
    let rescue = 2 + if_any(12, there.stale_claims);
    let (open, all) = (there.open_claims, there.claims);
    vec![
        (12, some(event(there), 1..4).prop_map(Act::Enqueue).boxed()),
        (10, some(session(there), 1..4).prop_map(Act::Claim).boxed()),
        (if_any(10, open), settle(OfClaim::Open, open)),
        (if_any(10, all), settle(OfClaim::Any, all)),
        (2, session(there).prop_map(Act::ReleaseSession).boxed()),
        (rescue, Just(Act::Rescue).boxed()),
    ]
}

fn acts_on_messages(there: &Chances) -> Weighted {
    let some_or_all = option::of(session(there));
    let (redrive, redrive_all) = (1 + if_any(6, there.dead), 1 + if_any(2, there.dead));
    let redrives = message(State::Dead).prop_map(Act::Redrive);
    let purges = message(State::Dead).prop_map(Act::PurgeMessage);
    vec![
        (2, message(State::Claimed).prop_map(Act::Cancel).boxed()),
        (1, session(there).prop_map(Act::CancelSession).boxed()),
        (redrive, redrives.boxed()),
        (
            redrive_all,
            some_or_all.clone().prop_map(Act::RedriveAll).boxed(),
        ),
        (1, purges.boxed()),
        (1, some_or_all.prop_map(Act::PurgeDead).boxed()),
        (5, retention().prop_map(Act::Retain).boxed()),
    ]
}

fn acts_on_sessions(there: &Chances) -> Weighted {
    let patch = (session(there), option::of(0..3_i64))
        .prop_map(|(session, value)| Act::Patch(session, value));
    let reason = select(vec![None, Some("broken"), Some("")]);
    let set_failing =
        (session(there), reason).prop_map(|(session, reason)| Act::SetFailing(session, reason));
    let depth = select(&CloseDepth::ALL[..]);
    let mark = (session(there), depth, prop::bool::weighted(0.3))
        .prop_map(|(session, depth, if_draining)| Act::MarkClosing(session, depth, if_draining));
    let close = 1 + if_any(4, there.closing);
    vec![
        (2, open()),
        (1, patch.boxed()),
        (2, set_failing.boxed()),
        (1, session(there).prop_map(Act::Drain).boxed()),
        (3, mark.boxed()),
        (close, session(there).prop_map(Act::PurgeRows).boxed()),
        (close, session(there).prop_map(Act::FinishClose).boxed()),
    ]
}

fn acts_on_the_store(there: &Chances) -> Weighted {
    let next = 2 + if_any(3, there.open_claims);
    let reopen = any::<bool>().prop_map(|as_next| Act::Reopen { as_next });
    vec![
        (next, Just(Act::NextGeneration).boxed()),
        (2, reopen.boxed()),
        (1, Just(Act::Shrink).boxed()),
        (4, Just(Act::Look).boxed()),
    ]
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
    let alone = settlement.clone().prop_map(|settlement| vec![settlement]);
    prop_oneof![3 => alone, 1 => some(settlement, 2..4)]
        .prop_map(Act::Settle)
        .boxed()
}

fn end() -> BoxedStrategy<End> {
    let confirm = (
        some(prop_oneof![0..8_usize, 80..90_usize], 0..3),
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
        2 => Just(End::Poison),
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
