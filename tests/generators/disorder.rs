//! Programs that do not keep to the protocol: each disorder of `docs/generator-protocol.md`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use sessiond::generator::{CloseReason, IdleEnd, OpenErrorKind};

use super::stage::{Stage, done, failed};
use crate::support::{LIMIT, wait_until};

/// Runs a script over two messages, both of which it must work without a checkpoint: a reply with
/// one is not to be taken. Asserts what it is found guilty of when it exits with a third.
async fn check(script: &str, ignored: &str) {
    let stage = Stage::new().await;
    let mut generator = stage.ready(&format!("{script}; next; exit 5")).await;
    for id in [41, 42] {
        let (_, checkpoint, _) = done(generator.work(&stage.message(id)).await);
        assert_eq!(checkpoint, None, "{script}");
    }
    let reason = failed(generator.work(&stage.message(43)).await);
    let expected = match ignored {
        "" => "exited with code 5".to_owned(),
        _ => format!("exited with code 5 ({ignored})"),
    };
    assert_eq!(reason, expected, "{script}");
    stage.assert_empty();
    stage.close(generator).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_that_mean_nothing_are_ignored() {
    check("ready; next; done_; next; done_", "").await;
    check(
        r#"echo Loading; ready; next; echo; echo '{"typ":1}'; done_; next
           printf '\377\0\n{"type":"close_session","x":"\377"}\n'; done_"#,
        "5 lines of its output ignored: 5 garbage",
    )
    .await;
    check(
        r#"ready; next; echo '{"type":"thought","ids":['$id']}'; done_; next; done_"#,
        "1 line of its output ignored: 1 unknown type",
    )
    .await;
    check(
        r#"ready; next; echo '{"type":"result","ids":[999]}'; done_
           next; echo '{"type":"failure","id":999}'; done_"#,
        "2 lines of its output ignored: 2 invalid",
    )
    .await;
    check(
        r#"ready; echo '{"type":"ready","protocol":9}'; next; done_; next; done_"#,
        "1 line of its output ignored: 1 second ready",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replies_about_other_messages_are_ignored() {
    check(
        r#"say() { echo '{"type":"result","ids":['$1'],"results":[],"checkpoint":1}'; }
           fail() { echo '{"type":"failure","id":'$1',"class":"poison","reason":"r"}'; }
           say 41; ready; next; say 99; say 98; fail 40; done_; say 41; next; say 41; fail 41; done_"#,
        "7 lines of its output ignored: 6 other message, 1 before ready",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unusable_reply_to_the_message_fails_its_attempt_only() {
    let stage = Stage::new().await;
    let script = r#"
        ready
        next; echo '{"type":"result","ids":['$id',9],"results":[]}'
        next; echo '{"type":"result","ids":['$id'],"results":[],"usage":{"cost_usd":-1}}'
        next; echo '{"type":"result","ids":['$id'],"results":[{}]}'
        next; echo '{"type":"result","ids":["'$id'"],"results":[]}'
        next; echo '{"type":"failure","class":"retry","reason":"r"}'
        next; done_; next"#;
    let mut generator = stage.ready(script).await;
    for expected in [
        "names 2 messages",
        "cost_usd outside",
        "missing field",
        "expected i64",
        "missing field `id`",
    ] {
        let reason = failed(generator.work(&stage.message(7)).await);
        assert!(reason.contains(expected), "{reason}");
    }
    done(generator.work(&stage.message(7)).await);
    stage.close(generator).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn babbling_program_is_ended() {
    let stage = Stage::new().await;
    let error = stage.refused("yes hello").await;
    let expected = "before it was ready: over 1000 lines that mean nothing (1001 lines of its \
                    output ignored: 1001 garbage)";
    assert_eq!(error.reason, expected);

    let mut generator = stage.ready("ready; next; yes hello").await;
    let reason = failed(generator.work(&stage.message(1)).await);
    assert!(
        reason.starts_with("over 1000 lines that mean nothing"),
        "{reason}"
    );
    stage.assert_empty();

    let mut generator = stage.ready("ready; next; done_; yes hello").await;
    done(generator.work(&stage.message(1)).await);
    assert_eq!(generator.idle().await, IdleEnd::Ended);
    stage.close(generator).await;
}

/// A value in kB of this process's status.
fn own_status_kb(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("a status");
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let words = line.expect("a line of that name").split_whitespace();
    words
        .rev()
        .nth(1)
        .expect("a number")
        .parse()
        .expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn line_of_100_mib_costs_no_memory() {
    let stage = Stage::new().await;
    for (said, bytes) in [
        (
            r"head -c 104857600 /dev/zero | tr '\0' x; echo; done_",
            104_857_600,
        ),
        (r"head -c 5000000 /dev/zero | tr '\0' x; exit 1", 5_000_000),
    ] {
        let mut generator = stage.ready(&format!("ready\nnext; {said}")).await;
        let before_kb = own_status_kb("VmHWM:");
        let reason = failed(generator.work(&stage.message(1)).await);
        let grown_kb = own_status_kb("VmHWM:") - before_kb;
        assert!(
            reason.starts_with(&format!("it sent a line of {bytes} bytes")),
            "{reason}"
        );
        // The limit of a line is 4 MiB.
        assert!(grown_kb < 48 << 10, "grew by {grown_kb} kB");
        generator.close(CloseReason::Rewind).await;
    }
    stage.assert_empty();
}

#[tokio::test(flavor = "multi_thread")]
async fn flooded_standard_error_holds_nothing_up() {
    let stage = Stage::new().await;
    let script = r"
        ready
        next; yes complaint | head -c 20000000 >&2; done_
        next; printf 'no newline\t\033[31mred' >&2; exit 2";
    let mut generator = stage.ready(script).await;
    done(generator.work(&stage.message(1)).await);
    let reason = failed(generator.work(&stage.message(2)).await);
    let expected = "exited with code 2; it last said: ";
    let words = reason.strip_prefix(expected).expect(&reason);
    assert!(words.ends_with("no newline  [31mred"), "{reason}");
    let log = stage.output_dir().join("stderr.log");
    assert!(fs::metadata(log).expect("a log").len() <= 1 << 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn program_that_does_not_become_ready_is_told_apart_and_ended() {
    let mut stage = Stage::new().await;
    let check = async |script: &str, expected: &str, is_final: bool| {
        let error = stage.refused(script).await;
        assert_eq!(
            (&*error.reason, error.kind == OpenErrorKind::Final),
            (expected, is_final),
            "{script}"
        );
    };
    let before = "before it was ready:";
    check("exit 0", &format!("{before} exited with code 0"), false).await;
    check(
        "read -r open; echo 'no module named x' >&2; exit 1",
        &format!("{before} exited with code 1; it last said: no module named x"),
        false,
    )
    .await;
    check(
        "read -r open; kill -SEGV $$",
        &format!("{before} ended by signal 11 (SIGSEGV)"),
        false,
    )
    .await;
    for code in [126, 127] {
        let script = format!("echo 'sh: no such thing' >&2; exit {code}");
        let expected = format!("{before} exited with code {code}; it last said: sh: no such thing");
        check(&script, &expected, true).await;
    }
    let said = r#"echo '{"type":"ready","protocol":2}'; sleep 1000"#;
    check(said, "it speaks protocol 2, this worker speaks 1", true).await;
    let said = r#"echo '{"type":"failure","class":"poison","reason":"no key"}'; sleep 1000"#;
    check(said, "it refused to start: no key", true).await;
    let said = r#"echo '{"type":"failure","class":"unavailable","reason":"away"}'"#;
    check(said, "it refused to start: away", false).await;
    let said = "exec >&-; trap '' TERM; sleep 1000 & wait; wait";
    check(said, &format!("{before} closed its standard output"), false).await;

    stage.limits().ready_timeout_ms = 200;
    let said = r#"trap '' TERM; while sleep 0.05; do echo '{"type":"progress"}'; done"#;
    let error = stage.refused(said).await;
    assert_eq!(error.reason, format!("{before} no progress for 0.2 s"));
    assert!(error.kind != OpenErrorKind::Final);
}

#[tokio::test(flavor = "multi_thread")]
async fn program_that_cannot_be_run_is_not_tried_again() {
    let stage = Stage::new().await;
    let home = &stage.settings.home;
    let file = |name: &str, mode: u32| {
        let path = home.join(name);
        fs::write(&path, "no program").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let commands = [
        "/missing/program",
        "sessiond-missing-program",
        &file("not-executable", 0o600),
        &file("not-a-program", 0o700),
        home.to_str().unwrap(),
    ];
    for command in commands {
        let Err(error) = stage.open_command(command, None).await else {
            panic!("{command} became ready");
        };
        assert_eq!(error.kind, OpenErrorKind::Final, "{error}");
        let start = format!("start {command}: ");
        assert!(error.reason.starts_with(&start), "{error}");
        // Its shim may take a moment more.
        stage.wait_empty();
    }

    stage.supervisor.refuse_spawns();
    let error = stage.refused("ready").await;
    assert!(
        error.kind != OpenErrorKind::Final,
        "the worker stops, the program is sound: {error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn crash_with_a_message_in_work_fails_its_attempt() {
    let check = async |script: &str, expected: &str| {
        let stage = Stage::new().await;
        let mut generator = stage.ready(&format!("ready; {script}")).await;
        let mut message = stage.message(7);
        message.payload = format!("\"{}\"", "x".repeat(300_000));
        let reason = failed(generator.work(&message).await);
        assert_eq!(reason, expected, "{script}");
        stage.assert_empty();
        stage.close(generator).await;
    };
    check("next; kill -9 $$", "ended by signal 9 (SIGKILL)").await;
    check(
        "next; echo oops >&2; echo >&2; exit 3",
        "exited with code 3; it last said: oops",
    )
    .await;
    // Half a reply, and none of the message read.
    check(
        r#"printf '{"type":"result","ids":[7],"resul'; exit 0"#,
        "exited with code 0 (1 line of its output ignored: 1 garbage)",
    )
    .await;
    check(
        "exec <&-; trap '' TERM; sleep 1000 & wait; wait",
        "closed its standard input",
    )
    .await;
    check("next; exec >&-; sleep 1000", "closed its standard output").await;
    // Somebody else holds its output open.
    check("next; sleep 1000 & exit 4", "exited with code 4").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reply_that_was_written_before_the_end_counts() {
    let stage = Stage::new().await;
    for script in [
        "next; done_; kill -9 $$",
        "next; printf %s \"$(done_)\"; exit 1",
    ] {
        let mut generator = stage.ready(&format!("ready; {script}")).await;
        done(generator.work(&stage.message(7)).await);
        assert_eq!(generator.idle().await, IdleEnd::Ended, "{script}");
        stage.close(generator).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn close_waits_for_who_ends_and_ends_who_does_not() {
    let mut stage = Stage::new().await;
    // It says much that nobody reads any more, and leaves a daemon.
    let script = r#"
        ready; read -r close
        yes '{"type":"result","ids":[1],"results":[]}' | head -c 3000000
        setsid sleep 1000 & touch ended"#;
    let generator = stage.ready(script).await;
    stage.close(generator).await;
    assert!(
        stage.settings.home.join("ended").exists(),
        "it was let to its end"
    );

    stage.settings.stop_wait = Duration::from_millis(300);
    for script in [
        "trap '' TERM; ready; touch started; while :; do sleep 1000; done",
        "ready; exec >&- <&-; touch started; sleep 1000",
        "ready; touch started; yes '{\"type\":\"progress\"}'",
    ] {
        let generator = stage.ready(script).await;
        let started = stage.settings.home.join("started");
        wait_until("it has started", LIMIT, || match started.exists() {
            true => Ok(()),
            false => Err(()),
        });
        fs::remove_file(&started).unwrap();
        let begun = Instant::now();
        generator.close(CloseReason::Session).await;
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(300), "{script}: {took:?}");
        assert!(took < LIMIT, "{script}: {took:?}");
        stage.assert_empty();
    }
}
