//! Files that the repository vouches for, downloaded into a folder.

use crate::durable::NewFile;
use crate::mirror::HttpMirror;
use anyhow::{Context, bail};
use lineside_trust::repository::TrustedFile;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// A folder of downloaded files and where they come from.
pub struct Files {
    folder: PathBuf,
    mirror: HttpMirror,
}

impl Files {
    /// Files from `mirror` in `folder`.
    pub fn new(folder: &Path, mirror: HttpMirror) -> Files {
        Files { folder: folder.to_owned(), mirror }
    }

    /// Has the file `path` here, exactly as `file` says. What lies here is believed by its digest.
    ///
    /// # Errors
    /// If it cannot be had, or is not what was signed.
    pub fn fetch(&self, path: &str, file: &TrustedFile) -> anyhow::Result<()> {
        let target = self.folder.join(name(path));
        if let Ok(present) = File::open(&target)
            && copy(present, &mut std::io::sink(), file).is_ok()
        {
            return Ok(());
        }
        let Some(reader) = self.mirror.open(file.name())? else {
            bail!("the repository has no {}", file.name());
        };
        let failed = || format!("cannot write {}", target.display());
        fs::create_dir_all(&self.folder).with_context(failed)?;
        let mut new = NewFile::create(&target).with_context(failed)?;
        copy(reader, &mut new, file)?;
        new.commit().with_context(failed)
    }
}

/// Copies what `file` promises, and fails at the first byte too many.
fn copy(mut from: impl Read, to: &mut impl Write, file: &TrustedFile) -> anyhow::Result<()> {
    let mut check = file.check();
    let mut piece = vec![0; 1 << 16];
    loop {
        match from.read(&mut piece).context("cannot read the file")? {
            0 => return Ok(check.finish()?),
            count => {
                check.update(&piece[..count])?;
                to.write_all(&piece[..count]).context("cannot write the file")?;
            }
        }
    }
}

/// The name of a file here: its whole path in one, so that none leads out of the folder.
fn name(path: &str) -> String {
    let mut name = String::new();
    for byte in path.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => name.push(byte.into()),
            // A name of dots alone is a folder.
            b'.' if !name.is_empty() => name.push('.'),
            _ => name.push_str(&format!("%{byte:02X}")),
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_path_leads_out_of_the_folder() {
        assert_eq!(name("../../etc/passwd"), "%2E.%2F..%2Fetc%2Fpasswd");
        assert_eq!(name(".."), "%2E.");
        assert_eq!(name("vendor/acme-1.0.onnx"), "vendor%2Facme-1.0.onnx");
    }
}
