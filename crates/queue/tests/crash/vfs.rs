//! The shim between SQLite and its unix VFS. Being the process's default VFS, it is under every
//! database; it does nothing but forward, save in a directory that is watched.
//!
//! A file of the shim is [`File`], followed in memory by the file of the unix VFS. Shared memory
//! is mapped by the unix VFS and does not pass here: it does not outlive a crash anyway.

#![expect(
    unsafe_code,
    reason = "a VFS is a table of C functions; SQLite has no other way in"
)]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem::MaybeUninit;
use std::path::Path;
use std::sync::{Arc, Mutex, Once, OnceLock, PoisonError};

use libsqlite3_sys as ffi;
use libsqlite3_sys::{sqlite3_file, sqlite3_io_methods, sqlite3_vfs};

use crate::disk::{Call, Disk, FileId, Operation, Pragma};

/// Watches a directory as long as it lives.
pub(crate) struct Watch(pub(crate) Arc<Disk>);

static WATCHED: Mutex<Vec<Arc<Disk>>> = Mutex::new(Vec::new());

impl Watch {
    /// Watches a directory, by its path without symbolic links.
    pub(crate) fn new(dir: &Path, pragmas: &[Pragma]) -> Self {
        static REGISTERED: Once = Once::new();
        REGISTERED.call_once(register);
        let disk = Arc::new(Disk::new(dir, pragmas));
        watched().push(disk.clone());
        Self(disk)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        watched().retain(|disk| !Arc::ptr_eq(disk, &self.0));
    }
}

fn watched() -> std::sync::MutexGuard<'static, Vec<Arc<Disk>>> {
    WATCHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The watched directory of a path, and the path's name in it.
///
/// # Safety
/// `path` is null or a C string.
unsafe fn place(path: *const c_char) -> Option<(Arc<Disk>, String)> {
    if path.is_null() {
        return None;
    }
    // SAFETY: the caller's promise.
    let path = Path::new(unsafe { CStr::from_ptr(path) }.to_str().ok()?);
    let disk = watched()
        .iter()
        .find(|disk| path.parent() == Some(&disk.dir))?
        .clone();
    Some((disk, path.file_name()?.to_str()?.to_owned()))
}

/// The unix VFS, as far as the shim calls it.
struct Unix {
    vfs: *mut sqlite3_vfs,
    open_directory: OpenDirectory,
}

type OpenDirectory = unsafe extern "C" fn(*const c_char, *mut c_int) -> c_int;

// SAFETY: SQLite's VFS lives as long as the process and may be called from every thread.
unsafe impl Send for Unix {}
// SAFETY: as above.
unsafe impl Sync for Unix {}

static UNIX: OnceLock<Unix> = OnceLock::new();

fn unix() -> &'static Unix {
    UNIX.get().expect("the shim is registered")
}

fn register() {
    let name = c"openDirectory".as_ptr();
    // SAFETY: a null name asks for the default VFS, which is never taken away. Its table has the
    // named call with this type (`aSyscall` in os_unix.c); ours has the same. The copy of the VFS
    // with its pointers replaced is leaked, so it outlives all files.
    unsafe {
        let vfs = ffi::sqlite3_vfs_find(std::ptr::null());
        assert!(!vfs.is_null(), "SQLite has a default VFS");
        let get = (*vfs).xGetSystemCall.expect("version 3");
        let set = (*vfs).xSetSystemCall.expect("version 3");
        let found = get(vfs, name).expect("a directory can be opened");
        let open_directory = std::mem::transmute::<unsafe extern "C" fn(), OpenDirectory>(found);
        let unix = UNIX.set(Unix {
            vfs,
            open_directory,
        });
        assert!(unix.is_ok(), "it is registered once");
        let watching =
            std::mem::transmute::<OpenDirectory, unsafe extern "C" fn()>(open_watched_directory);
        assert_eq!(set(vfs, name, Some(watching)), ffi::SQLITE_OK);

        let mut shim = *vfs;
        shim.zName = c"crash".as_ptr();
        shim.pNext = std::ptr::null_mut();
        shim.szOsFile += size_of::<File>() as c_int;
        shim.xOpen = Some(open);
        shim.xDelete = Some(delete);
        let registered = ffi::sqlite3_vfs_register(Box::leak(Box::new(shim)), 1);
        assert_eq!(registered, ffi::SQLITE_OK);
    }
}

/// The unix VFS opens a directory for one reason only: to sync it.
unsafe extern "C" fn open_watched_directory(path: *const c_char, fd: *mut c_int) -> c_int {
    // SAFETY: the arguments are the caller's; the path is that of a file in the directory.
    unsafe {
        let code = (unix().open_directory)(path, fd);
        if code == ffi::SQLITE_OK
            && let Some((disk, _)) = place(path)
        {
            disk.record(Operation::SyncDirectory);
        }
        code
    }
}

unsafe extern "C" fn open(
    _: *mut sqlite3_vfs,
    path: *const c_char,
    file: *mut sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: SQLite gives `szOsFile` bytes at `file`, aligned to 8 bytes: a `File` and the unix
    // file. Without methods, SQLite does not close a file that did not open.
    unsafe {
        (*file).pMethods = std::ptr::null();
        let place = place(path);
        if let Some((disk, name)) = &place
            && let Some(code) = disk.fault(Call::Open, name)
        {
            return code;
        }
        let open = (*unix().vfs).xOpen.expect("a VFS opens files");
        let code = open(unix().vfs, path, real(file), flags, out_flags);
        if code == ffi::SQLITE_OK {
            let place = place.map(|(disk, name)| Place {
                id: disk.open(&name),
                disk,
                name,
                lowered: Vec::new(),
            });
            let base = sqlite3_file { pMethods: &METHODS };
            file.cast::<File>().write(File { base, place });
        }
        code
    }
}

unsafe extern "C" fn delete(_: *mut sqlite3_vfs, path: *const c_char, sync: c_int) -> c_int {
    // SAFETY: the arguments are the caller's.
    unsafe {
        let delete = (*unix().vfs).xDelete.expect("a VFS deletes files");
        let Some((disk, name)) = place(path) else {
            return delete(unix().vfs, path, sync);
        };
        if let Some(code) = disk.fault(Call::Delete, &name) {
            return code;
        }
        // Without the sync of the directory: it would be recorded before the deletion. What is
        // recorded is the harsher for it.
        let code = delete(unix().vfs, path, 0);
        if code == ffi::SQLITE_OK {
            disk.delete(&name);
        }
        code
    }
}

/// An open file of the shim.
#[repr(C)]
struct File {
    base: sqlite3_file,
    /// Where it is, if that is watched.
    place: Option<Place>,
}

// SQLite puts files behind each other at multiples of 8, so neither this one nor the unix file behind
// it may ask for more.
const _: () = assert!(align_of::<File>() == 8 && size_of::<File>().is_multiple_of(8));

struct Place {
    disk: Arc<Disk>,
    name: String,
    id: FileId,
    /// The pragmas of this connection that are not what it believes.
    lowered: Vec<Pragma>,
}

/// The unix file behind one of the shim's.
unsafe fn real(file: *mut sqlite3_file) -> *mut sqlite3_file {
    // SAFETY: it follows in the same allocation, see `open`.
    unsafe { file.cast::<File>().add(1).cast() }
}

/// Forwards a call to the unix file.
macro_rules! forward {
    ($file:expr, $method:ident $(, $argument:expr)*) => {{
        let real = real($file);
        let method = (*(*real).pMethods).$method.expect("a file of the unix VFS has it");
        method(real $(, $argument)*)
    }};
}

/// Answers with the error of a fault, or goes on with the place of a watched file.
macro_rules! place_unless_fault {
    ($file:expr, $call:expr) => {{
        let place = (*$file.cast::<File>()).place.as_ref();
        if let Some(place) = place
            && let Some(code) = place.disk.fault($call, &place.name)
        {
            return code;
        }
        place
    }};
}

static METHODS: sqlite3_io_methods = sqlite3_io_methods {
    // No version 3: the queue maps no file (mmap_size 0).
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

// SAFETY of all methods: SQLite hands over a file that `open` has made and `close` has not ended,
// and arguments that are right for the unix method of that name.

unsafe extern "C" fn close(file: *mut sqlite3_file) -> c_int {
    // SAFETY: see above; nobody uses the place after this.
    unsafe {
        let code = forward!(file, xClose);
        drop((*file.cast::<File>()).place.take());
        code
    }
}

unsafe extern "C" fn read(
    file: *mut sqlite3_file,
    to: *mut c_void,
    bytes: c_int,
    at: i64,
) -> c_int {
    // SAFETY: see above.
    unsafe {
        place_unless_fault!(file, Call::Read);
        forward!(file, xRead, to, bytes, at)
    }
}

unsafe extern "C" fn write(
    file: *mut sqlite3_file,
    from: *const c_void,
    bytes: c_int,
    at: i64,
) -> c_int {
    // SAFETY: see above; there are `bytes` bytes at `from`.
    unsafe {
        let place = (*file.cast::<File>()).place.as_ref();
        if let Some(place) = place
            && let Some(code) = place.disk.fault(Call::Write, &place.name)
        {
            // A disk that fills up takes the first part.
            forward!(file, xWrite, from, bytes / 2, at);
            return code;
        }
        let code = forward!(file, xWrite, from, bytes, at);
        if let Some(place) = place {
            let bytes = std::slice::from_raw_parts(from.cast::<u8>(), bytes as usize).to_vec();
            place.disk.record(Operation::Write {
                file: place.id,
                offset: at as usize,
                bytes,
            });
        }
        code
    }
}

unsafe extern "C" fn truncate(file: *mut sqlite3_file, bytes: i64) -> c_int {
    // SAFETY: see above.
    unsafe {
        let place = place_unless_fault!(file, Call::Truncate);
        if let Some(place) = place {
            let (file, bytes) = (place.id, bytes as usize);
            place.disk.record(Operation::Truncate { file, bytes });
        }
        forward!(file, xTruncate, bytes)
    }
}

unsafe extern "C" fn sync(file: *mut sqlite3_file, flags: c_int) -> c_int {
    // SAFETY: see above.
    unsafe {
        if let Some(place) = &(*file.cast::<File>()).place {
            let file = place.id;
            if let Some(code) = place.disk.fault(Call::Sync, &place.name) {
                place.disk.record(Operation::FailedSync { file });
                return code;
            }
            place.disk.record(Operation::Sync { file });
        }
        forward!(file, xSync, flags)
    }
}

unsafe extern "C" fn file_size(file: *mut sqlite3_file, to: *mut i64) -> c_int {
    // SAFETY: see above.
    unsafe { forward!(file, xFileSize, to) }
}

unsafe extern "C" fn lock(file: *mut sqlite3_file, level: c_int) -> c_int {
    // SAFETY: see above.
    unsafe { forward!(file, xLock, level) }
}

unsafe extern "C" fn unlock(file: *mut sqlite3_file, level: c_int) -> c_int {
    // SAFETY: see above.
    unsafe { forward!(file, xUnlock, level) }
}

unsafe extern "C" fn check_reserved_lock(file: *mut sqlite3_file, to: *mut c_int) -> c_int {
    // SAFETY: see above.
    unsafe { forward!(file, xCheckReservedLock, to) }
}

unsafe extern "C" fn file_control(
    file: *mut sqlite3_file,
    control: c_int,
    argument: *mut c_void,
) -> c_int {
    // SAFETY: see above; with a pragma come four pointers: to the answer, which SQLite frees, to the
    // pragma's name, and to its value, if it is set.
    unsafe {
        if control == ffi::SQLITE_FCNTL_PRAGMA
            && let Some(place) = (*file.cast::<File>()).place.as_mut()
        {
            let texts = argument.cast::<*mut c_char>();
            let (answer, name, value) = (texts, *texts.add(1), *texts.add(2));
            let name = CStr::from_ptr(name).to_bytes();
            if value.is_null() {
                let mut lowered = place.lowered.iter();
                if let Some(pragma) = lowered.find(|pragma| pragma.name.as_bytes() == name) {
                    answer.write(copied(pragma.pretended));
                    return ffi::SQLITE_OK;
                }
            } else {
                let asked = CStr::from_ptr(value).to_bytes();
                let mut pragmas = place.disk.pragmas.iter();
                if let Some(pragma) = pragmas.find(|pragma| {
                    pragma.name.as_bytes() == name && pragma.asked.as_bytes() == asked
                }) {
                    assert!(pragma.value.len() <= asked.len(), "{pragma:?} fits");
                    place.lowered.push(*pragma);
                    let text = value.cast::<u8>();
                    text.copy_from_nonoverlapping(pragma.value.as_ptr(), pragma.value.len());
                    text.add(pragma.value.len()).write(0);
                }
            }
        }
        forward!(file, xFileControl, control, argument)
    }
}

/// The text in memory of SQLite's, with a zero behind it.
fn copied(text: &str) -> *mut c_char {
    // SAFETY: so many bytes are asked for, and all are written.
    unsafe {
        let copy = ffi::sqlite3_malloc(text.len() as c_int + 1).cast::<MaybeUninit<u8>>();
        assert!(!copy.is_null(), "there is memory");
        copy.cast::<u8>()
            .copy_from_nonoverlapping(text.as_ptr(), text.len());
        (*copy.add(text.len())).write(0);
        copy.cast()
    }
}

unsafe extern "C" fn sector_size(file: *mut sqlite3_file) -> c_int {
    // SAFETY: see above.
    unsafe { forward!(file, xSectorSize) }
}

unsafe extern "C" fn device_characteristics(file: *mut sqlite3_file) -> c_int {
    // SAFETY: see above.
    unsafe { forward!(file, xDeviceCharacteristics) }
}

unsafe extern "C" fn shm_map(
    file: *mut sqlite3_file,
    region: c_int,
    bytes: c_int,
    extend: c_int,
    to: *mut *mut c_void,
) -> c_int {
    // SAFETY: see above.
    unsafe {
        place_unless_fault!(file, Call::MapShared);
        forward!(file, xShmMap, region, bytes, extend, to)
    }
}

unsafe extern "C" fn shm_lock(
    file: *mut sqlite3_file,
    offset: c_int,
    number: c_int,
    flags: c_int,
) -> c_int {
    // SAFETY: see above.
    unsafe { forward!(file, xShmLock, offset, number, flags) }
}

unsafe extern "C" fn shm_barrier(file: *mut sqlite3_file) {
    // SAFETY: see above.
    unsafe { forward!(file, xShmBarrier) }
}

unsafe extern "C" fn shm_unmap(file: *mut sqlite3_file, delete: c_int) -> c_int {
    // SAFETY: see above.
    unsafe { forward!(file, xShmUnmap, delete) }
}
