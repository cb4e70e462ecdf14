//! Gathers what the doctor reports of processes, and mends them: for a running worker through its
//! supervisor, for a home without one through a supervisor that is opened for the purpose.
//!
//! What runs and what is recorded agree at no single moment, since programs come and go; so what
//! looks wrong is looked at twice, and only what both looks show is told.

use std::io;
use std::time::Duration;

use sessiond_queue::ids::Timestamp;
use sessiond_supervisor::registry::OpenError;
use sessiond_supervisor::{Fix, Inspection, Supervisor};

use super::report::{ProcessesReport, WorkerProcesses};
use crate::config::Config;
use crate::instance::{Place, install_of};
use crate::processes::{SessionProcesses, supervisor_settings};
use crate::wire::layout::Layout;

/// Longer than any process is between two states by itself: reaped, recorded, in an exec.
const AGAIN_AFTER: Duration = Duration::from_millis(100);

/// The generation of whoever looks without being a worker. Theirs begin with 1, so that every
/// process of the install is an earlier one's.
const NO_GENERATION: &str = "0";

/// Of a running worker.
pub(super) async fn of_worker(
    processes: &SessionProcesses,
    swept_at: Option<Timestamp>,
) -> ProcessesReport {
    let supervisor = processes.supervisor();
    let found = look(supervisor).await;
    let worker = WorkerProcesses {
        counts: supervisor.counts(),
        zombies: found.zombies.clone(),
        descriptors: found.descriptors.clone(),
        swept_at,
    };
    report(found, Some(worker))
}

/// Of a home, from beside whoever may have it; `None`: no worker has had it yet, or nobody has left
/// a record. Makes and changes nothing.
pub(super) async fn of_home(layout: &Layout) -> Result<Option<ProcessesReport>, OpenError> {
    let Some(install) = install_of(layout) else {
        return Ok(None);
    };
    // Ended is nothing here, so that the configuration does not matter.
    let settings = supervisor_settings(layout, &install, NO_GENERATION, &Config::default());
    match Supervisor::open_to_look(settings) {
        Ok(supervisor) => Ok(Some(report(look(&supervisor).await, None))),
        Err(error) if error.source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// What would be mended in a home without a worker. Makes and changes nothing.
pub async fn fixes_of_home(layout: &Layout, config: &Config) -> Result<Vec<Fix>, OpenError> {
    let Some(install) = install_of(layout) else {
        return Ok(Vec::new());
    };
    let settings = supervisor_settings(layout, &install, NO_GENERATION, config);
    match Supervisor::open_to_look(settings) {
        Ok(supervisor) => Ok(supervisor.fix(true).await),
        Err(error) if error.source.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Mends it, while `place` keeps every worker out.
pub async fn fix_home(
    layout: &Layout,
    place: &Place,
    config: &Config,
) -> Result<Vec<Fix>, OpenError> {
    let settings = supervisor_settings(layout, place.install(), NO_GENERATION, config);
    Ok(Supervisor::open(settings)?.fix(false).await)
}

async fn look(supervisor: &Supervisor) -> Inspection {
    let first = supervisor.inspect().await;
    if is_in_order(&first) {
        return first;
    }
    tokio::time::sleep(AGAIN_AFTER).await;
    both(first, supervisor.inspect().await)
}

fn is_in_order(found: &Inspection) -> bool {
    found.strays.is_empty()
        && found.stale.is_empty()
        && found.unverifiable.is_empty()
        && found.unreadable.is_empty()
        && found.zombies.is_empty()
}

/// The later of two looks, without what only it shows.
fn both(first: Inspection, mut second: Inspection) -> Inspection {
    keep_known(&mut second.strays, &first.strays);
    keep_known(&mut second.stale, &first.stale);
    keep_known(&mut second.unverifiable, &first.unverifiable);
    keep_known(&mut second.unreadable, &first.unreadable);
    keep_known(&mut second.zombies, &first.zombies);
    second.took_ms += first.took_ms;
    second
}

fn keep_known<T: PartialEq>(found: &mut Vec<T>, known: &[T]) {
    found.retain(|one| known.contains(one));
}

fn report(found: Inspection, worker: Option<WorkerProcesses>) -> ProcessesReport {
    ProcessesReport {
        tier: found.tier,
        strays: found.strays,
        stale: found.stale,
        unverifiable: found.unverifiable,
        unreadable: found.unreadable,
        headroom: found.processes,
        took_ms: found.took_ms,
        worker,
    }
}

#[cfg(test)]
mod tests {
    use sessiond_supervisor::{Headroom, Tier, TierReport};

    use super::*;

    fn with_zombies(zombies: &[u32], took_ms: u64) -> Inspection {
        Inspection {
            tier: TierReport {
                tier: Tier::Full,
                missing: Vec::new(),
            },
            strays: Vec::new(),
            stale: Vec::new(),
            unverifiable: Vec::new(),
            unreadable: Vec::new(),
            zombies: zombies.to_vec(),
            descriptors: Headroom::default(),
            processes: Headroom::default(),
            took_ms,
        }
    }

    #[test]
    fn only_what_both_looks_show_is_told() {
        let told = both(with_zombies(&[1, 2], 3), with_zombies(&[2, 4], 5));
        assert_eq!(told, with_zombies(&[2], 8));
        assert!(!is_in_order(&told));
        assert!(is_in_order(&with_zombies(&[], 1)));
    }
}
