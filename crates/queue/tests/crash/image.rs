//! What a loss of power may leave of a recording: what was synced, and of the rest whatever the disk
//! had got round to, in any order.

use std::collections::HashMap;
use std::path::Path;

use crate::disk::{FileId, Operation};
use crate::random::Random;

/// What a disk writes as a whole or not at all.
const SECTOR_BYTES: usize = 512;

/// What becomes of operations that were not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unsynced {
    Lost,
    Kept,
    /// Each is lost, kept or torn, in any order; directory entries are lost or kept.
    Mixed,
}

/// Writes the files that are left of these operations into a directory.
pub(crate) fn write(operations: &[Operation], unsynced: Unsynced, random: &mut Random, to: &Path) {
    let mut names: HashMap<&str, FileId> = HashMap::new();
    let mut entries = Vec::new();
    let mut files: HashMap<FileId, File<'_>> = HashMap::new();
    for operation in operations {
        match operation {
            Operation::Create { file, .. } => {
                files.insert(*file, File::default());
                entries.push(operation);
            }
            Operation::Delete { .. } => entries.push(operation),
            Operation::SyncDirectory => {
                for entry in entries.drain(..) {
                    change_names(&mut names, entry);
                }
            }
            Operation::Write { file, .. } | Operation::Truncate { file, .. } => {
                let file = files.get_mut(file).expect("it was opened");
                file.unsynced.push(operation);
            }
            Operation::Sync { file } => files.get_mut(file).expect("it was opened").sync(),
            Operation::FailedSync { file } => {
                let file = files.get_mut(file).expect("it was opened");
                file.lose(unsynced, random);
            }
        }
    }
    for entry in entries {
        let kept = match unsynced {
            Unsynced::Lost => false,
            Unsynced::Kept => true,
            Unsynced::Mixed => random.one_in(2),
        };
        if kept {
            change_names(&mut names, entry);
        }
    }
    // In the order of their names, so that a seed makes the same choices again.
    let mut names: Vec<_> = names.into_iter().collect();
    names.sort_unstable();
    for (name, file) in names {
        let file = files.remove(&file).expect("a file has one name");
        let bytes = file.left(unsynced, random);
        std::fs::write(to.join(name), bytes).expect("the file is written");
    }
}

fn change_names<'o>(names: &mut HashMap<&'o str, FileId>, entry: &'o Operation) {
    match entry {
        Operation::Create { name, file } => {
            names.insert(name, *file);
        }
        Operation::Delete { name } => {
            names.remove(name.as_str());
        }
        other => unreachable!("{other:?} changes no directory"),
    }
}

/// One file: what is on disk, and what is on its way there.
#[derive(Default)]
struct File<'o> {
    bytes: Vec<u8>,
    unsynced: Vec<&'o Operation>,
}

impl File<'_> {
    fn sync(&mut self) {
        for operation in self.unsynced.drain(..) {
            apply(&mut self.bytes, operation, 0, |_| true);
        }
    }

    fn left(mut self, unsynced: Unsynced, random: &mut Random) -> Vec<u8> {
        self.lose(unsynced, random);
        self.bytes
    }

    /// Leaves of what is not synced what the disk has got round to.
    fn lose(&mut self, unsynced: Unsynced, random: &mut Random) {
        match unsynced {
            Unsynced::Lost => self.unsynced.clear(),
            Unsynced::Kept => self.sync(),
            Unsynced::Mixed => {
                for place in (1..self.unsynced.len()).rev() {
                    self.unsynced.swap(place, random.below(place + 1));
                }
                // Where a file grew and nothing arrived, there may be what was there before.
                let filler = [0x00, 0xA5][random.below(2)];
                for operation in self.unsynced.drain(..) {
                    let bytes = &mut self.bytes;
                    match random.below(3) {
                        0 => {}
                        1 => apply(bytes, operation, filler, |_| true),
                        _ => apply(bytes, operation, filler, |_| random.one_in(2)),
                    }
                }
            }
        }
    }
}

/// Does an operation to a file, as far as its sectors arrive.
fn apply(
    file: &mut Vec<u8>,
    operation: &Operation,
    filler: u8,
    mut arrives: impl FnMut(usize) -> bool,
) {
    match operation {
        Operation::Truncate { bytes, .. } => file.resize(*bytes, filler),
        Operation::Write { offset, bytes, .. } => {
            let mut from = 0;
            while from < bytes.len() {
                let at = offset + from;
                let sector = at / SECTOR_BYTES;
                let to = bytes.len().min((sector + 1) * SECTOR_BYTES - offset);
                if arrives(sector) {
                    let end = offset + to;
                    if file.len() < end {
                        file.resize(end, filler);
                    }
                    file[at..end].copy_from_slice(&bytes[from..to]);
                }
                from = to;
            }
        }
        other => unreachable!("{other:?} changes no file"),
    }
}

#[test]
fn synced_bytes_are_left_and_others_may_be_torn() {
    let write_of = |offset, byte| Operation::Write {
        file: 0,
        offset,
        bytes: vec![byte; 1_024],
    };
    let name = "a".to_owned();
    let operations = [
        Operation::Create { name, file: 0 },
        write_of(0, 1),
        Operation::Sync { file: 0 },
        Operation::SyncDirectory,
        write_of(512, 2),
    ];
    let left = |operations: &[Operation], unsynced, seed| {
        let dir = tempfile::tempdir().expect("a directory is made");
        write(operations, unsynced, &mut Random(seed), dir.path());
        std::fs::read(dir.path().join("a")).ok()
    };
    let (old, new) = (
        vec![1; 1_024],
        [vec![1; 512], vec![2; 1_024]].concat::<u8>(),
    );
    assert_eq!(left(&operations, Unsynced::Lost, 0), Some(old.clone()));
    assert_eq!(left(&operations, Unsynced::Kept, 0), Some(new.clone()));
    assert_eq!(left(&operations[..3], Unsynced::Lost, 0), None, "no entry");
    let mixed: Vec<_> = (0..50)
        .filter_map(|seed| left(&operations, Unsynced::Mixed, seed))
        .collect();
    assert!(mixed.iter().all(|left| left[..512] == old[..512]));
    assert!(mixed.contains(&old) && mixed.contains(&new));
    assert!(
        mixed.iter().any(|left| *left != old && *left != new),
        "torn"
    );
}
