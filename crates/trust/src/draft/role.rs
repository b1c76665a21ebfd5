//! A draft of what a delegated role signs: who the role is, by whose word, and what lies behind the
//! digests.

use super::{Contents, DraftError, Signers};
use crate::delegation::{self, Delegation, verify_delegated};
use crate::document::{Seen, parse};
use crate::error::TrustError;
use crate::freshness::Listed;
use crate::releases::{TrustedReleases, verify_releases};
use crate::role::RoleSpec;
use crate::root::Root;
use lineside_bundle::Digest;
use serde::{Deserialize, Serialize};
use sigstore_tuf::{Metadata, Targets};
use std::collections::BTreeMap;
use time::OffsetDateTime;

/// Largest file of a role that is no release, in bytes: a site's policy. Drafts carry it, and those who sign
/// them have to read it.
pub const ROLE_FILE_BYTES_MAX: usize = 64 << 10;

/// Who a delegated role is, and what his signers have to see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RoleFile {
    pub(super) name: String,
    /// The list of releases that delegates to it.
    pub(super) list: String,
    /// The list of the role that this one follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) before: Option<String>,
    /// What lies at the paths that are no releases.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) files: BTreeMap<String, String>,
}

impl RoleFile {
    /// What a list of a role says, and who has to sign it: within its paths, to follow what it signed
    /// before, and of every file that it speaks of what is in it.
    pub(super) fn contents(
        &self,
        metadata: &Metadata<Targets>,
        root: &Root,
    ) -> Result<(Contents, Signers), DraftError> {
        let list = verify_releases(root, self.list.as_bytes(), None, OffsetDateTime::UNIX_EPOCH)?;
        let role = delegation_to(&list, &self.name)?;
        role.check(root).map_err(DraftError::Format)?;
        let (_, delegate) = list.role(&self.name)?;
        let spec = RoleSpec::of(metadata, delegate)?;
        let before = match &self.before {
            None => None,
            Some(before) => {
                let listed = Listed::of(delegation::DOCUMENT, before.as_bytes())?;
                let epoch = OffsetDateTime::UNIX_EPOCH;
                let holds =
                    verify_delegated(&list, &self.name, before.as_bytes(), None, epoch).is_ok();
                // One that does not hold by these keys and paths tells nobody what was signed before.
                let shown = match holds {
                    true => {
                        let metadata = parse(delegation::DOCUMENT, before.as_bytes())?;
                        Some(RoleSpec::of(&metadata, delegate)?)
                    }
                    false => None,
                };
                Some((listed.version(), shown))
            }
        };
        let version = before.as_ref().map_or(0, |(version, _)| *version);
        if spec.version != version.saturating_add(1) {
            return Err(DraftError::ListSequence { version: spec.version, before: version });
        }
        check_files(&spec, &self.files)?;
        let before = before.and_then(|(_, shown)| shown);
        let quorum = (format!("role {}", role.name), role.threshold, role.keys.clone());
        let files = self.files.clone();
        Ok((Contents::Role { role: Box::new(role), spec, before, files }, quorum))
    }

    /// Whether a device that has what came before would take `bytes` at `now`.
    pub(super) fn verify(
        &self,
        root: &Root,
        before: Option<&RoleSpec>,
        bytes: &[u8],
        now: OffsetDateTime,
    ) -> Result<(), TrustError> {
        let list = verify_releases(root, self.list.as_bytes(), None, now)?;
        let seen = before.zip(self.before.as_ref()).map(|(spec, text)| {
            let digest = Digest::of(text.as_bytes());
            Seen { version: spec.version, digest }
        });
        verify_delegated(&list, &self.name, bytes, seen.as_ref(), now).map(drop)
    }
}

fn delegation_to(list: &TrustedReleases, name: &str) -> Result<Delegation, DraftError> {
    let role = list.delegations()?.into_iter().find(|role| role.name == name);
    role.ok_or_else(|| {
        let version = list.seen().version;
        DraftError::Format(format!("list of releases {version} delegates nothing to role {name}"))
    })
}

/// Whether every file that the list speaks of is there to be read, and nothing else.
fn check_files(spec: &RoleSpec, files: &BTreeMap<String, String>) -> Result<(), DraftError> {
    for (path, (digest, size)) in &spec.files {
        let is_shown = files.get(path).is_some_and(|text| {
            text.len() <= ROLE_FILE_BYTES_MAX
                && text.len() as u64 == *size
                && Digest::of(text.as_bytes()) == *digest
        });
        if !is_shown {
            let problem = format!("{path} does not come with it as it is to be signed");
            return Err(DraftError::Format(problem));
        }
    }
    match files.keys().find(|path| !spec.files.contains_key(*path)) {
        Some(path) => Err(DraftError::Format(format!("it brings {path}, which it does not list"))),
        None => Ok(()),
    }
}
