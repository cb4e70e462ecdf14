//! One event in a spool file.
//!
//! ```text
//! magic and version, 4 bytes | body length, u32 | CRC-32 of the body, u32 | body
//! body: "event: <uuid>\nfired_at: <unix ms>\nagent: <name>\n[process: <which>\n]\n" and the input's
//!       raw bytes
//! ```
//! Numbers are little-endian. A writer adds a frame with one write under the file's lock, so a
//! half-written one can only be a dead writer's: the last of the file, or damage that a later
//! writer appended to. Readers find their way again by the magic, and skip header lines they do
//! not know.

use super::crc32::checksum;
use super::limits::INPUT_MAX_BYTES;

/// Opens a frame of this version.
pub const MAGIC: [u8; 4] = *b"SSP\x01";

/// Bytes before the body.
pub const PREFIX_BYTES: usize = 12;

/// Bytes of a body at most: a whole input and the header lines.
pub const BODY_MAX_BYTES: usize = INPUT_MAX_BYTES + (4 << 10);

/// One event, borrowed from where it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The event's id, a UUID as text.
    pub event_id: &'a str,
    /// When the hook fired, in milliseconds since the Unix epoch.
    pub fired_at_ms: i64,
    /// Whose hook it was; one line.
    pub agent: &'a str,
    /// Which process the agent is, in the form of [`agent_process`](super::agent_process), unread;
    /// one line.
    pub agent_process: Option<&'a str>,
    /// What the agent wrote, unchanged.
    pub payload: &'a [u8],
}

/// What stands at the start of some bytes of a spool file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoded<'a> {
    /// A whole frame.
    Frame {
        /// The event.
        frame: Frame<'a>,
        /// Bytes it takes in the file. The next frame may lend it its first bytes, see
        /// [`decode`].
        size: usize,
    },
    /// Damage of this many bytes; a frame may follow.
    Corrupt {
        /// Bytes to skip.
        size: usize,
    },
    /// The start of a frame whose rest is not in these bytes.
    Partial {
        /// Bytes that are needed to go on.
        needed: usize,
    },
}

/// The bytes of one frame, to be written at once.
pub fn encode(frame: &Frame<'_>) -> Vec<u8> {
    let Frame {
        event_id,
        fired_at_ms,
        agent,
        agent_process,
        payload,
    } = frame;
    let mut head = format!("event: {event_id}\nfired_at: {fired_at_ms}\nagent: {agent}\n");
    if let Some(process) = agent_process {
        head.push_str("process: ");
        head.push_str(process);
        head.push('\n');
    }
    head.push('\n');
    let length = head.len() + payload.len();
    assert!(length <= BODY_MAX_BYTES, "the input was cut before");
    let mut bytes = Vec::with_capacity(PREFIX_BYTES + length);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&(length as u32).to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(head.as_bytes());
    bytes.extend_from_slice(payload);
    let crc = checksum(&bytes[PREFIX_BYTES..]);
    bytes[8..PREFIX_BYTES].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// What stands at the start of `bytes`, which must not be empty. More bytes than [`PREFIX_BYTES`]
/// and [`BODY_MAX_BYTES`] together are never asked for.
///
/// A frame whose last bytes were never written is whole all the same if the frame that a later
/// writer appended begins with these very bytes; they stay that one's.
pub fn decode(bytes: &[u8]) -> Decoded<'_> {
    let opening = bytes.len().min(MAGIC.len());
    if bytes[..opening] != MAGIC[..opening] {
        return Decoded::Corrupt {
            size: corrupt_bytes(bytes),
        };
    }
    let Some((prefix, rest)) = bytes.split_first_chunk::<PREFIX_BYTES>() else {
        return Decoded::Partial {
            needed: PREFIX_BYTES,
        };
    };
    let [_, _, _, _, l0, l1, l2, l3, c0, c1, c2, c3] = *prefix;
    let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    if length > BODY_MAX_BYTES {
        return Decoded::Corrupt {
            size: corrupt_bytes(bytes),
        };
    }
    let size = PREFIX_BYTES + length;
    let Some(body) = rest.get(..length) else {
        return Decoded::Partial { needed: size };
    };
    if checksum(body) != u32::from_le_bytes([c0, c1, c2, c3]) {
        return Decoded::Corrupt {
            size: corrupt_bytes(bytes),
        };
    }
    match parse_body(body) {
        Some(frame) => Decoded::Frame {
            frame,
            size: size - borrowed_bytes(bytes, size),
        },
        None => Decoded::Corrupt { size },
    }
}

/// How many bytes at the end of the frame that ends at `end` are the start of the next one.
fn borrowed_bytes(bytes: &[u8], end: usize) -> usize {
    let begins_at = |at: usize| bytes[at..].starts_with(&MAGIC);
    if begins_at(end) {
        return 0;
    }
    let lent = (1..MAGIC.len()).find(|&lent| begins_at(end - lent));
    lent.unwrap_or(0)
}

/// Where the next frame may begin after damage, or a frame that was cut off, at the start of
/// `bytes`; only a whole magic counts.
pub fn next_frame(bytes: &[u8]) -> Option<usize> {
    let mut later = bytes.windows(MAGIC.len()).skip(1);
    Some(1 + later.position(|window| window == MAGIC)?)
}

/// How far damage reaches: to the next magic, or to what may be the start of one at the end.
fn corrupt_bytes(bytes: &[u8]) -> usize {
    next_frame(bytes).unwrap_or_else(|| {
        let earliest = bytes.len().saturating_sub(MAGIC.len() - 1).max(1);
        (earliest..bytes.len())
            .find(|&at| MAGIC.starts_with(&bytes[at..]))
            .unwrap_or(bytes.len())
    })
}

/// When the first event of a spool file fired, from the file's first bytes alone; unchecked.
pub fn peek_fired_at(bytes: &[u8]) -> Option<i64> {
    let body = bytes
        .strip_prefix(&MAGIC)?
        .get(PREFIX_BYTES - MAGIC.len()..)?;
    let (head, _) = split_head(body)?;
    header(head, "fired_at")?.parse().ok()
}

fn parse_body(body: &[u8]) -> Option<Frame<'_>> {
    let (head, payload) = split_head(body)?;
    Some(Frame {
        event_id: header(head, "event")?,
        fired_at_ms: header(head, "fired_at")?.parse().ok()?,
        agent: header(head, "agent")?,
        agent_process: header(head, "process"),
        payload,
    })
}

fn split_head(body: &[u8]) -> Option<(&str, &[u8])> {
    let end = body.windows(2).position(|pair| pair == b"\n\n")?;
    let head = str::from_utf8(&body[..end]).ok()?;
    Some((head, &body[end + 2..]))
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(": ")?;
        (found == name).then_some(value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(payload: &[u8]) -> Frame<'_> {
        Frame {
            event_id: "01900000-0000-7000-8000-000000000000",
            fired_at_ms: 1_700_000_000_123,
            agent: "claude-code",
            agent_process: None,
            payload,
        }
    }

    #[test]
    fn frame_survives_its_encoding() {
        for payload in [&b""[..], b"{}", b"\n\n\xff\0SSP\x01", &[7; 100_000]] {
            for agent_process in [None, Some("pid=2 start=3 ns=4")] {
                let frame = Frame {
                    agent_process,
                    ..event(payload)
                };
                let bytes = encode(&frame);
                let size = bytes.len();
                assert_eq!(decode(&bytes), Decoded::Frame { frame, size });
                assert_eq!(peek_fired_at(&bytes), Some(1_700_000_000_123));
            }
        }
    }

    #[test]
    fn unknown_header_lines_are_skipped() {
        let body = b"event: e\nshape: round\nfired_at: 5\nagent: a\n\nrest";
        let frame = parse_body(body).expect("a frame");
        assert_eq!((frame.event_id, frame.payload), ("e", &b"rest"[..]));
        assert_eq!(frame.agent_process, None);
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let bytes = encode(&event(b"{\"a\":1}"));
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let decoded = decode(&damaged);
            assert!(!matches!(decoded, Decoded::Frame { .. }), "bit {bit}");
        }
    }

    #[test]
    fn every_cut_asks_for_more() {
        let bytes = encode(&event(b"{\"a\":1}"));
        for cut in 1..bytes.len() {
            let Decoded::Partial { needed } = decode(&bytes[..cut]) else {
                panic!("cut at {cut} was taken for something else");
            };
            assert!(needed > cut && needed <= bytes.len());
        }
    }

    #[test]
    fn bytes_that_complete_a_torn_frame_stay_with_the_next_one() {
        for ending in [&b"S"[..], b"SS", b"SSP"] {
            let torn = encode(&event(ending));
            let next = encode(&event(b"next"));
            let content = [&torn[..torn.len() - ending.len()], &next].concat();
            let Decoded::Frame { frame, size } = decode(&content) else {
                panic!("the torn frame is whole");
            };
            assert_eq!(frame, event(ending));
            let wanted = Decoded::Frame {
                frame: event(b"next"),
                size: next.len(),
            };
            assert_eq!(decode(&content[size..]), wanted);
        }
    }

    #[test]
    fn damage_ends_where_the_next_frame_begins() {
        let mut bytes = b"rubbish".to_vec();
        bytes.extend(encode(&event(b"x")));
        assert_eq!(decode(&bytes), Decoded::Corrupt { size: 7 });
        assert!(matches!(decode(&bytes[7..]), Decoded::Frame { .. }));
    }
}
