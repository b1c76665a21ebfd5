//! The disk as the store of blobs sees it, so that tests can fill it and have it fail.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
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

/// A disk. What a test does not play is the file system of this machine.
pub trait Disk: Send + Sync {
    /// Makes a folder and those above it, where they are missing.
    ///
    /// # Errors
    /// What the disk says.
    fn make_folder(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)
    }
    /// Opens `path` to read it from its beginning.
    ///
    /// # Errors
    /// What the disk says.
    fn read(&self, path: &Path) -> io::Result<Box<dyn Read>> {
        Ok(Box::new(File::open(path)?))
    }
    /// Bytes of the file at `path`.
    ///
    /// # Errors
    /// What the disk says.
    fn length(&self, path: &Path) -> io::Result<u64> {
        Ok(fs::metadata(path)?.len())
    }
    /// The names in `folder`.
    ///
    /// # Errors
    /// What the disk says.
    fn names(&self, folder: &Path) -> io::Result<Vec<OsString>> {
        fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name())).collect()
    }
    /// Gives the file at `from` the name `to`, in place of any other.
    ///
    /// # Errors
    /// What the disk says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }
    /// Cuts off what the file at `path` has after its first `bytes`, for good.
    ///
    /// # Errors
    /// What the disk says.
    fn shorten(&self, path: &Path, bytes: u64) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(path)?;
        file.set_len(bytes)?;
        file.sync_all()
    }
    /// Removes the file at `path`.
    ///
    /// # Errors
    /// What the disk says.
    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }
    /// Has the names in `folder` on the medium: a rename survives a power cut only then.
    ///
    /// # Errors
    /// What the disk says.
    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }
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
