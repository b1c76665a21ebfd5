//! Blobs that are made of older ones by a recipe.
//!
//! What is made is written to `<hex>.made`, and starts from nothing after a power cut.

use super::{BlobError, Blobs, MADE, PIECE_BYTES, writing};
use crate::failpoint;
use crate::update::disk::DiskFile;
use lineside_bundle::Digest;
use lineside_delta::ApplyError;
use std::io::{self, BufReader, Read, Write};
use std::path::Path;

impl Blobs {
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
            let _ = self.disk.remove(&path);
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
        match self.disk.remove(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(ApplyError::Write(error));
            }
            _ => {}
        }
        let mut out =
            Cancellable { file: self.disk.append(path).map_err(ApplyError::Write)?, cancelled };
        let recipe = BufReader::with_capacity(PIECE_BYTES, recipe);
        lineside_delta::apply(base, recipe, size, &mut out)?;
        failpoint::pass("blobs.made").and_then(|()| out.file.sync()).map_err(ApplyError::Write)
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const NEVER: &dyn Fn() -> bool = &|| false;

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
}
