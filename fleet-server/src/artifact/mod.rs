//! Artifacts: blobs named by their digest, and the manifests that name them.

mod blobs;
mod manifests;

pub(crate) use blobs::{Blobs, OpenBlob};
pub(crate) use manifests::{Artifacts, MANIFEST_BYTES_MAX};
