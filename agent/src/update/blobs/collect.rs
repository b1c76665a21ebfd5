//! Blobs that nobody needs any more leave.

use super::{BlobError, Blobs, writing};
use crate::failpoint;
use lineside_bundle::Digest;
use std::collections::BTreeSet;

impl Blobs {
    /// Removes every blob and partial that `kept` does not name and nobody is putting in. Returns how
    /// many.
    ///
    /// `kept` is asked once nobody can begin to put one in; if it does not know, nothing is removed.
    ///
    /// # Errors
    /// [`BlobError`]; what could be removed has been.
    pub fn collect(
        &self,
        kept: impl FnOnce() -> Option<BTreeSet<Digest>>,
    ) -> Result<usize, BlobError> {
        let _alone = self.collecting();
        let claimed = self.claims().claimed.clone();
        let Some(kept) = kept() else { return Ok(0) };
        self.remove_others(&kept.union(&claimed).map(Digest::hex).collect())
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    const NEVER: &dyn Fn() -> bool = &|| false;

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
    fn what_is_being_fetched_is_not_collected_and_nothing_is_begun_meanwhile() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path()).unwrap();
        let (busy, next) = (Digest::of(b"busy"), Digest::of(b"next"));
        let claim = blobs.claim(&busy, NEVER).unwrap();
        assert!(!blobs.receive(&busy, 4, &b"bu"[..], NEVER).unwrap());
        let looked = Cell::new(0);
        let removed = blobs.collect(|| {
            // It waits, as long as it is wanted.
            let wanted = || looked.replace(looked.get() + 1) > 0;
            assert!(matches!(blobs.claim(&next, &wanted), Err(BlobError::Cancelled)));
            Some(BTreeSet::new())
        });
        assert_eq!((removed.unwrap(), looked.get()), (0, 2));
        assert!(blobs.receive(&busy, 4, &b"sy"[..], NEVER).unwrap());
        drop(claim);
        assert!(blobs.claim(&next, NEVER).is_ok());
        assert_eq!(blobs.collect(|| Some(BTreeSet::new())).unwrap(), 1);
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
