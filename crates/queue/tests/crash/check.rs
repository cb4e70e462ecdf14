//! Holds a store against the notes of its load.
//!
//! A step that was answered has happened, one that was never asked for or was refused has not, and
//! one that was only asked for may have, as a whole.

use std::collections::{BTreeMap, HashMap, HashSet};

use sessiond_queue::ids::{MessageId, ResultId, SessionId, Timestamp};
use sessiond_queue::limits::ATTEMPTS_KEPT;
use sessiond_queue::store::Store;
use sessiond_queue::types::{
    AttemptOutcome, Claimed, Message, MessageFilter, NewResult, ResultFilter, State,
};
use uuid::Uuid;

use crate::load::{AGENT, Note, Step, payload, results};

/// What the notes say of one event.
#[derive(Default)]
struct Known {
    key: String,
    /// Message and place, once they were answered.
    place: Option<(i64, i64)>,
    /// The highest place of its session that was answered before it was asked for.
    behind: i64,
    /// Asked for, and neither answered nor refused.
    open: HashSet<&'static str>,
    /// The last step that was answered and decides its state.
    settled: Option<State>,
    /// Retries that were answered, and that were asked for and not refused.
    retries: usize,
    retries_max: usize,
    holder: Option<i64>,
}

/// What the notes say.
struct Notes {
    events: HashMap<Uuid, Known>,
    generation: i64,
    claim_max: i64,
    found: Vec<String>,
}

impl Notes {
    fn new<'n>(notes: impl IntoIterator<Item = &'n Note>) -> Self {
        let mut read = Self {
            events: HashMap::new(),
            generation: 0,
            claim_max: 0,
            found: Vec::new(),
        };
        let (mut last, mut claims) = (HashMap::<String, i64>::new(), HashSet::new());
        for note in notes {
            match note {
                Note::Generation(generation) => {
                    if *generation <= read.generation {
                        read.found.push(format!("generation {generation} again"));
                    }
                    read.generation = *generation;
                }
                Note::Asked(event, step) => {
                    let known = read.events.entry(*event).or_default();
                    known.open.insert(step.word());
                    if let Step::Enqueue { key, .. } = step {
                        known.key.clone_from(key);
                        known.behind = last.get(key).copied().unwrap_or_default();
                    } else {
                        known.holder = None;
                    }
                    known.retries_max += usize::from(*step == Step::Retry);
                }
                Note::Refused(event, step) => {
                    let known = read.events.entry(*event).or_default();
                    known.open.remove(step.word());
                    known.retries_max -= usize::from(*step == Step::Retry);
                }
                Note::Done(event, step) => {
                    let generation = read.generation;
                    let known = read.events.entry(*event).or_default();
                    known.open.remove(step.word());
                    match step {
                        Step::Enqueue { key, message, seq } => {
                            known.place = Some((*message, *seq));
                            let last = last.entry(key.clone()).or_default();
                            *last = (*last).max(*seq);
                        }
                        Step::Claim(number) => {
                            read.claim_max = read.claim_max.max(*number);
                            if !claims.insert(*number) || known.holder == Some(generation) {
                                read.found.push(format!("claim {number} of {event} twice"));
                            }
                            known.holder = Some(generation);
                        }
                        Step::Confirm => known.settled = Some(State::Done),
                        Step::Poison => known.settled = Some(State::Dead),
                        Step::Cancel => known.settled = Some(State::Cancelled),
                        Step::Retry => known.retries += 1,
                    }
                }
            }
        }
        read
    }
}

impl Step {
    fn word(&self) -> &'static str {
        match self {
            Self::Enqueue { .. } => "enqueue",
            Self::Claim(_) => "claim",
            Self::Confirm => "confirm",
            Self::Retry => "retry",
            Self::Poison => "poison",
            Self::Cancel => "cancel",
        }
    }
}

/// All that is wrong with a store after the steps of these notes.
pub(crate) async fn violations<'n>(
    store: &dyn Store,
    notes: impl IntoIterator<Item = &'n Note>,
) -> Vec<String> {
    let mut notes = Notes::new(notes);
    let mut found = std::mem::take(&mut notes.found);
    match store.verify().await {
        Ok(verified) if verified.is_sound() => {}
        other => found.push(format!("{other:?}")),
    }
    match check(store, &notes, &mut found).await {
        Ok(()) => {}
        Err(error) => found.push(error.to_string()),
    }
    found
}

type Error = Box<dyn std::error::Error>;

async fn check(store: &dyn Store, notes: &Notes, found: &mut Vec<String>) -> Result<(), Error> {
    let messages = all_messages(store).await?;
    let mut made = all_results(store).await?;
    let mut stored = HashSet::new();
    let mut sessions: BTreeMap<SessionId, Vec<&Message>> = BTreeMap::new();
    for message in &messages {
        let event = message.event_id.0;
        if !stored.insert(event) {
            found.push(format!("{event} is there twice"));
        }
        let Some(known) = notes.events.get(&event) else {
            found.push(format!("{event} was never asked for"));
            continue;
        };
        sessions.entry(message.session).or_default().push(message);
        let place = (message.id.0, message.seq.0);
        if known.place.is_none() && !known.open.contains("enqueue") {
            found.push(format!("{event} was refused and is there"));
        }
        if known.place.is_some_and(|answered| answered != place) {
            found.push(format!("{event} is at {place:?}, not {:?}", known.place));
        }
        if message.seq.0 <= known.behind {
            found.push(format!("{event} is not behind {}", known.behind));
        }
        if message.payload != payload(event) {
            found.push(format!("{event} has another payload"));
        }
        check_state(message, known, found);
        let results = made.remove(&message.id).unwrap_or_default();
        let wanted = match message.state {
            State::Done => self::results(event),
            _ => Vec::new(),
        };
        if results != wanted {
            found.push(format!("{event}, {:?}: results {results:?}", message.state));
        }
        let history = store.attempts(message.id).await?;
        let retries = history
            .iter()
            .filter(|attempt| attempt.outcome == AttemptOutcome::Retry)
            .count();
        let retries_min = if history.len() < ATTEMPTS_KEPT {
            known.retries
        } else {
            0
        };
        if !(retries_min..=known.retries_max).contains(&retries) {
            found.push(format!("{event}: {retries} retries, not {retries_min}"));
        }
    }
    if !made.is_empty() {
        found.push(format!("results of nothing: {made:?}"));
    }
    for (event, known) in &notes.events {
        if known.place.is_some() && !stored.contains(event) {
            found.push(format!("{event} was acknowledged and is not there"));
        }
    }
    for (session, messages) in sessions {
        check_session(store, session, &messages, notes, found).await?;
    }
    Ok(())
}

fn check_state(message: &Message, known: &Known, found: &mut Vec<String>) {
    let possible = match message.state {
        State::Pending | State::Claimed => known.settled.is_none(),
        State::Done => known.settled == Some(State::Done) || known.may_be("confirm"),
        State::Dead => known.settled == Some(State::Dead) || known.may_be("poison"),
        State::Cancelled => known.settled == Some(State::Cancelled) || known.may_be("cancel"),
    };
    if !possible {
        found.push(format!(
            "{} is {:?}, after {:?} and perhaps {:?}",
            message.event_id, message.state, known.settled, known.open
        ));
    }
}

impl Known {
    fn may_be(&self, step: &str) -> bool {
        self.settled.is_none() && self.open.contains(step)
    }
}

/// Order, checkpoint and usage of a session.
async fn check_session(
    store: &dyn Store,
    id: SessionId,
    messages: &[&Message],
    notes: &Notes,
    found: &mut Vec<String>,
) -> Result<(), Error> {
    let session = store.session(id).await?.ok_or("a session is missing")?;
    let key = &session.key;
    let (mut waiting, mut last_done, mut done) = (None, None, 0);
    // By id; their places must rise with it, from 1 and without a gap.
    for (message, seq) in messages.iter().zip(1..) {
        let event = message.event_id.0;
        if message.seq.0 != seq {
            found.push(format!("{key}: {} at place {seq}", message.seq));
        }
        if session.agent != AGENT || notes.events[&event].key != *key {
            found.push(format!("{event} is in session {key}"));
        }
        match (message.state, waiting) {
            (State::Done | State::Dead | State::Claimed, Some(before)) => {
                found.push(format!("{key}: {seq} was worked before {before}"));
            }
            (State::Pending | State::Claimed, None) => waiting = Some(seq),
            _ => {}
        }
        if message.state == State::Done {
            (last_done, done) = (Some(event.to_string()), done + 1);
        }
    }
    let checkpoint = store.checkpoint(id).await?;
    if checkpoint != last_done {
        found.push(format!(
            "{key}: checkpoint {checkpoint:?}, not {last_done:?}"
        ));
    }
    if session.usage.input_tokens != done {
        found.push(format!("{key}: usage {:?} of {done}", session.usage));
    }
    Ok(())
}

/// Checks that a store after a crash goes on: the next instance begins, takes its claims back and
/// works what is left.
pub(crate) async fn goes_on<'n>(
    store: &dyn Store,
    notes: impl IntoIterator<Item = &'n Note>,
) -> Vec<String> {
    let notes = Notes::new(notes);
    let mut found = Vec::new();
    if let Err(error) = go_on(store, &notes, &mut found).await {
        found.push(error.to_string());
    }
    found
}

async fn go_on(store: &dyn Store, notes: &Notes, found: &mut Vec<String>) -> Result<(), Error> {
    let now = Timestamp(2_000);
    let owner = store.begin_generation("next", now).await?;
    if owner.0 <= notes.generation {
        found.push(format!("generation {owner} after {}", notes.generation));
    }
    store.rescue(owner, now).await?;
    for unfinished in store.unfinished().await? {
        let claimed = store.claim(unfinished.session, owner, now).await?;
        match claimed {
            Claimed::Message(claim) if claim.fence.claim_seq.0 > notes.claim_max => {}
            other => found.push(format!("{other:?} after claim {}", notes.claim_max)),
        }
    }
    if !store.verify().await?.is_sound() {
        found.push("unsound after the next claims".to_owned());
    }
    Ok(())
}

async fn all_messages(store: &dyn Store) -> Result<Vec<Message>, Error> {
    let mut all: Vec<Message> = Vec::new();
    loop {
        let filter = MessageFilter {
            after: all.last().map(|message| message.id),
            limit: 1_000,
            ..MessageFilter::default()
        };
        let page = store.messages(filter).await?;
        if page.is_empty() {
            return Ok(all);
        }
        all.extend(page);
    }
}

async fn all_results(store: &dyn Store) -> Result<HashMap<MessageId, Vec<NewResult>>, Error> {
    let mut all: HashMap<MessageId, Vec<NewResult>> = HashMap::new();
    let mut after: Option<ResultId> = None;
    loop {
        let filter = ResultFilter {
            after,
            limit: 1_000,
            ..ResultFilter::default()
        };
        let page = store.results(filter).await?;
        let Some(last) = page.last() else {
            return Ok(all);
        };
        after = Some(last.id);
        for result in page {
            all.entry(result.message).or_default().push(result.result);
        }
    }
}
