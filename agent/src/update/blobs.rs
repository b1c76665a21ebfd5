//! The content-addressed store: `blobs/sha256/<hex>`, complete and verified or not there at all.
//!
//! A blob is written to `<hex>.partial`, synced as it grows, compared with its digest, renamed, and
//! the folder synced. Whatever a power cut leaves behind is a whole blob or a partial one, which the
//! next download goes on from: nothing is written beyond half a chunk before that is on the medium,
//! so of what is found all but the last half can be trusted, and with the half after it that may not
//! be found at all, at most one chunk is fetched again.
//!
//! What is made of an older blob is written to `<hex>.made`, and starts from nothing after a cut.

use crate::failpoint;
use crate::update::disk::{Disk, DiskFile, RealDisk};
use lineside_bundle::{Digest, Hasher};
use lineside_delta::ApplyError;
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Bytes that are read or written at once.
const PIECE_BYTES: usize = 64 << 10;
/// Bytes that a power cut may cost.
pub const CHUNK_BYTES: u64 = 1 << 20;
/// Bytes after which what arrived is synced.
const SYNC_BYTES: u64 = CHUNK_BYTES / 2;
/// Endings of files that are not whole yet.
const PARTIAL: &str = "partial";
const MADE: &str = "made";
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

#[derive(Default)]
struct Claims {
    /// The blobs that somebody is putting in now: two slots may want the same one.
    claimed: BTreeSet<Digest>,
    /// People who are putting blobs in by hand.
    by_hand: usize,
    /// Whether garbage is being collected.
    collecting: bool,
    /// How often the folder could not be synced after a blob got its name, so that a power cut may
    /// forget that name; and how many of these times have been made good.
    unsettled: u64,
    settled: u64,
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
        for entry in fs::read_dir(&self.folder).map_err(reading)? {
            let path = entry.map_err(reading)?.path();
            let treated = match path.extension().and_then(|extension| extension.to_str()) {
                Some(PARTIAL) => trim(&path),
                Some(MADE) => fs::remove_file(&path),
                _ => Ok(()),
            };
            if let Err(error) = treated {
                // Its digest shows what is wrong with it, at the price of fetching it again.
                tracing::warn!("cannot cut off the end of {}: {error}", path.display());
            }
        }
        Ok(())
    }

    /// The store of recipes, which nothing but a download under way needs.
    pub fn recipes(&self) -> Blobs {
        let folder = self.folder.with_file_name("recipes");
        Blobs { folder, disk: self.disk.clone(), claims: self.claims.clone() }
    }

    /// Removes what `kept` does not name and nobody is putting in now.
    ///
    /// # Errors
    /// [`BlobError`]; what could be removed has been.
    pub fn keep_only(&self, kept: &BTreeSet<Digest>) -> Result<(), BlobError> {
        // As long as this is held nobody can begin to put one in.
        let claims = self.claims();
        let kept: BTreeSet<String> = kept.iter().chain(&claims.claimed).map(Digest::hex).collect();
        self.remove_others(&kept).map(drop)
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

    /// Whether the blob is there, whole and durable. Its digest is taken again; a damaged blob is
    /// removed, so that it is fetched anew. One that cannot be read now stays: it may be the only
    /// copy, and the disk may give it later.
    pub fn holds(&self, digest: &Digest, size: u64) -> bool {
        let path = self.path(digest);
        let mut hasher = Hasher::default();
        let read = failpoint::pass("blobs.read").and_then(|()| self.disk.read(&path));
        match read.and_then(|file| hash(file, &mut hasher)) {
            Ok(read) if read == size && hasher.finish() == *digest => self.settle(),
            Ok(_) => {
                // What stays behind is overwritten by the download.
                let _ = self.disk.remove(&path);
                false
            }
            Err(_) => false,
        }
    }

    /// Whether the names of all blobs are on the medium; has them there if they are not.
    fn settle(&self) -> bool {
        // Those that come while the folder is synced are left for the next time.
        let (unsettled, settled) = {
            let claims = self.claims();
            (claims.unsettled, claims.settled)
        };
        if settled == unsettled {
            return true;
        }
        let synced =
            failpoint::pass("blobs.settle").and_then(|()| self.disk.sync_folder(&self.folder));
        if synced.is_ok() {
            let mut claims = self.claims();
            claims.settled = claims.settled.max(unsettled);
        }
        synced.is_ok()
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
        let file = self.disk.read(&path).map_err(reading)?;
        file.take(size.saturating_add(1)).read_to_end(&mut bytes).map_err(reading)?;
        let found = Digest::of(&bytes);
        if found != *digest {
            return Err(BlobError::Wrong { expected: *digest, found });
        }
        Ok(bytes)
    }

    /// Bytes of the blob that an earlier download left.
    pub fn partial_bytes(&self, digest: &Digest) -> u64 {
        self.disk.length(&self.partial(digest)).unwrap_or(0)
    }

    /// Bytes of the blob on disk, whole or in part, by its file's length: whether they are the right
    /// ones is not looked at.
    pub fn bytes_here(&self, digest: &Digest) -> u64 {
        self.disk.length(&self.path(digest)).unwrap_or_else(|_| self.partial_bytes(digest))
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
        match failpoint::pass("blobs.forget").and_then(|()| self.disk.remove(&path)) {
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
            if let Err(error) = trim(path) {
                tracing::warn!("cannot cut off the end of {}: {error}", path.display());
            }
            writing(path)(source)
        })
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

    /// Makes the blob by a recipe out of `base`, which need be trusted as little as the recipe.
    ///
    /// The blob is then in its place, verified and durable.
    ///
    /// # Errors
    /// [`BlobError`]; nothing of it is kept.
    pub fn make(
        &self,
        digest: &Digest,
        size: u64,
        (base_digest, base): (&Digest, &impl lineside_delta::Base),
        recipe: impl Read,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<(), BlobError> {
        let path = self.folder.join(format!("{}.{MADE}", digest.hex()));
        let made =
            self.make_at(&path, size, base, recipe, cancelled).map_err(|error| match error {
                _ if cancelled() => BlobError::Cancelled,
                ApplyError::Write(source) => writing(&path)(source),
                error => BlobError::Unmade {
                    digest: *digest,
                    base: *base_digest,
                    source: Box::new(error),
                },
            });
        let placed = made.and_then(|()| self.place(digest, &path));
        if placed.is_err() {
            // Worth nothing; the next start removes it if this does not.
            let _ = fs::remove_file(&path);
        } else {
            self.forget_partial(digest)?;
        }
        placed
    }

    fn make_at(
        &self,
        path: &Path,
        size: u64,
        base: &impl lineside_delta::Base,
        recipe: impl Read,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<(), ApplyError> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(ApplyError::Write(error));
            }
            _ => {}
        }
        let mut out =
            Cancellable { file: self.disk.append(path).map_err(ApplyError::Write)?, cancelled };
        let recipe = BufReader::with_capacity(PIECE_BYTES, recipe);
        lineside_delta::apply(base, recipe, size, &mut out)?;
        out.file.sync().map_err(ApplyError::Write)
    }

    /// Puts a complete file in the blob's place.
    fn place(&self, digest: &Digest, partial: &Path) -> Result<(), BlobError> {
        let mut hasher = Hasher::default();
        let reading = |source| BlobError::Read { path: partial.to_owned(), source };
        // Read back from the file: a resumed download must not trust what a power cut left in it.
        hash(self.disk.read(partial).map_err(reading)?, &mut hasher).map_err(reading)?;
        let found = hasher.finish();
        if found != *digest {
            fs::remove_file(partial).map_err(writing(partial))?;
            return Err(BlobError::Wrong { expected: *digest, found });
        }
        let path = self.path(digest);
        failpoint::pass("blobs.rename").map_err(writing(&path))?;
        self.disk.rename(partial, &path).map_err(writing(&path))?;
        let synced =
            failpoint::pass("blobs.folder").and_then(|()| self.disk.sync_folder(&self.folder));
        // The blob has its name, so the next one to ask would take it for durable.
        self.claims().unsettled += u64::from(synced.is_err());
        synced.map_err(writing(&self.folder))
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
        self.remove_others(&kept.iter().map(Digest::hex).collect())
    }

    fn remove_others(&self, kept: &BTreeSet<String>) -> Result<usize, BlobError> {
        let reading = |source| BlobError::Read { path: self.folder.clone(), source };
        let mut removed = 0;
        for name in self.disk.names(&self.folder).map_err(reading)? {
            let path = self.folder.join(name);
            let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            if !kept.contains(stem) {
                failpoint::pass("blobs.collect").map_err(writing(&path))?;
                self.disk.remove(&path).map_err(writing(&path))?;
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
        self.folder.join(format!("{}.{PARTIAL}", digest.hex()))
    }
}

/// A file that takes nothing more once nobody wants it.
struct Cancellable<'a> {
    file: Box<dyn DiskFile>,
    cancelled: &'a dyn Fn() -> bool,
}

impl Write for Cancellable<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match (self.cancelled)() {
            true => Err(io::Error::other("no longer wanted")),
            false => self.file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Cuts off of a partial what may not have been synced. Where something follows, what is before it was;
/// a length that ends just there may be on the medium without the bytes.
fn trim(path: &Path) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    let found = file.metadata()?.len();
    let trusted = found.saturating_sub(1) / SYNC_BYTES * SYNC_BYTES;
    if trusted < found {
        file.set_len(trusted)?;
        file.sync_all()?;
    }
    Ok(())
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
    use crate::update::disk::tests::SmallDisk;
    use std::fs;
    use std::sync::atomic::{AtomicUsize, Ordering};

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

    /// A disk on which so many calls of one kind fail.
    #[derive(Default)]
    struct Failing {
        reads: AtomicUsize,
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
            RealDisk.read(path)
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
        disk.reads.store(1, Ordering::Relaxed);
        assert!(!blobs.holds(&digest, 5));
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

    /// A disk that syncs so often, and then no more.
    struct TiredDisk(Arc<Mutex<u32>>);

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
        let blobs = Blobs::on(folder.path(), Arc::new(TiredDisk(left.clone()))).unwrap();
        let error = blobs.receive(&digest, size, &bytes[..], NEVER).unwrap_err();
        assert!(matches!(error, BlobError::Write { .. }), "{error}");
        assert_eq!(blobs.partial_bytes(&digest), SYNC_BYTES);
        *left.lock().unwrap() = 99;
        assert!(blobs.receive(&digest, size, &bytes[SYNC_BYTES as usize..], NEVER).unwrap());
        assert_eq!(*left.lock().unwrap(), 99 - 6, "five whole halves of chunks, and the rest");
    }

    #[test]
    fn what_was_being_made_when_the_power_went_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path()).unwrap();
        let (old, new) = (b"old ".repeat(5000), b"new ".repeat(5000));
        let (base, digest, size) = (Digest::of(&old), Digest::of(&new), new.len() as u64);
        let recipe = lineside_delta::make(&old, &new);
        assert!(blobs.receive(&base, old.len() as u64, &old[..], NEVER).unwrap());
        let made = blobs.folder().join(format!("{}.{MADE}", digest.hex()));
        let make = |blobs: &Blobs, cancelled: &dyn Fn() -> bool| {
            let file = crate::update::deltas::BaseFile::open(blobs, &base).unwrap();
            blobs.make(&digest, size, (&base, &file), &recipe[..], cancelled)
        };
        fs::write(&made, &new).unwrap();
        let blobs = Blobs::open(folder.path()).unwrap();
        assert!(!made.exists());
        assert!(matches!(make(&blobs, &|| true), Err(BlobError::Cancelled)));
        assert!(!made.exists());
        // Nor is what an earlier attempt left taken for a beginning.
        fs::write(&made, b"left").unwrap();
        make(&blobs, NEVER).unwrap();
        assert!(blobs.holds(&digest, size) && !made.exists());
    }

    #[test]
    fn recipes_are_kept_apart_and_thrown_away_unless_somebody_fetches_them() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path()).unwrap();
        let recipes = blobs.recipes();
        let [kept, fetched, gone] = [&b"kept"[..], b"busy", b"gone"].map(|bytes| {
            assert!(recipes.receive(&Digest::of(bytes), 4, bytes, NEVER).unwrap());
            Digest::of(bytes)
        });
        // The garbage of releases is another matter.
        blobs.collect(|| Some(BTreeSet::new())).unwrap();
        let _claim = recipes.claim(&fetched, NEVER).unwrap();
        recipes.keep_only(&BTreeSet::from([kept])).unwrap();
        assert!(recipes.holds(&kept, 4) && recipes.holds(&fetched, 4));
        assert!(!recipes.holds(&gone, 4));
    }
}
