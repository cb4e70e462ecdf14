//! Processes that are hard to find, or that may not be signalled.

use std::ffi::{CStr, c_char};
use std::fs::File;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Command, exit};

use super::{children, fork, ignore_term, leave_session, member_ignores, ready, wait};

unsafe extern "C" {
    /// The environment, as libc has it.
    static environ: *const *mut c_char;
}

/// Members of a tree of which somebody is to be found only by the tree itself.
const MEMBERS: u32 = 2;

/// Becomes the same program without an environment.
pub(crate) fn wipe(marker: &str) -> ! {
    exec(&["member-ignores", &MEMBERS.to_string()], marker)
}

/// Overwrites the environment where the kernel shows it.
pub(crate) fn overwrite() {
    // SAFETY: the strings are the process's own and writable; nothing here reads them again.
    unsafe {
        let mut entry = environ;
        while !(*entry).is_null() {
            let bytes = CStr::from_ptr(*entry).count_bytes();
            std::ptr::write_bytes(*entry, b'x', bytes);
            entry = entry.add(1);
        }
    }
    member_ignores(MEMBERS);
}

/// Makes what is of this process in `/proc` root's.
pub(crate) fn make_undumpable() {
    // SAFETY: concerns this process alone.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) };
    member_ignores(MEMBERS);
}

/// Hides in every way, in a session of its own. `ready` is said by who hides.
pub(crate) fn hide(marker: &str) -> ! {
    ignore_term();
    fork(|| {
        leave_session();
        exec(&["undumpable"], marker)
    });
    wait()
}

/// Starts `program`, which says `ready`, beside a child that can be killed.
pub(crate) fn beside(program: &str, file: &str, marker: &str) -> ! {
    ignore_term();
    children(1);
    fork(|| {
        let error = Command::new(program)
            .args(["root", file, "--marker", marker])
            .exec();
        eprintln!("exec {program}: {error}");
        exit(1)
    });
    wait()
}

/// Takes the rights of the program's owner for good, if it has its set-user-id bit.
pub(crate) fn take_rights(file: &str) -> ! {
    // SAFETY: plain calls.
    let is_other = unsafe {
        let before = libc::getuid();
        libc::setuid(libc::geteuid()) == 0 && libc::getuid() != before
    };
    if !is_other {
        eprintln!("no other rights could be had");
        exit(1)
    }
    // Opens at once: whoever started this holds it open.
    let fifo = File::open(file);
    ready();
    let ended = fifo.and_then(|mut fifo| fifo.read_to_end(&mut Vec::new()));
    exit(i32::from(ended.is_err()))
}

fn exec(words: &[&str], marker: &str) -> ! {
    let error = Command::new("/proc/self/exe")
        .args(words)
        .args(["--marker", marker])
        .env_clear()
        .exec();
    eprintln!("exec: {error}");
    exit(1)
}
