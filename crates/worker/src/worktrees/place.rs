//! Where worktrees lie: one directory a repository, in a directory of our own that nobody else may
//! write to. No link is followed below it.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Component, Path, PathBuf};

use nix::unistd::geteuid;

/// The directory of all worktrees.
#[derive(Clone, Debug)]
pub(super) struct Root {
    configured: PathBuf,
}

/// What is at a worktree's path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A directory, reached without a link.
    Directory,
    /// Nothing.
    Nothing,
    /// Something that is left alone, and why.
    Foreign(String),
}

impl Root {
    pub(super) fn new(configured: PathBuf) -> Self {
        Self { configured }
    }

    pub(super) fn path(&self) -> &Path {
        &self.configured
    }

    /// Makes what is missing and gives the directory of one repository, by its real path. Blocks.
    pub(super) fn directory_of(&self, repository: &str) -> io::Result<PathBuf> {
        let mut private = DirBuilder::new();
        private.mode(0o700);
        private.recursive(true).create(&self.configured)?;
        private.recursive(false);
        let dir = fs::canonicalize(&self.configured)?.join(repository);
        match private.create(&dir) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made?,
        }
        for dir in [dir.parent().unwrap_or(&dir), &dir] {
            if let Some(problem) = problem(&fs::symlink_metadata(dir)?) {
                let words = format!("{} {problem}", dir.display());
                return Err(io::Error::other(words));
            }
        }
        Ok(dir)
    }

    /// What is at the path of a row. Blocks.
    pub(super) fn look(&self, path: &Path) -> Found {
        let foreign = |words: String| Found::Foreign(words);
        let root = match fs::canonicalize(&self.configured) {
            Ok(root) => root,
            // Not unmade: its disk may be away.
            Err(error) => {
                let root = self.configured.display();
                return foreign(format!("the directory of worktrees {root}: {error}"));
            }
        };
        let within = path.strip_prefix(&root).map(Path::components);
        let is_within = within.is_ok_and(|parts| {
            let parts: Vec<_> = parts.collect();
            parts.len() == 2
                && parts
                    .iter()
                    .all(|part| matches!(part, Component::Normal(_)))
        });
        if !is_within {
            let root = root.display();
            return foreign(format!("it lies outside of worktrees.root, {root}"));
        }
        for dir in [path.parent().unwrap_or(path), path] {
            match fs::symlink_metadata(dir) {
                Ok(metadata) if metadata.is_dir() => {}
                Ok(_) => return foreign(format!("{} is not a directory", dir.display())),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Found::Nothing,
                Err(error) => return foreign(format!("{}: {error}", dir.display())),
            }
        }
        Found::Directory
    }
}

/// Why a directory is none that worktrees may be put into.
fn problem(found: &fs::Metadata) -> Option<&'static str> {
    if !found.is_dir() {
        Some("is not a directory")
    } else if found.uid() != geteuid().as_raw() {
        Some("belongs to another user")
    } else if found.mode() & 0o022 != 0 {
        Some(
            "may be written to by others: set worktrees.root to a directory of your own, or take the \
             right from them (chmod go-w)",
        )
    } else {
        None
    }
}

/// Removes a directory if it is empty, and its parent, a repository's directory, likewise. Anything
/// else stays. Blocks.
pub(super) fn remove_empty(path: &Path) {
    // What is not empty, or not there, is as it should be.
    let _not_empty = fs::remove_dir(path);
    if let Some(parent) = path.parent() {
        let _others_are_there = fs::remove_dir(parent);
    }
}

/// Where the git directory of a worktree is, by the link that git left in it, checked to be one of
/// `git_dir`'s. `None`: there is no such link. Blocks.
pub(super) fn own_git_dir(path: &Path, git_dir: &Path) -> Option<PathBuf> {
    let link = path.join(".git");
    if !fs::symlink_metadata(&link).ok()?.is_file() {
        return None;
    }
    let text = fs::read_to_string(&link).ok()?;
    let named = text.strip_prefix("gitdir: ")?.strip_suffix('\n')?;
    let own = fs::canonicalize(path.join(named)).ok()?;
    (own.parent()? == git_dir.join("worktrees")).then_some(own)
}

/// The operation that is under way in a git directory. Blocks.
pub(super) fn in_progress(own_git_dir: &Path) -> Option<&'static str> {
    const MARKS: [(&str, &str); 8] = [
        ("rebase-merge", "a rebase"),
        ("rebase-apply", "a rebase or am"),
        ("MERGE_HEAD", "a merge"),
        ("CHERRY_PICK_HEAD", "a cherry-pick"),
        ("REVERT_HEAD", "a revert"),
        ("BISECT_LOG", "a bisect"),
        ("BISECT_START", "a bisect"),
        ("sequencer", "a cherry-pick or revert"),
    ];
    let is_there = |name: &str| fs::symlink_metadata(own_git_dir.join(name)).is_ok();
    let mark = MARKS.into_iter().find(|(name, _)| is_there(name));
    mark.map(|(_, words)| words)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn links_and_paths_outside_of_the_root_are_foreign() {
        let dir = tempfile::tempdir().expect("tempdir");
        let base = fs::canonicalize(dir.path()).expect("it is there");
        let root = Root::new(base.join("root"));
        let of_repository = root.directory_of("app-1").expect("made");
        let path = of_repository.join("w");
        assert_eq!(root.look(&path), Found::Nothing);
        fs::create_dir(&path).expect("made");
        assert_eq!(root.look(&path), Found::Directory);
        let is_foreign = |path: &Path| matches!(root.look(path), Found::Foreign(_));
        symlink(&path, of_repository.join("link")).expect("made");
        assert!(is_foreign(&of_repository.join("link")));
        symlink(&of_repository, base.join("root/app-2")).expect("made");
        assert!(is_foreign(&base.join("root/app-2/w")));
        assert!(root.directory_of("app-2").is_err());
        let open_to_others = fs::Permissions::from_mode(0o777);
        fs::set_permissions(&of_repository, open_to_others).expect("set");
        assert!(root.directory_of("app-1").is_err());
        assert!(is_foreign(&base.join("root/app-1/../app-1/w")));
        assert!(is_foreign(&base.join("root")));
        assert!(is_foreign(&base.join("elsewhere/w")));
        remove_empty(&path);
        assert_eq!(root.look(&path), Found::Nothing);
        assert!(of_repository.exists(), "the link is still in it");
        fs::remove_dir_all(base.join("root")).expect("removed");
        assert!(is_foreign(&path), "a root that is away tells nothing");
    }
}
