//! Delegations: who besides the release keys may sign targets, and which. TUF targets as well.

use crate::document::{
    SPEC_VERSION, Seen, envelope, good_until, parse, timestamp, verify_expiry, verify_sequence,
    verify_signatures,
};
use crate::error::TrustError;
use crate::key::{KeyPair, PublicKey};
use crate::releases::{SignedRelease, TrustedReleases, digest, release_in, without_nulls};
use crate::repository::rules::{ROLES, sound_targets};
use crate::root::Root;
use crate::withdrawn::Withdrawals;
use lineside_bundle::Digest;
use lineside_wire::name::{NameError, RoleName};
use serde_json::{Map, Value, json};
use sigstore_tuf::{DelegatedRole, Delegations, Metadata, Targets};
use std::collections::{BTreeMap, BTreeSet};
use time::OffsetDateTime;

pub(crate) const DOCUMENT: &str = "role's list";
/// How paths of what holds at a site begin.
const SITE: &str = "site";

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

impl Delegation {
    /// Whether the release keys can say so, and whoever hears it knows what is meant: it has a name
    /// of its own, its keys can reach the threshold and are people's, and each of its paths may be one
    /// of a release or of what holds at a site.
    ///
    /// # Errors
    /// A sentence.
    pub fn check(&self, root: &Root) -> Result<(), String> {
        let Delegation { name, keys, threshold, paths, .. } = self;
        let name: RoleName = name.parse().map_err(|error: NameError| error.to_string())?;
        if ROLES.contains(&name.as_str()) {
            return Err(format!(
                "{name} is a role of the root: call it otherwise, as in vendor-acme"
            ));
        }
        let distinct: BTreeSet<Vec<u8>> = keys.iter().map(PublicKey::material).collect();
        if distinct.len() < keys.len() {
            return Err(format!("role {name} has one key twice"));
        }
        if *threshold == 0 || *threshold > keys.len() {
            return Err(format!("{threshold} of {} keys can never sign for {name}", keys.len()));
        }
        if let Some(key) = keys.iter().find(|key| root.is_of_server(key)) {
            return Err(format!(
                "key {key} is the server's, which must not sign what people sign: have the role make \
                 one of its own, with `lineside keys generate`"
            ));
        }
        // What it signs for the role could be passed off as a list of releases.
        if let Some(key) = keys.iter().find(|key| root.is_of_releases(key)) {
            return Err(format!(
                "key {key} signs releases itself: have the role make one of its own, with `lineside \
                 keys generate`"
            ));
        }
        if paths.is_empty() {
            return Err(format!("role {name} has no path that it may sign"));
        }
        paths.iter().try_for_each(|path| check_path(path))
    }
}

/// Whether a path of a delegation may lead anywhere: `BUNDLE/VERSION` or `site/SITE/FILE`.
fn check_path(path: &str) -> Result<(), String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-*/".contains(c);
    let parts: Vec<&str> = path.split('/').collect();
    let leads = match parts.as_slice() {
        [bundle, version] => *bundle != SITE && !bundle.is_empty() && !version.is_empty(),
        [SITE, site, file] => !site.is_empty() && !file.is_empty(),
        _ => false,
    };
    if leads && path.chars().all(is_plain) {
        return Ok(());
    }
    Err(format!(
        "path {path:?} leads nowhere: a vendor signs BUNDLE/VERSION, a site site/SITE/FILE, and a * \
         stands for anything without a /, as in pump/* and site/mill/*"
    ))
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
    let mut signed = json!({
        "_type": "targets",
        "spec_version": SPEC_VERSION,
        "version": spec.version,
        "expires": timestamp(spec.expires),
        "targets": file_targets(&spec.files),
    });
    if !spec.delegations.is_empty() {
        signed["delegations"] = delegations(&spec.delegations);
    }
    envelope(&signed, keys)
}

/// Files as documents of targets list them.
pub(crate) fn file_targets(files: &BTreeMap<String, (Digest, u64)>) -> Map<String, Value> {
    let target = |(path, (digest, size)): (&String, &(Digest, u64))| {
        (path.clone(), json!({ "length": size, "hashes": { "sha256": digest.hex() } }))
    };
    files.iter().map(target).collect()
}

/// What a delegated role has signed. Only [`verify_delegated`] makes one.
#[derive(Debug, Clone)]
pub struct TrustedTargets {
    seen: Seen,
    listed: Listing,
    good_until: OffsetDateTime,
}

impl TrustedTargets {
    /// When it is past its date.
    pub fn good_until(&self) -> OffsetDateTime {
        self.good_until
    }

    /// Version and digest, to be kept for the next time.
    pub fn seen(&self) -> Seen {
        self.seen
    }

    /// All that it says.
    pub(crate) fn listed(&self) -> &Listing {
        &self.listed
    }

    /// The releases, by path (`turbine/2`).
    pub fn releases(&self) -> &BTreeMap<String, SignedRelease> {
        &self.listed.releases
    }

    /// What the role has withdrawn.
    pub fn withdrawn(&self) -> &Withdrawals {
        &self.listed.withdrawn
    }

    /// Digest and size of each other file, by path (`site/mill/policy.json`).
    pub fn files(&self) -> &BTreeMap<String, (Digest, u64)> {
        &self.listed.files
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
    let (keys, delegate) = list.role(role)?;
    let metadata: Metadata<Targets> = parse(DOCUMENT, bytes)?;
    verify_signatures(DOCUMENT, &metadata, keys, &delegate.role_keys())?;
    let signed = metadata.signed();
    let seen = verify_sequence(DOCUMENT, signed.version, bytes, seen)?;
    verify_expiry(DOCUMENT, signed, now)?;
    let listed = within(delegate, signed).map_err(failed)?;
    Ok(TrustedTargets { seen, listed, good_until: good_until(signed) })
}

/// Digest and size of the file at `path`, as the role called `role` has once signed it by keys that the list
/// gives it today; nothing where it has not, or may not. Neither dates nor what came after it are looked at.
///
/// # Errors
/// [`TrustError::Signature`] if its keys have been replaced since; other [`TrustError`].
pub fn recall_delegated(
    list: &TrustedReleases,
    role: &str,
    bytes: &[u8],
    path: &str,
) -> Result<Option<(Digest, u64)>, TrustError> {
    let (keys, delegate) = list.role(role)?;
    let metadata: Metadata<Targets> = parse(DOCUMENT, bytes)?;
    verify_signatures(DOCUMENT, &metadata, keys, &delegate.role_keys())?;
    let named = metadata.signed().targets.get(path);
    let Some(target) = named.filter(|_| delegate.matches_path(path).unwrap_or(false)) else {
        return Ok(None);
    };
    let failed = |problem: String| TrustError::Format { document: DOCUMENT, problem };
    Ok(Some((digest(path, target).map_err(failed)?, target.length)))
}

/// What a list of a role says.
#[derive(Debug, Clone, Default)]
pub(crate) struct Listing {
    /// By path.
    pub(crate) releases: BTreeMap<String, SignedRelease>,
    /// What was a release.
    pub(crate) withdrawn: Withdrawals,
    /// Digest and size of each other file, by path.
    pub(crate) files: BTreeMap<String, (Digest, u64)>,
}

/// What a document lists, if all of it is what the role may sign.
pub(crate) fn within(delegate: &DelegatedRole, signed: &Targets) -> Result<Listing, String> {
    sound_targets(signed)?;
    if signed.delegations.is_some() {
        return Err("it delegates to further roles".into());
    }
    let (mut releases, mut files) = (BTreeMap::new(), BTreeMap::new());
    for (path, target) in &signed.targets {
        if !delegate.matches_path(path).unwrap_or(false) {
            let name = &delegate.name;
            return Err(format!("{path} is not among the paths that {name} may sign"));
        }
        // A release is called by bundle and version.
        if path.split('/').count() == 2 {
            releases.insert(path.clone(), release_in(path, target)?);
        } else {
            files.insert(path.clone(), (digest(path, target)?, target.length));
        }
    }
    let withdrawn = Withdrawals::of(&signed.extra, &releases)?;
    Ok(Listing { releases, withdrawn, files })
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

/// Delegations as TUF has them, for people.
///
/// # Errors
/// They say more than that.
pub(crate) fn shown(known: &Delegations) -> Result<Vec<Delegation>, String> {
    let others = delegated(known);
    if without_nulls(json!(known)) == delegations(&others) {
        Ok(others)
    } else {
        Err("it says more of its roles than this version of lineside can show".into())
    }
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
