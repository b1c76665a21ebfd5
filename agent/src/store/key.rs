//! The key that authenticates what the device has compiled.

use crate::failpoint;
use ring::rand::{SecureRandom, SystemRandom};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The file in the state folder.
pub(super) const NAME: &str = "device.key";

/// A key, and what people should know of how it was found.
pub(super) type Found = ([u8; 32], Option<String>);

/// The key of the device, made anew where there is none. One that is lost costs that plugins are
/// compiled again, so its loss stops nothing and is told.
///
/// # Errors
/// The system gives no random bytes.
pub(super) fn device_key(folder: &Path) -> io::Result<Found> {
    let path = folder.join(NAME);
    let lost = match fs::read(&path) {
        Ok(bytes) => match <[u8; 32]>::try_from(bytes) {
            Ok(key) => return Ok((key, None)),
            Err(bytes) => Some(format!("has {} bytes instead of 32", bytes.len())),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // Where nothing was compiled, nothing is lost: mostly a first start.
            has_compiled(folder).then(|| "is gone".to_owned())
        }
        Err(error) => Some(format!("cannot be read ({error})")),
    };
    let mut key = [0; 32];
    let random = SystemRandom::new().fill(&mut key);
    random.map_err(|_| io::Error::other("the system gives no random bytes"))?;
    let lost = lost.map(|how| {
        format!("{NAME} {how}: a new one is made, and plugins are compiled again with it")
    });
    if let Err(error) = write(&path, &key) {
        tracing::warn!(
            "{} cannot be written, plugins are compiled again after the next start: {error}",
            path.display()
        );
    }
    Ok((key, lost))
}

fn has_compiled(folder: &Path) -> bool {
    fs::read_dir(folder.join("cache")).is_ok_and(|mut files| files.next().is_some())
}

fn write(path: &Path, key: &[u8; 32]) -> io::Result<()> {
    let temporary = path.with_extension("key.part");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    failpoint::pass("store.key.write")?;
    file.write_all(key)?;
    failpoint::pass("store.key.sync")?;
    file.sync_all()?;
    failpoint::pass("store.key.rename")?;
    fs::rename(&temporary, path)?;
    File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
}
