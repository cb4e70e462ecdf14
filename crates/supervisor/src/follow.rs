//! The actor's talk with a shim whose child runs, to the end of its tree.
//!
//! Decides when a shim is lost, and what takes its place then. What comes before and after, and the
//! record, is in `actor`.

use std::time::Instant;

use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::sleep_until;

use crate::actor::SpawnActor;
use crate::control::{Order, Report, Tally};
use crate::ending::Ending;
use crate::errors::chain;
use crate::finding::below;
use crate::identity::ProcessIdentity;
use crate::patience::{Due, Patience};
use crate::report::{StopEnd, Unkillable};
use crate::shim::Shim;
use crate::spawn::Stage;
use crate::sweep::end_spawn;

/// How the talk with a shim ended.
pub(crate) struct Ended {
    pub(crate) end: StopEnd,
    pub(crate) tally: Tally,
    /// Who could not be ended, as far as they are known.
    pub(crate) unkillable: Vec<Unkillable>,
    /// Whether the tree is verified to be empty.
    pub(crate) is_clean: bool,
    /// From when on it was being ended.
    pub(crate) since: Instant,
}

impl SpawnActor {
    /// Follows a shim whose child runs, to the end of its tree.
    pub(crate) async fn follow(&self, mut shim: Shim, leader: Option<ProcessIdentity>) -> Ended {
        let grace = self.inner.settings.grace;
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        let mut stop_requests = self.spawn.stop_requests();
        let mut is_ordered = false;
        let mut patience = Patience::new(grace);
        let mut untouchables = Vec::new();
        loop {
            let wait = Wait {
                shim: &mut shim,
                stop_requests: (!is_ordered).then_some(&mut stop_requests),
                deadline: patience.due_at(),
            };
            let is_lost = match wait.next().await {
                Event::StopRequested => {
                    is_ordered = true;
                    let now = Instant::now();
                    patience.ending(self.spawn.stop_requested_at().unwrap_or(now));
                    patience.asked(now);
                    shim.order(Order::Stop { grace_ms }).await;
                    false
                }
                Event::Report(Some(Report::Stopping)) => {
                    patience.answered(Instant::now());
                    false
                }
                Event::Report(Some(Report::Exited(exit))) => {
                    patience.ending(Instant::now());
                    self.spawn.change(|state| {
                        state.exit = Some(exit);
                        state.stage = Stage::ChildOver;
                    });
                    false
                }
                Event::Report(Some(Report::Untouchable(untouchable))) => {
                    untouchables.push(untouchable);
                    false
                }
                Event::Report(Some(Report::Gone(tally))) => {
                    let (survivors, tag) = (&self.inner.survivors, &self.spawn.tag);
                    let unkillable = match tally.untouchable {
                        0 => Vec::new(),
                        left => survivors.take_named(tag, &untouchables, left),
                    };
                    shim.end().await;
                    return Ended {
                        end: how(&tally),
                        tally,
                        unkillable,
                        is_clean: tally.untouchable == 0,
                        since: patience.since().unwrap_or_else(Instant::now),
                    };
                }
                // Another report is out of its order: that is no shim any more.
                Event::Report(_) => true,
                Event::Due => match patience.due(Instant::now()) {
                    Due::Ask => {
                        patience.asked(Instant::now());
                        // The grace is over; said again, this changes nothing.
                        shim.order(Order::Stop { grace_ms: 0 }).await;
                        false
                    }
                    // It would answer if the machine let it.
                    Due::Silent if shim.is_runnable() => {
                        patience.asked(Instant::now());
                        false
                    }
                    Due::Silent | Due::Over => true,
                },
            };
            if is_lost {
                let since = patience.since().unwrap_or_else(Instant::now);
                return self.lose(shim, leader, since).await;
            }
        }
    }

    /// Gives a shim up, and ends what carries this spawn's tag or descends from its child.
    pub(crate) async fn lose(
        &self,
        mut shim: Shim,
        leader: Option<ProcessIdentity>,
        since: Instant,
    ) -> Ended {
        self.inner.counters.shims_lost.add(1);
        let known = self.known_of(&shim, leader).await;
        shim.kill();
        shim.end().await;
        tracing::warn!(
            spawn.tag = %self.spawn.tag,
            "a shim ended without ending its tree; what carries its tag is ended"
        );
        // What was asked to end by the shim has had a part of the grace.
        let had = self.spawn.stop_requested_at().map(|at| at.elapsed());
        let grace = self.inner.settings.grace;
        let grace = grace.saturating_sub(had.unwrap_or_default());
        let swept = end_spawn(self.spawn.tag.clone(), known, grace).await;
        let has_looked = swept.is_ok();
        let swept = swept.unwrap_or_else(|error| {
            let error = chain(&error);
            tracing::error!(spawn.tag = %self.spawn.tag, error, "cannot tell what is left of it");
            Ending::default()
        });
        let is_clean = has_looked && swept.tally.untouchable == 0;
        if !swept.unkillable.is_empty() {
            let survivors = &self.inner.survivors;
            survivors.take_found(&self.spawn.tag, &swept.unkillable);
        }
        Ended {
            end: match is_clean {
                true => StopEnd::Swept,
                false => StopEnd::Unkillable,
            },
            tally: swept.tally,
            unkillable: swept.unkillable,
            is_clean,
            since,
        }
    }

    /// Who is known to be of the tree: the child itself, and who is below a shim that is frozen and
    /// about to be killed. Whoever has only the shim for a parent is found by nothing afterwards,
    /// if it has wiped its environment.
    async fn known_of(&self, shim: &Shim, leader: Option<ProcessIdentity>) -> Vec<ProcessIdentity> {
        let (shim, tag) = (shim.pid(), self.spawn.tag.clone());
        // Nobody reaps the shim meanwhile, so its pid means it alone.
        let looked = spawn_blocking(move || shim.map(|shim| below(shim, &tag)));
        let below = looked.await.ok().flatten().unwrap_or_default();
        below.into_iter().chain(leader).collect()
    }
}

enum Event {
    StopRequested,
    Report(Option<Report>),
    Due,
}

/// What a running spawn's actor waits for.
struct Wait<'a> {
    shim: &'a mut Shim,
    stop_requests: Option<&'a mut watch::Receiver<Option<Instant>>>,
    deadline: Option<Instant>,
}

impl Wait<'_> {
    async fn next(self) -> Event {
        let stop_requested = async {
            match self.stop_requests {
                // The sender is the spawn's own and outlives this.
                Some(requests) => drop(requests.wait_for(Option::is_some).await),
                None => std::future::pending().await,
            }
        };
        let due = async {
            match self.deadline {
                Some(deadline) => sleep_until(deadline.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            report = self.shim.report() => Event::Report(report),
            () = stop_requested => Event::StopRequested,
            () = due => Event::Due,
        }
    }
}

fn how(tally: &Tally) -> StopEnd {
    match tally {
        tally if tally.untouchable > 0 => StopEnd::Unkillable,
        tally if tally.killed > 0 => StopEnd::Killed,
        tally if tally.terminated > 0 => StopEnd::Terminated,
        _ => StopEnd::Exited,
    }
}
