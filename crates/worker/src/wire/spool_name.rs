//! Which spool file an event goes to: one a session, so that the file keeps the session's order.

/// How every spool file's name ends.
pub const EXTENSION: &str = "spool";

/// Bytes of the readable parts; the hash tells sessions apart, these only help a person.
const READABLE_MAX_BYTES: usize = 40;

/// The file name for a session of an agent, or for the agent's events that name no session.
pub fn spool_file_name(agent: &str, session_key: Option<&str>) -> String {
    let readable_agent = readable(agent);
    match session_key {
        Some(key) => {
            let hash = hash(agent, key);
            format!("{readable_agent}-{}-{hash:016x}.{EXTENSION}", readable(key))
        }
        None => format!("{readable_agent}-unknown.{EXTENSION}"),
    }
}

/// Neither a path separator nor a leading dot survives.
fn readable(text: &str) -> String {
    text.bytes()
        .take(READABLE_MAX_BYTES)
        .map(|byte| match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' => char::from(byte),
            _ => '_',
        })
        .collect()
}

/// 64-bit FNV-1a over the agent, a NUL and the key.
fn hash(agent: &str, session_key: &str) -> u64 {
    let bytes = agent.bytes().chain([0]).chain(session_key.bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::spool_file_name;

    #[test]
    fn sessions_that_look_alike_have_files_of_their_own() {
        let one = spool_file_name("codex", Some("a/b"));
        let other = spool_file_name("codex", Some("a_b"));
        assert_ne!(one, other);
        assert!(one.starts_with("codex-a_b-"), "{one}");
        assert_ne!(
            spool_file_name("a", Some("b")),
            spool_file_name("ab", Some(""))
        );
    }

    #[test]
    fn name_stays_short_and_inside_the_directory() {
        let name = spool_file_name("../..", Some(&"/é.".repeat(1000)));
        assert!(name.len() < 120, "{name}");
        assert!(!name.contains('/') && !name.starts_with('.'), "{name}");
        assert_eq!(spool_file_name("codex", None), "codex-unknown.spool");
    }
}
