//! What strangers may send to a device, and what must hold whatever it is: one function for each kind
//! of bytes. Fuzz targets call them, and an ordinary test with everything in `corpus/`.
//!
//! A function says whether the bytes were good. It panics where a promise is broken.

mod bundles;
#[cfg(feature = "models")]
mod giants;
mod identity;
mod journal;
mod messages;
#[cfg(feature = "models")]
mod models;
#[cfg(feature = "models")]
#[path = "../../../crates/cli/src/model/npy.rs"]
mod npy;
mod oip;
mod recipe;
mod signer;
mod sketch;
mod trust;

pub use bundles::{bundle, oci, parcel};
pub use identity::{certificate, request};
pub use journal::journal;
pub use messages::envelope;
#[cfg(feature = "models")]
pub use models::{model, tensors as tensor};
pub use oip::inference;
pub use recipe::recipe;
pub use sketch::sketch;
pub use trust::{assignment, canonical, metadata};

/// A kind of bytes.
pub struct Target {
    /// Its name: of the fuzz target, and of the folder below `corpus/`.
    pub name: &'static str,
    /// Tries some bytes. Says whether they were good.
    pub attempt: fn(&[u8]) -> bool,
    /// Bytes that are good, to begin from.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// Every kind.
pub const TARGETS: &[Target] = &[
    Target { name: "assignment", attempt: assignment, seeds: trust::assignments },
    Target { name: "bundle", attempt: bundle, seeds: bundles::bundles },
    Target { name: "canonical", attempt: canonical, seeds: trust::values },
    Target { name: "certificate", attempt: certificate, seeds: identity::certificates },
    Target { name: "envelope", attempt: envelope, seeds: messages::messages },
    Target { name: "inference", attempt: inference, seeds: oip::bodies },
    Target { name: "journal", attempt: journal, seeds: journal::states },
    Target { name: "metadata", attempt: metadata, seeds: trust::repositories },
    #[cfg(feature = "models")]
    Target { name: "model", attempt: model, seeds: models::models },
    Target { name: "oci", attempt: oci, seeds: bundles::manifests },
    Target { name: "parcel", attempt: parcel, seeds: bundles::parcels },
    Target { name: "recipe", attempt: recipe, seeds: recipe::recipes },
    Target { name: "request", attempt: request, seeds: identity::requests },
    Target { name: "sketch", attempt: sketch, seeds: sketch::sketches },
    #[cfg(feature = "models")]
    Target { name: "tensor", attempt: tensor, seeds: models::tensor_bytes },
];
