//! What a shim cannot end: it says who that is, and leaves the record.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::sys::signal::Signal;
use sessiond_supervisor::control::{Report, Tally, UNTOUCHABLE_MAX, Untouchable};

use super::rig::{SHIM, Shim};
use crate::support::stranger::{STRANGER, lend, may_make_stranger, setpriv, take_rights};
use crate::support::{Home, LIMIT, Process};

/// How many it starts; more than are named.
const COUNT: usize = UNTOUCHABLE_MAX + 2;

#[test]
fn processes_that_took_other_rights_are_named_and_left_with_their_record() {
    const FEATURE: &str = "shim over what took other rights";
    let home = Home::new();
    let dir = home.layout().root().with_file_name("programs");
    fs::create_dir_all(&dir).unwrap();
    for above in [&dir, dir.parent().unwrap()] {
        fs::set_permissions(above, fs::Permissions::from_mode(0o777)).unwrap();
    }
    let (true, Some(setpriv)) = (may_make_stranger(FEATURE), setpriv()) else {
        return;
    };
    let Some(take_rights) = take_rights(&dir, FEATURE) else {
        return;
    };
    let shim = lend(Path::new(SHIM), dir.join("shim"));
    let record = dir.join("record");
    fs::write(&record, "").unwrap();

    let script = format!(
        "for n in $(seq {COUNT}); do {} --reuid 0 sleep 1000 & done; \
         while [ $(pgrep -c -U 0 -P $$ -x sleep) -lt {COUNT} ]; do :; done; echo ready; wait",
        take_rights.display()
    );
    let mut command = home.command(setpriv.to_str().unwrap());
    let stranger = STRANGER.to_string();
    command.args(["--reuid", &stranger, "--regid", &stranger, "--clear-groups"]);
    command.arg(&shim).args(["--grace-ms", "100", "--record"]);
    command.arg(&record).args(["--", "sh", "-c", &script]);
    let mut shim = Shim::launch(&mut command);
    shim.say_hello("");
    let leader = shim.started();
    assert_eq!(shim.line(), "ready\n");
    let all = children(leader);
    assert_eq!(all.len(), COUNT);

    shim.stop(100);
    shim.exited();
    let mut named = Vec::new();
    let tally = loop {
        match shim.report() {
            Some(Report::Untouchable(untouchable)) => named.push(untouchable),
            Some(Report::Gone(tally)) => break tally,
            other => panic!("{other:?}"),
        }
    };
    shim.wait_end();
    let left = all.iter().filter(|process| process.is_alive()).count();
    for process in &all {
        process.signal(Signal::SIGKILL);
    }
    for process in &all {
        process.wait_gone(LIMIT);
    }
    assert_eq!(left, COUNT, "they may not be signalled");
    let expected = Tally {
        terminated: 1,
        killed: 0,
        untouchable: u32::try_from(COUNT).unwrap(),
    };
    assert_eq!(tally, expected);
    assert_eq!(named.len(), UNTOUCHABLE_MAX);
    let is_one_of_them = |one: &Untouchable| {
        let process = Process { pid: one.pid };
        one.is_denied && one.state == 'S' && one.start_ticks > 0 && all.contains(&process)
    };
    assert!(named.iter().all(is_one_of_them), "{named:?}");
    assert!(record.exists());
}

fn children(parent: Process) -> Vec<Process> {
    let pid = parent.pid;
    let listed =
        fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("a list of pids");
    let pids = listed
        .split_whitespace()
        .map(|pid| pid.parse().expect("a list of pids"));
    pids.map(|pid| Process { pid }).collect()
}
