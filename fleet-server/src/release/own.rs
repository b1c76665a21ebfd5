//! What of the artifacts is whose: the token of a role opens what the role may sign by its paths, has signed,
//! or has brought itself. Others may release versions of the same bundle.

use crate::access::Holder;
use crate::artifact::{Artifacts, Opened};
use crate::error::Error;
use crate::release::SignedDocuments;
use lineside_bundle::{BundleName, Digest};
use std::collections::BTreeSet;

/// What below a name is his who holds the token of a role.
pub(crate) struct Own<'a> {
    artifacts: &'a Artifacts,
    holder: &'a Holder,
    opened: Opened,
    /// What the role has signed that is no release.
    files: BTreeSet<Digest>,
}

impl Own<'_> {
    /// Whether a manifest or blob is: it belongs to a version that the role may sign or has signed, is a file
    /// that it has signed, or he has brought it. That he has brought a manifest gives him nothing that it
    /// names, nor that somebody else has brought the same bytes.
    pub fn contains(&self, digest: &Digest) -> bool {
        self.artifacts.blobs.has_brought(self.holder, digest)
            || self.opened.contains(digest)
            || self.files.contains(digest)
    }
}

impl SignedDocuments {
    /// What below `name` is his who holds the token of a role.
    ///
    /// # Errors
    /// [`Error::Database`] or [`Error::File`]; [`Error::Forbidden`] if no list names the role.
    pub async fn own<'a>(&'a self, holder: &'a Holder, name: &str) -> Result<Own<'a>, Error> {
        let role = holder.role.as_str();
        let list = self.naming(&holder.role).await?;
        let may_sign =
            |version: &str| list.delegates_for(&format!("{name}/{version}")).contains(&role);
        let mut manifests = self.artifacts.versions(name, may_sign).await?;
        let mut files = BTreeSet::new();
        if let Some(signed) = self.signed(&holder.role).await? {
            let releases = signed.releases().values().map(|release| &release.id);
            manifests.extend(releases.filter(|id| id.name.as_str() == name).map(|id| id.digest));
            if name == role {
                files.extend(signed.files().values().map(|(digest, _)| *digest));
            }
        }
        let opened = self.artifacts.opened(name, &manifests).await?;
        Ok(Own { artifacts: &self.artifacts, holder, opened, files })
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
        let own = self.own(holder, name.as_str()).await?;
        match blobs.iter().find(|blob| !own.contains(blob)) {
            None => Ok(()),
            Some(blob) => Err(Error::Refused(format!(
                "{name}: blob {blob} is not on this server: push it first"
            ))),
        }
    }
}
