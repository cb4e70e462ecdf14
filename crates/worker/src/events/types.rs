//! The names of all that readers are told: what a filter may ask for, what help and documents list.

/// Every type of event, by whom it is about.
pub(super) const TYPES: [&str; 31] = [
    "worker.started",
    "worker.stopping",
    "session.created",
    "session.active",
    "session.dormant",
    "session.closing",
    "session.ended",
    "session.backlog_cancelled",
    "agent.seen",
    "agent.gone",
    "client.registered",
    "client.gone",
    "worktree.added",
    "worktree.removed",
    "worktree.kept",
    "message.accepted",
    "message.claimed",
    "message.confirmed",
    "message.released",
    "message.dead",
    "message.cancelled",
    "message.redriven",
    "message.purged",
    "generator.started",
    "generator.failed",
    "generator.stopped",
    "process.spawned",
    "process.reaped",
    "doctor.verdict",
    LAGGED,
    STATUS,
];

/// Told to a reader that has missed something, whatever it asked for.
pub const LAGGED: &str = "lagged";

/// The present state, which is told without an id and never kept.
pub const STATUS: &str = "status";

/// Whether events are asked for by this name: that of a type, or what stands before a dot.
pub(super) fn covers(name: &str, kind: &str) -> bool {
    kind.strip_prefix(name)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// All of them in one line, for messages.
pub fn known() -> String {
    TYPES.join(", ")
}

/// All of them, those of one kind on a line, for people.
pub fn table() -> String {
    let mut text = String::new();
    let mut before = None;
    for name in TYPES {
        let kind = name.split('.').next();
        match before {
            None => {}
            Some(before) if before == kind => text.push_str(", "),
            Some(_) => text.push('\n'),
        }
        text.push_str(name);
        before = Some(kind);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_is_in_the_table_and_nothing_else() {
        let source = include_str!("event.rs");
        let named = source.split("#[serde(rename = \"").skip(1);
        let named = named.filter_map(|rest| rest.split('"').next());
        let mut named: Vec<&str> = named.chain([LAGGED, STATUS]).collect();
        let mut known = TYPES.to_vec();
        named.sort_unstable();
        known.sort_unstable();
        assert_eq!(named, known);
    }

    #[test]
    fn every_event_is_in_the_readme() {
        let readme = include_str!("../../../../README.md");
        for line in table().lines() {
            let row: Vec<String> = line.split(", ").map(|name| format!("`{name}`")).collect();
            let row = row.join(", ");
            assert!(readme.contains(&row), "not in the README: {row}");
        }
    }
}
