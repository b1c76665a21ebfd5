//! What travels to a device by hand: the signed documents and the bundles they speak of, in one tar.
//!
//! ```text
//! lineside/metadata/…        TUF metadata by its names on a mirror: 2.root.json, timestamp.json …
//! lineside/files/…           small files that it speaks of, by their names there, if there are any
//! lineside/receipt.json      what was stored of the device's last report, if one was carried back
//! lineside/assignment.json   the assignment, as it was signed
//! oci-layout  index.json  blobs/sha256/…    the bundles, an OCI image layout
//! ```
//!
//! The documents come first, so that nothing else is looked at before they have been verified.

use crate::archive::{
    ArchiveError, BLOB_BYTES_MAX, ENTRIES_MAX, Index, LAYOUT, append, blob_digest, blob_path,
};
use crate::build::BuiltBundle;
use crate::digest::Digest;
use std::io::{self, Read, Write};

const METADATA: &str = "lineside/metadata/";
const FILES: &str = "lineside/files/";
const RECEIPT: &str = "lineside/receipt.json";
const ASSIGNMENT: &str = "lineside/assignment.json";
/// Largest document, in bytes; what is trusted may not be larger.
const DOCUMENT_BYTES_MAX: u64 = 4 << 20;
/// Documents and files that a parcel may bring, and their bytes together.
const PAPERS_MAX: usize = 256;
const PAPERS_BYTES_MAX: usize = 16 << 20;

/// The signed documents of a parcel, byte for byte.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Papers {
    /// TUF metadata, by its names on a mirror with consistent snapshots.
    pub metadata: Vec<(String, Vec<u8>)>,
    /// The assignment.
    pub assignment: Vec<u8>,
    /// Small files that the metadata speaks of, by their names on a mirror.
    pub files: Vec<(String, Vec<u8>)>,
    /// What the server has stored of the device's last report that was carried to it.
    pub receipt: Option<Vec<u8>>,
}

/// Writes a parcel. The same contents give the same bytes.
///
/// # Errors
/// Whatever `sink` says.
pub fn write(papers: &Papers, bundles: &[BuiltBundle], sink: impl Write) -> io::Result<()> {
    let mut tar = tar::Builder::new(sink);
    for (name, bytes) in &papers.metadata {
        append(&mut tar, &format!("{METADATA}{name}"), bytes)?;
    }
    for (name, bytes) in &papers.files {
        append(&mut tar, &format!("{FILES}{name}"), bytes)?;
    }
    if let Some(receipt) = &papers.receipt {
        append(&mut tar, RECEIPT, receipt)?;
    }
    append(&mut tar, ASSIGNMENT, &papers.assignment)?;
    append(&mut tar, "oci-layout", LAYOUT)?;
    append(&mut tar, "index.json", &serde_json::to_vec(&Index::of(bundles))?)?;
    let mut written = std::collections::BTreeSet::new();
    for bundle in bundles {
        // The manifests come before all other blobs: they tell a reader which of these it needs.
        let id = bundle.release_id();
        if written.insert(id.digest) {
            append(&mut tar, &blob_path(&id.digest), &bundle.oci_manifest)?;
        }
    }
    for (digest, bytes) in bundles.iter().flat_map(|bundle| &bundle.blobs) {
        if written.insert(*digest) {
            append(&mut tar, &blob_path(digest), bytes)?;
        }
    }
    tar.into_inner()?.flush()
}

/// Reads the documents, and nothing behind them. Who signed them is for others to verify.
///
/// # Errors
/// [`ArchiveError`].
pub fn papers(source: impl Read) -> Result<Papers, ArchiveError> {
    let mut papers = Papers::default();
    let mut bytes_left = PAPERS_BYTES_MAX;
    for entry in tar::Archive::new(source).entries().map_err(ArchiveError::of)? {
        let mut entry = entry.map_err(ArchiveError::of)?;
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let (list, name) = match path.as_str() {
            ASSIGNMENT | RECEIPT => (None, ""),
            path => match (path.strip_prefix(METADATA), path.strip_prefix(FILES)) {
                (Some(name), _) => (Some(&mut papers.metadata), name),
                (_, Some(name)) => (Some(&mut papers.files), name),
                (None, None) => break,
            },
        };
        let bytes = document(&path, &mut entry)?;
        bytes_left = bytes_left.checked_sub(bytes.len()).ok_or(ArchiveError::Form)?;
        match list {
            Some(list) if list.len() < PAPERS_MAX => list.push((name.to_owned(), bytes)),
            Some(_) => return Err(ArchiveError::Entries),
            None if path == RECEIPT => papers.receipt = Some(bytes),
            // The last of them: all others have come before.
            None => return Ok(Papers { assignment: bytes, ..papers }),
        }
    }
    Err(ArchiveError::Missing(format!("{ASSIGNMENT}; was it made by `lineside device export`?")))
}

/// Hands every blob to `take`, with the digest it is filed under and its size in bytes, in the order
/// of the file. Whether the bytes are what their name says is for `take` to find out.
///
/// # Errors
/// [`ArchiveError`], or what `take` says.
pub fn blobs<E: From<ArchiveError>>(
    source: impl Read,
    mut take: impl FnMut(Digest, u64, &mut dyn Read) -> Result<(), E>,
) -> Result<(), E> {
    let mut tar = tar::Archive::new(source);
    let entries = tar.entries().map_err(ArchiveError::of)?;
    for (count, entry) in entries.enumerate() {
        let mut entry = entry.map_err(ArchiveError::of)?;
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if count >= ENTRIES_MAX {
            return Err(ArchiveError::Entries.into());
        }
        let Some(digest) = blob_digest(&path) else { continue };
        let size = entry.size();
        if size > BLOB_BYTES_MAX {
            return Err(ArchiveError::Size { what: path, size, max: BLOB_BYTES_MAX }.into());
        }
        take(digest, size, &mut entry)?;
    }
    Ok(())
}

fn document(path: &str, entry: &mut tar::Entry<'_, impl Read>) -> Result<Vec<u8>, ArchiveError> {
    let size = entry.size();
    if size > DOCUMENT_BYTES_MAX {
        let what = path.to_owned();
        return Err(ArchiveError::Size { what, size, max: DOCUMENT_BYTES_MAX });
    }
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes).map_err(ArchiveError::of)?;
    if bytes.len() as u64 != size {
        return Err(ArchiveError::Form);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BundleFile, build};
    use std::collections::BTreeMap;

    fn bundle(version: &str) -> BuiltBundle {
        let text = format!(
            "format = 1\nname = 'echo'\nversion = '{version}'\n\
             [inputs.p]\nrate_hz = 1.0\nfields = [{{ name = 'x' }}]\n\
             [stages.w]\nkind = 'window'\ninput = 'p'\nrows = 1\nstride = 1\n\
             [outputs]\nx = {{ from = 'w' }}\n"
        );
        build(BundleFile::parse(&text).unwrap(), BTreeMap::new()).unwrap()
    }

    fn papers_of(roots: &[&str]) -> Papers {
        let named = |name: &&str| (format!("{name}.root.json"), name.as_bytes().to_vec());
        Papers {
            metadata: roots.iter().map(named).collect(),
            assignment: b"{assignment}".to_vec(),
            files: vec![("site/mill/00.policy.json".into(), b"{policy}".to_vec())],
            receipt: Some(b"{receipt}".to_vec()),
        }
    }

    fn parcel(papers: &Papers, bundles: &[BuiltBundle]) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(papers, bundles, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn papers_and_blobs_arrive_as_they_were_packed() {
        let (papers_in, bundles) = (papers_of(&["two", "three"]), [bundle("1"), bundle("2")]);
        let bytes = parcel(&papers_in, &bundles);
        assert_eq!(papers(&bytes[..]).unwrap(), papers_in);
        let mut found = BTreeMap::new();
        blobs::<ArchiveError>(&bytes[..], |digest, size, source| {
            let mut bytes = Vec::new();
            source.read_to_end(&mut bytes).map_err(ArchiveError::of)?;
            assert_eq!((Digest::of(&bytes), bytes.len() as u64), (digest, size));
            found.insert(digest, bytes);
            Ok(())
        })
        .unwrap();
        for bundle in &bundles {
            assert_eq!(found[&bundle.release_id().digest], bundle.oci_manifest);
            for (digest, bytes) in &bundle.blobs {
                assert_eq!(&found[digest], bytes);
            }
        }
    }

    #[test]
    fn a_file_that_is_no_parcel_is_told_what_it_lacks() {
        let mut plain = Vec::new();
        crate::archive::write(&bundle("1"), &mut plain).unwrap();
        let error = papers(&plain[..]).unwrap_err().to_string();
        assert!(error.contains("assignment.json") && error.contains("device export"), "{error}");
        let whole = parcel(&papers_of(&[]), &[bundle("1")]);
        assert!(papers(&whole[..700]).is_err());
        let escapes = "\x1b[31mno tar at all, and long enough to be asked".repeat(20);
        let said = papers(escapes.as_bytes()).err().unwrap().to_string();
        assert_eq!(said, "the archive is cut short or damaged, or it is none");
        let cut = blobs::<ArchiveError>(&whole[..whole.len() / 2 + 100], |_, _, source| {
            io::copy(source, &mut io::sink()).map_err(ArchiveError::of).map(drop)
        });
        assert!(cut.is_err());
    }
}
