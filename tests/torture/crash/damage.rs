//! What may happen to a registry while no worker runs: files that are cut, overwritten, of others,
//! of other kinds. Each may cost itself and nothing else.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::{Value, json};

use super::traces::file_names;
use crate::random::Chance;

/// Files that are put beside the records.
const STRANGERS: [&str; 8] = [
    "empty.json",
    "garbage.json",
    "large.json",
    "fifo.json",
    "directory.json",
    "link.json",
    "notes.txt",
    "half-written.0~",
];

/// More than a record may have.
const LARGE_BYTES: usize = 1 << 20;

/// Damages some of the records and adds strangers. Gives the names of all files that may stay.
pub(super) fn damage(registry_dir: &Path, chance: &mut Chance) -> io::Result<BTreeSet<String>> {
    let mut damaged = BTreeSet::new();
    for name in file_names(registry_dir)? {
        if chance.below(3) > 0 {
            damage_record(&registry_dir.join(&name), chance)?;
            damaged.insert(name);
        }
    }
    for name in STRANGERS {
        put_stranger(registry_dir, name, chance)?;
        damaged.insert(name.to_owned());
    }
    Ok(damaged)
}

fn damage_record(path: &Path, chance: &mut Chance) -> io::Result<()> {
    let mut bytes = fs::read(path)?;
    let length = bytes.len() as u64;
    match chance.below(6) {
        // Every length comes up in the course of many rounds, also nothing at all.
        0 => bytes.truncate(at(chance.below(length.max(1)))),
        1 => {
            for _flip in 0..=chance.below(8) {
                let position = at(chance.below(length.max(1)));
                if let Some(byte) = bytes.get_mut(position) {
                    *byte ^= 1 << chance.below(8);
                }
            }
        }
        2 => bytes = change(&bytes, |record| record["version"] = json!(99)),
        3 => {
            bytes = change(&bytes, |record| {
                record["tag"] = json!("other:1:session:spawn")
            })
        }
        4 => bytes = change(&bytes, |record| record["host"] = json!("another-host")),
        _ => {
            fs::set_permissions(path, fs::Permissions::from_mode(0o000))?;
            return Ok(());
        }
    }
    fs::write(path, bytes)
}

/// The record with one change; what is none stays as it is.
fn change(bytes: &[u8], change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let Ok(mut record) = serde_json::from_slice(bytes) else {
        return bytes.to_vec();
    };
    change(&mut record);
    record.to_string().into_bytes()
}

fn put_stranger(registry_dir: &Path, name: &str, chance: &mut Chance) -> io::Result<()> {
    let path = registry_dir.join(name);
    match name {
        "fifo.json" => mkfifo(&path, Mode::S_IRUSR).map_err(io::Error::from),
        "directory.json" => fs::create_dir(&path),
        "link.json" => symlink("/etc/passwd", &path),
        "large.json" => fs::write(&path, vec![b'{'; LARGE_BYTES]),
        "empty.json" => fs::write(&path, b""),
        _ => {
            let length = chance.below(700);
            let bytes: Vec<u8> = (0..length)
                .map(|_| u8::try_from(chance.below(256)).expect("a byte"))
                .collect();
            fs::write(&path, bytes)
        }
    }
}

fn at(position: u64) -> usize {
    usize::try_from(position).expect("within a file")
}
