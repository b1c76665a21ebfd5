//! A tar of an OCI image layout (image-spec 1.1, image-layout.md): what a `.lsb` file is.

use crate::build::BuiltBundle;
use crate::digest::Digest;
use crate::manifest::{Manifest, ManifestError};
use crate::name::ReleaseId;
use crate::oci::{Descriptor, MANIFEST_TYPE, OciManifest};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};

/// Largest blob that is read, in bytes: a model of 2 GiB is what a protobuf file can hold.
pub const BLOB_BYTES_MAX: u64 = 2 << 30;
/// Largest index that is read, in bytes.
const INDEX_BYTES_MAX: u64 = 1 << 20;
/// Entries that a layout may have.
const ENTRIES_MAX: usize = 4096;

pub(crate) const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// Why some bytes are no bundle.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// Its form. The reader's own words would quote bytes of the file, whatever they are.
    #[error("the archive is cut short or damaged, or it is none")]
    Form,
    /// It cannot be read.
    #[error("the archive cannot be read")]
    Read(#[source] io::Error),
    /// An entry that no layout has.
    #[error("it has an entry {0:?}, which no OCI image layout has")]
    Entry(String),
    /// More entries than we would ever write.
    #[error("it has more than {0} entries")]
    Entries(usize),
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
    #[error("it lacks {0}")]
    Missing(String),
    /// It is addressed to others.
    #[error(
        "it is for {0}, and not for this device; `lineside device export` packs one for several"
    )]
    ForOthers(String),
    /// A document in it that does not hold together.
    #[error("{0}")]
    Document(String),
    /// The manifest in it.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

impl ArchiveError {
    /// What the reader of a tar says: of its form, or of the medium.
    pub(crate) fn of(error: io::Error) -> ArchiveError {
        use io::ErrorKind::{InvalidData, InvalidInput, Other, UnexpectedEof};
        match error.kind() {
            InvalidData | InvalidInput | Other | UnexpectedEof => ArchiveError::Form,
            _ => ArchiveError::Read(error),
        }
    }
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
    pub(crate) fn of(releases: &[&ReleaseId]) -> Index {
        let manifests = releases.iter().map(|id| Descriptor {
            media_type: MANIFEST_TYPE.into(),
            digest: id.digest,
            size: id.size,
            annotations: BTreeMap::from([(REF_NAME.into(), id.version.to_string())]),
        });
        Index {
            schema_version: 2,
            media_type: "application/vnd.oci.image.index.v1+json".into(),
            manifests: manifests.collect(),
        }
    }

    /// The one artifact that an index names.
    fn only(bytes: &[u8]) -> Result<Descriptor, ArchiveError> {
        let index: Index = serde_json::from_slice(bytes).map_err(|error| {
            ArchiveError::Document(format!("index.json cannot be read: {error}"))
        })?;
        let count = index.manifests.len();
        match <[Descriptor; 1]>::try_from(index.manifests) {
            Ok([descriptor]) if descriptor.media_type == MANIFEST_TYPE => Ok(descriptor),
            Ok([descriptor]) => Err(ArchiveError::Document(format!(
                "index.json names something of type {:?}, not {MANIFEST_TYPE}",
                descriptor.media_type
            ))),
            Err(_) => Err(ArchiveError::Document(format!("it holds {count} artifacts, not one"))),
        }
    }
}

/// Writes a bundle as a tar of an OCI image layout. The same bundle gives the same bytes.
///
/// # Errors
/// Whatever `sink` says.
pub fn write(bundle: &BuiltBundle, sink: impl Write) -> io::Result<()> {
    let id = bundle.release_id();
    let index = Index::of(&[&id]);
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
    let mut layout = Layout::default();
    let mut tar = tar::Archive::new(source);
    for file in files(&mut tar, ENTRIES_MAX)? {
        let (path, mut entry) = file?;
        let path = path.strip_prefix("./").unwrap_or(&path).to_owned();
        layout.admit(&path, entry.size())?;
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(ArchiveError::of)?;
        if bytes.len() as u64 != entry.size() {
            return Err(ArchiveError::Form);
        }
        layout.add(path, bytes);
    }
    layout.bundle()
}

/// The files of an archive with their paths, in its order. Folders are passed over; anything else is
/// refused before what it holds is read.
///
/// An archive may say of its next entry that the name is longer than a header takes, or that its size is
/// another, and a reader that believes it has to keep all of that in memory, as long as the archive says
/// it is. Nobody has signed an archive, and none of ours needs this.
pub(crate) fn files<'a, R: Read>(
    tar: &'a mut tar::Archive<R>,
    entries_max: usize,
) -> Result<impl Iterator<Item = Result<(String, tar::Entry<'a, R>), ArchiveError>>, ArchiveError> {
    let entries = tar.entries().map_err(ArchiveError::of)?.raw(true);
    Ok(entries.enumerate().filter_map(move |(count, entry)| {
        let plain = |entry: tar::Entry<'a, R>| {
            let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let kind = entry.header().entry_type();
            if count >= entries_max {
                return Err(ArchiveError::Entries(entries_max));
            }
            if kind.is_dir() && entry.size() == 0 {
                return Ok(None);
            }
            if !kind.is_file() {
                return Err(ArchiveError::Entry(path));
            }
            Ok(Some((path, entry)))
        };
        entry.map_err(ArchiveError::of).and_then(plain).transpose()
    }))
}

/// The files of an OCI image layout, by path, as they are read from an archive or a folder.
#[derive(Default)]
pub struct Layout {
    entries: BTreeMap<String, Vec<u8>>,
}

impl Layout {
    /// Whether a file of this path and size may be part of it; asked before the file is read.
    ///
    /// # Errors
    /// [`ArchiveError::Entry`], [`ArchiveError::Entries`], [`ArchiveError::Size`].
    pub fn admit(&self, path: &str, size: u64) -> Result<(), ArchiveError> {
        let max = match path {
            "oci-layout" | "index.json" => INDEX_BYTES_MAX,
            path if blob_digest(path).is_some() => BLOB_BYTES_MAX,
            path => return Err(ArchiveError::Entry(path.to_owned())),
        };
        if size > max {
            return Err(ArchiveError::Size { what: path.to_owned(), size, max });
        }
        if self.entries.len() >= ENTRIES_MAX {
            return Err(ArchiveError::Entries(ENTRIES_MAX));
        }
        Ok(())
    }

    /// Adds a file that was admitted.
    pub fn add(&mut self, path: String, bytes: Vec<u8>) {
        self.entries.insert(path, bytes);
    }

    /// Puts the bundle together, verifying every digest before anything is parsed by it.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub fn bundle(self) -> Result<BuiltBundle, ArchiveError> {
        let mut entries = self.entries;
        let mut take =
            |path: &str| entries.remove(path).ok_or_else(|| ArchiveError::Missing(path.to_owned()));
        take("oci-layout")?;
        let index = take("index.json")?;
        let mut blobs = BTreeMap::new();
        for (path, bytes) in entries {
            let named = blob_digest(&path).ok_or(ArchiveError::Entry(path))?;
            let found = Digest::of(&bytes);
            if found != named {
                return Err(ArchiveError::Damaged { named, found });
            }
            blobs.insert(named, bytes);
        }
        let descriptor = Index::only(&index)?;
        let oci_manifest = blobs
            .remove(&descriptor.digest)
            .ok_or_else(|| ArchiveError::Missing("the OCI manifest its index names".into()))?;
        if oci_manifest.len() as u64 != descriptor.size {
            let size = oci_manifest.len();
            return Err(ArchiveError::Document(format!(
                "the OCI manifest has {size} bytes, its index says {}",
                descriptor.size
            )));
        }
        let oci = OciManifest::parse(&oci_manifest).map_err(ArchiveError::Document)?;
        for blob in oci.blobs() {
            let bytes = blobs
                .get(&blob.digest)
                .ok_or_else(|| ArchiveError::Missing(format!("blob {}", blob.digest)))?;
            if bytes.len() as u64 != blob.size {
                return Err(ArchiveError::Document(format!(
                    "blob {} has another size than named",
                    blob.digest
                )));
            }
        }
        let manifest = Manifest::parse(&blobs[&oci.config.digest])?;
        oci.check_files(&manifest).map_err(ArchiveError::Document)?;
        // A layout may hold blobs of nothing (image-layout.md); they are no part of the bundle.
        let named: BTreeSet<Digest> = oci.blobs().map(|blob| blob.digest).collect();
        blobs.retain(|digest, _| named.contains(digest));
        Ok(BuiltBundle { manifest, oci_manifest, blobs })
    }
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
    // A path that finds no room is an error: otherwise an entry would tell of it that no reader takes.
    header.set_path(path)?;
    header.set_cksum();
    tar.append(&header, bytes)
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
        assert_eq!(error, "it has an entry \"etc/passwd\", which no OCI image layout has");
        assert!(read(&b"hello"[..]).is_err());
        assert_eq!(read(&b""[..]).unwrap_err().to_string(), "it lacks oci-layout");
    }

    /// A bundle whose manifest and OCI manifest were changed by `change`, as an archive.
    fn changed(change: impl FnOnce(&mut Manifest, &mut OciManifest)) -> Vec<u8> {
        let mut bundle = bundle();
        let mut oci = OciManifest::parse(&bundle.oci_manifest).unwrap();
        bundle.blobs.remove(&oci.config.digest);
        change(&mut bundle.manifest, &mut oci);
        let config = bundle.manifest.to_bytes();
        (oci.config.digest, oci.config.size) = (Digest::of(&config), config.len() as u64);
        bundle.blobs.insert(oci.config.digest, config);
        bundle.oci_manifest = serde_json::to_vec(&oci).unwrap();
        let mut bytes = Vec::new();
        write(&bundle, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn what_a_device_would_refuse_is_refused_at_the_desk() {
        type Change = fn(&mut Manifest, &mut OciManifest);
        let cases: [(Change, &str); 6] = [
            (|_, _| {}, ""),
            (
                |_, oci| oci.layers.retain(|layer| layer.media_type != "text/markdown"),
                "card.md is not among the layers of the OCI manifest",
            ),
            (
                |manifest, _| manifest.files.get_mut("card.md").unwrap().size = 7,
                "card.md has 7 bytes by the manifest and 6 by the OCI manifest",
            ),
            (
                |_, oci| oci.layers = vec![oci.layers[0].clone(); 1025],
                "the OCI manifest has 1025 layers, 1024 are allowed",
            ),
            (
                |_, oci| {
                    let mut twice = oci.layers[0].clone();
                    twice.size += 1;
                    oci.layers.push(twice);
                },
                "blob sha256:",
            ),
            (|manifest, _| manifest.bundle.summary = "x".repeat(1 << 20), "the manifest has 10"),
        ];
        for (change, error) in cases {
            match read(changed(change).as_slice()) {
                Ok(_) => assert_eq!(error, ""),
                Err(said) => assert!(said.to_string().starts_with(error), "{said}"),
            }
        }
    }

    #[test]
    fn more_than_a_device_takes_is_not_even_built() {
        let mut description = BundleFile::parse(DESCRIPTION).unwrap();
        let mut files = BTreeMap::from([("plugins/finder.wasm".to_owned(), b"wasm".to_vec())]);
        description.summary = "x".repeat(1 << 20);
        let error = build(description.clone(), files.clone()).unwrap_err().to_string();
        assert!(error.starts_with("the manifest has 10"), "{error}");
        description.summary.clear();
        files.extend((0..1024).map(|number| (format!("{number}.txt"), vec![])));
        let error = build(description, files).unwrap_err().to_string();
        assert_eq!(error, "the manifest does not hold together: more than 1024 files");
    }

    #[test]
    fn blobs_of_nothing_are_left_behind_and_an_index_that_lies_is_refused() {
        let stray = b"a blob of something else".to_vec();
        let mut with_stray = bundle();
        with_stray.blobs.insert(Digest::of(&stray), stray);
        let mut bytes = Vec::new();
        write(&with_stray, &mut bytes).unwrap();
        assert_eq!(read(bytes.as_slice()).unwrap().blobs, bundle().blobs);

        for (from, to, error) in [
            ("\"size\":", "\"size\":1", "the OCI manifest has "),
            (MANIFEST_TYPE, "application/pdf", "index.json names something of type"),
        ] {
            let index = serde_json::to_string(&Index::of(&[&bundle().release_id()])).unwrap();
            let mut layout = Layout::default();
            layout.add("oci-layout".into(), LAYOUT.to_vec());
            layout.add("index.json".into(), index.replacen(from, to, 1).into_bytes());
            layout.add(blob_path(&bundle().release_id().digest), bundle().oci_manifest);
            let said = layout.bundle().unwrap_err().to_string();
            assert!(said.starts_with(error), "{said}");
        }
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
