//! A home that lets others in, or leads elsewhere, is refused with what mends it.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::support::Home;

/// Asserts that no worker starts here, that it says why, and that `doctor` says it too.
#[track_caller]
pub(super) fn assert_refused(home: &Home, words: &[&str]) {
    let ran = home.cli(&["run"]);
    assert_ne!(ran.code(), 0, "a worker has run in an unfit home");
    for word in words {
        assert!(ran.stderr.contains(word), "{word:?} in {}", ran.stderr);
    }
    let report = home.cli(&["doctor"]);
    let said = String::from_utf8_lossy(&report.stdout).into_owned() + &report.stderr;
    assert!(said.contains(words[0]), "{:?} in {said}", words[0]);
}

#[test]
fn modes_that_let_others_in_are_refused_with_the_mend() {
    let home = Home::new();
    home.start().stop();
    home.write_config("");
    let layout = home.layout();
    let root = layout.root();
    let above = root.parent().expect("a directory above");
    let cases: [(&Path, u32, &str); 7] = [
        (root, 0o755, "chmod 700"),
        (root, 0o770, "chmod 700"),
        (&layout.spool_dir(), 0o777, "chmod 700"),
        (&layout.process_dir(), 0o710, "chmod 700"),
        (above, 0o777, "chmod o-w"),
        (&layout.token_file(), 0o644, "rm "),
        (layout.config_file(), 0o666, "chmod go-w"),
    ];
    for (path, mode, mend) in cases {
        let before = fs::metadata(path).expect("it is there").permissions();
        fs::set_permissions(path, Permissions::from_mode(mode)).expect("ours");
        let named = format!("(mode {mode:03o})");
        assert_refused(&home, &[&path.display().to_string(), &named, mend]);
        fs::set_permissions(path, before).expect("ours");
    }
    home.start().stop();
}

#[test]
fn planted_links_are_not_followed() {
    let home = Home::new();
    home.start().stop();
    let layout = home.layout();
    let elsewhere = layout.root().with_file_name("elsewhere");
    let precious = elsewhere.join("precious");
    fs::create_dir(&elsewhere).expect("a directory");
    fs::write(&precious, "precious").expect("a file");
    let spool_file = layout.spool_dir().join("claude-code.s.spool");
    let cases: [(PathBuf, &Path); 7] = [
        (layout.socket(), &precious),
        (layout.token_file(), &precious),
        (layout.queue_db(), &precious),
        (layout.lock_file(), &precious),
        (spool_file, &precious),
        (layout.spool_dir(), &elsewhere),
        (layout.log_dir(), &elsewhere),
    ];
    for (path, target) in cases {
        let aside = path.with_extension("aside");
        let was_there = fs::rename(&path, &aside).is_ok();
        symlink(target, &path).expect("a link");
        let named = format!("{}: it is a symbolic link", path.display());
        assert_refused(&home, &[&named]);
        fs::remove_file(&path).expect("the link is still there");
        if was_there {
            fs::rename(&aside, &path).expect("ours");
        }
    }
    assert_eq!(fs::read_to_string(&precious).expect("a file"), "precious");
    assert_eq!(fs::read_dir(&elsewhere).expect("a directory").count(), 1);
    home.start().stop();
}

#[test]
fn home_that_is_a_link_is_refused_and_nothing_is_made_behind_it() {
    let home = Home::new();
    let root = home.layout().root();
    let elsewhere = root.with_file_name("elsewhere");
    fs::create_dir(&elsewhere).expect("a directory");
    fs::set_permissions(&elsewhere, Permissions::from_mode(0o700)).expect("ours");
    symlink(&elsewhere, root).expect("a link");
    assert_refused(&home, &["it is a symbolic link", "SESSIOND_HOME"]);
    assert_eq!(fs::read_dir(&elsewhere).expect("a directory").count(), 0);
}

#[test]
fn configuration_may_be_a_link_of_its_owner() {
    let home = Home::new();
    home.start().stop();
    let file = home.layout().root().with_file_name("dotfiles.toml");
    fs::write(&file, "[queue]\nattempt_max = 2\n").expect("a file");
    symlink(&file, home.layout().config_file()).expect("a link");
    home.start().stop();
}
