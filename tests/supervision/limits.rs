//! What a child may use, how many there may be, how fast they come, and what happens when the
//! machine has no more.

use std::fs::{self, File};
use std::os::fd::AsRawFd;

use nix::sys::resource::{Resource as Limit, getrlimit, setrlimit};
use sessiond_supervisor::{Command, ProcessLimits, Resource, SpawnError};

use super::bench::{Bench, SESSION, line};
use crate::support::stranger::may_make_stranger;
use crate::support::{Process, is_alone};

/// The soft and the hard limit, as the kernel shows them.
fn limit_of(process: Process, name: &str) -> (String, String) {
    let text =
        fs::read_to_string(format!("/proc/{}/limits", process.pid)).expect("the kernel's table");
    let line = text
        .lines()
        .find(|line| line.starts_with(name))
        .expect("the kernel's table");
    let mut values = line[name.len()..].split_whitespace().map(str::to_owned);
    (
        values.next().expect("the kernel's table"),
        values.next().expect("the kernel's table"),
    )
}

const LIMITS: [&str; 3] = ["Max address space", "Max open files", "Max processes"];

#[test]
fn child_and_all_it_starts_have_the_limits_they_were_given_and_the_shim_has_not() {
    let bench = Bench::new();
    bench.run(async {
        let mut command = bench.shell("nice; sleep 1000 & echo $!; wait");
        command.limits = ProcessLimits {
            memory_max_bytes: Some(1 << 30),
            open_files_max: Some(64),
            processes_max: Some(1_000_000),
            nice: Some(3),
        };
        let own = Process {
            pid: std::process::id(),
        };
        let own_limits = LIMITS.map(|name| limit_of(own, name));
        let own_nice: i32 = niceness(own);
        let mut child = bench.spawn_for(SESSION, command).await;
        let nice: i32 = line(&mut child).await.parse().unwrap();
        assert_eq!(nice, (own_nice + 3).min(19));
        let pid = line(&mut child).await.parse().unwrap();
        let leader = Process {
            pid: child.control.pid(),
        };
        for process in [leader, Process { pid }] {
            let both = |value: &str| (value.to_owned(), value.to_owned());
            let [memory, files, processes] = LIMITS.map(|name| limit_of(process, name));
            assert_eq!(memory, both("1073741824"));
            assert_eq!(files, both("64"));
            // What was less before stays so.
            let hard = own_limits[2].1.parse().unwrap_or(u64::MAX).min(1_000_000);
            assert_eq!(processes, both(&hard.to_string()));
            assert_eq!(niceness(process), nice);
        }
        let shim = Process {
            pid: bench.supervisor.list()[0].shim_pid,
        };
        assert_eq!(LIMITS.map(|name| limit_of(shim, name)), own_limits);
        assert_eq!(niceness(shim), own_nice);
        child.control.stop().await;
    });
    bench.wait_clean();
}

fn niceness(process: Process) -> i32 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", process.pid)).expect("the form of stat");
    let (_, fields) = stat.rsplit_once(") ").expect("the form of stat");
    fields
        .split(' ')
        .nth(16)
        .expect("the form of stat")
        .parse()
        .expect("the form of stat")
}

#[test]
fn spawn_beyond_the_cap_is_refused_and_there_is_room_once_one_has_ended() {
    let bench = Bench::with(|settings| settings.children_max = 2);
    bench.run(async {
        let first = bench.spawn("read -r text").await;
        let second = bench.spawn("read -r text").await;
        let tag = bench.supervisor.tag(SESSION);
        let third = bench.supervisor.spawn(bench.shell("exit 0"), tag);
        let error = third.await.unwrap_err();
        let SpawnError::Full {
            live, children_max, ..
        } = error
        else {
            panic!("{error:?}");
        };
        assert_eq!((live, children_max), (2, 2));
        let counts = bench.supervisor.counts();
        assert_eq!((counts.live, counts.live_max, counts.refused), (2, 2, 1));
        tokio::join!(biased; bench.supervisor.has_room(), first.control.stop());
        bench.spawn("exit 0").await.control.stop().await;
        second.control.stop().await;
        assert_eq!(bench.supervisor.counts().live, 0);
    });
    bench.wait_clean();
}

#[test]
fn spawns_that_come_too_fast_wait_for_their_turns() {
    let bench = Bench::with(|settings| settings.spawns_per_s_max = 10);
    bench.run(async {
        let spawns = (0..15).map(|_| bench.spawn("read -r text"));
        let children = futures::future::join_all(spawns).await;
        assert!(bench.supervisor.counts().paced >= 1);
        assert_eq!(bench.supervisor.list().len(), children.len());
        bench.supervisor.reap(SESSION).await;
    });
    bench.wait_clean();
}

#[test]
fn reap_ends_the_waiting_of_a_spawn_whose_turn_has_not_come() {
    let bench = Bench::with(|settings| settings.spawns_per_s_max = 1);
    bench.run(async {
        let spawns = (0..50).map(|_| {
            let tag = bench.supervisor.tag(SESSION);
            bench.supervisor.spawn(bench.shell("read -r text"), tag)
        });
        let spawns = futures::future::join_all(spawns);
        let (spawned, report) = tokio::join!(biased; spawns, bench.supervisor.reap(SESSION));
        let ended =
            |result: &&Result<_, SpawnError>| matches!(result, Err(SpawnError::Ended { .. }));
        let waited = spawned.iter().filter(ended).count();
        assert!(waited >= 40, "{waited} of 50");
        assert_eq!(report.stopped.len(), 50 - waited, "the others have run");
        assert!(spawned.iter().all(|it| it.is_ok() || ended(&it)));
        assert!(bench.record_files().is_empty(), "they left nothing behind");
        assert!(bench.supervisor.counts().paced >= waited as u64);
    });
    bench.wait_clean();
}

#[test]
fn spawn_that_is_given_up_before_its_turn_is_not_begun() {
    let bench = Bench::with(|settings| settings.spawns_per_s_max = 1);
    bench.run(async {
        for _ in 0..20 {
            let tag = bench.supervisor.tag(SESSION);
            let spawn = bench.supervisor.spawn(bench.shell("sleep 1000"), tag);
            // Entered, and dropped at once.
            let given_up = tokio::time::timeout(std::time::Duration::ZERO, spawn).await;
            drop(given_up);
        }
        assert!(bench.supervisor.reap(SESSION).await.stopped.len() < 20);
        assert_eq!(bench.supervisor.counts().live, 0, "nobody waits any more");
    });
    bench.wait_clean();
}

/// A spawn under a lack of something; `true`: it was there after all.
async fn spawn_while_lacking(bench: &Bench, lacking: Resource) -> bool {
    let tag = bench.supervisor.tag(SESSION);
    let command: Command = bench.shell("read -r text");
    match bench.supervisor.spawn(command, tag).await {
        Ok(child) => {
            child.control.stop().await;
            true
        }
        Err(SpawnError::Exhausted { resource, .. }) => {
            assert_eq!(resource, lacking);
            false
        }
        Err(error) => panic!("{error:?}"),
    }
}

#[test]
fn start_that_lacks_a_descriptor_is_told_so_at_every_step_and_leaves_nothing() {
    let name = "start_that_lacks_a_descriptor_is_told_so_at_every_step_and_leaves_nothing";
    if !is_alone(module_path!(), name) {
        return;
    }
    let bench = Bench::new();
    let descriptors = || fs::read_dir("/proc/self/fd").unwrap().count();
    bench.run(async {
        // What is made once is there from then on.
        bench.spawn("exit 0").await.control.stop().await;
        let (soft, hard) = getrlimit(Limit::RLIMIT_NOFILE).unwrap();
        // Every number below the limit is taken, so that the limit counts what is free.
        let mut fillers = vec![File::open("/dev/null").unwrap()];
        let highest = {
            let numbers = fs::read_dir("/proc/self/fd").unwrap();
            let numbers = numbers.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            numbers.map(|it| it.parse().unwrap()).max().unwrap_or(0)
        };
        while fillers.last().unwrap().as_raw_fd() <= highest {
            fillers.push(File::open("/dev/null").unwrap());
        }
        let taken = u64::try_from(fillers.last().unwrap().as_raw_fd()).unwrap() + 1;
        let before = descriptors();
        let mut lacked = 0;
        for free in 0.. {
            setrlimit(Limit::RLIMIT_NOFILE, taken + free, hard).unwrap();
            let is_enough = spawn_while_lacking(&bench, Resource::Descriptors).await;
            setrlimit(Limit::RLIMIT_NOFILE, soft, hard).unwrap();
            assert!(bench.processes().is_empty(), "with {free} free");
            assert_eq!(bench.record_files(), [""; 0], "with {free} free");
            assert_eq!(bench.supervisor.counts().live, 0, "with {free} free");
            assert_eq!(descriptors(), before, "with {free} free");
            if is_enough {
                break;
            }
            lacked += 1;
        }
        // A record, a pair of sockets, three pipes.
        assert!(lacked >= 8, "{lacked}");
    });
    bench.wait_clean();
}

#[test]
fn start_that_lacks_a_process_is_told_so_at_every_step_and_leaves_nothing() {
    let name = "start_that_lacks_a_process_is_told_so_at_every_step_and_leaves_nothing";
    if !may_make_stranger("supervision without processes to spare") {
        return;
    }
    if !is_alone(module_path!(), name) {
        return;
    }
    let bench = Bench::of_stranger(|_| ());
    bench.run(async {
        bench.spawn("exit 0").await.control.stop().await;
        let (_, hard) = getrlimit(Limit::RLIMIT_NPROC).unwrap();
        let mut lacked = 0;
        for limit in 1.. {
            setrlimit(Limit::RLIMIT_NPROC, limit, hard).unwrap();
            let is_enough = spawn_while_lacking(&bench, Resource::Processes).await;
            assert!(bench.processes().is_empty(), "limit {limit}");
            assert_eq!(bench.record_files(), [""; 0], "limit {limit}");
            assert_eq!(bench.supervisor.counts().live, 0, "limit {limit}");
            if is_enough {
                break;
            }
            lacked += 1;
        }
        // At least for the shim, and then for its child.
        assert!(lacked >= 2, "{lacked}");
    });
    bench.wait_clean();
}
