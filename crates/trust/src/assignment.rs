//! An assignment: which release each slot of one device shall hold. TUF targets, signed by the director.

use crate::document::{
    SPEC_VERSION, Seen, envelope, parse, timestamp, verify_expiry, verify_sequence,
    verify_signatures, verify_version,
};
use crate::error::TrustError;
use crate::key::KeyPair;
use crate::releases::{digest, path, target};
use crate::root::Root;
use lineside_bundle::{Digest, ReleaseId};
use lineside_wire::name::{DeviceId, SlotName};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sigstore_tuf::{Metadata, Targets};
use std::collections::{BTreeMap, BTreeSet};
use time::OffsetDateTime;

/// The signed field that names the device. TUF (4.5) lets targets carry further fields.
const DEVICE: &str = "x-lineside-device";
const DOCUMENT: &str = "assignment";

#[derive(Serialize, Deserialize)]
struct Custom {
    slots: Vec<SlotName>,
    /// Those of them for which a person has approved this release.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    approved: Vec<SlotName>,
    /// Slots in which it is to be tried again, and the number of the wish.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    again: BTreeMap<SlotName, u64>,
}

/// What is assigned to a slot: a path among the releases, and the bytes meant by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Assigned {
    pub path: String,
    pub digest: Digest,
    pub size: u64,
    /// A person has approved it for the slot.
    pub approved: bool,
    /// As in [`AssignmentSpec::again`]; 0 for never.
    pub again: u64,
}

/// An assignment that the director has signed for this device. Only [`verify_assignment`] makes one.
#[derive(Debug, Clone)]
pub struct TrustedAssignment {
    seen: Seen,
    pub(crate) slots: BTreeMap<SlotName, Assigned>,
}

impl TrustedAssignment {
    /// Version and digest, to be kept for the next time.
    pub fn seen(&self) -> Seen {
        self.seen
    }
}

/// Verifies an assignment: signature of the director, device, version, expiry.
///
/// # Errors
/// [`TrustError`].
pub fn verify_assignment(
    root: &Root,
    bytes: &[u8],
    device: &DeviceId,
    seen: Option<&Seen>,
    now: OffsetDateTime,
) -> Result<TrustedAssignment, TrustError> {
    root.verify_expiry(now)?;
    let metadata = signed_for(root, bytes, device)?;
    let signed = metadata.signed();
    let seen = verify_sequence(DOCUMENT, signed.version, bytes, seen)?;
    verify_expiry(DOCUMENT, signed, now)?;
    Ok(TrustedAssignment { seen, slots: slots(signed)? })
}

/// What an assignment says that a director whom `root` names has once signed for this device. Whether it
/// still holds is another question: neither dates nor what came after it are looked at.
///
/// # Errors
/// [`TrustError`].
pub fn recall_assignment(
    root: &Root,
    bytes: &[u8],
    device: &DeviceId,
) -> Result<AssignmentSpec, TrustError> {
    let metadata = signed_for(root, bytes, device)?;
    let signed = metadata.signed();
    verify_version(DOCUMENT, signed.version)?;
    let expires = OffsetDateTime::from_unix_timestamp(signed.expires.as_second())
        .map_err(|error| fail(error.to_string()))?;
    let mut spec = AssignmentSpec {
        device: device.clone(),
        version: signed.version,
        expires,
        slots: BTreeMap::new(),
        approved: BTreeSet::new(),
        again: BTreeMap::new(),
    };
    for (slot, Assigned { path, digest, size, approved, again }) in slots(signed)? {
        let release = release_at(&path, digest, size)
            .ok_or_else(|| fail(format!("{path:?} is no path of a release")))?;
        if approved {
            spec.approved.insert(slot.clone());
        }
        if again > 0 {
            spec.again.insert(slot.clone(), again);
        }
        spec.slots.insert(slot, release);
    }
    Ok(spec)
}

/// The release that lies at `path`, as in `turbine/2`.
fn release_at(path: &str, digest: Digest, size: u64) -> Option<ReleaseId> {
    let (name, version) = path.split_once('/')?;
    Some(ReleaseId { name: name.parse().ok()?, version: version.parse().ok()?, digest, size })
}

/// The document, if the director whom `root` names has signed it for this device.
fn signed_for(
    root: &Root,
    bytes: &[u8],
    device: &DeviceId,
) -> Result<Metadata<Targets>, TrustError> {
    let metadata: Metadata<Targets> = parse(DOCUMENT, bytes)?;
    verify_signatures(DOCUMENT, &metadata, root.keys(), root.director())?;
    let named = metadata.signed().extra.get(DEVICE).and_then(Value::as_str).unwrap_or_default();
    if named != device.as_str() {
        let named = named.chars().take(64).collect();
        let (document, device) = (DOCUMENT, device.clone());
        return Err(TrustError::OtherDevice { document, named, device });
    }
    Ok(metadata)
}

fn fail(problem: String) -> TrustError {
    TrustError::Format { document: DOCUMENT, problem }
}

/// What is assigned to each slot.
fn slots(signed: &Targets) -> Result<BTreeMap<SlotName, Assigned>, TrustError> {
    let mut slots = BTreeMap::new();
    for (path, target) in &signed.targets {
        let custom: Custom = serde_json::from_value(target.custom.clone().unwrap_or(Value::Null))
            .map_err(|error| fail(format!("{path}: custom: {error}")))?;
        let digest = digest(path, target).map_err(fail)?;
        if let Some(slot) = custom.approved.iter().find(|slot| !custom.slots.contains(slot)) {
            return Err(fail(format!("{path} is approved for slot {slot} and not assigned to it")));
        }
        if let Some(slot) = custom.again.keys().find(|slot| !custom.slots.contains(slot)) {
            let problem = "is to be tried again in slot";
            return Err(fail(format!("{path} {problem} {slot} and not assigned to it")));
        }
        for slot in custom.slots {
            let approved = custom.approved.contains(&slot);
            let again = custom.again.get(&slot).copied().unwrap_or(0);
            let (path, size) = (path.clone(), target.length);
            let assigned = Assigned { path, digest, size, approved, again };
            if slots.insert(slot.clone(), assigned).is_some() {
                return Err(fail(format!("slot {slot} is assigned twice")));
            }
        }
    }
    Ok(slots)
}

/// What an assignment shall say.
#[derive(Debug, Clone)]
pub struct AssignmentSpec {
    /// Whom it is for.
    pub device: DeviceId,
    /// Its version; rises with each.
    pub version: u64,
    /// When it expires.
    pub expires: OffsetDateTime,
    /// The release of each slot.
    pub slots: BTreeMap<SlotName, ReleaseId>,
    /// Slots for which a person has approved that release; others are passed over.
    pub approved: BTreeSet<SlotName>,
    /// Slots in which that release is to be tried again though the device has given it up, because a
    /// person says so, and a number drawn when he said it last: neither a new director nor a new server in
    /// the place of a lost one draws it again, so a device can tell what is said anew from what is only
    /// repeated. Others are passed over.
    pub again: BTreeMap<SlotName, u64>,
}

/// Writes and signs an assignment.
pub fn sign_assignment(spec: &AssignmentSpec, director: &KeyPair) -> Vec<u8> {
    let mut by_release: BTreeMap<&ReleaseId, Vec<SlotName>> = BTreeMap::new();
    for (slot, release) in &spec.slots {
        by_release.entry(release).or_default().push(slot.clone());
    }
    let mut targets = Map::new();
    for (release, slots) in by_release {
        let approved = slots.iter().filter(|slot| spec.approved.contains(*slot)).cloned().collect();
        let again = spec.again.iter().filter(|(slot, _)| slots.contains(*slot));
        let again = again.map(|(slot, wish)| (slot.clone(), *wish)).collect();
        targets.insert(path(release), target(release, json!(Custom { slots, approved, again })));
    }
    envelope(
        &json!({
            "_type": "targets",
            "spec_version": SPEC_VERSION,
            "version": spec.version,
            "expires": timestamp(spec.expires),
            "targets": targets,
            DEVICE: spec.device,
        }),
        &[director],
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::root::{RootSpec, sign_root};
    use ring::rand::SystemRandom;
    use time::macros::datetime;

    #[test]
    fn what_was_once_signed_for_a_device_is_recalled_whole() {
        let key = || KeyPair::generate(&SystemRandom::new()).unwrap();
        let (person, director) = (key(), key());
        let root = RootSpec {
            version: 1,
            expires: datetime!(2001-01-01 0:00 UTC),
            root: (vec![person.public()], 1),
            releases: (vec![key().public()], 1),
            online: key().public(),
            director: director.public(),
        };
        let root = Root::pin(&sign_root(&root, &[&person])).unwrap();
        let slot = |name: &str| -> SlotName { name.parse().unwrap() };
        let release = |version: &str| ReleaseId {
            name: "pump".parse().unwrap(),
            version: version.parse().unwrap(),
            digest: Digest::of(version.as_bytes()),
            size: 700,
        };
        let spec = AssignmentSpec {
            device: "mill-7".parse().unwrap(),
            version: 9,
            expires: datetime!(2000-01-01 0:00 UTC),
            slots: BTreeMap::from([(slot("a"), release("1")), (slot("b"), release("2"))]),
            approved: BTreeSet::from([slot("a")]),
            again: BTreeMap::from([(slot("b"), 4)]),
        };
        let bytes = sign_assignment(&spec, &director);
        let recalled = recall_assignment(&root, &bytes, &spec.device).unwrap();
        assert_eq!((recalled.version, recalled.expires), (spec.version, spec.expires));
        assert_eq!(recalled.slots, spec.slots);
        assert_eq!((recalled.approved, recalled.again), (spec.approved, spec.again));
        assert!(recall_assignment(&root, &bytes, &"mill-8".parse().unwrap()).is_err());
        let forged = sign_assignment(
            &AssignmentSpec {
                slots: recalled.slots,
                approved: BTreeSet::new(),
                again: BTreeMap::new(),
                ..spec
            },
            &person,
        );
        assert!(recall_assignment(&root, &forged, &recalled.device).is_err());
    }
}
