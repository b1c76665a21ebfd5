//! Blobs on disk: `blobs/sha256/<hex>`. A file gets that name only once all of it is on disk and its
//! digest is right; until then it is an upload.

use crate::access::random_hex;
use crate::error::Error;
use crate::store::DataFolder;
use axum::body::Body;
use futures::StreamExt;
use lineside_bundle::{Digest, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::fs::{self, File, OpenOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Largest blob in bytes.
const BLOB_BYTES_MAX: u64 = 2 << 30;
/// Uploads at the same time; the one that was begun first gives way.
const UPLOADS_MAX: usize = 64;
/// Bytes that are read at once when a digest is taken of a file.
const CHUNK_BYTES: usize = 128 << 10;

/// The blobs of one server.
#[derive(Debug, Clone)]
pub(crate) struct Blobs {
    blobs: PathBuf,
    uploads: PathBuf,
    /// Uploads that were begun, oldest first. Held while one of them is written.
    begun: Arc<tokio::sync::Mutex<Vec<Upload>>>,
}

#[derive(Debug, Clone)]
struct Upload {
    id: String,
    busy: Arc<tokio::sync::Mutex<()>>,
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
            fs::remove_file(entry.path()).await.map_err(Error::file(doing()))?;
        }
        Ok(Blobs { blobs: folder.join("blobs/sha256"), uploads, begun: Arc::default() })
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

    /// Begins an upload and gives its id.
    ///
    /// # Errors
    /// [`Error::File`].
    pub async fn begin(&self) -> Result<String, Error> {
        let id = random_hex()?;
        let path = self.uploads.join(&id);
        File::create_new(&path).await.map_err(|error| failed("write", &path, error))?;
        let mut begun = self.begun.lock().await;
        if begun.len() >= UPLOADS_MAX {
            let oldest = begun.remove(0);
            let _ = fs::remove_file(self.uploads.join(&oldest.id)).await;
        }
        begun.push(Upload { id: id.clone(), busy: Arc::default() });
        Ok(id)
    }

    /// Adds to an upload; gives the bytes it has now.
    ///
    /// # Errors
    /// [`Error::Missing`] if there is no such upload; [`Error::TooLarge`].
    pub async fn append(&self, id: &str, body: Body) -> Result<u64, Error> {
        let upload = self.find(id).await?;
        let _busy = upload.busy.lock().await;
        let path = self.uploads.join(&upload.id);
        let wrong = |error| failed("write", &path, error);
        let mut file = OpenOptions::new().append(true).open(&path).await.map_err(wrong)?;
        let mut size = file.metadata().await.map_err(wrong)?.len();
        let mut pieces = body.into_data_stream();
        while let Some(piece) = pieces.next().await {
            let piece = piece
                .map_err(|error| Error::Malformed(format!("the upload was cut off: {error}")))?;
            size += piece.len() as u64;
            if size > BLOB_BYTES_MAX {
                return Err(Error::TooLarge(format!("a blob has at most {BLOB_BYTES_MAX} bytes")));
            }
            file.write_all(&piece).await.map_err(wrong)?;
        }
        file.flush().await.map_err(wrong)?;
        Ok(size)
    }

    /// Ends an upload: if its digest is `expected`, it becomes a blob; otherwise it is removed.
    ///
    /// # Errors
    /// [`Error::Refused`] if the digest is another; [`Error::Missing`].
    pub async fn finish(&self, id: &str, expected: &Digest) -> Result<(), Error> {
        let upload = self.find(id).await?;
        let _busy = upload.busy.lock().await;
        let path = self.uploads.join(&upload.id);
        let placed = self.place(&path, expected).await;
        self.begun.lock().await.retain(|one| one.id != id);
        if placed.is_err() {
            let _ = fs::remove_file(&path).await;
        }
        placed
    }

    /// Takes a blob in one piece.
    ///
    /// # Errors
    /// As for [`Blobs::finish`].
    pub async fn put(&self, expected: &Digest, body: Body) -> Result<(), Error> {
        let id = self.begin().await?;
        match self.append(&id, body).await {
            Ok(_) => self.finish(&id, expected).await,
            Err(error) => {
                self.cancel(&id).await?;
                Err(error)
            }
        }
    }

    /// Gives an upload up.
    ///
    /// # Errors
    /// [`Error::Missing`] if there is no such upload.
    pub async fn cancel(&self, id: &str) -> Result<(), Error> {
        let upload = self.find(id).await?;
        self.begun.lock().await.retain(|one| one.id != upload.id);
        let _ = fs::remove_file(self.uploads.join(&upload.id)).await;
        Ok(())
    }

    async fn find(&self, id: &str) -> Result<Upload, Error> {
        let begun = self.begun.lock().await;
        let found = begun.iter().find(|one| one.id == id).cloned();
        found.ok_or_else(|| Error::Missing("there is no such upload: begin it again".into()))
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
        fs::rename(path, self.path(expected)).await.map_err(wrong)?;
        let folder = File::open(&self.blobs).await.map_err(wrong)?;
        folder.sync_all().await.map_err(wrong)
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.blobs.join(digest.hex())
    }
}

fn failed(verb: &str, path: &Path, source: io::Error) -> Error {
    Error::File { doing: format!("{verb} {}", path.display()), source }
}
