//! The log with all that readers need of it, and the tasks that keep it.

use std::sync::Arc;

use sessiond_queue::store::Store;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Events;
use super::board::{Board, Standing};
use super::filter::Filter;
use super::keeper::Keeper;
use super::log::EventLog;
use super::names::Names;
use super::place::Place;
use super::reader::Reader;
use crate::config;
use crate::state::{StateDb, StateError};

/// What a feed is made of.
pub struct Parts {
    /// What is told.
    pub events: Events,
    /// Where it is kept.
    pub state: StateDb,
    /// Where sessions' names and the queue's depth are.
    pub store: Arc<dyn Store>,
    /// How much, and for how many.
    pub settings: config::Events,
    /// Cancelled when nothing more will be told; the tasks write what is left, and end.
    pub cancel: CancellationToken,
}

/// What readers follow.
pub struct Feed {
    events: Events,
    log: EventLog,
    names: Arc<Names>,
    board: Arc<Board>,
    seats: Seats,
    client_seats: Seats,
}

/// A reader's place, for as long as it is held.
#[derive(Debug)]
pub struct Seat {
    _any: OwnedSemaphorePermit,
    _clients: Option<OwnedSemaphorePermit>,
}

/// There are as many readers as may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full {
    /// How many.
    pub limit: usize,
}

/// Places of one sort.
struct Seats {
    limit: usize,
    free: Arc<Semaphore>,
}

impl Seats {
    fn new(limit: usize) -> Self {
        Self {
            limit,
            free: Arc::new(Semaphore::new(limit)),
        }
    }

    fn take(&self) -> Result<OwnedSemaphorePermit, Full> {
        let free = Arc::clone(&self.free).try_acquire_owned();
        free.map_err(|_| Full { limit: self.limit })
    }
}

impl Feed {
    /// Begins the run of a generation. The task ends after `cancel`; it holds store and state, so it
    /// is to be joined before these are closed.
    pub async fn start(parts: Parts) -> (Self, JoinHandle<()>) {
        let Parts {
            events,
            state,
            store,
            settings,
            cancel,
        } = parts;
        let log = EventLog::new(state, settings.kept_max);
        let names = Arc::new(Names::new(Arc::clone(&store)));
        let board = Arc::new(Board::default());
        let mut keeper = Keeper::new(events.clone(), log.clone(), Arc::clone(&names));
        // Before anybody reads: what an earlier log says of this generation is none of its.
        keeper.begin().await;
        let task = {
            let (board, events) = (Arc::clone(&board), events.clone());
            async move {
                let keeping = keeper.run(cancel.clone());
                tokio::join!(keeping, board.run(events, store, cancel));
            }
        };
        let feed = Self {
            events,
            log,
            names,
            board,
            seats: Seats::new(settings.readers_max),
            client_seats: Seats::new(settings.readers_max.div_ceil(2)),
        };
        (feed, tokio::spawn(task))
    }

    /// A place for one more reader.
    pub fn seat(&self) -> Result<Seat, Full> {
        let any = self.seats.take()?;
        Ok(Seat {
            _any: any,
            _clients: None,
        })
    }

    /// The same for a client. All clients together have half of the places, so that they cannot keep
    /// the owner out.
    pub fn client_seat(&self) -> Result<Seat, Full> {
        let clients = self.client_seats.take()?;
        Ok(Seat {
            _clients: Some(clients),
            ..self.seat()?
        })
    }

    /// A reader of what comes after a place, or from now on.
    pub fn reader(&self, filter: Filter, after: Option<Place>) -> Reader {
        let (events, log) = (self.events.clone(), self.log.clone());
        Reader::new(events, log, Arc::clone(&self.names), filter, after)
    }

    /// How much is to be done, now and whenever it changes; `None` until it was looked at.
    pub fn standing(&self) -> watch::Receiver<Option<Standing>> {
        self.board.subscribe()
    }

    /// The newest event of a type that is on disk, as JSON.
    pub async fn newest_of(&self, kind: &str) -> Result<Option<String>, StateError> {
        self.log.newest_of(kind).await
    }
}
