//! Blobs on disk: `blobs/sha256/<hex>`. A file gets that name only once all of it is on disk and its
//! digest is right; until then it is an upload.

use crate::access::{Holder, Publisher, random_hex};
use crate::artifact::brought::Brought;
use crate::audit::By;
use crate::bounds::{
    BLOB_BYTES_MAX, DISK_RESERVE_BYTES, ROLE_UPLOADS_MAX, UPLOAD_SILENCE_MAX, UPLOADS_MAX,
};
use crate::error::Error;
use crate::http::{Pace, Progress};
use crate::store::{DataFolder, free_bytes};
use axum::body::Body;
use futures::StreamExt;
use lineside_bundle::{Digest, Hasher};
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use tokio::fs::{self, File, OpenOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Bytes that are written before the room on the disk is looked at again.
const ROOM_EVERY_BYTES: u64 = 16 << 20;
/// Bytes that are read at once when a digest is taken of a file.
const CHUNK_BYTES: usize = 128 << 10;

/// The blobs of one server.
#[derive(Debug, Clone)]
pub(crate) struct Blobs {
    blobs: PathBuf,
    uploads: PathBuf,
    /// Uploads that were begun, oldest first.
    begun: Arc<Mutex<Vec<Upload>>>,
    brought: Brought,
    /// Held while a file gets a blob's name, and while one that has it is looked at and removed: what was
    /// brought anew must not go for what it replaces.
    placing: Arc<Mutex<()>>,
    disk_reserve_bytes: u64,
}

#[derive(Debug, Clone)]
struct Upload {
    id: String,
    /// Who has begun it. Nobody else goes on with it.
    by: Publisher,
    /// When its last piece ended.
    heard: Instant,
    busy: Arc<tokio::sync::Mutex<()>>,
}

/// An upload that is given up when this is dropped, as when its client hangs up.
struct GivenUp<'a> {
    blobs: &'a Blobs,
    id: String,
}

impl Drop for GivenUp<'_> {
    fn drop(&mut self) {
        self.blobs.forget(|upload| upload.id == self.id);
    }
}

/// A blob to be read.
#[derive(Debug)]
pub(crate) struct OpenBlob {
    pub file: File,
    pub size: u64,
}

impl Blobs {
    /// The blobs of a data folder. What was left of uploads is removed: their clients are gone.
    ///
    /// # Errors
    /// [`Error::File`].
    pub async fn open(folder: &DataFolder) -> Result<Blobs, Error> {
        let uploads = folder.join("uploads");
        let doing = || format!("clear {}", uploads.display());
        let mut entries = fs::read_dir(&uploads).await.map_err(Error::file(doing()))?;
        while let Some(entry) = entries.next_entry().await.map_err(Error::file(doing()))? {
            let path = entry.path();
            // Whatever somebody has put there must not keep the server from starting.
            let removed = match entry.file_type().await.is_ok_and(|kind| kind.is_dir()) {
                true => fs::remove_dir_all(path).await,
                false => fs::remove_file(path).await,
            };
            removed.map_err(Error::file(doing()))?;
        }
        Ok(Blobs {
            blobs: folder.join("blobs/sha256"),
            uploads,
            begun: Arc::default(),
            brought: Brought::default(),
            placing: Arc::default(),
            disk_reserve_bytes: DISK_RESERVE_BYTES,
        })
    }

    /// Opens a blob; none if it is not here.
    ///
    /// # Errors
    /// [`Error::File`].
    pub async fn get(&self, digest: &Digest) -> Result<Option<OpenBlob>, Error> {
        let path = self.path(digest);
        let file = match File::open(&path).await {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(failed("read", &path, source)),
        };
        let size = file.metadata().await.map_err(|error| failed("read", &path, error))?.len();
        Ok(Some(OpenBlob { file, size }))
    }

    /// Size of a blob in bytes; none if it is not here.
    pub async fn size(&self, digest: &Digest) -> Option<u64> {
        fs::metadata(self.path(digest)).await.ok().map(|metadata| metadata.len())
    }

    /// Whether a blob is here. Its time until it is swept begins anew.
    pub async fn is_wanted(&self, digest: &Digest) -> bool {
        let path = self.path(digest);
        let touch = || std::fs::File::open(&path)?.set_modified(SystemTime::now());
        match touch() {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            // It is here, and may go sooner: then its manifest is refused, and it comes again.
            Err(_) => self.size(digest).await.is_some(),
        }
    }

    /// Removes blobs that `named` does not name and that came at least `age` ago. Returns how many.
    ///
    /// # Errors
    /// [`Error::File`]; what could be removed has been.
    pub fn sweep_unnamed(&self, named: &BTreeSet<Digest>, age: Duration) -> Result<usize, Error> {
        let named: BTreeSet<String> = named.iter().map(Digest::hex).collect();
        let wrong = |error| failed("sweep", &self.blobs, error);
        let mut removed = 0;
        for entry in std::fs::read_dir(&self.blobs).map_err(wrong)? {
            let entry = entry.map_err(wrong)?;
            if named.contains(&*entry.file_name().to_string_lossy()) {
                continue;
            }
            let _placing = self.placing();
            let modified = entry.metadata().and_then(|metadata| metadata.modified());
            // A clock that was set back makes blobs of the future, which stay until it gets there.
            let old = modified.map_err(wrong)?.elapsed().is_ok_and(|elapsed| elapsed >= age);
            if old {
                std::fs::remove_file(entry.path()).map_err(wrong)?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Reads a small blob as a whole; none if it is not here.
    ///
    /// # Errors
    /// [`Error::TooLarge`] beyond `bytes_max`.
    pub async fn read(&self, digest: &Digest, bytes_max: u64) -> Result<Option<Vec<u8>>, Error> {
        let Some(mut blob) = self.get(digest).await? else { return Ok(None) };
        if blob.size > bytes_max {
            return Err(Error::TooLarge(format!("{digest} has more than {bytes_max} bytes")));
        }
        let mut bytes = Vec::new();
        let read = blob.file.read_to_end(&mut bytes).await;
        read.map_err(|error| failed("read", &self.path(digest), error))?;
        Ok(Some(bytes))
    }

    /// Whether the holder of a role's token has brought a blob himself.
    pub fn has_brought(&self, holder: &Holder, digest: &Digest) -> bool {
        self.brought.has(&holder.token, digest)
    }

    /// Begins an upload and gives its id. Uploads that nobody goes on with are given up.
    ///
    /// # Errors
    /// [`Error::File`]; [`Error::TooLarge`] if the disk has no room.
    pub async fn begin(&self, by: &Publisher) -> Result<String, Error> {
        self.sweep(UPLOAD_SILENCE_MAX);
        self.check_room()?;
        let id = random_hex()?;
        let path = self.uploads.join(&id);
        // Without waiting: whoever hangs up here would leave a file that nobody knows.
        std::fs::File::create_new(&path).map_err(|error| failed("write", &path, error))?;
        let oldest = {
            let mut begun = self.begun();
            let (heard, busy) = (Instant::now(), Arc::default());
            begun.push(Upload { id: id.clone(), by: by.clone(), heard, busy });
            // Each has room of his own: whoever begins many takes it from himself.
            let max = match by {
                Publisher::House(_) => UPLOADS_MAX,
                Publisher::Role(_) => ROLE_UPLOADS_MAX,
            };
            let own: Vec<&Upload> = begun.iter().filter(|upload| upload.by == *by).collect();
            (own.len() > max).then(|| own[0].id.clone())
        };
        if let Some(oldest) = oldest {
            self.forget(|upload| upload.id == oldest);
        }
        Ok(id)
    }

    /// Adds to an upload, at byte `at` if that is given; gives the bytes it has now.
    ///
    /// # Errors
    /// [`Error::Missing`] if there is no such upload; [`Error::TooLarge`]; [`Error::OutOfPlace`] if
    /// the upload does not end at `at`.
    pub async fn append(
        &self,
        id: &str,
        by: &Publisher,
        at: Option<u64>,
        body: Body,
    ) -> Result<u64, Error> {
        let upload = self.find(id, by)?;
        let _busy = upload.busy.lock().await;
        let path = self.uploads.join(&upload.id);
        let wrong = |error| failed("write", &path, error);
        let mut file = OpenOptions::new().append(true).open(&path).await.map_err(wrong)?;
        let mut size = file.metadata().await.map_err(wrong)?.len();
        if at.is_some_and(|at| at != size) {
            return Err(Error::OutOfPlace { size });
        }
        let mut looked_at = None;
        let mut progress = Progress::new(Pace::of_connections());
        let mut pieces = body.into_data_stream();
        while let Some(piece) = pieces.next().await {
            let piece = piece
                .map_err(|error| Error::Malformed(format!("the upload was cut off: {error}")))?;
            if !progress.keeps_up(piece.len()) {
                return Err(Error::too_slow());
            }
            size += piece.len() as u64;
            if size > BLOB_BYTES_MAX {
                return Err(Error::TooLarge(format!("a blob has at most {BLOB_BYTES_MAX} bytes")));
            }
            if looked_at.is_none_or(|looked_at| size - looked_at > ROOM_EVERY_BYTES) {
                self.check_room()?;
                looked_at = Some(size);
            }
            file.write_all(&piece).await.map_err(wrong)?;
        }
        file.flush().await.map_err(wrong)?;
        if let Some(upload) = self.begun().iter_mut().find(|one| one.id == id) {
            upload.heard = Instant::now();
        }
        Ok(size)
    }

    /// Ends an upload: if its digest is `expected`, it becomes a blob; otherwise it is removed.
    ///
    /// # Errors
    /// [`Error::Refused`] if the digest is another; [`Error::Missing`].
    pub async fn finish(&self, id: &str, by: &Publisher, expected: &Digest) -> Result<(), Error> {
        let upload = self.find(id, by)?;
        let _busy = upload.busy.lock().await;
        let _given_up = GivenUp { blobs: self, id: upload.id.clone() };
        self.place(&self.uploads.join(&upload.id), expected).await?;
        if let Publisher::Role(holder) = by {
            self.brought.add(holder.token, *expected);
        }
        Ok(())
    }

    /// Takes a blob in one piece, as this server makes one itself.
    ///
    /// # Errors
    /// As for [`Blobs::finish`].
    pub async fn put(&self, expected: &Digest, body: Body) -> Result<(), Error> {
        self.put_by(&Publisher::House(By::ADMINISTRATOR), expected, body).await
    }

    /// Takes a blob in one piece.
    ///
    /// # Errors
    /// As for [`Blobs::finish`].
    pub async fn put_by(&self, by: &Publisher, expected: &Digest, body: Body) -> Result<(), Error> {
        let id = self.begin(by).await?;
        let _given_up = GivenUp { blobs: self, id: id.clone() };
        self.append(&id, by, None, body).await?;
        self.finish(&id, by, expected).await
    }

    /// Gives an upload up.
    ///
    /// # Errors
    /// [`Error::Missing`] if there is no such upload.
    pub async fn cancel(&self, id: &str, by: &Publisher) -> Result<(), Error> {
        let upload = self.find(id, by)?;
        self.forget(|one| one.id == upload.id);
        Ok(())
    }

    /// Gives up uploads that have waited so long for their next piece and are not being written.
    fn sweep(&self, silence_max: Duration) {
        self.forget(|upload| {
            upload.heard.elapsed() >= silence_max && upload.busy.try_lock().is_ok()
        });
    }

    /// Removes uploads and their files.
    fn forget(&self, which: impl Fn(&Upload) -> bool) {
        self.begun().retain(|upload| {
            let goes = which(upload);
            if goes {
                // It may be a blob by now, or was never written.
                let _ = std::fs::remove_file(self.uploads.join(&upload.id));
            }
            !goes
        });
    }

    fn find(&self, id: &str, by: &Publisher) -> Result<Upload, Error> {
        let found = self.begun().iter().find(|one| one.id == id && one.by == *by).cloned();
        found.ok_or_else(|| Error::Missing("there is no such upload: begin it again".into()))
    }

    pub(super) fn placing(&self) -> MutexGuard<'_, ()> {
        self.placing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begun(&self) -> MutexGuard<'_, Vec<Upload>> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses what would take the last of the disk: the database lives on it.
    fn check_room(&self) -> Result<(), Error> {
        let free = free_bytes(&self.uploads)?;
        if free >= self.disk_reserve_bytes {
            return Ok(());
        }
        Err(Error::TooLarge(format!(
            "the disk of {} has {} MiB left, and {} MiB are kept for the database: make room",
            self.uploads.display(),
            free >> 20,
            self.disk_reserve_bytes >> 20
        )))
    }

    async fn place(&self, path: &Path, expected: &Digest) -> Result<(), Error> {
        let wrong = |error| failed("store", path, error);
        let mut file = File::open(path).await.map_err(wrong)?;
        let mut hasher = Hasher::default();
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let read = file.read(&mut chunk).await.map_err(wrong)?;
            if read == 0 {
                break;
            }
            hasher.update(&chunk[..read]);
        }
        let found = hasher.finish();
        if found != *expected {
            return Err(Error::Refused(format!(
                "the bytes have the digest {found}, not {expected}"
            )));
        }
        // On disk before it has its name, and the name on disk before anybody is told.
        file.sync_all().await.map_err(wrong)?;
        {
            let _placing = self.placing();
            std::fs::rename(path, self.path(expected)).map_err(wrong)?;
        }
        let folder = File::open(&self.blobs).await.map_err(wrong)?;
        folder.sync_all().await.map_err(wrong)
    }

    pub(super) fn path(&self, digest: &Digest) -> PathBuf {
        self.blobs.join(digest.hex())
    }

    /// Where all blobs are.
    pub(super) fn folder(&self) -> &Path {
        &self.blobs
    }
}

fn failed(verb: &str, path: &Path, source: io::Error) -> Error {
    Error::File { doing: format!("{verb} {}", path.display()), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::stream;

    async fn blobs(place: &tempfile::TempDir) -> (DataFolder, Blobs) {
        let folder = DataFolder::open(place.path()).unwrap();
        let blobs = Blobs::open(&folder).await.unwrap();
        (folder, blobs)
    }

    fn files(folder: &DataFolder) -> usize {
        std::fs::read_dir(folder.join("uploads")).unwrap().count()
    }

    #[tokio::test]
    async fn an_upload_whose_client_hangs_up_leaves_nothing() {
        let place = tempfile::tempdir().unwrap();
        let (folder, blobs) = blobs(&place).await;
        // One piece, and then nothing more ever.
        let pieces = stream::iter([Ok::<_, io::Error>("piece")]).chain(stream::pending());
        let digest = Digest::of(b"piece");
        let mut put = Box::pin(blobs.put(&digest, Body::from_stream(pieces)));
        while files(&folder) == 0 {
            tokio::select! {
                _ = &mut put => panic!("the upload has not ended"),
                () = tokio::task::yield_now() => {}
            }
        }
        drop(put);
        assert_eq!((files(&folder), blobs.begun().len()), (0, 0));
    }

    #[tokio::test]
    async fn an_upload_that_nobody_goes_on_with_is_given_up() {
        let place = tempfile::tempdir().unwrap();
        let (folder, blobs) = blobs(&place).await;
        let (left, busy) = (
            blobs.begin(&Publisher::House(By::ADMINISTRATOR)).await.unwrap(),
            blobs.begin(&Publisher::House(By::ADMINISTRATOR)).await.unwrap(),
        );
        blobs.sweep(UPLOAD_SILENCE_MAX);
        assert_eq!(files(&folder), 2);
        let upload = blobs.find(&busy, &Publisher::House(By::ADMINISTRATOR)).unwrap();
        let _writes = upload.busy.lock().await;
        blobs.sweep(Duration::ZERO);
        assert!(matches!(
            blobs.find(&left, &Publisher::House(By::ADMINISTRATOR)),
            Err(Error::Missing(_))
        ));
        assert!(blobs.find(&busy, &Publisher::House(By::ADMINISTRATOR)).is_ok());
        assert_eq!(files(&folder), 1);
    }

    #[tokio::test]
    async fn the_upload_that_was_begun_first_gives_way_to_one_too_many() {
        let place = tempfile::tempdir().unwrap();
        let (folder, blobs) = blobs(&place).await;
        let first = blobs.begin(&Publisher::House(By::ADMINISTRATOR)).await.unwrap();
        for _ in 0..UPLOADS_MAX {
            blobs.begin(&Publisher::House(By::ADMINISTRATOR)).await.unwrap();
        }
        assert_eq!(files(&folder), UPLOADS_MAX);
        let by = Publisher::House(By::ADMINISTRATOR);
        let error = blobs.append(&first, &by, None, Body::from("x")).await.unwrap_err();
        assert!(error.to_string().contains("begin it again"), "{error}");
    }

    #[tokio::test]
    async fn one_who_publishes_goes_on_with_his_own_uploads_and_pushes_out_no_others() {
        let place = tempfile::tempdir().unwrap();
        let (folder, blobs) = blobs(&place).await;
        let role = |token: &str| {
            let (role, token) = ("acme".parse().unwrap(), Digest::of(token.as_bytes()));
            Publisher::Role(Holder { role, token })
        };
        let (acme, before) = (role("new"), role("old"));
        let others = blobs.begin(&Publisher::House(By::ADMINISTRATOR)).await.unwrap();
        let first = blobs.begin(&acme).await.unwrap();
        for stranger in [&before, &Publisher::House(By::ADMINISTRATOR)] {
            let error = blobs.append(&first, stranger, None, Body::from("x")).await.unwrap_err();
            assert!(matches!(error, Error::Missing(_)), "{error}");
            let digest = Digest::of(b"");
            assert!(matches!(
                blobs.finish(&first, stranger, &digest).await,
                Err(Error::Missing(_))
            ));
            assert!(matches!(blobs.cancel(&first, stranger).await, Err(Error::Missing(_))));
        }
        assert!(blobs.append(&others, &acme, None, Body::from("x")).await.is_err());
        for _ in 0..ROLE_UPLOADS_MAX {
            blobs.begin(&acme).await.unwrap();
        }
        assert!(blobs.find(&first, &acme).is_err(), "his oldest gives way");
        assert!(blobs.find(&others, &Publisher::House(By::ADMINISTRATOR)).is_ok());
        assert_eq!(files(&folder), ROLE_UPLOADS_MAX + 1);

        let digest = Digest::of(b"model");
        blobs.put(&digest, Body::from("model")).await.unwrap();
        let (Publisher::Role(acme_is), Publisher::Role(before_is)) = (&acme, &before) else {
            panic!("both are roles")
        };
        assert!(!blobs.has_brought(acme_is, &digest), "another brought it");
        let wrong = blobs.put_by(&acme, &digest, Body::from("x")).await;
        assert!(matches!(wrong, Err(Error::Refused(_))), "{wrong:?}");
        assert!(!blobs.has_brought(acme_is, &digest), "he has not got it");
        blobs.put_by(&acme, &digest, Body::from("model")).await.unwrap();
        assert!(blobs.has_brought(acme_is, &digest));
        assert!(!blobs.has_brought(before_is, &digest), "who had the token before him");
    }

    #[tokio::test]
    async fn the_last_of_the_disk_is_left_to_the_database() {
        let place = tempfile::tempdir().unwrap();
        let (folder, mut blobs) = blobs(&place).await;
        blobs.disk_reserve_bytes = u64::MAX;
        let put = blobs.put(&Digest::of(b"x"), Body::from("x")).await;
        let Err(Error::TooLarge(error)) = put else { panic!("{put:?}") };
        assert!(error.contains("make room"), "{error}");
        assert_eq!(files(&folder), 0);
        assert_eq!(blobs.size(&Digest::of(b"x")).await, None);
    }

    #[tokio::test]
    async fn a_blob_that_no_manifest_names_goes_after_a_while_and_not_while_somebody_counts_on_it()
    {
        let place = tempfile::tempdir().unwrap();
        let (_folder, blobs) = blobs(&place).await;
        let long_ago = SystemTime::now() - Duration::from_secs(1_000);
        let [named, unnamed, wanted, fresh] = [&b"named"[..], b"unnamed", b"wanted", b"fresh"];
        for bytes in [named, unnamed, wanted, fresh] {
            let digest = Digest::of(bytes);
            blobs.put(&digest, Body::from(bytes)).await.unwrap();
            if bytes != fresh {
                let file = std::fs::File::open(blobs.path(&digest)).unwrap();
                file.set_modified(long_ago).unwrap();
            }
        }
        assert!(blobs.is_wanted(&Digest::of(wanted)).await);
        assert!(!blobs.is_wanted(&Digest::of(b"nowhere")).await);
        let kept = BTreeSet::from([Digest::of(named)]);
        assert_eq!(blobs.sweep_unnamed(&kept, Duration::from_secs(500)).unwrap(), 1);
        let mut left = Vec::new();
        for bytes in [named, unnamed, wanted, fresh] {
            left.push(blobs.size(&Digest::of(bytes)).await.is_some());
        }
        assert_eq!(left, [true, false, true, true]);
    }
}
