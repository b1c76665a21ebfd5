//! The content-addressed store: `blobs/sha256/<hex>`, complete and verified or not there at all.
//!
//! A blob is written to `<hex>.partial`, synced as it grows, compared with its digest, renamed, and
//! the folder synced. Whatever a power cut leaves behind is a whole blob or a partial one, which the
//! next download goes on from. What is made of an older blob is written to `<hex>.made`.

mod claims;
mod collect;
mod make;
mod receive;

pub use claims::{ByHand, Claim};

use crate::failpoint;
use crate::update::disk::{Disk, RealDisk};
use claims::{Claims, Names};
use lineside_bundle::{Digest, Hasher};
use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};

/// Bytes that are read or written at once.
const PIECE_BYTES: usize = 64 << 10;
/// Bytes that a power cut may cost.
pub const CHUNK_BYTES: u64 = 1 << 20;
/// Endings of files that are not whole yet.
const PARTIAL: &str = "partial";
const MADE: &str = "made";
/// Bytes that must stay free beside what is downloaded: the journal and the spool live there too.
pub const RESERVE_BYTES: u64 = 32 << 20;

/// Why a blob is not on disk.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The disk did not take it.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The disk does not give it.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Whoever sends it stopped early. What arrived is kept.
    #[error("blob {digest} was cut off after {got} of {size} bytes")]
    Cut {
        /// Which blob.
        digest: Digest,
        /// Bytes on disk.
        got: u64,
        /// Bytes it has.
        size: u64,
        /// Why, where it is known.
        source: Option<io::Error>,
    },
    /// The bytes are not the ones that were signed. They have been thrown away.
    #[error("blob {expected} is not what was sent: the bytes are {found}")]
    Wrong {
        /// The digest asked for.
        expected: Digest,
        /// The digest of the bytes.
        found: Digest,
    },
    /// It could not be made of an older blob. What was made has been thrown away.
    #[error("blob {digest} cannot be made of {base}")]
    Unmade {
        /// Which blob.
        digest: Digest,
        /// The older one.
        base: Digest,
        /// Why.
        source: Box<lineside_delta::ApplyError>,
    },
    /// It would fill the disk.
    #[error("{needed} bytes are needed and {free} are free")]
    NoSpace {
        /// Bytes to be written, with a reserve.
        needed: u64,
        /// Bytes free.
        free: u64,
    },
    /// Nobody wants it any more.
    #[error("no longer wanted")]
    Cancelled,
}

/// The store.
#[derive(Clone)]
pub struct Blobs {
    folder: PathBuf,
    disk: Arc<dyn Disk>,
    claims: Arc<(Mutex<Claims>, Condvar)>,
}

impl Blobs {
    /// Opens the store of `state_dir`, making its folder where it is missing.
    ///
    /// # Errors
    /// [`BlobError::Write`].
    pub fn open(state_dir: &Path) -> Result<Blobs, BlobError> {
        Blobs::on(state_dir, Arc::new(RealDisk))
    }

    /// As [`Blobs::open`], on a disk of one's own.
    ///
    /// # Errors
    /// [`BlobError::Write`].
    pub fn on(state_dir: &Path, disk: Arc<dyn Disk>) -> Result<Blobs, BlobError> {
        let folder = state_dir.join("blobs").join("sha256");
        let recipes = state_dir.join("blobs").join("recipes");
        for folder in [&folder, &recipes] {
            disk.make_folder(folder).map_err(writing(folder))?;
        }
        for folder in [state_dir, &state_dir.join("blobs"), &folder, &recipes] {
            let synced = failpoint::pass("blobs.open").and_then(|()| disk.sync_folder(folder));
            synced.map_err(writing(folder))?;
        }
        let blobs = Blobs { folder, disk, claims: Arc::default() };
        for blobs in [&blobs, &blobs.recipes()] {
            blobs.distrust()?;
        }
        Ok(blobs)
    }

    /// Cuts off what may not have reached the medium before the last stop.
    fn distrust(&self) -> Result<(), BlobError> {
        let reading = |source| BlobError::Read { path: self.folder.clone(), source };
        for name in self.disk.names(&self.folder).map_err(reading)? {
            let path = self.folder.join(name);
            match path.extension().and_then(|extension| extension.to_str()) {
                Some(PARTIAL) => self.cut_back(&path),
                // Whoever makes it anew removes it first.
                Some(MADE) => drop(self.disk.remove(&path)),
                _ => {}
            }
        }
        Ok(())
    }

    /// The store of recipes, which nothing but a download under way needs.
    pub fn recipes(&self) -> Blobs {
        let folder = self.folder.with_file_name("recipes");
        Blobs { folder, disk: self.disk.clone(), claims: self.claims.clone() }
    }

    /// The folder with the blobs, `blobs/sha256`.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether the blob is there, whole and durable. Its digest is taken again. A damaged one stays
    /// where it is: [`Claim::holds`] is for who will put it in.
    pub fn holds(&self, digest: &Digest, size: u64) -> bool {
        let found = self.found(digest);
        found.is_ok_and(|(found, read)| found == *digest && read == size) && self.settle()
    }

    /// Digest and size of what is in the blob's place.
    fn found(&self, digest: &Digest) -> io::Result<(Digest, u64)> {
        failpoint::pass("blobs.read")?;
        let mut hasher = Hasher::default();
        let read = hash(self.disk.read(&self.path(digest))?, &mut hasher)?;
        Ok((hasher.finish(), read))
    }

    /// Whether the names of all blobs are on the medium; has them there if they are not.
    fn settle(&self) -> bool {
        // Those that come while the folder is synced are left for the next time.
        let names = self.claims().names.get(&self.folder).copied();
        let Names { unsettled, settled } = names.unwrap_or_default();
        if settled == unsettled {
            return true;
        }
        let synced =
            failpoint::pass("blobs.settle").and_then(|()| self.disk.sync_folder(&self.folder));
        if synced.is_ok() {
            let mut claims = self.claims();
            let names = claims.names.entry(self.folder.clone()).or_default();
            names.settled = names.settled.max(unsettled);
        }
        synced.is_ok()
    }

    /// The bytes of a small blob, verified.
    ///
    /// # Errors
    /// [`BlobError::Read`], [`BlobError::Wrong`].
    pub fn read(&self, digest: &Digest, size: u64) -> Result<Vec<u8>, BlobError> {
        let path = self.path(digest);
        let reading = |source| BlobError::Read { path: path.clone(), source };
        let mut bytes = Vec::new();
        let file = self.disk.read(&path).map_err(reading)?;
        file.take(size.saturating_add(1)).read_to_end(&mut bytes).map_err(reading)?;
        let found = Digest::of(&bytes);
        if found != *digest {
            return Err(BlobError::Wrong { expected: *digest, found });
        }
        Ok(bytes)
    }

    /// Bytes of the blob on disk, whole or in part, by its file's length: whether they are the right
    /// ones is not looked at.
    pub fn bytes_here(&self, digest: &Digest) -> u64 {
        self.disk.length(&self.path(digest)).unwrap_or_else(|_| self.partial_bytes(digest))
    }

    /// Whether there is something in the blob's place, right or wrong.
    pub fn is_there(&self, digest: &Digest) -> bool {
        self.disk.length(&self.path(digest)).is_ok()
    }

    /// Bytes that may still be written; none where the disk does not tell.
    pub fn free_bytes(&self) -> Option<u64> {
        self.disk.free_bytes(&self.folder).ok()
    }

    /// Fails if `bytes` more would leave less than the reserve.
    ///
    /// # Errors
    /// [`BlobError::NoSpace`], [`BlobError::Read`].
    pub fn check_space(&self, bytes: u64) -> Result<(), BlobError> {
        let free = self
            .disk
            .free_bytes(&self.folder)
            .map_err(|source| BlobError::Read { path: self.folder.clone(), source })?;
        let needed = bytes.saturating_add(RESERVE_BYTES);
        if needed > free { Err(BlobError::NoSpace { needed, free }) } else { Ok(()) }
    }

    /// The blob, to be read from its beginning, and its size; none if it is not there as it was signed.
    /// Unlike [`Blobs::holds`] it leaves a damaged one where it is: whoever needs it notices.
    pub fn open_verified(&self, digest: &Digest) -> Option<(File, u64)> {
        let mut file = File::open(self.path(digest)).ok()?;
        let mut hasher = Hasher::default();
        let size = hash(&file, &mut hasher).ok()?;
        file.rewind().ok()?;
        (hasher.finish() == *digest).then_some((file, size))
    }

    /// Puts a complete file in the blob's place.
    fn place(&self, digest: &Digest, partial: &Path) -> Result<(), BlobError> {
        let mut hasher = Hasher::default();
        let reading = |source| BlobError::Read { path: partial.to_owned(), source };
        // Read back from the file: a resumed download must not trust what a power cut left in it.
        hash(self.disk.read(partial).map_err(reading)?, &mut hasher).map_err(reading)?;
        let found = hasher.finish();
        if found != *digest {
            self.disk.remove(partial).map_err(writing(partial))?;
            return Err(BlobError::Wrong { expected: *digest, found });
        }
        let path = self.path(digest);
        failpoint::pass("blobs.rename").map_err(writing(&path))?;
        self.disk.rename(partial, &path).map_err(writing(&path))?;
        let synced =
            failpoint::pass("blobs.folder").and_then(|()| self.disk.sync_folder(&self.folder));
        // The blob has its name, so the next one to ask would take it for durable.
        if synced.is_err() {
            self.claims().names.entry(self.folder.clone()).or_default().unsettled += 1;
        }
        synced.map_err(writing(&self.folder))
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.folder.join(digest.hex())
    }
}

fn writing(path: &Path) -> impl Fn(io::Error) -> BlobError {
    move |source| BlobError::Write { path: path.to_owned(), source }
}

fn hash(mut source: impl Read, hasher: &mut Hasher) -> io::Result<u64> {
    let mut piece = vec![0; PIECE_BYTES];
    let mut total = 0;
    loop {
        match source.read(&mut piece)? {
            0 => return Ok(total),
            read => {
                hasher.update(&piece[..read]);
                total += read as u64;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::update::disk::DiskFile;
    use std::fs;
    use std::sync::atomic::{AtomicUsize, Ordering};

    const NEVER: &dyn Fn() -> bool = &|| false;

    #[test]
    fn a_blob_that_rots_on_disk_is_noticed_and_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path()).unwrap();
        let digest = Digest::of(b"right");
        assert!(blobs.receive(&digest, 5, &b"right"[..], NEVER).unwrap());
        fs::write(blobs.folder().join(digest.hex()), b"rotte").unwrap();
        assert!(matches!(blobs.read(&digest, 5), Err(BlobError::Wrong { .. })));
        // It goes when somebody is about to put it in again, and only he takes it away.
        assert!(!blobs.holds(&digest, 5));
        assert!(matches!(blobs.read(&digest, 5), Err(BlobError::Wrong { .. })));
        assert!(!blobs.claim(&digest, NEVER).unwrap().holds(5));
        assert!(matches!(blobs.read(&digest, 5), Err(BlobError::Read { .. })));
    }

    #[test]
    fn who_asks_for_a_blob_by_a_wrong_size_takes_it_from_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path()).unwrap();
        let digest = Digest::of(b"right");
        assert!(blobs.receive(&digest, 5, &b"right"[..], NEVER).unwrap());
        for size in [0, 4, 6] {
            assert!(!blobs.claim(&digest, NEVER).unwrap().holds(size));
        }
        assert!(blobs.holds(&digest, 5));
    }

    /// A disk on which so many calls of one kind fail.
    #[derive(Default)]
    struct Failing {
        reads: AtomicUsize,
        /// Reads that give other bytes than are there.
        wrong_reads: AtomicUsize,
        syncs: AtomicUsize,
    }

    impl Failing {
        fn fails(left: &AtomicUsize) -> io::Result<()> {
            let counted = |left: usize| left.checked_sub(1);
            match left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, counted) {
                Ok(_) => Err(io::Error::from_raw_os_error(5)),
                Err(_) => Ok(()),
            }
        }
    }

    impl Disk for Failing {
        fn append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
            RealDisk.append(path)
        }

        fn free_bytes(&self, folder: &Path) -> io::Result<u64> {
            RealDisk.free_bytes(folder)
        }

        fn read(&self, path: &Path) -> io::Result<Box<dyn Read>> {
            Failing::fails(&self.reads)?;
            match Failing::fails(&self.wrong_reads) {
                Ok(()) => RealDisk.read(path),
                Err(_) => Ok(Box::new(&b"flips"[..])),
            }
        }

        fn sync_folder(&self, folder: &Path) -> io::Result<()> {
            Failing::fails(&self.syncs)?;
            RealDisk.sync_folder(folder)
        }
    }

    #[test]
    fn a_blob_that_the_disk_does_not_give_now_is_not_thrown_away() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Arc::new(Failing::default());
        let blobs = Blobs::on(folder.path(), disk.clone()).unwrap();
        let digest = Digest::of(b"right");
        assert!(blobs.receive(&digest, 5, &b"right"[..], NEVER).unwrap());
        let claim = blobs.claim(&digest, NEVER).unwrap();
        disk.reads.store(2, Ordering::Relaxed);
        assert!(!claim.holds(5));
        assert!(claim.holds(5));
        // Nor one of which other bytes arrive once.
        disk.wrong_reads.store(1, Ordering::Relaxed);
        assert!(claim.holds(5));
        disk.wrong_reads.store(2, Ordering::Relaxed);
        assert!(!claim.holds(5));
        assert!(blobs.read(&digest, 5).is_err(), "twice is no accident");
    }

    #[test]
    fn a_name_does_not_become_durable_because_another_folder_is_synced() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Arc::new(Failing::default());
        let blobs = Blobs::on(folder.path(), disk.clone()).unwrap();
        let (digest, recipe) = (Digest::of(b"right"), Digest::of(b"recipe"));
        assert!(blobs.recipes().receive(&recipe, 6, &b"recipe"[..], NEVER).unwrap());
        assert!(!blobs.receive(&digest, 5, &b"ri"[..], NEVER).unwrap());
        disk.syncs.store(1, Ordering::Relaxed);
        blobs.receive(&digest, 5, &b"ght"[..], NEVER).unwrap_err();
        assert!(blobs.recipes().holds(&recipe, 6));
        disk.syncs.store(1, Ordering::Relaxed);
        assert!(!blobs.holds(&digest, 5), "its folder was never synced");
        assert!(blobs.holds(&digest, 5));
    }

    #[test]
    fn a_blob_whose_name_may_be_lost_in_a_power_cut_is_not_taken_for_durable() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Arc::new(Failing::default());
        let blobs = Blobs::on(folder.path(), disk.clone()).unwrap();
        let digest = Digest::of(b"right");
        assert!(!blobs.receive(&digest, 5, &b"ri"[..], NEVER).unwrap());
        disk.syncs.store(2, Ordering::Relaxed);
        let error = blobs.receive(&digest, 5, &b"ght"[..], NEVER).unwrap_err();
        assert!(matches!(error, BlobError::Write { .. }), "{error}");
        assert!(!blobs.holds(&digest, 5), "the folder is not synced");
        assert!(blobs.holds(&digest, 5), "now it is");
    }
}
