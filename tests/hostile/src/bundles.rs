//! Bundles and what carries them. A device reads them only after their digest was compared; a desk
//! reads whatever somebody has sent.

use lineside_bundle::archive::{self, ArchiveError};
use lineside_bundle::parcel::{self, Papers};
use lineside_bundle::{BuiltBundle, BundleFile, Manifest, OciManifest, build};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// Whose parcel is read.
const DEVICE: &str = "line-3";

/// Reads an OCI manifest: it names a bounded number of blobs.
pub fn oci(input: &[u8]) -> bool {
    let Ok(manifest) = OciManifest::parse(input) else { return false };
    assert!(manifest.blobs().count() <= 2048);
    true
}

pub(crate) fn manifests() -> Vec<Vec<u8>> {
    vec![built().oci_manifest]
}

/// Reads a manifest, and a description. What was read can be written, and says the same.
pub fn bundle(input: &[u8]) -> bool {
    if let Ok(text) = std::str::from_utf8(input)
        && let Ok(description) = BundleFile::parse(text)
    {
        // Whatever its files are, they are missing or there.
        let _ = build(description, BTreeMap::new());
        return true;
    }
    let Ok(manifest) = Manifest::parse(input) else { return false };
    assert_eq!(Manifest::parse(&manifest.to_bytes()).ok(), Some(manifest));
    true
}

pub(crate) fn bundles() -> Vec<Vec<u8>> {
    let examples = [
        include_str!("../../../examples/turbine/bundle.toml"),
        include_str!("../../../examples/ecg/bundle.toml"),
    ];
    let texts = examples.map(|text| text.as_bytes().to_vec());
    texts.into_iter().chain(built().blobs.into_values()).collect()
}

/// Reads what travels by hand: a parcel, or a bundle. No blob has more bytes than its entry says.
pub fn parcel(input: &[u8]) -> bool {
    let papers = parcel::papers(input, DEVICE);
    let blobs = parcel::blobs(input, |_, size, source| {
        let mut bytes = Vec::new();
        source.read_to_end(&mut bytes).map_err(ArchiveError::Read)?;
        assert!(bytes.len() as u64 <= size);
        Ok::<_, ArchiveError>(ControlFlow::Continue(()))
    });
    let bundle = archive::read(input);
    if let Ok(bundle) = &bundle {
        for (digest, bytes) in &bundle.blobs {
            assert_eq!(*digest, lineside_bundle::Digest::of(bytes), "a blob under a wrong name");
        }
    }
    (papers.is_ok() && blobs.is_ok()) || bundle.is_ok()
}

pub(crate) fn parcels() -> Vec<Vec<u8>> {
    let (mut parcel, mut bundle) = (Vec::new(), Vec::new());
    let papers = [DEVICE, "line-4"].map(|device| (device.to_owned(), Papers::default()));
    let papers = BTreeMap::from(papers);
    parcel::write_built(&papers, &[built()], &mut parcel).expect("memory takes it");
    archive::write(&built(), &mut bundle).expect("memory takes it");
    vec![parcel, bundle]
}

fn built() -> BuiltBundle {
    let text = "format = 1\nname = 'x'\nversion = '1'\noutputs.y.from = 'w'\n\
        stages.w = { kind = 'window', input = 'p', rows = 1, stride = 1 }\n\
        [inputs.p]\nrate_hz = 1.0\nfields = [{ name = 'x' }]\n";
    let description = BundleFile::parse(text).expect("a bundle of ours");
    build(description, BTreeMap::new()).expect("a bundle of ours")
}
