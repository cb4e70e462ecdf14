//! Whom a process was started for, as text that its environment carries.
//!
//! The parts are opaque here: the worker decides what an install, a generation, a session and a
//! spawn are called. Only their alphabet is fixed, so that a tag fits into an environment, a file
//! name and a log line without quoting.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The environment variable that carries a tag.
pub const TAG_VARIABLE: &str = "SESSIOND_TAG";

/// Bytes of one part: a UUID has 36, and a file name made of a part stays far below 255.
pub const PART_MAX_BYTES: usize = 64;

const PART_NAMES: [&str; 4] = ["install", "generation", "session", "spawn"];

/// Install, generation, session and spawn of one child, written
/// `<install>:<generation>:<session>:<spawn>`.
///
/// Each part has 1 to [`PART_MAX_BYTES`] bytes of `[A-Za-z0-9._-]`; a value of this type has been
/// checked.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Tag {
    install: String,
    generation: String,
    session: String,
    spawn: String,
}

impl Tag {
    /// A tag of these parts.
    ///
    /// # Errors
    /// [`TagError`] for the first part that is empty, too long or out of the alphabet.
    pub fn new(
        install: &str,
        generation: &str,
        session: &str,
        spawn: &str,
    ) -> Result<Self, TagError> {
        let parts = [install, generation, session, spawn];
        for (name, part) in PART_NAMES.into_iter().zip(parts) {
            check_part(name, part)?;
        }
        let [install, generation, session, spawn] = parts.map(str::to_owned);
        Ok(Self {
            install,
            generation,
            session,
            spawn,
        })
    }

    /// The tag in a NUL-separated environment block, as `/proc/PID/environ` has it. `None` when
    /// there is none, or when it is not a tag: then it is not one of ours.
    ///
    /// Of several assignments the first counts, as it does for `getenv`.
    pub fn from_environ_block(block: &[u8]) -> Option<Self> {
        let value = block.split(|byte| *byte == 0).find_map(|entry| {
            entry
                .strip_prefix(TAG_VARIABLE.as_bytes())?
                .strip_prefix(b"=")
        })?;
        std::str::from_utf8(value).ok()?.parse().ok()
    }

    /// Whether `install` started the process.
    pub fn is_of_install(&self, install: &str) -> bool {
        self.install == install
    }

    /// The install that started the process.
    pub fn install(&self) -> &str {
        &self.install
    }

    /// The run of the worker that started it.
    pub fn generation(&self) -> &str {
        &self.generation
    }

    /// The session it was started for.
    pub fn session(&self) -> &str {
        &self.session
    }

    /// The spawn itself, unique in its install.
    pub fn spawn(&self) -> &str {
        &self.spawn
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}:{}:{}",
            self.install, self.generation, self.session, self.spawn
        )
    }
}

impl FromStr for Tag {
    type Err = TagError;

    fn from_str(text: &str) -> Result<Self, TagError> {
        // One more than wanted is enough to know that there are too many.
        let parts: Vec<&str> = text.splitn(PART_NAMES.len() + 1, ':').collect();
        let [install, generation, session, spawn] = parts[..] else {
            return Err(TagError::Parts);
        };
        Self::new(install, generation, session, spawn)
    }
}

impl TryFrom<String> for Tag {
    type Error = TagError;

    fn try_from(text: String) -> Result<Self, TagError> {
        text.parse()
    }
}

impl From<Tag> for String {
    fn from(tag: Tag) -> Self {
        tag.to_string()
    }
}

/// A text is not a tag.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TagError {
    /// It is not of four parts with colons between.
    #[error("read a tag: it is not of the form install:generation:session:spawn")]
    Parts,
    /// A part has no bytes.
    #[error("read a tag: part {part} is empty")]
    Empty {
        /// The part's name.
        part: &'static str,
    },
    /// A part has more than [`PART_MAX_BYTES`].
    #[error("read a tag: part {part} has {bytes} bytes, over the limit of {PART_MAX_BYTES}")]
    TooLong {
        /// The part's name.
        part: &'static str,
        /// Its size.
        bytes: usize,
    },
    /// A part holds something else than `[A-Za-z0-9._-]`.
    #[error("read a tag: part {part} holds {character:?}, which is not of [A-Za-z0-9._-]")]
    Alphabet {
        /// The part's name.
        part: &'static str,
        /// The first character that is not allowed.
        character: char,
    },
}

fn check_part(part: &'static str, text: &str) -> Result<(), TagError> {
    if text.is_empty() {
        return Err(TagError::Empty { part });
    }
    if text.len() > PART_MAX_BYTES {
        return Err(TagError::TooLong {
            part,
            bytes: text.len(),
        });
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    match text.chars().find(|c| !allowed(*c)) {
        Some(character) => Err(TagError::Alphabet { part, character }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<[&str; 4], TagError>) {
        let parsed = text.parse::<Tag>();
        let parts = parsed
            .as_ref()
            .map(|tag| [tag.install(), tag.generation(), tag.session(), tag.spawn()])
            .map_err(Clone::clone);
        assert_eq!(parts, expected, "{text:?}");
        if let Ok(tag) = parsed {
            assert_eq!(tag.to_string(), text);
        }
    }

    #[test]
    fn text_is_a_tag_only_with_four_parts_of_the_alphabet() {
        let longest = "x".repeat(PART_MAX_BYTES);
        let too_long = "x".repeat(PART_MAX_BYTES + 1);
        let longest_tag = format!("{longest}:1:s:p");
        check("i-1:42:s_2:p.3", Ok(["i-1", "42", "s_2", "p.3"]));
        check(&longest_tag, Ok([&longest, "1", "s", "p"]));
        check("", Err(TagError::Parts));
        check("i:1:s", Err(TagError::Parts));
        check("i:1:s:p:more", Err(TagError::Parts));
        check("i:1::p", Err(TagError::Empty { part: "session" }));
        check(
            &format!("i:{too_long}:s:p"),
            Err(TagError::TooLong {
                part: "generation",
                bytes: 65,
            }),
        );
        for (character, text) in [('/', "i:1:s:../p"), ('\n', "i:1:s:p\n"), ('ü', "i:1:s:ü")] {
            let part = "spawn";
            check(text, Err(TagError::Alphabet { part, character }));
        }
    }

    #[test]
    fn environ_block_gives_the_first_assignment_of_the_whole_name() {
        let tag = |block: &[u8]| Tag::from_environ_block(block).map(|tag| tag.to_string());
        let ours = Some("i:1:s:p".to_owned());
        assert_eq!(tag(b"A=b\0SESSIOND_TAG=i:1:s:p\0C=\xff\xfe\0"), ours);
        assert_eq!(tag(b"SESSIOND_TAG=i:1:s:p"), ours);
        assert_eq!(
            tag(b"SESSIOND_TAG=i:1:s:p\0SESSIOND_TAG=j:2:t:q\0"),
            ours,
            "getenv takes the first"
        );
        assert_eq!(tag(b""), None);
        assert_eq!(tag(b"XSESSIOND_TAG=i:1:s:p\0SESSIOND_TAGS=i:1:s:p\0"), None);
        assert_eq!(tag(b"A=SESSIOND_TAG=i:1:s:p\0"), None);
        assert_eq!(tag(b"SESSIOND_TAG=\0"), None);
        assert_eq!(tag(b"SESSIOND_TAG=i:1:s:\xff\0"), None);
    }

    #[test]
    fn tag_is_of_its_own_install_only() {
        let tag = Tag::new("one", "1", "s", "p").unwrap();
        assert!(tag.is_of_install("one"));
        assert!(!tag.is_of_install("on"));
        assert!(!tag.is_of_install("one:1"));
    }
}
