//! What `/proc` says of a process.

/// A figure in KiB of a file of `/proc`, such as `VmRSS:` of `status`.
pub(crate) fn kib(pid: u32, file: &str, name: &str) -> anyhow::Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/{file}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|rest| rest.split_whitespace().next());
    let number = number.ok_or_else(|| anyhow::anyhow!("{file} has no {name}"))?;
    Ok(number.parse()?)
}

/// User and system time of a process in clock ticks.
pub(crate) fn ticks(pid: u32) -> anyhow::Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name may hold anything; the fields after it are counted from its end.
    let after_name = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    Ok(fields[11].parse::<u64>()? + fields[12].parse::<u64>()?)
}
