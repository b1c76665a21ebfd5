//! Files that hold secrets or cannot be made again: made anew, never written over, all or none. And
//! files that may be written over: whole or not at all.

use anyhow::{Context, bail};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{BufWriter, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// New files in a folder, empty until [`NewFiles::keep`]; removed again if that never comes.
pub struct NewFiles {
    folder: PathBuf,
    made: Vec<PathBuf>,
    /// Whether the folder was made for them.
    is_new: bool,
    is_kept: bool,
}

/// Who may read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readers {
    /// Its owner alone.
    Owner,
    /// Everybody.
    All,
}

impl NewFiles {
    /// Reserves `names` in `folder`, which is made if it is not there.
    ///
    /// # Errors
    /// One of them exists: nothing is written over.
    pub fn reserve(folder: &Path, names: &[(String, Readers)]) -> anyhow::Result<NewFiles> {
        let is_new = !folder.exists();
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
        let mut files =
            NewFiles { folder: folder.to_owned(), made: Vec::new(), is_new, is_kept: false };
        for (name, readers) in names {
            let path = folder.join(name);
            let mode = if *readers == Readers::Owner { 0o600 } else { 0o644 };
            match OpenOptions::new().write(true).create_new(true).mode(mode).open(&path) {
                Ok(_) => files.made.push(path),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => bail!(
                    "{} is there already and is never written over: \
                     name another folder, or move it away if you are sure",
                    path.display()
                ),
                Err(error) => {
                    return Err(error).with_context(|| format!("cannot make {}", path.display()));
                }
            }
        }
        Ok(files)
    }

    /// Fills one of the reserved files; it is on disk when this returns.
    ///
    /// # Errors
    /// What the file system says.
    pub fn fill(&self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let path = self.folder.join(name);
        let fill = || -> std::io::Result<()> {
            let mut file = OpenOptions::new().write(true).truncate(true).open(&path)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            File::open(&self.folder)?.sync_all()
        };
        fill().with_context(|| format!("cannot write {}", path.display()))
    }

    /// From now on they stay.
    pub fn keep(mut self) {
        self.is_kept = true;
    }
}

impl Drop for NewFiles {
    fn drop(&mut self) {
        if !self.is_kept {
            for path in &self.made {
                // Whoever reads the error finds the folder as it was, as far as that can be had.
                let _ = std::fs::remove_file(path);
            }
            if self.is_new {
                let _ = std::fs::remove_dir(&self.folder);
            }
        }
    }
}

/// Makes a file that everybody may read; it is never written over.
///
/// # Errors
/// It exists, or what the file system says.
pub fn make(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let (folder, name) = split(path)?;
    let files = NewFiles::reserve(folder, &[(name.clone(), Readers::All)])?;
    files.fill(&name, bytes)?;
    files.keep();
    Ok(())
}

/// The folder of a file, and its name in it.
///
/// # Errors
/// It has no name.
pub fn split(path: &Path) -> anyhow::Result<(&Path, String)> {
    let name = path.file_name().with_context(|| format!("{} names no file", path.display()))?;
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    Ok((folder.unwrap_or(Path::new(".")), name.to_string_lossy().into_owned()))
}

/// Puts `bytes` in the place of the file at `path`: whoever reads it has the old or the new.
///
/// # Errors
/// What the file system says.
pub fn replace(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    replace_with(path, |out| out.write_all(bytes)).map(drop)
}

/// As [`replace`], of what nobody else may read.
///
/// # Errors
/// What the file system says.
pub fn replace_secret(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    replace_for(path, Readers::Owner, |out| out.write_all(bytes)).map(drop)
}

/// As [`replace`], with what `write` writes. Returns its size in bytes.
///
/// # Errors
/// What the file system says.
pub fn replace_with(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> std::io::Result<()>,
) -> anyhow::Result<u64> {
    replace_for(path, Readers::All, write)
}

fn replace_for(
    path: &Path,
    readers: Readers,
    write: impl FnOnce(&mut BufWriter<File>) -> std::io::Result<()>,
) -> anyhow::Result<u64> {
    let cannot = || format!("cannot write {}", path.display());
    let name = path.file_name().context("a file needs a name").with_context(cannot)?;
    // A name that nobody else has: two files may differ by their extensions alone, and two of us may
    // write the same one. In the same folder, or it could not take the other's place.
    let mut part_name = name.to_owned();
    part_name.push(format!(".{}.part", std::process::id()));
    let part = path.with_file_name(part_name);
    let mode = if readers == Readers::Owner { 0o600 } else { 0o666 };
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&part);
    let file = file.with_context(|| format!("cannot make {}", part.display()))?;
    let put = || -> std::io::Result<u64> {
        let mut out = BufWriter::new(file);
        write(&mut out)?;
        out.flush()?;
        // It may leave on a stick that is pulled right after.
        out.get_ref().sync_all()?;
        let bytes = out.get_ref().metadata()?.len();
        std::fs::rename(&part, path)?;
        // The name is on the medium only with its folder.
        let folder = path.parent().filter(|folder| *folder != Path::new(""));
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
        Ok(bytes)
    };
    put().inspect_err(|_| drop(std::fs::remove_file(&part))).with_context(cannot)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn names(names: &[&str]) -> Vec<(String, Readers)> {
        names.iter().map(|name| ((*name).to_owned(), Readers::Owner)).collect()
    }

    #[test]
    fn nothing_is_written_over_and_nothing_half_made_stays() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("b.pem"), "precious").unwrap();
        let reserved = NewFiles::reserve(folder.path(), &names(&["a.pem", "b.pem"]));
        let error = reserved.err().unwrap().to_string();
        assert!(error.contains("b.pem is there already"), "{error}");
        assert!(!folder.path().join("a.pem").exists());
        let new = folder.path().join("new");
        drop(NewFiles::reserve(&new, &names(&["a.pem"])).unwrap());
        assert!(!new.exists());
        assert_eq!(std::fs::read(folder.path().join("b.pem")).unwrap(), b"precious");
    }

    #[test]
    fn a_file_is_replaced_whole_and_no_other_is_touched() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("turbine-1.part"), "precious").unwrap();
        std::fs::write(path("turbine-1.1"), "old").unwrap();
        assert_eq!(replace_with(&path("turbine-1.1"), |out| out.write_all(b"newer")).unwrap(), 5);
        assert_eq!(std::fs::read(path("turbine-1.1")).unwrap(), b"newer");
        let failed = replace_with(&path("turbine-1.1"), |out| {
            // While one is being written another is, whose name differs by its extension alone.
            replace(&path("turbine-1.2"), b"another").unwrap();
            out.write_all(b"half")?;
            Err(std::io::Error::other("the stick was pulled"))
        });
        let error = format!("{:#}", failed.unwrap_err());
        assert!(error.ends_with("turbine-1.1: the stick was pulled"), "{error}");
        assert_eq!(std::fs::read(path("turbine-1.1")).unwrap(), b"newer");
        assert_eq!(std::fs::read(path("turbine-1.2")).unwrap(), b"another");
        assert_eq!(std::fs::read(path("turbine-1.part")).unwrap(), b"precious");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
    }

    #[test]
    fn secrets_are_their_owners_and_stay_once_they_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let keys = folder.path().join("keys");
        let files = NewFiles::reserve(&keys, &names(&["a.pem"])).unwrap();
        files.fill("a.pem", b"secret").unwrap();
        files.keep();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&keys), mode(&keys.join("a.pem"))), (0o700, 0o600));
        assert_eq!(std::fs::read(keys.join("a.pem")).unwrap(), b"secret");
    }
}
