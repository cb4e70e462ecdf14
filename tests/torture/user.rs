//! The same run as an ordinary user, started by root.
//!
//! Programs that lie where only root may look get a place that everybody may look into. There is a
//! copy with root's set-user-id bit as well, where such a bit means anything.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, ensure};
use rustix::fs::{StatVfsMountFlags, statvfs};

use crate::options::Programs;

/// What is copied: everybody may run it, nobody else may change it.
const PROGRAM_MODE: u32 = 0o755;
const EVERYBODY_RUNS: u32 = 0o005;
const SET_USER_ID_MODE: u32 = 0o4755;

/// Runs this program again as `uid`, which has that group alone, with this command and the copies
/// of the programs, and gives its exit code.
///
/// # Errors
/// This is not root, or the copies cannot be made.
pub(crate) fn run_as(
    uid: u32,
    command: &str,
    args: &[String],
    programs: &Programs,
) -> anyhow::Result<ExitCode> {
    ensure!(
        rustix::process::getuid().is_root() && uid != 0,
        "only root can become another user"
    );
    let dir = tempfile::tempdir().context("make a directory")?;
    let bin = dir.path().join("bin");
    let home = dir.path().join("home");
    fs::create_dir(&bin)?;
    fs::create_dir(&home)?;
    for open in [dir.path(), &bin] {
        fs::set_permissions(open, fs::Permissions::from_mode(PROGRAM_MODE))?;
    }
    chown(&home, Some(uid), Some(uid))?;
    let nasty_child = programs.nasty_child()?;
    let torture = bin.join("torture");
    lend(&std::env::current_exe()?, &torture)?;
    lend(&nasty_child, &bin.join("nasty-child"))?;
    lend(&programs.shim()?, &bin.join("sessiond-shim"))?;
    lend(&programs.hook()?, &bin.join("sessiond-hook"))?;
    if let Some(worker) = programs.worker() {
        // The hook would start it.
        lend(&worker, &bin.join("sessiond"))?;
    }
    let mut again = Command::new(torture);
    again
        .arg(command)
        .args(args)
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("TMPDIR", &home)
        .current_dir(&home)
        // The standard library gives up all groups with root.
        .uid(uid)
        .gid(uid);
    if set_user_id_counts(&bin)? {
        let program = bin.join("nasty-child-of-root");
        copy(&nasty_child, &program, SET_USER_ID_MODE)?;
        again.arg("--setuid-program").arg(program);
    }
    let status = again.status().context("start it again")?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Puts a program where the user can run it.
fn lend(from: &Path, to: &Path) -> anyhow::Result<()> {
    let mode = fs::metadata(from)?.permissions().mode();
    // A second name costs nothing, where both are in one file system.
    if mode & EVERYBODY_RUNS == EVERYBODY_RUNS && fs::hard_link(from, to).is_ok() {
        return Ok(());
    }
    copy(from, to, PROGRAM_MODE)
}

fn copy(from: &Path, to: &Path, mode: u32) -> anyhow::Result<()> {
    fs::copy(from, to).with_context(|| format!("copy {}", from.display()))?;
    // After the copy, which would take the bit away again.
    fs::set_permissions(to, fs::Permissions::from_mode(mode))?;
    Ok(())
}

/// Whether a set-user-id bit in `dir` gives rights to what is started from here.
fn set_user_id_counts(dir: &Path) -> anyhow::Result<bool> {
    let is_off = statvfs(dir)?.f_flag.contains(StatVfsMountFlags::NOSUID);
    let status = fs::read_to_string("/proc/self/status")?;
    Ok(!is_off && !status.contains("NoNewPrivs:\t1"))
}
