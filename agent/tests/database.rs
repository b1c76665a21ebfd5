//! The database on a disk that is full for a while.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

#[path = "kit/medium.rs"]
mod medium;

use lineside_agent::database::{Database, REOPEN_EVERY};
use medium::Disk;
use redb::{ReadableTable, TableDefinition};
use std::io;
use std::time::Instant;

const TABLE: TableDefinition<u64, &[u8]> = TableDefinition::new("things");

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
    let disk = Disk::of(4 << 20);
    let database = disk.database();
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
    disk.resize(64 << 20);
    while let Err(error) = write(&database, written) {
        assert!(Instant::now() < patience, "{error}");
        std::thread::sleep(REOPEN_EVERY / 50);
    }
    assert_eq!(read("afterwards"), (0..=written).collect::<Vec<_>>());
}
