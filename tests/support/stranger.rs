//! An ordinary user whom nobody is, and a program that takes rights which that user cannot touch.
//! Both are for root to make.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use nix::sys::prctl;
use nix::unistd::{Gid, Uid, geteuid, setgroups, setresgid, setresuid};

/// Its user and group id.
pub const STRANGER: u32 = 64_983;

/// Where programs are looked for.
const DIRS: [&str; 3] = ["/usr/local/bin", "/usr/bin", "/bin"];

/// Whether this user can make a stranger; otherwise `feature` is left out.
#[track_caller]
pub fn may_make_stranger(feature: &str) -> bool {
    let is_root = geteuid().is_root();
    if !is_root {
        super::leave_out(&format!("{feature}: only root becomes another user"));
    }
    is_root
}

/// Makes this whole process the stranger's, who owns `own` from then on.
#[track_caller]
pub fn become_stranger(own: &[&Path]) {
    for path in own {
        chown(path, Some(STRANGER), Some(STRANGER)).expect("root gives things away");
    }
    let (user, group) = (Uid::from_raw(STRANGER), Gid::from_raw(STRANGER));
    setgroups(&[]).expect("root leaves its groups");
    setresgid(group, group, group).expect("root takes any group");
    setresuid(user, user, user).expect("root becomes anybody");
    // Lost with the user, and with it the way into /proc/self.
    prctl::set_dumpable(true).expect("a process decides that itself");
}

/// Does this as the stranger, in a thread that alone becomes it: what the test has to do as root it
/// can do afterwards.
#[cfg(target_os = "linux")]
pub fn as_stranger<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
    let become_stranger = || {
        let user = Some(rustix::process::Uid::from_raw(STRANGER));
        let group = Some(rustix::process::Gid::from_raw(STRANGER));
        set_thread_groups(&[]).expect("root leaves its groups");
        set_thread_res_gid(group, group, group).expect("root takes any group");
        set_thread_res_uid(user, user, user).expect("root becomes anybody");
    };
    std::thread::scope(|scope| {
        let worked = scope.spawn(|| {
            become_stranger();
            work()
        });
        worked.join().expect("the stranger's work")
    })
}

/// Copies a program to where the stranger may run it.
#[track_caller]
pub fn lend(program: &Path, to: PathBuf) -> PathBuf {
    copy(program, to, 0o755)
}

/// A program in `dir` that becomes root's for good, whoever starts it, and then another:
/// `take-rights --reuid 0 PROGRAM ARGS...`. `None`: its source is missing here, and `feature` is
/// left out.
#[track_caller]
pub fn take_rights(dir: &Path, feature: &str) -> Option<PathBuf> {
    let Some(setpriv) = setpriv() else {
        super::leave_out(&format!("{feature}: setpriv is missing"));
        return None;
    };
    Some(copy(&setpriv, dir.join("take-rights"), 0o4755))
}

/// The program that runs another one as another user.
pub fn setpriv() -> Option<PathBuf> {
    let mut paths = DIRS.iter().map(|dir| Path::new(dir).join("setpriv"));
    paths.find(|path| path.is_file())
}

#[track_caller]
fn copy(program: &Path, to: PathBuf, mode: u32) -> PathBuf {
    fs::copy(program, &to).expect("a copy");
    fs::set_permissions(&to, fs::Permissions::from_mode(mode)).expect("its mode");
    to
}
