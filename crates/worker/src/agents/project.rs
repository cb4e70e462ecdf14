//! Which project a working directory belongs to.
//!
//! A project is the nearest directory with a `.git` (a directory, or the file of a worktree), or
//! the working directory itself. Paths are taken as the agent names them: symbolic links are not
//! resolved.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Directories remembered: more than anyone works in at once.
const CACHE_MAX: usize = 256;

/// How long an answer holds; then a fresh `git init` is seen.
const CACHE_TTL: Duration = Duration::from_secs(60);

/// Finds projects, and remembers them for a minute.
#[derive(Debug, Default)]
pub struct Projects {
    cache: Mutex<HashMap<String, (String, Instant)>>,
}

impl Projects {
    /// The project of a directory. Costs one stat for each ancestor, or none when it is
    /// remembered; a directory that does not exist is its own project.
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
    root.unwrap_or(cwd).to_string_lossy().into_owned()
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
        std::fs::create_dir_all(repo.join("src/deep")).expect("mkdir");
        std::fs::write(repo.join(".git"), "gitdir: elsewhere").expect("write");
        let projects = Projects::default();
        let of = |path: PathBuf| projects.of(&path.to_string_lossy());
        assert_eq!(of(repo.join("src/deep")), repo.to_string_lossy());
        assert_eq!(of(repo.clone()), repo.to_string_lossy());
        assert_eq!(of(repo.join("src/../src")), repo.to_string_lossy());
    }

    #[test]
    fn directory_that_does_not_exist_is_its_own_project() {
        let home = tempfile::tempdir().expect("tempdir");
        std::fs::create_dir(home.path().join(".git")).expect("mkdir");
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
