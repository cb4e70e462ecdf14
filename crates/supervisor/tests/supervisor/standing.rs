//! What an identity says of real processes.

use sessiond_supervisor::{BootId, Doubt, IdentityError, ProcessIdentity, Standing};

use crate::support::TestChild;

#[test]
fn child_is_alive_until_killed_and_gone_as_a_zombie_and_when_reaped() {
    let mut child = TestChild::start("");
    let identity = ProcessIdentity::of(child.pid()).unwrap();
    assert_eq!(identity.check(), Standing::Alive);

    child.kill_unreaped();
    assert_eq!(identity.check(), Standing::Gone, "as a zombie");
    let refused = ProcessIdentity::of(child.pid()).unwrap_err();
    assert!(
        matches!(refused, IdentityError::Gone(pid) if pid == child.pid()),
        "a zombie has no identity: {refused:?}"
    );

    child.reap();
    assert_eq!(identity.check(), Standing::Gone, "when reaped");
}

#[test]
fn identity_taken_twice_is_the_same_and_another_child_has_another() {
    let (one, other) = (TestChild::start(""), TestChild::start(""));
    let identity = ProcessIdentity::of(one.pid()).unwrap();
    assert_eq!(identity, ProcessIdentity::of(one.pid()).unwrap());
    let stranger = ProcessIdentity::of(other.pid()).unwrap();
    assert_ne!(identity, stranger);
    assert!(
        identity.pidfs_inode.is_none() || identity.pidfs_inode != stranger.pidfs_inode,
        "an inode that two processes share tells nothing: {identity:?} {stranger:?}"
    );
}

#[test]
fn identity_has_a_pidfs_inode_from_linux_6_9_on() {
    let release = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    let mut numbers = release.split(['.', '-']).map(|part| part.parse::<u32>());
    let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else {
        panic!("the kernel's release is of another form: {release}");
    };
    let own = ProcessIdentity::own().unwrap();
    let expected = (major, minor) >= (6, 9);
    assert_eq!(own.pidfs_inode.is_some(), expected, "{release}: {own:?}");
}

#[test]
fn identity_survives_its_json() {
    let child = TestChild::start("");
    let identity = ProcessIdentity::of(child.pid()).unwrap();
    let text = serde_json::to_string(&identity).unwrap();
    let read: ProcessIdentity = serde_json::from_str(&text).unwrap();
    assert_eq!(read, identity);
    assert_eq!(read.check(), Standing::Alive);
}

#[test]
fn living_pid_under_other_facts_is_gone() {
    let child = TestChild::start("");
    let identity = ProcessIdentity::of(child.pid()).unwrap();
    let earlier_start = ProcessIdentity {
        start_ticks: identity.start_ticks - 1,
        ..identity.clone()
    };
    assert_eq!(earlier_start.check(), Standing::Gone);
    let other_boot = ProcessIdentity {
        boot_id: BootId("00000000-0000-0000-0000-000000000000".to_owned()),
        ..identity.clone()
    };
    assert_eq!(other_boot.check(), Standing::Gone);
    if let Some(inode) = identity.pidfs_inode {
        let same_tick = ProcessIdentity {
            pidfs_inode: Some(inode - 1),
            ..identity
        };
        assert_eq!(same_tick.check(), Standing::Gone);
    }
}

#[test]
fn pid_of_another_namespace_is_doubted_whatever_runs_under_it_here() {
    let child = TestChild::start("");
    let identity = ProcessIdentity::of(child.pid()).unwrap();
    let own_namespace = identity.pid_namespace.expect("Linux has pid namespaces");
    let elsewhere = ProcessIdentity {
        pid_namespace: Some(own_namespace + 1),
        ..identity.clone()
    };
    assert_eq!(
        elsewhere.check(),
        Standing::Unverifiable(Doubt::OtherNamespace)
    );
    let ended = ProcessIdentity {
        boot_id: BootId("another".to_owned()),
        ..elsewhere
    };
    assert_eq!(
        ended.check(),
        Standing::Gone,
        "no namespace outlives a boot"
    );
}

#[test]
fn identity_from_before_namespaces_were_recorded_is_judged_by_its_other_facts() {
    let child = TestChild::start("");
    let identity = ProcessIdentity::of(child.pid()).unwrap();
    let mut json = serde_json::to_value(&identity).unwrap();
    let removed = json.as_object_mut().unwrap().remove("pid_namespace");
    assert!(removed.is_some_and(|inode| inode.is_u64()));
    let read: ProcessIdentity = serde_json::from_value(json).unwrap();
    assert_eq!(read.pid_namespace, None);
    assert_eq!(read.check(), Standing::Alive);
}

#[test]
fn stopped_process_is_alive() {
    let child = TestChild::start("");
    let identity = ProcessIdentity::of(child.pid()).unwrap();
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.pid()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    assert_eq!(identity.check(), Standing::Alive);
}

#[test]
fn name_that_looks_like_fields_does_not_hide_the_process() {
    let child = TestChild::start("printf ') R 1 (' > /proc/$$/comm");
    let name = std::fs::read_to_string(format!("/proc/{}/comm", child.pid())).unwrap();
    assert_eq!(name, ") R 1 (\n", "the shell took the name");
    let identity = ProcessIdentity::of(child.pid()).unwrap();
    let plain = TestChild::start("");
    let later = ProcessIdentity::of(plain.pid()).unwrap();
    assert!(
        (1..=later.start_ticks).contains(&identity.start_ticks),
        "the start time is read from its own field: {identity:?}, then {later:?}"
    );
    assert_eq!(identity.check(), Standing::Alive);
}

#[test]
fn own_identity_is_that_of_its_pid() {
    let own = ProcessIdentity::own().unwrap();
    assert_eq!(own.pid, std::process::id());
    assert_eq!(own, ProcessIdentity::of(own.pid).unwrap());
    assert_eq!(own.check(), Standing::Alive);
}

#[test]
fn pids_that_are_no_process_are_refused() {
    let own = ProcessIdentity::own().unwrap();
    for pid in [0, 1, u32::MAX] {
        let refused = ProcessIdentity::of(pid).unwrap_err();
        assert!(
            matches!(refused, IdentityError::Refused(it) if it == pid),
            "{pid}: {refused:?}"
        );
        let stored = ProcessIdentity { pid, ..own.clone() };
        assert_eq!(
            stored.check(),
            Standing::Unverifiable(Doubt::RefusedPid(pid)),
            "{pid} from a file"
        );
    }
}
