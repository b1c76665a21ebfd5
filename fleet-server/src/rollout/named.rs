//! Releases as rollouts name them, `turbine@sha256:…`: two are the same where name and digest are. People write
//! `turbine/2`, and what that stands for may be signed anew.

use crate::error::Error;
use crate::registry::ReleaseShown;
use crate::release::Released;
use lineside_bundle::{Digest, ReleaseId};
use lineside_trust::SignedRelease;
use lineside_wire::v1::ReleaseRef;

/// A release that a device has told of.
pub(super) fn told(release: &ReleaseShown) -> String {
    format!("{}@{}", release.name, release.digest)
}

/// A release that an event of a device is about.
pub(super) fn spoken_of(release: &ReleaseRef) -> String {
    format!("{}@{}", release.name, Digest::from(release.digest))
}

/// A release that people have signed.
pub(super) fn signed(id: &ReleaseId) -> String {
    format!("{}@{}", id.name, id.digest)
}

/// The release that people call `turbine/2`.
///
/// # Errors
/// [`Error::Missing`] if it is not released.
pub(super) fn released(path: &str, released: &Released) -> Result<String, Error> {
    let release = released.get(path).ok_or_else(|| {
        Error::Missing(format!(
            "{path:?} is not released: name a release as in turbine/2, `lineside release` publishes one"
        ))
    })?;
    Ok(signed(&release.id))
}

/// The release that is signed now under what rollouts call it.
pub(super) fn find<'a>(release: &str, released: &'a Released) -> Option<&'a SignedRelease> {
    released.iter().find(|one| signed(&one.id) == release)
}

/// What people call it: `turbine/2`, or what rollouts call it where it is not signed any more.
pub(super) fn shown(release: &str, released: Option<&Released>) -> String {
    let found = released.and_then(|released| find(release, released));
    found.map_or_else(|| release.to_owned(), SignedRelease::path)
}
