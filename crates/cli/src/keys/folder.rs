//! The folder that `lineside keys new` made: the root that people trust, and keys that sign.

mod lists;

pub use lists::{Freshness, KnownList, tell_unsigned};

use super::signer::Signer;
use crate::new_files;
use anyhow::{Context, bail};
use lineside_trust::{DOCUMENT_BYTES_MAX, Root};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The root document.
pub const ROOT: &str = "root.json";
/// The key that signs roots.
pub const ROOT_KEY: &str = "root.pem";
/// Name of the file with the release key of this number, from 1.
pub fn release_key(number: usize) -> String {
    format!("release-{number}.pem")
}

/// Name of the file with the root of this version. Each that was trusted here stays: a server that
/// stands in for one that is lost has to be led from the first to the last, as devices are.
pub fn root_file(version: u64) -> String {
    format!("{version}.root.json")
}

/// A folder of keys.
pub struct KeyFolder {
    path: PathBuf,
    root: Root,
}

impl KeyFolder {
    /// Opens the folder at `path` by its root, which is trusted because it lies there.
    ///
    /// # Errors
    /// No such folder, or a root that does not hold together.
    pub fn open(path: &Path) -> anyhow::Result<KeyFolder> {
        let file = path.join(ROOT);
        let name = file.display();
        let bytes = read(&file, DOCUMENT_BYTES_MAX as u64).with_context(|| {
            format!(
                "no keys in {}: name the folder with --keys DIR, or make one with `lineside keys new`",
                path.display()
            )
        })?;
        let root = Root::pin(&bytes).with_context(|| format!("{name} cannot be trusted"))?;
        Ok(KeyFolder { path: path.to_owned(), root })
    }

    /// The root.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// The roots that were trusted here, each the way to the next; the last is this folder's.
    ///
    /// # Errors
    /// What lies here as one of them is not what it was.
    pub fn roots(&self) -> anyhow::Result<Vec<Root>> {
        let mut roots = vec![self.root.clone()];
        let mut next = self.root.clone();
        while next.version() > 1 {
            let file = self.path.join(root_file(next.version() - 1));
            if !file.exists() {
                break;
            }
            let name = file.display();
            let bytes = read(&file, DOCUMENT_BYTES_MAX as u64)?;
            let root = Root::pin(&bytes).with_context(|| format!("{name} cannot be trusted"))?;
            let follows = root.update(next.bytes());
            follows.with_context(|| format!("{name} does not lead to root {}", next.version()))?;
            roots.push(root.clone());
            next = root;
        }
        roots.reverse();
        Ok(roots)
    }

    /// Keeps this folder's root by its version, whatever becomes of [`ROOT`].
    ///
    /// # Errors
    /// What the file system says.
    pub fn keep_root(&self) -> anyhow::Result<()> {
        let file = self.path.join(root_file(self.root.version()));
        match file.exists() {
            true => Ok(()),
            false => new_files::make(&file, self.root.bytes()),
        }
    }

    /// Puts the next root in the place of this folder's, which stays by its version.
    ///
    /// # Errors
    /// What the file system says.
    pub fn follow(&self, next: &[u8]) -> anyhow::Result<()> {
        self.keep_root()?;
        new_files::replace(&self.path.join(ROOT), next)
    }

    /// Whether a server's root is one before this folder's.
    ///
    /// # Errors
    /// As for [`KeyFolder::roots`].
    pub fn follows(&self, theirs: &Root) -> anyhow::Result<bool> {
        let is_next = theirs.update(self.root.bytes()).is_ok();
        Ok(is_next || self.roots()?.iter().rev().skip(1).any(|root| root.agrees_with(theirs)))
    }

    /// Refuses a server that follows another root than this folder has.
    ///
    /// # Errors
    /// What is different, and what to do.
    pub fn compare(&self, url: &str, theirs: Option<&[u8]>) -> anyhow::Result<()> {
        let here = self.path.display();
        let Some(theirs) = theirs else {
            bail!("the server at {url} has no root yet; run `lineside keys publish --keys {here}`");
        };
        let pinned = Root::pin(theirs).with_context(|| format!("{url} sends no root"))?;
        if pinned.agrees_with(&self.root) {
            return Ok(());
        }
        if let Ok(next) = self.root.update(theirs) {
            bail!(
                "the server at {url} has root version {}, {here} has version {}: \
                 get the new {ROOT} from whoever signed it, not from the server, and run \
                 `lineside keys follow NEW --root {here}/{ROOT}`",
                next.version(),
                self.root.version()
            );
        }
        if self.follows(&pinned)? {
            bail!(
                "{here} has root version {}, and the server at {url} not yet; \
                 run `lineside keys publish --keys {here}`",
                self.root.version()
            );
        }
        bail!(
            "the server at {url} follows another root than {here}: \
             these are keys of another server, or that server is not what it seems"
        )
    }

    /// As many release keys as the root wants, from the files `release-*.pem` of this folder, and
    /// `release-*.token` for those that lie in tokens.
    ///
    /// # Errors
    /// Fewer than needed.
    pub fn release_keys(&self) -> anyhow::Result<Vec<Signer>> {
        let (named, threshold) = self.root.release_keys();
        let mut keys: Vec<Signer> = Vec::new();
        for path in self.key_files()? {
            if keys.len() == threshold {
                break;
            }
            let key = Signer::open(&path)?;
            let id = key.public().id();
            let is_new = keys.iter().all(|other| other.public().id() != id);
            if is_new && named.contains(&id) {
                keys.push(key);
            }
        }
        if keys.len() < threshold {
            bail!(
                "a release needs {threshold} signatures; {} has {} of the keys that {ROOT} names, as {}: \
                 bring the others together there",
                self.path.display(),
                keys.len(),
                release_key(1)
            );
        }
        Ok(keys)
    }

    fn key_files(&self) -> anyhow::Result<Vec<PathBuf>> {
        let listing = std::fs::read_dir(&self.path)
            .with_context(|| format!("cannot list {}", self.path.display()))?;
        let mut files = Vec::new();
        for entry in listing {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let is_key = [".pem", ".token"].iter().any(|ending| name.ends_with(ending));
            if name.starts_with("release-") && is_key {
                files.push(path);
            }
        }
        files.sort();
        Ok(files)
    }
}

/// Refuses a secret that others may read: it may be theirs as well by now.
///
/// # Errors
/// They may.
pub fn refuse_others(path: &Path) -> anyhow::Result<()> {
    let name = path.display();
    let metadata = std::fs::metadata(path).with_context(|| format!("cannot read {name}"))?;
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        bail!("{name} may be read by others (mode {mode:o}); run: chmod 600 {name}");
    }
    Ok(())
}

/// Reads a file of at most `bytes_max` bytes.
///
/// # Errors
/// What the file system says, with the path.
pub fn read(path: &Path, bytes_max: u64) -> anyhow::Result<Vec<u8>> {
    let name = path.display();
    let size = std::fs::metadata(path).with_context(|| format!("cannot read {name}"))?.len();
    if size > bytes_max {
        bail!("{name} has {size} bytes, at most {bytes_max} are read");
    }
    std::fs::read(path).with_context(|| format!("cannot read {name}"))
}

#[cfg(test)]
mod tests;
