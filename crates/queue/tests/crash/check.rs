//! Holds a store against the notes of its load.
//!
//! A step that was answered has happened, one that was never asked for or was refused has not, and
//! one that was only asked for may have, as a whole.

use std::collections::{HashMap, HashSet};

use sessiond_queue::ids::{MessageId, ResultId, Timestamp};
use sessiond_queue::limits::ATTEMPTS_KEPT;
use sessiond_queue::store::Store;
use sessiond_queue::types::{
    AttemptOutcome, Claimed, Message, MessageFilter, NewResult, ResultFilter, State, Usage,
};
use uuid::Uuid;

use crate::known::{Known, KnownSession, Notes, There};
use crate::load::{AGENT, payload, results};
use crate::notes::Note;

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

/// What is stored, by its event and by its message.
struct Stored {
    messages: HashMap<Uuid, Message>,
    results: HashMap<MessageId, Vec<NewResult>>,
}

async fn check(store: &dyn Store, notes: &Notes, found: &mut Vec<String>) -> Result<(), Error> {
    let mut stored = Stored {
        messages: HashMap::new(),
        results: all_results(store).await?,
    };
    for message in all_messages(store).await? {
        let event = message.event_id.0;
        match notes.events.get(&event) {
            None => found.push(format!("{event} was never asked for")),
            Some(known) => check_message(store, &message, known, found).await?,
        }
        if stored.messages.insert(event, message).is_some() {
            found.push(format!("{event} is there twice"));
        }
    }
    let mut gone = Gone::default();
    for (event, known) in &notes.events {
        let message = stored.messages.get(event);
        check_results(*event, known, message, &mut stored.results, found);
        if message.is_none() {
            gone.count(*event, known, found);
        }
    }
    gone.check(notes, found);
    if !stored.results.is_empty() {
        found.push(format!("results of nothing: {:?}", stored.results));
    }
    for (key, known) in &notes.sessions {
        check_session(store, key, known, notes, &stored, found).await?;
    }
    Ok(())
}

async fn check_message(
    store: &dyn Store,
    message: &Message,
    known: &Known,
    found: &mut Vec<String>,
) -> Result<(), Error> {
    let event = message.event_id.0;
    match known.place {
        None if !known.open.contains("enqueue") => {
            found.push(format!("{event} was refused and is there"));
        }
        Some(place)
            if place.message != message.id.0
                || (place.seq != message.seq.0 && known.moves_max == 0)
                || place.seq > message.seq.0 =>
        {
            let is = (message.id, message.seq);
            found.push(format!("{event} is at {is:?}, not {place:?}"));
        }
        _ => {}
    }
    if message.seq.0 <= known.behind {
        found.push(format!("{event} is not behind {}", known.behind));
    }
    if message.payload != payload(event) {
        found.push(format!("{event} has another payload"));
    }
    if known.deleted {
        found.push(format!("{event} was purged and is there"));
    }
    if !known.may_be_in(message.state) {
        let (state, settled, open) = (message.state, known.settled, &known.open);
        found.push(format!(
            "{event} is {state:?}, after {settled:?} and perhaps {open:?}"
        ));
    }
    let history = store.attempts(message.id).await?;
    let count = |outcome| history.iter().filter(|end| end.outcome == outcome).count();
    let is_whole = history.len() < ATTEMPTS_KEPT;
    let (retries, rescues) = (count(AttemptOutcome::Retry), count(AttemptOutcome::Rescued));
    if retries > known.retries_max || (is_whole && retries < known.retries) {
        found.push(format!("{event}: {retries} retries, not {}", known.retries));
    }
    if is_whole && rescues < known.rescues {
        found.push(format!("{event}: {rescues} rescues, not {}", known.rescues));
    }
    Ok(())
}

/// Takes out the results of an event, which outlive its message unless its session was purged.
fn check_results(
    event: Uuid,
    known: &Known,
    message: Option<&Message>,
    all: &mut HashMap<MessageId, Vec<NewResult>>,
    found: &mut Vec<String>,
) {
    let place = known.place.map(|place| MessageId(place.message));
    let Some(id) = message.map(|message| message.id).or(place) else {
        return;
    };
    let made = all.remove(&id).unwrap_or_default();
    let (worked, nothing) = (results(event), Vec::new());
    let wanted = match message.map(|message| message.state) {
        Some(State::Done) => [&worked, &worked],
        Some(_) => [&nothing, &nothing],
        None if known.deleted => [&nothing, &nothing],
        None if known.may_be_deleted() || known.settled.is_none() => [&worked, &nothing],
        None if known.settled == Some(State::Done) => [&worked, &worked],
        None => [&nothing, &nothing],
    };
    if !wanted.contains(&&made) {
        found.push(format!("{event}, {:?}: results {made:?}", known.settled));
    }
}

/// Messages that are not there.
#[derive(Default)]
struct Gone {
    /// That were there, and can only have been deleted by retention.
    retained: u64,
    /// In all, those that perhaps never were included.
    all: u64,
}

impl Gone {
    fn count(&mut self, event: Uuid, known: &Known, found: &mut Vec<String>) {
        self.all += 1;
        if known.place.is_none() || known.may_be_deleted() {
            return;
        }
        self.retained += 1;
        if !known.may_be_in(State::Done) && !known.may_be_in(State::Cancelled) {
            found.push(format!("{event} was acknowledged and is not there"));
        }
    }

    fn check(&self, notes: &Notes, found: &mut Vec<String>) {
        let answered = notes.retained;
        if self.retained > answered && notes.retains_open == 0 {
            let too_many = self.retained - answered;
            found.push(format!(
                "{too_many} more deleted than was answered: each was acknowledged and is not there"
            ));
        }
        if self.all < answered {
            found.push(format!("{answered} were deleted, {} are", self.all));
        }
    }
}

/// Life, order, checkpoint and usage of a session.
async fn check_session(
    store: &dyn Store,
    key: &str,
    known: &KnownSession,
    notes: &Notes,
    stored: &Stored,
    found: &mut Vec<String>,
) -> Result<(), Error> {
    let Some(session) = store.find_session(AGENT, key).await? else {
        if known.there == There::Yes {
            found.push(format!("{key} is not there"));
        }
        return Ok(());
    };
    if known.there == There::No {
        found.push(format!("{key} was purged and is there"));
    }
    if !known.lives.contains(&session.life) {
        let (life, lives) = (session.life, &known.lives);
        found.push(format!("{key} is {life:?}, not {lives:?}"));
    }
    let of_key = |event: &Uuid| notes.events.get(event).is_some_and(|of| of.key == key);
    let mut messages: Vec<_> = stored.messages.iter().collect();
    messages.retain(|(event, _)| of_key(event));
    messages.sort_by_key(|(_, message)| message.seq);
    let elsewhere = |message: &&Message| message.session != session.id;
    if let Some(message) = messages.iter().map(|(_, message)| *message).find(elsewhere) {
        found.push(format!("{} is not in session {key}", message.event_id));
    }
    check_order(key, &messages, notes, found);

    let is_done = |event: &Uuid| {
        let message = stored.messages.get(event);
        message.map(|message| message.state == State::Done)
    };
    let mut confirms = known.confirms.iter();
    // Whether one that was not answered has happened, its message tells, unless it is gone.
    let is_told = |(event, answered): &&(Uuid, bool)| *answered || is_done(event).is_some();
    if known.may_be_purged || !confirms.clone().all(|confirm| is_told(&confirm)) {
        return Ok(());
    }
    let confirmed: Vec<_> = confirms
        .by_ref()
        .filter(|(event, answered)| *answered || is_done(event) == Some(true))
        .collect();
    let last = confirmed.last().map(|(event, _)| event.to_string());
    let checkpoint = store.checkpoint(session.id).await?;
    if checkpoint != last {
        found.push(format!("{key}: checkpoint {checkpoint:?}, not {last:?}"));
    }
    let tokens = confirmed.len() as i64;
    let usage = Usage {
        input_tokens: tokens,
        ..Usage::default()
    };
    if session.usage != usage {
        found.push(format!("{key}: usage {:?}, not {tokens}", session.usage));
    }
    Ok(())
}

/// Each has a place of its own, what is missing is gone or has moved, and nothing was worked before
/// what is in front of it.
fn check_order(key: &str, messages: &[(&Uuid, &Message)], notes: &Notes, found: &mut Vec<String>) {
    let (mut waiting, mut last) = (None, 0);
    for (_, message) in messages {
        let seq = message.seq.0;
        if seq <= last {
            found.push(format!("{key}: place {seq} twice"));
        }
        last = seq;
        match (message.state, waiting) {
            (State::Done | State::Dead | State::Claimed, Some(before)) => {
                found.push(format!("{key}: {seq} was worked before {before}"));
            }
            (State::Pending | State::Claimed, None) => waiting = Some(seq),
            _ => {}
        }
    }
    let there: HashSet<_> = messages.iter().map(|(event, _)| **event).collect();
    let of_key = notes.events.iter().filter(|(_, known)| known.key == key);
    let left: usize = of_key
        .map(|(event, known)| known.moves_max + usize::from(!there.contains(event)))
        .sum();
    let missing = last - messages.len() as i64;
    if missing > left as i64 {
        found.push(format!(
            "{key}: {missing} places are missing, {left} were left"
        ));
    }
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
        // What is closing without a backlog is for the next load to finish, which notes it.
        if unfinished.closing.is_some() && unfinished.due_at.is_none() {
            continue;
        }
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
