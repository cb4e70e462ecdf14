//! What `/proc` says of a process, and of all.

/// Time of all processors together since the machine started, in clock ticks.
#[derive(Clone, Copy)]
pub(crate) struct Ticks {
    pub(crate) busy: u64,
    pub(crate) idle: u64,
}

/// A figure in KiB of a file of `/proc`, such as `VmRSS:` of `status`.
pub(crate) fn kib(pid: u32, file: &str, name: &str) -> anyhow::Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/{file}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|rest| rest.split_whitespace().next());
    let number = number.ok_or_else(|| anyhow::anyhow!("{file} has no {name}"))?;
    Ok(number.parse()?)
}

/// Context switches of all threads of a process.
pub(crate) fn switches(pid: u32) -> anyhow::Result<u64> {
    let mut count = 0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let status = std::fs::read_to_string(task?.path().join("status"))?;
        let lines = status.lines().filter(|line| line.contains("ctxt_switches"));
        count += sum(lines.filter_map(|line| line.split_whitespace().last()))?;
    }
    Ok(count)
}

/// User and system time of a process in clock ticks.
pub(crate) fn ticks(pid: u32) -> anyhow::Result<u64> {
    times(pid, 2)
}

/// The same and that of its children that have ended.
pub(crate) fn ticks_with_children(pid: u32) -> anyhow::Result<u64> {
    times(pid, 4)
}

/// The first of a process's times: user, system, and those of its ended children.
fn times(pid: u32, count: usize) -> anyhow::Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name may hold anything; the fields after it are counted from its end.
    let after_name = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    sum(after_name.split_whitespace().skip(11).take(count))
}

/// What all processors did; what other machines took of them is busy.
pub(crate) fn all_ticks() -> anyhow::Result<Ticks> {
    let stat = std::fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().unwrap_or_default();
    let fields: Vec<&str> = line.split_whitespace().skip(1).take(8).collect();
    anyhow::ensure!(fields.len() == 8, "/proc/stat begins with {line:?}");
    // user, nice, system, idle, iowait, irq, softirq, steal
    let idle = sum(fields[3..5].iter().copied())?;
    let busy = sum(fields.iter().copied())? - idle;
    Ok(Ticks { busy, idle })
}

fn sum<'a>(fields: impl Iterator<Item = &'a str>) -> anyhow::Result<u64> {
    let numbers: Result<Vec<u64>, _> = fields.map(str::parse).collect();
    Ok(numbers?.iter().sum())
}
