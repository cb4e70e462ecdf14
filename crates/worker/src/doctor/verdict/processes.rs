//! The judgement on processes: what runs and should not, what is recorded and does not run, what
//! cannot be ended or told, and how much room there is for more.
//!
//! What is so now decides, not what the sweep at start-up once found: that is over when a hand has
//! mended it.

use std::collections::HashSet;

use sessiond_supervisor::{Headroom, Tier, Unkillable};

use super::super::report::{Finding, Level, ProcessesReport, Report, SpawnReport, WorkerProcesses};
use super::finding;
use crate::words::{are, counted, listed, processes};

/// Things of one kind that a message names.
const NAMED_MAX: usize = 3;
/// Room below this part of a limit deserves a look ...
const ROOM_LITTLE_PERCENT: u64 = 10;
/// ... and below this the next start of a program is about to fail.
const ROOM_NONE_PERCENT: u64 = 2;

pub(super) fn judge(report: &Report, findings: &mut Vec<Finding>) {
    let has_worker = report.instance.is_some();
    let is_sweeping = has_worker && report.sweep.is_none();
    if is_sweeping {
        findings.push(finding(
            Level::Degraded,
            "sweeping",
            "processes that earlier workers have left are being ended; their sessions wait",
            "ask again in a moment; if it stays so, see: sessiond logs",
        ));
    }
    if let Some(problem) = &report.problems.processes {
        findings.push(finding(
            Level::Degraded,
            "processes",
            format!("what earlier workers have left running cannot be told: {problem}"),
            "mend the mode or the owner of processes/ in the home",
        ));
    }
    let Some(found) = &report.processes else {
        return;
    };
    tier(report, found, findings);
    // What is just being ended is told above.
    if !is_sweeping {
        strays(found, findings);
        stale(found, has_worker, findings);
    }
    unverifiable(found, findings);
    unreadable(found, findings);
    headroom(
        "headroom_processes",
        ("process", "processes"),
        &found.headroom,
        findings,
    );
    if let Some(worker) = &found.worker {
        let sweep = report.sweep.iter();
        let earlier = sweep.map(|sweep| sweep.shims_lost.len() as u64).sum();
        shims_lost(worker.counts.shims_lost, earlier, findings);
        of_worker(worker, &report.spawns, findings);
    }
}

fn tier(report: &Report, found: &ProcessesReport, findings: &mut Vec<Finding>) {
    let generators = report.generators.as_ref();
    // What is missing then is told as `no_shim`.
    let is_told = generators.is_some_and(|generators| generators.problem.is_some());
    if found.tier.tier == Tier::Full || is_told {
        return;
    }
    let has_programs = generators.is_some_and(|generators| !generators.programs.is_empty());
    let (level, what) = match found.tier.tier {
        Tier::None if has_programs => (Level::Failing, "no program can be started here"),
        Tier::None => (Level::Note, "no program could be started here"),
        Tier::Shims => (
            Level::Note,
            "what outlives a shim that was killed is only reported here, not ended",
        ),
        Tier::Ticks | Tier::Full => (
            Level::Note,
            "a process is told from a later one with its pid by the clock tick of its start alone",
        ),
    };
    let why = listed(&found.tier.missing, usize::MAX);
    findings.push(finding(
        level,
        "tier",
        format!("{what}: {why}"),
        "Linux 6.9 or newer, with /proc mounted, has all that is needed; nothing else is affected",
    ));
}

fn strays(found: &ProcessesReport, findings: &mut Vec<Finding>) {
    let worker = found.worker.iter();
    let unkillable = worker.flat_map(|worker| &worker.counts.unkillable);
    let unkillable: HashSet<u32> = unkillable.map(|process| process.pid).collect();
    // To end these was tried, and is told with what came of it.
    let is_told = |pid: &u32| unkillable.contains(pid);
    let strays = found.strays.iter().filter(|stray| !is_told(&stray.pid));
    let named = strays.map(|stray| format!("{} ({})", stray.pid, stray.name));
    let mut named: Vec<String> = named.collect();
    // Of a spawn whose record is all that is left of its owner.
    let recorded = found.stale.iter().flat_map(|record| &record.pids);
    named.extend(recorded.filter(|pid| !is_told(pid)).map(u32::to_string));
    if named.is_empty() {
        return;
    }
    let count = named.len() as u64;
    findings.push(finding(
        Level::Degraded,
        "strays",
        format!(
            "{} of this install {} owned by nobody: {}",
            processes(count),
            are(count),
            listed(&named, NAMED_MAX)
        ),
        "see what would be ended with: sessiond doctor --fix",
    ));
}

/// A record too many does no harm. Under a worker that has swept it is no matter of course either:
/// it has cleared what it could, and nobody looks again before the next start.
fn stale(found: &ProcessesReport, has_worker: bool, findings: &mut Vec<Finding>) {
    // The others are told as strays.
    let stale: Vec<_> = found
        .stale
        .iter()
        .filter(|one| one.pids.is_empty())
        .collect();
    let Some(first) = stale.first() else {
        return;
    };
    let records = counted(stale.len() as u64, "record");
    let first = format!("{}: {}", first.path.display(), first.problem);
    findings.push(if has_worker {
        finding(
            Level::Degraded,
            "stale_records",
            format!(
                "{records} of programs that do not run could not be cleared, the first: {first}"
            ),
            "clear them with: sessiond doctor --fix",
        )
    } else {
        finding(
            Level::Note,
            "stale_records",
            format!("{records} of programs that do not run any more, the first: {first}"),
            "nothing needs to be done, the next start clears them; now: sessiond doctor --fix",
        )
    });
}

fn unverifiable(found: &ProcessesReport, findings: &mut Vec<Finding>) {
    if found.unverifiable.is_empty() {
        return;
    }
    findings.push(finding(
        Level::Degraded,
        "unverifiable",
        format!(
            "{} of the processes and records cannot be told, and {} left alone: {}",
            found.unverifiable.len(),
            are(found.unverifiable.len() as u64),
            listed(&found.unverifiable, NAMED_MAX)
        ),
        "look at them by hand, and end or remove what means nothing to you; records are under \
         processes/ in the home",
    ));
}

fn unreadable(found: &ProcessesReport, findings: &mut Vec<Finding>) {
    let Some(first) = found.unreadable.first() else {
        return;
    };
    let count = found.unreadable.len() as u64;
    findings.push(finding(
        Level::Degraded,
        "unreadable_records",
        format!(
            "{} among the records of processes {} none, the first: {} {}",
            counted(count, "file"),
            are(count),
            first.path.display(),
            first.problem
        ),
        "set them aside with: sessiond doctor --fix",
    ));
}

fn of_worker(worker: &WorkerProcesses, spawns: &[SpawnReport], findings: &mut Vec<Finding>) {
    let counts = &worker.counts;
    unkillable(&counts.unkillable, findings);
    if !worker.zombies.is_empty() {
        findings.push(finding(
            Level::Degraded,
            "zombies",
            format!(
                "the worker has not waited for {} that ended: {}",
                processes(worker.zombies.len() as u64),
                listed(&worker.zombies, NAMED_MAX)
            ),
            "this is a defect of sessiond; please report it with this output",
        ));
    }
    if counts.pipes_leaked > 0 {
        findings.push(finding(
            Level::Degraded,
            "pipes_leaked",
            format!(
                "{} of programs' output held on after the end of their trees: somebody who left \
                 the tree holds it",
                counted(counts.pipes_leaked, "pipe")
            ),
            "look for what the program hands to a service, tmux or another user; it is counted \
             anew from the next start on",
        ));
    }
    output(counts.output_dropped_bytes, spawns, findings);
    if counts.refused > 0 {
        findings.push(finding(
            Level::Note,
            "spawns_refused",
            format!(
                "{} of a program refused: as many as may be were there, {}",
                counted(counts.refused, "start"),
                counts.live_max
            ),
            "nothing is lost, it is tried again; if it happens often, raise supervisor.children_max",
        ));
    }
    if counts.paced > 0 {
        findings.push(finding(
            Level::Note,
            "spawns_paced",
            format!(
                "{} of a program waited, since too many came within a second",
                counted(counts.paced, "start")
            ),
            "nothing needs to be done; supervisor.spawns_per_s_max sets how many may",
        ));
    }
    headroom(
        "headroom_descriptors",
        ("descriptor", "descriptors"),
        &worker.descriptors,
        findings,
    );
}

/// Those of this worker, and those that it found at its start: whoever got away from them then may
/// run still.
fn shims_lost(own: u64, earlier: u64, findings: &mut Vec<Finding>) {
    if own + earlier == 0 {
        return;
    }
    let when = match (own, earlier) {
        (_, 0) => "",
        (0, _) => " of an earlier worker",
        (_, _) => " of this worker or an earlier one",
    };
    findings.push(finding(
        Level::Degraded,
        "shims_lost",
        format!(
            "{}{when} vanished without ending what was below: all of it that carries its tag is \
             ended, what had wiped its environment cannot be found",
            counted(own + earlier, "shim")
        ),
        "look for processes that you do not know among the children of process 1 or of \
         `systemd --user`: ps -o ppid,pid,lstart,args --sort ppid -u $(id -u); this is told until \
         the worker is started again",
    ));
}

fn unkillable(left: &[Unkillable], findings: &mut Vec<Finding>) {
    if left.is_empty() {
        return;
    }
    let named: Vec<String> = left.iter().map(describe).collect();
    let is_denied = left.iter().all(|process| process.is_denied);
    let advice = if is_denied {
        "end it by hand, as the user it runs as"
    } else {
        "it ends when the kernel lets go of it: mend the disk or the server it waits for; nothing \
         more is started in its place"
    };
    findings.push(finding(
        Level::Failing,
        "unkillable",
        format!(
            "{} could not be ended: {}",
            processes(left.len() as u64),
            listed(&named, NAMED_MAX)
        ),
        advice,
    ));
}

/// For example `12 (cp), which hangs in nfs_wait (state D)`.
fn describe(process: &Unkillable) -> String {
    let Unkillable {
        pid,
        name,
        state,
        wchan,
        is_denied,
    } = process;
    match wchan {
        _ if *is_denied => format!("{pid} ({name}), which has other rights than the worker"),
        Some(wchan) => format!("{pid} ({name}), which hangs in {wchan} (state {state})"),
        None => format!("{pid} ({name}), which hangs in state {state}"),
    }
}

fn output(dropped_in_all: u64, spawns: &[SpawnReport], findings: &mut Vec<Finding>) {
    let dropped =
        |spawn: &SpawnReport| spawn.info.stdout.dropped_bytes + spawn.info.stderr.dropped_bytes;
    let dropped: u64 = spawns.iter().map(dropped).sum();
    let (level, bytes, whose) = if dropped > 0 {
        (Level::Degraded, dropped, "the output of programs that run")
    } else if dropped_in_all > 0 {
        let whose = "the output of programs that have ended";
        (Level::Note, dropped_in_all, whose)
    } else {
        return;
    };
    findings.push(finding(
        level,
        "output_dropped",
        format!(
            "{} of {whose} {} in no file: they came faster than they could be written, or the \
             files could not be written",
            counted(bytes, "byte"),
            are(bytes)
        ),
        "if a program does not write that much, make room, or mend the mode of output/ in the \
         home; their work is not affected",
    ));
}

fn headroom(code: &str, (one, many): (&str, &str), room: &Headroom, findings: &mut Vec<Finding>) {
    let Some(max) = room.max.filter(|max| *max > 0) else {
        return;
    };
    let free = max.saturating_sub(room.used);
    let is_below = |percent: u64| u128::from(free) * 100 < u128::from(max) * u128::from(percent);
    let level = if is_below(ROOM_NONE_PERCENT) {
        Level::Failing
    } else if is_below(ROOM_LITTLE_PERCENT) {
        Level::Degraded
    } else {
        return;
    };
    let noun = if free == 1 { one } else { many };
    findings.push(finding(
        level,
        code,
        format!(
            "{free} more {noun} may be there, {} of {max} are ({})",
            room.used, room.limit
        ),
        format!("raise {}, or end what uses them up", room.limit),
    ));
}

#[cfg(test)]
mod tests;
