//! What of the artifacts is whose: the token of a role opens the versions that the role may sign by its paths,
//! the files that it has signed, and what its holder has brought himself. Others may release versions of the
//! same bundle, and a list that names what is theirs gives him nothing of it, whoever publishes the list.

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
    /// Whether a manifest or blob is: it belongs to a version that the role may sign, is a file that it has
    /// signed, or he has brought it. That he has brought a manifest gives him nothing that it
    /// names, nor that somebody else has brought the same bytes.
    pub fn contains(&self, digest: &Digest) -> bool {
        self.artifacts.blobs.has_brought(self.holder, digest)
            || self.opened.contains(digest)
            || self.files.contains(digest)
    }

    /// Refuses blobs of the bundle `name` that are not his who names them: what he names he could read
    /// afterwards. It says the same of those that are not here.
    ///
    /// # Errors
    /// [`Error::Refused`] names the first of them.
    pub fn check(&self, name: &BundleName, blobs: &[Digest]) -> Result<(), Error> {
        match blobs.iter().find(|blob| !self.contains(blob)) {
            None => Ok(()),
            Some(blob) => Err(Error::Refused(format!(
                "{name}: blob {blob} is not on this server: push it first"
            ))),
        }
    }
}

impl SignedDocuments {
    /// What below `name` is his who holds the token of a role.
    ///
    /// # Errors
    /// [`Error::Database`] or [`Error::File`]; [`Error::Forbidden`] if no list names the role;
    /// [`Error::TooLarge`] if more is of the bundle than is looked at.
    pub async fn own<'a>(&'a self, holder: &'a Holder, name: &str) -> Result<Own<'a>, Error> {
        let role = holder.role.as_str();
        let list = self.naming(&holder.role).await?;
        let may_sign =
            |version: &str| list.delegates_for(&format!("{name}/{version}")).contains(&role);
        let manifests = self.artifacts.versions(name, may_sign).await?;
        let mut files = BTreeSet::new();
        if name == role
            && let Some(signed) = self.signed(&holder.role).await?
        {
            files.extend(signed.files().values().map(|(digest, _)| *digest));
        }
        let opened = self.artifacts.opened(name, &manifests).await?;
        Ok(Own { artifacts: &self.artifacts, holder, opened, files })
    }
}
