//! A tar of an OCI image layout (image-spec 1.1, image-layout.md): what a `.lsb` file is.

use crate::build::BuiltBundle;
use crate::digest::{Digest, Hasher};
use crate::manifest::{Manifest, ManifestError};
use crate::oci::{Descriptor, MANIFEST_TYPE, OciManifest};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{self, Read, Write};

/// Largest blob that is read, in bytes: a model of 2 GiB is what a protobuf file can hold.
pub const BLOB_BYTES_MAX: u64 = 2 << 30;
/// Largest index that is read, in bytes.
const INDEX_BYTES_MAX: u64 = 1 << 20;
/// Entries that a layout may have.
pub(crate) const ENTRIES_MAX: usize = 4096;

pub(crate) const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// Why some bytes are no bundle.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The tar is cut short, damaged, or cannot be read.
    #[error("the archive is cut short or damaged")]
    Tar(#[source] io::Error),
    /// An entry that no layout has.
    #[error("the archive has an entry {0:?} that does not belong there")]
    Entry(String),
    /// More than we would ever write.
    #[error("{what} has {size} bytes, {max} are allowed")]
    Size {
        /// What is too large.
        what: String,
        /// Its size in bytes.
        size: u64,
        /// What is allowed.
        max: u64,
    },
    /// Bytes that are not what their name says.
    #[error("blob {named} is damaged: its bytes are {found}")]
    Damaged {
        /// The digest it is filed under.
        named: Digest,
        /// The digest of its bytes.
        found: Digest,
    },
    /// Something the layout needs is not there.
    #[error("the archive lacks {0}")]
    Missing(String),
    /// A document in it that does not hold together.
    #[error("{0}")]
    Document(String),
    /// The manifest in it.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

/// The layout's table of contents.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Index {
    schema_version: u32,
    // Optional by the specification; other tools leave it out.
    #[serde(default)]
    media_type: String,
    manifests: Vec<Descriptor>,
}

impl Index {
    pub(crate) fn of(bundles: &[BuiltBundle]) -> Index {
        let manifests = bundles.iter().map(|bundle| {
            let id = bundle.release_id();
            Descriptor {
                media_type: MANIFEST_TYPE.into(),
                digest: id.digest,
                size: id.size,
                annotations: BTreeMap::from([(REF_NAME.into(), id.version.to_string())]),
            }
        });
        Index {
            schema_version: 2,
            media_type: "application/vnd.oci.image.index.v1+json".into(),
            manifests: manifests.collect(),
        }
    }
}

/// Writes a bundle as a tar of an OCI image layout. The same bundle gives the same bytes.
///
/// # Errors
/// Whatever `sink` says.
pub fn write(bundle: &BuiltBundle, sink: impl Write) -> io::Result<()> {
    let id = bundle.release_id();
    let index = Index::of(std::slice::from_ref(bundle));
    let mut tar = tar::Builder::new(sink);
    append(&mut tar, "oci-layout", LAYOUT)?;
    append(&mut tar, "index.json", &serde_json::to_vec(&index)?)?;
    append(&mut tar, &blob_path(&id.digest), &bundle.oci_manifest)?;
    for (digest, bytes) in &bundle.blobs {
        append(&mut tar, &blob_path(digest), bytes)?;
    }
    tar.into_inner()?.flush()
}

/// Reads a bundle back, verifying every digest before anything is parsed by it.
///
/// # Errors
/// [`ArchiveError`]; nothing of a damaged archive is returned.
pub fn read(source: impl Read) -> Result<BuiltBundle, ArchiveError> {
    let mut entries = BTreeMap::new();
    let mut tar = tar::Archive::new(source);
    for entry in tar.entries().map_err(ArchiveError::Tar)? {
        let mut entry = entry.map_err(ArchiveError::Tar)?;
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let path = path.strip_prefix("./").unwrap_or(&path).trim_end_matches('/').to_owned();
        if entry.header().entry_type().is_dir() {
            continue;
        }
        if !entry.header().entry_type().is_file() || entries.len() >= ENTRIES_MAX {
            return Err(ArchiveError::Entry(path));
        }
        check_size(&path, entry.size())?;
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(ArchiveError::Tar)?;
        if bytes.len() as u64 != entry.size() {
            return Err(ArchiveError::Tar(io::ErrorKind::UnexpectedEof.into()));
        }
        entries.insert(path, bytes);
    }
    assemble(entries)
}

/// Puts a bundle together from the files of an OCI image layout, by path.
///
/// # Errors
/// As [`read`].
pub fn assemble(mut entries: BTreeMap<String, Vec<u8>>) -> Result<BuiltBundle, ArchiveError> {
    let missing = |what: &str| ArchiveError::Missing(what.to_owned());
    entries.remove("oci-layout").ok_or_else(|| missing("oci-layout: it is no OCI image layout"))?;
    let index = entries.remove("index.json").ok_or_else(|| missing("index.json"))?;
    check_size("index.json", index.len() as u64)?;
    let mut blobs = BTreeMap::new();
    for (path, bytes) in entries {
        let named = blob_digest(&path).ok_or(ArchiveError::Entry(path))?;
        let mut hasher = Hasher::default();
        hasher.update(&bytes);
        let found = hasher.finish();
        if found != named {
            return Err(ArchiveError::Damaged { named, found });
        }
        blobs.insert(named, bytes);
    }
    let index: Index = serde_json::from_slice(&index)
        .map_err(|error| ArchiveError::Document(format!("index.json cannot be read: {error}")))?;
    let [descriptor] = index.manifests.as_slice() else {
        let count = index.manifests.len();
        return Err(ArchiveError::Document(format!(
            "the archive holds {count} artifacts, not one"
        )));
    };
    let oci_manifest = blobs
        .remove(&descriptor.digest)
        .ok_or_else(|| missing("the OCI manifest its index names"))?;
    let oci = OciManifest::parse(&oci_manifest).map_err(ArchiveError::Document)?;
    for blob in oci.blobs() {
        let bytes =
            blobs.get(&blob.digest).ok_or_else(|| missing(&format!("blob {}", blob.digest)))?;
        if bytes.len() as u64 != blob.size {
            return Err(ArchiveError::Document(format!(
                "blob {} has another size than named",
                blob.digest
            )));
        }
    }
    let manifest = Manifest::parse(&blobs[&oci.config.digest])?;
    for (path, file) in &manifest.files {
        if !blobs.contains_key(&file.digest) {
            return Err(missing(&format!("{path}, blob {}", file.digest)));
        }
    }
    Ok(BuiltBundle { manifest, oci_manifest, blobs })
}

fn check_size(path: &str, size: u64) -> Result<(), ArchiveError> {
    let max = if path.starts_with("blobs/") { BLOB_BYTES_MAX } else { INDEX_BYTES_MAX };
    if size > max {
        return Err(ArchiveError::Size { what: path.to_owned(), size, max });
    }
    Ok(())
}

pub(crate) fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

pub(crate) fn blob_digest(path: &str) -> Option<Digest> {
    format!("sha256:{}", path.strip_prefix("blobs/sha256/")?).parse().ok()
}

pub(crate) fn append(
    tar: &mut tar::Builder<impl Write>,
    path: &str,
    bytes: &[u8],
) -> io::Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    header.set_mtime(0);
    tar.append_data(&mut header, path, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BundleFile, build};
    use proptest::prelude::*;

    const DESCRIPTION: &str = r#"
format = 1
name = "pump"
version = "1.2.0"
[inputs.row]
rate_hz = 1.0
fields = [{ name = "flow" }]
[stages.window]
kind = "window"
input = "row"
rows = 2
stride = 2
[stages.find]
kind = "plugin"
plugin = "finder"
inputs = { x = "window" }
[outputs]
score = { from = "find.y" }
"#;

    fn bundle() -> BuiltBundle {
        let files = BTreeMap::from([
            ("plugins/finder.wasm".to_owned(), b"not really wasm".to_vec()),
            ("card.md".to_owned(), b"# Pump".to_vec()),
        ]);
        build(BundleFile::parse(DESCRIPTION).unwrap(), files).unwrap()
    }

    fn bytes() -> Vec<u8> {
        let mut bytes = Vec::new();
        write(&bundle(), &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn what_is_written_is_read_back_and_is_the_same_every_time() {
        let read = read(bytes().as_slice()).unwrap();
        assert_eq!(read.release_id(), bundle().release_id());
        assert_eq!(read.release_id().to_string(), "pump v1.2.0");
        assert_eq!(read.file("card.md"), Some(&b"# Pump"[..]));
        assert_eq!(read.manifest, bundle().manifest);
        assert_eq!(bytes(), bytes());
    }

    #[test]
    fn a_file_that_the_description_names_must_be_there() {
        let error = build(BundleFile::parse(DESCRIPTION).unwrap(), BTreeMap::new()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "plugins/finder.wasm: is named in the description and missing from the bundle"
        );
    }

    #[test]
    fn an_archive_of_something_else_is_refused_with_a_reason() {
        let mut tar = tar::Builder::new(Vec::new());
        append(&mut tar, "etc/passwd", b"root").unwrap();
        let error = read(tar.into_inner().unwrap().as_slice()).unwrap_err().to_string();
        assert_eq!(error, "the archive lacks oci-layout: it is no OCI image layout");
        assert!(read(&b"hello"[..]).is_err());
        assert!(read(&b""[..]).is_err());
    }

    proptest! {
        #[test]
        fn a_damaged_archive_never_gives_another_bundle(at in 0usize..20_000, flip in 1u8..=255) {
            let mut bytes = bytes();
            let at = at % bytes.len();
            bytes[at] ^= flip;
            // Padding and unused header fields carry no meaning; everything else must be noticed.
            if let Ok(bundle_read) = read(bytes.as_slice()) {
                prop_assert_eq!(bundle_read.release_id(), bundle().release_id());
                prop_assert_eq!(bundle_read.blobs, bundle().blobs);
            }
        }

        #[test]
        fn a_truncated_archive_is_refused(keep in 0usize..20_000) {
            let bytes = bytes();
            // The last 1,024 bytes are the tar's empty end blocks.
            let keep = keep % (bytes.len() - 1024);
            prop_assert!(read(&bytes[..keep]).is_err());
        }
    }
}
