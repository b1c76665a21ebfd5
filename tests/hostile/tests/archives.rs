//! Archives that say of themselves what no archive of ours says: a stick that anybody may have filled.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

use lineside_bundle::archive::{self, ArchiveError};
use lineside_bundle::{Digest, parcel};
use std::io::{self, Read};
use std::ops::ControlFlow;

/// More than any archive may make a reader read before it is refused.
const READ_MAX: usize = 1 << 20;

/// The beginning of an archive, and then bytes without an end.
struct Endless {
    begin: Vec<u8>,
    read: usize,
}

impl Read for &mut Endless {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        assert!(self.read < READ_MAX, "it is read on and on");
        let begun = self.begin.get(self.read..).unwrap_or_default();
        let piece = begun.len().min(bytes.len());
        bytes[..piece].copy_from_slice(&begun[..piece]);
        bytes[piece..].fill(b'x');
        self.read += bytes.len();
        Ok(bytes.len())
    }
}

/// The header of an entry (POSIX.1-2017, pax, ustar interchange format); a size that has no room in its
/// digits is written in base 256, as GNU tar does.
fn header(kind: u8, name: &str, size: u64) -> Vec<u8> {
    let mut header = vec![0; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[100..108].copy_from_slice(b"0000644\0");
    match size {
        ..0o100_000_000_000 => {
            header[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
        }
        _ => {
            header[124] = 0x80;
            header[128..136].copy_from_slice(&size.to_be_bytes());
        }
    }
    header[136..148].copy_from_slice(b"00000000000\0");
    header[148..156].fill(b' ');
    header[156] = kind;
    header[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

const DEVICE: &str = "line-3";

/// Takes no blob.
fn pass(_: Digest, _: u64, _: &mut dyn Read) -> Result<ControlFlow<()>, ArchiveError> {
    Ok(ControlFlow::Continue(()))
}

/// What each reader of archives says of one that begins like this.
fn refusals(begin: &[u8]) -> [String; 3] {
    let endless = || Endless { begin: begin.to_vec(), read: 0 };
    [
        parcel::papers(&mut endless(), DEVICE).unwrap_err().to_string(),
        parcel::blobs(&mut endless(), pass).unwrap_err().to_string(),
        archive::read(&mut endless()).unwrap_err().to_string(),
    ]
}

#[test]
fn an_entry_that_speaks_of_others_is_refused_before_any_of_it_is_read() {
    // Long names, long links, extended and global records, sparse files, links, devices.
    for kind in *b"LKxgXS1234567DMNV" {
        if kind == b'5' {
            continue;
        }
        for size in [0, 100, 1 << 40, u64::MAX >> 1] {
            for said in refusals(&header(kind, "././@LongLink", size)) {
                let is_refused = said.contains("\"././@LongLink\"");
                assert!(is_refused, "{} of {size} bytes: {said}", char::from(kind));
            }
        }
    }
}

#[test]
fn an_entry_behind_good_ones_is_refused_as_well() {
    let mut begin = header(b'0', "lineside/for/line-3/metadata/2.root.json", 3);
    begin.extend(b"{}\n");
    begin.resize(1024, 0);
    begin.extend(header(b'x', "PaxHeaders/1", 1 << 40));
    for said in [
        parcel::papers(&mut Endless { begin: begin.clone(), read: 0 }, DEVICE).unwrap_err(),
        parcel::blobs(&mut Endless { begin, read: 0 }, pass).unwrap_err(),
    ] {
        assert!(said.to_string().contains("\"PaxHeaders/1\""), "{said}");
    }
}

#[test]
fn files_and_folders_of_a_size_that_cannot_be_are_refused_by_their_size() {
    let blob = format!("blobs/sha256/{}", "0".repeat(64));
    for (kind, name) in [
        (b'0', "lineside/for/line-3/assignment.json"),
        (b'0', "lineside/for/line-4/metadata/timestamp.json"),
        (b'0', "index.json"),
        (b'0', &blob),
        (b'\0', &blob),
        (b'5', "blobs/"),
    ] {
        for size in [3 << 30, 1 << 40, u64::MAX >> 1] {
            // Whoever does not know a path has said so already.
            let said = refusals(&header(kind, name, size));
            assert!(said.iter().all(|said| !said.is_empty()), "{name}: {said:?}");
        }
    }
}

#[test]
fn folders_without_an_end_are_too_many_entries() {
    let folder = header(b'5', "blobs/", 0);
    let begin = folder.repeat(70_000);
    let mut source = &begin[..];
    let said = parcel::papers(&mut source, DEVICE).unwrap_err().to_string();
    assert!(said.contains("more than 65536 entries"), "{said}");
}
