//! Artifacts: blobs named by their digest, and the manifests that name them.

mod blobs;
mod brought;
mod deltas;
mod manifests;
mod outstanding;
mod parts;
mod scrub;

pub(crate) use blobs::{Blobs, OpenBlob};
pub(crate) use deltas::Deltas;
pub(crate) use manifests::{Artifacts, MANIFEST_BYTES_MAX};
pub(crate) use outstanding::Outstanding;
