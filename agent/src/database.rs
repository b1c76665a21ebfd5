//! The database in `state.redb`, opened again after the disk has failed.
//!
//! After an error of the disk a database of redb takes and gives nothing more until it is closed and
//! opened: what it has in memory may not be what is on the medium. A device whose disk was full for
//! an hour must go on afterwards without anybody coming by, so that is done here. What is committed
//! stays; a transaction that failed is its owner's to repeat.

use redb::{DatabaseError, ReadTransaction, ReadableDatabase, StorageError, WriteTransaction};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Shortest time between two attempts to open it: each checks the whole file.
const REOPEN_EVERY: Duration = Duration::from_secs(1);

type Open = dyn Fn() -> Result<redb::Database, DatabaseError> + Send + Sync;

/// A database that outlives errors of its disk.
pub struct Database {
    open: Box<Open>,
    state: Mutex<State>,
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
        let database = Some(Arc::new(open()?));
        Ok(Database { open: Box::new(open), state: Mutex::new(State { database, tried: None }) })
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
            return Err(StorageError::PreviousIo.into());
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
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use redb::{ReadableTable, StorageBackend, TableDefinition};
    use std::io;
    use std::sync::atomic::{AtomicU64, Ordering};

    const TABLE: TableDefinition<u64, &[u8]> = TableDefinition::new("things");

    /// A database in memory, for tests that need no disk.
    pub(crate) fn in_memory() -> Arc<Database> {
        let open = || {
            redb::Database::builder().create_with_backend(redb::backends::InMemoryBackend::new())
        };
        Arc::new(Database::open(open).unwrap())
    }

    /// A disk of so many bytes, shared by everybody who opens it.
    #[derive(Debug, Clone, Default)]
    struct Disk {
        bytes: Arc<Mutex<Vec<u8>>>,
        size: Arc<AtomicU64>,
    }

    impl Disk {
        fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
            self.bytes.lock().unwrap()
        }

        fn has_room(&self, end: usize) -> io::Result<()> {
            match end as u64 > self.size.load(Ordering::Relaxed) {
                true => Err(io::ErrorKind::StorageFull.into()),
                false => Ok(()),
            }
        }
    }

    impl StorageBackend for Disk {
        fn len(&self) -> io::Result<u64> {
            Ok(self.bytes().len() as u64)
        }

        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            let offset = usize::try_from(offset).unwrap();
            out.copy_from_slice(&self.bytes()[offset..offset + out.len()]);
            Ok(())
        }

        fn set_len(&self, length: u64) -> io::Result<()> {
            // As file systems do: room is taken by what is written.
            self.bytes().resize(usize::try_from(length).unwrap(), 0);
            Ok(())
        }

        fn sync_data(&self) -> io::Result<()> {
            Ok(())
        }

        fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
            let offset = usize::try_from(offset).unwrap();
            self.has_room(offset + data.len())?;
            self.bytes()[offset..offset + data.len()].copy_from_slice(data);
            Ok(())
        }
    }

    fn write(database: &Database, number: u64) -> Result<(), redb::Error> {
        let transaction = database.begin_write()?;
        transaction.open_table(TABLE)?.insert(number, [7; 10_000].as_slice())?;
        Ok(transaction.commit()?)
    }

    fn numbers(database: &Database) -> Result<Vec<u64>, redb::Error> {
        let table = database.begin_read()?.open_table(TABLE)?;
        table.iter()?.map(|entry| Ok(entry?.0.value())).collect()
    }

    #[test]
    fn a_disk_that_was_full_costs_no_commit_and_is_used_again_without_a_restart() {
        let disk = Disk::default();
        disk.size.store(4 << 20, Ordering::Relaxed);
        let open = {
            let disk = disk.clone();
            move || redb::Database::builder().create_with_backend(disk.clone())
        };
        let database = Database::open(open).unwrap();
        let mut written = 0;
        let error = loop {
            match write(&database, written) {
                Ok(()) => written += 1,
                Err(error) => break error,
            }
        };
        assert!(written > 100, "{written}");
        assert!(
            matches!(&error, redb::Error::Io(io) if io.kind() == io::ErrorKind::StorageFull),
            "{error}"
        );
        // Still full: an error, and what is there can be read again.
        write(&database, written).unwrap_err();
        let all: Vec<u64> = (0..written).collect();
        let patience = Instant::now() + 20 * REOPEN_EVERY;
        let read = |what: &str| loop {
            // Whoever has something to write tries again all the time.
            drop(database.begin_write());
            match numbers(&database) {
                Ok(numbers) => return numbers,
                Err(error) => assert!(Instant::now() < patience, "{what}: {error}"),
            }
            std::thread::sleep(REOPEN_EVERY / 50);
        };
        assert_eq!(read("while it is full"), all);
        disk.size.store(64 << 20, Ordering::Relaxed);
        while let Err(error) = write(&database, written) {
            assert!(Instant::now() < patience, "{error}");
            std::thread::sleep(REOPEN_EVERY / 50);
        }
        assert_eq!(read("afterwards"), (0..=written).collect::<Vec<_>>());
    }
}
