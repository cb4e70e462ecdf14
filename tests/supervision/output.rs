//! What a child writes: lines, floods, files, and pipes that others hold.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;

use sessiond_supervisor::{Exit, Line, StopEnd};

use super::bench::{Bench, SESSION, line};
use crate::support::wait::ok_if;
use crate::support::{LIMIT, wait_until};

#[test]
fn exit_and_the_end_of_output_are_seen_although_a_grandchild_holds_the_pipe() {
    let bench = Bench::new();
    bench.run(async {
        let script =
            "trap '' TERM; (while :; do sleep 1000; done) & echo last words; printf rest; exit 3";
        let mut child = bench.spawn(script).await;
        assert_eq!(child.control.exited().await, Some(Exit::Code(3)));
        assert_eq!(line(&mut child).await, "last words");
        assert_eq!(line(&mut child).await, "rest");
        assert_eq!(child.stdout.next().await, None);
        assert!(
            !bench.processes().is_empty(),
            "the grandchild has its grace"
        );
        let stopped = child.control.stop().await;
        assert_eq!((stopped.end, stopped.exit_code), (StopEnd::Killed, Some(3)));
    });
    bench.wait_clean();
}

#[test]
fn grandchild_that_floods_the_pipe_does_not_put_off_the_end_of_output() {
    let bench = Bench::new();
    bench.run(async {
        let script = "trap '' TERM; (while :; do echo flood; done) & exit 3";
        let mut child = bench.spawn(script).await;
        while let Some(line) = child.stdout.next().await {
            assert_eq!(line, Line::Bytes(b"flood".to_vec()));
        }
        assert!(child.control.has_exited());
        assert!(!bench.processes().is_empty(), "the flood has its grace");
        child.control.stop().await;
    });
    bench.wait_clean();
}

#[test]
fn line_over_the_limit_is_counted_and_takes_no_memory() {
    const BYTES: u64 = 100 << 20;
    let bench = Bench::new();
    bench.run(async {
        let script = format!("head -c {BYTES} /dev/zero; echo; echo after; read -r text");
        let before = memory_peak_bytes();
        let mut child = bench.spawn(&script).await;
        assert_eq!(
            child.stdout.next().await,
            Some(Line::TooLong { bytes: BYTES })
        );
        assert_eq!(line(&mut child).await, "after");
        let grown = memory_peak_bytes() - before;
        assert!(grown < BYTES / 2, "{grown} bytes more at the peak");
        let info = &bench.supervisor.list()[0];
        assert_eq!((info.stdout.long_lines, info.stdout.bytes), (1, BYTES + 7));
        child.control.stop().await;
    });
    bench.wait_clean();
}

#[test]
fn flood_of_standard_error_blocks_nobody() {
    const BYTES: u64 = 20 << 20;
    let bench = Bench::new();
    bench.run(async {
        let script =
            format!("head -c {BYTES} /dev/zero >&2; echo end >&2; echo done; read -r text");
        let mut child = bench.spawn(&script).await;
        assert_eq!(line(&mut child).await, "done");
        wait_until("standard error is read", LIMIT, || {
            let info = bench.supervisor.list()[0].stderr;
            ok_if(info.bytes == BYTES + 4 && info.long_lines == 1, info)
        });
        let tail = child.control.stderr_tail();
        assert_eq!(tail.len(), 64 << 10);
        assert!(tail.ends_with("\0end\n"));
        child.control.stop().await;
    });
    bench.wait_clean();
}

#[test]
fn child_whose_output_is_not_read_waits_and_ends_all_the_same() {
    let bench = Bench::new();
    bench.run(async {
        let script = "echo one; echo up >&2; while :; do echo more; done";
        let mut child = bench.spawn(script).await;
        assert_eq!(line(&mut child).await, "one");
        wait_until("it writes", LIMIT, || {
            let tail = child.control.stderr_tail();
            ok_if(tail == "up\n", tail)
        });
        let read = bench.supervisor.list()[0].stdout.bytes;
        assert!(
            read <= 16 << 10,
            "what is not asked for stays in the pipe: {read}"
        );
        let stopped = child.control.stop().await;
        assert_eq!(stopped.end, StopEnd::Terminated);
    });
    bench.wait_clean();
}

#[test]
fn waiting_for_a_line_can_be_given_up_without_losing_any() {
    let bench = Bench::new();
    bench.run(async {
        let script = "i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done";
        let mut child = bench.spawn(script).await;
        let mut seen = 0;
        loop {
            let next = tokio::select! {
                biased;
                () = tokio::task::yield_now() => continue,
                next = child.stdout.next() => next,
            };
            let Some(next) = next else { break };
            assert_eq!(next, Line::Bytes(format!("line {seen}").into_bytes()));
            seen += 1;
        }
        assert_eq!(seen, 2000);
    });
    bench.wait_clean();
}

#[test]
fn write_that_waits_for_room_ends_with_the_child() {
    let bench = Bench::new();
    bench.run(async {
        // The grandchild keeps the pipe open and reads nothing.
        let script = "trap '' TERM; (while :; do sleep 1000; done) <&0 & read -r text; exit 0";
        let mut child = bench.spawn(script).await;
        let error = loop {
            if let Err(error) = child.stdin.write_line(&[b'x'; 1 << 16]).await {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        child.control.stop().await;
    });
    bench.wait_clean();
}

#[test]
fn output_is_kept_in_files_that_are_put_aside_by_size() {
    let bench = Bench::with(|settings| settings.output_file_max_bytes = 4000);
    let dir = bench.dir.path().join("output");
    bench.run(async {
        let mut command = bench.shell(
            "i=0; while [ $i -lt 500 ]; do echo line $i; i=$((i+1)); done; \
             head -c 20000 /dev/zero | tr '\\0' x; echo to people >&2",
        );
        command.output_dir = Some(dir.clone());
        let mut child = bench.spawn_for(SESSION, command).await;
        while child.stdout.next().await.is_some() {}
        child.control.stop().await;
    });
    // Written soon after it was read; the rest of standard output was read after the child's end.
    wait_until("the output is written", LIMIT, || {
        let last = fs::read_to_string(dir.join("stdout.log")).unwrap_or_default();
        // 20,000 bytes in lines of 8,192, of which the last has no file of its own.
        ok_if(last.len() == 20_000 - 2 * 8192, last.len())
    });
    let read = |name: &str| fs::read_to_string(dir.join(name)).unwrap();
    assert_eq!(read("stderr.log"), "to people\n");
    let last = read("stdout.log");
    assert!(
        last.lines()
            .all(|line| line.len() <= 8 << 10 && line.starts_with('x'))
    );
    let earlier = read("stdout.log.1");
    assert!(earlier.ends_with('\n'), "lines are whole");
    for (name, mode) in [("", 0o700), ("stdout.log", 0o600), ("stdout.log.1", 0o600)] {
        let metadata = fs::metadata(dir.join(name)).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, mode, "{name}");
    }
    bench.wait_clean();
}

#[test]
fn lines_are_whole_across_files_and_none_is_lost() {
    let bench = Bench::with(|settings| settings.output_file_max_bytes = 6000);
    let dir = bench.dir.path().join("output");
    bench.run(async {
        // 1,000 lines of 9 bytes: one file and a half.
        let script = "i=1000; while [ $i -lt 2000 ]; do echo line$i; i=$((i+1)); done";
        let mut command = bench.shell(script);
        command.output_dir = Some(dir.clone());
        let mut child = bench.spawn_for(SESSION, command).await;
        while child.stdout.next().await.is_some() {}
        child.control.stop().await;
    });
    let (earlier, last) = wait_until("the output is written", LIMIT, || {
        let read = |name: &str| fs::read_to_string(dir.join(name)).unwrap_or_default();
        let (earlier, last) = (read("stdout.log.1"), read("stdout.log"));
        match last.ends_with("line1999\n") {
            true => Ok((earlier, last)),
            false => Err(last.len()),
        }
    });
    assert!(earlier.len() <= 6000 && last.len() <= 6000);
    let both = earlier + &last;
    let expected: String = (1000..2000).map(|i| format!("line{i}\n")).collect();
    assert_eq!(both, expected);
    bench.wait_clean();
}

#[test]
fn file_that_cannot_be_written_costs_the_child_nothing() {
    let bench = Bench::new();
    let dir = bench.dir.path().join("output");
    fs::write(&dir, "a file is no directory").unwrap();
    bench.run(async {
        let mut command = bench.shell("echo one; echo two >&2; read -r text");
        command.output_dir = Some(dir.clone());
        let mut child = bench.spawn_for(SESSION, command).await;
        assert_eq!(line(&mut child).await, "one");
        wait_until("the loss is counted", LIMIT, || {
            let info = bench.supervisor.list()[0].clone();
            let is_counted = info.stdout.dropped_bytes == 4 && info.stderr.dropped_bytes == 4;
            ok_if(is_counted, info)
        });
        child.stdin.write_line(b"go").await.unwrap();
        assert_eq!(child.control.exited().await, Some(Exit::Code(0)));
        child.control.stop().await;
        assert_eq!(bench.supervisor.counts().output_dropped_bytes, 8);
    });
    bench.wait_clean();
}

#[test]
fn pipe_that_somebody_outside_of_the_tree_holds_is_counted() {
    let bench = Bench::new();
    bench.run(async {
        let check = async |held: &str, leaked| {
            let child = bench
                .spawn("trap 'exit 0' TERM; while :; do sleep 0.01; done")
                .await;
            let pid = child.control.pid();
            let path = format!("/proc/{pid}/{held}");
            // The pipe itself, for writing, or a file that has nothing to do with it.
            let holder = fs::File::options().append(true).open(path).unwrap();
            child.control.stop().await;
            drop(holder);
            assert_eq!(bench.supervisor.counts().pipes_leaked, leaked, "{held}");
        };
        check("comm", 0).await;
        check("fd/1", 1).await;
        check("fd/2", 2).await;
        check("comm", 2).await;
    });
    bench.wait_clean();
}

/// The most memory this process has had.
fn memory_peak_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("read the status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.expect("a peak").trim().trim_end_matches(" kB");
    kib.parse::<u64>().expect("a number") << 10
}
