//! How the doctor's look at processes, and what it mends of them, look in a terminal.

use std::borrow::Cow;
use std::path::Path;

use sessiond_supervisor::{Fix, Headroom, Stray, SweepReport, Tier};

use super::spawns;
use super::table::{ago, clean, short};
use crate::doctor::{ProcessesReport, Report, WorkerProcesses};
use crate::words::{counted, listed};

/// Lines about what is not as it should be.
const LINES_MAX: usize = 6;
/// Characters of one of them.
const LINE_MAX: usize = 80;
/// Bytes of the name before it.
const LABEL: usize = 10;
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
        let (label, rest) = line.split_at(LABEL);
        println!("{label}{}", short(rest, LINE_MAX - LABEL));
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
    let strays = strays.map(|one| {
        let Stray { pid, name, tag, .. } = one;
        format!("stray     {pid} {name}, of session {}", session(tag))
    });
    let stale = found.stale.iter();
    let stale = stale.map(|one| format!("stale     {}: {}", file_name(&one.path), one.problem));
    let unreadable = found.unreadable.iter();
    let unreadable =
        unreadable.map(|one| format!("no record {} {}", file_name(&one.path), one.problem));
    let unverifiable = found.unverifiable.iter();
    let unverifiable = unverifiable.map(|one| format!("in doubt  {one}"));
    strays
        .chain(stale)
        .chain(unreadable)
        .chain(unverifiable)
        .collect()
}

/// What would be done, a line each.
pub(super) fn print_plan(plan: &[Fix]) {
    if plan.is_empty() {
        println!("there is nothing to mend: no strays, and no records without a program");
    }
    for fix in plan {
        let why = match fix {
            Fix::End { .. } => String::new(),
            Fix::RemoveRecord { problem, .. } => format!(": {problem}"),
            Fix::SetAside { problem, .. } => format!(", which {problem}"),
        };
        // Whole: nobody can agree to what was cut off.
        println!("would {}{}", clean(&deed(fix)), clean(&why));
    }
}

/// What was done, with what came of it.
pub(super) fn print_fixes(done: &[Fix]) {
    if done.is_empty() {
        println!("nothing was left to do");
    }
    for fix in done {
        let outcome = match fix {
            Fix::End { outcome, .. }
            | Fix::RemoveRecord { outcome, .. }
            | Fix::SetAside { outcome, .. } => outcome.as_deref().unwrap_or("not done"),
        };
        println!("{}: {}", clean(&deed(fix)), clean(outcome));
    }
}

fn deed(fix: &Fix) -> String {
    match fix {
        Fix::End { tag, pids, .. } => {
            let pids = listed(pids, PIDS_MAX);
            format!("end {pids} of session {}", session(tag))
        }
        Fix::RemoveRecord { path, .. } => format!("remove {}", file_name(path)),
        Fix::SetAside { path, .. } => format!("set aside {}", file_name(path)),
    }
}

/// Of a tag `<install>:<generation>:<session>:<spawn>`: the install is always this one.
fn session(tag: &str) -> &str {
    tag.split(':').nth(2).unwrap_or(tag)
}

/// All records are in one directory.
fn file_name(path: &Path) -> Cow<'_, str> {
    path.file_name()
        .unwrap_or(path.as_os_str())
        .to_string_lossy()
}
