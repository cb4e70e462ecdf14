//! What a closed pipe does: as standard output it ends a command quietly, as the worker's socket
//! it is an error like any other.

use nix::sys::signal::{SigHandler, Signal, signal};

/// Lets the end of whoever reads our output end this process, as in `sessiond results S | head`.
/// Rust ignores the signal, and then printing panics.
pub(super) fn end_with_the_reader() {
    set(SigHandler::SigDfl);
}

/// While it lives, writing to a closed socket is an error and does not end the process.
pub(super) struct SocketsMayClose {
    before: SigHandler,
}

impl SocketsMayClose {
    pub(super) fn new() -> Self {
        Self {
            before: set(SigHandler::SigIgn),
        }
    }
}

impl Drop for SocketsMayClose {
    fn drop(&mut self) {
        set(self.before);
    }
}

fn set(handler: SigHandler) -> SigHandler {
    // SAFETY: both dispositions, ignored and default, run no handler of ours; nobody here installs
    // one for this signal.
    #[expect(unsafe_code, reason = "the signal disposition has no safe interface")]
    let before = unsafe { signal(Signal::SIGPIPE, handler) };
    before.expect("SIGPIPE is a signal that may be set")
}
