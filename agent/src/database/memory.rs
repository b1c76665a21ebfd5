//! A database in memory, where there is no disk that can be written.

use redb::{Database, DatabaseError, StorageBackend};
use std::io;
use std::sync::{Arc, PoisonError, RwLock};

/// Bytes that such a database may have. Beyond it is like a disk that is full.
const BYTES_MAX: u64 = 64 << 20;

/// What a database is kept on as long as the agent runs.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    bytes: Arc<RwLock<Vec<u8>>>,
}

impl Memory {
    /// Opens the database that is in it; a new one where there is none.
    ///
    /// # Errors
    /// The database's.
    pub fn open(&self) -> Result<Database, DatabaseError> {
        // No pages beside the pages.
        Database::builder().set_cache_size(0).create_with_backend(self.clone())
    }
}

/// The bytes from `offset` on, as many as `length`, if there are so many.
fn range(offset: u64, length: usize, all: usize) -> io::Result<std::ops::Range<usize>> {
    let from = usize::try_from(offset).unwrap_or(usize::MAX);
    let to = from.saturating_add(length);
    (to <= all).then_some(from..to).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

impl StorageBackend for Memory {
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes.read().unwrap_or_else(PoisonError::into_inner).len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let bytes = self.bytes.read().unwrap_or_else(PoisonError::into_inner);
        out.copy_from_slice(&bytes[range(offset, out.len(), bytes.len())?]);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        if length > BYTES_MAX {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let mut bytes = self.bytes.write().unwrap_or_else(PoisonError::into_inner);
        // Within the bound, which is far below what can be addressed.
        let length = length as usize;
        let more = length.saturating_sub(bytes.len());
        bytes.try_reserve_exact(more).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        bytes.resize(length, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut bytes = self.bytes.write().unwrap_or_else(PoisonError::into_inner);
        let range = range(offset, data.len(), bytes.len())?;
        bytes[range].copy_from_slice(data);
        Ok(())
    }
}
