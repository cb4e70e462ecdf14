//! From a command to a running child, and what is known of it meanwhile.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use sessiond_supervisor::{Exit, Line, SpawnError, Standing, StopEnd, TAG_VARIABLE};

use super::bench::{Bench, SESSION, line};
use crate::support::wait::ok_if;
use crate::support::{LIMIT, Process, wait_until};

#[test]
fn child_reads_lines_writes_lines_and_exits() {
    let bench = Bench::new();
    bench.run(async {
        let mut child = bench
            .spawn("read -r text; echo \"got $text\"; exit 7")
            .await;
        child.stdin.write_line(b"two words").await.unwrap();
        assert_eq!(line(&mut child).await, "got two words");
        assert_eq!(child.stdout.next().await, None);
        assert_eq!(child.control.exited().await, Some(Exit::Code(7)));
        assert!(child.control.has_exited());
        let stopped = child.control.stop().await;
        assert_eq!(stopped.end, StopEnd::Exited);
        assert_eq!((stopped.exit_code, stopped.exit_signal), (Some(7), None));
        assert_eq!(stopped.pid, Some(child.control.pid()));
        let error = child.stdin.write_line(b"more").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    });
    assert!(bench.supervisor.list().is_empty());
    bench.wait_clean();
}

#[test]
fn child_gets_its_arguments_directory_and_exactly_its_environment() {
    let bench = Bench::new();
    bench.run(async {
        let mut command = bench.shell("");
        command.program = "env".into();
        command.args = Vec::new();
        command.env.push(("A".into(), "1 and = and ü".into()));
        command.env.push((TAG_VARIABLE.into(), "made up".into()));
        let mut expected: Vec<String> = command
            .env
            .iter()
            .filter(|(name, _)| name != TAG_VARIABLE)
            .map(|(name, value)| format!("{}={}", name.display(), value.display()))
            .collect();
        let mut child = bench.spawn_for(SESSION, command).await;
        expected.push(format!("{TAG_VARIABLE}={}", child.control.tag()));
        let mut seen = Vec::new();
        while let Some(Line::Bytes(bytes)) = child.stdout.next().await {
            seen.push(String::from_utf8(bytes).unwrap());
        }
        expected.sort();
        seen.sort();
        assert_eq!(seen, expected);

        let mut child = bench
            .spawn("pwd; echo \"$0\"; ls /proc/self/fd | wc -l")
            .await;
        let cwd = bench.dir.path().canonicalize().unwrap();
        assert_eq!(line(&mut child).await, cwd.to_str().unwrap());
        assert_eq!(line(&mut child).await, "sh");
        // Three of its own and the one that reads the directory.
        assert_eq!(line(&mut child).await.trim(), "4");
        child.control.stop().await;
    });
    bench.wait_clean();
}

#[test]
fn running_child_is_recorded_listed_and_shown_with_its_tree() {
    let bench = Bench::new();
    bench.run(async {
        let mut child = bench.spawn("sleep 1000 & echo up; read -r text").await;
        assert_eq!(line(&mut child).await, "up");
        let tag = child.control.tag().clone();

        let infos = bench.supervisor.list();
        assert_eq!(infos.len(), 1, "{infos:?}");
        let info = &infos[0];
        assert_eq!(
            (&info.tag, info.session.as_str()),
            (&tag.to_string(), SESSION)
        );
        assert_eq!(info.command, "sh");
        assert_eq!(info.pid, Some(child.control.pid()));
        assert_eq!(info.stdout.bytes, 3);
        assert!(!info.stopping);

        wait_until("the record has the shim's identity", LIMIT, || {
            let records = bench.records();
            let identity = records.first().and_then(|record| record.identity.clone());
            ok_if(
                identity.is_some_and(|identity| {
                    identity.pid == info.shim_pid && identity.check() == Standing::Alive
                }),
                records,
            )
        });

        let tree = wait_until("the tree is complete", LIMIT, || {
            let tree = bench.supervisor.tree(info);
            let shown = tree.iter().map(|process| process.name.as_str());
            match shown.eq(["sessiond-shim", "sh", "sleep"]) {
                true => Ok(tree),
                false => Err(tree),
            }
        });
        assert_eq!(tree[0].pid, info.shim_pid);
        assert_eq!(
            (tree[1].pid, tree[1].parent),
            (child.control.pid(), info.shim_pid)
        );
        assert!(tree.iter().all(|process| process.rss_bytes > 0), "{tree:?}");

        child.control.stop().await;
        assert!(
            bench.supervisor.tree(info).is_empty(),
            "its pids may be others' now"
        );
        assert!(bench.record_files().is_empty(), "once it is stopped");
    });
}

#[test]
fn program_that_cannot_run_is_named_and_leaves_nothing() {
    let bench = Bench::new();
    let text = bench.dir.path().join("text");
    fs::write(&text, "no program").unwrap();
    fs::set_permissions(&text, fs::Permissions::from_mode(0o644)).unwrap();
    bench.run(async {
        let mut missing = bench.shell("");
        missing.program = "no-such-program".into();
        let mut forbidden = bench.shell("");
        forbidden.program = text.clone().into();
        let mut nowhere = bench.shell("");
        nowhere.cwd = bench.dir.path().join("nowhere");
        for (command, kind) in [
            (missing, io::ErrorKind::NotFound),
            (forbidden, io::ErrorKind::PermissionDenied),
            (nowhere, io::ErrorKind::NotFound),
        ] {
            let program = command.program.to_string_lossy().into_owned();
            let tag = bench.supervisor.tag(SESSION);
            let error = bench.supervisor.spawn(command, tag).await.unwrap_err();
            let SpawnError::Program { command, source } = error else {
                panic!("{error:?}");
            };
            assert_eq!((command, source.kind()), (program, kind));
        }
    });
    assert!(bench.supervisor.list().is_empty());
    bench.wait_clean();
}

#[test]
fn nothing_is_started_once_spawns_are_refused() {
    let bench = Bench::new();
    bench.run(async {
        let running = bench.spawn("read -r text").await;
        bench.supervisor.refuse_spawns();
        let tag = bench.supervisor.tag(SESSION);
        let error = bench
            .supervisor
            .spawn(bench.shell("echo no"), tag)
            .await
            .unwrap_err();
        assert!(matches!(error, SpawnError::Stopping { .. }), "{error:?}");
        assert_eq!(bench.supervisor.list().len(), 1, "the one before goes on");
        running.control.stop().await;
    });
    bench.wait_clean();
}

#[test]
fn dropped_child_is_ended_with_its_tree() {
    let bench = Bench::new();
    bench.run(async {
        let mut child = bench.spawn("setsid sleep 1000 & echo up; sleep 1000").await;
        assert_eq!(line(&mut child).await, "up");
        let pid = child.control.pid();
        drop(child);
        Process { pid }.wait_gone(LIMIT);
    });
    bench.wait_clean();
}

#[test]
fn child_taken_apart_sees_the_end_of_its_input_and_lives_until_its_output_is_dropped() {
    let bench = Bench::new();
    bench.run(async {
        let child = bench.spawn("cat; echo end of input; exec sleep 1000").await;
        let (stdin, mut stdout, control) = (child.stdin, child.stdout, child.control);
        drop(stdin);
        let expected = Line::Bytes(b"end of input".to_vec());
        assert_eq!(stdout.next().await, Some(expected));
        assert!(!control.has_exited());
        drop(stdout);
        assert_eq!(control.exited().await, Some(Exit::Signal(15)));
    });
    bench.wait_clean();
}

#[test]
fn spawn_that_is_given_up_at_any_moment_leaves_nothing() {
    let bench = Bench::new();
    let mut given_up = 0;
    bench.run(async {
        for step in 0..60 {
            let tag = bench.supervisor.tag(SESSION);
            let spawn = bench.supervisor.spawn(bench.shell("sleep 1000"), tag);
            let patience = Duration::from_micros(step * 150);
            match tokio::time::timeout(patience, spawn).await {
                Err(_elapsed) => given_up += 1,
                Ok(child) => drop(child.unwrap()),
            }
        }
    });
    assert!(
        given_up > 5,
        "the moments lie within a spawn: {given_up} of 60"
    );
    bench.wait_clean();
    // Records are removed before the supervisor is told.
    wait_until("no spawn is listed", LIMIT, || {
        let listed = bench.supervisor.list();
        ok_if(listed.is_empty(), listed)
    });
}

#[test]
fn two_hundred_spawns_leave_no_descriptor() {
    let bench = Bench::new();
    let count = || fs::read_dir("/proc/self/fd").unwrap().count();
    bench.run(async {
        let before = count();
        for _ in 0..200 {
            let child = bench.spawn("exit 0").await;
            child.control.stop().await;
        }
        // Tests beside this one, in one process, have descriptors too.
        let after = count();
        assert!(after < before + 100, "{before} before, {after} after");
    });
    bench.wait_clean();
}
