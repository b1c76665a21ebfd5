//! What tells a database that is damaged from a disk that fails.

use super::{CACHE_BYTES, Medium};
use crate::failpoint;
use redb::{Builder, Database, DatabaseError, StorageError};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Opens the database on `medium` as [`open_on`](super::open_on) does, and reads it whole: what is
/// damaged in it is found now, and not in the middle of a shift. After a power cut the database does so
/// by itself.
///
/// # Errors
/// The disk's, the database's.
pub fn open_whole(medium: impl Medium) -> Result<Database, DatabaseError> {
    failpoint::pass("database.whole")?;
    let open = || {
        medium.settle()?;
        let was_read = Arc::new(AtomicBool::new(false));
        let reads = was_read.clone();
        let mut builder = Builder::new();
        builder.set_cache_size(CACHE_BYTES);
        builder.set_repair_callback(move |_| reads.store(true, Ordering::Relaxed));
        let mut database = builder.create_with_backend(medium.backend()?)?;
        if !was_read.load(Ordering::Relaxed) {
            database.check_integrity()?;
        }
        Ok(database)
    };
    // Whatever the library makes of bytes that it has never written, nobody has this database yet.
    catch_unwind(AssertUnwindSafe(open)).unwrap_or_else(|_| {
        let text = "it cannot be read to its end".to_owned();
        Err(DatabaseError::Storage(StorageError::Corrupted(text)))
    })
}

/// Why a database can never be opened again, in a sentence; nothing where the disk may think better of it.
pub fn damage(error: &DatabaseError) -> Option<String> {
    match error {
        DatabaseError::UpgradeRequired(version) => {
            Some(format!("it is of format {version}, which this agent does not read"))
        }
        DatabaseError::Storage(StorageError::Corrupted(what)) => Some(what.clone()),
        DatabaseError::Storage(StorageError::Io(error)) => {
            is_damage(error).then(|| error.to_string())
        }
        _ => None,
    }
}

/// As [`damage`], of what a transaction says.
pub fn is_damaged(error: &redb::Error) -> bool {
    match error {
        redb::Error::Corrupted(_) => true,
        redb::Error::Io(error) => is_damage(error),
        _ => false,
    }
}

/// Whether the disk gives something, and it is not what was written.
fn is_damage(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
}
