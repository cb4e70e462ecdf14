//! One firing of a hook: what was read, and the identity it keeps through every retry.

use std::hash::{BuildHasher, RandomState};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::json;
use crate::wire::agent_process::AgentProcess;

/// One firing of a hook.
#[derive(Debug)]
pub(crate) struct Event {
    /// A UUIDv7 as text.
    pub(crate) id: String,
    /// In milliseconds since the Unix epoch.
    pub(crate) fired_at_ms: i64,
    pub(crate) agent: String,
    /// The agent's own id of its session, as far as it is needed to pick a spool file.
    pub(crate) session_key: Option<String>,
    pub(crate) starts_session: bool,
    /// Which process the agent is, if that can be told.
    pub(crate) agent_process: Option<AgentProcess>,
    /// What the agent wrote, unchanged.
    pub(crate) payload: Vec<u8>,
}

impl Event {
    pub(crate) fn new(agent: &str, fired_at_ms: i64, payload: Vec<u8>) -> Self {
        let found = json::scan(&payload);
        let starts_session = found
            .event
            .is_some_and(|name| name.eq_ignore_ascii_case("SessionStart"));
        Self {
            id: mint_id(fired_at_ms),
            fired_at_ms,
            agent: agent.to_owned(),
            session_key: found.session_key,
            starts_session,
            agent_process: None,
            payload,
        }
    }
}

/// The wall clock in milliseconds since the Unix epoch.
#[expect(
    clippy::disallowed_methods,
    reason = "the worker's clock is not at hand; this is the program's only reading"
)]
pub(crate) fn now_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(0))
}

/// A UUIDv7. The random part is a keyed hash whose 128-bit key the standard library takes from
/// the system: the one way to the system's randomness that needs neither `unsafe` nor a device
/// node, which a sandbox may lack.
fn mint_id(at_ms: i64) -> String {
    let keyed = RandomState::new();
    let random = u128::from(keyed.hash_one(0_u8)) << 64 | u128::from(keyed.hash_one(1_u8));
    let time = u128::from(at_ms.cast_unsigned()) << 80;
    let version = 0x7 << 76;
    let variant = 0b10 << 62;
    let random = random & ((0xFFF << 64) | (u128::MAX >> 66));
    let hex = format!("{:032x}", time | version | variant | random);
    let (a, b, c, d, e) = (
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    );
    format!("{a}-{b}-{c}-{d}-{e}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_time_ordered_uuids_of_version_7() {
        let id = mint_id(0x0190_1234_5678);
        let parsed: uuid::Uuid = id.parse().expect("a UUID");
        assert_eq!(parsed.get_version_num(), 7);
        assert_eq!(parsed.get_variant(), uuid::Variant::RFC4122);
        assert!(id.starts_with("01901234-5678-7"), "{id}");
        assert_ne!(mint_id(5), mint_id(5));
    }
}
