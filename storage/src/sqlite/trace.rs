//! A VFS that watches the write-ahead log: what was written, what was synced, and switches to hold a sync back or fail it.
//!
//! For tests only. It proves what kill -9 cannot: that a commit is answered after the sync of its log, not after its write.
//! Files are opened by SQLite's default VFS; only the log's write, sync, truncate and close pass through here.

use std::{
    collections::BTreeMap,
    ffi::{CStr, c_char, c_int, c_void},
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError},
};

use libsqlite3_sys as ffi;

use super::SqliteLedger;

const VFS_NAME: &CStr = c"pitboss-trace";

/// What has happened to one write-ahead log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogState {
    pub writes: u64,
    pub syncs: u64,
    /// Writes since the last sync.
    pub unsynced: u64,
    /// Syncs that wait at the switch now.
    pub held: u64,
}

#[derive(Default)]
struct Watched {
    state: LogState,
    hold: bool,
    fail_sync: Option<c_int>,
    fail_write: Option<c_int>,
}

#[derive(Default)]
struct Log {
    watched: Mutex<Watched>,
    changed: Condvar,
}

impl Log {
    fn lock(&self) -> MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_while(&self, mut condition: impl FnMut(&Watched) -> bool) -> MutexGuard<'_, Watched> {
        self.changed.wait_while(self.lock(), |watched| condition(watched)).unwrap_or_else(PoisonError::into_inner)
    }
}

static LOGS: Mutex<BTreeMap<PathBuf, Arc<Log>>> = Mutex::new(BTreeMap::new());

fn log_at(path: &Path) -> Arc<Log> {
    // SQLite opens the full path without symbolic links, so the key is that too.
    let parent = path.parent().unwrap_or(Path::new("."));
    let parent = parent.canonicalize().unwrap_or_else(|_| parent.to_owned());
    let path = path.file_name().map_or_else(|| parent.clone(), |name| parent.join(name));
    Arc::clone(LOGS.lock().unwrap_or_else(PoisonError::into_inner).entry(path).or_default())
}

/// The installed VFS. Its switches are per data directory.
#[derive(Clone, Copy, Debug)]
pub struct SyncTrace {
    _installed: (),
}

/// Registers the VFS; later calls answer the same.
pub fn install() -> SyncTrace {
    static REGISTERED: OnceLock<()> = OnceLock::new();
    REGISTERED.get_or_init(register);
    SyncTrace { _installed: () }
}

impl SyncTrace {
    /// The value for [`super::SqliteOptions::vfs`].
    pub fn vfs(&self) -> Option<String> {
        VFS_NAME.to_str().ok().map(str::to_owned)
    }

    fn log(&self, dir: &Path) -> Arc<Log> {
        log_at(&dir.join(format!("{}-wal", SqliteLedger::FILE_NAME)))
    }

    /// The state of the log of the ledger in `dir`.
    pub fn state(&self, dir: &Path) -> LogState {
        self.log(dir).lock().state
    }

    /// From now on every sync of the log waits until [`SyncTrace::release`].
    pub fn hold(&self, dir: &Path) {
        self.log(dir).lock().hold = true;
    }

    /// Blocks until a sync waits at the switch.
    pub fn wait_held(&self, dir: &Path) {
        drop(self.log(dir).wait_while(|watched| watched.state.held == 0));
    }

    pub fn release(&self, dir: &Path) {
        let log = self.log(dir);
        log.lock().hold = false;
        log.changed.notify_all();
    }

    /// From now on syncs of the log answer this result code instead; `None` ends it.
    pub fn fail_syncs(&self, dir: &Path, code: Option<c_int>) {
        self.log(dir).lock().fail_sync = code;
    }

    /// From now on writes to the log answer this result code instead; `None` ends it.
    pub fn fail_writes(&self, dir: &Path, code: Option<c_int>) {
        self.log(dir).lock().fail_write = code;
    }
}

/// What we keep behind the default VFS's own file structure.
struct Tail {
    log: Arc<Log>,
    original: *const ffi::sqlite3_io_methods,
    methods: ffi::sqlite3_io_methods,
}

struct Vfs {
    base: *mut ffi::sqlite3_vfs,
    /// Where the tail stands in a file's memory.
    tail_offset: usize,
}

// SAFETY: SQLite's registered VFS objects live for the process and are used from any thread.
unsafe impl Send for Vfs {}
// SAFETY: as above; nothing in it changes after registration.
unsafe impl Sync for Vfs {}

static BASE: OnceLock<Vfs> = OnceLock::new();

fn register() {
    // SAFETY: called once; a null name asks for the default VFS, which exists on every supported platform. The copy is leaked
    // because SQLite keeps the pointer for ever.
    unsafe {
        let base = ffi::sqlite3_vfs_find(std::ptr::null());
        assert!(!base.is_null(), "SQLite has a default VFS");
        let tail_offset = ((*base).szOsFile as usize).next_multiple_of(align_of::<Tail>());
        let mut vfs = *base;
        vfs.szOsFile = (tail_offset + size_of::<Tail>()) as c_int;
        vfs.zName = VFS_NAME.as_ptr();
        vfs.pNext = std::ptr::null_mut();
        vfs.xOpen = Some(open);
        BASE.get_or_init(|| Vfs { base, tail_offset });
        let code = ffi::sqlite3_vfs_register(Box::into_raw(Box::new(vfs)), 0);
        assert_eq!(code, ffi::SQLITE_OK, "the VFS registers");
    }
}

unsafe extern "C" fn open(
    _vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    let Some(vfs) = BASE.get() else { return ffi::SQLITE_CANTOPEN };
    // SAFETY: SQLite hands memory of our `szOsFile` bytes; the default VFS uses the first part. Its method table stays in
    // force but for the four methods replaced, which find the tail behind that part. `name` is a C string when not null.
    unsafe {
        let Some(base_open) = (*vfs.base).xOpen else { return ffi::SQLITE_CANTOPEN };
        let code = base_open(vfs.base, name, file, flags, out);
        if code != ffi::SQLITE_OK || flags & ffi::SQLITE_OPEN_WAL == 0 || name.is_null() || (*file).pMethods.is_null() {
            return code;
        }
        let original = (*file).pMethods;
        let mut methods = *original;
        methods.xWrite = Some(write);
        methods.xSync = Some(sync);
        methods.xTruncate = Some(truncate);
        methods.xClose = Some(close);
        let path = PathBuf::from(CStr::from_ptr(name).to_string_lossy().into_owned());
        let tail = tail_of(file);
        tail.write(Tail { log: log_at(&path), original, methods });
        (*file).pMethods = &raw const (*tail).methods;
        ffi::SQLITE_OK
    }
}

/// Where a traced file's tail stands.
///
/// # Safety
/// `file` must be memory that SQLite allocated for this VFS.
unsafe fn tail_of(file: *mut ffi::sqlite3_file) -> *mut Tail {
    let offset = BASE.get().map_or(0, |vfs| vfs.tail_offset);
    // SAFETY: the memory reaches `tail_offset + size_of::<Tail>()` bytes, and the offset is aligned for it.
    unsafe { file.cast::<u8>().add(offset).cast() }
}

unsafe extern "C" fn write(file: *mut ffi::sqlite3_file, data: *const c_void, size: c_int, offset: ffi::sqlite3_int64) -> c_int {
    // SAFETY: `open` put a tail there, and the original method gets what SQLite gave us.
    unsafe {
        let tail = &*tail_of(file);
        if let Some(code) = tail.log.lock().fail_write {
            return code;
        }
        let code = (*tail.original).xWrite.map_or(ffi::SQLITE_IOERR, |base| base(file, data, size, offset));
        let mut watched = tail.log.lock();
        watched.state.writes += 1;
        watched.state.unsynced += 1;
        code
    }
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, flags: c_int) -> c_int {
    // SAFETY: as in `write`.
    unsafe {
        let tail = &*tail_of(file);
        let mut watched = tail.log.lock();
        if let Some(code) = watched.fail_sync {
            return code;
        }
        watched.state.held += 1;
        tail.log.changed.notify_all();
        drop(watched);
        let mut watched = tail.log.wait_while(|watched| watched.hold);
        watched.state.held -= 1;
        let covered = watched.state.unsynced;
        drop(watched);
        let code = (*tail.original).xSync.map_or(ffi::SQLITE_IOERR, |base| base(file, flags));
        if code == ffi::SQLITE_OK {
            let mut watched = tail.log.lock();
            watched.state.syncs += 1;
            watched.state.unsynced -= covered;
        }
        code
    }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: ffi::sqlite3_int64) -> c_int {
    // SAFETY: as in `write`.
    unsafe {
        let tail = &*tail_of(file);
        let code = (*tail.original).xTruncate.map_or(ffi::SQLITE_IOERR, |base| base(file, size));
        if size == 0 {
            // What is cut off needs no sync any more.
            tail.log.lock().state.unsynced = 0;
        }
        code
    }
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: SQLite closes a file once; the tail is dropped here and the original table put back before it is used.
    unsafe {
        let tail = tail_of(file).read();
        (*file).pMethods = tail.original;
        (*tail.original).xClose.map_or(ffi::SQLITE_OK, |base| base(file))
    }
}
