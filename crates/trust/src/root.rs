//! The root: which keys may sign what. Pinned once, followed by the TUF rules.

use crate::document::{SPEC_VERSION, envelope, parse, timestamp, verify_expiry, verify_signatures};
use crate::error::TrustError;
use crate::key::{KeyPair, PublicKey};
use serde_json::{Map, Value, json};
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
        if Some(version) != current.checked_add(1) {
            return Err(TrustError::RootSequence { version, current });
        }
        Root::pin(bytes)
    }

    /// Its version.
    pub fn version(&self) -> u64 {
        self.signed.version
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

    /// Whether the same keys of the director are named by both.
    pub fn has_same_director(&self, other: &Root) -> bool {
        let ids = |root: &Root| root.director.keyids.iter().cloned().collect::<BTreeSet<_>>();
        ids(self) == ids(other)
    }

    /// Whether the director's keys include the one with this id.
    pub fn names_director(&self, key_id: &str) -> bool {
        self.director.keyids.iter().any(|id| id == key_id)
    }

    /// Refuses a root past its date. What runs goes on; new installs stop.
    pub(crate) fn verify_expiry(&self, now: OffsetDateTime) -> Result<(), TrustError> {
        verify_expiry(DOCUMENT, &self.signed, now)
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

    fn checked(signed: sigstore_tuf::Root, bytes: &[u8]) -> Result<Root, TrustError> {
        // One key under two names would count twice towards a threshold.
        let distinct: BTreeSet<&str> =
            signed.keys.values().map(|key| key.keyval.public.trim()).collect();
        if distinct.len() != signed.keys.len() {
            return Err(format_error("it names one key twice".into()));
        }
        let director = signed.extra.get(DIRECTOR).cloned().unwrap_or(Value::Null);
        let director = serde_json::from_value(director)
            .map_err(|error| format_error(format!("{DIRECTOR}: {error}")))?;
        let root = Root { signed, director, bytes: bytes.to_vec() };
        for name in ["root", "targets", "snapshot", "timestamp"] {
            root.check_role(name, root.role(name)?)?;
        }
        root.check_role("director", &root.director)?;
        // The server must not be able to release: its keys sign nothing that people sign.
        for offline in ["root", "targets"] {
            let keys = &root.role(offline)?.keyids;
            if let Some(shared) = keys.iter().find(|id| root.names_director(id)) {
                let shared: String = shared.chars().take(12).collect();
                return Err(format_error(format!(
                    "key {shared} is both the director's and of role {offline}"
                )));
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
#[derive(Debug, Clone)]
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

/// Writes and signs a root.
pub fn sign_root(spec: &RootSpec, keys: &[&KeyPair]) -> Vec<u8> {
    let mut all = Map::new();
    let mut role = |members: &[PublicKey], threshold: usize| {
        for key in members {
            all.insert(key.id(), key.to_json());
        }
        let ids: Vec<String> = members.iter().map(PublicKey::id).collect();
        json!({ "keyids": ids, "threshold": threshold })
    };
    let root = role(&spec.root.0, spec.root.1);
    let targets = role(&spec.releases.0, spec.releases.1);
    let online = role(std::slice::from_ref(&spec.online), 1);
    let director = role(std::slice::from_ref(&spec.director), 1);
    let signed = json!({
        "_type": "root",
        "spec_version": SPEC_VERSION,
        "version": spec.version,
        "expires": timestamp(spec.expires),
        "consistent_snapshot": true,
        "keys": all,
        "roles": { "root": root, "targets": targets, "snapshot": online, "timestamp": online },
        DIRECTOR: director,
    });
    envelope(&signed, keys)
}
