//! Which project a working directory belongs to.
//!
//! A project is the nearest directory with a `.git`, or the working directory itself. A linked
//! worktree belongs to the project of its repository, so that what was learned in the one is told in
//! the other; where the repository is bare, that is the bare repository. A project is named by its real
//! path, however the agent came there.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Directories remembered: more than anyone works in at once.
const CACHE_MAX: usize = 256;

/// Bytes of a file that names a path: the longest path of Linux, and what stands before it.
const POINTER_MAX_BYTES: u64 = 4096 + 16;

/// How long an answer holds; then a fresh `git init` is seen.
const CACHE_TTL: Duration = Duration::from_secs(60);

/// Finds projects, and remembers them for a minute.
#[derive(Debug, Default)]
pub struct Projects {
    cache: Mutex<HashMap<String, (String, Instant)>>,
}

impl Projects {
    /// The project of a directory. Costs one stat for each ancestor and a few short reads in a linked
    /// worktree, or nothing when it is remembered; a directory that does not exist is its own project.
    pub fn of(&self, cwd: &str) -> String {
        let now = Instant::now();
        let fresh = |at: &Instant| now.duration_since(*at) < CACHE_TTL;
        {
            let cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((project, at)) = cache.get(cwd)
                && fresh(at)
            {
                return project.clone();
            }
        }
        // Not under the lock: a slow file system must not hold up other sessions.
        let project = find(&normalized(cwd));
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.len() >= CACHE_MAX {
            cache.retain(|_, (_, at)| fresh(at));
        }
        if cache.len() >= CACHE_MAX {
            cache.clear();
        }
        cache.insert(cwd.to_owned(), (project.clone(), now));
        project
    }
}

fn find(cwd: &Path) -> String {
    let root = if cwd.is_dir() {
        cwd.ancestors().find(|dir| dir.join(".git").exists())
    } else {
        None
    };
    let repository = root.and_then(repository_of_worktree);
    let project = repository.as_deref().or(root).unwrap_or(cwd);
    // What does not exist is named as it was.
    let real = fs::canonicalize(project);
    let project = real.as_deref().unwrap_or(project);
    project.to_string_lossy().into_owned()
}

/// The repository of a linked worktree, see gitrepository-layout(5); `None`: `root` is none.
///
/// The files of a directory say what they like, so the repository has to name the worktree as well:
/// otherwise whoever makes a directory could have it told of any project.
fn repository_of_worktree(root: &Path) -> Option<PathBuf> {
    let link = root.join(".git");
    let git_dir = root.join(pointer(&link)?.strip_prefix("gitdir: ")?);
    let common = git_dir.join(pointer(&git_dir.join("commondir"))?);
    let common = normalized(common.to_str()?);
    let listed = fs::canonicalize(common.join("worktrees")).ok()?;
    let is_listed = fs::canonicalize(&git_dir).ok()?.parent() == Some(&listed);
    let named = git_dir.join(pointer(&git_dir.join("gitdir"))?);
    let (named, link) = (fs::metadata(named).ok()?, fs::metadata(link).ok()?);
    let is_named = (named.dev(), named.ino()) == (link.dev(), link.ino());
    if !(is_listed && is_named) {
        return None;
    }
    match common.file_name()?.to_str() {
        Some(".git") => common.parent().map(Path::to_owned),
        _ => Some(common),
    }
}

/// The one line of a file of git's that names a path.
fn pointer(path: &Path) -> Option<String> {
    // Whatever else lies there could keep a reader waiting.
    if !fs::metadata(path).ok()?.is_file() {
        return None;
    }
    let mut text = String::new();
    let file = File::open(path).ok()?;
    file.take(POINTER_MAX_BYTES)
        .read_to_string(&mut text)
        .ok()?;
    Some(text.trim_end_matches('\n').to_owned())
}

/// Without `.`, `..` and trailing separators, so that one directory has one name.
fn normalized(path: &str) -> PathBuf {
    let mut parts = PathBuf::new();
    for part in Path::new(path).components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                parts.pop();
            }
            other => parts.push(other),
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn project_is_the_nearest_ancestor_with_git() {
        let home = tempfile::tempdir().expect("tempdir");
        let repo = home.path().join("repo");
        fs::create_dir_all(repo.join("src/deep")).expect("mkdir");
        fs::write(repo.join(".git"), "gitdir: elsewhere").expect("write");
        let projects = Projects::default();
        let of = |path: PathBuf| projects.of(&path.to_string_lossy());
        assert_eq!(of(repo.join("src/deep")), repo.to_string_lossy());
        assert_eq!(of(repo.clone()), repo.to_string_lossy());
        assert_eq!(of(repo.join("src/../src")), repo.to_string_lossy());
    }

    #[test]
    fn worktree_that_its_repository_does_not_name_is_a_project_of_its_own() {
        let home = tempfile::tempdir().expect("tempdir");
        let home = home.path().canonicalize().expect("a path");
        let write = |path: &Path, text: &str| {
            fs::create_dir_all(path.parent().expect("a directory")).expect("mkdir");
            fs::write(path, text).expect("write");
        };
        let link = |tree: &str, git_dir: &Path| {
            let link = home.join(tree).join(".git");
            write(&link, &format!("gitdir: {}\n", git_dir.display()));
            write(&git_dir.join("commondir"), "../..\n");
            write(&git_dir.join("gitdir"), &format!("{}\n", link.display()));
        };
        let of = |tree: &str| Projects::default().of(&home.join(tree).to_string_lossy());
        let name = |project: &str| home.join(project).to_string_lossy().into_owned();
        let listed = home.join("repo/.git/worktrees/tree");
        link("tree", &listed);
        assert_eq!(of("tree"), name("repo"));
        link("of-bare", &home.join("bare.git/worktrees/of-bare"));
        assert_eq!(of("of-bare"), name("bare.git"));
        // The entry is another worktree's.
        write(
            &home.join("thief/.git"),
            &format!("gitdir: {}", listed.display()),
        );
        assert_eq!(of("thief"), name("thief"));
        // An entry that the repository does not have.
        let own = home.join("forger/git-dir");
        link("forger", &own);
        write(&own.join("commondir"), &name("repo/.git"));
        assert_eq!(of("forger"), name("forger"));
    }

    #[test]
    fn directory_that_does_not_exist_is_its_own_project() {
        let home = tempfile::tempdir().expect("tempdir");
        fs::create_dir(home.path().join(".git")).expect("mkdir");
        let gone = home.path().join("gone");
        let asked = format!("{}/", gone.display());
        assert_eq!(Projects::default().of(&asked), gone.to_string_lossy());
    }

    #[test]
    fn cache_stays_bounded() {
        let projects = Projects::default();
        for number in 0..CACHE_MAX * 3 {
            projects.of(&format!("/nowhere/{number}"));
        }
        let kept = projects.cache.lock().expect("lock").len();
        assert!((1..=CACHE_MAX).contains(&kept), "{kept}");
    }
}
