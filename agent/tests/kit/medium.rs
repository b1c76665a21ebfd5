//! A disk in memory that can be full, and a ledger on it.

#![allow(dead_code)] // Not every test needs all of it.

use lineside_agent::database::Database;
use redb::StorageBackend;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// A disk of so many bytes, shared by everybody who opens it.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    bytes: Arc<Mutex<Vec<u8>>>,
    size: Arc<AtomicU64>,
    /// The end of what was ever written.
    written: Arc<AtomicU64>,
    /// What it says of everything that is written; nothing while it works.
    error: Arc<Mutex<Option<io::ErrorKind>>>,
}

impl Disk {
    /// A disk of `size` bytes.
    pub fn of(size: u64) -> Disk {
        let disk = Disk::default();
        disk.resize(size);
        disk
    }

    /// From now on it has `size` bytes; what is there stays.
    pub fn resize(&self, size: u64) {
        self.size.store(size, Ordering::Relaxed);
    }

    /// Leaves room for nothing new. What is there can be written over, as on other disks.
    pub fn fill(&self) {
        self.resize(self.written.load(Ordering::Relaxed));
    }

    /// Takes nothing any more.
    pub fn refuse(&self) {
        self.resize(0);
    }

    /// From now on it says this of everything that is written.
    pub fn fail(&self, error: io::ErrorKind) {
        *self.error.lock().unwrap() = Some(error);
    }

    /// Opens the database on it.
    pub fn database(&self) -> Arc<Database> {
        let disk = self.clone();
        let open = move || redb::Database::builder().create_with_backend(disk.clone());
        Arc::new(Database::open(open).unwrap())
    }

    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.bytes.lock().unwrap()
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
        let end = offset + data.len();
        if let Some(error) = *self.error.lock().unwrap() {
            return Err(error.into());
        }
        if end as u64 > self.size.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.bytes()[offset..end].copy_from_slice(data);
        self.written.fetch_max(end as u64, Ordering::Relaxed);
        Ok(())
    }
}
