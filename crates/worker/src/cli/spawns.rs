//! How programs, what runs of them and what they cost look in a terminal.

use std::collections::HashMap;

use sessiond_queue::types::Usage;
use sessiond_supervisor::{StopEnd, Stopped, TreeProcess};

use super::table::{age, bytes, clean, print, short};
use crate::admission::BreakerStatus;
use crate::doctor::{GeneratorsReport, SpawnReport};
use crate::generator::About;
use crate::words::processes;

/// A generator in a few words: `notes (anthropic, small), process 12`.
pub(super) fn about(about: &About) -> String {
    let of: Vec<&str> = [&about.provider, &about.model]
        .into_iter()
        .flatten()
        .map(String::as_str)
        .collect();
    let mut words = about.name.clone();
    if !of.is_empty() {
        words.push_str(&format!(" ({})", of.join(", ")));
    }
    if let Some(pid) = about.pid {
        words.push_str(&format!(", process {pid}"));
    }
    words
}

/// What was spent.
pub(super) fn usage(usage: &Usage) -> String {
    format!(
        "{} tokens in, {} out, {:.4} USD",
        usage.input_tokens, usage.output_tokens, usage.cost_usd
    )
}

/// What became of the processes that were ended; `None`: there were none.
pub(super) fn reaped(stopped: &[Stopped]) -> Option<String> {
    let killed: u64 = stopped.iter().map(|one| u64::from(one.killed)).sum();
    let left: u64 = stopped.iter().map(left_of).sum();
    if stopped.is_empty() {
        return None;
    }
    let spawns = stopped.len();
    let programs = if spawns == 1 { "program" } else { "programs" };
    let mut words = format!("{spawns} {programs} ended with all it started");
    if spawns != 1 {
        words = format!("{spawns} {programs} ended with all they started");
    }
    if killed > 0 {
        words.push_str(&format!(", {} had to be killed", processes(killed)));
    }
    if left > 0 {
        words.push_str(&format!(", {} could NOT be ended", processes(left)));
    }
    Some(words)
}

fn left_of(stopped: &Stopped) -> u64 {
    match stopped.end {
        StopEnd::Unkillable => u64::from(stopped.untouchable.max(1)),
        _ => u64::from(stopped.untouchable),
    }
}

/// What limits programs, in the doctor's list.
pub(super) fn print_generators(generators: &GeneratorsReport) {
    if generators.programs.is_empty() {
        println!("programs  none; the digest works everything");
        return;
    }
    let slots = generators.slots;
    println!(
        "programs  {}; slots {} of {} held, {} by sessions without work, {} waiting for one",
        generators.programs.join(", "),
        slots.held,
        slots.max,
        slots.idle,
        slots.waiting
    );
    print_breakers(&generators.breakers);
    let budgets = &generators.budgets;
    let limits = [
        budgets.day_usd.map(|usd| format!("{usd:.2} USD a day")),
        budgets
            .day_tokens
            .map(|tokens| format!("{tokens} tokens a day")),
        budgets
            .session_usd
            .map(|usd| format!("{usd:.2} USD a session")),
        budgets
            .session_tokens
            .map(|tokens| format!("{tokens} tokens a session")),
    ];
    let limits: Vec<String> = limits.into_iter().flatten().collect();
    let limits = if limits.is_empty() {
        "without a limit".to_owned()
    } else {
        format!("at most {}", limits.join(", "))
    };
    println!(
        "spent     {} today (UTC); {limits}",
        usage(&generators.today)
    );
}

/// The providers that are away, one a line.
pub(super) fn print_breakers(breakers: &[BreakerStatus]) {
    for breaker in breakers {
        println!(
            "away      the provider of {}: {}; next try in {}",
            breaker.kind,
            short(&breaker.reason, 100),
            age(breaker.retry_in_ms.div_ceil(1_000))
        );
    }
}

/// The programs that run, one a line.
pub(super) fn print_spawns(spawns: &[SpawnReport]) {
    let rows = spawns
        .iter()
        .map(|spawn| {
            let info = &spawn.info;
            vec![
                info.pid
                    .map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
                short(&info.command, 40),
                info.session.clone(),
                age(spawn.age_ms / 1_000),
                spawn.processes.len().to_string(),
                bytes(spawn.rss_bytes),
                format!("{:.1}s", spawn.cpu_ms as f64 / 1_000.0),
                if info.stopping { "stopping" } else { "runs" }.to_owned(),
                spawn_of(&info.tag).to_owned(),
            ]
        })
        .collect();
    print(
        &[
            "process", "program", "session", "age", "tree", "memory", "cpu", "state", "spawn",
        ],
        rows,
    );
}

/// Of a tag `<install>:<generation>:<session>:<spawn>`: the rest stands beside it, or is the same for
/// all.
fn spawn_of(tag: &str) -> &str {
    tag.rsplit(':').next().unwrap_or_default()
}

/// One program with the tree of all it has started.
pub(super) fn print_tree(spawn: &SpawnReport) {
    let info = &spawn.info;
    let stopping = if info.stopping { ", stopping" } else { "" };
    println!(
        "{}, for {}, {}, {:.1}s of processor time{stopping}; spawn {}",
        clean(&info.command),
        age(spawn.age_ms / 1_000),
        bytes(spawn.rss_bytes),
        spawn.cpu_ms as f64 / 1_000.0,
        spawn_of(&info.tag)
    );
    for (depth, process) in in_order(&spawn.processes) {
        println!(
            "{:indent$}{} {}  {}, {}, {:.1}s",
            "",
            process.pid,
            clean(&process.name),
            age(process.age_ms / 1_000),
            bytes(process.rss_bytes),
            process.cpu_ms as f64 / 1_000.0,
            indent = 2 + 2 * depth
        );
    }
}

/// The processes of a tree, each below its parent, with their depth. One whose parent is not in the
/// tree (it has just ended) stands at the left.
fn in_order(processes: &[TreeProcess]) -> Vec<(usize, &TreeProcess)> {
    let depth_of: HashMap<u32, &TreeProcess> = processes.iter().map(|p| (p.pid, p)).collect();
    let mut rest: Vec<(usize, &TreeProcess)> = processes
        .iter()
        .rev()
        .filter(|process| !depth_of.contains_key(&process.parent) || process.parent == process.pid)
        .map(|process| (0, process))
        .collect();
    let mut ordered = Vec::new();
    while let Some((depth, process)) = rest.pop() {
        ordered.push((depth, process));
        let children = processes
            .iter()
            .rev()
            .filter(|child| child.parent == process.pid && child.pid != process.pid);
        rest.extend(children.map(|child| (depth + 1, child)));
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: u32, parent: u32) -> TreeProcess {
        TreeProcess {
            pid,
            parent,
            name: String::new(),
            rss_bytes: 0,
            cpu_ms: 0,
            age_ms: 0,
        }
    }

    #[test]
    fn each_process_stands_below_its_parent() {
        let found = [
            process(10, 1),
            process(11, 10),
            process(13, 11),
            process(12, 10),
            process(20, 19),
        ];
        let ordered: Vec<(usize, u32)> = in_order(&found)
            .into_iter()
            .map(|(depth, process)| (depth, process.pid))
            .collect();
        assert_eq!(ordered, [(0, 10), (1, 11), (2, 13), (1, 12), (0, 20)]);
    }

    fn stopped(end: StopEnd, killed: u32, untouchable: u32) -> Stopped {
        Stopped {
            tag: String::new(),
            command: "echo".to_owned(),
            pid: Some(2),
            end,
            exit_code: None,
            exit_signal: None,
            killed,
            untouchable,
            unkillable: Vec::new(),
            took_ms: 1,
        }
    }

    #[test]
    fn ended_processes_are_told_in_words() {
        assert_eq!(reaped(&[]), None);
        let gentle = stopped(StopEnd::Terminated, 0, 0);
        assert_eq!(
            reaped(std::slice::from_ref(&gentle)).as_deref(),
            Some("1 program ended with all it started")
        );
        let killed = stopped(StopEnd::Killed, 1, 0);
        let left = stopped(StopEnd::Unkillable, 1, 3);
        assert_eq!(
            reaped(&[gentle, killed, left]).as_deref(),
            Some(
                "3 programs ended with all they started, 2 processes had to be killed, \
                 3 processes could NOT be ended"
            )
        );
    }

    #[test]
    fn generator_is_named_with_what_is_known_of_it() {
        let mut named = About {
            name: "notes".to_owned(),
            ..About::default()
        };
        assert_eq!(about(&named), "notes");
        named.model = Some("small".to_owned());
        named.pid = Some(12);
        assert_eq!(about(&named), "notes (small), process 12");
        named.provider = Some("house".to_owned());
        assert_eq!(about(&named), "notes (house, small), process 12");
    }
}
