//! What passes between the agent and this program: its event in, the worker's answer out.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::PollFlags;
use rustix::io::Errno;

use crate::deadline::Deadline;
use crate::json;
use crate::wire::limits::INPUT_MAX_BYTES;

/// How much room is made for each read.
const READ_BYTES: usize = 64 << 10;

/// After this long without a byte more, a whole JSON object is taken for the whole input: an agent
/// that leaves the pipe open must not cost the deadline at every event.
const QUIET: Duration = Duration::from_millis(20);

/// As much as one write never blocks on, once the reader's pipe is said to have room.
const WRITE_BYTES: usize = 4 << 10;

/// Standard input to its end, or as much of it as came before the deadline.
///
/// The descriptor is shared with others, so it stays in blocking mode, and each read is preceded
/// by a poll.
pub(crate) fn read(deadline: &Deadline) -> Vec<u8> {
    let stdin = io::stdin();
    let mut input = Vec::new();
    while input.len() < INPUT_MAX_BYTES {
        let wait = |at_most| deadline.ready(stdin.as_fd(), PollFlags::IN, at_most);
        let ready = wait(QUIET).or_else(|| {
            let whole = json::is_whole_object(&input);
            if whole { None } else { wait(Duration::MAX) }
        });
        if ready.is_none() {
            break;
        }
        if input.capacity() - input.len() < READ_BYTES / 2 {
            input.reserve(READ_BYTES);
        }
        match rustix::io::read(stdin.as_fd(), spare_capacity(&mut input)) {
            Ok(0) => break,
            Ok(_) | Err(Errno::INTR | Errno::AGAIN) => {}
            Err(_) => break,
        }
    }
    input.truncate(INPUT_MAX_BYTES);
    input
}

/// Gives the worker's answer to the agent, as far as the agent reads it within the deadline.
pub(crate) fn answer(output: &[u8], deadline: &Deadline) {
    let stdout = io::stdout();
    let mut rest = output;
    while !rest.is_empty() {
        let wait = deadline.remaining();
        if deadline
            .ready(stdout.as_fd(), PollFlags::OUT, wait)
            .is_none()
        {
            return;
        }
        match rustix::io::write(stdout.as_fd(), &rest[..rest.len().min(WRITE_BYTES)]) {
            Ok(written) => rest = &rest[written..],
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(_) => return,
        }
    }
}
