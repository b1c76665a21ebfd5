//! Where metadata comes from and where it is kept, and what the core must not do with either.

use super::error::{Fault, RepositoryError};
use super::rules::{not_back, promised, sound};
use lineside_bundle::Digest;
use sigstore_tuf::transport::FetchFuture;
use sigstore_tuf::{Error, Metadata, MetadataStore, Repository, Root, Snapshot};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A source of metadata that nobody has to trust.
pub trait Mirror: Send + Sync + 'static {
    /// The document `name` (`timestamp.json`, `2.snapshot.json`), `None` if there is none. Reads no
    /// more than `bytes_max` and a byte, however many are offered.
    ///
    /// # Errors
    /// Why there is no answer.
    fn fetch(&self, name: &str, bytes_max: u64) -> Result<Option<Vec<u8>>, Fault>;
}

/// The place where verified metadata is kept, by name: `snapshot.json`, `root_history/2.root.json`.
/// A name is made of letters, digits and `-_.~%`, with at most that one folder before it.
pub trait Shelf: Send + Sync + 'static {
    /// What was kept last under `name`.
    ///
    /// # Errors
    /// If there may be something and it cannot be read.
    fn load(&self, name: &str) -> Result<Option<Vec<u8>>, Fault>;

    /// Keeps `bytes` under `name`, in place of what was there. Once it returns they survive a power
    /// cut; a cut before leaves either the old or the new, whole.
    ///
    /// # Errors
    /// Why they could not be kept. Then nothing more is fetched.
    fn keep(&self, name: &str, bytes: &[u8]) -> Result<(), Fault>;
}

/// What stands between the core and our mirror and shelf.
///
/// The core goes on when its store fails. Here the first failure is noted, stops every further
/// fetch, and becomes the outcome; so a document is never trusted that was not written down, and
/// nothing that rests on it is written.
pub(super) struct Errand<M, S> {
    mirror: M,
    shelf: S,
    notes: Mutex<Notes>,
}

#[derive(Default)]
struct Notes {
    /// The document at hand.
    document: String,
    trouble: Option<RepositoryError>,
    /// The root that the core trusts by now.
    root: Option<Root>,
}

impl<M: Mirror, S: Shelf> Errand<M, S> {
    pub(super) fn new(mirror: M, shelf: S) -> Arc<Errand<M, S>> {
        Arc::new(Errand { mirror, shelf, notes: Mutex::default() })
    }

    /// The outcome of what the core did: its own, unless something was noted meanwhile.
    pub(super) fn settle<T>(&self, outcome: Result<T, Error>) -> Result<T, RepositoryError> {
        let mut notes = self.notes();
        match notes.trouble.take() {
            Some(trouble) => Err(trouble),
            None => outcome.map_err(|error| match error {
                // What a mirror cannot do is noted: here it has no such document.
                Error::Transport { .. } => {
                    RepositoryError::Absent { document: notes.document.clone() }
                }
                error => RepositoryError::of(&notes.document, error),
            }),
        }
    }

    fn fetch(&self, name: &str, bytes_max: u64) -> Result<Option<Vec<u8>>, RepositoryError> {
        // What is here already, byte for byte, need not travel again, whatever the mirror has now.
        if let Some((file, digest)) = promised(name, |name| self.load(name))?
            && let Some(bytes) = self.load(&file)?
            && Digest::of(&bytes) == digest
        {
            return Ok(Some(bytes));
        }
        let document = name.to_owned();
        match self.mirror.fetch(name, bytes_max) {
            Ok(Some(bytes)) if bytes.len() as u64 > bytes_max => {
                let bytes = bytes.len() as u64;
                Err(RepositoryError::Size { document, bytes, max: bytes_max })
            }
            Ok(answer) => Ok(answer),
            Err(source) => Err(RepositoryError::Mirror { document, source }),
        }
    }

    fn load(&self, name: &str) -> Result<Option<Vec<u8>>, RepositoryError> {
        let failed =
            |source| RepositoryError::Shelf { task: "read", document: name.into(), source };
        self.shelf.load(name).map_err(failed)
    }

    /// Keeps a document that the core has verified, if it also keeps to our rules.
    fn keep(&self, name: &str, bytes: &[u8]) -> Result<(), RepositoryError> {
        if is_second_name(name, bytes) {
            return Ok(());
        }
        sound(name, bytes)?;
        let before = self.load(name)?;
        let failed = |error| RepositoryError::of(name, error);
        if name == "root.json" {
            let root = Metadata::<Root>::from_slice(bytes).map_err(failed)?;
            self.notes().root = Some(root.into_signed());
        }
        if let ("snapshot.json", Some(before), Some(root)) = (name, &before, &self.notes().root) {
            let new = Metadata::<Snapshot>::from_slice(bytes).map_err(failed)?;
            not_back(root, before, new.signed())?;
        }
        // What is there already need not wear the medium again.
        if before.as_deref() == Some(bytes) {
            return Ok(());
        }
        let failed =
            |source| RepositoryError::Shelf { task: "keep", document: name.into(), source };
        self.shelf.keep(name, bytes).map_err(failed)
    }

    /// Does `task` unless something went wrong before; what goes wrong now is noted.
    fn unless_in_trouble<T>(
        &self,
        task: impl FnOnce() -> Result<T, RepositoryError>,
    ) -> Result<T, Error> {
        let stopped = || Error::transport("stopped");
        if self.notes().trouble.is_some() {
            return Err(stopped());
        }
        task().map_err(|error| {
            self.notes().trouble = Some(error);
            stopped()
        })
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether this is a snapshot under its versioned name. The core offers it under that one as well,
/// and nobody would ever read it. (A delegated role may be called `2.snapshot` too.)
fn is_second_name(name: &str, bytes: &[u8]) -> bool {
    let version = name.strip_suffix(".snapshot.json").unwrap_or_default();
    !version.is_empty()
        && version.bytes().all(|byte| byte.is_ascii_digit())
        && Metadata::<Snapshot>::from_slice(bytes).is_ok()
}

/// The core's two ends of an [`Errand`].
pub(super) struct Link<M, S>(pub(super) Arc<Errand<M, S>>);

impl<M: Mirror, S: Shelf> Repository for Link<M, S> {
    fn fetch_metadata<'a>(&'a self, name: &'a str, max_length: u64) -> FetchFuture<'a> {
        let answer = self.0.unless_in_trouble(|| {
            self.0.notes().document = name.to_owned();
            self.0.fetch(name, max_length)
        });
        Box::pin(std::future::ready(answer))
    }

    fn fetch_target<'a>(&'a self, _: &'a str, _: u64) -> FetchFuture<'a> {
        // Files are streamed by whoever asked for a `TrustedFile`; the core would hold them whole.
        Box::pin(std::future::ready(Ok(None)))
    }
}

impl<M: Mirror, S: Shelf> MetadataStore for Link<M, S> {
    fn load(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        self.0.unless_in_trouble(|| self.0.load(name))
    }

    fn store(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        self.0.unless_in_trouble(|| self.0.keep(name, bytes))
    }
}
