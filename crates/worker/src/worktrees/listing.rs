//! What `git worktree list --porcelain -z` says. Pure.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// One worktree as git knows it; the first of a list is the main one, or the bare repository.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) path: PathBuf,
    /// `None` where nothing was committed yet, or in a bare repository.
    pub(super) head: Option<String>,
    /// `None` when detached.
    pub(super) branch: Option<String>,
    /// Why it is locked; it may be locked without a reason.
    pub(super) locked: Option<String>,
}

/// The worktrees of an answer.
pub(super) fn parse(answer: &[u8]) -> Vec<Listed> {
    let mut listed: Vec<Listed> = Vec::new();
    for attribute in answer.split(|byte| *byte == 0) {
        let (name, value) = match attribute.iter().position(|byte| *byte == b' ') {
            Some(at) => (&attribute[..at], &attribute[at + 1..]),
            None => (attribute, &b""[..]),
        };
        if name == b"worktree" {
            listed.push(Listed {
                path: PathBuf::from(OsStr::from_bytes(value)),
                ..Listed::default()
            });
            continue;
        }
        let Some(last) = listed.last_mut() else {
            continue;
        };
        let text = || String::from_utf8_lossy(value).into_owned();
        match name {
            b"HEAD" => last.head = Some(text()).filter(|head| !head.bytes().all(|c| c == b'0')),
            b"branch" => {
                let branch = text();
                let short = branch.strip_prefix("refs/heads/");
                last.branch = Some(short.map_or(branch.clone(), str::to_owned));
            }
            b"locked" => last.locked = Some(text()),
            // `bare`, `detached`, `prunable`, and what later versions say.
            _ => {}
        }
    }
    listed
}

/// The worktree at `path`.
pub(super) fn at<'a>(listed: &'a [Listed], path: &Path) -> Option<&'a Listed> {
    listed.iter().skip(1).find(|listed| listed.path == path)
}

/// A worktree elsewhere that has this branch checked out.
pub(super) fn elsewhere<'a>(listed: &'a [Listed], branch: &str, path: &Path) -> Option<&'a Listed> {
    let mut others = listed.iter().filter(|listed| listed.path != path);
    others.find(|listed| listed.branch.as_deref() == Some(branch))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_attribute_is_read_and_strange_paths_stay_whole() {
        let answer = b"worktree /r\0HEAD 1111\0branch refs/heads/main\0\0\
            worktree /w/a b\nc\0HEAD 2222\0branch refs/heads/session/a\0locked on a stick\0\0\
            worktree /w/d\0HEAD 0000\0detached\0locked\0prunable gone\0\0";
        let listed = parse(answer);
        assert_eq!(listed.len(), 3);
        let second = at(&listed, Path::new("/w/a b\nc")).expect("it is listed");
        assert_eq!(second.head.as_deref(), Some("2222"));
        assert_eq!(second.branch.as_deref(), Some("session/a"));
        assert_eq!(second.locked.as_deref(), Some("on a stick"));
        let third = at(&listed, Path::new("/w/d")).expect("it is listed");
        assert_eq!((&third.head, &third.branch), (&None, &None));
        assert_eq!(third.locked.as_deref(), Some(""));
        assert_eq!(
            at(&listed, Path::new("/r")),
            None,
            "the main one is nobody's"
        );
        let moved = elsewhere(&listed, "session/a", Path::new("/w/x"));
        assert_eq!(moved, Some(second));
        assert_eq!(parse(b""), []);
    }
}
