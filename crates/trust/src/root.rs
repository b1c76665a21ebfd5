//! The root: which keys may sign what. Pinned once, followed by the TUF rules.

use crate::document::{
    SPEC_VERSION, Sealed, envelope, good_until, parse, timestamp, verify_expiry, verify_signatures,
    verify_version,
};
use crate::error::TrustError;
use crate::key::{KeyPair, PublicKey, material};
use serde_json::{Map, Value, json};
use sigstore_tuf::canonical_json::to_canonical_bytes;
use sigstore_tuf::{Key, Metadata, RoleKeys};
use std::collections::{BTreeMap, BTreeSet};
use time::OffsetDateTime;

/// The signed field that names the director's keys. A field of its own, because the TUF
/// specification (4.3) fixes the names in `roles`; other tools read past it.
const DIRECTOR: &str = "x-lineside-director";
const DOCUMENT: &str = "root";

/// A root that is trusted: pinned by a person, or reached from one that was.
#[derive(Debug, Clone)]
pub struct Root {
    signed: sigstore_tuf::Root,
    director: RoleKeys,
    bytes: Vec<u8>,
}

impl Root {
    /// Takes a root on a person's word: it must be signed by its own keys and hold together.
    ///
    /// # Errors
    /// [`TrustError`].
    pub fn pin(bytes: &[u8]) -> Result<Root, TrustError> {
        let metadata: Metadata<sigstore_tuf::Root> = parse(DOCUMENT, bytes)?;
        let root = Root::checked(metadata.signed().clone(), bytes)?;
        verify_signatures(DOCUMENT, &metadata, root.keys(), root.role("root")?)?;
        Ok(root)
    }

    /// Follows to the next root: version one higher, signed by enough keys of both.
    ///
    /// # Errors
    /// [`TrustError`]; the old root stays trusted.
    pub fn update(&self, bytes: &[u8]) -> Result<Root, TrustError> {
        let metadata: Metadata<sigstore_tuf::Root> = parse(DOCUMENT, bytes)?;
        verify_signatures(DOCUMENT, &metadata, self.keys(), self.role("root")?)?;
        let (version, current) = (metadata.signed().version, self.version());
        if version != current + 1 {
            return Err(TrustError::RootSequence { version, current });
        }
        Root::pin(bytes)
    }

    /// Its version.
    pub fn version(&self) -> u64 {
        self.signed.version
    }

    /// Whether `other` says the same, whoever of those who may has signed it.
    pub fn agrees_with(&self, other: &Root) -> bool {
        self.signed == other.signed
    }

    /// What it says, to be shown or changed.
    ///
    /// # Errors
    /// It says more than a [`RootSpec`] holds, which would be lost.
    pub fn spec(&self) -> Result<RootSpec, TrustError> {
        RootSpec::of(&parse(DOCUMENT, &self.bytes)?)
    }

    /// The bytes it came in.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Ids of the keys that may sign releases, and how many must.
    pub fn release_keys(&self) -> (&[String], usize) {
        let role = self.role("targets").expect("a root without this role is never made");
        (&role.keyids, role.threshold)
    }

    /// Whether an assignment that was signed for `before` may still have enough signatures here.
    ///
    /// If not, the versions signed for `before` bind nobody any more (TUF 5.3.11): whoever stole the
    /// old keys may have signed the highest there is, and their successors must be able to begin anew.
    pub fn honours_assignments_of(&self, before: &Root) -> bool {
        self.honours(&self.director, before, &before.director)
    }

    /// As [`Root::honours_assignments_of`], for lists of releases.
    pub fn honours_releases_of(&self, before: &Root) -> bool {
        match (self.role("targets"), before.role("targets")) {
            (Ok(now), Ok(then)) => self.honours(now, before, then),
            _ => false,
        }
    }

    /// As [`Root::honours_assignments_of`], for timestamps and snapshots.
    pub fn honours_timestamps_of(&self, before: &Root) -> bool {
        ["timestamp", "snapshot"].iter().all(|name| match (self.role(name), before.role(name)) {
            (Ok(now), Ok(then)) => self.honours(now, before, then),
            _ => false,
        })
    }

    /// Whether the keys that `then` and `now` share are enough for `now`.
    fn honours(&self, now: &RoleKeys, before: &Root, then: &RoleKeys) -> bool {
        let keys = |root: &Root, role: &RoleKeys| -> BTreeSet<Vec<u8>> {
            // By the keys themselves: an id is only a name.
            let named = role.keyids.iter().filter_map(|id| root.keys().get(id));
            named.map(material).collect()
        };
        keys(self, now).intersection(&keys(before, then)).count() >= now.threshold
    }

    /// Whether the director's keys include the one with this id.
    pub fn names_director(&self, key_id: &str) -> bool {
        self.director.keyids.iter().any(|id| id == key_id)
    }

    /// Whether the key with this id alone may sign both snapshot and timestamp.
    pub fn names_online(&self, key_id: &str) -> bool {
        let may_sign =
            |role: &RoleKeys| role.threshold == 1 && role.keyids.iter().any(|id| id == key_id);
        ["snapshot", "timestamp"].iter().all(|name| self.role(name).is_ok_and(may_sign))
    }

    /// Whether this key is one of the server's, however it is written.
    pub(crate) fn is_of_server(&self, key: &PublicKey) -> bool {
        let online = ["snapshot", "timestamp"].iter().filter_map(|name| self.role(name).ok());
        let ids = online.chain([&self.director]).flat_map(|role| &role.keyids);
        self.is_among(ids, key)
    }

    /// Whether this key may sign releases, however it is written.
    pub(crate) fn is_of_releases(&self, key: &PublicKey) -> bool {
        self.is_among(self.release_keys().0, key)
    }

    fn is_among<'a>(&self, ids: impl IntoIterator<Item = &'a String>, key: &PublicKey) -> bool {
        let sought = key.material();
        ids.into_iter().filter_map(|id| self.keys().get(id)).any(|key| material(key) == sought)
    }

    /// Refuses a root past its date. What runs goes on; new installs stop.
    pub(crate) fn verify_expiry(&self, now: OffsetDateTime) -> Result<(), TrustError> {
        verify_expiry(DOCUMENT, &self.signed, now)
    }

    pub(crate) fn good_until(&self) -> OffsetDateTime {
        good_until(&self.signed)
    }

    pub(crate) fn keys(&self) -> &BTreeMap<String, Key> {
        &self.signed.keys
    }

    pub(crate) fn role(&self, name: &str) -> Result<&RoleKeys, TrustError> {
        self.signed.roles.get(name).ok_or_else(|| format_error(format!("it has no role {name}")))
    }

    pub(crate) fn director(&self) -> &RoleKeys {
        &self.director
    }

    /// What the director has signed in a document that is none of TUF's own, of at most `bytes_max` bytes.
    pub(crate) fn signed_by_director(
        &self,
        document: &'static str,
        bytes: &[u8],
        bytes_max: usize,
    ) -> Result<Value, TrustError> {
        if bytes.len() > bytes_max {
            return Err(TrustError::Size { document, bytes: bytes.len(), max: bytes_max });
        }
        let sealed: Sealed = serde_json::from_slice(bytes)
            .map_err(|error| TrustError::Format { document, problem: error.to_string() })?;
        let named = self.director.keyids.iter().filter_map(|id| self.keys().get(id));
        let found = sealed.signers(&named.map(PublicKey::of).collect::<Vec<_>>()).len();
        let threshold = self.director.threshold;
        if found < threshold {
            let problem = format!("{found} of the {threshold} needed");
            return Err(TrustError::Signature { document, problem });
        }
        Ok(sealed.signed)
    }

    fn checked(signed: sigstore_tuf::Root, bytes: &[u8]) -> Result<Root, TrustError> {
        // One key under two names would count twice towards a threshold, and the server's could sign
        // what people sign.
        let distinct: BTreeSet<Vec<u8>> = signed.keys.values().map(material).collect();
        if distinct.len() != signed.keys.len() {
            return Err(format_error("it names one key twice".into()));
        }
        let director = signed.extra.get(DIRECTOR).cloned().unwrap_or(Value::Null);
        let director = serde_json::from_value(director)
            .map_err(|error| format_error(format!("{DIRECTOR}: {error}")))?;
        verify_version(DOCUMENT, signed.version)?;
        let root = Root { signed, director, bytes: bytes.to_vec() };
        for name in ["root", "targets", "snapshot", "timestamp"] {
            root.check_role(name, root.role(name)?)?;
        }
        root.check_role("director", &root.director)?;
        // The server must not be able to release: its keys sign nothing that people sign.
        let (snapshot, timestamp) = (root.role("snapshot")?, root.role("timestamp")?);
        let online =
            [("director", &root.director), ("snapshot", snapshot), ("timestamp", timestamp)];
        for offline in ["root", "targets"] {
            for id in &root.role(offline)?.keyids {
                if let Some((role, _)) = online.iter().find(|(_, keys)| keys.keyids.contains(id)) {
                    let id: String = id.chars().take(12).collect();
                    return Err(format_error(format!(
                        "key {id} is both of role {role}, which is the server's, and of role \
                         {offline}, which is people's"
                    )));
                }
            }
        }
        Ok(root)
    }

    fn check_role(&self, name: &str, role: &RoleKeys) -> Result<(), TrustError> {
        let known: BTreeSet<&String> =
            role.keyids.iter().filter(|id| self.signed.keys.contains_key(*id)).collect();
        if role.threshold == 0 || role.threshold > known.len() {
            return Err(format_error(format!(
                "role {name} needs {} signatures and has {} keys",
                role.threshold,
                known.len()
            )));
        }
        Ok(())
    }
}

fn format_error(problem: String) -> TrustError {
    TrustError::Format { document: DOCUMENT, problem }
}

/// What a root shall say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootSpec {
    /// Its version, from 1.
    pub version: u64,
    /// When it expires.
    pub expires: OffsetDateTime,
    /// Keys that may sign the next root, and how many must.
    pub root: (Vec<PublicKey>, usize),
    /// Keys that may sign releases, and how many must.
    pub releases: (Vec<PublicKey>, usize),
    /// The server's key for snapshot and timestamp.
    pub online: PublicKey,
    /// The server's key for assignments.
    pub director: PublicKey,
}

impl RootSpec {
    /// What a root document says, signed or not; it holds together.
    pub(crate) fn of(metadata: &Metadata<sigstore_tuf::Root>) -> Result<RootSpec, TrustError> {
        let signed = metadata.signed();
        let root = Root::checked(signed.clone(), &[])?;
        let members = |role: &RoleKeys| -> Vec<PublicKey> {
            let keys = role.keyids.iter().filter_map(|id| root.keys().get(id));
            keys.map(PublicKey::of).collect()
        };
        let first = |name: &str, role: &RoleKeys| {
            let none = || format_error(format!("role {name} has no key"));
            members(role).into_iter().next().ok_or_else(none)
        };
        let people = |name: &str| -> Result<(Vec<PublicKey>, usize), TrustError> {
            let role = root.role(name)?;
            Ok((members(role), role.threshold))
        };
        let expires = OffsetDateTime::from_unix_timestamp(signed.expires.as_second())
            .map_err(|error| format_error(error.to_string()))?;
        let spec = RootSpec {
            version: signed.version,
            expires,
            root: people("root")?,
            releases: people("targets")?,
            online: first("timestamp", root.role("timestamp")?)?,
            director: first("director", root.director())?,
        };
        // Written again it must be the same, but for the version of the specification: then there is
        // nothing in it that nobody is shown.
        let mut again = spec.signed();
        again["spec_version"] = signed.spec_version.clone().into();
        match to_canonical_bytes(&again) {
            Ok(again) if again == metadata.signed_canonical() => Ok(spec),
            _ => Err(format_error("it says more than this version of lineside can show".into())),
        }
    }

    /// The part of the document that is signed.
    pub(crate) fn signed(&self) -> Value {
        let mut all = Map::new();
        let mut role = |members: &[PublicKey], threshold: usize| {
            for key in members {
                all.insert(key.id(), key.to_json());
            }
            let ids: Vec<String> = members.iter().map(PublicKey::id).collect();
            json!({ "keyids": ids, "threshold": threshold })
        };
        let root = role(&self.root.0, self.root.1);
        let targets = role(&self.releases.0, self.releases.1);
        let online = role(std::slice::from_ref(&self.online), 1);
        let director = role(std::slice::from_ref(&self.director), 1);
        json!({
            "_type": "root",
            "spec_version": SPEC_VERSION,
            "version": self.version,
            "expires": timestamp(self.expires),
            "consistent_snapshot": true,
            "keys": all,
            "roles": { "root": root, "targets": targets, "snapshot": online, "timestamp": online },
            DIRECTOR: director,
        })
    }
}

/// Writes and signs a root.
pub fn sign_root(spec: &RootSpec, keys: &[&KeyPair]) -> Vec<u8> {
    envelope(&spec.signed(), keys)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::rand::SystemRandom;
    use sigstore_tuf::canonical_json::to_canonical_bytes;
    use time::macros::datetime;

    fn key() -> KeyPair {
        KeyPair::generate(&SystemRandom::new()).unwrap()
    }

    /// A root that either of two people signs.
    fn spec(people: &[&KeyPair]) -> RootSpec {
        RootSpec {
            version: 1,
            expires: datetime!(2027-11-24 12:00 UTC),
            root: (people.iter().map(|person| person.public()).collect(), 1),
            releases: (vec![key().public()], 1),
            online: key().public(),
            director: key().public(),
        }
    }

    #[test]
    fn roots_agree_by_what_they_say_and_not_by_who_signed_them() {
        let (anna, ben) = (key(), key());
        let mut spec = spec(&[&anna, &ben]);
        let by = |spec: &RootSpec, person| Root::pin(&sign_root(spec, &[person])).unwrap();
        let first = by(&spec, &anna);
        assert!(first.agrees_with(&by(&spec, &ben)));
        spec.version = 2;
        assert!(!first.agrees_with(&by(&spec, &anna)));
    }

    #[test]
    fn the_key_that_signs_online_is_known_by_its_id() {
        let (person, online) = (key(), key());
        let spec = RootSpec { online: online.public(), ..spec(&[&person]) };
        let bytes = sign_root(&spec, &[&person]);
        let root = Root::pin(&bytes).unwrap();
        assert!(root.names_online(&online.id()));
        assert!(!root.names_online(&person.id()) && !root.names_online(&spec.director.id()));
        // Where a second key has to sign as well, or one of the two roles is another's, it is not enough.
        let other = key();
        let changed = |change: &dyn Fn(&mut Value)| {
            let mut root: Value = serde_json::from_slice(&bytes).unwrap();
            root["signed"]["keys"][other.id()] = other.public().to_json();
            change(&mut root["signed"]["roles"]["snapshot"]);
            let signature = person.sign(&to_canonical_bytes(&root["signed"]).unwrap());
            root["signatures"][0]["sig"] = signature.into();
            Root::pin(&serde_json::to_vec(&root).unwrap()).unwrap()
        };
        let both = changed(&|role| {
            role["keyids"].as_array_mut().unwrap().push(other.id().into());
            role["threshold"] = 2.into();
        });
        assert!(!both.names_online(&online.id()));
        let apart = changed(&|role| role["keyids"] = serde_json::json!([other.id()]));
        assert!(!apart.names_online(&online.id()) && !apart.names_online(&other.id()));
    }

    #[test]
    fn what_was_signed_for_a_root_binds_while_its_keys_are_enough_for_the_next() {
        let person = key();
        let first = spec(&[&person]);
        let root = |spec: &RootSpec| Root::pin(&sign_root(spec, &[&person])).unwrap();
        let honoured = |next: &RootSpec| {
            let (next, first) = (root(next), root(&first));
            (
                next.honours_assignments_of(&first),
                next.honours_releases_of(&first),
                next.honours_timestamps_of(&first),
            )
        };
        let next = || RootSpec { version: 2, ..first.clone() };
        assert_eq!(honoured(&next()), (true, true, true));
        assert_eq!(honoured(&RootSpec { director: key().public(), ..next() }), (false, true, true));
        let releases = (vec![key().public()], 1);
        assert_eq!(honoured(&RootSpec { releases, ..next() }), (true, false, true));
        assert_eq!(honoured(&RootSpec { online: key().public(), ..next() }), (true, true, false));
        // One of two who sign now has signed before, and he alone is not enough.
        let releases = (vec![first.releases.0[0].clone(), key().public()], 2);
        assert_eq!(honoured(&RootSpec { releases, ..next() }), (true, false, true));
    }

    #[test]
    fn a_director_beside_the_old_one_takes_nothing_away_from_what_the_old_one_has_signed() {
        let (person, director, second) = (key(), key(), key());
        let spec = RootSpec { director: director.public(), ..spec(&[&person]) };
        let first = sign_root(&spec, &[&person]);
        let mut next: Value = serde_json::from_slice(&first).unwrap();
        let signed = &mut next["signed"];
        signed["version"] = 2.into();
        signed["keys"][second.id()] = second.public().to_json();
        signed[DIRECTOR]["keyids"].as_array_mut().unwrap().push(second.id().into());
        let signature = person.sign(&to_canonical_bytes(signed).unwrap());
        next["signatures"][0]["sig"] = signature.into();
        let first = Root::pin(&first).unwrap();
        let next = first.update(&serde_json::to_vec(&next).unwrap()).unwrap();
        assert!(next.names_director(&second.id()) && !next.names_director(&person.id()));
        assert!(next.honours_assignments_of(&first));
    }
}
