//! Who a process is that could not be ended, as the kernel shows it.
//!
//! For people: what keeps a process alive is told by its state and the kernel function it sleeps
//! in. Nothing is decided by it.

use std::fs;

use crate::report::Unkillable;

/// The process that has `pid` now. Of one that has ended meanwhile only the pid is told, since
/// somebody has already decided that it could not be ended.
pub(crate) fn describe(pid: u32, is_denied: bool) -> Unkillable {
    let read = |name: &str| fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
    let text = |name: &str| String::from_utf8_lossy(&read(name)).trim_end().to_owned();
    let wchan = text("wchan");
    Unkillable {
        pid,
        name: text("comm"),
        state: state(&read("stat")).unwrap_or('?'),
        // "0" is what the kernel writes to those who may not know, and of one that does not sleep.
        wchan: Some(wchan).filter(|function| !matches!(function.as_str(), "" | "0")),
        is_denied,
    }
}

/// Field 3 of proc_pid_stat(5). The name before it is the program's to choose.
fn state(stat: &[u8]) -> Option<char> {
    let name_end = stat.iter().rposition(|byte| *byte == b')')?;
    stat.get(name_end + 2).map(|state| char::from(*state))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_of_the_program_cannot_forge_its_state() {
        assert_eq!(state(b"42 (sh) D 1 42"), Some('D'));
        assert_eq!(state(b"42 (a) Z 1 (b) S 1 42"), Some('S'));
        assert_eq!(state(b"42 (sh)"), None);
        assert_eq!(state(b""), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn living_process_is_described_and_one_that_is_gone_keeps_its_pid() {
        let own = describe(std::process::id(), true);
        assert!(!own.name.is_empty() && own.is_denied, "{own:?}");
        assert!(matches!(own.state, 'R' | 'S' | 'D'), "{own:?}");
        let gone = describe(u32::MAX, false);
        assert_eq!((gone.pid, gone.state), (u32::MAX, '?'));
    }
}
