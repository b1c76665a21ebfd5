//! The lists that were signed or seen here: what the server gives is compared with them, and they are what
//! the next one follows.

use super::{KeyFolder, read};
use crate::new_files;
use anyhow::Context;
use lineside_trust::{
    DOCUMENT_BYTES_MAX, ReleasesDraft, Root, Seen, SignedRelease, TrustError, TrustedReleases,
    verify_releases,
};
use lineside_wire::name::RoleName;
use time::OffsetDateTime;

/// The last list of releases that was signed or seen here.
const RELEASES: &str = "releases.json";
/// The root that the last list of releases was verified with. After the release keys were replaced
/// the list holds by this root only, until it is signed anew.
const RELEASES_ROOT: &str = "releases-root.json";
/// Name of the file with the last list of a delegated role.
fn role_list(role: &RoleName) -> String {
    format!("role-{role}.json")
}

impl KeyFolder {
    /// Verifies the server's list of releases: signed, and no older than what was seen here.
    ///
    /// A list past its date is believed, because it is to be signed anew. So is one of keys that were
    /// replaced since, if it is the very one that was verified here. Where the server has none or an
    /// older one than was seen here, that one is what the next has to follow; and where the server has
    /// another of replaced keys, which whoever stole them may have signed.
    ///
    /// # Errors
    /// Why it is not trusted, and what to do.
    pub fn verify(
        &self,
        releases: Option<&[u8]>,
        now: OffsetDateTime,
    ) -> anyhow::Result<Option<KnownList>> {
        let kept = self.kept_releases()?.map(|bytes| self.trust_kept(bytes, now)).transpose()?;
        let forgotten = |kept| KnownList { is_forgotten: true, ..kept };
        let Some(bytes) = releases else { return Ok(kept.map(forgotten)) };
        if let Some(kept) = &kept
            && kept.freshness == Freshness::KeysReplaced
            && kept.bytes == bytes
        {
            return Ok(Some(kept.clone()));
        }
        let seen = kept.as_ref().map(|kept| kept.releases.seen());
        let verified = known(&self.root, bytes.to_vec(), seen.as_ref(), now);
        match (verified, kept) {
            (Ok(theirs), _) => Ok(Some(theirs)),
            (Err(TrustError::Older { .. }), Some(kept)) => Ok(Some(forgotten(kept))),
            (Err(error @ TrustError::Signature { .. }), kept) => {
                match (kept, self.of_replaced_keys(bytes)?) {
                    (Some(kept), Some(_)) if kept.freshness != Freshness::KeysReplaced => {
                        Ok(Some(forgotten(kept)))
                    }
                    (Some(kept), disowned @ Some(_)) => Ok(Some(KnownList { disowned, ..kept })),
                    _ => Err(error).context(
                        "the server's list of releases is not trusted; if the release keys were \
                         replaced, sign it anew in the folder of keys that it was last signed or seen in",
                    ),
                }
            }
            (Err(error), _) => Err(error).context("the server's list of releases is not trusted"),
        }
    }

    /// The last list of releases that was signed or seen here.
    ///
    /// # Errors
    /// What the file system says.
    pub fn kept_releases(&self) -> anyhow::Result<Option<Vec<u8>>> {
        let path = self.path.join(RELEASES);
        if !path.exists() {
            return Ok(None);
        }
        read(&path, DOCUMENT_BYTES_MAX as u64).map(Some)
    }

    /// Keeps a list of releases that was verified, so that an older one is noticed.
    ///
    /// # Errors
    /// What the file system says.
    pub fn keep_releases(&self, bytes: &[u8]) -> anyhow::Result<()> {
        self.keep_root()?;
        if self.kept_releases()?.as_deref() == Some(bytes) {
            return Ok(());
        }
        new_files::replace(&self.path.join(RELEASES), bytes)?;
        // After the list: should this one not be written, the list still holds by the root itself.
        new_files::replace(&self.path.join(RELEASES_ROOT), self.root.bytes())
    }

    /// What a delegated role has signed last, of what was signed or seen here.
    ///
    /// # Errors
    /// What the file system says.
    pub fn kept_role(&self, role: &RoleName) -> anyhow::Result<Option<Vec<u8>>> {
        let path = self.path.join(role_list(role));
        if !path.exists() {
            return Ok(None);
        }
        read(&path, DOCUMENT_BYTES_MAX as u64).map(Some)
    }

    /// Keeps what a delegated role has signed and was verified, so that an older list is noticed, and
    /// that the next one goes on from it even where the role has got other keys meanwhile.
    ///
    /// # Errors
    /// What the file system says.
    pub fn keep_role(&self, role: &RoleName, list: &[u8]) -> anyhow::Result<()> {
        new_files::replace(&self.path.join(role_list(role)), list)
    }

    /// Verifies the list that lies here, by the root or by the one that it was verified with then.
    fn trust_kept(&self, kept: Vec<u8>, now: OffsetDateTime) -> anyhow::Result<KnownList> {
        let error = match known(&self.root, kept.clone(), None, now) {
            Ok(known) => return Ok(known),
            Err(error) => error,
        };
        let former = self.path.join(RELEASES_ROOT);
        if former.exists() {
            let bytes = read(&former, DOCUMENT_BYTES_MAX as u64)?;
            if let Ok(known) = Root::pin(&bytes).and_then(|root| known(&root, kept, None, now)) {
                return Ok(KnownList { freshness: Freshness::KeysReplaced, ..known });
            }
        }
        let path = self.path.join(RELEASES);
        Err(error).with_context(|| format!("{} cannot be trusted", path.display()))
    }

    /// A list that holds by a root before this folder's.
    fn of_replaced_keys(&self, bytes: &[u8]) -> anyhow::Result<Option<TrustedReleases>> {
        let verify =
            |root: &Root| verify_releases(root, bytes, None, OffsetDateTime::UNIX_EPOCH).ok();
        Ok(self.roots()?.iter().rev().skip(1).find_map(verify))
    }
}

/// The list of releases that the next one follows.
#[derive(Debug, Clone)]
pub struct KnownList {
    /// As it was signed.
    pub bytes: Vec<u8>,
    /// What it says.
    pub releases: TrustedReleases,
    /// Whether it is to be signed anew.
    pub freshness: Freshness,
    /// The server has none, or an older one: it was lost, or restored from a copy.
    pub is_forgotten: bool,
    /// What the server has instead, signed by keys that were replaced.
    pub disowned: Option<TrustedReleases>,
}

impl KnownList {
    /// The list that follows.
    pub fn next(&self) -> ReleasesDraft {
        let next = ReleasesDraft::after(Some(&self.releases));
        match &self.disowned {
            Some(disowned) => next.beyond(disowned),
            None => next,
        }
    }

    /// What the server's list has and this one has not, by keys that were replaced. It is not signed
    /// anew.
    pub fn unsigned_anew(&self) -> Vec<String> {
        let disowned = self.disowned.iter().flat_map(TrustedReleases::iter);
        let new = disowned.filter(|release| self.releases.get(&release.path()) != Some(release));
        new.map(SignedRelease::path).collect()
    }

    /// The same as a line of text, empty if there is nothing.
    pub fn tell_unsigned(&self) -> String {
        tell_unsigned(&self.unsigned_anew())
    }
}

/// Says what of a server's list is not signed anew, as a line of text, empty if there is nothing.
pub fn tell_unsigned(paths: &[String]) -> String {
    if paths.is_empty() {
        return String::new();
    }
    format!(
        "\nnot signed anew, and given to no device: {}. The server's list has it by keys that were \
         replaced, and the list that lies here has not; if it is yours, release it again",
        paths.join(", ")
    )
}

/// Verifies a list by a root; a date that has passed is said.
fn known(
    root: &Root,
    bytes: Vec<u8>,
    seen: Option<&Seen>,
    now: OffsetDateTime,
) -> Result<KnownList, TrustError> {
    let verify = |now| verify_releases(root, &bytes, seen, now);
    let (releases, freshness) = match verify(now) {
        Err(TrustError::Expired { .. }) => {
            (verify(OffsetDateTime::UNIX_EPOCH)?, Freshness::Expired)
        }
        verified => (verified?, Freshness::Fresh),
    };
    Ok(KnownList { bytes, releases, freshness, is_forgotten: false, disowned: None })
}

/// Whether a document is still good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    Fresh,
    /// Past its date.
    Expired,
    /// Signed by keys that the root no longer names.
    KeysReplaced,
}
