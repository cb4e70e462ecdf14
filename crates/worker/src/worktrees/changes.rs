//! What `git status --porcelain=v2 -z` and `git ls-files -v -s` say. Pure.

/// What differs from the last commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// Tracked files, or submodules, that are changed, staged or not.
    pub(super) tracked: u64,
    /// Of these, those whose only change is that they are missing, not staged.
    pub(super) missing: u64,
    /// Files, or directories of such, that are neither tracked nor ignored.
    pub(super) untracked: u64,
}

/// Counts the entries of a status.
pub(super) fn count(status: &[u8]) -> Changes {
    let mut changes = Changes::default();
    let mut entries = status.split(|byte| *byte == 0);
    while let Some(entry) = entries.next() {
        match entry.first() {
            Some(b'1' | b'u') => {
                changes.tracked += 1;
                changes.missing += u64::from(entry.starts_with(b"1 .D N"));
            }
            Some(b'2') => {
                changes.tracked += 1;
                // Where it was before.
                entries.next();
            }
            Some(b'?') => changes.untracked += 1,
            _ => {}
        }
    }
    changes
}

/// What one line about a file of the index means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Indexed {
    /// Git looks at it.
    Seen,
    /// Git was told that it is unchanged, and does not look.
    AssumedUnchanged,
    /// Git was told to leave it alone; it should not be there. `None`: its name is no plain text.
    Skipped(Option<String>),
    /// A submodule. `None`: its path is no plain text.
    Submodule(Option<String>),
}

/// Reads one line.
pub(super) fn indexed(line: &[u8]) -> Indexed {
    let path = || {
        let at = line.iter().position(|byte| *byte == b'\t')?;
        let path = std::str::from_utf8(&line[at + 1..]).ok()?;
        // Git quotes what has strange characters.
        (!path.starts_with('"')).then(|| path.to_owned())
    };
    match line.first() {
        Some(b'a'..=b'z') => Indexed::AssumedUnchanged,
        _ if line.get(2..8) == Some(b"160000") => Indexed::Submodule(path()),
        Some(b'S') => Indexed::Skipped(path()),
        _ => Indexed::Seen,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_change_is_counted_once() {
        let status = b"1 .M N... 100644 100644 100644 a b src/a\0\
            1 .D N... 100644 100644 000000 a b gone\0\
            1 D. N... 100644 000000 000000 a b removed\0\
            2 R. N... 100644 100644 100644 a b R100 new\0? old\0\
            u UU N... 1 1 1 1 a b c both\0? untracked dir/\0! ignored\0";
        let changes = Changes {
            tracked: 5,
            missing: 1,
            untracked: 1,
        };
        assert_eq!(count(status), changes);
        assert_eq!(count(b""), Changes::default());
    }

    #[test]
    fn files_that_git_does_not_look_at_are_told_from_others() {
        let check = |line: &str, wanted| assert_eq!(indexed(line.as_bytes()), wanted, "{line}");
        let path = |text: &str| Some(text.to_owned());
        check("H 100644 11 0\ta", Indexed::Seen);
        check("h 100644 11 0\ta", Indexed::AssumedUnchanged);
        check("s 100644 11 0\ta", Indexed::AssumedUnchanged);
        check("S 100644 11 0\tb c", Indexed::Skipped(path("b c")));
        check("S 100644 11 0\t\"b\\n\"", Indexed::Skipped(None));
        check("H 160000 11 0\tsub", Indexed::Submodule(path("sub")));
        check("", Indexed::Seen);
    }
}
