//! Delegations: who besides the release keys may sign targets, and which. TUF targets as well.

use crate::document::{SPEC_VERSION, envelope, timestamp};
use crate::key::{KeyPair, PublicKey};
use lineside_bundle::Digest;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use time::OffsetDateTime;

/// A role that may sign targets whose paths match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delegation {
    /// What it is called: `vendor/acme`, `site/plant-2`.
    pub name: String,
    /// Keys that may sign for it.
    pub keys: Vec<PublicKey>,
    /// How many must.
    pub threshold: usize,
    /// What it may sign: `vendor/acme/*`. A `*` stands for anything without a `/`.
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
