//! One reader: a place in the log, and what comes after it.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Events;
use super::filter::Filter;
use super::log::EventLog;
use super::names::Names;
use super::place::Place;
use super::shown::{Shown, show};
use crate::state::StateError;

/// Events that are taken at once: little enough that one reader's share of memory stays small.
const BATCH_MAX: usize = 64;

/// What a reader is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// An event it wants.
    Event(Shown),
    /// Events it might have wanted are not kept any more.
    Lagged {
        /// How many, wanted or not; `None`: nobody knows, and maybe none.
        missed: Option<u64>,
        /// It goes on after this place.
        place: Place,
    },
    /// So far nothing else concerns it.
    Passed(Place),
}

/// A reader. Holds nothing but its place.
pub struct Reader {
    events: Events,
    log: EventLog,
    names: Arc<Names>,
    filter: Filter,
    at: Place,
    /// Whether its place was none of this log.
    is_lost: bool,
}

impl Reader {
    /// Of what comes after a place, or from now on.
    pub(super) fn new(
        events: Events,
        log: EventLog,
        names: Arc<Names>,
        filter: Filter,
        after: Option<Place>,
    ) -> Self {
        let newest = events.newest();
        // A place to come is another log's; whatever came between is not known here.
        let is_lost = after.is_some_and(|place| place > newest);
        let at = after.filter(|_| !is_lost).unwrap_or(newest);
        Self {
            events,
            log,
            names,
            filter,
            at,
            is_lost,
        }
    }

    /// Where it stands.
    pub fn place(&self) -> Place {
        self.at
    }

    /// The place of the newest event there is.
    pub fn newest(&self) -> Place {
        self.events.newest()
    }

    /// Waits for what is next. Cancel-safe: nothing is passed before all of it is given.
    pub async fn next(&mut self) -> Result<VecDeque<Item>, StateError> {
        if self.is_lost {
            self.is_lost = false;
            let place = self.at;
            let lagged = Item::Lagged {
                missed: None,
                place,
            };
            return Ok([lagged].into());
        }
        let generation = self.events.newest().generation;
        if self.at.generation == generation {
            self.events.after(self.at.number).await;
            if let Some(told) = self.events.since(self.at.number, BATCH_MAX) {
                let names = self.names.of(&told).await;
                return Ok(self.pass(show(generation, told, &names)));
            }
        }
        let page = self.log.page(self.at, BATCH_MAX).await?;
        // What is not on disk is in memory, or nowhere.
        let next = match page.first() {
            Some(first) => first.place,
            None => {
                let before = self.events.before_oldest();
                Place {
                    number: before.number + 1,
                    ..before
                }
            }
        };
        let missed = self.log.between(self.at, next).await?;
        if missed != Some(0) {
            let place = Place {
                number: next.number - 1,
                ..next
            };
            self.at = place;
            return Ok([Item::Lagged { missed, place }].into());
        }
        if page.is_empty() {
            // Nothing lies between: it goes on in memory.
            self.at = Place {
                number: next.number - 1,
                ..next
            };
            return Ok(VecDeque::new());
        }
        Ok(self.pass(self.without_gap(page)))
    }

    /// The beginning of a page, up to what is missing in it.
    fn without_gap(&self, page: Vec<Shown>) -> Vec<Shown> {
        let mut before: Option<Place> = None;
        let follows = |shown: &Shown| {
            let is_next = before.is_none_or(|before| {
                before.generation == shown.place.generation
                    && before.number + 1 == shown.place.number
            });
            before = Some(shown.place);
            is_next
        };
        page.into_iter().take_while(follows).collect()
    }

    /// Goes on to the last of `events`; gives those that are wanted.
    fn pass(&mut self, events: Vec<Shown>) -> VecDeque<Item> {
        let Some(last) = events.last().map(|shown| shown.place) else {
            return VecDeque::new();
        };
        self.at = last;
        let wanted = events
            .into_iter()
            .filter(|shown| self.filter.wants(shown))
            .map(Item::Event);
        let mut items: VecDeque<_> = wanted.collect();
        let is_told = matches!(items.back(), Some(Item::Event(shown)) if shown.place == last);
        if !is_told {
            items.push_back(Item::Passed(last));
        }
        items
    }
}
