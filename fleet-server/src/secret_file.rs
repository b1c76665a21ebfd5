//! Secrets that settings name by a file of their own.

use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// What is not to be printed.
#[derive(Clone)]
pub(crate) struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

/// The text of a file that nobody but its owner may read.
///
/// # Errors
/// What is wrong with the file, and the cure.
pub(crate) fn read(path: &Path) -> Result<Secret, String> {
    let shown = path.display();
    let read = || -> std::io::Result<(String, u32)> {
        Ok((fs::read_to_string(path)?, fs::metadata(path)?.permissions().mode()))
    };
    let (text, mode) = read().map_err(|error| format!("cannot read {shown}: {error}"))?;
    if mode & 0o077 != 0 {
        return Err(format!(
            "{shown} is open to other users of this machine: close it with `chmod go= {shown}`"
        ));
    }
    Ok(Secret(text.trim().to_owned()))
}
