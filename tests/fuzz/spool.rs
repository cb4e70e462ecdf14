//! What holds for any bytes that a spool file may have, and for any events that hooks spool: the
//! reader accounts for each byte, believes only what was written whole, and finds its way again.

use std::path::Path;

use sessiond::spool::reader::{Entry, Frame, Piece, SpoolFile};
use sessiond::wire::frame::{self, BODY_MAX_BYTES, Decoded, MAGIC, PREFIX_BYTES};
use sessiond::wire::http::hook_path;
use sessiond::wire::spool_name::spool_file_name;
use tempfile::TempDir;

/// Places at which a file is cut off to look at its beginning alone.
const CUTS_MAX: usize = 64;

/// Panics when something does not hold.
pub(crate) fn check(bytes: &[u8]) {
    let dir = tempfile::tempdir().expect("a directory");
    check_file(&dir, bytes);
    check_cuts(bytes);
    check_events(&dir, bytes);
    check_damage(&dir, bytes);
    check_names(bytes);
}

/// The entries of a file with this content, which is gone afterwards.
fn read(dir: &TempDir, content: &[u8]) -> Vec<(u64, Entry)> {
    let path = dir.path().join("s.spool");
    std::fs::write(&path, content).expect("written");
    let mut file = SpoolFile::open(&path).expect("opened");
    let mut entries = Vec::new();
    // Each piece takes something, so there are never more pieces than bytes.
    for _ in 0..=content.len() {
        match file.next_piece().expect("a piece") {
            Piece::Entries(more) => entries.extend(more),
            Piece::Unlinked => {
                assert!(!path.exists());
                return entries;
            }
            Piece::Replaced => panic!("nobody has replaced it"),
        }
    }
    panic!("read for ever")
}

/// Every byte of the file belongs to one entry.
fn check_file(dir: &TempDir, content: &[u8]) {
    let entries = read(dir, content);
    let offsets = entries.iter().map(|(offset, _)| *offset as usize);
    let ends = offsets.clone().skip(1).chain([content.len()]);
    let mut at = 0;
    for (number, ((offset, end), (_, entry))) in offsets.zip(ends).zip(&entries).enumerate() {
        assert_eq!(offset, at, "a gap");
        let raw = &content[offset..end];
        match entry {
            Entry::Frame(frame) => check_frame(&content[offset..], raw.len(), frame),
            Entry::Corrupt(damage) => {
                assert_eq!(damage, raw);
                let next = entries.get(number + 1);
                assert!(
                    !matches!(next, Some((_, Entry::Corrupt(_)))),
                    "one damage in two"
                );
            }
            Entry::Torn(rest) => {
                assert_eq!(rest, raw);
                assert_eq!(end, content.len(), "torn before the end");
            }
        }
        at = end;
    }
    assert_eq!(at, content.len());
    if let Some((0, Entry::Frame(first))) = entries.first() {
        assert_eq!(frame::peek_fired_at(content), Some(first.fired_at_ms));
    }
}

/// The frame at the start of `rest` was written whole, by the format's own words. It takes `size`
/// bytes, or up to three more, which are the next one's as well.
fn check_frame(rest: &[u8], size: usize, frame: &Frame) {
    let (prefix, rest) = rest.split_at(PREFIX_BYTES);
    let number = |at: usize| {
        let bytes = prefix[at..at + 4].try_into().expect("four bytes");
        u32::from_le_bytes(bytes)
    };
    let body = &rest[..number(4) as usize];
    assert!((size..size + MAGIC.len()).contains(&(PREFIX_BYTES + body.len())));
    assert_eq!(prefix[..4], MAGIC);
    assert_eq!(number(8), crc_by_bits(body));
    let (head, payload) = body.split_at(body.len() - frame.payload.len());
    assert_eq!(payload, frame.payload);
    let head = std::str::from_utf8(head).expect("a head is text");
    assert_eq!(head.find("\n\n"), Some(head.len() - 2));
    assert!(
        head.lines()
            .any(|line| line == format!("agent: {}", frame.agent))
    );
}

/// CRC-32 as its definition has it, a bit a step.
fn crc_by_bits(bytes: &[u8]) -> u32 {
    let mut crc = !0_u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xEDB8_8320 * (crc & 1));
        }
    }
    !crc
}

/// More bytes never change what was made of fewer: a reader may look at any piece of a file.
fn check_cuts(content: &[u8]) {
    if content.is_empty() {
        return;
    }
    let whole = frame::decode(content);
    let step = content.len() / CUTS_MAX + 1;
    for cut in (1..=content.len()).step_by(step) {
        match frame::decode(&content[..cut]) {
            Decoded::Partial { needed } => {
                assert!((cut + 1..=PREFIX_BYTES + BODY_MAX_BYTES).contains(&needed));
            }
            Decoded::Corrupt { size } => {
                assert!((1..=cut).contains(&size));
                let same = matches!(whole, Decoded::Corrupt { size: more } if more >= size);
                assert!(same, "{whole:?}, and damage of {size} in {cut}");
            }
            Decoded::Frame { frame, size } => {
                assert!(size <= cut);
                let same = matches!(whole, Decoded::Frame { frame: same, .. } if same == frame);
                assert!(same, "{whole:?}, and {frame:?} in {cut}");
            }
        }
    }
}

/// Events of these payloads come back as they were.
fn check_events(dir: &TempDir, bytes: &[u8]) {
    let events = events(bytes);
    let content: Vec<u8> = events.iter().flat_map(encoded).collect();
    assert_eq!(frames(dir, &content), events);
}

/// One damaged event, or one that is cut off before the next hook's, costs no other, and nothing
/// comes that was never written. That holds for payloads without the magic: JSON has no control
/// characters, nor has the beginning of a JSON text.
fn check_damage(dir: &TempDir, bytes: &[u8]) {
    let text: Vec<u8> = bytes.iter().map(|byte| byte.max(&b' ')).copied().collect();
    let mut events = events(&text);
    let written: Vec<Vec<u8>> = events.iter().map(encoded).collect();
    let content = written.concat();
    // As good as random, and yet the input's alone.
    let place = crc_by_bits(bytes) as usize % content.len().max(1);
    let Some(victim) = ends(&written).position(|end| place < end) else {
        return;
    };
    let lost = events.remove(victim);

    let mut damaged = content.clone();
    damaged[place] ^= 1 << (place % 8);
    assert_eq!(frames(dir, &damaged), events);

    events.truncate(victim);
    let next = event((victim + 1, b"{}"));
    let cut_off = [&content[..place], &encoded(&next)].concat();
    events.push(next);
    let mut found = frames(dir, &cut_off);
    // Whole all the same when the next one's first bytes are those that it lacks.
    found.retain(|event| *event != lost);
    assert_eq!(found, events);
}

/// Up to four events that have these bytes for payloads.
fn events(bytes: &[u8]) -> Vec<Frame> {
    let count = usize::from(bytes.first().copied().unwrap_or(0) % 4) + 1;
    let payloads = bytes.chunks(bytes.len().div_ceil(count).max(1));
    payloads.enumerate().map(event).collect()
}

/// Where each frame ends in the file.
fn ends(written: &[Vec<u8>]) -> impl Iterator<Item = usize> {
    written.iter().scan(0, |end, frame| {
        *end += frame.len();
        Some(*end)
    })
}

fn event((number, payload): (usize, &[u8])) -> Frame {
    let agents = ["claude-code", "codex", "a_event: b", "\u{e9}: "];
    let mut fired_at = [0; 8];
    let taken = payload.len().min(8);
    fired_at[..taken].copy_from_slice(&payload[..taken]);
    Frame {
        event_id: format!("01900000-0000-7000-8000-{number:012x}")
            .parse()
            .expect("a UUID"),
        fired_at_ms: i64::from_le_bytes(fired_at),
        agent: agents[number % agents.len()].to_owned(),
        agent_process: (number % 2 == 0).then(|| format!("pid={number} \u{e9}: ")),
        payload: payload.to_owned(),
    }
}

fn encoded(event: &Frame) -> Vec<u8> {
    let event_id = event.event_id.to_string();
    let frame = frame::Frame {
        event_id: &event_id,
        fired_at_ms: event.fired_at_ms,
        agent: &event.agent,
        agent_process: event.agent_process.as_deref(),
        payload: &event.payload,
    };
    let bytes = frame::encode(&frame);
    let size = bytes.len();
    assert_eq!(frame::decode(&bytes), Decoded::Frame { frame, size });
    bytes
}

fn frames(dir: &TempDir, content: &[u8]) -> Vec<Frame> {
    let entries = read(dir, content).into_iter();
    let frames = entries.filter_map(|(_, entry)| match entry {
        Entry::Frame(frame) => Some(frame),
        Entry::Corrupt(_) | Entry::Torn(_) => None,
    });
    frames.collect()
}

/// Names made of bytes stay inside of their directory and their path segment.
fn check_names(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (agent, key) = text.split_at(text.floor_char_boundary(text.len() / 2));
    for name in [
        spool_file_name(agent, None),
        spool_file_name(agent, Some(key)),
    ] {
        assert!(name.len() < 120 && name.ends_with(".spool"), "{name}");
        assert_eq!(Path::new(&name).components().count(), 1);
        assert!(!name.starts_with('.'), "{name}");
    }
    let path = hook_path(agent);
    let segment = path.strip_prefix("/v1/hooks/").expect("the path's start");
    assert_eq!(percent_decoded(segment), agent.as_bytes());
}

fn percent_decoded(segment: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = segment;
    while let Some(first) = rest.chars().next() {
        let taken = if first == '%' {
            bytes.push(u8::from_str_radix(&rest[1..3], 16).expect("two digits"));
            3
        } else {
            assert!(
                first.is_ascii_alphanumeric() || "-_~".contains(first),
                "{first}"
            );
            bytes.push(first as u8);
            1
        };
        rest = &rest[taken..];
    }
    bytes
}
