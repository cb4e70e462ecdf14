//! Tells when the verdict is another one: whoever examines, and by itself after what may change it.
//!
//! No period looks: a worker to which nothing happens costs nothing. So what only time changes, such
//! as a message that nobody begins, is told when something else happens or somebody asks.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::report::{Level, Report, Verdict};
use crate::errors::chain;
use crate::events::{Event, Events, reason};
use crate::http::Api;

/// From what may change the verdict to the look: failures come in bursts.
const GATHER: Duration = Duration::from_secs(2);

/// From one look to the next, however much happens: each reads a good part of `/proc`.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Reasons that are told; the doctor has all.
const REASONS_MAX: usize = 5;

/// The verdict as it was told last; `None`: nobody had asked yet.
#[derive(Debug, Default)]
pub struct ToldVerdict(Mutex<Option<Verdict>>);

impl ToldVerdict {
    /// Tells the verdict of a report if it is another one; the first only if it is not `ok`, which
    /// needs no telling.
    pub(super) fn note(&self, report: &Report, events: &Events) {
        let verdict = report.verdict;
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = told.replace(verdict);
        // Under the lock: of two who examine at once, the later one is the last to be heard.
        events.set_troubled(verdict != Verdict::Ok);
        if before.unwrap_or(Verdict::Ok) == verdict {
            return;
        }
        let grave = report
            .findings
            .iter()
            .filter(|finding| finding.level > Level::Note);
        let reasons = grave
            .map(|finding| reason(&finding.message).into())
            .take(REASONS_MAX)
            .collect();
        let event = Event::DoctorVerdict {
            verdict,
            before,
            reasons,
        };
        events.emit(None, event);
    }

    /// What an earlier run has told last, which is what readers know.
    fn restore(&self, verdict: Verdict, events: &Events) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none() {
            *told = Some(verdict);
            events.set_troubled(verdict != Verdict::Ok);
        }
    }
}

/// Examines the worker soon after its start, and then after what may change the verdict, until
/// `cancel`. Holds the store; to be joined before that is closed.
pub async fn follow_the_verdict(api: Arc<Api>, cancel: CancellationToken) {
    let follow = async {
        let events = &api.context.events;
        match api.feed.newest_of("doctor.verdict").await {
            Ok(Some(data)) => {
                if let Some(verdict) = verdict_of(&data) {
                    api.doctor.told.restore(verdict, events);
                }
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(error = chain(&error), "the last verdict is not known"),
        }
        let mut next_at = Instant::now();
        loop {
            tokio::time::sleep_until(next_at.max(Instant::now() + GATHER)).await;
            next_at = Instant::now() + LOOK_EVERY;
            // The examination tells.
            api.doctor.examine(&api, false).await;
            events.look_wanted().await;
        }
    };
    tokio::select! {
        () = cancel.cancelled() => {}
        () = follow => {}
    }
}

fn verdict_of(data: &str) -> Option<Verdict> {
    #[derive(Deserialize)]
    struct Data {
        verdict: Verdict,
    }
    serde_json::from_str::<Data>(data)
        .ok()
        .map(|data| data.verdict)
}
