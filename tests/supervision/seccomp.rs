//! A kernel that gives no pidfds, as an old one or a sandbox is: nobody can be held, so nobody is
//! signalled.

use std::thread;

use sessiond_supervisor::{
    ProcessIdentity, Registry, SpawnRecord, StopEnd, Supervisor, Tag, Tier, host_name,
};

use super::bench::{Bench, SESSION};
use super::canary::Canary;

#[test]
fn without_pidfds_the_sweep_reports_and_signals_nobody() {
    let bench = Bench::new();
    let tag = Tag::new(&bench.settings.install, "1", SESSION, "held").unwrap();
    let leftover = Canary::start(&bench, Some(&tag.to_string()));
    let canary = Canary::start(&bench, None);
    let leader = ProcessIdentity::of(canary.process().pid).unwrap();
    let gone = ProcessIdentity {
        start_ticks: leader.start_ticks - 1,
        ..leader.clone()
    };
    // By its identity it would be ended, if it could be held.
    let record = SpawnRecord::intent(tag, "agent".to_owned(), 0, host_name())
        .with_identity(gone)
        .with_leader(leader);
    let registry = Registry::open(&bench.settings.registry_dir).unwrap();
    registry.put(&record).unwrap();

    let settings = bench.settings.clone();
    let looked = thread::spawn(move || {
        refuse_pidfds();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let supervisor = Supervisor::open(settings).unwrap();
            let tier = supervisor.inspect().await.tier;
            (supervisor.sweep().await.finished().await, tier)
        })
    });
    let (report, tier) = looked.join().unwrap();
    leftover.assert_untouched();
    canary.assert_untouched();
    let [stopped] = &report.stopped[..] else {
        panic!("one spawn was found: {report:?}");
    };
    assert_eq!((stopped.end, stopped.killed), (StopEnd::Unkillable, 0));
    let pids: Vec<_> = stopped.unkillable.iter().map(|it| it.pid).collect();
    for process in [leftover.process(), canary.process()] {
        assert!(pids.contains(&process.pid), "{report:?}");
    }
    let doubtful = report.doubtful.join("\n");
    assert!(doubtful.contains("cannot be held"), "{doubtful}");
    assert_eq!(
        bench.record_files(),
        ["held.json"],
        "the next start looks again"
    );
    assert_eq!(tier.tier, Tier::Shims);
    assert!(tier.missing[0].contains("pidfd_open"), "{tier:?}");
}

/// From now on `pidfd_open` is not implemented, for this thread and those that it starts.
#[expect(unsafe_code, reason = "no safe call sets a filter")]
fn refuse_pidfds() {
    let code = |bits: u32| u16::try_from(bits).expect("codes have 16 bits");
    let number_offset = 0;
    let refused = u32::try_from(libc::SYS_pidfd_open).expect("numbers are small");
    let not_there = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs();
    // SAFETY: these only put numbers into a struct.
    let mut filter = unsafe {
        [
            libc::BPF_STMT(
                code(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS),
                number_offset,
            ),
            libc::BPF_JUMP(
                code(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K),
                refused,
                0,
                1,
            ),
            libc::BPF_STMT(code(libc::BPF_RET | libc::BPF_K), not_there),
            libc::BPF_STMT(code(libc::BPF_RET | libc::BPF_K), libc::SECCOMP_RET_ALLOW),
        ]
    };
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).expect("four of them"),
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: the program lives until the kernel has copied it.
    let (no_new_privileges, filtered) = unsafe {
        (
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
            libc::prctl(
                libc::PR_SET_SECCOMP,
                libc::SECCOMP_MODE_FILTER,
                &raw const program,
            ),
        )
    };
    assert_eq!((no_new_privileges, filtered), (0, 0), "the filter is set");
}
