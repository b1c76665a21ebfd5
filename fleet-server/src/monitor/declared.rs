//! What a release declares of itself, from its manifest: what is watched of it, and what its work is worth.

use crate::artifact::Artifacts;
use crate::error::Error;
use lineside_bundle::{BundleFile, Digest, MANIFEST_BYTES_MAX, Manifest, OciManifest};
use lineside_wire::v1::ReleaseRef;

/// The description of a release's bundle; none where it is not here any more, or cannot be read.
///
/// # Errors
/// [`Error::Database`] or [`Error::File`].
pub(super) async fn description(
    artifacts: &Artifacts,
    release: &ReleaseRef,
) -> Result<Option<BundleFile>, Error> {
    let digest = Digest::from(release.digest).to_string();
    let manifest = match artifacts.get(&release.name, &digest).await {
        Ok(manifest) => manifest,
        Err(Error::Missing(_)) => return Ok(None),
        Err(error) => return Err(error),
    };
    let Ok(parsed) = OciManifest::parse(&manifest.bytes) else { return Ok(None) };
    let bytes = artifacts.blobs.read(&parsed.config.digest, MANIFEST_BYTES_MAX).await?;
    Ok(bytes.and_then(|bytes| Manifest::parse(&bytes).ok()).map(|manifest| manifest.bundle))
}
