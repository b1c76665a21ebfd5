//! The bundle: an immutable, versioned unit of pipeline, models, plugins and checks.
//!
//! `bundle.toml` is read as a [`BundleFile`]; with the digests of its files it becomes the
//! [`Manifest`], the config blob of an OCI artifact; [`build`] makes that artifact and [`archive`]
//! writes and reads it as a tar of an OCI image layout. Opens no file: it takes bytes and readers.

pub mod archive;
mod build;
mod check;
mod cut;
mod description;
mod digest;
mod manifest;
mod misread;
mod name;
mod oci;
pub mod parcel;
pub mod referrer;
mod requires;
mod snapped;
pub mod stages;
mod value;

pub use build::{BuildError, BuiltBundle, build, build_snapped, build_with_operators, plugin_path};
pub use check::DescriptionError;
pub use cut::{Cut, TimeCut, TimeWindow};
pub use lineside_rules::Tolerance;

pub use description::{
    BundleFile, Capturing, Check, FailSafe, Field, Join, Judged, Limits, Monitored, OnTrap, Output,
    Port, Stage, TensorRef,
};
pub use digest::{Digest, DigestError, Hasher};
pub use manifest::{FileEntry, MANIFEST_BYTES_MAX, Manifest, ManifestError};
pub use name::{BundleName, BundleVersion, NameError, ReleaseId, spoken};
pub use oci::{
    ARTIFACT_TYPE, CONFIG_TYPE, Descriptor, MANIFEST_TYPE, OciManifest, PROFILE, PROFILE_TYPE,
    TITLE, VERSION, media_type,
};
pub use requires::{AgentVersion, AgentVersionError, Requires, is_licence};
pub use snapped::{Snapped, SnappedModel};
pub use value::Value;
