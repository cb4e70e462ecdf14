//! Bounded text: everything that leaves the digest is cut here.

/// One line of at most `chars_max` characters; white space and control characters become single
/// blanks.
pub(super) fn one_line(text: &str, chars_max: usize) -> String {
    let mut line = String::new();
    let mut count = 0;
    let mut gap = false;
    for character in text.chars() {
        if character.is_whitespace() || character.is_control() {
            gap = count > 0;
            continue;
        }
        if count + usize::from(gap) >= chars_max {
            // The last character gives way to the mark of the cut.
            line.pop();
            line.push('…');
            return line;
        }
        if std::mem::take(&mut gap) {
            line.push(' ');
            count += 1;
        }
        line.push(character);
        count += 1;
    }
    line
}

/// Text of several lines, at most `chars_max` characters and a note on what was left out. Control
/// characters other than line ends and tabs are dropped: a terminal must not obey a result.
pub(super) fn cut(text: &str, chars_max: usize) -> String {
    let shown = |character: &char| matches!(character, '\n' | '\t') || !character.is_control();
    let mut characters = text.trim().chars().filter(shown);
    let kept: String = characters.by_ref().take(chars_max).collect();
    match characters.count() {
        0 => kept,
        more => format!("{kept}\n… ({more} more characters)"),
    }
}

/// A duration for people.
pub(super) fn duration(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        60_000..3_600_000 => format!("{} min {:02} s", ms / 60_000, ms / 1_000 % 60),
        _ => format!("{} h {:02} min", ms / 3_600_000, ms / 60_000 % 60),
    }
}

/// `1 file`, `2 files`.
pub(super) fn count(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// A path seen from the working directory, where it lies within.
pub(super) fn from_cwd<'a>(cwd: Option<&str>, path: &'a str) -> &'a str {
    cwd.map(|cwd| cwd.trim_end_matches('/'))
        .and_then(|cwd| path.strip_prefix(cwd)?.strip_prefix('/'))
        .filter(|rest| !rest.is_empty())
        .unwrap_or(path)
}

/// A path that does not depend on the working directory, where that is known.
pub(super) fn absolute(cwd: Option<&str>, path: &str) -> String {
    match cwd {
        Some(cwd) if !path.starts_with('/') && !path.starts_with('~') => {
            let path = path.strip_prefix("./").unwrap_or(path);
            format!("{}/{path}", cwd.trim_end_matches('/'))
        }
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_never_longer_than_asked() {
        assert_eq!(one_line("  a\n\t b\u{1b}c ", 10), "a b c");
        assert_eq!(one_line("äöüß", 4), "äöüß");
        assert_eq!(one_line("äöüßx", 4), "äöü…");
        assert_eq!(one_line("ab cd", 3), "a…");
    }

    #[test]
    fn a_cut_says_how_much_is_missing() {
        assert_eq!(cut(" ab\u{7}\n", 2), "ab");
        assert_eq!(cut("abcde", 2), "ab\n… (3 more characters)");
    }

    #[test]
    fn durations_read_well_at_every_scale() {
        let shown = [0, 999, 1_250, 61_000, 3_720_000].map(duration);
        assert_eq!(
            shown,
            ["0 ms", "999 ms", "1.2 s", "1 min 01 s", "1 h 02 min"]
        );
    }

    #[test]
    fn only_paths_below_the_directory_are_shortened() {
        assert_eq!(from_cwd(Some("/p"), "/p/a"), "a");
        assert_eq!(from_cwd(Some("/p"), "/pa"), "/pa");
        assert_eq!(absolute(Some("/p/"), "./a"), "/p/a");
        assert_eq!(absolute(None, "a"), "a");
    }
}
