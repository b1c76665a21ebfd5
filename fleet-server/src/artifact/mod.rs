//! Artifacts: blobs named by their digest, and the manifests that name them.

mod belonging;
mod blobs;
mod brought;
mod deltas;
mod manifests;
mod outstanding;
mod parts;
mod referrers;
mod scrub;
mod sweeping;

pub(crate) use belonging::Opened;
pub(crate) use blobs::{Blobs, OpenBlob};
pub(crate) use deltas::Deltas;
pub(crate) use manifests::Artifacts;
pub(crate) use outstanding::Outstanding;
