//! How a hook hands an event over: the request's headers and its path.

/// The event's id, a UUID minted by the hook and repeated on every retry.
pub const EVENT_ID_HEADER: &str = "sessiond-event-id";

/// When the hook fired, in milliseconds since the Unix epoch.
pub const FIRED_AT_HEADER: &str = "sessiond-fired-at";

/// Which process the agent is, in the form of [`agent_process`](super::agent_process). Events whose
/// agent cannot be told come without.
pub const AGENT_PROCESS_HEADER: &str = "sessiond-agent-process";

/// Marks a reply whose body is meant for the agent, by the value [`OUTPUT_AGENT`].
pub const OUTPUT_HEADER: &str = "sessiond-output";

/// See [`OUTPUT_HEADER`].
pub const OUTPUT_AGENT: &str = "agent";

/// Marks a refusal whose event the worker has set aside, by the value [`IS_SET_ASIDE`]. Without it
/// whoever sent the event still has to keep it.
pub const SET_ASIDE_HEADER: &str = "sessiond-set-aside";

/// See [`SET_ASIDE_HEADER`].
pub const IS_SET_ASIDE: &str = "1";

/// The path that takes events of `agent`, with the name percent-encoded.
pub fn hook_path(agent: &str) -> String {
    let mut path = String::from("/v1/hooks/");
    for byte in agent.bytes() {
        // A name of dots alone would be read as a step up by whoever normalises paths.
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~') {
            path.push(char::from(byte));
        } else {
            path.push('%');
            for nibble in [byte >> 4, byte & 0xF] {
                path.push(char::from(b"0123456789ABCDEF"[usize::from(nibble)]));
            }
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::hook_path;

    #[test]
    fn agent_cannot_leave_its_path_segment() {
        assert_eq!(hook_path("claude-code"), "/v1/hooks/claude-code");
        assert_eq!(hook_path("../a b?é"), "/v1/hooks/%2E%2E%2Fa%20b%3F%C3%A9");
    }
}
