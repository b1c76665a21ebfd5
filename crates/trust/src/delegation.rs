//! Delegations: who besides the release keys may sign targets, and which. TUF targets as well.

use crate::document::{
    SPEC_VERSION, Seen, envelope, parse, timestamp, verify_expiry, verify_sequence,
    verify_signatures,
};
use crate::error::TrustError;
use crate::key::{KeyPair, PublicKey};
use crate::releases::{SignedRelease, TrustedReleases, digest, release_in};
use crate::repository::rules::sound_targets;
use lineside_bundle::Digest;
use serde_json::{Map, Value, json};
use sigstore_tuf::{DelegatedRole, Delegations, Metadata, Targets};
use std::collections::BTreeMap;
use time::OffsetDateTime;

const DOCUMENT: &str = "role's list";

/// A role that may sign targets whose paths match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delegation {
    /// What it is called: `vendor-acme`, `site-mill`.
    pub name: String,
    /// Keys that may sign for it.
    pub keys: Vec<PublicKey>,
    /// How many must.
    pub threshold: usize,
    /// What it may sign: `turbine/*`, every release of a bundle; `site/mill/*`, what holds at a site.
    /// A `*` stands for anything without a `/`.
    pub paths: Vec<String>,
    /// Whether nobody after it is asked for such paths.
    pub terminating: bool,
}

/// What a document of targets shall say, other than a list of releases: what a vendor or a site signs.
#[derive(Debug, Clone)]
pub struct TargetsSpec {
    /// Its version; rises with each.
    pub version: u64,
    /// When it expires.
    pub expires: OffsetDateTime,
    /// Digest and size of each file, by path.
    pub files: BTreeMap<String, (Digest, u64)>,
    /// Who else may sign, in the order in which they are asked.
    pub delegations: Vec<Delegation>,
}

/// Writes and signs a document of targets.
pub fn sign_targets(spec: &TargetsSpec, keys: &[&KeyPair]) -> Vec<u8> {
    let files = spec.files.iter().map(|(path, (digest, size))| {
        (path.clone(), json!({ "length": size, "hashes": { "sha256": digest.hex() } }))
    });
    let mut signed = json!({
        "_type": "targets",
        "spec_version": SPEC_VERSION,
        "version": spec.version,
        "expires": timestamp(spec.expires),
        "targets": files.collect::<Map<String, Value>>(),
    });
    if !spec.delegations.is_empty() {
        signed["delegations"] = delegations(&spec.delegations);
    }
    envelope(&signed, keys)
}

/// What a delegated role has signed. Only [`verify_delegated`] makes one.
#[derive(Debug, Clone)]
pub struct TrustedTargets {
    seen: Seen,
    releases: BTreeMap<String, SignedRelease>,
    files: BTreeMap<String, (Digest, u64)>,
}

impl TrustedTargets {
    /// Version and digest, to be kept for the next time.
    pub fn seen(&self) -> Seen {
        self.seen
    }

    /// The releases, by path (`turbine/2`).
    pub fn releases(&self) -> &BTreeMap<String, SignedRelease> {
        &self.releases
    }

    /// Digest and size of each other file, by path (`site/mill/policy.json`).
    pub fn files(&self) -> &BTreeMap<String, (Digest, u64)> {
        &self.files
    }
}

/// Verifies what the role called `role` has signed, by the keys that a list of releases gives it:
/// signatures, version, expiry, and that it keeps to its paths.
///
/// A device passes over what is beyond the paths of a role; here it is refused, for whoever signed it
/// believes that it counts. So is a delegation to a further role: one step is what we carry.
///
/// # Errors
/// [`TrustError`].
pub fn verify_delegated(
    list: &TrustedReleases,
    role: &str,
    bytes: &[u8],
    seen: Option<&Seen>,
    now: OffsetDateTime,
) -> Result<TrustedTargets, TrustError> {
    let failed = |problem: String| TrustError::Format { document: DOCUMENT, problem };
    let (keys, delegate) = list
        .delegate(role)
        .ok_or_else(|| failed(format!("the list of releases names no role {role}")))?;
    let metadata: Metadata<Targets> = parse(DOCUMENT, bytes)?;
    verify_signatures(DOCUMENT, &metadata, keys, &delegate.role_keys())?;
    let signed = metadata.signed();
    let seen = verify_sequence(DOCUMENT, signed.version, bytes, seen)?;
    verify_expiry(DOCUMENT, signed, now)?;
    sound_targets(signed).map_err(failed)?;
    if signed.delegations.is_some() {
        return Err(failed("it delegates to further roles".into()));
    }
    let mut targets = TrustedTargets { seen, releases: BTreeMap::new(), files: BTreeMap::new() };
    for (path, target) in &signed.targets {
        if !delegate.matches_path(path).unwrap_or(false) {
            return Err(failed(format!("{path} is not among the paths that {role} may sign")));
        }
        // A release is called by bundle and version.
        if path.split('/').count() == 2 {
            let release = release_in(path, target).map_err(failed)?;
            targets.releases.insert(path.clone(), release);
        } else {
            let digest = digest(path, target).map_err(failed)?;
            targets.files.insert(path.clone(), (digest, target.length));
        }
    }
    Ok(targets)
}

/// Delegations as TUF writes them (4.5).
pub(crate) fn delegations(delegations: &[Delegation]) -> Value {
    let mut keys = Map::new();
    let mut roles = Vec::new();
    for role in delegations {
        keys.extend(role.keys.iter().map(|key| (key.id(), key.to_json())));
        let ids: Vec<String> = role.keys.iter().map(PublicKey::id).collect();
        roles.push(json!({
            "name": role.name,
            "keyids": ids,
            "threshold": role.threshold,
            "paths": role.paths,
            "terminating": role.terminating,
        }));
    }
    json!({ "keys": keys, "roles": roles })
}

/// Delegations as TUF has them, for people; what else they say is left out.
pub(crate) fn delegated(delegations: &Delegations) -> Vec<Delegation> {
    let role = |role: &DelegatedRole| Delegation {
        name: role.name.clone(),
        keys: role
            .keyids
            .iter()
            .filter_map(|id| delegations.keys.get(id))
            .map(PublicKey::of)
            .collect(),
        threshold: role.threshold,
        paths: role.paths.clone().unwrap_or_default(),
        terminating: role.terminating,
    };
    delegations.roles.iter().map(role).collect()
}
