//! `identity.pem`: the device's key. It is made on the device, and never leaves it.

use super::shared::IdentityError;
use super::whole_file;
use lineside_identity::DeviceKey;
use ring::rand::SecureRandom;
use std::io;
use std::path::Path;

const NAME: &str = "identity.pem";

/// The key in `folder`, which is made where there is none.
pub(super) fn open(folder: &Path, random: &dyn SecureRandom) -> Result<DeviceKey, IdentityError> {
    let path = folder.join(NAME);
    let unread = |source| IdentityError::Read { path: path.clone(), source };
    let unusable = |source| IdentityError::Key { path: path.clone(), source };
    if let Some((text, mode)) = whole_file::read(&path).map_err(unread)? {
        if mode & 0o077 != 0 {
            return Err(IdentityError::Mode { path, mode });
        }
        return DeviceKey::from_pem(&text, random).map_err(unusable);
    }
    let key = DeviceKey::generate(random).map_err(unusable)?;
    match whole_file::make(&path, &key.to_pem()) {
        Ok(()) => Ok(key),
        // Somebody else was faster, and his is the one that is on disk.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => open(folder, random),
        Err(source) => Err(IdentityError::Write { path, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::rand::SystemRandom;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_is_made_once_and_refused_where_others_may_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let open = || open(folder.path(), &SystemRandom::new());
        let made = open().unwrap().fingerprint();
        assert_eq!(open().unwrap().fingerprint(), made);
        let path = folder.path().join(NAME);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let said = open().unwrap_err().to_string();
        assert!(said.contains("chmod 600") && said.contains("640"), "{said}");
    }

    #[test]
    fn what_is_no_key_is_never_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        fs::write(&path, "no key").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        let error = open(folder.path(), &SystemRandom::new()).unwrap_err();
        assert!(matches!(error, IdentityError::Key { .. }), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"no key");
    }
}
