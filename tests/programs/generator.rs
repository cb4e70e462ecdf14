//! A generator for tests: works like any other, and misbehaves as the file it is given says.
//!
//! Called with the path of that file, which is read at the start and before each message, one word
//! a line; so that a test can break and mend it while it runs. An absent file is empty.
//!
//! ```text
//! exit-at-start         ends with exit code 1 before `ready`
//! hang-at-start         never says `ready`
//! allocate BYTES        takes so much memory before `ready`
//! unavailable           fails every message: its provider is away
//! die-on KIND           is killed by a message of this kind
//! die-after             is killed after each result, at once
//! hold KIND             takes a message of this kind and says nothing more
//! ignore                ignores SIGTERM, `close` and the end of its input; at its start
//! child                 starts a child of its own that ignores SIGTERM, in a session of its own
//! close-session         asks for its session to be closed after each result
//! cost USD              each message costs this
//! hook PATH             runs the hook client over each message
//! environment           gives its environment as the result
//! ```
//!
//! Each result depends on all messages before it, by the checkpoint alone.

use std::fs;
use std::io::{self, BufRead, Write};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

fn main() {
    let modes = Modes(std::env::args().nth(1).unwrap_or_default());
    if modes.has("exit-at-start") {
        eprintln!("the test wants it so");
        std::process::exit(1);
    }
    let ignores = modes.has("ignore");
    if ignores {
        ignore_sigterm();
    }
    if modes.has("hang-at-start") {
        wait_for_ever();
    }
    if let Some(bytes) = modes.word_after("allocate") {
        // Never written to: what is limited is the address space.
        let bytes = bytes.parse().expect("a number");
        std::hint::black_box(Vec::<u8>::with_capacity(bytes));
    }
    if modes.has("child") {
        start_child();
    }
    let mut state = json!({ "count": 0, "hash": 0 });
    for line in io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        let request: Value = serde_json::from_str(&line).expect("a request is JSON");
        match request["type"].as_str() {
            Some("open") => {
                if !request["checkpoint"].is_null() {
                    state = request["checkpoint"].clone();
                }
                say(&json!({
                    "type": "ready", "name": "test-generator",
                    "provider": "nobody", "model": "none-1",
                }));
            }
            Some("message") => answer(&modes, &request, &mut state),
            Some("close") if !ignores => return,
            _ => {}
        }
    }
    if ignores {
        wait_for_ever();
    }
}

fn answer(modes: &Modes, message: &Value, state: &mut Value) {
    let kind = message["kind"].as_str().expect("a message has a kind");
    if modes.has("unavailable") {
        say(&json!({
            "type": "failure", "id": message["id"], "class": "unavailable",
            "reason": "usage limit reached",
        }));
        return;
    }
    if modes.is("die-on", kind) {
        kill_oneself();
    }
    if modes.is("hold", kind) {
        wait_for_ever();
    }
    let hash = message["payload"].to_string().bytes().fold(
        state["hash"].as_u64().expect("a number"),
        |hash, byte| {
            (hash.rotate_left(5) ^ u64::from(byte)).wrapping_mul(0x9e37_79b9) & 0xffff_ffff
        },
    );
    let count = state["count"].as_u64().expect("a number") + 1;
    *state = json!({ "count": count, "hash": hash });
    let body = if modes.has("environment") {
        let own: Vec<String> = std::env::vars()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        own.join("\n")
    } else if let Some(hook) = modes.word_after("hook") {
        run_hook(&hook, &message["payload"])
    } else {
        format!("{count} {hash:08x}")
    };
    let cost: f64 = modes
        .word_after("cost")
        .map_or(0.0, |cost| cost.parse().expect("a number"));
    say(&json!({
        "type": "result", "ids": [message["id"]],
        "results": [{ "kind": "tally", "title": kind, "body": body }],
        "checkpoint": state,
        "usage": { "input_tokens": 10, "output_tokens": 1, "cost_usd": cost },
    }));
    if modes.has("close-session") {
        say(&json!({ "type": "close_session" }));
    }
    if modes.has("die-after") {
        kill_oneself();
    }
}

/// The words of the file, looked up anew each time.
struct Modes(String);

impl Modes {
    fn lines(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.0).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn has(&self, word: &str) -> bool {
        self.lines().iter().any(|line| line == word)
    }

    fn is(&self, word: &str, value: &str) -> bool {
        self.word_after(word).is_some_and(|found| found == value)
    }

    fn word_after(&self, word: &str) -> Option<String> {
        let lines = self.lines();
        let found = lines
            .iter()
            .find_map(|line| line.strip_prefix(word)?.strip_prefix(' '));
        found.map(str::to_owned)
    }
}

fn say(reply: &Value) {
    let mut out = io::stdout().lock();
    writeln!(out, "{reply}")
        .and_then(|()| out.flush())
        .expect("the worker listens");
}

fn ignore_sigterm() {
    let ignore = nix::sys::signal::SigHandler::SigIgn;
    #[expect(unsafe_code, reason = "the only way to ignore a signal")]
    // SAFETY: ignoring runs no code of ours.
    unsafe { nix::sys::signal::signal(nix::sys::signal::Signal::SIGTERM, ignore) }
        .expect("SIGTERM can be ignored");
}

#[expect(
    clippy::disallowed_methods,
    clippy::zombie_processes,
    reason = "outliving is what this child is for"
)]
fn start_child() {
    Command::new("setsid")
        .args(["sh", "-c", "trap '' TERM; while :; do sleep 1; done"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("setsid runs");
}

#[expect(clippy::disallowed_methods, reason = "a hook ends by itself")]
fn run_hook(hook: &str, payload: &Value) -> String {
    let mut child = Command::new(hook)
        .args(["--agent", "claude-code"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the hook runs");
    let mut input = child.stdin.take().expect("it is piped");
    // A hook that is to stay quiet may end without reading.
    input.write_all(payload.to_string().as_bytes()).ok();
    drop(input);
    let output = child.wait_with_output().expect("the hook ends");
    format!(
        "{} {:?}",
        output.status,
        String::from_utf8_lossy(&output.stdout)
    )
}

fn kill_oneself() -> ! {
    nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL).expect("it can be sent");
    wait_for_ever()
}

fn wait_for_ever() -> ! {
    loop {
        std::thread::park();
    }
}
