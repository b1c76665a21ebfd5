//! A disk that hangs for as long as a test wants, and a database on it.

use lineside_agent::database::Database;
use redb::StorageBackend;
use redb::backends::InMemoryBackend;
use std::io;
use std::sync::{Arc, Condvar, Mutex};

#[derive(Debug, Default)]
struct State {
    closed: bool,
    waiting: usize,
}

/// What lets through whoever wants something of the disk, or not.
#[derive(Debug, Clone, Default)]
pub struct Gate(Arc<(Mutex<State>, Condvar)>);

impl Gate {
    /// From now on the disk answers nobody.
    pub fn close(&self) {
        self.0.0.lock().unwrap().closed = true;
    }

    /// It answers all who wait.
    pub fn open(&self) {
        self.0.0.lock().unwrap().closed = false;
        self.0.1.notify_all();
    }

    /// Whether somebody waits for it.
    pub fn is_waited_for(&self) -> bool {
        self.0.0.lock().unwrap().waiting > 0
    }

    /// A new database on it, which keeps nothing in memory.
    pub fn database(&self) -> Arc<Database> {
        let disk = Disk { gate: self.clone(), bytes: InMemoryBackend::new() };
        let mut builder = redb::Database::builder();
        let database = builder.set_cache_size(0).create_with_backend(disk).unwrap();
        Arc::new(Database::of(database, || unreachable!("a disk that hangs has not failed")))
    }

    fn pass(&self) {
        let mut state = self.0.0.lock().unwrap();
        state.waiting += 1;
        while state.closed {
            state = self.0.1.wait(state).unwrap();
        }
        state.waiting -= 1;
    }
}

#[derive(Debug)]
struct Disk {
    gate: Gate,
    bytes: InMemoryBackend,
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        self.bytes.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.gate.pass();
        self.bytes.read(offset, out)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.bytes.set_len(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.gate.pass();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.gate.pass();
        self.bytes.write(offset, data)
    }
}
