//! A worker that a hook has started has nothing left to do with the agent.

use std::os::unix::process::CommandExt;
use std::process::Stdio;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::support::wait::ok_if;
use crate::support::{Home, LIMIT, Process, launch, payload, wait_until};

const SECRET: &str = "sk-the-agents-own-secret";

#[test]
fn worker_started_by_a_hook_survives_the_death_of_the_hooks_group() {
    let mut home = Home::new();
    home.let_hooks_start();
    // As agents do: a shell in a group of its own runs the hook; at a timeout the group is killed.
    let mut shell = home.command("/bin/sh");
    let event = payload::prompt("s", "hello");
    shell
        .args(["-c", "printf %s \"$EVENT\" | \"$HOOK\"; exec sleep 600"])
        .env("HOOK", env!("CARGO_BIN_EXE_sessiond-hook"))
        .env("EVENT", event)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut shell = launch::spawn(&mut shell);
    let agent = Process { pid: shell.id() };
    let worker = home.wait_detached();

    assert_ne!(worker.group(), agent.group());
    assert_ne!(
        worker.session(),
        agent.session(),
        "it has a session of its own"
    );
    assert_ne!(
        worker.session(),
        Some(worker.pid),
        "not leading it, it gets no terminal"
    );
    assert_ne!(
        worker.parent(),
        Some(agent.pid),
        "it is not in the agent's tree"
    );

    let group = Pid::from_raw(i32::try_from(agent.pid).expect("a process id"));
    killpg(group, Signal::SIGKILL).expect("the group is ours");
    shell.wait().expect("the shell is our child");
    wait_until("only the worker is left", LIMIT, || {
        let left = home.processes();
        ok_if(left == [worker], left)
    });
    wait_until("the event is worked", LIMIT, || {
        let stats = home.database().stats();
        ok_if(stats.depth.done == 1, stats)
    });
    home.stop_detached();
}

#[test]
fn worker_started_by_a_hook_holds_nothing_of_the_agents() {
    let mut home = Home::new();
    home.let_hooks_start();
    let mut hook = home.hook_command("claude-code");
    hook.env("ANTHROPIC_API_KEY", SECRET)
        .env("CLAUDE_PID", "1")
        .env("GH_TOKEN", SECRET)
        .env("LD_LIBRARY_PATH", "/nowhere")
        .env("PATH", "/project/bin:/usr/bin:/bin");
    // That the hook's output ends though the worker lives is asserted by `run` itself.
    launch::run(&mut hook, payload::prompt("s", "hello").as_bytes(), LIMIT).silence();
    let worker = home.wait_detached();

    let environment = worker.environment();
    let names: Vec<_> = environment
        .iter()
        .filter_map(|entry| entry.split_once('='))
        .map(|(name, _)| name)
        .collect();
    assert!(names.contains(&"SESSIOND_HOME"), "{names:?}");
    for name in [
        "ANTHROPIC_API_KEY",
        "CLAUDE_PID",
        "GH_TOKEN",
        "LD_LIBRARY_PATH",
    ] {
        assert!(!names.contains(&name), "{name} leaked");
    }
    assert!(
        environment.iter().all(|entry| !entry.contains(SECRET)),
        "a secret leaked"
    );
    assert!(
        environment
            .iter()
            .all(|entry| !entry.contains("/project/bin")),
        "PATH leaked"
    );
    assert!(home.api().doctor().environment_leaks.is_empty());

    let descriptors = worker.descriptors();
    for (number, target) in &descriptors[..3] {
        assert_eq!(target.to_str(), Some("/dev/null"), "descriptor {number}");
    }
    let pipes: Vec<_> = descriptors
        .iter()
        .filter(|(_, target)| target.to_string_lossy().starts_with("pipe:"))
        .collect();
    assert!(pipes.is_empty(), "pipes of the hook's are open: {pipes:?}");
    home.stop_detached();
}
