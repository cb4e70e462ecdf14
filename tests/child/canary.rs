//! A bystander that takes every signal as data, so that none is missed and none ends it.

use std::io::Write;
use std::process::exit;

use super::ready;

/// Tells every signal as a line; ends with its standard input, after telling all that came before.
pub(crate) fn sing() -> ! {
    // SAFETY: plain calls on sets and structures that live on the stack; one thread.
    unsafe {
        let mut all = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::sigprocmask(libc::SIG_BLOCK, &all, std::ptr::null_mut());
        let signals = libc::signalfd(-1, &all, libc::SFD_NONBLOCK);
        ready();
        loop {
            let watched = |fd| libc::pollfd {
                fd,
                events: libc::POLLIN,
                revents: 0,
            };
            let mut both = [watched(signals), watched(0)];
            libc::poll(both.as_mut_ptr(), 2, -1);
            let mut hit: libc::signalfd_siginfo = std::mem::zeroed();
            while libc::read(signals, (&raw mut hit).cast(), size_of_val(&hit)) > 0 {
                println!("signal {} from process {}", hit.ssi_signo, hit.ssi_pid);
                std::io::stdout().flush().ok();
            }
            if both[1].revents != 0 {
                exit(0)
            }
        }
    }
}
