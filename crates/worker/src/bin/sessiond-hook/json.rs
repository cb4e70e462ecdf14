//! As much JSON as it takes to tell which session an event belongs to.
//!
//! The payload is passed on unread: only the strings of a top-level object are looked at, nothing
//! is rejected, and the worker's own parser has the last word on what is valid.

/// Where agents put their session's id; the first of these that is a string counts.
const SESSION_NAMES: [&str; 5] = [
    "session_id",
    "conversation_id",
    "sessionId",
    "trajectory_id",
    "session",
];

/// Where agents put the event's name, likewise.
const EVENT_NAMES: [&str; 2] = ["hook_event_name", "event"];

/// What a top-level object says about itself.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// The agent's id of its session; never empty.
    pub(crate) session_key: Option<String>,
    /// The event's name; never empty.
    pub(crate) event: Option<String>,
}

/// Looks through the top-level object that `bytes` start with, if they do. Stops early once it has
/// the best names: agents write them first, and the large values last.
pub(crate) fn scan(bytes: &[u8]) -> Found {
    let mut scanner = Scanner { bytes, at: 0 };
    let mut session = Best::new(&SESSION_NAMES);
    let mut event = Best::new(&EVENT_NAMES);
    // `None` only says that the object ends here, whole or broken off.
    scanner.each_string(|name, value| {
        session.offer(name, value);
        event.offer(name, value);
        session.is_final() && event.is_final()
    });
    Found {
        session_key: session.value,
        event: event.value,
    }
}

/// Whether `bytes` are one object from its opening to its closing brace, with nothing but white
/// space around it.
pub(crate) fn is_whole_object(bytes: &[u8]) -> bool {
    if bytes.trim_ascii_end().last() != Some(&b'}') {
        return false;
    }
    let mut scanner = Scanner { bytes, at: 0 };
    scanner.peek() == Some(b'{') && scanner.skip_value().is_some() && scanner.peek().is_none()
}

/// The value under the first of some names.
struct Best {
    names: &'static [&'static str],
    value: Option<String>,
}

impl Best {
    fn new(names: &'static [&'static str]) -> Self {
        Self { names, value: None }
    }

    fn offer(&mut self, name: &[u8], value: &[u8]) {
        if value.is_empty() {
            return;
        }
        let found = self
            .names
            .iter()
            .position(|wanted| wanted.as_bytes() == name);
        if let Some(rank) = found {
            // Later ones of the same or a lower rank no longer count.
            self.names = &self.names[..rank];
            self.value = Some(unescape(value));
        }
    }

    fn is_final(&self) -> bool {
        self.names.is_empty()
    }
}

struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    /// Calls `visit` with each name of the object whose value is a string, both still escaped,
    /// until it answers that it has enough. `None`: the object is broken off, or is none.
    fn each_string(&mut self, mut visit: impl FnMut(&[u8], &[u8]) -> bool) -> Option<()> {
        self.expect(b'{')?;
        while self.peek()? != b'}' {
            let name = self.string()?;
            self.expect(b':')?;
            if self.peek()? == b'"' {
                let value = self.string()?;
                if visit(name, value) {
                    return Some(());
                }
            } else {
                self.skip_value()?;
            }
            if self.peek()? == b',' {
                self.at += 1;
            }
        }
        Some(())
    }

    /// The next byte that is not white space.
    fn peek(&mut self) -> Option<u8> {
        let rest = &self.bytes[self.at..];
        self.at += rest.iter().position(|byte| !byte.is_ascii_whitespace())?;
        Some(self.bytes[self.at])
    }

    fn expect(&mut self, wanted: u8) -> Option<()> {
        (self.peek()? == wanted).then(|| self.at += 1)
    }

    /// The inside of the string that comes next.
    fn string(&mut self) -> Option<&'a [u8]> {
        self.expect(b'"')?;
        let start = self.at;
        loop {
            let rest = self.bytes.get(self.at..)?;
            let found = rest.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
            self.at += found;
            if self.bytes[self.at] == b'"' {
                self.at += 1;
                return Some(&self.bytes[start..self.at - 1]);
            }
            self.at += 2;
        }
    }

    /// Steps over a value of any depth, without recursion: the depth is the agent's to choose.
    fn skip_value(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            match self.peek()? {
                b'"' => drop(self.string()?),
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                    continue;
                }
                b'}' | b']' => {
                    // A closing brace in place of a value: not ours to step over.
                    depth = depth.checked_sub(1)?;
                    self.at += 1;
                }
                b',' | b':' if depth > 0 => {
                    self.at += 1;
                    continue;
                }
                _ => self.skip_word()?,
            }
            if depth == 0 {
                return Some(());
            }
        }
    }

    /// Steps over a number, a literal, or rubbish.
    fn skip_word(&mut self) -> Option<()> {
        let ends = |byte: &u8| byte.is_ascii_whitespace() || b",:{}[]\"".contains(byte);
        let rest = &self.bytes[self.at..];
        // At least one byte, so that rubbish cannot hold the scanner.
        self.at += rest.iter().position(ends)?.max(1);
        Some(())
    }
}

/// The text of a string's inside; what is no text becomes U+FFFD.
fn unescape(raw: &[u8]) -> String {
    let text = String::from_utf8_lossy(raw);
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        let plain = match (char, char == '\\') {
            (_, false) => char,
            (_, true) => match chars.next() {
                Some('b') => '\u{8}',
                Some('f') => '\u{c}',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('t') => '\t',
                Some('u') => {
                    let digits: String = chars.by_ref().take(4).collect();
                    units.push(u16::from_str_radix(&digits, 16).unwrap_or(0xFFFD));
                    continue;
                }
                Some(other) => other,
                None => break,
            },
        };
        units.extend_from_slice(plain.encode_utf16(&mut [0; 2]));
    }
    String::from_utf16_lossy(&units)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(input: &[u8], session_key: Option<&str>, event: Option<&str>) {
        let found = scan(input);
        let shown = String::from_utf8_lossy(input);
        assert_eq!(found.session_key.as_deref(), session_key, "{shown}");
        assert_eq!(found.event.as_deref(), event, "{shown}");
    }

    #[test]
    fn names_are_found_wherever_they_stand() {
        check(
            br#"{"session_id":"a","hook_event_name":"Stop"}"#,
            Some("a"),
            Some("Stop"),
        );
        check(
            b" \n{ \"x\" : [1, {\"session_id\":\"no\"}, \"]}\"] , \"event\" : \"e\",\"session\":\"s\"}",
            Some("s"),
            Some("e"),
        );
        check(
            br#"{"n":-1.5e3,"t":true,"z":null,"sessionId":"k"}"#,
            Some("k"),
            None,
        );
    }

    #[test]
    fn better_name_wins_in_any_order() {
        check(br#"{"session":"b","session_id":"a"}"#, Some("a"), None);
        check(br#"{"session_id":"a","session":"b"}"#, Some("a"), None);
        check(
            br#"{"session_id":"","conversation_id":"c"}"#,
            Some("c"),
            None,
        );
        check(
            br#"{"session_id":7,"session":{"session_id":"x"}}"#,
            None,
            None,
        );
    }

    #[test]
    fn escapes_are_resolved() {
        check(
            br#"{"session_id":"a\"\\\/\u00e9\ud83d\ude00\n"}"#,
            Some("a\"\\/é😀\n"),
            None,
        );
        check(
            br#"{"session_id":"\ud83d\uzz"}"#,
            Some("\u{fffd}\u{fffd}"),
            None,
        );
        check(b"{\"session_id\":\"\xff\"}", Some("\u{fffd}"), None);
    }

    #[test]
    fn what_came_before_the_damage_counts() {
        check(br#"{"session_id":"a","tool_input":{"x":"#, Some("a"), None);
        check(br#"{"session_id":"a" "event":"e"}"#, Some("a"), Some("e"));
    }

    #[test]
    fn every_cut_and_rubbish_ends() {
        let whole = br#"{"a":[{"b":"\\\""},[]],"c":{},"session_id":"s","d":[1,2,{"e":null}]}"#;
        for cut in 0..whole.len() {
            scan(&whole[..cut]);
            assert!(!is_whole_object(&whole[..cut]), "cut at {cut}");
        }
        for rubbish in [
            "",
            "}",
            "{]",
            "{\"a\":]}",
            "{\"a\":}",
            "{,",
            "[[",
            "\"",
            "{\"\\",
        ] {
            check(rubbish.as_bytes(), None, None);
        }
    }

    #[test]
    fn whole_object_is_told_from_its_beginning() {
        assert!(is_whole_object(b" {\"a\":\"}\"} \n"));
        assert!(is_whole_object(b"{}"));
        assert!(!is_whole_object(b"{\"a\":{}"));
        assert!(!is_whole_object(b"{\"a\":\"}"));
        assert!(!is_whole_object(b"{}{}"));
        assert!(!is_whole_object(b"[]"));
    }

    #[test]
    fn deep_nesting_takes_no_stack() {
        let mut deep = b"{\"a\":".to_vec();
        deep.extend(std::iter::repeat_n(b'[', 1_000_000));
        deep.extend(std::iter::repeat_n(b']', 1_000_000));
        deep.extend(b",\"session_id\":\"s\"}");
        check(&deep, Some("s"), None);
    }
}
