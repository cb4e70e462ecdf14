//! The judgement on processes that no healthy machine would show.

use std::path::PathBuf;

use sessiond_supervisor::{
    Counts, StaleRecord, Stray, StreamInfo, SweepReport, TierReport, UnreadableRecord,
};

use super::super::super::report::{GeneratorsReport, Verdict};
use super::super::judge;
use super::super::tests::running;
use super::*;

/// All is well, with plenty of room.
fn well() -> ProcessesReport {
    ProcessesReport {
        tier: tier(Tier::Full),
        strays: Vec::new(),
        stale: Vec::new(),
        unverifiable: Vec::new(),
        unreadable: Vec::new(),
        headroom: room(Some(100)),
        took_ms: 1,
        worker: Some(WorkerProcesses {
            counts: Counts {
                live: 3,
                live_max: 64,
                ..Counts::default()
            },
            zombies: Vec::new(),
            descriptors: room(Some(100)),
            swept_at: None,
        }),
    }
}

fn tier(tier: Tier) -> TierReport {
    let missing = match tier {
        Tier::Full => Vec::new(),
        _ => vec!["no pidfd_open".to_owned(), "no /proc".to_owned()],
    };
    TierReport { tier, missing }
}

/// So much of a hundred thousand that so much in a thousand is free; all of it with `None`.
fn room(free_in_thousand: Option<u64>) -> Headroom {
    let free = free_in_thousand.map(|free| free * 100);
    Headroom {
        used: free.map_or(100_000, |free| 100_000 - free),
        max: free.map(|_| 100_000),
        limit: "RLIMIT_NOFILE".to_owned(),
    }
}

fn stray(pid: u32) -> Stray {
    Stray {
        pid,
        tag: format!("i:1:s:{pid}"),
        name: "sleep".to_owned(),
        is_of_this_generation: false,
    }
}

fn stale() -> StaleRecord {
    StaleRecord {
        tag: "i:1:s:p".to_owned(),
        path: PathBuf::from("/home/processes/p.json"),
        problem: "its process is gone".to_owned(),
        pids: Vec::new(),
    }
}

fn stuck(pid: u32) -> Unkillable {
    Unkillable {
        pid,
        name: "cp".to_owned(),
        state: 'D',
        wchan: Some("nfs_wait".to_owned()),
        is_denied: false,
    }
}

/// What is found once `change` has spoilt a report in which all is well.
#[track_caller]
fn found(change: impl Fn(&mut Report, &mut ProcessesReport)) -> (Verdict, Vec<Finding>) {
    let mut report = running(60_000);
    let mut processes = well();
    change(&mut report, &mut processes);
    report.processes = Some(processes);
    judge(&mut report);
    (report.verdict, report.findings)
}

/// Asserts that there is this one finding, which says these words.
#[track_caller]
fn check(
    change: impl Fn(&mut Report, &mut ProcessesReport),
    level: Level,
    code: &str,
    words: &[&str],
) {
    let (verdict, findings) = found(change);
    let [finding] = findings.as_slice() else {
        panic!("not one finding: {findings:?}");
    };
    assert_eq!((finding.level, finding.code.as_str()), (level, code));
    let expected = match level {
        Level::Note => Verdict::Ok,
        Level::Degraded => Verdict::Degraded,
        Level::Failing => Verdict::Failing,
    };
    assert_eq!(verdict, expected);
    let said = format!("{} -> {}", finding.message, finding.advice);
    for word in words {
        assert!(said.contains(word), "no {word:?} in {said:?}");
    }
}

/// The same for what only the worker knows.
#[track_caller]
fn check_worker(change: impl Fn(&mut WorkerProcesses), level: Level, code: &str, words: &[&str]) {
    let spoil = |_: &mut Report, processes: &mut ProcessesReport| {
        change(processes.worker.as_mut().expect("a worker"));
    };
    check(spoil, level, code, words);
}

#[test]
fn nothing_is_found_while_all_is_well() {
    assert_eq!(found(|_, _| {}), (Verdict::Ok, Vec::new()));
}

#[test]
fn strays_are_named_with_the_way_to_end_them() {
    let many = |_: &mut Report, found: &mut ProcessesReport| {
        found.strays = (11..=15).map(stray).collect();
    };
    let words = ["5 processes", "11 (sleep)", "2 more", "doctor --fix"];
    check(many, Level::Degraded, "strays", &words);
    let one = |_: &mut Report, found: &mut ProcessesReport| found.strays = vec![stray(11)];
    check(
        one,
        Level::Degraded,
        "strays",
        &["1 process of", "is owned"],
    );
}

#[test]
fn sweep_that_goes_on_tells_of_strays_and_stale_records_by_itself() {
    let sweeping = |report: &mut Report, found: &mut ProcessesReport| {
        report.sweep = None;
        found.strays = vec![stray(11)];
        found.stale = vec![stale()];
    };
    let words = ["earlier workers"];
    check(sweeping, Level::Degraded, "sweeping", &words);
}

#[test]
fn stale_records_matter_only_once_a_worker_should_have_cleared_them() {
    let words = ["1 record", "p.json: its process is gone", "doctor --fix"];
    let stale = |_: &mut Report, found: &mut ProcessesReport| found.stale = vec![stale()];
    check(stale, Level::Degraded, "stale_records", &words);
    let mut findings = Vec::new();
    let mut report = running(0);
    report.instance = None;
    let mut processes = well();
    stale(&mut report, &mut processes);
    report.processes = Some(processes);
    super::judge(&report, &mut findings);
    assert_eq!(findings[0].level, Level::Note, "{findings:?}");
}

#[test]
fn what_cannot_be_told_is_named() {
    let unverifiable = |_: &mut Report, found: &mut ProcessesReport| {
        found.unverifiable = vec!["record of i:1:s:p: it was recorded on host b".to_owned()];
    };
    let words = ["1 of the", "host b", "by hand"];
    check(unverifiable, Level::Degraded, "unverifiable", &words);
    let unreadable = |_: &mut Report, found: &mut ProcessesReport| {
        found.unreadable = vec![UnreadableRecord {
            path: PathBuf::from("/home/processes/x.json"),
            problem: "is not a record".to_owned(),
        }];
    };
    let words = ["x.json is not a record", "doctor --fix"];
    check(unreadable, Level::Degraded, "unreadable_records", &words);
    let hidden = |report: &mut Report, _: &mut ProcessesReport| {
        report.problems.processes = Some("it belongs to user 7".to_owned());
    };
    check(hidden, Level::Degraded, "processes", &["user 7"]);
}

#[test]
fn what_cannot_be_ended_is_a_failure_and_told_with_what_it_hangs_in() {
    let hangs = |worker: &mut WorkerProcesses| worker.counts.unkillable = vec![stuck(12)];
    let words = ["12 (cp)", "nfs_wait", "state D"];
    check_worker(hangs, Level::Failing, "unkillable", &words);
    let is_stray_too = |_: &mut Report, found: &mut ProcessesReport| {
        found.strays = vec![stray(12)];
        found.stale = vec![StaleRecord {
            pids: vec![12],
            ..stale()
        }];
        hangs(found.worker.as_mut().expect("a worker"));
    };
    check(is_stray_too, Level::Failing, "unkillable", &words);
    let unknown = |worker: &mut WorkerProcesses| {
        worker.counts.unkillable = vec![Unkillable {
            wchan: None,
            ..stuck(12)
        }];
    };
    check_worker(unknown, Level::Failing, "unkillable", &["hangs in state D"]);
    let denied = |worker: &mut WorkerProcesses| {
        worker.counts.unkillable = vec![Unkillable {
            is_denied: true,
            ..stuck(12)
        }];
    };
    let words = ["other rights", "as the user"];
    check_worker(denied, Level::Failing, "unkillable", &words);
}

#[test]
fn what_went_wrong_since_the_start_is_told() {
    let degraded = |change: fn(&mut WorkerProcesses), code: &str, words: &[&str]| {
        check_worker(change, Level::Degraded, code, words);
    };
    let note = |change: fn(&mut WorkerProcesses), code: &str, words: &[&str]| {
        check_worker(change, Level::Note, code, words);
    };
    degraded(
        |w| w.zombies = vec![7, 8],
        "zombies",
        &["7, 8", "report it"],
    );
    degraded(|w| w.counts.pipes_leaked = 1, "pipes_leaked", &["1 pipe"]);
    let words = [
        "2 shims",
        "wiped its environment",
        "--sort ppid",
        "started again",
    ];
    degraded(|w| w.counts.shims_lost = 2, "shims_lost", &words);
    let words = ["3 starts", "64", "children_max"];
    note(|w| w.counts.refused = 3, "spawns_refused", &words);
    let words = ["1 start of", "spawns_per_s_max"];
    note(|w| w.counts.paced = 1, "spawns_paced", &words);
    let words = ["9 bytes", "have ended"];
    note(
        |w| w.counts.output_dropped_bytes = 9,
        "output_dropped",
        &words,
    );
}

#[test]
fn shims_that_earlier_workers_have_lost_are_told_with_the_own_ones() {
    let lost = |own: u64| {
        move |report: &mut Report, found: &mut ProcessesReport| {
            found.worker.as_mut().expect("a worker").counts.shims_lost = own;
            report.sweep = Some(SweepReport {
                shims_lost: vec!["i:1:s:p".to_owned()],
                ..SweepReport::default()
            });
        }
    };
    let words = ["1 shim of an earlier worker"];
    check(lost(0), Level::Degraded, "shims_lost", &words);
    check(lost(1), Level::Degraded, "shims_lost", &["2 shims of this"]);
}

#[test]
fn output_that_is_being_dropped_degrades() {
    let dropping = |report: &mut Report, found: &mut ProcessesReport| {
        report.spawns = vec![running_program(5)];
        let worker = found.worker.as_mut().expect("a worker");
        worker.counts.output_dropped_bytes = 9;
    };
    let words = ["5 bytes", "that run"];
    check(dropping, Level::Degraded, "output_dropped", &words);
}

fn running_program(dropped_bytes: u64) -> SpawnReport {
    SpawnReport {
        info: sessiond_supervisor::SpawnInfo {
            tag: "i:1:s:p".to_owned(),
            session: "s".to_owned(),
            command: "notes".to_owned(),
            shim_pid: 2,
            pid: Some(3),
            spawned_at_ms: 0,
            stopping: false,
            stdout: StreamInfo::default(),
            stderr: StreamInfo {
                dropped_bytes,
                ..StreamInfo::default()
            },
        },
        age_ms: 0,
        rss_bytes: 0,
        cpu_ms: 0,
        processes: Vec::new(),
    }
}

#[test]
fn little_room_degrades_and_none_is_a_failure() {
    for (free_in_thousand, level) in [
        (Some(100), None),
        (Some(99), Some(Level::Degraded)),
        (Some(20), Some(Level::Degraded)),
        (Some(19), Some(Level::Failing)),
        (Some(0), Some(Level::Failing)),
        (None, None),
    ] {
        let (_, of_processes) = found(|_, found| found.headroom = room(free_in_thousand));
        let (_, of_descriptors) = found(|_, found| {
            let worker = found.worker.as_mut().expect("a worker");
            worker.descriptors = room(free_in_thousand);
        });
        for (findings, code) in [
            (of_processes, "headroom_processes"),
            (of_descriptors, "headroom_descriptors"),
        ] {
            let told: Vec<_> = findings
                .iter()
                .map(|f| (f.level, f.code.as_str()))
                .collect();
            let expected: Vec<_> = level.map(|level| (level, code)).into_iter().collect();
            assert_eq!(told, expected, "{free_in_thousand:?} in a thousand free");
        }
    }
}

#[test]
fn tier_is_told_with_reasons_and_fails_only_programs_that_cannot_start() {
    let of =
        |which: Tier| move |_: &mut Report, found: &mut ProcessesReport| found.tier = tier(which);
    for which in [Tier::Ticks, Tier::Shims, Tier::None] {
        check(of(which), Level::Note, "tier", &["no pidfd_open, no /proc"]);
    }
    let with_programs = |problem: Option<&'static str>| {
        move |report: &mut Report, found: &mut ProcessesReport| {
            report.generators = Some(GeneratorsReport {
                programs: vec!["notes".to_owned()],
                problem: problem.map(str::to_owned),
                ..GeneratorsReport::default()
            });
            found.tier = tier(Tier::None);
        }
    };
    check(with_programs(None), Level::Failing, "tier", &["no /proc"]);
    let words = ["no such file"];
    let no_shim = with_programs(Some("no such file"));
    check(no_shim, Level::Failing, "no_shim", &words);
}

#[test]
fn sweep_that_is_over_is_history() {
    let doubted = |report: &mut Report, _: &mut ProcessesReport| {
        report.sweep = Some(SweepReport {
            doubtful: vec!["x.json is not a record".to_owned()],
            ..SweepReport::default()
        });
    };
    assert_eq!(found(doubted), (Verdict::Ok, Vec::new()));
}
