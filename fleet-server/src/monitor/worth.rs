//! What a release declares its work to be worth, from its manifest.

use crate::artifact::Artifacts;
use crate::error::Error;
use lineside_bundle::{Digest, MANIFEST_BYTES_MAX, Manifest, OciManifest, Value};
use lineside_wire::v1::ReleaseRef;

/// What a release declares; none where it declares nothing, or is not here any more.
///
/// # Errors
/// [`Error::Database`] or [`Error::File`].
pub(super) async fn declared(
    artifacts: &Artifacts,
    release: &ReleaseRef,
) -> Result<Option<Value>, Error> {
    let digest = Digest::from(release.digest).to_string();
    let manifest = match artifacts.get(&release.name, &digest).await {
        Ok(manifest) => manifest,
        Err(Error::Missing(_)) => return Ok(None),
        Err(error) => return Err(error),
    };
    let Ok(parsed) = OciManifest::parse(&manifest.bytes) else { return Ok(None) };
    let bytes = artifacts.blobs.read(&parsed.config.digest, MANIFEST_BYTES_MAX).await?;
    let manifest = bytes.and_then(|bytes| Manifest::parse(&bytes).ok());
    Ok(manifest.map(|manifest| manifest.bundle.value).filter(|value| !value.is_empty()))
}
