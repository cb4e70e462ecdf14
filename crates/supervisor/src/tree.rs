//! Which processes a spawn's tree has now, and what they use. For people only: nothing is decided
//! by it and nothing signalled.

use std::collections::HashMap;

use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

use crate::report::TreeProcess;

/// The tree under `root`, which comes first. The shim adopts what its tree orphans, so all of it
/// is below by parentage.
pub(crate) fn of(root: u32) -> Vec<TreeProcess> {
    let pids: Vec<Pid> = below(root).into_iter().map(Pid::from_u32).collect();
    let Ok(mut system) = System::new() else {
        return Vec::new();
    };
    let wanted = ProcessRefreshKind::nothing()
        .with_memory()
        .with_cpu()
        .without_tasks();
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&pids), true, wanted);
    // One that ended since is left out.
    let found = pids.iter().filter_map(|pid| system.process(*pid));
    found.map(describe).collect()
}

fn describe(process: &sysinfo::Process) -> TreeProcess {
    TreeProcess {
        pid: process.pid().as_u32(),
        parent: process.parent().map_or(0, Pid::as_u32),
        name: process.name().to_string_lossy().into_owned(),
        rss_bytes: process.memory(),
        cpu_ms: process.accumulated_cpu_time(),
        age_ms: process.run_time().saturating_mul(1000),
    }
}

/// `root` and its descendants, parents first.
fn below(root: u32) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for (pid, parent) in parents() {
        children.entry(parent).or_default().push(pid);
    }
    let mut found = vec![root];
    let mut next = 0;
    // Parents were read at different moments; taking each list once ends even a circle.
    while let Some(pid) = found.get(next) {
        found.extend(children.remove(pid).unwrap_or_default());
        next += 1;
    }
    found
}

/// Every process with its parent.
#[cfg(target_os = "linux")]
fn parents() -> Vec<(u32, u32)> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid| Some((pid, parent(pid)?))).collect()
}

#[cfg(target_os = "linux")]
fn parent(pid: u32) -> Option<u32> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The name before it is the program's to choose and may hold anything.
    let name_end = stat.iter().rposition(|byte| *byte == b')')?;
    let fields = std::str::from_utf8(&stat[name_end + 1..]).ok()?;
    fields.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// Every process with its parent.
#[cfg(not(target_os = "linux"))]
fn parents() -> Vec<(u32, u32)> {
    let Ok(mut system) = System::new() else {
        return Vec::new();
    };
    let nothing = ProcessRefreshKind::nothing();
    system.refresh_processes_specifics(ProcessesToUpdate::All, true, nothing);
    let processes = system.processes().iter();
    let with_parents = processes.filter_map(|(pid, process)| Some((*pid, process.parent()?)));
    with_parents
        .map(|(pid, parent)| (pid.as_u32(), parent.as_u32()))
        .collect()
}
