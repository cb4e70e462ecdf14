//! What is kept of a child's output: its end in memory, all of it in files, and the counts.
//!
//! Taking bytes never waits and never fails, whatever the disk does. Reading the pipe, and what a
//! line of it means, is for others.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::output_file::OutputFile;
use crate::report::StreamInfo;

/// Bytes of a stream's end that are kept in memory.
pub(crate) const RING_BYTES: usize = 64 << 10;

/// Bytes of one line in a file; longer ones are split, so that the file can be read line by line.
pub(crate) const FILE_LINE_BYTES: usize = 8 << 10;

/// One output stream of a spawn.
#[derive(Debug)]
pub(crate) struct Capture {
    kept: Mutex<Kept>,
    file: Option<Arc<OutputFile>>,
    /// Whether the lines that are split count as the long ones; otherwise the reader counts those
    /// that it has thrown away.
    counts_split: bool,
}

#[derive(Debug, Default)]
struct Kept {
    ring: VecDeque<u8>,
    bytes: u64,
    long_lines: u64,
    /// Bytes since the last newline that was written or made, and whether one was made.
    column: usize,
    is_split: bool,
}

impl Capture {
    /// Of standard output: its reader counts the long lines.
    pub(crate) fn of_stdout(file: Option<Arc<OutputFile>>) -> Self {
        Self {
            kept: Mutex::default(),
            file,
            counts_split: false,
        }
    }

    /// Of standard error.
    pub(crate) fn of_stderr(file: Option<Arc<OutputFile>>) -> Self {
        Self {
            kept: Mutex::default(),
            file,
            counts_split: true,
        }
    }

    /// Keeps bytes that were read. To be called within the runtime, by one reader at a time.
    pub(crate) fn take(&self, bytes: &[u8]) {
        let split = {
            let mut kept = self.lock();
            kept.bytes += bytes.len() as u64;
            kept.keep_end(bytes);
            let (split, long_lines) = kept.split(bytes);
            if self.counts_split {
                kept.long_lines += long_lines;
            }
            split
        };
        if let Some(file) = &self.file {
            file.write(&split);
        }
    }

    pub(crate) fn count_long_line(&self) {
        self.lock().long_lines += 1;
    }

    /// The stream's last [`RING_BYTES`].
    pub(crate) fn tail(&self) -> Vec<u8> {
        self.lock().ring.iter().copied().collect()
    }

    pub(crate) fn info(&self) -> StreamInfo {
        let kept = self.lock();
        StreamInfo {
            bytes: kept.bytes,
            dropped_bytes: self.file.as_ref().map_or(0, |file| file.dropped_bytes()),
            long_lines: kept.long_lines,
        }
    }

    /// Waits until what was taken is in the file, as far as it can be, for a limited time.
    pub(crate) async fn flush(&self) {
        if let Some(file) = &self.file {
            file.flush().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn keep_end(&mut self, bytes: &[u8]) {
        let bytes = &bytes[bytes.len().saturating_sub(RING_BYTES)..];
        let over = (self.ring.len() + bytes.len()).saturating_sub(RING_BYTES);
        self.ring.drain(..over);
        self.ring.extend(bytes);
    }

    /// The bytes with a newline after every [`FILE_LINE_BYTES`] of one line, and how many lines
    /// turned out to be long.
    fn split(&mut self, bytes: &[u8]) -> (Vec<u8>, u64) {
        let mut out = Vec::with_capacity(bytes.len() + bytes.len() / FILE_LINE_BYTES + 1);
        let mut long_lines = 0;
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ends) = match piece.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (piece, false),
            };
            let mut text = text;
            while !text.is_empty() {
                if self.column == FILE_LINE_BYTES {
                    out.push(b'\n');
                    self.column = 0;
                    long_lines += u64::from(!self.is_split);
                    self.is_split = true;
                }
                let (now, later) = text.split_at(text.len().min(FILE_LINE_BYTES - self.column));
                out.extend_from_slice(now);
                self.column += now.len();
                text = later;
            }
            if ends {
                out.push(b'\n');
                self.column = 0;
                self.is_split = false;
            }
        }
        (out, long_lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ring_keeps_the_end_of_what_came_however_it_came() {
        let input: Vec<u8> = (0..3 * RING_BYTES)
            .map(|index| (index % 251) as u8)
            .collect();
        for piece_bytes in [1000, RING_BYTES, 2 * RING_BYTES + 1] {
            let capture = Capture::of_stdout(None);
            for piece in input.chunks(piece_bytes) {
                capture.take(piece);
            }
            assert_eq!(capture.tail(), input[2 * RING_BYTES..]);
            assert_eq!(capture.info().bytes, input.len() as u64);
        }
    }

    #[test]
    fn long_line_is_split_at_the_cap_and_counted_once() {
        let line = |bytes: usize| [vec![b'x'; bytes], vec![b'\n']].concat();
        let input = [
            line(FILE_LINE_BYTES),
            line(2 * FILE_LINE_BYTES + 1),
            line(1),
        ]
        .concat();
        let expected = [
            line(FILE_LINE_BYTES),
            line(FILE_LINE_BYTES),
            line(FILE_LINE_BYTES),
            line(1),
            line(1),
        ]
        .concat();
        for piece_bytes in [1, 7, FILE_LINE_BYTES, input.len()] {
            let mut kept = Kept::default();
            let (mut out, mut long_lines) = (Vec::new(), 0);
            for piece in input.chunks(piece_bytes) {
                let (split, long) = kept.split(piece);
                out.extend(split);
                long_lines += long;
            }
            assert_eq!(out, expected, "in pieces of {piece_bytes}");
            assert_eq!(long_lines, 1, "in pieces of {piece_bytes}");
        }
    }
}
