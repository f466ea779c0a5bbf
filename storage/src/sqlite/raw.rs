//! The only unsafe code of the ledger: prepared statements on the raw handle that sqlx lends.
//!
//! sqlx hands every statement to a thread of its own and back, some 50 µs each; a batch of 64 units is about 250 statements.
//! So the writer borrows the connection's handle for its whole life and runs cached statements on its own thread.
//!
//! Three promises make the wrappers safe: a [`Connection`] borrows sqlx's lock, so nobody else uses the handle meanwhile; a
//! [`Statement`] borrows the connection, so it is finalised first; and a statement's bindings never outlive one call, so they
//! may point into the caller's memory.

use std::{
    ffi::{CStr, c_int},
    marker::PhantomData,
    ptr::NonNull,
};

use libsqlite3_sys as ffi;
use sqlx::sqlite::LockedSqliteHandle;

use crate::ledger::StorageError;

/// An error as SQLite reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqliteFault {
    /// The extended result code.
    pub code: c_int,
    pub message: String,
}

impl From<SqliteFault> for StorageError {
    fn from(fault: SqliteFault) -> Self {
        storage_error(fault.code, format!("SQLite {}: {}", fault.code, fault.message))
    }
}

/// What a result code means to the ledger's callers.
pub fn storage_error(code: c_int, message: String) -> StorageError {
    match code & 0xff {
        ffi::SQLITE_FULL => StorageError::Full,
        ffi::SQLITE_CORRUPT | ffi::SQLITE_NOTADB => StorageError::Corrupt(message),
        _ => StorageError::Unavailable(message),
    }
}

/// A value to bind.
#[derive(Clone, Copy, Debug)]
pub enum Param<'a> {
    Int(i64),
    Blob(&'a [u8]),
    Text(&'a str),
}

/// A connection lent by sqlx.
pub struct Connection<'c> {
    raw: NonNull<ffi::sqlite3>,
    _lent: PhantomData<&'c mut ()>,
}

impl<'c> Connection<'c> {
    pub fn new(lock: &'c mut LockedSqliteHandle<'_>) -> Self {
        Self { raw: lock.as_raw_handle(), _lent: PhantomData }
    }

    /// Compiles a statement that is kept for the connection's life.
    pub fn prepare<'s>(&'s self, sql: &str) -> Result<Statement<'s>, SqliteFault> {
        let mut raw = std::ptr::null_mut();
        let length = c_int::try_from(sql.len()).map_err(|_| SqliteFault { code: ffi::SQLITE_TOOBIG, message: String::new() })?;
        // SAFETY: the handle is valid while `self` lives; the text is read during the call only, and its length is given.
        let code = unsafe {
            ffi::sqlite3_prepare_v3(
                self.raw.as_ptr(),
                sql.as_ptr().cast(),
                length,
                ffi::SQLITE_PREPARE_PERSISTENT,
                &mut raw,
                std::ptr::null_mut(),
            )
        };
        match NonNull::new(raw) {
            Some(raw) if code == ffi::SQLITE_OK => Ok(Statement { raw, connection: self.raw, _connection: PhantomData }),
            _ => Err(fault(self.raw, code)),
        }
    }

    /// Rows changed by the last finished statement.
    pub fn changes(&self) -> u64 {
        // SAFETY: the handle is valid while `self` lives.
        unsafe { ffi::sqlite3_changes64(self.raw.as_ptr()) }.unsigned_abs()
    }

    /// Whether a transaction is open.
    pub fn in_transaction(&self) -> bool {
        // SAFETY: the handle is valid while `self` lives.
        unsafe { ffi::sqlite3_get_autocommit(self.raw.as_ptr()) == 0 }
    }
}

fn fault(connection: NonNull<ffi::sqlite3>, code: c_int) -> SqliteFault {
    // SAFETY: callers hold the connection, and the message is copied before anything else uses it.
    let (extended, message) = unsafe {
        let text = ffi::sqlite3_errmsg(connection.as_ptr());
        let message = if text.is_null() { String::new() } else { CStr::from_ptr(text).to_string_lossy().into_owned() };
        (ffi::sqlite3_extended_errcode(connection.as_ptr()), message)
    };
    SqliteFault { code: if extended & 0xff == code & 0xff { extended } else { code }, message }
}

/// A compiled statement.
pub struct Statement<'s> {
    raw: NonNull<ffi::sqlite3_stmt>,
    connection: NonNull<ffi::sqlite3>,
    _connection: PhantomData<&'s ()>,
}

impl Statement<'_> {
    /// Runs a statement that answers no rows, or whose rows do not matter.
    pub fn run(&mut self, params: &[Param<'_>]) -> Result<(), SqliteFault> {
        self.each(params, |_| ())
    }

    /// The first row, if there is one.
    pub fn first<T>(&mut self, params: &[Param<'_>], read: impl FnOnce(&Columns<'_>) -> T) -> Result<Option<T>, SqliteFault> {
        let running = Running::start(self, params)?;
        Ok(if running.step()? { Some(read(&Columns { running: &running })) } else { None })
    }

    /// Every row, in order.
    pub fn each(&mut self, params: &[Param<'_>], mut read: impl FnMut(&Columns<'_>)) -> Result<(), SqliteFault> {
        let running = Running::start(self, params)?;
        while running.step()? {
            read(&Columns { running: &running });
        }
        Ok(())
    }
}

impl Drop for Statement<'_> {
    fn drop(&mut self) {
        // SAFETY: the statement was prepared by us, is finalised once, and its connection is still lent.
        unsafe { ffi::sqlite3_finalize(self.raw.as_ptr()) };
    }
}

/// A statement between its bindings and its reset; the reset also happens when a reader panics.
struct Running<'r> {
    raw: NonNull<ffi::sqlite3_stmt>,
    connection: NonNull<ffi::sqlite3>,
    _bound: PhantomData<&'r ()>,
}

impl<'r> Running<'r> {
    fn start(statement: &'r mut Statement<'_>, params: &'r [Param<'r>]) -> Result<Self, SqliteFault> {
        let running = Self { raw: statement.raw, connection: statement.connection, _bound: PhantomData };
        for (index, param) in (1..).zip(params) {
            let raw = running.raw.as_ptr();
            // SAFETY: the bytes are borrowed for longer than `running` lives, and its drop clears the bindings; SQLITE_STATIC
            // therefore never points at memory that is gone. An empty slice's pointer is dangling but not null, and not read.
            let code = unsafe {
                match *param {
                    Param::Int(value) => ffi::sqlite3_bind_int64(raw, index, value),
                    Param::Blob(bytes) => {
                        let size = bytes.len() as u64;
                        ffi::sqlite3_bind_blob64(raw, index, bytes.as_ptr().cast(), size, ffi::SQLITE_STATIC())
                    }
                    Param::Text(text) => {
                        let size = text.len() as u64;
                        let utf8 = ffi::SQLITE_UTF8 as u8;
                        ffi::sqlite3_bind_text64(raw, index, text.as_ptr().cast(), size, ffi::SQLITE_STATIC(), utf8)
                    }
                }
            };
            if code != ffi::SQLITE_OK {
                return Err(fault(running.connection, code));
            }
        }
        Ok(running)
    }

    /// True when a row stands ready.
    fn step(&self) -> Result<bool, SqliteFault> {
        // SAFETY: the statement is valid and used by this thread only.
        match unsafe { ffi::sqlite3_step(self.raw.as_ptr()) } {
            ffi::SQLITE_ROW => Ok(true),
            ffi::SQLITE_DONE => Ok(false),
            code => Err(fault(self.connection, code)),
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        // SAFETY: as in `step`. The code of a reset repeats the error of the step, which was reported already.
        unsafe {
            ffi::sqlite3_reset(self.raw.as_ptr());
            ffi::sqlite3_clear_bindings(self.raw.as_ptr());
        }
    }
}

/// The columns of the row that stands ready.
pub struct Columns<'r> {
    running: &'r Running<'r>,
}

impl Columns<'_> {
    pub fn int(&self, column: c_int) -> i64 {
        // SAFETY: a row stands ready; a column out of range answers zero.
        unsafe { ffi::sqlite3_column_int64(self.running.raw.as_ptr(), column) }
    }

    /// A blob's or a text's bytes, valid until the reader returns.
    pub fn blob(&self, column: c_int) -> &[u8] {
        // SAFETY: a row stands ready; the pointer is valid until the next step or reset, which `self` outlives neither, and
        // the size is asked after the pointer as the interface demands.
        unsafe {
            let data = ffi::sqlite3_column_blob(self.running.raw.as_ptr(), column);
            let size = ffi::sqlite3_column_bytes(self.running.raw.as_ptr(), column);
            if data.is_null() { &[] } else { std::slice::from_raw_parts(data.cast(), size as usize) }
        }
    }

    /// A text; what is not UTF-8 reads as empty.
    pub fn text(&self, column: c_int) -> &str {
        std::str::from_utf8(self.blob(column)).unwrap_or_default()
    }
}
