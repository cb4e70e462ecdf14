//! Half surrogate pairs in JSON text.
//!
//! Agents cut texts in the middle of a pair, and most JSON libraries hand the half on as an escape,
//! `"\ud83d"`. It is no character, so serde_json takes no such string; a reply that merely quotes
//! its message would fail for ever.

use std::borrow::Cow;

/// JSON text with each half pair replaced by U+FFFD. Whole pairs and all else stay.
pub(super) fn mended(text: &str) -> Cow<'_, str> {
    let mut mended = String::new();
    // Up to here the text is in `mended`.
    let mut copied = 0;
    let mut at = 0;
    while let Some(found) = text[at..].find('\\') {
        let escape = at + found;
        at = match unit(text, escape) {
            None => text.len().min(escape + 2),
            Some(0xd800..=0xdbff) if matches!(unit(text, escape + 6), Some(0xdc00..=0xdfff)) => {
                escape + 12
            }
            Some(0xd800..=0xdfff) => {
                mended.push_str(&text[copied..escape]);
                mended.push_str("\\ufffd");
                copied = escape + 6;
                copied
            }
            Some(_) => escape + 6,
        };
        // A backslash before something else than ASCII is no JSON; it only must not be cut.
        at = text.ceil_char_boundary(at);
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    mended.push_str(&text[copied..]);
    Cow::Owned(mended)
}

/// The code unit of the escape `\uXXXX` at `at`.
fn unit(text: &str, at: usize) -> Option<u16> {
    let digits = text.get(at..at + 6)?.strip_prefix("\\u")?;
    if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    u16::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_half_pairs_are_replaced() {
        let check = |text: &str, expected: &str| assert_eq!(mended(text), expected, "{text}");
        for whole in [
            "",
            r#""\ud83d\ude00 \u0041 \n é \\ud83d \\\\ud83d""#,
            r#""\uDBFF\uDFFF""#,
            "\\",
            "\\é\\u",
            r"\ud8",
        ] {
            check(whole, whole);
            assert!(matches!(mended(whole), Cow::Borrowed(_)));
        }
        check(r#"{"a":"é\ud83d"}"#, r#"{"a":"é\ufffd"}"#);
        check(r#""\ude00\ud83d""#, r#""\ufffd\ufffd""#);
        check(r#""\ud83d\ud83d\ude00x""#, r#""\ufffd\ud83d\ude00x""#);
        check(r#""\\\ud83d\n""#, r#""\\\ufffd\n""#);
        check(r#""\uD83Dé""#, r#""\ufffdé""#);
    }
}
