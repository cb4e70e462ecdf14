//! Lenient access to the fields of a JSON object.
//!
//! The object is split once into raw values; only what is asked for is parsed. A field that cannot
//! be parsed counts as absent: a payload that was accepted must always be readable.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::Value;
use serde_json::value::RawValue;

/// The fields of one object, unparsed.
#[derive(Default)]
pub(super) struct Fields<'a>(BTreeMap<String, &'a RawValue>);

impl<'a> Fields<'a> {
    /// No fields when the text is not a JSON object.
    pub(super) fn split(json: &'a str) -> Self {
        serde_json::from_str(json).map(Self).unwrap_or_default()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.0.iter().map(|(name, raw)| (name.as_str(), *raw))
    }

    /// A value of any type; `None` for `null`.
    pub(super) fn value(&self, name: &str) -> Option<Value> {
        let value: Value = parse(self.0.get(name)?.get())?;
        (!value.is_null()).then_some(value)
    }

    /// A string that is not empty.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        let raw = self.0.get(name)?.get();
        // Looked at first, so that a large object is not parsed to find that it is no string.
        if !raw.starts_with('"') {
            return None;
        }
        parse::<String>(raw).filter(|text| !text.is_empty())
    }

    /// A number of milliseconds, if it is a sensible one.
    pub(super) fn milliseconds(&self, name: &str) -> Option<u64> {
        let number: f64 = parse(self.0.get(name)?.get())?;
        // A year: more is no duration of a tool.
        (0.0..=31_536_000_000.0)
            .contains(&number)
            .then_some(number as u64)
    }

    pub(super) fn flag(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|raw| raw.get() == "true")
    }
}

/// Parses JSON text, mending strings that were cut inside a surrogate pair.
pub(super) fn parse<T: serde::de::DeserializeOwned>(json: &str) -> Option<T> {
    serde_json::from_str(json)
        .ok()
        .or_else(|| match mend_surrogates(json) {
            Cow::Owned(mended) => serde_json::from_str(&mended).ok(),
            Cow::Borrowed(_) => None,
        })
}

/// Replaces escapes of lone surrogates by U+FFFD. Agents written in JavaScript cut long strings
/// between the halves of a pair and escape what is left, which is JSON but not text.
pub(super) fn mend_surrogates(json: &str) -> Cow<'_, str> {
    const HIGH: std::ops::Range<u16> = 0xD800..0xDC00;
    const LOW: std::ops::Range<u16> = 0xDC00..0xE000;
    let bytes = json.as_bytes();
    let mut mended = String::new();
    let (mut at, mut copied) = (0, 0);
    while let Some(found) = bytes[at..].iter().position(|byte| *byte == b'\\') {
        at += found;
        match escaped_unit(bytes, at) {
            Some(unit) if HIGH.contains(&unit) => {
                if escaped_unit(bytes, at + 6).is_some_and(|next| LOW.contains(&next)) {
                    at += 12;
                    continue;
                }
            }
            Some(unit) if LOW.contains(&unit) => {}
            _ => {
                at = (at + 2).min(bytes.len());
                continue;
            }
        }
        mended.push_str(&json[copied..at]);
        mended.push_str("\\ufffd");
        at += 6;
        copied = at;
    }
    if copied == 0 {
        return Cow::Borrowed(json);
    }
    mended.push_str(&json[copied..]);
    Cow::Owned(mended)
}

/// The code unit of a `\uXXXX` escape that begins at `at`.
fn escaped_unit(bytes: &[u8], at: usize) -> Option<u16> {
    let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lone_surrogates_are_replaced_and_pairs_are_kept() {
        let json = r#"{"a":"cut \ud83d","b":"\ud83d\ude00 \\ud83d","c":"\ude00x"}"#;
        let value: Value = parse(json).expect("mended");
        assert_eq!(value["a"], "cut \u{fffd}");
        assert_eq!(value["b"], "\u{1f600} \\ud83d");
        assert_eq!(value["c"], "\u{fffd}x");
    }

    #[test]
    fn a_field_that_cannot_be_parsed_is_absent_and_the_others_are_read() {
        let deep = "[".repeat(500) + &"]".repeat(500);
        let json = format!(r#"{{"deep":{deep},"name":"x"}}"#);
        let fields = Fields::split(&json);
        assert_eq!(fields.value("deep"), None);
        assert_eq!(fields.text("name").as_deref(), Some("x"));
    }
}
