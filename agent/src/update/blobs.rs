//! The content-addressed store: `blobs/sha256/<hex>`, complete and verified or not there at all.
//!
//! A blob is written to `<hex>.partial`, synced, compared with its digest, renamed, and the folder
//! synced. Whatever a power cut leaves behind is a whole blob or a partial one, which the next
//! download goes on from.

use crate::update::disk::{Disk, RealDisk, sync_folder};
use lineside_bundle::{Digest, Hasher};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Bytes that are read or written at once.
const PIECE_BYTES: usize = 64 << 10;
/// How often somebody who waits for a blob looks whether it is still wanted.
const CLAIM_LOOK_EVERY: Duration = Duration::from_millis(100);
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

#[derive(Default)]
struct Claims {
    /// The blobs that somebody is putting in now: two slots may want the same one.
    claimed: BTreeSet<Digest>,
    /// People who are putting blobs in by hand.
    by_hand: usize,
    /// Whether garbage is being collected.
    collecting: bool,
}

/// The right to put in one blob.
pub struct Claim<'a> {
    blobs: &'a Blobs,
    digest: Digest,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.blobs.claims().claimed.remove(&self.digest);
        self.blobs.claims.1.notify_all();
    }
}

/// The right of way of what is put in by hand, made by [`Blobs::by_hand`].
pub struct ByHand {
    blobs: Blobs,
}

impl ByHand {
    /// Waits until nobody else puts this blob in. Ask [`Blobs::holds`] again afterwards.
    pub fn claim(&self, digest: &Digest) -> Claim<'_> {
        let mut claims = self.blobs.claims();
        while claims.claimed.contains(digest) {
            claims = self.blobs.wait(claims);
        }
        claims.claimed.insert(*digest);
        Claim { blobs: &self.blobs, digest: *digest }
    }
}

impl Drop for ByHand {
    fn drop(&mut self) {
        self.blobs.claims().by_hand -= 1;
        self.blobs.claims.1.notify_all();
    }
}

/// The right to remove blobs.
struct Collecting<'a>(&'a Blobs);

impl Drop for Collecting<'_> {
    fn drop(&mut self) {
        self.0.claims().collecting = false;
        self.0.claims.1.notify_all();
    }
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
        fs::create_dir_all(&folder).map_err(writing(&folder))?;
        for folder in [state_dir, &state_dir.join("blobs"), &folder] {
            sync_folder(folder).map_err(writing(folder))?;
        }
        Ok(Blobs { folder, disk, claims: Arc::default() })
    }

    /// The folder with the blobs, `blobs/sha256`.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Gives what is put in by hand the right of way, until the guard is dropped: downloads stand
    /// aside, because a file at hand must not wait for the slow network that it replaces, and no
    /// garbage is collected, because the journal may not name these blobs yet.
    pub fn by_hand(&self) -> ByHand {
        let mut claims = self.claims();
        while claims.collecting {
            claims = self.wait(claims);
        }
        claims.by_hand += 1;
        ByHand { blobs: self.clone() }
    }

    /// Whether blobs are being put in by hand: a download then lets go of its blob.
    pub fn is_by_hand(&self) -> bool {
        self.claims().by_hand > 0
    }

    /// Whether the blob is there, whole. Its digest is taken again; a damaged blob is removed, so
    /// that it is fetched anew.
    pub fn holds(&self, digest: &Digest, size: u64) -> bool {
        let path = self.path(digest);
        let Ok(file) = File::open(&path) else { return false };
        let mut hasher = Hasher::default();
        let whole =
            hash(file, &mut hasher).is_ok_and(|read| read == size) && hasher.finish() == *digest;
        if !whole {
            // What stays behind is overwritten by the download.
            let _ = fs::remove_file(&path);
        }
        whole
    }

    /// For downloads: waits until nobody else puts this blob in, or any by hand. Ask
    /// [`Blobs::holds`] again afterwards.
    ///
    /// # Errors
    /// [`BlobError::Cancelled`].
    pub fn claim(
        &self,
        digest: &Digest,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Claim<'_>, BlobError> {
        let mut claims = self.claims();
        while claims.by_hand > 0 || claims.claimed.contains(digest) {
            if cancelled() {
                return Err(BlobError::Cancelled);
            }
            let waited = self.claims.1.wait_timeout(claims, CLAIM_LOOK_EVERY);
            claims = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        claims.claimed.insert(*digest);
        Ok(Claim { blobs: self, digest: *digest })
    }

    /// The bytes of a small blob, verified.
    ///
    /// # Errors
    /// [`BlobError::Read`], [`BlobError::Wrong`], [`BlobError::Cut`].
    pub fn read(&self, digest: &Digest, size: u64) -> Result<Vec<u8>, BlobError> {
        let path = self.path(digest);
        let reading = |source| BlobError::Read { path: path.clone(), source };
        let mut bytes = Vec::new();
        let file = File::open(&path).map_err(reading)?;
        file.take(size.saturating_add(1)).read_to_end(&mut bytes).map_err(reading)?;
        let found = Digest::of(&bytes);
        if found != *digest {
            return Err(BlobError::Wrong { expected: *digest, found });
        }
        Ok(bytes)
    }

    /// Bytes of the blob that an earlier download left.
    pub fn partial_bytes(&self, digest: &Digest) -> u64 {
        fs::metadata(self.partial(digest)).map_or(0, |metadata| metadata.len())
    }

    /// Bytes of the blob on disk, whole or in part, by its file's length: whether they are the right
    /// ones is not looked at.
    pub fn bytes_here(&self, digest: &Digest) -> u64 {
        fs::metadata(self.path(digest))
            .map_or_else(|_| self.partial_bytes(digest), |metadata| metadata.len())
    }

    /// Bytes that may still be written; none where the disk does not tell.
    pub fn free_bytes(&self) -> Option<u64> {
        self.disk.free_bytes(&self.folder).ok()
    }

    /// Throws away what an earlier download left.
    ///
    /// # Errors
    /// [`BlobError::Write`].
    pub fn forget_partial(&self, digest: &Digest) -> Result<(), BlobError> {
        let path = self.partial(digest);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(writing(&path)(error)),
            _ => Ok(()),
        }
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
        let mut got = self.partial_bytes(digest);
        let mut file = self.disk.append(&path).map_err(writing(&path))?;
        let mut piece = vec![0; PIECE_BYTES];
        while got < size {
            if cancelled() {
                return Err(BlobError::Cancelled);
            }
            let room =
                usize::try_from(size - got).map_or(PIECE_BYTES, |rest| rest.min(PIECE_BYTES));
            match source.read(&mut piece[..room]) {
                Ok(0) => break,
                Ok(read) => {
                    file.write_all(&piece[..read]).map_err(writing(&path))?;
                    got += read as u64;
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
        file.sync().map_err(writing(&path))?;
        drop(file);
        self.place(digest, &path).map(|()| true)
    }

    /// Puts a complete partial file in its place.
    fn place(&self, digest: &Digest, partial: &Path) -> Result<(), BlobError> {
        let mut hasher = Hasher::default();
        let reading = |source| BlobError::Read { path: partial.to_owned(), source };
        // Read back from the file: a resumed download must not trust what a power cut left in it.
        hash(File::open(partial).map_err(reading)?, &mut hasher).map_err(reading)?;
        let found = hasher.finish();
        if found != *digest {
            self.forget_partial(digest)?;
            return Err(BlobError::Wrong { expected: *digest, found });
        }
        let path = self.path(digest);
        fs::rename(partial, &path).map_err(writing(&path))?;
        sync_folder(&self.folder).map_err(writing(&self.folder))
    }

    /// Removes every blob and partial that `kept` does not name. Returns how many.
    ///
    /// `kept` is asked once nothing can be put in any more; if it does not know, nothing is removed.
    ///
    /// # Errors
    /// [`BlobError`]; what could be removed has been.
    pub fn collect(
        &self,
        kept: impl FnOnce() -> Option<BTreeSet<Digest>>,
    ) -> Result<usize, BlobError> {
        let _alone = self.collecting();
        let Some(kept) = kept() else { return Ok(0) };
        let kept: BTreeSet<String> = kept.iter().map(Digest::hex).collect();
        let reading = |source| BlobError::Read { path: self.folder.clone(), source };
        let mut removed = 0;
        for entry in fs::read_dir(&self.folder).map_err(reading)? {
            let path = entry.map_err(reading)?.path();
            let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            if !kept.contains(stem) {
                fs::remove_file(&path).map_err(writing(&path))?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Waits until nothing is put in by hand, and nothing collected.
    fn collecting(&self) -> Collecting<'_> {
        let mut claims = self.claims();
        while claims.collecting || claims.by_hand > 0 {
            claims = self.wait(claims);
        }
        claims.collecting = true;
        Collecting(self)
    }

    fn wait<'a>(&'a self, claims: MutexGuard<'a, Claims>) -> MutexGuard<'a, Claims> {
        self.claims.1.wait(claims).unwrap_or_else(PoisonError::into_inner)
    }

    fn claims(&self) -> MutexGuard<'_, Claims> {
        self.claims.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.folder.join(digest.hex())
    }

    fn partial(&self, digest: &Digest) -> PathBuf {
        self.folder.join(format!("{}.partial", digest.hex()))
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
    use crate::update::disk::tests::SmallDisk;

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
        let blobs = Blobs::open(folder.path()).unwrap();
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
    fn a_blob_that_rots_on_disk_is_noticed_and_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path()).unwrap();
        let digest = Digest::of(b"right");
        assert!(blobs.receive(&digest, 5, &b"right"[..], NEVER).unwrap());
        fs::write(blobs.folder().join(digest.hex()), b"rotte").unwrap();
        assert!(matches!(blobs.read(&digest, 5), Err(BlobError::Wrong { .. })));
        assert!(!blobs.holds(&digest, 5));
        assert!(matches!(blobs.read(&digest, 5), Err(BlobError::Read { .. })));
    }

    #[test]
    fn only_what_nobody_needs_is_collected() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path()).unwrap();
        let digests = [&b"kept"[..], b"gone", b"late"].map(|bytes| {
            let digest = Digest::of(bytes);
            let whole =
                blobs.receive(&digest, 4, &bytes[..if bytes == b"late" { 2 } else { 4 }], NEVER);
            assert_eq!(whole.unwrap(), bytes != b"late");
            digest
        });
        assert_eq!(blobs.collect(|| Some(BTreeSet::from([digests[0], digests[2]]))).unwrap(), 1);
        assert!(blobs.holds(&digests[0], 4));
        assert_eq!(blobs.partial_bytes(&digests[2]), 2);
        assert_eq!(blobs.collect(|| None).unwrap(), 0);
        assert_eq!(blobs.collect(|| Some(BTreeSet::new())).unwrap(), 2);
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
        let got = small.partial_bytes(&digest);
        assert_eq!(got, 100_000);
        let roomy = Blobs::open(folder.path()).unwrap();
        assert!(roomy.receive(&digest, size, &bytes[got as usize..], NEVER).unwrap());
        let error = roomy.check_space(u64::MAX / 2).unwrap_err();
        assert!(matches!(error, BlobError::NoSpace { .. }), "{error}");
    }
}
