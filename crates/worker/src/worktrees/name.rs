//! Names of branches and directories, made of what sessions are called. Pure.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::path::Path;

use sha2::{Digest, Sha256};

/// What every branch of a session begins with.
pub(super) const BRANCH_PREFIX: &str = "session/";
/// Characters of a name: a file name has at most 255 bytes, and a lock file of git's is longer than
/// its branch.
const NAME_MAX: usize = 64;
/// Bytes of a repository's hash: two repositories of one name meet once in 4,000,000,000.
const HASH_BYTES: usize = 4;

/// A text as a part of a branch's name and as a file name: what git-check-ref-format(1) or a shell
/// would not take, or a file system may fold, becomes a dash.
pub(super) fn sanitised(text: &str) -> String {
    let mut name = String::new();
    for c in text.chars() {
        let fits = c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        let c = if fits { c } else { '-' };
        // Neither `..` nor a row of dashes.
        let repeats = matches!(c, '-' | '.') && name.ends_with(['-', '.']);
        if !repeats {
            name.push(c);
        }
        if name.len() == NAME_MAX {
            break;
        }
    }
    let mut name = name.trim_matches(['-', '.']);
    while let Some(rest) = without_lock(name) {
        name = rest.trim_matches(['-', '.']);
    }
    match name {
        "" => "session".to_owned(),
        name => name.to_owned(),
    }
}

/// Git's lock files end so, and no branch may; also not where case is folded.
fn without_lock(name: &str) -> Option<&str> {
    let at = name.len().checked_sub(".lock".len())?;
    name[at..]
        .eq_ignore_ascii_case(".lock")
        .then(|| &name[..at])
}

/// The name, or the first of `NAME-2`, `NAME-3` ... that is not taken.
pub(super) fn first_free(name: &str, mut is_taken: impl FnMut(&str) -> bool) -> String {
    let numbered = (2_u32..).map(|number| format!("{name}-{number}"));
    let mut candidates = std::iter::once(name.to_owned()).chain(numbered);
    let free = candidates.find(|candidate| !is_taken(candidate));
    free.expect("there are more numbers than worktrees")
}

/// Whether a branch cannot be made beside those that are there: it is one of them, or a directory
/// that holds one of them.
pub(super) fn is_taken(branch: &str, branches: &HashSet<String>) -> bool {
    let inside = format!("{branch}/");
    branches.contains(branch) || branches.iter().any(|other| other.starts_with(&inside))
}

/// What a repository's directory is called: its name for people, and a hash of where it is.
pub(super) fn of_repository(git_dir: &Path) -> String {
    let own = git_dir.file_name().unwrap_or_default();
    let named = match own == ".git" {
        true => git_dir.parent().and_then(Path::file_name).unwrap_or(own),
        false => own,
    };
    let name = named.to_string_lossy();
    let mut text = sanitised(name.strip_suffix(".git").unwrap_or(&name));
    text.push('-');
    let hash = Sha256::digest(git_dir.as_os_str().as_encoded_bytes());
    for byte in &hash[..HASH_BYTES] {
        // Writing to a string cannot fail.
        let _infallible = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_becomes_a_name_that_git_and_file_systems_take() {
        let check = |text: &str, wanted: &str| assert_eq!(sanitised(text), wanted, "{text:?}");
        check("7f3a-plain_key.1", "7f3a-plain_key.1");
        check("-rf", "rf");
        check("--upload-pack=x", "upload-pack-x");
        check("two\nlines and spaces", "two-lines-and-spaces");
        check("../../etc/passwd", "etc-passwd");
        check("a..b", "a.b");
        check("HEAD@{1}", "HEAD-1");
        check("@", "session");
        check("branch.lock", "branch");
        check("branch.lock.LOCK", "branch");
        check(".lock", "lock");
        check("sitzung-für-🦀", "sitzung-f-r");
        check("", "session");
        check("a~^:?*[\\b", "a-b");
        check(".hidden.", "hidden");
        check(&"x".repeat(5000), &"x".repeat(NAME_MAX));
        check(
            &format!("{}.lock", "y".repeat(NAME_MAX - 5)),
            &"y".repeat(NAME_MAX - 5),
        );
    }

    #[test]
    fn taken_names_get_numbers_and_directories_of_branches_count_as_taken() {
        let branches = ["session/a", "session/a-2", "session/b/deeper"];
        let branches: HashSet<String> = branches.map(str::to_owned).into();
        let free = |name: &str| first_free(name, |name| is_taken(name, &branches));
        assert_eq!(free("session/a"), "session/a-3");
        assert_eq!(free("session/b"), "session/b-2");
        assert_eq!(free("session/c"), "session/c");
    }

    #[test]
    fn repositories_of_one_name_have_two_directories() {
        let one = of_repository(Path::new("/one/app/.git"));
        let two = of_repository(Path::new("/two/app/.git"));
        assert!(one.starts_with("app-") && two.starts_with("app-") && one != two);
        assert!(of_repository(Path::new("/srv/my app.git")).starts_with("my-app-"));
    }
}
