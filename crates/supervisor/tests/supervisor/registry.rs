//! The registry's files: what survives, what is set apart, and what is never followed.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use sessiond_supervisor::registry::{RECORD_MAX_BYTES, RECORD_VERSION};
use sessiond_supervisor::{
    BootId, Doubt, ProcessIdentity, PutError, Registry, SpawnRecord, Standing, Tag,
};

fn tag(spawn: &str) -> Tag {
    Tag::new("install", "7", "session", spawn).expect("a tag")
}

fn intent(spawn: &str) -> SpawnRecord {
    SpawnRecord::intent(
        tag(spawn),
        "/usr/bin/agent".to_owned(),
        1_790_000_000_000,
        "host-a".to_owned(),
    )
}

fn identity_of_another_boot() -> ProcessIdentity {
    ProcessIdentity {
        pid: std::process::id(),
        pid_namespace: None,
        start_ticks: 1,
        boot_id: BootId("another".to_owned()),
        pidfs_inode: Some(3),
    }
}

fn mode_of(path: &Path) -> u32 {
    fs::symlink_metadata(path)
        .expect("the file is there")
        .permissions()
        .mode()
        & 0o7777
}

#[test]
fn intent_is_replaced_by_the_fact_and_read_by_the_next_worker() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("state/processes");
    let registry = Registry::open(&dir).unwrap();
    let one = intent("one");
    let two = intent("two");
    registry.put(&one).unwrap();
    registry.put(&two).unwrap();
    assert_eq!(registry.list().unwrap().records, [one.clone(), two.clone()]);

    let started = one.with_identity(identity_of_another_boot());
    assert!(registry.replace(&started).unwrap());
    drop(registry);
    let listing = Registry::open(&dir).unwrap().list().unwrap();
    assert_eq!(listing.records, [started, two]);
    assert_eq!(listing.unreadable, []);
}

#[test]
fn record_that_was_removed_does_not_come_back_with_the_fact() {
    let home = tempfile::tempdir().unwrap();
    let registry = Registry::open(home.path()).unwrap();
    let one = intent("one");
    registry.put(&one).unwrap();
    registry.remove(&one.tag).unwrap();
    let started = one.with_identity(identity_of_another_boot());
    assert!(!registry.replace(&started).unwrap());
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
}

#[test]
fn only_the_owner_may_read_the_records() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("processes");
    fs::create_dir(&dir).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
    let registry = Registry::open(&dir).unwrap();
    registry.put(&intent("one")).unwrap();
    assert_eq!(mode_of(&dir), 0o700);
    assert_eq!(mode_of(&dir.join("one.json")), 0o600);
}

#[test]
fn removed_record_is_gone_and_may_be_removed_again() {
    let home = tempfile::tempdir().unwrap();
    let registry = Registry::open(home.path()).unwrap();
    registry.put(&intent("one")).unwrap();
    registry.put(&intent("two")).unwrap();
    registry.remove(&tag("one")).unwrap();
    registry.remove(&tag("one")).unwrap();
    registry.remove(&tag("never-there")).unwrap();
    assert_eq!(registry.list().unwrap().records, [intent("two")]);
}

// rustix has no way to make a named pipe on macOS.
#[cfg(target_os = "linux")]
#[test]
fn damaged_and_foreign_files_cost_only_themselves() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};

    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let registry = Registry::open(dir).unwrap();
    registry.put(&intent("good")).unwrap();
    let good = fs::read(dir.join("good.json")).unwrap();
    let text = String::from_utf8(good.clone()).unwrap();

    let write = |name: &str, bytes: &[u8]| fs::write(dir.join(name), bytes).unwrap();
    write("corrupt.json", b"\xff\xfe not json");
    write("empty.json", b"");
    write("torn.json", &good[..good.len() / 2]);
    write("oversize.json", &vec![b' '; RECORD_MAX_BYTES + 1]);
    write("copied.json", &good);
    write("notes.txt", b"not ours");
    write("future.json", br#"{"version": 2, "shape": "unknown"}"#);
    let escaping = text.replace(":good", ":../good");
    assert_ne!(escaping, text, "the tag was replaced");
    write("escaping.json", escaping.as_bytes());
    fs::create_dir(dir.join("folder.json")).unwrap();
    symlink(dir.join("good.json"), dir.join("link.json")).unwrap();
    symlink(dir.join("missing"), dir.join("dangling.json")).unwrap();
    mknodat(
        CWD,
        dir.join("pipe.json"),
        FileType::Fifo,
        Mode::RUSR | Mode::WUSR,
        0,
    )
    .unwrap();

    let listing = registry.list().unwrap();
    assert_eq!(listing.records, [intent("good")]);
    let unreadable: Vec<(&str, &str)> = listing
        .unreadable
        .iter()
        .map(|(path, reason)| (path.file_name().unwrap().to_str().unwrap(), &**reason))
        .collect();
    let expected = [
        ("copied.json", "another spawn, good"),
        ("corrupt.json", "not a record"),
        ("dangling.json", "cannot be read"),
        ("empty.json", "not a record"),
        ("escaping.json", "not a record"),
        ("folder.json", "not a regular file"),
        ("future.json", "version 2"),
        ("link.json", "cannot be read"),
        ("notes.txt", "not a record"),
        ("oversize.json", "over 65536 bytes"),
        ("pipe.json", "not a regular file"),
        ("torn.json", "not a record"),
    ];
    let names = |pairs: &[(&str, &str)]| pairs.iter().map(|p| p.0.to_owned()).collect::<Vec<_>>();
    assert_eq!(names(&unreadable), names(&expected));
    for ((name, reason), (_, part)) in unreadable.iter().zip(expected) {
        assert!(reason.contains(part), "{name}: {reason:?} tells {part:?}");
    }
}

#[test]
fn put_cut_short_by_a_crash_leaves_the_earlier_record() {
    let home = tempfile::tempdir().unwrap();
    let registry = Registry::open(home.path()).unwrap();
    registry.put(&intent("one")).unwrap();
    let unfinished = home.path().join("one.0~");
    fs::write(&unfinished, br#"{"version": 1, "tag":"#).unwrap();
    let listing = registry.list().unwrap();
    assert_eq!(listing.records, [intent("one")]);
    assert_eq!(listing.unreadable, []);

    let next = Registry::open(home.path()).unwrap();
    assert!(!unfinished.exists(), "the next worker clears it");
    assert_eq!(next.list().unwrap().records, [intent("one")]);
}

#[test]
fn record_that_could_not_be_read_again_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let registry = Registry::open(home.path()).unwrap();
    registry.put(&intent("one")).unwrap();
    let huge = SpawnRecord {
        command: "x".repeat(RECORD_MAX_BYTES),
        ..intent("one")
    };
    let refused = registry.put(&huge).unwrap_err();
    assert!(matches!(refused, PutError::TooLarge { bytes, .. } if bytes > RECORD_MAX_BYTES));
    assert_eq!(registry.list().unwrap().records, [intent("one")]);
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
}

#[test]
fn directory_that_is_a_link_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let elsewhere = home.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let link = home.path().join("processes");
    symlink(&elsewhere, &link).unwrap();
    assert!(Registry::open(&link).is_err());
}

#[test]
fn intent_and_records_of_another_host_are_doubted() {
    let alone = intent("one");
    assert_eq!(alone.version, RECORD_VERSION);
    assert_eq!(
        alone.standing("host-a"),
        Standing::Unverifiable(Doubt::NoIdentity)
    );
    let elsewhere = alone.with_identity(identity_of_another_boot());
    assert_eq!(
        elsewhere.standing("host-b"),
        Standing::Unverifiable(Doubt::OtherHost("host-a".to_owned()))
    );
}

#[cfg(target_os = "linux")]
#[test]
fn record_of_an_earlier_boot_is_gone_and_a_renamed_host_is_known_by_its_boot() {
    let earlier = intent("one").with_identity(identity_of_another_boot());
    assert_eq!(earlier.standing("host-a"), Standing::Gone);
    let living = intent("two").with_identity(ProcessIdentity::own().unwrap());
    assert_eq!(living.standing("renamed"), Standing::Alive);
    assert!(!sessiond_supervisor::host_name().is_empty());
}
