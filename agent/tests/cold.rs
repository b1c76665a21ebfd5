//! What a start reads of what the device has still to tell; and how long that takes where none of it is
//! in memory: `cargo test --workspace --locked --test cold -- --ignored --nocapture`.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

use lineside_agent::database::Database;
use lineside_agent::store::Store;
use lineside_agent::telemetry::spool::Spool;
use lineside_wire::v1::{Body, Event, event};
use redb::StorageBackend;
use redb::backends::InMemoryBackend;
use rustix::fs::{Advice, fadvise};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Bytes that wait, in MiB: none, and up to what a device has by default.
const WAITING_MIB: [u64; 3] = [0, 16, 64];

#[test]
#[ignore = "it measures, and asserts nothing"]
fn a_start_takes_up_what_waits() {
    for mib in WAITING_MIB {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let (closed, cut) = (folder.path().join("closed"), folder.path().join("cut"));
        fill(&closed, mib << 20, &cut);
        start(&closed, &format!("{mib} MiB wait, closed"));
        start(&cut, &format!("{mib} MiB wait, after a power cut"));
    }
}

/// Makes a state folder in which so many bytes wait, and another one as a power cut would have left it.
fn fill(folder: &Path, bytes: u64, cut: &Path) {
    let store = Store::open(folder).unwrap();
    write(&mut Spool::open(store.database(), 1, bytes.max(1 << 20)).unwrap(), bytes);
    fs::create_dir(cut).unwrap();
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_file() {
            fs::copy(&entry, cut.join(entry.file_name().unwrap())).unwrap();
        }
    }
}

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

fn start(folder: &Path, what: &str) {
    let path = folder.join("state.redb");
    let file = File::open(&path).unwrap();
    file.sync_all().unwrap();
    fadvise(&file, 0, None, Advice::DontNeed).unwrap();
    let size = file.metadata().unwrap().len();
    let (read, began) = (read(), Instant::now());
    let store = Store::open(folder).unwrap();
    let (opened, of_opening) = (began.elapsed(), self::read());
    let spool = Spool::open(store.database(), 2, u64::MAX).unwrap();
    println!(
        "{what}: state.redb has {:.1} MiB; opened in {:.0} ms ({:.1} MiB asked for), the spool in {:.0} ms \
         more ({:.1} MiB); {:.1} MiB from the disk, {} bytes wait",
        mib(size),
        opened.as_secs_f64() * 1e3,
        mib(of_opening.0 - read.0),
        (began.elapsed() - opened).as_secs_f64() * 1e3,
        mib(self::read().0 - of_opening.0),
        mib(self::read().1 - read.1),
        spool.bytes()
    );
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Bytes that this process has asked for, and those that came from the disk (proc(5)).
fn read() -> (u64, u64) {
    let text = fs::read_to_string("/proc/self/io").unwrap();
    let of = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().parse().unwrap()
    };
    (of("rchar:"), of("read_bytes:"))
}
