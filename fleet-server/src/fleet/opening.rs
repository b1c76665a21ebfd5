//! Who may have what: a device what is assigned to it, the holder of a role's token what he publishes.

use crate::access::{Holder, Publisher};
use crate::artifact::{Artifacts, Opened};
use crate::audit::By;
use crate::error::Error;
use crate::fleet::Fleet;
use crate::release::Own;
use lineside_bundle::{BundleName, Digest};
use lineside_wire::name::{DeviceId, RoleName};
use time::OffsetDateTime;

impl Fleet {
    /// Makes the token of a role that the list of releases names, in the place of the one before.
    ///
    /// # Errors
    /// [`Error::Missing`] if it names no such role; [`Error::Untrusted`] if no list holds.
    pub async fn make_token(
        &self,
        by: &By,
        role: &RoleName,
        now: OffsetDateTime,
    ) -> Result<String, Error> {
        // While this is held no other list comes, with which the role and its token would end.
        let writing = self.store.write().await?;
        let list = self.documents.delegating_to(role, now).await?;
        let keys = list.keys_of(role.as_str());
        let token = self.tokens.make(&writing, by, role, &keys, now).await?;
        writing.commit().await?;
        Ok(token)
    }

    /// What of a bundle a device may read: it belongs to what is assigned to it or was. A stolen password
    /// opens no more of the fleet's models than that, so what the device says that it holds counts for
    /// nothing: whoever has the password can say it.
    ///
    /// # Errors
    /// [`Error::Database`] or [`Error::File`].
    pub async fn opened_for(&self, device: &DeviceId, bundle: &str) -> Result<Opened, Error> {
        let Some(assigned) = self.director.assigned(device).await? else {
            return Ok(Opened::default());
        };
        self.artifacts.opened(bundle, &assigned.manifests(bundle)).await
    }

    /// What below a name the holder of a role's token may read: nothing if it is no name of his.
    ///
    /// # Errors
    /// [`Error::Database`] or [`Error::File`].
    pub async fn opened_to<'a>(
        &'a self,
        holder: &'a Holder,
        name: &str,
    ) -> Result<Option<Own<'a>>, Error> {
        match self.check_name(holder, name).await {
            Ok(()) => Ok(Some(self.documents.own(holder, name).await?)),
            Err(_) => Ok(None),
        }
    }

    /// Whether the holder of a role's token may read what has this digest below a name.
    ///
    /// # Errors
    /// As for [`Fleet::opened_to`].
    pub async fn is_of(&self, holder: &Holder, name: &str, digest: &Digest) -> Result<bool, Error> {
        Ok(self.opened_to(holder, name).await?.is_some_and(|own| own.contains(digest)))
    }

    /// Refuses a name below which the holder of a role's token brings nothing: it is none of a bundle that
    /// he may release, nor the role's own, below which its files lie.
    ///
    /// # Errors
    /// [`Error::Forbidden`].
    pub async fn check_name(&self, holder: &Holder, name: &str) -> Result<(), Error> {
        if name == holder.role.as_str() {
            return Ok(());
        }
        self.check_bundle(holder, name).await
    }

    /// Refuses a bundle that the holder of a role's token may not release.
    ///
    /// # Errors
    /// [`Error::Forbidden`].
    pub async fn check_bundle(&self, holder: &Holder, name: &str) -> Result<(), Error> {
        let list = self.documents.naming(&holder.role).await?;
        let bundle: Result<BundleName, _> = name.parse();
        match bundle.is_ok_and(|bundle| list.may_release(holder.role.as_str(), &bundle)) {
            true => Ok(()),
            false => Err(beyond(holder, &format!("bundle {}", short(name)))),
        }
    }

    /// Refuses a manifest that who publishes may not push by this reference: below another bundle's name,
    /// or by a tag that stands for a version which he may not release. And one that names what is not his.
    ///
    /// # Errors
    /// [`Error::Forbidden`]; [`Error::Refused`].
    pub async fn check_push(
        &self,
        publisher: &Publisher,
        name: &BundleName,
        reference: &str,
        bytes: &[u8],
    ) -> Result<(), Error> {
        let Publisher::Role(holder) = publisher else { return Ok(()) };
        self.check_bundle(holder, name.as_str()).await?;
        let path = format!("{name}/{reference}");
        let list = self.documents.naming(&holder.role).await?;
        let may_sign = || list.delegates_for(&path).contains(&holder.role.as_str());
        if reference.parse::<Digest>().is_err() && !may_sign() {
            return Err(beyond(holder, &short(&path)));
        }
        let named = Artifacts::named_in(name, bytes)?;
        self.documents.own(holder, name.as_str()).await?.check(name, &named)
    }

    /// Refuses to tell the holder of a role's token what another role has signed, but one who may sign what
    /// is at `path` as he may: the numbers of a bundle's releases are given once, whoever signs them.
    ///
    /// # Errors
    /// [`Error::Forbidden`].
    pub async fn check_beside(
        &self,
        holder: &Holder,
        other: &RoleName,
        path: Option<&str>,
    ) -> Result<(), Error> {
        if holder.role == *other {
            return Ok(());
        }
        let list = self.documents.naming(&holder.role).await?;
        let signers = path.map(|path| list.delegates_for(path)).unwrap_or_default();
        match [&holder.role, other].into_iter().all(|role| signers.contains(&role.as_str())) {
            true => Ok(()),
            false => Err(beyond(holder, &format!("what {other} has signed"))),
        }
    }
}

/// Why what somebody asks for by the token of a role is not for him.
pub(crate) fn beyond(holder: &Holder, what: &str) -> Error {
    let role = &holder.role;
    Error::Forbidden(format!(
        "the token of {role} opens what {role} needs to publish what it may sign, and nothing else: not \
         {what}"
    ))
}

fn short(text: &str) -> String {
    text.chars().take(130).collect()
}
