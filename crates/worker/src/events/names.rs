//! How sessions are called: found out by those who read events, once a session, and not by those who
//! tell them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sessiond_queue::ids::SessionId;
use sessiond_queue::store::Store;

use super::event::{Event, Told, Who};
use crate::errors::chain;

/// Sessions whose names are kept; beyond that all are asked for again.
const KNOWN_MAX: usize = 4096;

/// The names of sessions, as far as somebody has asked.
pub(super) struct Names {
    store: Arc<dyn Store>,
    known: Mutex<HashMap<SessionId, Arc<Who>>>,
}

impl Names {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            known: Mutex::default(),
        }
    }

    /// The names of the sessions of `events`. One that was purged before anybody had asked is absent,
    /// unless its end is among them.
    pub(super) async fn of(&self, events: &[Told]) -> HashMap<SessionId, Arc<Who>> {
        let mut found = HashMap::new();
        let mut missing = Vec::new();
        {
            let mut known = self.known();
            for told in events {
                let Some(session) = told.session else {
                    continue;
                };
                match told.event.who() {
                    Some(who) => {
                        known.insert(session, Arc::new(who.clone()));
                    }
                    // Its project may be another since it was last here.
                    None if matches!(told.event, Event::SessionActive) => {
                        known.remove(&session);
                    }
                    None => {}
                }
            }
            for session in events.iter().filter_map(|told| told.session) {
                match known.get(&session) {
                    Some(who) => {
                        found.insert(session, Arc::clone(who));
                        if who.project.is_none() && !missing.contains(&session) {
                            // A later event may have brought one.
                            missing.push(session);
                        }
                    }
                    None if !missing.contains(&session) => missing.push(session),
                    None => {}
                }
            }
        }
        if missing.is_empty() {
            return found;
        }
        let rows = match self.store.sessions_by_id(&missing).await {
            Ok(rows) => rows,
            Err(error) => {
                // The events are told all the same.
                tracing::debug!(
                    error = chain(&error),
                    "events without their sessions' names"
                );
                return found;
            }
        };
        let mut known = self.known();
        if known.len() + rows.len() > KNOWN_MAX {
            known.clear();
        }
        for row in rows {
            let who = Arc::new(Who {
                agent: row.agent,
                key: row.key,
                project: row.project,
            });
            known.insert(row.id, Arc::clone(&who));
            found.insert(row.id, who);
        }
        found
    }

    fn known(&self) -> MutexGuard<'_, HashMap<SessionId, Arc<Who>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
