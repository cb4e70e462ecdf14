//! What is written without end, and what nobody reads.

use std::io::Write;

use super::{fork, ignore_term, ready};

const CHUNK_BYTES: usize = 64 << 10;

/// Fills the pipe to the last byte, forks as a sign of it, and waits to write more.
pub(crate) fn fill() {
    ignore_term();
    ready();
    set_nonblocking(true);
    // Byte by byte in the end: a part of a page may be free.
    for size in [CHUNK_BYTES, 1] {
        while write(size) > 0 {}
    }
    set_nonblocking(false);
    fork(|| {});
    write(1);
}

fn write(size: usize) -> isize {
    let bytes = vec![b'x'; size];
    // SAFETY: the bytes live on; without a buffer, which would hide how much was taken.
    unsafe { libc::write(1, bytes.as_ptr().cast(), size) }
}

/// One line of every byte but the newline.
pub(crate) fn flood(mib: usize) {
    let chunk: Vec<u8> = (0..=u8::MAX)
        .filter(|byte| *byte != b'\n')
        .cycle()
        .take(CHUNK_BYTES)
        .collect();
    let mut stdout = std::io::stdout().lock();
    for _ in 0..mib * ((1 << 20) / CHUNK_BYTES) {
        stdout.write_all(&chunk).ok();
    }
    stdout.write_all(b"\n").ok();
}

fn set_nonblocking(is_nonblocking: bool) {
    // SAFETY: plain calls on an open descriptor.
    unsafe {
        let flags = libc::fcntl(1, libc::F_GETFL);
        let changed = match is_nonblocking {
            true => flags | libc::O_NONBLOCK,
            false => flags & !libc::O_NONBLOCK,
        };
        libc::fcntl(1, libc::F_SETFL, changed);
    }
}
