//! What a dead worker has left: its records, as files, and who runs under its tags.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use sessiond_supervisor::{SpawnRecord, Tag};

use crate::check::Found;

/// The records that can be read.
pub(super) fn records(registry_dir: &Path) -> io::Result<Vec<SpawnRecord>> {
    let mut records = Vec::new();
    for name in file_names(registry_dir)? {
        // One that was removed since is of no spawn that runs.
        let bytes = fs::read(registry_dir.join(name)).unwrap_or_default();
        records.extend(serde_json::from_slice::<SpawnRecord>(&bytes).ok());
    }
    Ok(records)
}

/// The tags that they name.
pub(super) fn recorded_tags(registry_dir: &Path) -> io::Result<BTreeSet<String>> {
    let records = records(registry_dir)?.into_iter();
    Ok(records.map(|record| record.tag.to_string()).collect())
}

/// The names of all files there, unfinished ones too. A worker that died early has made none.
pub(super) fn file_names(registry_dir: &Path) -> io::Result<BTreeSet<String>> {
    let entries = match fs::read_dir(registry_dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        Err(error) => return Err(error),
    };
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    names.collect()
}

/// The tags that these processes carry, as far as they show their environment.
pub(super) fn carried_tags(found: &[Found]) -> BTreeSet<String> {
    let carried = found.iter().filter_map(|found| {
        let block = fs::read(format!("/proc/{}/environ", found.pid)).ok()?;
        Tag::from_environ_block(&block)
    });
    carried.map(|tag| tag.to_string()).collect()
}
