//! What travels to devices by hand: the signed documents of each and the bundles they speak of, in one
//! tar.
//!
//! ```text
//! lineside/for/DEVICE/metadata/…        TUF metadata by its names on a mirror: 2.root.json …
//! lineside/for/DEVICE/files/…           small files that it speaks of, if there are any
//! lineside/for/DEVICE/receipt.json      what was stored of its last report, if one came back
//! lineside/for/DEVICE/assignment.json   the device's assignment, as it was signed
//! oci-layout  index.json  blobs/sha256/…  the bundles of all of them, an OCI image layout
//! lineside/end                            empty: without it the file was cut
//! ```
//!
//! The documents come first, so that nothing else is looked at before they have been verified. What a
//! device reads under a name that is not its own it never keeps; a lie in a name gains nobody
//! anything, for the assignment says whose it is.

use crate::archive::{
    ArchiveError, BLOB_BYTES_MAX, Index, LAYOUT, append, blob_digest, blob_path, files,
};
use crate::build::BuiltBundle;
use crate::digest::Digest;
use crate::name::{BundleName, ReleaseId};
use crate::oci::OciManifest;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::ops::ControlFlow;

/// Short, for what a plain tar has room for in a name.
const DEVICES: &str = "lineside/for/";
const METADATA: &str = "metadata/";
const FILES: &str = "files/";
const RECEIPT: &str = "receipt.json";
const ASSIGNMENT: &str = "assignment.json";
const END: &str = "lineside/end";
/// Devices that a parcel may be for.
pub const DEVICES_MAX: usize = 256;
/// Entries of a parcel that are looked at: the documents of all devices, and blobs.
const ENTRIES_MAX: usize = 65_536;
/// Largest document, in bytes; what is trusted may not be larger.
const DOCUMENT_BYTES_MAX: u64 = 4 << 20;
/// Documents and files that a parcel may bring to a device, and their bytes together.
const PAPERS_MAX: usize = 256;
const PAPERS_BYTES_MAX: usize = 16 << 20;
/// Longest name of a device in bytes.
const NAME_BYTES_MAX: usize = 64;
/// Devices that are named to whoever brings the file to another one.
const TOLD_MAX: usize = 4;

/// The signed documents of a device in a parcel, byte for byte.
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

/// A release that a parcel brings, before its blobs are there.
#[derive(Debug, Clone)]
pub struct Packed {
    id: ReleaseId,
    oci_manifest: Vec<u8>,
    blobs: BTreeSet<Digest>,
}

impl Packed {
    /// The release `id`, whose manifest these bytes are.
    ///
    /// # Errors
    /// They are no manifest: why, for people.
    pub fn of(id: ReleaseId, oci_manifest: Vec<u8>) -> Result<Packed, String> {
        let oci = OciManifest::parse(&oci_manifest)?;
        let blobs = oci.blobs().map(|blob| blob.digest).collect();
        Ok(Packed { id, oci_manifest, blobs })
    }
}

/// Writes a parcel for the devices of `papers`. `blob` gives the bytes of a blob of a bundle when its turn
/// comes: no more than one is in memory. The same contents give the same bytes.
///
/// # Errors
/// Whatever `sink` or `blob` says, and more than [`DEVICES_MAX`] devices.
pub fn write(
    papers: &BTreeMap<String, Papers>,
    releases: &[Packed],
    mut blob: impl FnMut(&BundleName, &Digest) -> io::Result<Vec<u8>>,
    sink: impl Write,
) -> io::Result<()> {
    if papers.len() > DEVICES_MAX {
        let problem = format!("a parcel is for {DEVICES_MAX} devices at most");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
    }
    let mut tar = tar::Builder::new(sink);
    for (device, papers) in papers {
        let folder = format!("{DEVICES}{device}/");
        for (name, bytes) in &papers.metadata {
            append(&mut tar, &format!("{folder}{METADATA}{name}"), bytes)?;
        }
        for (name, bytes) in &papers.files {
            append(&mut tar, &format!("{folder}{FILES}{name}"), bytes)?;
        }
        if let Some(receipt) = &papers.receipt {
            append(&mut tar, &format!("{folder}{RECEIPT}"), receipt)?;
        }
        append(&mut tar, &format!("{folder}{ASSIGNMENT}"), &papers.assignment)?;
    }
    append(&mut tar, "oci-layout", LAYOUT)?;
    let ids: Vec<&ReleaseId> = releases.iter().map(|release| &release.id).collect();
    append(&mut tar, "index.json", &serde_json::to_vec(&Index::of(&ids))?)?;
    let mut written = BTreeSet::new();
    for release in releases {
        // The manifests come before all other blobs: they tell a reader which of these it needs.
        if written.insert(release.id.digest) {
            append(&mut tar, &blob_path(&release.id.digest), &release.oci_manifest)?;
        }
    }
    for release in releases {
        for digest in &release.blobs {
            if written.insert(*digest) {
                append(&mut tar, &blob_path(digest), &blob(&release.id.name, digest)?)?;
            }
        }
    }
    append(&mut tar, END, b"")?;
    tar.into_inner()?.flush()
}

/// As [`write()`], of bundles that are in memory.
///
/// # Errors
/// As for [`write()`].
pub fn write_built(
    papers: &BTreeMap<String, Papers>,
    bundles: &[BuiltBundle],
    sink: impl Write,
) -> io::Result<()> {
    let packed = |bundle: &BuiltBundle| Packed {
        id: bundle.release_id(),
        oci_manifest: bundle.oci_manifest.clone(),
        blobs: bundle.blobs.keys().copied().collect(),
    };
    let packed: Vec<Packed> = bundles.iter().map(packed).collect();
    let blobs: BTreeMap<_, _> = bundles.iter().flat_map(|bundle| &bundle.blobs).collect();
    let blob = |_: &BundleName, digest: &Digest| {
        blobs
            .get(digest)
            .map(|bytes| (*bytes).clone())
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    };
    write(papers, &packed, blob, sink)
}

/// Reads the documents of `device`, and nothing behind them. Who signed them is for others to verify.
///
/// # Errors
/// [`ArchiveError`]; [`ArchiveError::ForOthers`] where the file has documents of other devices only.
pub fn papers(source: impl Read, device: &str) -> Result<Papers, ArchiveError> {
    let (mut papers, mut others) = (Papers::default(), Others::default());
    let mut bytes_left = PAPERS_BYTES_MAX;
    for file in files(&mut tar::Archive::new(source), ENTRIES_MAX)? {
        let (path, mut entry) = file?;
        let Some((name, paper)) = path.strip_prefix(DEVICES).and_then(|it| it.split_once('/'))
        else {
            return Err(others.instead());
        };
        if name != device {
            check_size(&path, &entry, DOCUMENT_BYTES_MAX)?;
            others.add(name)?;
            continue;
        }
        let (list, name) = match paper {
            ASSIGNMENT | RECEIPT => (None, ""),
            paper => match (paper.strip_prefix(METADATA), paper.strip_prefix(FILES)) {
                (Some(name), _) => (Some(&mut papers.metadata), name),
                (_, Some(name)) => (Some(&mut papers.files), name),
                (None, None) => return Err(ArchiveError::Form),
            },
        };
        let bytes = document(&path, &mut entry)?;
        bytes_left = bytes_left.checked_sub(bytes.len()).ok_or(ArchiveError::Form)?;
        match list {
            Some(list) if list.len() < PAPERS_MAX => list.push((name.to_owned(), bytes)),
            Some(_) => return Err(ArchiveError::Entries(PAPERS_MAX)),
            None if paper == RECEIPT => papers.receipt = Some(bytes),
            // The last of them: all others have come before.
            None => return Ok(Papers { assignment: bytes, ..papers }),
        }
    }
    // Behind the documents there is always something.
    Err(ArchiveError::Form)
}

/// The devices whose documents are in a file.
#[derive(Default)]
struct Others {
    last: String,
    told: Vec<String>,
    more: usize,
}

impl Others {
    /// Takes note of the next document's device; those of one follow each other.
    fn add(&mut self, name: &str) -> Result<(), ArchiveError> {
        let may_be = |char: char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '-';
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.chars().all(may_be) {
            return Err(ArchiveError::Form);
        }
        if self.last == name {
            return Ok(());
        }
        self.last = name.to_owned();
        match self.told.len() {
            ..TOLD_MAX => self.told.push(name.to_owned()),
            _ => self.more += 1,
        }
        Ok(())
    }

    /// Why there is nothing for the device, where all documents have been looked at.
    fn instead(self) -> ArchiveError {
        match (self.told.is_empty(), self.more) {
            (true, _) => {
                let what = "the documents of a device; was it made by `lineside device export`?";
                ArchiveError::Missing(what.into())
            }
            (false, 0) => ArchiveError::ForOthers(self.told.join(", ")),
            (false, more) => {
                ArchiveError::ForOthers(format!("{} and {more} more", self.told.join(", ")))
            }
        }
    }
}

/// Hands every blob to `take`, with the digest it is filed under and its size in bytes, in the order
/// of the file, until it has enough. Whether the bytes are what their name says is for `take` to find
/// out. Where it takes them all, the file is known to be whole.
///
/// # Errors
/// [`ArchiveError`], or what `take` says.
pub fn blobs<E: From<ArchiveError>>(
    source: impl Read,
    mut take: impl FnMut(Digest, u64, &mut dyn Read) -> Result<ControlFlow<()>, E>,
) -> Result<(), E> {
    let mut is_whole = false;
    for file in files(&mut tar::Archive::new(source), ENTRIES_MAX)? {
        let (path, mut entry) = file?;
        is_whole = path == END;
        let digest = blob_digest(&path);
        // What is passed over has to be read as well.
        let max = if digest.is_some() { BLOB_BYTES_MAX } else { DOCUMENT_BYTES_MAX };
        let size = check_size(&path, &entry, max)?;
        let Some(digest) = digest else { continue };
        if take(digest, size, &mut entry)?.is_break() {
            return Ok(());
        }
    }
    // A tar that ends between two entries looks like one that has no more.
    if is_whole { Ok(()) } else { Err(ArchiveError::Form.into()) }
}

/// The size of an entry, if it is none that a parcel would never have.
fn check_size(
    path: &str,
    entry: &tar::Entry<'_, impl Read>,
    max: u64,
) -> Result<u64, ArchiveError> {
    let size = entry.size();
    match size <= max {
        true => Ok(size),
        false => Err(ArchiveError::Size { what: path.to_owned(), size, max }),
    }
}

fn document(path: &str, entry: &mut tar::Entry<'_, impl Read>) -> Result<Vec<u8>, ArchiveError> {
    let size = check_size(path, entry, DOCUMENT_BYTES_MAX)?;
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

    fn only(device: &str, papers: &Papers) -> BTreeMap<String, Papers> {
        BTreeMap::from([(device.to_owned(), papers.clone())])
    }

    fn parcel(papers: &BTreeMap<String, Papers>, bundles: &[BuiltBundle]) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_built(papers, bundles, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn papers_and_blobs_arrive_as_they_were_packed() {
        let (papers_in, bundles) = (papers_of(&["two", "three"]), [bundle("1"), bundle("2")]);
        let bytes = parcel(&only("mill-1", &papers_in), &bundles);
        assert_eq!(papers(&bytes[..], "mill-1").unwrap(), papers_in);
        let mut found = BTreeMap::new();
        blobs::<ArchiveError>(&bytes[..], |digest, size, source| {
            let mut bytes = Vec::new();
            source.read_to_end(&mut bytes).map_err(ArchiveError::of)?;
            assert_eq!((Digest::of(&bytes), bytes.len() as u64), (digest, size));
            assert!(found.insert(digest, bytes).is_none(), "{digest} is there twice");
            Ok(ControlFlow::Continue(()))
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
    fn each_of_several_devices_finds_its_own_papers_and_another_one_hears_whose_they_are() {
        let long = "m".repeat(NAME_BYTES_MAX);
        let all = BTreeMap::from([
            ("mill-1".to_owned(), papers_of(&["one"])),
            ("mill-2".to_owned(), papers_of(&["two", "three"])),
            (long.clone(), papers_of(&["four"])),
        ]);
        let bytes = parcel(&all, &[bundle("1")]);
        for (device, theirs) in &all {
            assert_eq!(papers(&bytes[..], device).unwrap(), *theirs);
        }
        let error = papers(&bytes[..], "mill-3").unwrap_err().to_string();
        let expected = format!(
            "it is for {}, and not for this device",
            ["mill-1", "mill-2", &long].join(", ")
        );
        assert!(error.starts_with(&expected), "{error}");
        let many = (0..DEVICES_MAX).map(|number| (format!("d{number:03}"), papers_of(&[])));
        let mut many: BTreeMap<_, _> = many.collect();
        let error = papers(&parcel(&many, &[])[..], "mill-3").unwrap_err().to_string();
        assert!(error.contains("d000, d001, d002, d003 and 252 more"), "{error}");
        many.insert("one-more".into(), papers_of(&[]));
        assert!(write_built(&many, &[], io::sink()).is_err());
    }

    #[test]
    fn a_file_that_was_cut_anywhere_is_not_taken_for_a_whole_one() {
        let whole = parcel(&only("mill-1", &papers_of(&["two"])), &[bundle("1")]);
        let read = |bytes: &[u8]| {
            blobs::<ArchiveError>(bytes, |_, _, source| {
                io::copy(source, &mut io::sink()).map_err(ArchiveError::of)?;
                Ok(ControlFlow::Continue(()))
            })
        };
        read(&whole).unwrap();
        // The two empty blocks at the end of a tar say nothing.
        let last = whole.len() - 1024;
        read(&whole[..last]).unwrap();
        for kept in (0..last).step_by(256) {
            assert!(read(&whole[..kept]).is_err(), "{kept} of {last} bytes");
        }
        for kept in (0..last).step_by(256) {
            match papers(&whole[..kept], "mill-1") {
                Ok(theirs) => assert_eq!(theirs, papers_of(&["two"])),
                Err(error) => assert!(matches!(error, ArchiveError::Form), "{error}"),
            }
        }
    }

    #[test]
    fn a_file_that_is_no_parcel_is_told_what_it_lacks() {
        let mut plain = Vec::new();
        crate::archive::write(&bundle("1"), &mut plain).unwrap();
        let error = papers(&plain[..], "mill-1").unwrap_err().to_string();
        assert!(error.contains("documents") && error.contains("device export"), "{error}");
        let escapes = "\x1b[31mno tar at all, and long enough to be asked".repeat(20);
        let said = papers(escapes.as_bytes(), "mill-1").err().unwrap().to_string();
        assert_eq!(said, "the archive is cut short or damaged, or it is none");
        let evil = parcel(&only("\x1b[31m", &papers_of(&[])), &[]);
        assert!(matches!(papers(&evil[..], "mill-1"), Err(ArchiveError::Form)));
    }
}
