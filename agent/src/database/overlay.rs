//! A database file for somebody who only looks: what the database writes to it stays in memory.
//!
//! One that was not closed, because the power went, is put in order by whoever opens it. That is for
//! its owner to do; and the disk may be full, or one that can only be read.

use super::Medium;
use crate::lock::lock;
use redb::{DatabaseError, StorageBackend};
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, MutexGuard};

/// Bytes that are kept as one.
const PAGE: usize = 4096;
/// Pages that may differ from the file's: 64 MiB. Beyond it is like a disk that is full.
const PAGES_MAX: usize = 16_384;

/// A file with what was written over it.
#[derive(Debug)]
pub struct Overlay {
    file: File,
    over: Mutex<Over>,
}

#[derive(Debug)]
struct Over {
    /// By their number: pages that are no longer as the file has them.
    pages: BTreeMap<u64, Box<[u8; PAGE]>>,
    length: u64,
    /// Up to where the file's bytes are still meant.
    of_file: u64,
}

impl Overlay {
    /// What is in `file`, which stays as it is.
    ///
    /// # Errors
    /// The disk's.
    pub fn over(file: File) -> io::Result<Overlay> {
        let length = file.metadata()?.len();
        let over = Over { pages: BTreeMap::new(), length, of_file: length };
        Ok(Overlay { file, over: Mutex::new(over) })
    }

    fn lock(&self) -> MutexGuard<'_, Over> {
        lock(&self.over)
    }
}

impl Over {
    /// A page as it is now. What the file does not have is zero.
    fn page(&self, number: u64, file: &File) -> io::Result<Box<[u8; PAGE]>> {
        if let Some(page) = self.pages.get(&number) {
            return Ok(page.clone());
        }
        let mut page = Box::new([0; PAGE]);
        let first = number * PAGE as u64;
        let there = self.of_file.saturating_sub(first).min(PAGE as u64);
        // At most a page.
        file.read_exact_at(&mut page[..there as usize], first)?;
        Ok(page)
    }
}

/// The pages that `length` bytes from `offset` on lie in: of each its number, where they begin in it,
/// and how many they are.
fn parts(offset: u64, length: usize) -> impl Iterator<Item = (u64, usize, usize)> {
    let (mut at, end) = (offset, offset + length as u64);
    std::iter::from_fn(move || {
        (at < end).then(|| {
            let (number, within) = (at / PAGE as u64, at % PAGE as u64);
            let count = (PAGE as u64 - within).min(end - at);
            at += count;
            // Both are at most a page.
            (number, within as usize, count as usize)
        })
    })
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.lock().length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let over = self.lock();
        if offset.saturating_add(out.len() as u64) > over.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut left = out;
        for (number, within, count) in parts(offset, left.len()) {
            let (now, later) = left.split_at_mut(count);
            now.copy_from_slice(&over.page(number, &self.file)?[within..within + count]);
            left = later;
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut over = self.lock();
        over.length = length;
        over.of_file = over.of_file.min(length);
        let first_gone = length.div_ceil(PAGE as u64);
        over.pages.retain(|number, _| *number < first_gone);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut over = self.lock();
        if offset.saturating_add(data.len() as u64) > over.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut left = data;
        for (number, within, count) in parts(offset, data.len()) {
            let (now, later) = left.split_at(count);
            let mut page = over.page(number, &self.file)?;
            page[within..within + count].copy_from_slice(now);
            if over.pages.len() >= PAGES_MAX && !over.pages.contains_key(&number) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            over.pages.insert(number, page);
            left = later;
        }
        Ok(())
    }
}

impl Medium for Overlay {
    fn settle(&self) -> io::Result<()> {
        Ok(())
    }

    fn backend(self) -> Result<impl StorageBackend, DatabaseError> {
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again_and_the_file_stays_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let bytes: Vec<u8> = (0..10_000u32).map(|at| at as u8).collect();
        std::fs::write(&path, &bytes).unwrap();
        let overlay = Overlay::over(File::open(&path).unwrap()).unwrap();
        let mut wanted = bytes.clone();
        let read = |wanted: &[u8]| {
            assert_eq!(overlay.len().unwrap(), wanted.len() as u64);
            for (offset, length) in [(0, wanted.len()), (4095, 2), (4096, 4096), (8000, 500)] {
                let mut out = vec![0; length];
                overlay.read(offset as u64, &mut out).unwrap();
                assert_eq!(out, wanted[offset..offset + length]);
            }
        };
        read(&wanted);
        // Over the edge of a page.
        overlay.write(4000, &[7; 200]).unwrap();
        wanted[4000..4200].fill(7);
        read(&wanted);
        // What was cut off and is there again has nothing of what it had.
        overlay.set_len(9000).unwrap();
        overlay.set_len(20_000).unwrap();
        wanted.truncate(9000);
        wanted.resize(20_000, 0);
        read(&wanted);
        overlay.write(19_999, &[9]).unwrap();
        wanted[19_999] = 9;
        read(&wanted);
        assert!(overlay.write(19_999, &[9, 9]).is_err() && overlay.read(20_000, &mut [0]).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
    }
}
