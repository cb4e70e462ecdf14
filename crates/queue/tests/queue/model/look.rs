//! All that a queue shows, as text.

use std::fmt::{Debug, Write as _};

use sessiond_queue::ids::{MessageId, ResultId};
use sessiond_queue::store::Store;
use sessiond_queue::types::{Life, MessageFilter, ResultFilter, SessionFilter, State};

use super::side::{AGENT, Side};
use super::step::KEYS;

/// Everything that is stored, read with as few questions as it takes.
pub(super) async fn at_all<S: Store>(side: &Side<S>) -> String {
    let (store, mut seen) = (&side.store, Seen::default());
    seen.add("stats", store.stats().await);
    seen.add("sessions", store.sessions(SessionFilter::default()).await);
    seen.add("messages", store.messages(all_messages()).await);
    seen.add("results", store.results(ResultFilter::default()).await);
    seen.add("unfinished", store.unfinished().await);
    seen.add("usage", store.usage_days(0).await);
    for session in &side.sessions {
        seen.add("checkpoint", store.checkpoint(*session).await);
    }
    for message in 0..=side.accepted {
        let attempts = store.attempts(MessageId(message)).await;
        if attempts.as_ref().is_ok_and(|attempts| attempts.is_empty()) {
            continue;
        }
        seen.add(&format!("attempts {message}"), attempts);
    }
    side.named(&seen.0)
}

/// The same, and through every filter.
pub(super) async fn closely<S: Store>(side: &Side<S>) -> String {
    let (store, mut seen) = (&side.store, Seen(at_all(side).await));
    for key in KEYS {
        seen.add(key, store.find_session(AGENT, key).await);
    }
    for session in &side.sessions {
        seen.add("session", store.session(*session).await);
        seen.add("due_at", store.due_at(*session).await);
        let session = Some(*session);
        let filter = MessageFilter {
            session,
            ..MessageFilter::default()
        };
        seen.add("messages of it", store.messages(filter).await);
        let filter = ResultFilter {
            session,
            ..ResultFilter::default()
        };
        seen.add("results of it", store.results(filter).await);
    }
    for life in Life::ALL {
        let filter = SessionFilter {
            agent: Some(AGENT.to_owned()),
            life: Some(life),
            project: (life == Life::Ended).then(|| "/p0".to_owned()),
            limit: 2,
        };
        seen.add(life.as_str(), store.sessions(filter).await);
    }
    for state in State::ALL {
        let filter = MessageFilter {
            state: Some(state),
            after: Some(MessageId(side.accepted / 3)),
            limit: 2,
            ..MessageFilter::default()
        };
        seen.add(state.as_str(), store.messages(filter).await);
    }
    for (project, newest_first) in [(None, true), (Some("/p0"), false), (Some("/p1"), true)] {
        let filter = ResultFilter {
            project: project.map(str::to_owned),
            kind: Some("observation".to_owned()),
            after: Some(ResultId(1)),
            newest_first,
            limit: 3,
            ..ResultFilter::default()
        };
        seen.add("results", store.results(filter).await);
    }
    seen.add("newest day", store.usage_days(1).await);
    seen.add("today", store.usage_of_day(side.now.day()).await);
    seen.add("nothing", store.message(MessageId(0)).await);
    seen.add("last", store.message(MessageId(side.accepted)).await);
    side.named(&seen.0)
}

fn all_messages() -> MessageFilter {
    MessageFilter {
        limit: u32::MAX,
        ..MessageFilter::default()
    }
}

#[derive(Default)]
struct Seen(String);

impl Seen {
    fn add(&mut self, name: &str, answer: impl Debug) {
        writeln!(self.0, "{name}: {answer:?}").expect("a string takes it");
    }
}
