//! How far away the limits are at which nothing can be started any more.
//!
//! Reads what the kernel counts; a limit that cannot be read is none.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::{Resource, geteuid, getrlimit};

use crate::inspect::Headroom;

/// Descriptors of this process.
pub(crate) fn descriptors() -> Headroom {
    let entries = fs::read_dir("/proc/self/fd").or_else(|_| fs::read_dir("/dev/fd"));
    // One of them reads the directory.
    let used = entries.map_or(0, |entries| entries.count().saturating_sub(1));
    Headroom {
        used: used as u64,
        max: getrlimit(Resource::Nofile).current,
        limit: "RLIMIT_NOFILE".to_owned(),
    }
}

/// Processes and threads, of whatever limit is nearest.
pub(crate) fn processes() -> Headroom {
    let all = threads_of_all().unwrap_or_default();
    let mut limits = vec![
        kernel("kernel.threads-max", "/proc/sys/kernel/threads-max", all),
        // Each thread takes a pid.
        kernel("kernel.pid_max", "/proc/sys/kernel/pid_max", all),
    ];
    // Root is not bound by it.
    if !geteuid().is_root() {
        limits.push(Headroom {
            used: threads_of_user().unwrap_or_default(),
            max: getrlimit(Resource::Nproc).current,
            limit: "RLIMIT_NPROC".to_owned(),
        });
    }
    limits.extend(cgroups());
    nearest(limits)
}

/// The one of which the largest part is used; one without a maximum is the last.
fn nearest(limits: Vec<Headroom>) -> Headroom {
    let by_part = |one: &Headroom, other: &Headroom| {
        // used/max of both, multiplied out; what has no maximum is 0.
        let part = |limit: &Headroom| limit.max.map_or((0, 1), |max| (limit.used, max.max(1)));
        let ((used, max), (other_used, other_max)) = (part(one), part(other));
        let product = |a, b| u128::from(a) * u128::from(b);
        product(used, other_max).cmp(&product(other_used, max))
    };
    limits.into_iter().max_by(by_part).unwrap_or_default()
}

fn kernel(name: &str, path: &str, used: u64) -> Headroom {
    Headroom {
        used,
        max: number(Path::new(path)),
        limit: name.to_owned(),
    }
}

/// `0.00 0.01 0.05 RUNNABLE/ALL LAST_PID`.
fn threads_of_all() -> Option<u64> {
    let text = fs::read_to_string("/proc/loadavg").ok()?;
    let (_runnable, all) = text.split_ascii_whitespace().nth(3)?.split_once('/')?;
    all.parse().ok()
}

/// The kernel counts by real user and shows no count; nearly all processes have but one user.
fn threads_of_user() -> Option<u64> {
    use std::os::unix::fs::MetadataExt;

    let own_user = geteuid().as_raw();
    let entries = fs::read_dir("/proc").ok()?.flatten();
    let is_own = |entry: &fs::DirEntry| {
        let is_process = entry.file_name().as_encoded_bytes()[0].is_ascii_digit();
        is_process && entry.metadata().is_ok_and(|it| it.uid() == own_user)
    };
    // A directory has two links more than directories in it, and a thread is one.
    let threads = |entry: fs::DirEntry| {
        let metadata = fs::metadata(entry.path().join("task")).ok()?;
        metadata.nlink().checked_sub(2)
    };
    Some(entries.filter(is_own).filter_map(threads).sum())
}

/// Of this process's group and of each above it, as far as they are shown.
fn cgroups() -> Vec<Headroom> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let Some((root, path)) = groups.lines().find_map(pids_group) else {
        return Vec::new();
    };
    let dir = root.join(path.trim_start_matches('/'));
    let within = |dir: &&Path| dir.starts_with(&root);
    let limited = dir.ancestors().take_while(within).filter_map(|dir| {
        Some(Headroom {
            used: number(&dir.join("pids.current"))?,
            // "max" is no number, and no limit.
            max: Some(number(&dir.join("pids.max"))?),
            limit: "cgroup pids.max".to_owned(),
        })
    });
    limited.collect()
}

/// Where the group of a line of `/proc/PID/cgroup` is, if it is one that counts pids.
fn pids_group(line: &str) -> Option<(PathBuf, &str)> {
    let mut fields = line.splitn(3, ':');
    let (number, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
    let root = match controllers {
        "" if number == "0" => "/sys/fs/cgroup",
        named if named.split(',').any(|name| name == "pids") => "/sys/fs/cgroup/pids",
        _ => return None,
    };
    Some((root.into(), path))
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(used: u64, max: Option<u64>) -> Headroom {
        Headroom {
            used,
            max,
            limit: format!("{used} of {max:?}"),
        }
    }

    #[test]
    fn nearest_limit_is_the_one_most_of_which_is_used() {
        let nearest_of = |limits: &[Headroom]| nearest(limits.to_vec()).limit;
        let near = limit(90, Some(100));
        let far = limit(500, Some(1000));
        let none = limit(u64::MAX, None);
        assert_eq!(nearest_of(&[near.clone(), far.clone()]), near.limit);
        assert_eq!(
            nearest_of(&[far.clone(), none.clone(), near.clone()]),
            near.limit
        );
        assert_eq!(nearest_of(std::slice::from_ref(&none)), none.limit);
        assert_eq!(nearest_of(&[limit(1, Some(0)), near]), "1 of Some(0)");
        assert_eq!(nearest(Vec::new()), Headroom::default());
    }

    #[test]
    fn group_that_counts_pids_is_found_in_both_hierarchies() {
        let v2 = Some(("/sys/fs/cgroup".into(), "/user.slice/a"));
        assert_eq!(pids_group("0::/user.slice/a"), v2);
        let v1 = Some(("/sys/fs/cgroup/pids".into(), "/docker:1"));
        assert_eq!(pids_group("7:pids:/docker:1"), v1);
        assert_eq!(pids_group("4:cpu,cpuacct:/"), None);
        assert_eq!(pids_group(""), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn open_file_is_counted_and_every_limit_has_a_name() {
        let before = descriptors();
        let files: Vec<_> = (0..64)
            .map(|_| fs::File::open("/dev/null").unwrap())
            .collect();
        let after = descriptors();
        drop(files);
        // Other tests of this process open and close files too, fewer than these.
        assert!(after.used > before.used, "{before:?}, then {after:?}");
        assert!(after.used <= after.max.unwrap_or(u64::MAX));
        let processes = processes();
        assert!(
            processes.used > 0 && !processes.limit.is_empty(),
            "{processes:?}"
        );
        assert!(threads_of_user().is_some_and(|threads| threads > 0));
    }
}
