//! `nasty-child`: a program that behaves as badly as a child may, for the tests of supervision.
//!
//! `nasty-child COMMAND [N]` builds the tree that COMMAND names and then prints `ready`, so a test
//! knows when to strike. Everybody in it waits for ever: whoever is left was forgotten. Standard
//! library and libc only. Here are the trees; `hiding` has what is not to be seen, `output` what
//! writes, `canary` who must never be hit.
#![allow(
    unsafe_code,
    reason = "fork and signals are the very thing; one thread unless a command says otherwise"
)]

mod canary;
mod hiding;
mod output;

use std::env;
use std::io::Write;
use std::process::exit;
use std::str::FromStr;
use std::thread;

const USAGE: &str = "\
nasty-child COMMAND [N]
  wait            does nothing
  exit N          exits with this code, without `ready`
  ignore-term     ignores SIGTERM
  member-ignores N
                  N children that ignore SIGTERM below a parent that does not
  orphan          leaves a child that ignores SIGTERM and holds nothing, and exits
  new-groups N    N children that ignore SIGTERM, each in a group of its own
  fork-on-term N  on SIGTERM leaves a child that does the same, N times over
  respawn         ignores SIGTERM and replaces its child whenever that dies
  double-fork     leaves a daemon
  setsid-chain N  N descendants, each the child of the one before, in N sessions
  run-away        for ever forks, leaves its session and lets the parent exit; ignores SIGTERM
  bomb N          2^N processes that ignore SIGTERM
  children N      N children
  zombies N       N children that have exited
  stopped         a stopped child, then stops itself
  threads         ignores SIGTERM; its child, which does not, belongs to its second thread
  headless        its first thread has exited; the second ignores SIGTERM
  hold-stdout     leaves a grandchild that holds its output and ignores SIGTERM, and exits
  close-stdin     closes its standard input
  kill-group      kills its own process group
  wiped           two members that ignore SIGTERM, all without an environment
  overwritten     the same with the environment overwritten in place
  undumpable      the same unreadable to others of its user
  hidden          without an environment and unreadable, in a session of its own
  fill-stdout     fills its output, then forks; ignores SIGTERM
  flood N         a line of N MiB of binary data, before `ready`
  beside PROGRAM FILE
                  two children: one ignores SIGTERM, one is PROGRAM, told `root FILE`
  root FILE       takes all rights of its owner, and waits for the end of the fifo FILE
  canary          tells every signal that meets it; ends with its standard input
  canary-apart    the same in a session of its own
`--marker TEXT` at the end is for whoever looks for these processes.
";

fn main() {
    let words: Vec<String> = env::args().skip(1).collect();
    let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut marker = "";
    if let [.., "--marker", text] = words[..] {
        marker = text;
        words.truncate(words.len() - 2);
    }
    match words[..] {
        ["wait"] => {}
        ["exit", code] => exit(number(code)),
        ["ignore-term"] => ignore_term(),
        ["member-ignores", count] => member_ignores(number(count)),
        ["orphan"] => orphan(),
        ["new-groups", count] => new_groups(number(count)),
        ["fork-on-term", generations] => fork_on_term(number(generations), ready),
        ["respawn"] => respawn(),
        ["double-fork"] => double_fork(),
        ["setsid-chain", hops] => setsid_chain(number(hops)),
        ["run-away"] => run_away(),
        ["bomb", depth] => bomb(number(depth)),
        ["children", count] => children(number(count)),
        ["zombies", count] => zombies(number(count)),
        ["stopped"] => stopped(),
        ["threads"] => thread_with_child(),
        ["headless"] => headless(),
        ["hold-stdout"] => hold_stdout(),
        // SAFETY: nothing here reads it.
        ["close-stdin"] => drop(unsafe { libc::close(0) }),
        ["kill-group"] => kill_group(),
        ["wiped"] => hiding::wipe(marker),
        ["overwritten"] => hiding::overwrite(),
        ["undumpable"] => hiding::make_undumpable(),
        ["hidden"] => hiding::hide(marker),
        ["fill-stdout"] => output::fill(),
        ["flood", mib] => output::flood(number(mib)),
        ["beside", program, file] => hiding::beside(program, file, marker),
        ["root", file] => hiding::take_rights(file),
        ["canary"] => canary::sing(),
        ["canary-apart"] => {
            leave_session();
            canary::sing()
        }
        _ => usage(),
    }
    ready();
    wait();
}

fn number<T: FromStr>(text: &str) -> T {
    text.parse().unwrap_or_else(|_| usage())
}

fn usage() -> ! {
    eprint!("{USAGE}");
    exit(2)
}

fn ready() {
    println!("ready");
    std::io::stdout().flush().ok();
}

fn wait() -> ! {
    loop {
        // SAFETY: waits for a signal.
        unsafe { libc::pause() };
    }
}

/// Runs `child` in a child, which waits for ever if it returns; gives its pid.
fn fork(child: impl FnOnce()) -> i32 {
    // SAFETY: no other thread holds a lock at this point, in any of the commands.
    match unsafe { libc::fork() } {
        0 => {
            child();
            wait()
        }
        -1 => {
            eprintln!("fork: {}", std::io::Error::last_os_error());
            exit(1)
        }
        pid => pid,
    }
}

fn leave_session() {
    // SAFETY: concerns this process alone.
    unsafe { libc::setsid() };
}

/// Ends without flushing what a forked parent may have buffered.
fn leave() -> ! {
    // SAFETY: ends this process.
    unsafe { libc::_exit(0) }
}

fn ignore_term() {
    // SAFETY: installs no handler.
    unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
}

fn heed_term() {
    // SAFETY: installs no handler.
    unsafe { libc::signal(libc::SIGTERM, libc::SIG_DFL) };
}

fn member_ignores(count: u32) {
    // Before they are there, so that they never do anything else.
    ignore_term();
    children(count);
    heed_term();
}

fn orphan() -> ! {
    ignore_term();
    fork(|| {
        leave_session();
        for descriptor in 0..3 {
            // SAFETY: nothing here reads or writes any more.
            unsafe { libc::close(descriptor) };
        }
    });
    ready();
    leave()
}

fn new_groups(count: u32) {
    ignore_term();
    for _ in 0..count {
        let pid = fork(|| {});
        // SAFETY: plain call; from here, so that it is done before `ready`.
        unsafe { libc::setpgid(pid, pid) };
    }
}

/// Blocks these signals and waits for one of them.
fn wait_for(signals: &[i32], then: impl FnOnce()) {
    // SAFETY: plain calls on a set that lives on the stack.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        for signal in signals {
            libc::sigaddset(&mut set, *signal);
        }
        libc::sigprocmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
        then();
        let mut came = 0;
        libc::sigwait(&set, &mut came);
    }
}

fn fork_on_term(generations: u32, when_set_up: fn()) -> ! {
    wait_for(&[libc::SIGTERM], when_set_up);
    if generations > 0 {
        fork(|| fork_on_term(generations - 1, || {}));
    }
    leave()
}

fn respawn() -> ! {
    ignore_term();
    fork(|| {});
    ready();
    loop {
        // SAFETY: waits for any child; no status is asked for.
        unsafe { libc::wait(std::ptr::null_mut()) };
        fork(|| {});
    }
}

fn double_fork() {
    fork(|| {
        leave_session();
        fork(|| {});
        leave();
    });
    // SAFETY: as above.
    unsafe { libc::wait(std::ptr::null_mut()) };
}

/// `ready` is said by the last one.
fn setsid_chain(hops: u32) {
    if hops == 0 {
        return;
    }
    fork(|| {
        leave_session();
        setsid_chain(hops - 1);
        if hops == 1 {
            ready();
        }
    });
    wait();
}

fn run_away() -> ! {
    ignore_term();
    fork(|| -> () { run_on() });
    ready();
    wait()
}

/// One hop after the other, in a process that is always new.
fn run_on() -> ! {
    loop {
        leave_session();
        // SAFETY: one thread.
        match unsafe { libc::fork() } {
            0 => {}
            _ => leave(),
        }
    }
}

/// Each process waits for the `ready` of none: a test counts them.
fn bomb(depth: u32) {
    ignore_term();
    for left in (0..depth).rev() {
        fork(|| bomb(left));
    }
}

fn children(count: u32) {
    for _ in 0..count {
        fork(|| {});
    }
}

fn zombies(count: u32) {
    for _ in 0..count {
        fork(|| leave());
    }
}

fn stopped() {
    // SAFETY: stops the process that calls it.
    let stop = || unsafe {
        libc::raise(libc::SIGSTOP);
    };
    fork(stop);
    ready();
    stop();
    wait();
}

fn thread_with_child() {
    thread::spawn(|| {
        fork(|| {});
        ignore_term();
        ready();
        wait()
    });
    wait();
}

fn headless() -> ! {
    ignore_term();
    thread::spawn(|| {
        ready();
        wait()
    });
    // SAFETY: ends this thread only; nothing that it owns is needed by the other one.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
    unreachable!("the thread has ended");
}

fn hold_stdout() -> ! {
    ignore_term();
    fork(leave_session);
    ready();
    leave()
}

fn kill_group() {
    // SAFETY: it is what was asked for.
    unsafe { libc::kill(0, libc::SIGKILL) };
}
