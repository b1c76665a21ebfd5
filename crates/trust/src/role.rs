//! What a delegated role signs: releases of a vendor, what holds at a site.

use crate::delegation::{DOCUMENT, Listing, TrustedTargets, file_targets, within};
use crate::document::{SPEC_VERSION, envelope, parse, timestamp, verify_draft_version};
use crate::error::TrustError;
use crate::key::KeyPair;
use crate::releases::{SignedRelease, TrustedReleases, next, targets};
use crate::withdrawn::{Others, Withdrawals};
use lineside_bundle::{Digest, ReleaseId};
use serde_json::{Value, json};
use sigstore_tuf::canonical_json::to_canonical_bytes;
use sigstore_tuf::{DelegatedRole, Metadata, Targets};
use std::collections::BTreeMap;
use time::OffsetDateTime;

/// A list of a delegated role to be signed.
#[derive(Debug, Clone)]
pub struct RoleDraft {
    version: u64,
    listed: Listing,
    others: Others,
}

impl RoleDraft {
    /// The list that follows what the role has signed; without that, its first. `others` are the
    /// releases that somebody else has signed: a bundle counts its releases whoever signs them.
    pub fn after(trusted: Option<&TrustedTargets>, others: Others) -> RoleDraft {
        let listed = trusted.map(|trusted| trusted.listed().clone()).unwrap_or_default();
        let version = trusted.map_or(0, |trusted| trusted.seen().version) + 1;
        RoleDraft { version, listed, others }
    }

    /// The list that follows `kept`, whose signatures are not looked at: whoever calls this trusts the
    /// file in which it lies. It goes on from what the role called `name` may still sign by `list`, and
    /// with the version after both its own and `version`.
    ///
    /// # Errors
    /// [`TrustError::Format`]: it is no such list, or the role is none.
    pub fn carrying_on(
        kept: &[u8],
        list: &TrustedReleases,
        name: &str,
        version: u64,
        others: Others,
    ) -> Result<RoleDraft, TrustError> {
        let mut signed = parse::<Targets>(DOCUMENT, kept)?.into_signed();
        let (_, role) = list.role(name)?;
        signed.targets.retain(|path, _| role.matches_path(path).unwrap_or(false));
        let listed = within(role, &signed)
            .map_err(|problem| TrustError::Format { document: DOCUMENT, problem })?;
        let version = signed.version.max(version).saturating_add(1);
        Ok(RoleDraft { version, listed, others })
    }

    /// Adds a release under the next number of its bundle. `floor` raises the number below which a
    /// device may not go; otherwise it stays.
    ///
    /// # Errors
    /// A sentence: the version exists, or the floor is above the new number.
    pub fn add(&mut self, id: ReleaseId, floor: Option<u64>) -> Result<SignedRelease, String> {
        let Listing { releases, withdrawn, .. } = &mut self.listed;
        let release = next(releases, withdrawn, &self.others, id, floor)?;
        releases.insert(release.path(), release.clone());
        Ok(release)
    }

    /// Takes the release at `path` (`pump/2`) off the list. Neither its number nor its version is ever
    /// given again, and the floor of its bundle stays.
    ///
    /// # Errors
    /// A sentence: it is not on the list.
    pub fn withdraw(&mut self, path: &str) -> Result<SignedRelease, String> {
        self.listed.withdrawn.withdraw(path, &mut self.listed.releases)
    }

    /// The release at `path` (`pump/2`).
    pub fn get(&self, path: &str) -> Option<&SignedRelease> {
        self.listed.releases.get(path)
    }

    /// Digest and size of each file that is no release, by path.
    pub fn files(&self) -> &BTreeMap<String, (Digest, u64)> {
        &self.listed.files
    }

    /// Has `bytes` lie at `path`, in place of what lay there.
    pub fn put(&mut self, path: &str, bytes: &[u8]) {
        self.listed.files.insert(path.to_owned(), (Digest::of(bytes), bytes.len() as u64));
    }

    /// Signs the list.
    pub fn sign(&self, expires: OffsetDateTime, keys: &[&KeyPair]) -> Vec<u8> {
        envelope(&self.signed(expires), keys)
    }

    /// The part of the document that is signed.
    fn signed(&self, expires: OffsetDateTime) -> Value {
        let mut listed = targets(&self.listed.releases);
        listed.extend(file_targets(&self.listed.files));
        let mut signed = json!({
            "_type": "targets",
            "spec_version": SPEC_VERSION,
            "version": self.version,
            "expires": timestamp(expires),
            "targets": listed,
        });
        self.listed.withdrawn.put_into(&mut signed);
        signed
    }
}

/// What a list of a delegated role says, signed or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleSpec {
    /// Its version; rises with each.
    pub version: u64,
    /// When it expires.
    pub expires: OffsetDateTime,
    /// The releases, by path.
    pub releases: BTreeMap<String, SignedRelease>,
    /// What was withdrawn.
    pub withdrawn: Withdrawals,
    /// Digest and size of each other file, by path.
    pub files: BTreeMap<String, (Digest, u64)>,
}

impl RoleSpec {
    /// What a document says of which all is within the paths of the role, and all can be shown.
    pub(crate) fn of(
        metadata: &Metadata<Targets>,
        role: &DelegatedRole,
    ) -> Result<RoleSpec, TrustError> {
        let failed = |problem: String| TrustError::Format { document: DOCUMENT, problem };
        let signed = metadata.signed();
        verify_draft_version(DOCUMENT, signed.version)?;
        let listed = within(role, signed).map_err(failed)?;
        let expires = OffsetDateTime::from_unix_timestamp(signed.expires.as_second())
            .map_err(|error| failed(error.to_string()))?;
        let version = signed.version;
        let again = RoleDraft { version, listed, others: Others::default() };
        // Written again it must be the same, but for the version of the specification: then there is
        // nothing in it that nobody is shown.
        let mut written = again.signed(expires);
        written["spec_version"] = signed.spec_version.clone().into();
        match to_canonical_bytes(&written) {
            Ok(written) if written == metadata.signed_canonical() => {
                let Listing { releases, withdrawn, files } = again.listed;
                Ok(RoleSpec { version, expires, releases, withdrawn, files })
            }
            _ => Err(failed("it says more than this version of lineside can show".into())),
        }
    }
}
