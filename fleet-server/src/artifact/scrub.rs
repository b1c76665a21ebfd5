//! Blobs that rot: a disk may give other bytes than it was given, and devices refuse those for ever,
//! while whoever pushes the bundle again is told that everything is here.

use crate::artifact::Blobs;
use crate::error::Error;
use lineside_bundle::{Digest, Hasher};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;

/// Bytes that are read at once.
const PIECE_BYTES: usize = 128 << 10;

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Scrubbed {
    /// Blobs that had rotted. They are removed.
    pub rotten: Vec<Digest>,
    /// The blob to go on after; none at the end.
    pub last: Option<Digest>,
}

impl Blobs {
    /// Takes the digests of blobs again, of those after `last` in their order, until `bytes_max` are
    /// read. What is wrong twice is removed, so that it can be pushed again.
    ///
    /// # Errors
    /// [`Error::File`] if the folder cannot be read. A file that cannot be read stays: it may be
    /// another time.
    pub fn scrub(&self, last: Option<Digest>, bytes_max: u64) -> Result<Scrubbed, Error> {
        let folder = self.folder();
        let reading = |error| Error::file(format!("read {}", folder.display()))(error);
        let mut digests = Vec::new();
        for entry in fs::read_dir(folder).map_err(reading)? {
            let name = entry.map_err(reading)?.file_name();
            digests.extend(format!("sha256:{}", name.to_string_lossy()).parse::<Digest>());
        }
        digests.sort_unstable();
        let mut scrubbed = Scrubbed::default();
        let mut bytes = 0;
        for digest in digests.into_iter().filter(|digest| last.is_none_or(|last| *digest > last)) {
            if bytes >= bytes_max {
                return Ok(scrubbed);
            }
            scrubbed.last = Some(digest);
            let looked_at = self.found(&digest).and_then(|found| {
                bytes += found.bytes;
                if found.digest == digest {
                    return Ok(false);
                }
                let again = self.found(&digest)?;
                Ok(again.digest != digest && self.remove_if_same(&digest, &again.file)?)
            });
            match looked_at {
                Ok(false) => {}
                Ok(true) => scrubbed.rotten.push(digest),
                // It was swept meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => tracing::error!("blob {digest} cannot be read: {error}"),
            }
        }
        scrubbed.last = None;
        Ok(scrubbed)
    }

    /// What is in a blob's place.
    fn found(&self, digest: &Digest) -> io::Result<Found> {
        let mut file = File::open(self.path(digest))?;
        let (mut hasher, mut bytes) = (Hasher::default(), 0);
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let read = file.read(&mut piece)?;
            if read == 0 {
                return Ok(Found { digest: hasher.finish(), bytes, file });
            }
            hasher.update(&piece[..read]);
            bytes += read as u64;
        }
    }

    /// Removes a blob if it is still this very file: somebody may have pushed it again since that was read.
    /// Whether it was.
    fn remove_if_same(&self, digest: &Digest, file: &File) -> io::Result<bool> {
        let path = self.path(digest);
        let which = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        let _placing = self.placing();
        if which(fs::metadata(&path)?) != which(file.metadata()?) {
            return Ok(false);
        }
        fs::remove_file(&path)?;
        Ok(true)
    }
}

/// A file in a blob's place, and what it has.
struct Found {
    digest: Digest,
    bytes: u64,
    file: File,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::DataFolder;
    use axum::body::Body;

    #[tokio::test]
    async fn what_has_rotted_is_found_in_its_turn_and_nothing_else_is_touched() {
        let place = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(place.path()).unwrap();
        let blobs = Blobs::open(&folder).await.unwrap();
        let mut digests = Vec::new();
        for number in 0..6_u8 {
            let bytes = vec![number; 10];
            let digest = Digest::of(&bytes);
            blobs.put(&digest, Body::from(bytes)).await.unwrap();
            digests.push(digest);
        }
        digests.sort_unstable();
        fs::write(blobs.path(&digests[3]), b"ten bytes!").unwrap();
        // Two at a time.
        let (mut last, mut rotten) = (None, Vec::new());
        for round in 0..3 {
            let scrubbed = blobs.scrub(last, 20).unwrap();
            rotten.extend(scrubbed.rotten);
            last = scrubbed.last;
            assert_eq!(last, digests.get(2 * round + 1).filter(|_| round < 2).copied());
        }
        assert_eq!(rotten, [digests[3]]);
        for (at, digest) in digests.iter().enumerate() {
            assert_eq!(blobs.size(digest).await.is_some(), at != 3);
        }
        assert_eq!(blobs.scrub(None, u64::MAX).unwrap(), Scrubbed::default());
    }

    #[tokio::test]
    async fn what_was_pushed_anew_while_the_rotten_one_was_read_stays() {
        let place = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(place.path()).unwrap();
        let blobs = Blobs::open(&folder).await.unwrap();
        let digest = Digest::of(b"a model");
        blobs.put(&digest, Body::from("a model")).await.unwrap();
        fs::write(blobs.path(&digest), b"rotten!").unwrap();
        let rotten = blobs.found(&digest).unwrap();
        assert_ne!(rotten.digest, digest);
        blobs.put(&digest, Body::from("a model")).await.unwrap();
        assert!(!blobs.remove_if_same(&digest, &rotten.file).unwrap());
        let there = blobs.found(&digest).unwrap();
        assert_eq!(there.digest, digest);
        assert!(blobs.remove_if_same(&digest, &there.file).unwrap());
        assert_eq!(blobs.size(&digest).await, None);
    }
}
