//! What arrives by hand: takes the blobs that verified documents name out of a file.

use crate::update::blobs::{BlobError, Blobs, ByHand};
use crate::update::server::{SLOW_MAX, Steady};
use crate::update::stage::{self, StageError};
use lineside_bundle::archive::ArchiveError;
use lineside_bundle::parcel::{self, Papers};
use lineside_bundle::{Digest, ReleaseId};
use lineside_wire::name::DeviceId;
use rustix::fs::OFlags;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

/// Bytes that are read of a file at once.
const PIECE_BYTES: usize = 64 << 10;
/// How long a file may give nothing.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// Why a file brought nothing.
#[derive(Debug, thiserror::Error)]
pub enum ParcelError {
    /// It cannot be opened.
    #[error("cannot read {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is no parcel, or a damaged one.
    #[error("{} cannot be used", path.display())]
    Contents {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ArchiveError,
    },
    /// A blob of it did not get onto the disk.
    #[error("cannot take a blob out of the file")]
    Blob(#[from] BlobError),
}

impl From<ArchiveError> for ParcelError {
    fn from(source: ArchiveError) -> ParcelError {
        ParcelError::Contents { path: PathBuf::new(), source }
    }
}

/// Reads the documents that the file at `path` has for `device`. They have still to be verified.
///
/// # Errors
/// [`ParcelError::Open`], [`ParcelError::Contents`].
pub fn papers(path: &Path, device: &DeviceId) -> Result<Papers, ParcelError> {
    parcel::papers(open(path)?, device.as_str()).map_err(|error| of(path, error.into()))
}

/// How far a file is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    /// Until all that is wanted was found.
    Found,
    /// To its end, whatever it has: one that was cut is a bad copy, even if the rest lies here already.
    End,
}

/// Takes the blobs of `releases` out of the file at `path`, as far as it has them and the store has
/// not. Returns the releases that are not whole then, and why.
///
/// # Errors
/// [`ParcelError`]; blobs that were taken stay.
pub fn unpack<'a>(
    path: &Path,
    releases: &'a BTreeSet<ReleaseId>,
    blobs: &Blobs,
    by_hand: &ByHand,
) -> Result<Vec<(&'a ReleaseId, StageError)>, ParcelError> {
    let manifests = releases.iter().map(|release| (release.digest, release.size)).collect();
    take(path, &manifests, Until::Found, blobs, by_hand)?;
    let mut wanted = BTreeMap::new();
    for release in releases {
        // One whose manifest is not in the file may be on the server.
        if let Ok(oci) = stage::oci_manifest(release, blobs) {
            wanted.extend(oci.blobs().map(|blob| (blob.digest, blob.size)));
        }
    }
    take(path, &wanted, Until::End, blobs, by_hand)?;
    let failed = |release| stage::load(release, blobs).err().map(|error| (release, error));
    Ok(releases.iter().filter_map(failed).collect())
}

/// Takes the blobs that are wanted and not there, comparing every byte with what was signed.
fn take(
    path: &Path,
    wanted: &BTreeMap<Digest, u64>,
    until: Until,
    blobs: &Blobs,
    by_hand: &ByHand,
) -> Result<(), ParcelError> {
    let mut lacking: BTreeMap<_, _> =
        wanted.iter().filter(|(digest, size)| !blobs.holds(digest, **size)).collect();
    blobs.check_space(lacking.values().copied().fold(0, |sum, size| sum.saturating_add(*size)))?;
    let next = |lacking: &BTreeMap<_, _>| match until {
        Until::Found if lacking.is_empty() => ControlFlow::Break(()),
        Until::Found | Until::End => ControlFlow::Continue(()),
    };
    if next(&lacking).is_break() {
        return Ok(());
    }
    let never = || false;
    parcel::blobs(open(path)?, |digest, size, source| {
        let Some(expected) = lacking.remove(&digest) else { return Ok(next(&lacking)) };
        let claim = by_hand.claim(&digest);
        if size != *expected || claim.holds(size) {
            return Ok(next(&lacking));
        }
        // What a broken download left is replaced by what lies at hand, whole.
        blobs.forget_partial(&digest)?;
        match blobs.receive(&digest, size, source, &never)? {
            true => Ok(next(&lacking)),
            false => {
                let got = blobs.partial_bytes(&digest);
                Err(BlobError::Cut { digest, got, size, source: None }.into())
            }
        }
    })
    .map_err(|error| of(path, error))
}

/// Opens a regular file, to be read with patience, but not for ever, be it silent or drip.
fn open(path: &Path) -> Result<Steady<Patient>, ParcelError> {
    let file = path.to_owned();
    let opened = Patient::read(move || regular(&file), SILENCE_MAX);
    let steady = opened.map(|patient| Steady::new(patient, SLOW_MAX));
    steady.map_err(|source| ParcelError::Open { path: path.to_owned(), source })
}

/// Opens a regular file. Anything else may have no end, or keep whoever opens it waiting for ever.
pub(super) fn regular(path: &Path) -> io::Result<File> {
    let no_wait = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(no_wait).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("it is no regular file")),
    }
}

/// A reader that is not kept waiting by a medium that has gone: a stick that was pulled out, a share
/// whose server is away. Meanwhile nothing else could be put in.
///
/// A thread of its own reads. If that hangs it hangs, and holds nothing that anybody else needs.
struct Patient {
    pieces: Receiver<io::Result<Vec<u8>>>,
    silence_max: Duration,
    piece: io::Cursor<Vec<u8>>,
}

impl Patient {
    /// Opens a source and reads it to its end.
    fn read<R: Read>(
        open: impl FnOnce() -> io::Result<R> + Send + 'static,
        silence_max: Duration,
    ) -> io::Result<Patient> {
        let (give, pieces) = mpsc::sync_channel(1);
        thread::Builder::new().name("parcel".into()).spawn(move || {
            let mut source = match open() {
                Ok(source) => source,
                Err(error) => return drop(give.send(Err(error))),
            };
            // The first, empty one says that it is open; the last, empty one that this is its end.
            let mut piece = Ok(Vec::new());
            loop {
                let is_last = piece.is_err();
                if give.send(piece).is_err() || is_last {
                    return;
                }
                let mut bytes = vec![0; PIECE_BYTES];
                piece = source.read(&mut bytes).map(|read| {
                    bytes.truncate(read);
                    bytes
                });
            }
        })?;
        let mut patient = Patient { pieces, silence_max, piece: io::Cursor::default() };
        patient.next()?;
        Ok(patient)
    }

    fn next(&mut self) -> io::Result<()> {
        let piece = self.pieces.recv_timeout(self.silence_max).map_err(|_| {
            let seconds = self.silence_max.as_secs();
            let silent = format!("it has given nothing for {seconds} seconds");
            io::Error::new(io::ErrorKind::TimedOut, silent)
        })?;
        self.piece = io::Cursor::new(piece?);
        Ok(())
    }
}

impl Read for Patient {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.piece.position() == self.piece.get_ref().len() as u64 {
            self.next()?;
        }
        self.piece.read(bytes)
    }
}

fn of(path: &Path, error: ParcelError) -> ParcelError {
    match error {
        ParcelError::Contents { source, .. } => {
            ParcelError::Contents { path: path.to_owned(), source }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_file_is_read_to_its_end_and_no_longer_waited_for_when_its_medium_is_gone() {
        let (mut far, near) = UnixStream::pair().unwrap();
        let bytes = vec![7; 3 * PIECE_BYTES + 5];
        let written = bytes.clone();
        let writer = thread::spawn(move || {
            far.write_all(&written).unwrap();
            far
        });
        let silence_max = Duration::from_millis(200);
        let mut patient = Patient::read(move || Ok(near), silence_max).unwrap();
        let mut read = vec![0; bytes.len()];
        patient.read_exact(&mut read).unwrap();
        assert_eq!(read, bytes);
        let far = writer.join().unwrap();
        let error = patient.read(&mut read).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
        drop(far);

        let mut short = Patient::read(|| Ok(&b"short"[..]), SILENCE_MAX).unwrap();
        let mut read = String::new();
        short.read_to_string(&mut read).unwrap();
        assert_eq!(read, "short");
        assert_eq!(short.read(&mut [0]).unwrap(), 0);
        let missing = || Err::<File, _>(io::ErrorKind::NotFound.into());
        let error = Patient::read(missing, SILENCE_MAX).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_file_that_cannot_even_be_opened_for_a_minute_keeps_nobody() {
        let (far, mut near) = UnixStream::pair().unwrap();
        let hanging = move || near.read(&mut [0]).map(|_| io::empty());
        let error = Patient::read(hanging, Duration::from_millis(50)).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(far);
    }
}
