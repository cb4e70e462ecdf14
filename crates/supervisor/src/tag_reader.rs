//! Reads the tags of thousands of processes, as cheaply as it can be done.
//!
//! Says what each environment holds, and when it could not be told; what follows from a tag is
//! others' business. Linux only.

use std::ffi::CStr;
use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::mem::MaybeUninit;
use std::ops::RangeInclusive;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, RawDir, SeekFrom, fstat, open, openat, seek};
use rustix::io::Errno;
use rustix::process::geteuid;

use crate::observe::{is_own_proc, read_stat};
use crate::tag::Tag;

/// Bytes of an environment that are read. The kernel's own limit for arguments and environment
/// together is a quarter of the stack's, 2 MiB usually, and 6 MiB at most.
const ENVIRON_MAX_BYTES: usize = 6 << 20;

/// Bytes that most environments fit into.
const ENVIRON_USUAL_BYTES: usize = 16 << 10;

/// Bytes of directory entries that are read at a time: some thousand processes.
const LISTING_BYTES: usize = 32 << 10;

/// The longest path there is to an environment, with its NUL.
const PATH_MAX_BYTES: usize = "4294967295/task/4294967295/environ\0".len();

/// Pids around the one that was given last which are looked at for processes that are always new:
/// several are given while one looks, and their numbers go upwards.
const NEWEST_BEFORE: u32 = 24;
const NEWEST_AFTER: u32 = 8;

/// What a process's environment says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// It carries this tag.
    Tagged {
        tag: Tag,
        /// Whether it is this user's, and has not taken other rights.
        is_own: bool,
    },
    /// It carries none.
    Untagged,
    /// It has no environment: a kernel thread, a zombie, a program that was started without one,
    /// or one in the middle of an exec.
    Empty,
    /// It has ended, or hides it from this user.
    Hidden,
}

/// Holds what is needed again for each process.
#[derive(Debug)]
pub(crate) struct TagReader {
    proc_dir: OwnedFd,
    own_user: u32,
    block: Vec<u8>,
}

impl TagReader {
    /// # Errors
    /// When `/proc` is not there, or shows another pid namespace: a tag would be read of one
    /// process, and the pidfd opened of another.
    pub(crate) fn new() -> io::Result<Self> {
        if !is_own_proc() {
            let problem = "/proc is not mounted, or is not that of this pid namespace";
            return Err(io::Error::other(problem));
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self {
            proc_dir: open("/proc", flags, Mode::empty())?,
            own_user: geteuid().as_raw(),
            block: vec![0; ENVIRON_USUAL_BYTES],
        })
    }

    /// The pids there are, in ascending order.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub(crate) fn pids(&mut self) -> io::Result<Vec<u32>> {
        seek(&self.proc_dir, SeekFrom::Start(0))?;
        let mut buffer = vec![MaybeUninit::uninit(); LISTING_BYTES];
        let mut entries = RawDir::new(&self.proc_dir, &mut buffer);
        let mut pids = Vec::new();
        while let Some(entry) = entries.next() {
            let name = entry?;
            let name = name.file_name().to_str().ok();
            pids.extend(name.and_then(|name| name.parse::<u32>().ok()));
        }
        pids.sort_unstable();
        Ok(pids)
    }

    /// The pids around the one that was given last in this pid namespace. What forks, leaves its
    /// session and lets its parent exit, for ever, is gone before one comes to it in a list of
    /// all, and is met here.
    ///
    /// # Errors
    /// When it cannot be told.
    pub(crate) fn newest(&self) -> io::Result<RangeInclusive<u32>> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = openat(&self.proc_dir, "loadavg", flags, Mode::empty())?;
        let mut text = [0; 128];
        let length = rustix::io::read(&file, &mut text)?;
        // Its last field, see proc_loadavg(5).
        let text = std::str::from_utf8(&text[..length]).map_err(io::Error::other)?;
        let last = text.split_ascii_whitespace().last();
        let last: u32 = last.and_then(|pid| pid.parse().ok()).unwrap_or_default();
        // Init is nobody's to look at.
        let first = last.saturating_sub(NEWEST_BEFORE).max(2);
        Ok(first..=last.saturating_add(NEWEST_AFTER))
    }

    /// What the environment of the process that has `pid` now says.
    ///
    /// # Errors
    /// When nothing can be told of anybody: no descriptor or no memory is left. To take that for
    /// "no tag" would forget who lives.
    pub(crate) fn read(&mut self, pid: u32) -> io::Result<Reading> {
        match self.read_one(format_args!("{pid}/environ"))? {
            reading @ (Reading::Tagged { .. } | Reading::Untagged) => Ok(reading),
            nothing if is_headless(pid) => self.read_threads(pid, nothing),
            nothing => Ok(nothing),
        }
    }

    /// The threads of a process whose first one has ended show the environment, each by itself;
    /// the process does not.
    fn read_threads(&mut self, pid: u32, nothing: Reading) -> io::Result<Reading> {
        // It may end meanwhile.
        let threads = fs::read_dir(format!("/proc/{pid}/task"));
        for thread in threads.into_iter().flatten().flatten() {
            let thread = thread.file_name();
            let thread = thread.to_string_lossy();
            match self.read_one(format_args!("{pid}/task/{thread}/environ"))? {
                Reading::Empty | Reading::Hidden => {}
                told => return Ok(told),
            }
        }
        Ok(nothing)
    }

    fn read_one(&mut self, path: fmt::Arguments<'_>) -> io::Result<Reading> {
        let mut buffer = [0; PATH_MAX_BYTES];
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let path = environ(path, &mut buffer)?;
        let file = match openat(&self.proc_dir, path, flags, Mode::empty()) {
            Ok(file) => file,
            Err(error) => return unless_exhausted(error),
        };
        let bytes = match self.read_block(&file) {
            Ok(bytes) => bytes,
            Err(error) => return unless_exhausted(error),
        };
        if bytes == 0 {
            return Ok(Reading::Empty);
        }
        let Some(tag) = Tag::from_environ_block(&self.block[..bytes]) else {
            return Ok(Reading::Untagged);
        };
        let is_own = fstat(&file)?.st_uid == self.own_user;
        Ok(Reading::Tagged { tag, is_own })
    }

    fn read_block(&mut self, file: &OwnedFd) -> rustix::io::Result<usize> {
        let mut end = 0;
        loop {
            let read = rustix::io::read(file, &mut self.block[end..])?;
            end += read;
            // Only the end makes a read of this file short.
            if end < self.block.len() || end >= ENVIRON_MAX_BYTES {
                return Ok(end);
            }
            self.block.resize(2 * end, 0);
        }
    }
}

/// Whether only the first thread of the process has ended.
fn is_headless(pid: u32) -> bool {
    read_stat(pid).is_ok_and(|stat| stat.is_headless())
}

/// A path relative to `/proc`, without an allocation for each of thousands.
fn environ<'a>(path: fmt::Arguments<'_>, buffer: &'a mut [u8]) -> io::Result<&'a CStr> {
    write!(&mut *buffer, "{path}\0")?;
    CStr::from_bytes_until_nul(buffer).map_err(io::Error::other)
}

fn unless_exhausted(error: Errno) -> io::Result<Reading> {
    match error {
        Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::INTR => Err(error.into()),
        _ => Ok(Reading::Hidden),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_process_is_listed_once_and_this_one_has_an_environment() {
        let mut reader = TagReader::new().unwrap();
        let pids = reader.pids().unwrap();
        assert!(pids.contains(&1) && pids.contains(&std::process::id()));
        assert!(pids.is_sorted_by(|one, next| one < next));
        let again = reader.pids().unwrap();
        assert!(again.contains(&std::process::id()), "from its beginning");
        let own = reader.read(std::process::id()).unwrap();
        assert!(!matches!(own, Reading::Empty | Reading::Hidden), "{own:?}");
        assert_eq!(reader.read(u32::MAX).unwrap(), Reading::Hidden);
    }
}
