//! `join-token`: the token with which the device joins. It is in its folder until the server knows the device.

use super::shared::IdentityError;
use super::whole_file;
use std::path::{Path, PathBuf};

/// The file with the token.
pub(super) struct TokenFile(PathBuf);

impl TokenFile {
    pub(super) fn of(folder: &Path) -> TokenFile {
        TokenFile(folder.join("join-token"))
    }

    /// The token; none where there is none any more.
    pub(super) fn read(&self) -> Result<Option<String>, IdentityError> {
        let path = &self.0;
        let unread = |source| IdentityError::Read { path: path.clone(), source };
        match whole_file::read(path).map_err(unread)? {
            Some((_, mode)) if mode & 0o077 != 0 => {
                Err(IdentityError::Mode { path: path.clone(), mode })
            }
            Some((text, _)) => Ok(Some(text.trim().to_owned())),
            None => Ok(None),
        }
    }

    /// Whether there is a token, of whatever use it is.
    pub(super) fn is_there(&self) -> bool {
        self.0.exists()
    }

    /// Removes it: the server knows the device by its key. Where that fails, it is of no use to anybody else.
    pub(super) fn remove(&self) {
        if let Err(error) = whole_file::remove(&self.0) {
            tracing::warn!("{} is spent and cannot be removed: {error}", self.0.display());
        }
    }
}
