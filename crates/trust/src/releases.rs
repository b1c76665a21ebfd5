//! Releases: the bundles that the release keys have signed, as TUF targets.

use crate::delegation::{Delegation, TrustedTargets, delegated, delegations, shown};
use crate::document::{
    FLOOR_MAX, SPEC_VERSION, Seen, VERSION_MAX, envelope, good_until, parse, timestamp,
    verify_draft_version, verify_expiry, verify_sequence, verify_signatures,
};
use crate::error::TrustError;
use crate::key::KeyPair;
use crate::repository::rules::sound_targets;
use crate::root::Root;
use crate::withdrawn::{Others, Withdrawals};
use lineside_bundle::{BundleName, BundleVersion, Digest, ReleaseId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sigstore_tuf::canonical_json::to_canonical_bytes;
use sigstore_tuf::{DelegatedRole, Delegations, Key, Metadata, TargetFile, Targets};
use std::collections::{BTreeMap, BTreeSet};
use time::OffsetDateTime;

const DOCUMENT: &str = "list of releases";

/// One release as the release keys have signed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedRelease {
    /// Which bundle exactly.
    pub id: ReleaseId,
    /// Its place among the releases of its bundle; rises with each.
    pub number: u64,
    /// The number below which a device that has this release may not go.
    pub floor: u64,
}

impl SignedRelease {
    /// Its path among the targets: `turbine/2`.
    pub fn path(&self) -> String {
        path(&self.id)
    }
}

/// What a release is called among the targets of a document: `turbine/2`.
pub(crate) fn path(id: &ReleaseId) -> String {
    format!("{}/{}", id.name, id.version)
}

/// What TUF leaves to us in a target's `custom`.
#[derive(Serialize, Deserialize)]
struct Custom {
    bundle: BundleName,
    version: BundleVersion,
    number: u64,
    floor: u64,
}

/// The releases that enough release keys have signed. Only [`verify_releases`] makes one.
#[derive(Debug, Clone)]
pub struct TrustedReleases {
    seen: Seen,
    releases: BTreeMap<String, SignedRelease>,
    withdrawn: Withdrawals,
    delegations: Option<Delegations>,
    good_until: OffsetDateTime,
}

impl TrustedReleases {
    /// When it, or the root that it was verified by, is past its date.
    pub fn good_until(&self) -> OffsetDateTime {
        self.good_until
    }

    /// Version and digest, to be kept for the next time.
    pub fn seen(&self) -> Seen {
        self.seen
    }

    /// The release at `path` (`turbine/2`).
    pub fn get(&self, path: &str) -> Option<&SignedRelease> {
        self.releases.get(path)
    }

    /// What was withdrawn of it.
    pub fn withdrawn(&self) -> &Withdrawals {
        &self.withdrawn
    }

    /// The roles that may sign targets besides the release keys, in the order in which they are asked.
    pub fn delegates(&self) -> impl Iterator<Item = &str> {
        self.roles().map(|role| role.name.as_str())
    }

    /// Ids of the keys that sign for the role called `name`; none if it names no such role.
    pub fn keys_of(&self, name: &str) -> BTreeSet<&str> {
        let role = self.roles().find(|role| role.name == name);
        role.into_iter().flat_map(|role| role.keyids.iter().map(String::as_str)).collect()
    }

    /// Those of them that may sign what is at `path`, in the order in which they are asked.
    pub fn delegates_for(&self, path: &str) -> Vec<&str> {
        let mut names = Vec::new();
        for role in self.roles().filter(|role| role.matches_path(path).unwrap_or(false)) {
            names.push(role.name.as_str());
            if role.terminating {
                break;
            }
        }
        names
    }

    /// Whether the role called `name` may sign any release of a bundle, whatever its version.
    pub fn may_release(&self, name: &str, bundle: &BundleName) -> bool {
        let Ok((_, role)) = self.role(name) else { return false };
        let bundles = role.paths.iter().flatten().filter_map(|path| {
            let (bundle, version) = path.split_once('/')?;
            (!version.contains('/')).then(|| bundle.to_owned())
        });
        // What stands before the version is a pattern of its own, which a bundle's name matches or not.
        let mut of_bundles = role.clone();
        (of_bundles.paths, of_bundles.path_hash_prefixes) = (Some(bundles.collect()), None);
        of_bundles.matches_path(bundle.as_str()).unwrap_or(false)
    }

    /// Who else may sign targets, in the order in which they are asked: to change one of them, and
    /// leave the others as they are.
    ///
    /// # Errors
    /// [`TrustError::Format`]: it says more of them than can be shown, which would be lost.
    pub fn delegations(&self) -> Result<Vec<Delegation>, TrustError> {
        self.delegations.as_ref().map_or(Ok(Vec::new()), |known| shown(known).map_err(format_error))
    }

    /// The keys that sign for the role called `name`, and the paths that it may sign.
    pub(crate) fn role(
        &self,
        name: &str,
    ) -> Result<(&BTreeMap<String, Key>, &DelegatedRole), TrustError> {
        let found = self.delegations.as_ref().and_then(|delegations| {
            let role = delegations.roles.iter().find(|role| role.name == name)?;
            Some((&delegations.keys, role))
        });
        found.ok_or_else(|| format_error(format!("it names no role {name}")))
    }

    fn roles(&self) -> impl Iterator<Item = &DelegatedRole> {
        self.delegations.iter().flat_map(|delegations| &delegations.roles)
    }

    /// All of them, by path.
    pub fn iter(&self) -> impl Iterator<Item = &SignedRelease> {
        self.releases.values()
    }
}

/// Verifies a list of releases in the specification's order: signatures, version, expiry.
///
/// `seen` is what was accepted before; the same again is accepted, an older one never.
///
/// # Errors
/// [`TrustError`].
pub fn verify_releases(
    root: &Root,
    bytes: &[u8],
    seen: Option<&Seen>,
    now: OffsetDateTime,
) -> Result<TrustedReleases, TrustError> {
    root.verify_expiry(now)?;
    let metadata: Metadata<Targets> = parse(DOCUMENT, bytes)?;
    verify_signatures(DOCUMENT, &metadata, root.keys(), root.role("targets")?)?;
    let signed = metadata.signed();
    let seen = verify_sequence(DOCUMENT, signed.version, bytes, seen)?;
    verify_expiry(DOCUMENT, signed, now)?;
    let (releases, withdrawn) = listed(signed)?;
    let (delegations, good_until) = (signed.delegations.clone(), good_until(signed));
    let good_until = good_until.min(root.good_until());
    Ok(TrustedReleases { seen, releases, withdrawn, delegations, good_until })
}

fn listed(signed: &Targets) -> Result<(BTreeMap<String, SignedRelease>, Withdrawals), TrustError> {
    sound_targets(signed).map_err(format_error)?;
    let release = |(path, target): (&String, &TargetFile)| {
        let release = release_in(path, target).map_err(format_error)?;
        Ok((path.clone(), release))
    };
    let releases = signed.targets.iter().map(release).collect::<Result<_, TrustError>>()?;
    let withdrawn = Withdrawals::of(&signed.extra, &releases).map_err(format_error)?;
    Ok((releases, withdrawn))
}

fn format_error(problem: String) -> TrustError {
    TrustError::Format { document: DOCUMENT, problem }
}

/// The release that a document of targets lists at `path`.
pub(crate) fn release_in(path: &str, target: &TargetFile) -> Result<SignedRelease, String> {
    release(path, digest(path, target)?, target.length, target.custom.as_ref())
}

/// The release at `path` with this digest and size, of which `custom` says the rest.
pub(crate) fn release(
    path: &str,
    digest: Digest,
    size: u64,
    custom: Option<&Value>,
) -> Result<SignedRelease, String> {
    let custom = custom.cloned().unwrap_or(Value::Null);
    let custom: Custom =
        serde_json::from_value(custom).map_err(|error| format!("{path}: custom: {error}"))?;
    let id = ReleaseId { name: custom.bundle, version: custom.version, digest, size };
    let release = SignedRelease { id, number: custom.number, floor: custom.floor };
    if release.path() != path {
        return Err(format!("{path}: it holds {}", release.path()));
    }
    // A thief of the release keys must not be able to use up the numbers: floors outlive his keys.
    if release.number > VERSION_MAX {
        let problem = format!("number {} is above {VERSION_MAX}", release.number);
        return Err(format!("{path}: {problem}, the highest there is"));
    }
    if release.floor > release.number {
        return Err(format!("{path}: floor {} is above {}", release.floor, release.number));
    }
    if release.floor > FLOOR_MAX {
        let problem = format!("floor {} is above {FLOOR_MAX}", release.floor);
        return Err(format!("{path}: {problem}, the highest there is"));
    }
    Ok(release)
}

pub(crate) fn digest(path: &str, target: &TargetFile) -> Result<Digest, String> {
    let hex = target.hashes.get("sha256").ok_or_else(|| format!("{path}: it has no sha256"))?;
    format!("sha256:{hex}").parse().map_err(|error| format!("{path}: {error}"))
}

/// The release after `own`, what was `withdrawn` of them, and `others` of its bundle: it gets the next
/// number among all of them, and no lower floor than any.
pub(crate) fn next(
    own: &BTreeMap<String, SignedRelease>,
    withdrawn: &Withdrawals,
    others: &Others,
    id: ReleaseId,
    floor: Option<u64>,
) -> Result<SignedRelease, String> {
    let path = path(&id);
    if let Some(old) = own.get(&path) {
        return Err(if old.id == id {
            format!("{id} is released already, as number {}", old.number)
        } else {
            format!("{id} is released already with other contents: give the bundle a new version")
        });
    }
    if others.releases.iter().any(|other| other.path() == path) {
        return Err(format!(
            "{id} is released already by others who may sign it: give the bundle a new version"
        ));
    }
    let withdrawn = || others.withdrawn.iter().chain([withdrawn]);
    if withdrawn().any(|withdrawn| withdrawn.has(&id)) {
        return Err(format!(
            "{id} was withdrawn, and a version names one bundle for ever: give the bundle a new version"
        ));
    }
    let listed = own.values().chain(&others.releases).filter(|release| release.id.name == id.name);
    let gone = withdrawn().filter_map(|withdrawn| withdrawn.get(&id.name));
    let counted = listed
        .map(|release| (release.number, release.floor))
        .chain(gone.map(|withdrawn| (withdrawn.number, withdrawn.floor)));
    let (last, floor_before) = counted.fold((0, 0), |(last, highest), (number, floor)| {
        (u64::max(last, number), u64::max(highest, floor))
    });
    let number = last.checked_add(1).filter(|number| *number <= VERSION_MAX);
    let number = number.ok_or_else(|| {
        format!("{0} has used up its numbers: release it under another name than {0}", id.name)
    })?;
    let floor = floor.unwrap_or(0).max(floor_before);
    if floor > FLOOR_MAX {
        return Err(format!("floor {floor} is above {FLOOR_MAX}, the highest there is"));
    }
    if floor > number {
        return Err(format!("floor {floor} is above {number}, the number of {id}"));
    }
    Ok(SignedRelease { id, number, floor })
}

/// Releases as documents of targets list them.
pub(crate) fn targets(releases: &BTreeMap<String, SignedRelease>) -> Map<String, Value> {
    let target = |(path, release): (&String, &SignedRelease)| {
        let custom = Custom {
            bundle: release.id.name.clone(),
            version: release.id.version.clone(),
            number: release.number,
            floor: release.floor,
        };
        (path.clone(), target(&release.id, json!(custom)))
    };
    releases.iter().map(target).collect()
}

/// A list of releases to be signed.
#[derive(Debug, Clone)]
pub struct ReleasesDraft {
    version: u64,
    releases: BTreeMap<String, SignedRelease>,
    withdrawn: Withdrawals,
    others: Others,
    delegations: Option<Value>,
}

impl ReleasesDraft {
    /// The list that follows a trusted one; without one, the first.
    pub fn after(trusted: Option<&TrustedReleases>) -> ReleasesDraft {
        let releases = trusted.map(|trusted| trusted.releases.clone()).unwrap_or_default();
        let version = trusted.map_or(0, |trusted| trusted.seen.version) + 1;
        let delegations = trusted.and_then(|trusted| trusted.delegations.as_ref());
        let delegations = delegations.map(|delegations| without_nulls(json!(delegations)));
        let withdrawn = trusted.map(|trusted| trusted.withdrawn.clone()).unwrap_or_default();
        ReleasesDraft { version, releases, withdrawn, others: Others::default(), delegations }
    }

    /// The same, with what others have signed: a bundle counts its releases whoever signs them.
    pub fn beside(self, others: Others) -> ReleasesDraft {
        ReleasesDraft { others, ..self }
    }

    /// The same, to be told from `disowned`, a list that holds no longer and that devices may have taken:
    /// it gets a higher version, as far as that leaves any, and its releases get numbers above every floor
    /// that a device may have from it.
    pub fn beyond(mut self, disowned: &TrustedReleases) -> ReleasesDraft {
        // Whoever stole the keys may have signed the highest there is.
        let version = Some(disowned.seen.version).filter(|version| *version <= VERSION_MAX / 2);
        self.version = self.version.max(version.map_or(0, |version| version + 1));
        for release in disowned.iter() {
            if self.releases.get(&release.path()) != Some(release) {
                self.count_number(&release.id.name, release.number);
            }
        }
        self
    }

    /// Has no number be given again that is in `lost`, the list of a role by keys or paths that it has no
    /// longer by this list: devices may hold its releases, and floors could not tell two of one number apart.
    pub fn count(&mut self, lost: &TrustedTargets) {
        for release in lost.releases().values() {
            self.count_number(&release.id.name, release.number);
        }
        for (bundle, withdrawn) in lost.withdrawn().iter() {
            self.count_number(bundle, withdrawn.number);
        }
    }

    fn count_number(&mut self, bundle: &BundleName, number: u64) {
        // Whoever stole the keys may have signed the highest there is. No device has a higher floor than this.
        self.withdrawn.count(bundle, number.min(FLOOR_MAX));
    }

    /// Adds a release under the next number of its bundle. `floor` raises the number below which a
    /// device may not go; otherwise it stays.
    ///
    /// # Errors
    /// A sentence: the version exists, or the floor is above the new number.
    pub fn add(&mut self, id: ReleaseId, floor: Option<u64>) -> Result<SignedRelease, String> {
        let release = next(&self.releases, &self.withdrawn, &self.others, id, floor)?;
        self.releases.insert(release.path(), release.clone());
        Ok(release)
    }

    /// Takes the release at `path` (`turbine/2`) off the list. Neither its number nor its version is
    /// ever given again, and the floor of its bundle stays.
    ///
    /// # Errors
    /// A sentence: it is not on the list.
    pub fn withdraw(&mut self, path: &str) -> Result<SignedRelease, String> {
        self.withdrawn.withdraw(path, &mut self.releases)
    }

    /// Lets these others sign targets as well, in the order in which they are asked, in place of
    /// those that the list before named.
    pub fn delegate(&mut self, to: &[Delegation]) {
        self.delegations = (!to.is_empty()).then(|| delegations(to));
    }

    /// Signs the list.
    pub fn sign(&self, expires: OffsetDateTime, keys: &[&KeyPair]) -> Vec<u8> {
        envelope(&self.signed(expires), keys)
    }

    /// The part of the document that is signed.
    fn signed(&self, expires: OffsetDateTime) -> Value {
        let mut signed = json!({
            "_type": "targets",
            "spec_version": SPEC_VERSION,
            "version": self.version,
            "expires": timestamp(expires),
            "targets": targets(&self.releases),
        });
        if let Some(delegations) = &self.delegations {
            signed["delegations"] = delegations.clone();
        }
        self.withdrawn.put_into(&mut signed);
        signed
    }
}

/// What a list of releases says, signed or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleasesSpec {
    /// Its version; rises with each.
    pub version: u64,
    /// When it expires.
    pub expires: OffsetDateTime,
    /// The releases, by path.
    pub releases: BTreeMap<String, SignedRelease>,
    /// What was withdrawn.
    pub withdrawn: Withdrawals,
    /// Who else may sign targets.
    pub delegations: Vec<Delegation>,
}

impl ReleasesSpec {
    pub(crate) fn of(metadata: &Metadata<Targets>) -> Result<ReleasesSpec, TrustError> {
        let signed = metadata.signed();
        verify_draft_version(DOCUMENT, signed.version)?;
        let expires = OffsetDateTime::from_unix_timestamp(signed.expires.as_second())
            .map_err(|error| format_error(error.to_string()))?;
        let others = signed.delegations.as_ref().map(delegated).unwrap_or_default();
        let (releases, withdrawn) = listed(signed)?;
        let again = ReleasesDraft {
            version: signed.version,
            releases,
            withdrawn,
            others: Others::default(),
            delegations: (!others.is_empty()).then(|| delegations(&others)),
        };
        // Written again it must be the same, but for the version of the specification: then there is
        // nothing in it that nobody is shown.
        let mut written = again.signed(expires);
        written["spec_version"] = signed.spec_version.clone().into();
        match to_canonical_bytes(&written) {
            Ok(written) if written == metadata.signed_canonical() => Ok(ReleasesSpec {
                version: signed.version,
                expires,
                releases: again.releases,
                withdrawn: again.withdrawn,
                delegations: others,
            }),
            _ => Err(format_error("it says more than this version of lineside can show".into())),
        }
    }
}

/// `value` without fields that hold nothing: other readers drop them, and then miss the signature.
pub(crate) fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.into_iter().filter(|(_, value)| !value.is_null());
            kept.map(|(name, value)| (name, without_nulls(value))).collect()
        }
        Value::Array(values) => values.into_iter().map(without_nulls).collect(),
        value => value,
    }
}

pub(crate) fn target(id: &ReleaseId, custom: Value) -> Value {
    json!({ "length": id.size, "hashes": { "sha256": id.digest.hex() }, "custom": custom })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_floor_reaches_up_to_the_release_itself_and_no_higher() {
        let listed = |floor: u64| {
            let custom = json!({ "bundle": "pump", "version": "2", "number": 2, "floor": floor });
            let hashes = json!({ "sha256": Digest::of(b"a manifest").hex() });
            let target = json!({ "length": 10, "hashes": hashes, "custom": custom });
            release_in("pump/2", &serde_json::from_value(target).unwrap())
        };
        for floor in 0..=2 {
            assert_eq!(listed(floor).unwrap().floor, floor);
        }
        assert_eq!(listed(3).unwrap_err(), "pump/2: floor 3 is above 2");
    }

    #[test]
    fn no_floor_leaves_those_without_a_number_who_follow_a_thief() {
        let listed = |floor: u64| {
            let number = VERSION_MAX;
            let custom =
                json!({ "bundle": "pump", "version": "x9", "number": number, "floor": floor });
            let hashes = json!({ "sha256": Digest::of(b"a manifest").hex() });
            let target = json!({ "length": 10, "hashes": hashes, "custom": custom });
            release_in("pump/x9", &serde_json::from_value(target).unwrap())
        };
        assert_eq!(listed(FLOOR_MAX).unwrap().floor, FLOOR_MAX);
        for floor in [FLOOR_MAX + 1, VERSION_MAX] {
            assert!(listed(floor).unwrap_err().ends_with("the highest there is"));
        }
    }

    #[test]
    fn a_number_beyond_the_highest_is_neither_listed_nor_given() {
        let listed = |number: u64| {
            let custom = json!({ "bundle": "pump", "version": "2", "number": number, "floor": 1 });
            let hashes = json!({ "sha256": Digest::of(b"a manifest").hex() });
            let target = json!({ "length": 10, "hashes": hashes, "custom": custom });
            release_in("pump/2", &serde_json::from_value(target).unwrap())
        };
        assert_eq!(listed(VERSION_MAX).unwrap().number, VERSION_MAX);
        for number in [VERSION_MAX + 1, u64::MAX] {
            assert!(listed(number).unwrap_err().ends_with("the highest there is"));
        }
    }
}
