//! Recipes in place of blobs: what a server offers by which a blob can be made of one that is here.
//!
//! Nothing here is trusted. Whatever a recipe makes becomes a blob only if it has the digest that was
//! signed; whatever goes wrong, the blob itself is fetched.

use crate::update::blobs::{BlobError, Blobs};
use crate::update::download::DownloadError;
use crate::update::server::Server;
use lineside_bundle::referrer::{
    DELTA_BASE, DELTA_FROM_VERSION, DELTA_TARGET, DELTA_TYPE, INDEX_TYPE, RECIPE_TYPE, Referrer,
    Referrers,
};
use lineside_bundle::{
    BundleVersion, Descriptor, Digest, MANIFEST_BYTES_MAX, MANIFEST_TYPE, ReleaseId,
};
use lineside_delta::Base;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, PoisonError};

/// Largest list of referrers that is read, in bytes.
const LIST_BYTES_MAX: u64 = 1 << 20;
/// Deltas to one release that are looked at.
const DELTAS_MAX: usize = 16;
/// Recipes for one blob that are tried, the smallest.
pub(super) const OFFERS_MAX: usize = 3;
/// Recipes for one release that may fail. Then its blobs are fetched whole.
pub(super) const FAILURES_MAX: u32 = 3;
/// Blobs below this size are fetched whole: asking for a delta takes as many bytes.
pub(super) const WORTH_BYTES_MIN: u64 = 16 << 10;
/// How often a recipe that does not arrive is tried, because the network may be to blame.
const TRIES_MAX: u32 = 3;
/// Recipes and releases that are remembered not to have been of use. Then all are forgotten, and tried
/// again.
const MISFITS_MAX: usize = 1_000;

/// A recipe that a server offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Offer {
    /// The recipe.
    pub(super) recipe: Digest,
    /// Its size in bytes.
    pub(super) size: u64,
    /// The blob that it is applied to.
    pub(super) base: Digest,
    /// The release that had that one, for people.
    pub(super) from: Option<BundleVersion>,
}

/// Recipes by the blob that they make, smallest first.
pub(super) type Offers = BTreeMap<Digest, Vec<Offer>>;

/// What a server offers for a release. One that offers nothing, or nonsense, offers nothing.
///
/// # Errors
/// [`DownloadError::Unreachable`], and those that say that nothing is fetched now.
pub(super) fn offers(
    server: &Server,
    release: &ReleaseId,
    cancelled: &dyn Fn() -> bool,
) -> Result<Offers, DownloadError> {
    let (name, digest) = (&release.name, &release.digest);
    let path = format!("/v2/{name}/referrers/{digest}?artifactType={DELTA_TYPE}");
    let list = useful(server.document(&path, INDEX_TYPE, LIST_BYTES_MAX, cancelled))?;
    let list = list.and_then(|bytes| serde_json::from_slice::<Referrers>(&bytes).ok());
    let listed = list.into_iter().flat_map(|list| list.manifests);
    let mut offers = Offers::new();
    for delta in listed.filter(|listed| listed.artifact_type == DELTA_TYPE).take(DELTAS_MAX) {
        let path = format!("/v2/{name}/manifests/{}", delta.digest);
        let bytes = useful(server.document(&path, MANIFEST_TYPE, MANIFEST_BYTES_MAX, cancelled))?;
        let bytes = bytes.filter(|bytes| Digest::of(bytes) == delta.digest);
        let Some(delta) = bytes.and_then(|bytes| Referrer::parse(&bytes).ok()) else { continue };
        let from = delta.annotations.get(DELTA_FROM_VERSION).and_then(|from| from.parse().ok());
        for (target, base, recipe) in delta.layers.iter().filter_map(read) {
            let (recipe, size) = (recipe.digest, recipe.size);
            offers.entry(target).or_default().push(Offer {
                recipe,
                size,
                base,
                from: from.clone(),
            });
        }
    }
    for offers in offers.values_mut() {
        offers.sort_by_key(|offer| offer.size);
    }
    Ok(offers)
}

/// What a recipe makes, and of what.
fn read(recipe: &Descriptor) -> Option<(Digest, Digest, &Descriptor)> {
    let digest = |name| recipe.annotations.get(name)?.parse().ok();
    (recipe.media_type == RECIPE_TYPE).then_some(())?;
    Some((digest(DELTA_TARGET)?, digest(DELTA_BASE)?, recipe))
}

/// A server that knows no referrers is no reason not to update; one that is not there is tried again
/// soon, because what it may offer saves more than the wait costs.
fn useful(
    answer: Result<Option<Vec<u8>>, DownloadError>,
) -> Result<Option<Vec<u8>>, DownloadError> {
    match answer {
        Err(error @ DownloadError::Unreachable { .. }) => Err(error),
        Err(error) if error.is_not_now() => Err(error),
        Err(error) => {
            tracing::debug!("no deltas: {error}");
            Ok(None)
        }
        Ok(answer) => Ok(answer),
    }
}

/// A blob that recipes are applied to.
pub(super) struct BaseFile {
    file: File,
    bytes: u64,
}

impl BaseFile {
    /// The blob, if it is here as it was signed.
    pub(super) fn open(blobs: &Blobs, digest: &Digest) -> Option<BaseFile> {
        blobs.open_verified(digest).map(|(file, bytes)| BaseFile { file, bytes })
    }
}

impl Base for BaseFile {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn read_at(&self, from: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, from)
    }
}

/// What was of no use: recipes, and lists of them. Forgotten when the agent stops.
#[derive(Debug, Default)]
pub(super) struct Misfits(Mutex<BTreeMap<Digest, u32>>);

impl Misfits {
    /// Whether it is not to be tried any more.
    pub(super) fn has(&self, digest: &Digest) -> bool {
        self.lock().get(digest).is_some_and(|tries| *tries >= TRIES_MAX)
    }

    /// Notes that something failed. Returns whether it may be tried again: what may be the network's
    /// or the disk's fault, a few times; what is its own, never.
    pub(super) fn note(&self, digest: &Digest, error: &DownloadError) -> bool {
        let passes = match error {
            DownloadError::Unreachable { .. } | DownloadError::UsedUp { .. } => true,
            DownloadError::Blob(error) => match error {
                BlobError::Cut { .. }
                | BlobError::Write { .. }
                | BlobError::Read { .. }
                | BlobError::NoSpace { .. }
                | BlobError::Cancelled => true,
                BlobError::Wrong { .. } | BlobError::Unmade { .. } => false,
            },
            DownloadError::Status { .. }
            | DownloadError::TooLarge { .. }
            | DownloadError::Redirected { .. }
            | DownloadError::Token { .. }
            | DownloadError::Release(_)
            | DownloadError::Unfit(_)
            | DownloadError::Off(_) => false,
        };
        self.count(digest, if passes { 1 } else { TRIES_MAX }) < TRIES_MAX
    }

    /// Notes that something is not to be tried any more.
    pub(super) fn give_up(&self, digest: &Digest) {
        self.count(digest, TRIES_MAX);
    }

    fn count(&self, digest: &Digest, more: u32) -> u32 {
        let mut misfits = self.lock();
        if misfits.len() >= MISFITS_MAX {
            misfits.clear();
        }
        let tries = misfits.entry(*digest).or_default();
        *tries = tries.saturating_add(more);
        *tries
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Digest, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
