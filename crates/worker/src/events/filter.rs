//! Which events a reader wants.

use sessiond_queue::ids::SessionId;

use super::shown::Shown;
use super::types::{TYPES, covers, known};

/// Types that one reader may name.
const TYPES_MAX: usize = 32;

/// Which events a reader wants: those that fit all that is given.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only those of this session.
    session: Option<SessionId>,
    /// Only those of sessions of this project.
    project: Option<String>,
    /// Only those of these types: whole ones, or what stands before a dot. Empty: of any.
    types: Vec<String>,
}

/// A list of types that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTypes {
    /// It is no list of names, or too long a one.
    #[error(
        "must be up to {TYPES_MAX} names of events with commas between them, such as message.dead, or \
         their beginnings, such as session or session.*; the names are {}",
        known()
    )]
    Malformed,
    /// Nothing of this name is ever told.
    #[error("names {name}, which is no type of event; they are {}", known())]
    Unknown {
        /// The name.
        name: String,
    },
}

impl Filter {
    /// Only events of a session and of a project, as far as they are given.
    pub fn new(session: Option<SessionId>, project: Option<String>) -> Self {
        Self {
            session,
            project,
            types: Vec::new(),
        }
    }

    /// Only events of these types, `,` between them.
    pub fn set_types(&mut self, list: &str) -> Result<(), InvalidTypes> {
        let is_name = |name: &&str| {
            !name.is_empty()
                && name
                    .split('.')
                    .all(|part| !part.is_empty() && part.bytes().all(is_name_byte))
        };
        self.types = Vec::new();
        for name in list.split(',') {
            let name = name.trim();
            let name = name.strip_suffix(".*").unwrap_or(name);
            let name = Some(name).filter(is_name);
            let name = name.ok_or(InvalidTypes::Malformed)?.to_owned();
            // A reader of it would wait for ever.
            if !TYPES.iter().any(|kind| covers(&name, kind)) {
                return Err(InvalidTypes::Unknown { name });
            }
            self.types.push(name);
        }
        match self.types.len() <= TYPES_MAX {
            true => Ok(()),
            false => Err(InvalidTypes::Malformed),
        }
    }

    /// Whether events of this type are wanted.
    pub fn wants_type(&self, kind: &str) -> bool {
        self.types.is_empty() || self.types.iter().any(|name| covers(name, kind))
    }

    pub(super) fn wants(&self, shown: &Shown) -> bool {
        self.wants_type(&shown.kind)
            && (self.session.is_none() || self.session == shown.session)
            && (self.project.is_none() || self.project == shown.project)
    }
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte == b'_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_whole_names_or_what_stands_before_a_dot() {
        let mut filter = Filter::default();
        let mut wants = |list: &str, kind: &str| {
            filter.set_types(list).expect("a list of types");
            filter.wants_type(kind)
        };
        assert!(wants("session", "session.created") && wants("session.*", "session.created"));
        assert!(wants("message.dead, session", "session.ended"));
        assert!(!wants("session", "sessions.created") && !wants("session.created", "session"));
        for list in [
            "",
            ",",
            "*",
            "session.",
            ".session",
            "Session",
            "session*",
            "session,,message",
        ] {
            assert_eq!(
                filter.set_types(list),
                Err(InvalidTypes::Malformed),
                "{list}"
            );
        }
        for (list, name) in [
            ("bogus", "bogus"),
            ("session,message.bogus", "message.bogus"),
            ("sessio", "sessio"),
            ("session.created.early", "session.created.early"),
        ] {
            let name = name.to_owned();
            let unknown = Err(InvalidTypes::Unknown { name });
            assert_eq!(filter.set_types(list), unknown, "{list}");
        }
    }
}
