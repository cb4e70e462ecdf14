//! Events that no worker took: on disk, in order, within limits.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::thread;

use sessiond::spool::SpoolStatus;

use super::fake_worker::{FakeWorker, Reply};
use super::run::{Home, Input, payload, run, run_on, wait_for};

fn mode(path: &Path) -> u32 {
    let metadata = fs::symlink_metadata(path).expect("stat");
    metadata.permissions().mode() & 0o7777
}

#[test]
fn event_without_a_worker_is_spooled_as_it_came() {
    let home = Home::new();
    let sent = payload("s", "Stop");
    let mut hook = home.hook();
    run(hook.args(["--agent", "codex"]), Input::Whole(&sent)).silence();
    assert_eq!(mode(home.layout.root()), 0o700);
    assert_eq!(mode(&home.layout.spool_dir()), 0o700);
    assert_eq!(mode(&home.spool_files()[0]), 0o600);
    let frames = home.take_spooled();
    assert_eq!(frames.len(), 1);
    assert_eq!(frames[0].agent, "codex");
    assert_eq!(frames[0].payload, sent);
    assert_eq!(frames[0].event_id.0.get_version_num(), 7);
}

#[test]
fn stale_socket_file_counts_as_no_worker() {
    let home = Home::new();
    home.create_root();
    drop(std::os::unix::net::UnixListener::bind(home.layout.socket()).expect("bind"));
    run_on(&home, b"{}").silence();
    fs::remove_file(home.layout.socket()).expect("remove");
    fs::write(home.layout.socket(), "no socket").expect("write");
    run_on(&home, b"{}").silence();
    assert_eq!(home.spooled_payloads().len(), 2);
}

#[test]
fn each_session_has_its_file_and_the_unnamed_share_one() {
    let home = Home::new();
    for input in [
        payload("a/b", "Stop"),
        payload("a_b", "Stop"),
        b"{".to_vec(),
        Vec::new(),
    ] {
        run_on(&home, &input).silence();
    }
    let files = home.spool_files();
    let names: Vec<_> = files
        .iter()
        .filter_map(|path| path.file_name()?.to_str())
        .collect();
    assert_eq!(names.len(), 3, "{names:?}");
    assert_eq!(names[2], "claude-code-unknown.spool");
    assert!(names[0].starts_with("claude-code-a_b-"), "{names:?}");
}

#[test]
fn event_does_not_overtake_its_sessions_spooled_ones() {
    let home = Home::new();
    let first = payload("s", "UserPromptSubmit");
    run_on(&home, &first).silence();
    let worker = FakeWorker::start(&home.layout, Reply::new(202, "", ""));
    let second = payload("s", "Stop");
    run_on(&home, &second).silence();
    let other = payload("other", "Stop");
    run_on(&home, &other).silence();
    assert_eq!(worker.request().body, other);
    assert_eq!(home.spooled_payloads(), [first, second]);
    let third = payload("s", "SessionEnd");
    run_on(&home, &third).silence();
    assert_eq!(worker.request().body, third);
}

#[test]
fn hooks_at_once_all_get_their_event_into_the_file() {
    const HOOKS: usize = 24;
    let home = Home::new();
    thread::scope(|scope| {
        for number in 0..HOOKS {
            let sent = payload("s", &number.to_string());
            scope.spawn(|| {
                let sent = sent;
                let mut hook = home.hook();
                let hook = hook.env("SESSIOND_HOOK_DEADLINE_MS", "20000");
                run(hook, Input::Whole(&sent)).silence();
            });
        }
    });
    let mut spooled = home.spooled_payloads();
    let mut wanted: Vec<_> = (0..HOOKS).map(|n| payload("s", &n.to_string())).collect();
    spooled.sort();
    wanted.sort();
    assert_eq!(spooled, wanted);
}

#[test]
fn hook_that_waited_for_an_ingested_file_writes_into_a_new_one() {
    let home = Home::new();
    run_on(&home, &payload("s", "first")).silence();
    let path = home.spool_files().remove(0);
    let worker_side = File::open(&path).expect("open");
    worker_side.lock().expect("lock");
    let sent = payload("s", "second");
    thread::scope(|scope| {
        let hook = scope.spawn(|| {
            let mut hook = home.hook();
            let hook = hook.env("SESSIOND_HOOK_DEADLINE_MS", "20000");
            run(hook, Input::Whole(&sent)).silence();
        });
        let opened = |process: &Path| {
            let fds = fs::read_dir(process.join("fd")).ok()?;
            let mut targets = fds.filter_map(|fd| fs::read_link(fd.ok()?.path()).ok());
            targets.any(|target| target == path).then_some(())
        };
        wait_for("the hook to open the file", || {
            let processes = fs::read_dir("/proc").expect("list");
            let own = Path::new("/proc").join(std::process::id().to_string());
            let mut others = processes.filter_map(|entry| {
                let process = entry.ok()?.path();
                (process != own).then(|| opened(&process))?
            });
            others.next()
        });
        fs::remove_file(&path).expect("unlink");
        drop(worker_side);
        hook.join().expect("the hook");
    });
    assert_eq!(home.spooled_payloads(), [sent]);
}

#[test]
fn lock_that_is_never_given_back_does_not_hold_the_hook() {
    let home = Home::new();
    run_on(&home, &payload("s", "first")).silence();
    let stopped = File::open(home.spool_files().remove(0)).expect("open");
    stopped.lock().expect("lock");
    let lost = || SpoolStatus::read(&home.layout).expect("status").lost;
    // Out of order is better than lost.
    let worker = FakeWorker::start(&home.layout, Reply::new(202, "", ""));
    let sent = payload("s", "SessionStart");
    let took = run_on(&home, &sent).silence();
    assert!(took.as_secs() < 6, "{took:?}");
    assert_eq!((worker.request().body, lost()), (sent, 0));
    fs::remove_file(home.layout.socket()).expect("remove");
    let took = run_on(&home, &payload("s", "Stop")).silence();
    assert!(took.as_secs() < 6, "{took:?}");
    assert_eq!(lost(), 1);
}

#[test]
fn event_over_a_limit_is_counted_as_lost() {
    for name in [
        "SESSIOND_SPOOL_SESSION_MAX_BYTES",
        "SESSIOND_SPOOL_MAX_BYTES",
    ] {
        let home = Home::new();
        let sent = payload("s", "Stop");
        for _ in 0..3 {
            let mut hook = home.hook();
            // Two frames of one size fit, on every system.
            hook.env("SESSIOND_AGENT_PID", "0").env(name, "400");
            run(&mut hook, Input::Whole(&sent)).silence();
        }
        assert_eq!(home.spooled_payloads(), [sent.clone(), sent], "{name}");
        let status = SpoolStatus::read(&home.layout).expect("status");
        assert_eq!(status.lost, 1, "{name}");
    }
}

#[test]
fn half_a_frame_of_a_dead_hook_does_not_cost_the_next_event() {
    let home = Home::new();
    run_on(&home, &payload("s", "first")).silence();
    let path = home.spool_files().remove(0);
    let bytes = fs::read(&path).expect("read");
    fs::write(&path, &bytes[..bytes.len() - 1]).expect("write");
    let sent = payload("s", "second");
    run_on(&home, &sent).silence();
    let content = fs::read(&path).expect("read");
    fs::write(&path, &content[bytes.len() - 1..]).expect("write");
    assert_eq!(home.spooled_payloads(), [sent]);
}

#[test]
fn symbolic_link_in_place_of_a_spool_file_is_not_followed() {
    let home = Home::new();
    run_on(&home, b"{").silence();
    let path = home.spool_files().remove(0);
    let target = home.layout.root().join("target");
    fs::write(&target, "precious").expect("write");
    fs::remove_file(&path).expect("remove");
    std::os::unix::fs::symlink(&target, &path).expect("link");
    run_on(&home, b"{").silence();
    assert_eq!(fs::read(&target).expect("read"), b"precious");
    assert_eq!(SpoolStatus::read(&home.layout).expect("status").lost, 1);
}
