//! Which events a reader wants.

use sessiond_queue::ids::SessionId;

use super::shown::Shown;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be up to {TYPES_MAX} names of events with commas between them, such as message.dead, or their \
     beginnings, such as session or session.*"
)]
pub struct InvalidType;

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
    pub fn set_types(&mut self, list: &str) -> Result<(), InvalidType> {
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
            let name = Some(name).filter(is_name).ok_or(InvalidType)?;
            self.types.push(name.to_owned());
        }
        match self.types.len() <= TYPES_MAX {
            true => Ok(()),
            false => Err(InvalidType),
        }
    }

    /// Whether events of this type are wanted.
    pub fn wants_type(&self, kind: &str) -> bool {
        let fits = |name: &String| {
            kind.strip_prefix(name.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        self.types.is_empty() || self.types.iter().any(fits)
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
            "", ",", "*", "session.", ".session", "Session", "session*", "a,,b",
        ] {
            assert_eq!(filter.set_types(list), Err(InvalidType), "{list}");
        }
    }
}
