//! How the doctor's look at processes, and what it mends of them, look in a terminal.

use sessiond_supervisor::{Fix, Headroom, SweepReport, Tier};

use super::spawns;
use super::table::{ago, clean};
use crate::doctor::{ProcessesReport, Report, WorkerProcesses};
use crate::words::{counted, listed, processes};

/// Lines about what is not as it should be.
const LINES_MAX: usize = 6;
/// Pids in one line.
const PIDS_MAX: usize = 8;

/// Two or three lines when all is well.
pub(super) fn print(report: &Report) {
    let Some(found) = &report.processes else {
        return;
    };
    let programs = found.worker.as_ref().map_or_else(String::new, programs);
    println!("processes {programs}{}", tier(found));
    println!("room      {}", rooms(found).join(", "));
    if let Some(sweep) = &report.sweep {
        let swept_at = found.worker.as_ref().and_then(|worker| worker.swept_at);
        let when = swept_at.map_or_else(|| "-".to_owned(), ago);
        println!(
            "swept     {when} ago in {} ms: {}",
            sweep.took_ms,
            swept(sweep)
        );
    }
    let lines = misfits(found);
    for line in lines.iter().take(LINES_MAX) {
        println!("{}", clean(line));
    }
    if let Some(more) = lines.len().checked_sub(LINES_MAX).filter(|more| *more > 0) {
        println!("          and {more} more: sessiond doctor --json");
    }
}

fn programs(worker: &WorkerProcesses) -> String {
    let counts = &worker.counts;
    format!("{} of at most {} programs; ", counts.live, counts.live_max)
}

fn tier(found: &ProcessesReport) -> &'static str {
    match found.tier.tier {
        Tier::Full => "told apart for certain (tier full)",
        Tier::Ticks => "told apart by their start (tier ticks)",
        Tier::Shims => "ended by their shims alone (tier shims)",
        Tier::None => "none can be started (tier none)",
    }
}

fn rooms(found: &ProcessesReport) -> Vec<String> {
    let of_processes = found.headroom.max.map(|max| {
        let Headroom { used, limit, .. } = &found.headroom;
        format!("{used} of {max} processes ({limit})")
    });
    let of_descriptors = found.worker.as_ref().and_then(|worker| {
        let max = worker.descriptors.max?;
        Some(format!("{} of {max} descriptors", worker.descriptors.used))
    });
    let rooms: Vec<String> = of_processes.into_iter().chain(of_descriptors).collect();
    if rooms.is_empty() {
        vec!["without a known limit".to_owned()]
    } else {
        rooms
    }
}

fn swept(sweep: &SweepReport) -> String {
    let cleared =
        (sweep.cleared > 0).then(|| format!("{} cleared", counted(sweep.cleared, "record")));
    let doubtful = sweep.doubtful.len();
    let doubtful = (doubtful > 0).then(|| format!("{doubtful} in doubt"));
    let said: Vec<String> = [spawns::reaped(&sweep.stopped), cleared, doubtful]
        .into_iter()
        .flatten()
        .collect();
    if said.is_empty() {
        "nothing was left by earlier workers".to_owned()
    } else {
        said.join(", ")
    }
}

/// What is not as it should be, a line each.
fn misfits(found: &ProcessesReport) -> Vec<String> {
    let strays = found.strays.iter();
    let strays = strays.map(|one| format!("stray     {} {}, {}", one.pid, one.name, one.tag));
    let stale = found.stale.iter();
    let stale = stale.map(|one| format!("stale     {}: {}", one.path.display(), one.problem));
    let unreadable = found.unreadable.iter();
    let unreadable =
        unreadable.map(|one| format!("no record {} {}", one.path.display(), one.problem));
    let unverifiable = found.unverifiable.iter();
    let unverifiable = unverifiable.map(|one| format!("in doubt  {one}"));
    strays
        .chain(stale)
        .chain(unreadable)
        .chain(unverifiable)
        .collect()
}

/// What would be done.
pub(super) fn print_plan(plan: &[Fix]) {
    if plan.is_empty() {
        println!("nothing is left of processes or records that could be mended");
    }
    for fix in plan {
        println!("would {}", clean(&planned(fix)));
    }
}

/// What was done.
pub(super) fn print_fixes(done: &[Fix]) {
    println!();
    if done.is_empty() {
        println!("nothing was left to do");
    }
    for fix in done {
        let outcome = match fix {
            Fix::End { outcome, .. }
            | Fix::RemoveRecord { outcome, .. }
            | Fix::SetAside { outcome, .. } => outcome.as_deref().unwrap_or("not done"),
        };
        println!("{}: {}", clean(&planned(fix)), clean(outcome));
    }
}

fn planned(fix: &Fix) -> String {
    match fix {
        Fix::End { tag, pids, .. } => format!(
            "end {} of spawn {tag}: {}",
            processes(pids.len() as u64),
            listed(pids, PIDS_MAX)
        ),
        Fix::RemoveRecord { path, problem, .. } => {
            format!("remove the record {}, {problem}", path.display())
        }
        Fix::SetAside { path, problem, .. } => {
            format!("set aside {}, which {problem}", path.display())
        }
    }
}
