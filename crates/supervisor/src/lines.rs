//! Bytes into lines of a limited length.
//!
//! Pure: what is fed is cut, and a line over the limit is counted instead of kept.

use crate::child::Line;

/// Cuts a stream into lines.
#[derive(Debug)]
pub(crate) struct LineCutter {
    line_max_bytes: usize,
    /// The beginning of a line whose end has not come.
    partial: Vec<u8>,
    /// Bytes of a line that is being thrown away.
    discarded: Option<u64>,
}

impl LineCutter {
    pub(crate) fn new(line_max_bytes: usize) -> Self {
        Self {
            line_max_bytes,
            partial: Vec::new(),
            discarded: None,
        }
    }

    /// Takes bytes up to the first newline. Gives how many were taken, and the line that they
    /// ended, if they did.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> (usize, Option<Line>) {
        let newline = bytes.iter().position(|byte| *byte == b'\n');
        let part = &bytes[..newline.unwrap_or(bytes.len())];
        self.append(part);
        match newline {
            Some(index) => (index + 1, Some(self.take())),
            None => (bytes.len(), None),
        }
    }

    /// The stream's last line, if it has no newline.
    pub(crate) fn finish(&mut self) -> Option<Line> {
        let is_open = self.discarded.is_some() || !self.partial.is_empty();
        is_open.then(|| self.take())
    }

    fn append(&mut self, part: &[u8]) {
        if let Some(discarded) = &mut self.discarded {
            *discarded += part.len() as u64;
        } else if self.partial.len() + part.len() > self.line_max_bytes {
            self.discarded = Some((self.partial.len() + part.len()) as u64);
            self.partial = Vec::new();
        } else {
            self.partial.extend_from_slice(part);
        }
    }

    fn take(&mut self) -> Line {
        match self.discarded.take() {
            Some(bytes) => Line::TooLong { bytes },
            None => Line::Bytes(std::mem::take(&mut self.partial)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `input` in pieces of each size and expects the same lines each time.
    fn check(input: &[u8], line_max_bytes: usize, expected: &[Line]) {
        for piece_bytes in 1..=input.len().max(1) {
            let mut cutter = LineCutter::new(line_max_bytes);
            let mut lines = Vec::new();
            for mut piece in input.chunks(piece_bytes) {
                while !piece.is_empty() {
                    let (taken, line) = cutter.feed(piece);
                    piece = &piece[taken..];
                    lines.extend(line);
                    assert!(cutter.partial.len() <= line_max_bytes, "a limit on memory");
                }
            }
            lines.extend(cutter.finish());
            assert_eq!(lines, expected, "in pieces of {piece_bytes}");
        }
    }

    fn line(text: &str) -> Line {
        Line::Bytes(text.as_bytes().to_vec())
    }

    #[test]
    fn lines_come_without_their_newlines_and_the_last_needs_none() {
        check(b"", 4, &[]);
        check(b"\n", 4, &[line("")]);
        check(b"a\n\nbc", 4, &[line("a"), line(""), line("bc")]);
        check(b"\xff\0\r\n", 4, &[Line::Bytes(vec![0xff, 0, b'\r'])]);
    }

    #[test]
    fn line_over_the_limit_is_counted_and_costs_only_itself() {
        let long = |bytes| Line::TooLong { bytes };
        check(b"abcd\nabcde\nx\n", 4, &[line("abcd"), long(5), line("x")]);
        check(b"abcdefgh", 4, &[long(8)]);
        check(b"abcde\n\n", 0, &[long(5), line("")]);
    }
}
