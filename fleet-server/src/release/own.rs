//! What of the artifacts is whose: the token of a role opens what the role may sign by its paths, has signed,
//! or has brought itself. Others may release versions of the same bundle.

use crate::access::Holder;
use crate::error::Error;
use crate::release::SignedDocuments;
use lineside_bundle::{BundleName, Digest};

impl SignedDocuments {
    /// Whether a manifest or blob below `name` is his who holds the token of a role: it belongs to a version
    /// that the role may sign or has signed, is a file that it has signed, or he has brought it. That he has
    /// brought a manifest gives him nothing that it names, nor that somebody else has brought the same bytes.
    ///
    /// # Errors
    /// [`Error::Database`] or [`Error::File`]; [`Error::Forbidden`] if no list names the role.
    pub async fn is_of(&self, holder: &Holder, name: &str, digest: &Digest) -> Result<bool, Error> {
        if self.artifacts.blobs.has_brought(holder, digest) {
            return Ok(true);
        }
        let role = holder.role.as_str();
        let list = self.naming(&holder.role).await?;
        let may_sign =
            |version: &str| list.delegates_for(&format!("{name}/{version}")).contains(&role);
        if self.artifacts.belongs(name, may_sign, digest).await? {
            return Ok(true);
        }
        let Some(signed) = self.signed(&holder.role).await? else { return Ok(false) };
        let releases = signed.releases().values().map(|release| &release.id);
        let manifests: Vec<Digest> =
            releases.filter(|id| id.name.as_str() == name).map(|id| id.digest).collect();
        if self.artifacts.names(name, &manifests, digest).await? {
            return Ok(true);
        }
        Ok(name == role && signed.files().values().any(|(known, _)| known == digest))
    }

    /// Refuses blobs of a bundle that are not his who names them: what he names he could read afterwards. It
    /// says the same of those that are not here.
    ///
    /// # Errors
    /// [`Error::Refused`] names the first of them.
    pub async fn check_own(
        &self,
        holder: &Holder,
        name: &BundleName,
        blobs: &[Digest],
    ) -> Result<(), Error> {
        for blob in blobs {
            if !self.is_of(holder, name.as_str(), blob).await? {
                return Err(Error::Refused(format!(
                    "{name}: blob {blob} is not on this server: push it first"
                )));
            }
        }
        Ok(())
    }
}
