//! What a child starts with, what the shim keeps, and starts that fail.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use sessiond_supervisor::control::{Exit, Report, Tally};

use super::rig::{LONG_MS, SHIM, Shim};
use crate::support::{Home, Process};

/// `errno` of a program that is not there.
const ENOENT: i32 = 2;
/// `errno` of a file that is no program.
const ENOEXEC: i32 = 8;
/// `errno` of a process that has as many descriptors as it may.
const EMFILE: i32 = 24;
/// `errno` of a program that may not be run.
const EACCES: i32 = 13;

#[test]
fn a_program_is_found_in_the_path_and_its_exit_is_told() {
    let home = Home::new();
    let (mut shim, _leader) = Shim::start(&home, LONG_MS, &["sh", "-c", "exit 7"]);
    assert_eq!(shim.exited(), Exit::Code(7));
    assert_eq!(shim.gone(), Tally::default());
}

#[test]
fn a_program_that_cannot_run_is_told_as_exec_tells_it() {
    let home = Home::new();
    let directory = home.layout().root();
    fs::create_dir_all(directory).unwrap();
    let locked = directory.join("locked");
    fs::write(&locked, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o600)).unwrap();
    let check = |program: &str, errno| {
        let mut shim = Shim::with_hello_pending(&home, LONG_MS, &[program]);
        shim.say_hello("");
        assert_eq!(shim.report(), Some(Report::Failed { errno }), "{program}");
        assert_eq!(shim.report(), None, "{program}");
        shim.wait_end();
    };
    check("no-such-program-anywhere", ENOENT);
    check("/no/such/program", ENOENT);
    check(locked.to_str().unwrap(), EACCES);
    check(directory.to_str().unwrap(), EACCES);
}

#[test]
fn nothing_is_started_when_the_worker_ends_before_its_hello() {
    let home = Home::new();
    let mut shim = Shim::with_hello_pending(&home, LONG_MS, &["sleep", "1000"]);
    drop(shim.let_go());
    shim.wait_end();
    assert_eq!(home.processes(), []);
    assert_eq!(shim.rest_of_output(), "");
}

#[test]
fn the_child_gets_three_descriptors_and_default_signals_whatever_the_shim_inherits() {
    let home = Home::new();
    let become_shim = format!(
        "trap '' HUP INT TERM PIPE CHLD USR1; exec 7</etc/passwd 8>/dev/full; \
         exec {SHIM} --grace-ms {LONG_MS} -- sleep 1000"
    );
    let mut shim = Shim::launch(home.command("sh").args(["-c", &become_shim]));
    shim.say_hello("");
    let leader = shim.started();
    let numbers: Vec<u32> = leader.descriptors().iter().map(|(fd, _)| *fd).collect();
    assert_eq!(numbers, [0, 1, 2]);
    assert!(target(leader, 0).starts_with("pipe:"), "its own stdin");
    let status = fs::read_to_string(format!("/proc/{}/status", leader.pid)).unwrap();
    for set in ["SigBlk", "SigIgn"] {
        let line = status.lines().find(|line| line.starts_with(set)).unwrap();
        let (_, signals) = line.split_once(":\t").unwrap();
        let signals = u64::from_str_radix(signals, 16).unwrap();
        // The C library's own two, which it lets nobody set, are as whoever came first left them.
        assert_eq!(signals & !(0b11 << 31), 0, "{line}");
    }
    shim.stop(LONG_MS);
    assert_eq!(shim.exited(), Exit::Signal(libc::SIGTERM));
    assert_eq!(shim.gone().untouchable, 0);
}

#[test]
fn the_child_has_a_group_of_its_own_in_the_session_of_the_shim() {
    let home = Home::new();
    let (mut shim, leader) = Shim::start(&home, LONG_MS, &["sleep", "1000"]);
    let own = shim.process();
    assert_eq!(leader.group(), Some(leader.pid));
    assert_eq!(own.group(), Some(own.pid));
    assert_eq!(own.session(), Some(own.pid));
    assert_eq!(leader.session(), Some(own.pid));
    assert_eq!(leader.parent(), Some(own.pid));
    shim.stop(LONG_MS);
    shim.exited();
    shim.gone();
}

#[test]
fn the_shim_keeps_neither_the_childs_output_nor_its_input_nor_its_directory() {
    let home = Home::new();
    // Closes its output and lives on.
    let (mut shim, leader) = Shim::start(
        &home,
        LONG_MS,
        &["sh", "-c", "exec >/dev/null 2>&1 sleep 1000"],
    );
    assert_eq!(shim.rest_of_output(), "", "its end is seen at once");
    let own = shim.process();
    assert_eq!(target(own, 1), "/dev/null");
    assert_eq!(target(own, 2), "/dev/null");
    let others: Vec<PathBuf> = own
        .descriptors()
        .into_iter()
        .filter(|(fd, _)| *fd > 2)
        .map(|(_, target)| target)
        .collect();
    assert_eq!(others, [PathBuf::from("anon_inode:[signalfd]")]);
    let directory = fs::read_link(format!("/proc/{}/cwd", own.pid)).unwrap();
    assert_eq!(directory, Path::new("/"));
    assert!(leader.is_alive());
    shim.stop(LONG_MS);
    shim.exited();
    shim.gone();
}

#[test]
fn a_start_that_lacks_a_descriptor_is_told_so_at_every_step() {
    let home = Home::new();
    let start = |limit: u32| {
        let become_shim =
            format!("ulimit -n {limit}; exec {SHIM} --grace-ms {LONG_MS} -- sh -c 'exit 7'");
        let mut shim = Shim::launch(home.command("sh").args(["-c", &become_shim]));
        shim.say_hello("");
        shim
    };
    // Below it the shim itself does not come up: somebody has to open its libraries.
    let mut limit = 4;
    loop {
        let mut shim = start(limit);
        match shim.report() {
            Some(Report::Failed { errno: EMFILE }) => limit += 1,
            Some(Report::Started { .. }) => {
                assert_eq!(shim.exited(), Exit::Code(7));
                shim.gone();
                break;
            }
            other => panic!("{other:?} with {limit}"),
        }
    }
    // The signals, and two ends of a pipe.
    assert!(limit > 5, "{limit}");
}

#[test]
fn a_limit_beyond_the_hard_one_is_no_obstacle() {
    let home = Home::new();
    let become_shim = format!(
        "ulimit -n 64; exec {SHIM} --grace-ms {LONG_MS} --limit nofile=1000000 --limit nice=100 \
         -- sh -c 'ulimit -n; nice'"
    );
    let mut shim = Shim::launch(home.command("sh").args(["-c", &become_shim]));
    shim.say_hello("");
    shim.started();
    assert_eq!(shim.line(), "64\n");
    assert_eq!(shim.line(), "19\n");
    assert_eq!(shim.exited(), Exit::Code(0));
    shim.gone();
}

#[test]
fn a_file_that_is_no_program_is_no_script_of_a_shell() {
    let home = Home::new();
    let directory = home.layout().root();
    fs::create_dir_all(directory).unwrap();
    let file = directory.join("sessiond-no-program");
    fs::write(&file, "exit 7\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o700)).unwrap();
    for program in [file.to_str().unwrap(), "sessiond-no-program"] {
        let mut command = home.command(SHIM);
        let path = format!("/no/such/directory::{}", directory.display());
        command.env("PATH", path);
        command.args(["--grace-ms", "1", "--", program]);
        let mut shim = Shim::launch(&mut command);
        shim.say_hello("");
        assert_eq!(shim.report(), Some(Report::Failed { errno: ENOEXEC }));
        shim.wait_end();
    }
}

#[test]
fn an_order_right_behind_the_hello_is_taken() {
    let home = Home::new();
    let mut shim = Shim::with_hello_pending(&home, LONG_MS, &["sleep", "1000"]);
    shim.say_hello("nonsense\nstop 600000\n");
    shim.started();
    assert_eq!(shim.exited(), Exit::Signal(libc::SIGTERM));
    shim.gone();
}

#[test]
fn the_shim_is_position_independent_and_starts_where_chance_puts_it() {
    let home = Home::new();
    let mut bases = Vec::new();
    for _ in 0..3 {
        let mut shim = Shim::with_hello_pending(&home, LONG_MS, &["sleep", "1000"]);
        shim.say_hello("");
        shim.started();
        let maps = fs::read_to_string(format!("/proc/{}/maps", shim.process().pid)).unwrap();
        bases.push(maps.split('-').next().unwrap().to_owned());
        shim.stop(LONG_MS);
        shim.exited();
        shim.gone();
    }
    bases.sort();
    bases.dedup();
    assert!(bases.len() > 1, "always at {bases:?}");
}

fn target(process: Process, fd: u32) -> String {
    let descriptors = process.descriptors();
    let found = descriptors.iter().find(|(own, _)| *own == fd);
    let (_, target) = found.expect("an open descriptor");
    target.to_string_lossy().into_owned()
}
