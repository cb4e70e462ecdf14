//! Another ordinary user of the machine: reads nothing, connects to nothing, and is asked for the
//! token.

use std::fs::{self, File, Permissions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use crate::support::http::{Request, over_tcp};
use crate::support::stranger::{STRANGER, as_stranger, may_make_stranger};
use crate::support::{Home, LIMIT, payload};

use super::home::assert_refused;
use super::wire::port;

const MARKER: &str = "marker-of-the-prompt";

#[test]
fn another_user_neither_connects_nor_reads_nor_is_served_without_the_token() {
    if !may_make_stranger("security: another user") {
        return;
    }
    let home = Home::new();
    let worker = home.start();
    home.hook("claude-code", payload::prompt("s", MARKER))
        .silence();
    worker.wait_idle();
    let root = home.layout().root();
    let parent = root.parent().expect("a directory above");
    fs::set_permissions(parent, Permissions::from_mode(0o755)).expect("ours");
    let (files, socket, port) = (all_under(root), home.layout().socket(), port(&home));
    assert!(files.len() > 8, "the home has files: {files:?}");

    as_stranger(|| {
        fs::read_dir(parent).expect("the directory above may be read");
        assert_denied(fs::read_dir(root).err(), root);
        assert_denied(UnixStream::connect(&socket).err(), &socket);
        for file in &files {
            assert_denied(File::open(file).err(), file);
        }
        for (method, target) in [("GET", "/v1/status"), ("POST", "/v1/admin/shutdown")] {
            let host = ("host", format!("127.0.0.1:{port}"));
            let request = Request {
                method,
                target,
                headers: vec![host],
                body: None,
            };
            over_tcp(port, &request)
                .expect("an answer")
                .error(401, "unauthorized");
        }
    });

    // Modes are not honoured everywhere, and a mistake is made soon: the socket itself asks.
    fs::set_permissions(root, Permissions::from_mode(0o755)).expect("ours");
    fs::set_permissions(&socket, Permissions::from_mode(0o666)).expect("ours");
    as_stranger(|| {
        let mut stream = UnixStream::connect(&socket).expect("the modes let it");
        stream.set_read_timeout(Some(LIMIT)).expect("a limit");
        // It may be closed already.
        let request = b"GET /v1/status HTTP/1.1\r\nhost: sessiond\r\n\r\n";
        stream.write_all(request).ok();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok();
        assert_eq!(String::from_utf8_lossy(&answer), "");
        for file in &files {
            let is_log = file.starts_with(home.layout().log_dir());
            if let (Ok(mut file), false) = (File::open(file), is_log) {
                let mut text = Vec::new();
                let read = file.read_to_end(&mut text);
                panic!("another user read {read:?} bytes of {file:?}");
            }
        }
    });
    assert!(home.log().contains("connection of another user refused"));
    assert!(worker.process().is_alive());
}

#[test]
fn what_another_user_put_into_the_home_is_refused() {
    if !may_make_stranger("security: files of another user") {
        return;
    }
    let home = Home::new();
    home.start().stop();
    let layout = home.layout();
    let planted = layout.spool_dir().join("claude-code.s.spool");
    fs::write(&planted, "").expect("a file");
    for path in [
        layout.root().to_owned(),
        layout.process_dir(),
        layout.token_file(),
        layout.install_file(),
        planted,
    ] {
        chown(&path, Some(STRANGER), None).expect("root gives things away");
        let owned = format!("{}: it belongs to user {STRANGER}", path.display());
        assert_refused(&home, &[&owned, "chown"]);
        chown(&path, Some(0), None).expect("root takes things");
    }
    let config = layout.config_file();
    home.write_config("");
    chown(config, Some(STRANGER), None).expect("root gives things away");
    assert_refused(&home, &["it names programs to be run, and belongs to user"]);
}

#[track_caller]
fn assert_denied(error: Option<std::io::Error>, what: &Path) {
    let error = error.unwrap_or_else(|| panic!("another user got at {}", what.display()));
    let kind = error.kind();
    assert_eq!(kind, ErrorKind::PermissionDenied, "{}", what.display());
}

fn all_under(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("a directory") {
        let entry = entry.expect("an entry");
        if entry.file_type().expect("a type").is_dir() {
            found.extend(all_under(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found
}
