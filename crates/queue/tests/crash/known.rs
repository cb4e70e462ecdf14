//! What the notes of a load say of each event and of each session.

use std::collections::{BTreeMap, HashMap, HashSet};

use sessiond_queue::types::{Life, State};
use uuid::Uuid;

use crate::notes::{Note, Of, Place, Step};

/// What the notes say of one event.
#[derive(Default)]
pub(crate) struct Known {
    pub(crate) key: String,
    /// Message and place, once they were answered.
    pub(crate) place: Option<Place>,
    /// The highest place of its session that was answered before it was asked for.
    pub(crate) behind: i64,
    /// Asked for, and neither answered nor refused.
    pub(crate) open: HashSet<&'static str>,
    /// The last step that was answered and decides its state.
    pub(crate) settled: Option<State>,
    /// Retries that were answered, and that were asked for and not refused.
    pub(crate) retries: usize,
    pub(crate) retries_max: usize,
    /// Claims that an answered rescue took back.
    pub(crate) rescues: usize,
    /// How often a redrive may have put it at the end of its session.
    pub(crate) moves_max: usize,
    /// Whether it was asked for before its session was last marked.
    is_old: bool,
    /// Whether it was purged, alone or with its session.
    pub(crate) deleted: bool,
    holder: Option<i64>,
}

impl Known {
    /// Whether it is in nobody's hands, or may be again.
    pub(crate) fn is_unsettled(&self) -> bool {
        let may_be_redriven = self.settled == Some(State::Dead) && self.open.contains("redrive");
        self.settled.is_none() || may_be_redriven
    }

    /// Whether a step may have been its last.
    pub(crate) fn may_be(&self, step: &str) -> bool {
        self.is_unsettled() && self.open.contains(step)
    }

    pub(crate) fn may_be_in(&self, state: State) -> bool {
        match state {
            State::Pending | State::Claimed => self.is_unsettled(),
            State::Done => self.settled == Some(state) || self.may_be("confirm"),
            State::Dead => self.settled == Some(state) || self.may_be("poison"),
            State::Cancelled => self.settled == Some(state) || self.may_be("cancel"),
        }
    }

    pub(crate) fn may_be_deleted(&self) -> bool {
        self.deleted || self.open.contains("purge") || self.open.contains("purge rows")
    }
}

/// What the notes say of one session.
pub(crate) struct KnownSession {
    /// The stages of life it may be in.
    pub(crate) lives: Vec<Life>,
    pub(crate) there: There,
    /// The confirms that were asked for and not refused since the last purge, and whether they were
    /// answered.
    pub(crate) confirms: Vec<(Uuid, bool)>,
    /// Whether a purge was asked for, and neither answered nor refused.
    pub(crate) may_be_purged: bool,
    /// The highest place that was answered.
    last: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum There {
    Yes,
    No,
    Perhaps,
}

impl Default for KnownSession {
    fn default() -> Self {
        Self {
            lives: vec![Life::Open],
            there: There::Perhaps,
            confirms: Vec::new(),
            may_be_purged: false,
            last: 0,
        }
    }
}

/// What the notes say.
#[derive(Default)]
pub(crate) struct Notes {
    pub(crate) events: HashMap<Uuid, Known>,
    pub(crate) sessions: BTreeMap<String, KnownSession>,
    pub(crate) generation: i64,
    pub(crate) claim_max: i64,
    claims: HashSet<i64>,
    /// Finished messages that retention has deleted, as far as it was answered.
    pub(crate) retained: u64,
    /// Whether it was asked for, and neither answered nor refused, as often as that.
    pub(crate) retains_open: usize,
    /// What cannot be, whatever the store says.
    pub(crate) found: Vec<String>,
}

impl Notes {
    pub(crate) fn new<'n>(notes: impl IntoIterator<Item = &'n Note>) -> Self {
        let mut read = Self::default();
        for note in notes {
            read.read(note);
        }
        read
    }

    fn read(&mut self, note: &Note) {
        match note {
            Note::Generation(generation) => {
                if *generation <= self.generation {
                    self.found.push(format!("generation {generation} again"));
                }
                self.generation = *generation;
            }
            Note::Asked(Of::Event(event), step) => self.asked(*event, step),
            Note::Refused(Of::Event(event), step) => self.refused(*event, step),
            Note::Done(Of::Event(event), step) => self.done(*event, step),
            Note::Asked(Of::Session(key), step) => self.close_asked(key, step),
            Note::Refused(Of::Session(key), step) => self.close_refused(key, step),
            Note::Done(Of::Session(key), step) => self.close_done(key, step),
            Note::Asked(Of::All, Step::Retain(_)) => self.retains_open += 1,
            Note::Refused(Of::All, Step::Retain(_)) => self.retains_open -= 1,
            Note::Done(Of::All, Step::Retain(messages)) => {
                self.retains_open -= 1;
                self.retained += messages;
            }
            Note::Done(Of::All, Step::Rescue) => self.rescued(),
            Note::Asked(Of::All, _) | Note::Refused(Of::All, _) | Note::Done(Of::All, _) => {
                unreachable!("{note:?}")
            }
        }
    }

    fn session(&mut self, key: &str) -> &mut KnownSession {
        self.sessions.entry(key.to_owned()).or_default()
    }

    fn asked(&mut self, event: Uuid, step: &Step) {
        let known = self.events.entry(event).or_default();
        known.open.insert(step.word());
        known.retries_max += usize::from(*step == Step::Retry);
        known.moves_max += usize::from(matches!(step, Step::Redrive { .. }));
        if let Step::Enqueue { key, .. } = step {
            known.key.clone_from(key);
            let session = self.sessions.entry(key.clone()).or_default();
            known.behind = session.last;
            (known.is_old, known.deleted) = (false, false);
            if session.there == There::No {
                session.there = There::Perhaps;
            }
            return;
        }
        known.holder = None;
        if *step == Step::Confirm {
            let key = known.key.clone();
            let confirms = &mut self.session(&key).confirms;
            confirms.retain(|confirm| *confirm != (event, false));
            confirms.push((event, false));
        }
    }

    fn refused(&mut self, event: Uuid, step: &Step) {
        let known = self.events.entry(event).or_default();
        known.open.remove(step.word());
        known.retries_max -= usize::from(*step == Step::Retry);
        known.moves_max -= usize::from(matches!(step, Step::Redrive { .. }));
        if *step == Step::Confirm {
            let key = known.key.clone();
            let confirms = &mut self.session(&key).confirms;
            confirms.retain(|confirm| *confirm != (event, false));
        }
    }

    fn done(&mut self, event: Uuid, step: &Step) {
        let generation = self.generation;
        let known = self.events.entry(event).or_default();
        known.open.remove(step.word());
        match step {
            Step::Enqueue { key, place } => {
                known.place = Some(*place);
                let session = self.session(key);
                session.last = session.last.max(place.seq);
                session.there = There::Yes;
            }
            Step::Claim { number, place } => {
                known.place.get_or_insert(*place);
                if !self.claims.insert(*number) || known.holder == Some(generation) {
                    let twice = format!("claim {number} of {event} twice");
                    self.found.push(twice);
                }
                known.holder = Some(generation);
                self.claim_max = self.claim_max.max(*number);
                let key = known.key.clone();
                self.session(&key).there = There::Yes;
            }
            Step::Confirm => {
                known.settled = Some(State::Done);
                let key = known.key.clone();
                for confirm in &mut self.session(&key).confirms {
                    confirm.1 |= confirm.0 == event;
                }
            }
            Step::Poison => known.settled = Some(State::Dead),
            Step::Cancel => known.settled = Some(State::Cancelled),
            Step::Retry => known.retries += 1,
            Step::Redrive { kept_place } => {
                known.settled = None;
                known.moves_max -= usize::from(*kept_place);
            }
            Step::Purge => known.deleted = true,
            other => unreachable!("{other:?} is no step of an event"),
        }
    }

    fn rescued(&mut self) {
        let generation = self.generation;
        for known in self.events.values_mut() {
            if known
                .holder
                .take_if(|holder| *holder < generation)
                .is_none()
            {
                continue;
            }
            // A cancel that shared a batch with its claim may have been noted before it.
            let may_be_cancelled = known.open.contains("cancel");
            known.rescues += usize::from(known.settled.is_none() && !may_be_cancelled);
        }
    }

    fn of_key<'a>(&'a mut self, key: &'a str) -> impl Iterator<Item = &'a mut Known> {
        let events = self.events.values_mut();
        events.filter(move |known| known.key == key)
    }

    fn close_asked(&mut self, key: &str, step: &Step) {
        let session = self.session(key);
        match step {
            Step::Mark => {
                session.lives.push(Life::Closing);
                self.of_key(key).for_each(|known| known.is_old = true);
            }
            Step::PurgeRows => {
                session.may_be_purged = true;
                for known in self.of_key(key).filter(|known| known.is_old) {
                    known.open.insert(step.word());
                }
            }
            Step::Finish { gone } => {
                session.lives.push(Life::Ended);
                if *gone {
                    // And made anew by the next event.
                    session.lives.push(Life::Open);
                    session.there = There::Perhaps;
                    session.last = 0;
                }
            }
            other => unreachable!("{other:?} is no step of a close"),
        }
    }

    fn close_refused(&mut self, key: &str, step: &Step) {
        let session = self.session(key);
        match step {
            Step::Mark => session.lives.retain(|life| *life != Life::Closing),
            Step::PurgeRows => {
                session.may_be_purged = false;
                self.of_key(key).for_each(|known| {
                    known.open.remove(step.word());
                });
            }
            Step::Finish { .. } => {
                session.lives = vec![Life::Closing];
                session.there = There::Yes;
            }
            other => unreachable!("{other:?} is no step of a close"),
        }
    }

    fn close_done(&mut self, key: &str, step: &Step) {
        let session = self.session(key);
        match step {
            Step::Mark => session.lives = vec![Life::Closing],
            Step::PurgeRows => {
                session.may_be_purged = false;
                session.confirms.clear();
                for known in self.of_key(key) {
                    known.deleted |= known.open.remove(step.word());
                }
            }
            Step::Finish { gone: true } => {
                session.lives = vec![Life::Open];
                session.there = There::No;
            }
            Step::Finish { gone: false } => {
                session.lives = vec![Life::Ended];
                session.there = There::Yes;
            }
            other => unreachable!("{other:?} is no step of a close"),
        }
    }
}
