//! A process that really does not die: one in a frozen cgroup of version 1, which SIGKILL does not
//! end before it is thawed.

use std::fs;
use std::path::PathBuf;

use uuid::Uuid;

use super::process::Process;
use super::wait::{LIMIT, ok_if, wait_until};

/// A cgroup of its own. When it is dropped, whoever is in it goes on, and dies if it was killed.
pub struct Freezer {
    group: PathBuf,
}

impl Freezer {
    /// `None`: this machine has no freezer, or this user may not use it; what needs it is left out.
    #[track_caller]
    pub fn new(feature: &str) -> Option<Self> {
        let group = mount().map(|mount| mount.join(format!("sessiond-test-{}", Uuid::new_v4())));
        let made = group.filter(|group| fs::create_dir(group).is_ok());
        if made.is_none() {
            super::leave_out(&format!("{feature}: no cgroup freezer of version 1"));
        }
        Some(Self { group: made? })
    }

    /// Takes a process in and freezes it.
    #[track_caller]
    pub fn freeze(&self, process: Process) {
        let pid = process.pid.to_string();
        fs::write(self.group.join("cgroup.procs"), pid).expect("the group takes it");
        self.set("FROZEN");
        wait_until("the group is frozen", LIMIT, || {
            let state = fs::read_to_string(self.group.join("freezer.state"));
            let state = state.expect("the group's state");
            ok_if(state.trim() == "FROZEN", state)
        });
    }

    /// Lets it go on.
    #[track_caller]
    pub fn thaw(&self) {
        self.set("THAWED");
    }

    fn set(&self, state: &str) {
        fs::write(self.group.join("freezer.state"), state).expect("the group's state is set");
    }
}

impl Drop for Freezer {
    fn drop(&mut self) {
        self.thaw();
        wait_until("the frozen group can be removed", LIMIT, || {
            // Not before the last of it has ended; a failed test has to kill it first.
            let left = fs::read_to_string(self.group.join("cgroup.procs")).unwrap_or_default();
            for pid in left.lines().filter_map(|line| line.parse().ok()) {
                Process { pid }.signal(nix::sys::signal::Signal::SIGKILL);
            }
            fs::remove_dir(&self.group)
        });
    }
}

fn mount() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/mounts").ok()?;
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (point, kind, options) = (fields.next()?, fields.next()?, fields.next()?);
        let has_freezer = options.split(',').any(|option| option == "freezer");
        (kind == "cgroup" && has_freezer).then(|| point.into())
    })
}
