//! Blobs that arrive in pieces.
//!
//! Nothing is written beyond half a chunk before that is on the medium, so of what is found after a
//! power cut all but the last half can be trusted, and with the half after it that may not be found at
//! all, at most one chunk is fetched again.

use super::{BlobError, Blobs, CHUNK_BYTES, PARTIAL, PIECE_BYTES, writing};
use crate::failpoint;
use crate::update::disk::DiskFile;
use lineside_bundle::Digest;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Bytes after which what arrived is synced.
const SYNC_BYTES: u64 = CHUNK_BYTES / 2;

impl Blobs {
    /// Takes what `source` gives as the next bytes of the blob, up to its end.
    ///
    /// Returns whether the blob is complete; it is then in its place, verified and durable.
    ///
    /// # Errors
    /// [`BlobError`]. What arrived before is kept, but for [`BlobError::Wrong`].
    pub fn receive(
        &self,
        digest: &Digest,
        size: u64,
        mut source: impl Read,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<bool, BlobError> {
        let path = self.partial(digest);
        if self.claims().uncut.contains(&path) {
            self.trim(&path).map_err(writing(&path))?;
            self.claims().uncut.remove(&path);
        }
        let mut got = self.partial_bytes(digest);
        failpoint::pass("blobs.append").map_err(writing(&path))?;
        let mut file = self.disk.append(&path).map_err(writing(&path))?;
        if got == 0 {
            // A file that a power cut makes nameless was fetched for nothing.
            failpoint::pass("blobs.begin")
                .and_then(|()| self.disk.sync_folder(&self.folder))
                .map_err(writing(&self.folder))?;
        }
        let mut piece = vec![0; PIECE_BYTES];
        while got < size {
            if cancelled() {
                return Err(BlobError::Cancelled);
            }
            let left = (size - got).min(SYNC_BYTES - got % SYNC_BYTES);
            let room = usize::try_from(left).map_or(PIECE_BYTES, |left| left.min(PIECE_BYTES));
            match source.read(&mut piece[..room]) {
                Ok(0) => break,
                Ok(read) => {
                    failpoint::pass("blobs.write").map_err(writing(&path))?;
                    file.write_all(&piece[..read]).map_err(writing(&path))?;
                    got += read as u64;
                    if got.is_multiple_of(SYNC_BYTES) && got < size {
                        self.sync(&mut *file, &path)?;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    return Err(BlobError::Cut { digest: *digest, got, size, source: Some(error) });
                }
            }
        }
        if got < size {
            return Ok(false);
        }
        self.sync(&mut *file, &path)?;
        drop(file);
        self.place(digest, &path).map(|()| true)
    }

    /// Has on the medium what was written to a partial. If that fails, what was not there before is
    /// cut off: the system may give it as written, and has no more of it after a power cut.
    fn sync(&self, file: &mut dyn DiskFile, path: &Path) -> Result<(), BlobError> {
        failpoint::pass("blobs.sync").and_then(|()| file.sync()).map_err(|source| {
            self.cut_back(path);
            writing(path)(source)
        })
    }

    /// Cuts off of a partial what may not be on the medium; where that fails, before anything is
    /// written to it again.
    pub(super) fn cut_back(&self, path: &Path) {
        match self.trim(path) {
            Ok(()) => self.claims().uncut.remove(path),
            Err(error) => {
                tracing::warn!("cannot cut off the end of {}: {error}", path.display());
                self.claims().uncut.insert(path.to_owned())
            }
        };
    }

    /// Where something follows, what is before it was synced; a length that ends just there may be on
    /// the medium without the bytes.
    fn trim(&self, path: &Path) -> io::Result<()> {
        let found = match self.disk.length(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            found => found?,
        };
        let trusted = found.saturating_sub(1) / SYNC_BYTES * SYNC_BYTES;
        if trusted < found { self.disk.shorten(path, trusted) } else { Ok(()) }
    }

    /// Bytes of the blob that an earlier download left.
    pub fn partial_bytes(&self, digest: &Digest) -> u64 {
        self.disk.length(&self.partial(digest)).unwrap_or(0)
    }

    /// Throws away what an earlier download left.
    ///
    /// # Errors
    /// [`BlobError::Write`].
    pub fn forget_partial(&self, digest: &Digest) -> Result<(), BlobError> {
        let path = self.partial(digest);
        match failpoint::pass("blobs.forget").and_then(|()| self.disk.remove(&path)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(writing(&path)(error)),
            _ => {
                self.claims().uncut.remove(&path);
                Ok(())
            }
        }
    }

    pub(super) fn partial(&self, digest: &Digest) -> PathBuf {
        self.folder.join(format!("{}.{PARTIAL}", digest.hex()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::update::disk::tests::SmallDisk;
    use crate::update::disk::{Disk, RealDisk};
    use std::fs::{self, File, OpenOptions};
    use std::io::Write;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, Mutex};

    const NEVER: &dyn Fn() -> bool = &|| false;

    #[test]
    fn a_blob_in_pieces_is_there_only_when_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path()).unwrap();
        let bytes = vec![7; 200_000];
        let (digest, size) = (Digest::of(&bytes), bytes.len() as u64);
        assert!(!blobs.receive(&digest, size, &bytes[..150_000], NEVER).unwrap());
        assert!(!blobs.holds(&digest, size));
        assert_eq!(blobs.partial_bytes(&digest), 150_000);
        assert!(blobs.receive(&digest, size, &bytes[150_000..], NEVER).unwrap());
        assert!(blobs.holds(&digest, size));
        assert_eq!(blobs.partial_bytes(&digest), 0);
        assert_eq!(blobs.read(&digest, size).unwrap(), bytes);
    }

    #[test]
    fn wrong_bytes_leave_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path()).unwrap();
        let digest = Digest::of(b"right");
        let error = blobs.receive(&digest, 5, &b"wrong"[..], NEVER).unwrap_err();
        assert!(matches!(error, BlobError::Wrong { .. }), "{error}");
        assert_eq!(fs::read_dir(blobs.folder()).unwrap().count(), 0);
    }

    #[test]
    fn a_full_disk_is_said_and_the_download_goes_on_when_there_is_room() {
        let folder = tempfile::tempdir().unwrap();
        let bytes = vec![3; 300_000];
        let (digest, size) = (Digest::of(&bytes), bytes.len() as u64);
        let small = Blobs::on(folder.path(), Arc::new(SmallDisk(100_000))).unwrap();
        let error = small.receive(&digest, size, &bytes[..], NEVER).unwrap_err();
        let BlobError::Write { source, .. } = error else { panic!("{error}") };
        assert_eq!(source.kind(), io::ErrorKind::StorageFull);
        assert_eq!(small.partial_bytes(&digest), 100_000);
        let roomy = Blobs::open(folder.path()).unwrap();
        // No chunk of it was whole, so it may not have been synced.
        assert_eq!(roomy.partial_bytes(&digest), 0);
        assert!(roomy.receive(&digest, size, &bytes[..], NEVER).unwrap());
        let error = roomy.check_space(u64::MAX / 2).unwrap_err();
        assert!(matches!(error, BlobError::NoSpace { .. }), "{error}");
    }

    /// Bytes that no other place of the blob has.
    fn blob(size: u64) -> (Vec<u8>, Digest) {
        let bytes: Vec<u8> = (0..size).map(|at| (at % 251 + at / CHUNK_BYTES) as u8).collect();
        let digest = Digest::of(&bytes);
        (bytes, digest)
    }

    #[test]
    fn of_what_a_power_cut_tears_one_chunk_at_most_is_fetched_again() {
        let (bytes, digest) = blob(3 * CHUNK_BYTES + 500);
        let size = bytes.len() as u64;
        for got in
            [1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES + 77, 3 * CHUNK_BYTES, size - 1]
        {
            // What was not synced is lost, is there as zeros, or was never known to have been.
            let trusted = (got - 1) / SYNC_BYTES * SYNC_BYTES;
            for torn in [trusted, trusted + (got - trusted) / 2, got] {
                let folder = tempfile::tempdir().unwrap();
                let blobs = Blobs::open(folder.path()).unwrap();
                assert!(!blobs.receive(&digest, size, &bytes[..got as usize], NEVER).unwrap());
                let mut left = bytes[..torn as usize].to_vec();
                left[trusted as usize..].fill(0);
                fs::write(blobs.partial(&digest), &left).unwrap();

                let blobs = Blobs::open(folder.path()).unwrap();
                let have = blobs.partial_bytes(&digest);
                assert!(have + CHUNK_BYTES >= got && have <= trusted, "{have} of {got}, {torn}");
                let rest = &bytes[have as usize..];
                assert!(blobs.receive(&digest, size, rest, NEVER).unwrap(), "{got}, {torn}");
            }
        }
    }

    /// A disk that syncs so often, and then no more; whether it shortens files.
    struct TiredDisk(Arc<Mutex<u32>>, Arc<AtomicBool>);

    struct TiredFile(File, Arc<Mutex<u32>>);

    impl Write for TiredFile {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            self.0.flush()
        }
    }

    impl DiskFile for TiredFile {
        fn sync(&mut self) -> io::Result<()> {
            let mut left = self.1.lock().unwrap();
            *left = left.checked_sub(1).ok_or(io::ErrorKind::Other)?;
            self.0.sync_all()
        }
    }

    impl Disk for TiredDisk {
        fn append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
            let file = OpenOptions::new().create(true).append(true).open(path)?;
            Ok(Box::new(TiredFile(file, self.0.clone())))
        }

        fn shorten(&self, path: &Path, bytes: u64) -> io::Result<()> {
            match self.1.load(Ordering::Relaxed) {
                true => RealDisk.shorten(path, bytes),
                false => Err(io::ErrorKind::Other.into()),
            }
        }

        fn free_bytes(&self, _: &Path) -> io::Result<u64> {
            Ok(u64::MAX)
        }
    }

    #[test]
    fn what_the_disk_could_not_sync_is_fetched_again_and_nothing_else() {
        let (bytes, digest) = blob(3 * CHUNK_BYTES + 500);
        let size = bytes.len() as u64;
        let folder = tempfile::tempdir().unwrap();
        let left = Arc::new(Mutex::new(1));
        let disk = TiredDisk(left.clone(), Arc::new(true.into()));
        let blobs = Blobs::on(folder.path(), Arc::new(disk)).unwrap();
        let error = blobs.receive(&digest, size, &bytes[..], NEVER).unwrap_err();
        assert!(matches!(error, BlobError::Write { .. }), "{error}");
        assert_eq!(blobs.partial_bytes(&digest), SYNC_BYTES);
        *left.lock().unwrap() = 99;
        assert!(blobs.receive(&digest, size, &bytes[SYNC_BYTES as usize..], NEVER).unwrap());
        assert_eq!(*left.lock().unwrap(), 99 - 6, "five whole halves of chunks, and the rest");
    }

    #[test]
    fn what_could_be_neither_synced_nor_cut_off_is_not_built_on() {
        let (bytes, digest) = blob(CHUNK_BYTES);
        let size = bytes.len() as u64;
        let folder = tempfile::tempdir().unwrap();
        let (left, shortens) = (Arc::new(Mutex::new(1)), Arc::new(AtomicBool::new(false)));
        let disk = TiredDisk(left.clone(), shortens.clone());
        let blobs = Blobs::on(folder.path(), Arc::new(disk)).unwrap();
        let receive = |from: u64| blobs.receive(&digest, size, &bytes[from as usize..], NEVER);
        receive(0).unwrap_err();
        *left.lock().unwrap() = 99;
        // The disk syncs again. What it has lost it would not tell.
        assert_eq!(blobs.partial_bytes(&digest), size);
        receive(size).unwrap_err();
        assert!(!blobs.holds(&digest, size));
        shortens.store(true, Ordering::Relaxed);
        assert!(!receive(size).unwrap());
        assert_eq!(blobs.partial_bytes(&digest), SYNC_BYTES);
        assert!(receive(SYNC_BYTES).unwrap());
        assert!(blobs.holds(&digest, size));
    }
}
