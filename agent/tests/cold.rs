//! What a start reads of what the device has still to tell.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

use lineside_agent::database::Database;
use lineside_agent::telemetry::spool::Spool;
use lineside_wire::v1::{Body, Event, event};
use redb::StorageBackend;
use redb::backends::InMemoryBackend;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Writes events until almost so many bytes wait.
fn write(spool: &mut Spool, bytes: u64) {
    let body = Body::Event(Event {
        slot: "line".into(),
        kind: event::ALARM,
        release: None,
        text: "x".repeat(200),
        at_unix_ms: 1,
    });
    let bodies = vec![body; 1000];
    while spool.bytes() + (1 << 19) < bytes {
        spool.write(&bodies, &BTreeMap::new()).unwrap();
    }
}

/// A disk that counts the bytes that are read.
#[derive(Debug)]
struct Counted {
    bytes: InMemoryBackend,
    read: Arc<AtomicU64>,
}

impl StorageBackend for Counted {
    fn len(&self) -> io::Result<u64> {
        self.bytes.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.read.fetch_add(out.len() as u64, Ordering::Relaxed);
        self.bytes.read(offset, out)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.bytes.set_len(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.bytes.write(offset, data)
    }
}

#[test]
fn the_spool_is_taken_up_without_reading_what_waits() {
    let read = Arc::new(AtomicU64::new(0));
    let disk = Counted { bytes: InMemoryBackend::new(), read: read.clone() };
    let mut builder = redb::Database::builder();
    let database = builder.set_cache_size(0).create_with_backend(disk).unwrap();
    let database = Arc::new(Database::of(database, || unreachable!("this disk does not fail")));
    let mut spool = Spool::open(database.clone(), 1, 8 << 20).unwrap();
    write(&mut spool, 8 << 20);
    let (waits, next) = (spool.bytes(), spool.next());
    assert!(waits > 7 << 20);
    drop(spool);
    let before = read.load(Ordering::Relaxed);
    let spool = Spool::open(database, 1, 8 << 20).unwrap();
    assert_eq!((spool.bytes(), spool.next()), (waits, next));
    let read = read.load(Ordering::Relaxed) - before;
    assert!(read < waits / 8, "{read} bytes were read of {waits}");
}
