//! What a manifest names.

use crate::artifact::Blobs;
use crate::error::Error;
use lineside_bundle::referrer::{DELTA_FROM, DELTA_TYPE, Referrer};
use lineside_bundle::{Descriptor, Digest, MANIFEST_BYTES_MAX, OciManifest, VERSION};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Digests that are remembered of all manifests together: 8 MiB of them. Beyond it they are read anew.
const DIGESTS_MAX: usize = 256 << 10;

/// What matters of a manifest here.
pub(super) struct Parts {
    pub blobs: Vec<Descriptor>,
    pub subject: Option<Digest>,
    /// The version that a bundle's says it is of.
    pub version: Option<String>,
    pub base: Base,
}

/// What a delta is made from: with the release that it makes, it tells what is in that one.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Base {
    /// It is no delta.
    #[default]
    None,
    /// The manifest of a release.
    Of(Digest),
    /// A delta does not say it, or not so that it can be read.
    Unsaid,
}

impl Base {
    fn of(referrer: &Referrer) -> Base {
        if referrer.kind() != DELTA_TYPE {
            return Base::None;
        }
        let said = referrer.annotations.get(DELTA_FROM);
        said.and_then(|from| from.parse().ok()).map_or(Base::Unsaid, Base::Of)
    }
}

/// Reads the manifest of a bundle, or of what refers to something.
pub(super) fn parts(bytes: &[u8]) -> Result<Parts, String> {
    /// Whether a manifest refers to another one.
    #[derive(Deserialize)]
    struct Peek {
        subject: Option<serde_json::Value>,
    }
    let refers = serde_json::from_slice(bytes).is_ok_and(|peek: Peek| peek.subject.is_some());
    if refers {
        let referrer = Referrer::parse(bytes)?;
        let (blobs, base) = (referrer.blobs().cloned().collect(), Base::of(&referrer));
        return Ok(Parts { blobs, subject: Some(referrer.subject.digest), version: None, base });
    }
    let bundle = OciManifest::parse(bytes)?;
    let blobs = bundle.blobs().cloned().collect();
    let version = bundle.annotations.get(VERSION).cloned();
    Ok(Parts { blobs, subject: None, version, base: Base::None })
}

/// What is remembered of a manifest.
#[derive(Debug, Default)]
pub(super) struct Content {
    pub blobs: BTreeSet<Digest>,
    pub version: Option<String>,
    pub base: Base,
}

/// Which blobs manifests name, by the digests of these: what has a digest never says anything else, so each
/// is read and parsed once and not for each blob that somebody asks for.
#[derive(Debug, Clone, Default)]
pub(super) struct Contents {
    read: Arc<Mutex<Read>>,
}

#[derive(Debug, Default)]
struct Read {
    manifests: BTreeMap<Digest, Arc<Content>>,
    digests: usize,
}

impl Contents {
    /// What a manifest says: nothing if it is not here, or is no manifest.
    ///
    /// # Errors
    /// [`Error::File`].
    pub async fn get(&self, blobs: &Blobs, manifest: &Digest) -> Result<Arc<Content>, Error> {
        let known = self.lock().manifests.get(manifest).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let Some(bytes) = blobs.read(manifest, MANIFEST_BYTES_MAX).await? else {
            return Ok(Arc::default());
        };
        let content = parts(&bytes).map(|parts| Content {
            blobs: parts.blobs.into_iter().map(|blob| blob.digest).collect(),
            version: parts.version,
            base: parts.base,
        });
        let content = Arc::new(content.unwrap_or_default());
        // A disk that fails may give other bytes than it was given: those are nobody's to remember.
        if Digest::of(&bytes) == *manifest {
            let mut read = self.lock();
            let digests = 1 + content.blobs.len();
            if read.digests + digests > DIGESTS_MAX {
                *read = Read::default();
            }
            read.digests += digests;
            read.manifests.insert(*manifest, content.clone());
        }
        Ok(content)
    }

    fn lock(&self) -> MutexGuard<'_, Read> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
