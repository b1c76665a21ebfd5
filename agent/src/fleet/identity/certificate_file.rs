//! `certificate.pem`: what the server has made for the device's key, its own certificate first.

use super::shared::IdentityError;
use super::whole_file;
use std::path::{Path, PathBuf};

/// The file with the certificate.
pub(super) struct CertificateFile(PathBuf);

impl CertificateFile {
    pub(super) fn of(folder: &Path) -> CertificateFile {
        CertificateFile(folder.join("certificate.pem"))
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// What stands in it; none where there is none.
    pub(super) fn read(&self) -> Result<Option<String>, IdentityError> {
        let unread = |source| IdentityError::Read { path: self.0.clone(), source };
        Ok(whole_file::read(&self.0).map_err(unread)?.map(|(text, _)| text))
    }

    /// Whether it is there.
    pub(super) fn is_there(&self) -> bool {
        self.0.exists()
    }

    /// Puts another in its place: whoever reads it has the old one or the new one.
    pub(super) fn write(&self, pem: &str) -> Result<(), IdentityError> {
        let unwritten = |source| IdentityError::Write { path: self.0.clone(), source };
        whole_file::replace(&self.0, pem).map_err(unwritten)
    }
}
