//! What lies in the home: nothing of another user's, no link, no readable token.
//!
//! The directories are 0700, so that only their owner puts something there. But they may have been
//! open once, and whatever was planted then is there still: a link that leads a write elsewhere, an
//! event that nobody's hook has spooled. So whose the files are is looked at by each start.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::unistd::{getegid, geteuid};

use super::HomeError;
use crate::wire::layout::Layout;

const OTHERS_WRITE: u32 = 0o002;
const GROUP_WRITES: u32 = 0o020;
const STICKY: u32 = 0o1000;

/// Checks what lies in `directories`, who may read the token, who may write the configuration, and
/// who may put another directory in the home's place.
pub(super) fn check(
    layout: &Layout,
    directories: impl IntoIterator<Item = impl AsRef<Path>>,
) -> Result<(), HomeError> {
    check_way(layout.root())?;
    for directory in directories {
        check_entries(directory.as_ref(), layout)?;
    }
    judge(
        &layout.token_file(),
        |path| path.symlink_metadata(),
        |metadata, name| {
            let mode = metadata.mode() & 0o777;
            (mode & 0o077 != 0).then(|| {
                format!(
                    "others may read it (mode {mode:03o}); remove it, and the next start makes a \
                     new one: rm {name}"
                )
            })
        },
    )?;
    // Its owner may have it lie elsewhere, under a link: where that leads counts.
    judge(layout.config_file(), |path| path.metadata(), config_problem)
}

/// Whoever may write to a directory above may move the home away and put another in its place.
fn check_way(root: &Path) -> Result<(), HomeError> {
    for above in root.ancestors().skip(1) {
        judge(
            above,
            |path| path.metadata(),
            |metadata, name| {
                let is_open = metadata.mode() & (OTHERS_WRITE | STICKY) == OTHERS_WRITE;
                is_open.then(|| {
                    format!(
                        "anybody may replace what lies in it (mode {:03o}); mend it with: chmod \
                         o-w {name}, or set SESSIOND_HOME to another place",
                        metadata.mode() & 0o777
                    )
                })
            },
        )?;
    }
    Ok(())
}

fn check_entries(directory: &Path, layout: &Layout) -> Result<(), HomeError> {
    let failed = |source| HomeError::Io {
        path: directory.to_owned(),
        source,
    };
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(failed)?,
    };
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        if path != layout.config_file() {
            judge(&path, |path| path.symlink_metadata(), entry_problem)?;
        }
    }
    Ok(())
}

fn entry_problem(metadata: &Metadata, name: &str) -> Option<String> {
    if metadata.is_symlink() {
        return Some(format!(
            "it is a symbolic link, and none is followed here; remove it with: rm {name}"
        ));
    }
    let us = geteuid();
    (metadata.uid() != us.as_raw()).then(|| {
        let owner = metadata.uid();
        format!("it belongs to user {owner}, not to {us}; if it is yours: chown {us} {name}")
    })
}

fn config_problem(metadata: &Metadata, name: &str) -> Option<String> {
    let (owner, us) = (metadata.uid(), geteuid());
    if owner != us.as_raw() && owner != 0 {
        return Some(format!(
            "it names programs to be run, and belongs to user {owner}, not to {us}"
        ));
    }
    let mode = metadata.mode() & 0o777;
    // Where each user has a group of his own, his files are writable by it, and only he is in it.
    let is_own_group = metadata.gid() == getegid().as_raw();
    let is_open = mode & OTHERS_WRITE != 0 || (mode & GROUP_WRITES != 0 && !is_own_group);
    is_open.then(|| {
        format!(
            "it names programs to be run, and others may write it (mode {mode:03o}); mend it with: \
             chmod go-w {name}"
        )
    })
}

/// Looks at a file that may be gone, and says what is wrong with it.
fn judge(
    path: &Path,
    look: impl Fn(&Path) -> io::Result<Metadata>,
    problem: impl Fn(&Metadata, &str) -> Option<String>,
) -> Result<(), HomeError> {
    let metadata = match look(path) {
        Ok(metadata) => metadata,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(());
        }
        Err(source) => {
            let path = path.to_owned();
            return Err(HomeError::Io { path, source });
        }
    };
    match problem(&metadata, &path.display().to_string()) {
        None => Ok(()),
        Some(problem) => Err(HomeError::UnfitFile {
            path: path.to_owned(),
            problem,
        }),
    }
}
