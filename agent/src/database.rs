//! The database in `state.redb`, opened again after the disk has failed.
//!
//! After an error of the disk a database of redb takes and gives nothing more until it is closed and
//! opened: what it has in memory may not be what is on the medium. A device whose disk was full for
//! an hour must go on afterwards without anybody coming by, so that is done here. What is committed
//! stays; a transaction that failed is its owner's to repeat.
//!
//! It goes on from what is on the medium, not from what is in memory of it: after a sync that failed,
//! one that was repaired from memory could not be opened any more after the next power cut.

mod copy;
mod damage;
mod memory;
mod overlay;
mod trouble;

pub use copy::{Kept, SecondCopy, count, first_number};
pub use damage::{damage, is_damaged, open_whole};
pub use memory::Memory;
pub use overlay::Overlay;
pub use trouble::Trouble;

use crate::lock::lock;
use crate::{failpoint, medium};
use redb::backends::FileBackend;
use redb::{
    Builder, DatabaseError, ReadTransaction, ReadableDatabase, StorageBackend, TableHandle,
    WriteTransaction,
};
use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Shortest time between two attempts to open it: each checks the whole file.
pub const REOPEN_EVERY: Duration = Duration::from_secs(1);

/// Memory that the database may use for its pages.
const CACHE_BYTES: usize = 4 << 20;

/// What is said between two attempts.
const AGAIN_SOON: &str = "the disk has failed a moment ago, and is tried again every second";

/// What a database is kept on.
pub trait Medium {
    /// Has on the medium what was written, and nothing in memory that is not there.
    ///
    /// # Errors
    /// What the disk says.
    fn settle(&self) -> io::Result<()>;
    /// What the database reads and writes.
    ///
    /// # Errors
    /// The database's.
    fn backend(self) -> Result<impl StorageBackend, DatabaseError>;
}

impl Medium for File {
    fn settle(&self) -> io::Result<()> {
        medium::settle(self)
    }

    fn backend(self) -> Result<impl StorageBackend, DatabaseError> {
        FileBackend::new(self)
    }
}

/// Opens the database on `medium`, as it is there.
///
/// # Errors
/// The disk's, the database's.
pub fn open_on(medium: impl Medium) -> Result<redb::Database, DatabaseError> {
    failpoint::pass("database.open")?;
    medium.settle()?;
    Builder::new().set_cache_size(CACHE_BYTES).create_with_backend(medium.backend()?)
}

type Open = dyn Fn() -> Result<redb::Database, DatabaseError> + Send + Sync;

/// A database that outlives errors of its disk.
pub struct Database {
    open: Box<Open>,
    state: Mutex<State>,
    /// Where the little of it that must not be lost is written a second time.
    copy: Option<SecondCopy>,
}

struct State {
    /// None while it is closed, because it failed and could not be opened yet.
    database: Option<Arc<redb::Database>>,
    /// When it was opened again last, or was tried to be.
    tried: Option<Instant>,
}

impl Database {
    /// Opens it with `open`, now and after each failure.
    ///
    /// # Errors
    /// What `open` says now.
    pub fn open(
        open: impl Fn() -> Result<redb::Database, DatabaseError> + Send + Sync + 'static,
    ) -> Result<Database, DatabaseError> {
        Ok(Database::of(open()?, open))
    }

    /// Goes on with one that is open, and opens it with `open` after each failure.
    pub fn of(
        database: redb::Database,
        open: impl Fn() -> Result<redb::Database, DatabaseError> + Send + Sync + 'static,
    ) -> Database {
        let state = State { database: Some(Arc::new(database)), tried: None };
        Database { open: Box::new(open), state: Mutex::new(state), copy: None }
    }

    /// The same with a second copy, which [`Database::renew_copy`] writes.
    pub fn with_copy(self, copy: SecondCopy) -> Database {
        Database { copy: Some(copy), ..self }
    }

    /// Has on the medium a second copy of what changes rarely, as it is now. Nothing that cannot be
    /// undone may rest on such a change before. A database without one has nothing to do.
    ///
    /// # Errors
    /// The database's, the disk's.
    pub fn renew_copy(&self) -> Result<(), redb::Error> {
        self.copy.as_ref().map_or(Ok(()), |copy| copy.renew(self))
    }

    /// Starts to write, after whoever writes now.
    ///
    /// # Errors
    /// The database's; while the disk fails, that.
    pub fn begin_write(&self) -> Result<WriteTransaction, redb::Error> {
        self.begin(|database| Ok(database.begin_write()?))
    }

    /// Starts to read what is committed. After a failure that works again once somebody has begun to
    /// write, as whoever met it does until it succeeds.
    ///
    /// # Errors
    /// The database's; while the disk fails, that.
    pub fn begin_read(&self) -> Result<ReadTransaction, redb::Error> {
        self.begin(|database| Ok(database.begin_read()?))
    }

    /// Makes the tables of these names with `make`, unless all of them are there: a device that starts
    /// with a full disk must be able to read what it has.
    ///
    /// # Errors
    /// The database's.
    pub fn have_tables(
        &self,
        names: &[&str],
        make: impl FnOnce(&WriteTransaction) -> Result<(), redb::TableError>,
    ) -> Result<(), redb::Error> {
        let present: BTreeSet<String> = {
            let transaction = self.begin_read()?;
            let tables = transaction.list_tables()?;
            tables.map(|table| table.name().to_owned()).collect()
        };
        if names.iter().all(|name| present.contains(*name)) {
            return Ok(());
        }
        let transaction = self.begin_write()?;
        make(&transaction)?;
        failpoint::pass("database.tables").map_err(redb::Error::Io)?;
        Ok(transaction.commit()?)
    }

    fn begin<T>(
        &self,
        begin: impl Fn(&redb::Database) -> Result<T, redb::Error>,
    ) -> Result<T, redb::Error> {
        let database = self.database()?;
        match begin(&database) {
            Err(redb::Error::PreviousIo) => {
                self.close(database);
                begin(&*self.database()?)
            }
            begun => begun,
        }
    }

    /// The database, opened if it is closed and it is time.
    fn database(&self) -> Result<Arc<redb::Database>, redb::Error> {
        let mut state = self.state();
        if let Some(database) = &state.database {
            return Ok(database.clone());
        }
        if state.tried.is_some_and(|tried| tried.elapsed() < REOPEN_EVERY) {
            return Err(redb::Error::Io(io::Error::other(AGAIN_SOON)));
        }
        state.tried = Some(Instant::now());
        let database = Arc::new((self.open)()?);
        state.database = Some(database.clone());
        Ok(database)
    }

    /// Lets go of a database that has failed. Its file is free once the last transaction has ended.
    fn close(&self, failed: Arc<redb::Database>) {
        let mut state = self.state();
        if state.database.as_ref().is_some_and(|database| Arc::ptr_eq(database, &failed)) {
            state.database = None;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A database in memory, for tests that need no disk.
    pub(crate) fn in_memory() -> Arc<Database> {
        let memory = Memory::default();
        Arc::new(Database::open(move || memory.open()).unwrap())
    }

    /// The same with a second copy.
    pub(crate) fn in_memory_with(copy: SecondCopy) -> Arc<Database> {
        let memory = Memory::default();
        Arc::new(Database::open(move || memory.open()).unwrap().with_copy(copy))
    }
}
