//! Learns from the kernel that a hook has spooled something. Costs nothing while none does.

use std::path::Path;
use std::sync::Arc;

use notify::event::{EventKind, ModifyKind};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

use crate::wire::spool_name::EXTENSION;

/// The spool directory cannot be watched.
#[derive(Debug, thiserror::Error)]
#[error("watch the spool directory {path}")]
pub struct WatchError {
    /// The directory.
    pub path: std::path::PathBuf,
    /// What the system said.
    #[source]
    pub source: notify::Error,
}

/// A watch on the spool directory. Carries no data: whoever is woken looks at the directory.
#[derive(Debug)]
pub struct SpoolWatch {
    changed: Arc<Notify>,
    // Ends the watch when dropped.
    _watcher: RecommendedWatcher,
}

impl SpoolWatch {
    /// Watches `spool_dir`, which must exist. The first [`SpoolWatch::changed`] returns at once,
    /// for what was spooled before.
    ///
    /// # Errors
    /// The directory is not there, or the system's number of watches is used up.
    pub fn new(spool_dir: &Path) -> Result<Self, WatchError> {
        let changed = Arc::new(Notify::new());
        let wake = Arc::clone(&changed);
        let watch = || {
            let mut watcher = notify::recommended_watcher(move |event| {
                if is_news(&event) {
                    wake.notify_one();
                }
            })?;
            watcher.watch(spool_dir, RecursiveMode::NonRecursive)?;
            Ok(watcher)
        };
        let watcher = watch().map_err(|source| WatchError {
            path: spool_dir.to_owned(),
            source,
        })?;
        changed.notify_one();
        Ok(Self {
            changed,
            _watcher: watcher,
        })
    }

    /// Returns when something was spooled since this last returned. Can be cancelled.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}

/// Whether a hook may have written. Reading, unlinking and renaming are the worker's own doing,
/// and must not wake it again. An error, or events that were dropped, may hide anything.
fn is_news(event: &notify::Result<Event>) -> bool {
    let Ok(event) = event else {
        return true;
    };
    let is_write = match event.kind {
        EventKind::Create(_) | EventKind::Any => true,
        EventKind::Modify(kind) => !matches!(kind, ModifyKind::Name(_)),
        _ => false,
    };
    let is_spool_file =
        |path: &std::path::PathBuf| path.extension().is_some_and(|found| found == EXTENSION);
    event.need_rescan() || (is_write && event.paths.iter().any(is_spool_file))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    /// Waits until the kernel's events so far are through, then forgets them.
    async fn settle(watch: &SpoolWatch, dir: &Path) {
        let marker = dir.join("marker.spool");
        fs::write(&marker, "x").expect("write");
        timeout(LIMIT, watch.changed()).await.expect("the marker");
        while timeout(Duration::from_millis(50), watch.changed())
            .await
            .is_ok()
        {}
    }

    #[tokio::test]
    async fn first_look_is_due_at_once_and_once_only() {
        let dir = tempfile::tempdir().expect("a directory");
        let watch = SpoolWatch::new(dir.path()).expect("watch");
        timeout(LIMIT, watch.changed())
            .await
            .expect("the first look");
        let again = timeout(Duration::from_millis(50), watch.changed()).await;
        assert!(again.is_err());
    }

    #[tokio::test]
    async fn append_wakes() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("a.spool");
        let mut file = fs::File::create(&path).expect("create");
        let watch = SpoolWatch::new(dir.path()).expect("watch");
        settle(&watch, dir.path()).await;
        file.write_all(b"more").expect("write");
        timeout(LIMIT, watch.changed()).await.expect("the append");
    }

    #[tokio::test]
    async fn the_workers_own_doing_does_not_wake() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("a.spool");
        fs::write(&path, "x").expect("write");
        let watch = SpoolWatch::new(dir.path()).expect("watch");
        settle(&watch, dir.path()).await;
        fs::read(&path).expect("read");
        fs::write(dir.path().join("a.rest"), "x").expect("write");
        fs::rename(dir.path().join("a.rest"), &path).expect("rename");
        fs::remove_file(&path).expect("unlink");
        let woken = timeout(Duration::from_millis(200), watch.changed()).await;
        assert!(woken.is_err());
    }
}
