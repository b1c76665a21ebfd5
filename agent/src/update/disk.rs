//! The disk as the store of blobs sees it, so that tests can fill it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// A file that grows.
pub trait DiskFile: Write {
    /// Has everything written on the medium.
    ///
    /// # Errors
    /// What the disk says.
    fn sync(&mut self) -> io::Result<()>;
}

impl DiskFile for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}

/// A disk.
pub trait Disk: Send + Sync {
    /// Opens `path` to write at its end.
    ///
    /// # Errors
    /// What the disk says.
    fn append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Bytes that may still be written below `folder`.
    ///
    /// # Errors
    /// What the disk says.
    fn free_bytes(&self, folder: &Path) -> io::Result<u64>;
}

/// The disk of the device.
pub struct RealDisk;

impl Disk for RealDisk {
    fn append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(OpenOptions::new().create(true).append(true).open(path)?))
    }

    fn free_bytes(&self, folder: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(folder)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

/// A rename survives a power cut only once its folder is on the medium.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A disk with room for so many bytes.
    pub(crate) struct SmallDisk(pub(crate) u64);

    struct SmallFile(File, u64);

    impl Write for SmallFile {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let room = bytes.len().min(usize::try_from(self.1).unwrap());
            if room == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.1 -= room as u64;
            self.0.write(&bytes[..room])
        }

        fn flush(&mut self) -> io::Result<()> {
            self.0.flush()
        }
    }

    impl DiskFile for SmallFile {
        fn sync(&mut self) -> io::Result<()> {
            self.0.sync_all()
        }
    }

    impl Disk for SmallDisk {
        fn append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
            let file = OpenOptions::new().create(true).append(true).open(path)?;
            Ok(Box::new(SmallFile(file, self.0)))
        }

        fn free_bytes(&self, _: &Path) -> io::Result<u64> {
            Ok(u64::MAX)
        }
    }
}
