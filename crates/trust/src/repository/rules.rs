//! Rules of the specification that the core leaves to us.

use super::error::RepositoryError;
use crate::key::material;
use lineside_bundle::Digest;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sigstore_tuf::{
    Key, MetaFile, Metadata, Root, Snapshot, Targets, Timestamp, TrustedMetadataSet,
};
use std::collections::{BTreeMap, BTreeSet};

/// What may not stand in the path of a URL as it is (RFC 3986, section 2.3).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The roles of every root.
pub(crate) const ROLES: [&str; 4] = ["root", "timestamp", "snapshot", "targets"];

/// What every document that is kept has to be, beyond what the core looks at before it trusts one.
/// A root that lacks a role, or a timestamp without a snapshot, would leave a device with nothing to
/// go on from.
pub(super) fn sound(name: &str, bytes: &[u8]) -> Result<(), RepositoryError> {
    let failed = |error| RepositoryError::of(name, error);
    let problem = match name {
        "timestamp.json" => {
            let timestamp = Metadata::<Timestamp>::from_slice(bytes).map_err(failed)?.into_signed();
            let snapshot =
                timestamp.snapshot_meta().ok_or_else(|| "it lists no snapshot".to_owned());
            snapshot.and_then(|_| sound_list(timestamp.version, &timestamp.meta))
        }
        "snapshot.json" => {
            let snapshot = Metadata::<Snapshot>::from_slice(bytes).map_err(failed)?.into_signed();
            sound_list(snapshot.version, &snapshot.meta)
        }
        _ if name == "root.json" || name.starts_with("root_history/") => {
            sound_root(Metadata::<Root>::from_slice(bytes).map_err(failed)?.signed())
        }
        _ => sound_targets(Metadata::<Targets>::from_slice(bytes).map_err(failed)?.signed()),
    };
    problem.map_err(|problem| RepositoryError::Format { document: name.into(), problem })
}

fn sound_version(version: u64) -> Result<(), String> {
    if version == 0 { Err("versions begin with 1".into()) } else { Ok(()) }
}

fn sound_list(version: u64, meta: &BTreeMap<String, MetaFile>) -> Result<(), String> {
    sound_version(version)?;
    for (name, listed) in meta {
        sound_version(listed.version).map_err(|problem| format!("{name}: {problem}"))?;
        if listed.hashes.as_ref().is_some_and(BTreeMap::is_empty) {
            return Err(format!("{name}: it has no digest"));
        }
    }
    Ok(())
}

fn sound_root(root: &Root) -> Result<(), String> {
    sound_version(root.version)?;
    for name in ROLES {
        let role = root.role(name).ok_or_else(|| format!("it has no role {name}"))?;
        sound_role(name, &root.keys, &role.keyids, role.threshold)?;
    }
    Ok(())
}

/// None of the delegated roles may be called like a role of the root, or like another one (TUF 4.5).
pub(crate) fn sound_targets(targets: &Targets) -> Result<(), String> {
    sound_version(targets.version)?;
    if let Some((path, _)) = targets.targets.iter().find(|(_, file)| file.hashes.is_empty()) {
        return Err(format!("{path} has no digest"));
    }
    let Some(delegations) = &targets.delegations else {
        return Ok(());
    };
    let mut names = BTreeSet::from(ROLES);
    names.insert("");
    for role in &delegations.roles {
        if !names.insert(&role.name) {
            return Err(format!("it delegates to a second role {:?}", role.name));
        }
        if role.paths.is_some() == role.path_hash_prefixes.is_some() {
            return Err(format!(
                "role {} must have either paths or prefixes of their digests",
                role.name
            ));
        }
        sound_role(&role.name, &delegations.keys, &role.keyids, role.threshold)?;
    }
    Ok(())
}

/// A key counts once towards the threshold, however many names it has (TUF 4.3).
fn sound_role(
    name: &str,
    keys: &BTreeMap<String, Key>,
    ids: &[String],
    threshold: usize,
) -> Result<(), String> {
    if threshold == 0 {
        return Err(format!("role {name} needs no signature"));
    }
    let named: Vec<Vec<u8>> = ids.iter().filter_map(|id| keys.get(id)).map(material).collect();
    let distinct = named.iter().collect::<BTreeSet<_>>().len();
    if distinct < named.len() {
        return Err(format!("role {name} names one key twice"));
    }
    Ok(())
}

/// Refuses a snapshot that loses a document or goes back with one (TUF 5.5.5), compared with the one
/// kept here as long as the root's keys still stand for that (5.3.11).
///
/// The core compares too, but only with a kept snapshot that the kept timestamp names. A mirror that
/// serves a new timestamp and withholds its snapshot parts the two, and in the next run of the
/// program nothing would be compared.
pub(super) fn not_back(root: &Root, before: &[u8], new: &Snapshot) -> Result<(), RepositoryError> {
    let document = || "snapshot.json".to_owned();
    let Some(role) = root.role("snapshot") else { return Ok(()) };
    let Ok(before) = Metadata::<Snapshot>::from_slice(before) else { return Ok(()) };
    if before.verify_threshold(&root.keys, role, "snapshot").is_err() {
        return Ok(());
    }
    for (name, listed) in &before.signed().meta {
        let Some(now) = new.meta.get(name) else {
            let problem = format!("it does not list {name} any more");
            return Err(RepositoryError::Format { document: document(), problem });
        };
        if now.version < listed.version {
            let (version, seen) = (now.version, listed.version);
            let part = name.clone();
            return Err(RepositoryError::Older { document: document(), part, version, seen });
        }
    }
    Ok(())
}

/// Where a document that is about to be fetched as `name` would be kept, and the digest that it
/// must have: from the documents above it that are `kept`.
pub(super) fn promised(
    name: &str,
    kept: impl Fn(&str) -> Result<Option<Vec<u8>>, RepositoryError>,
) -> Result<Option<(String, Digest)>, RepositoryError> {
    // Everything hangs on these two: they are asked for anew each time, whoever lists them.
    if name == "timestamp.json" || name.ends_with("root.json") {
        return Ok(None);
    }
    let above = if name.ends_with("snapshot.json") { "timestamp.json" } else { "snapshot.json" };
    let Some(above) = kept(above)? else { return Ok(None) };
    // Both have the same form. It was verified before it was kept.
    let meta = match Metadata::<Timestamp>::from_slice(&above) {
        Ok(timestamp) => timestamp.into_signed().meta,
        Err(_) => match Metadata::<Snapshot>::from_slice(&above) {
            Ok(snapshot) => snapshot.into_signed().meta,
            Err(_) => return Ok(None),
        },
    };
    for (document, listed) in meta {
        let file = file_name(&document);
        if name != file && name != format!("{}.{file}", listed.version) {
            continue;
        }
        let hex = listed.hashes.as_ref().and_then(|hashes| hashes.get("sha256"));
        let digest =
            hex.and_then(|hex| format!("sha256:{}", hex.to_ascii_lowercase()).parse().ok());
        return Ok(digest.map(|digest| (file, digest)));
    }
    Ok(None)
}

/// A document's name as the core asks for it and keeps it: as it stands in the path of a URL.
fn file_name(document: &str) -> String {
    utf8_percent_encode(document, RESERVED).to_string()
}

/// The first delegated role on the way to `path` that the snapshot does not list.
///
/// The core passes it over and asks the next one, so whoever holds the snapshot's key could have a
/// less trusted role answer in its place.
pub(super) fn first_unlisted(trusted: &TrustedMetadataSet, path: &str) -> Option<String> {
    let snapshot = trusted.snapshot()?;
    let mut ahead = vec!["targets".to_owned()];
    let mut visited = BTreeSet::new();
    while let Some(name) = ahead.pop() {
        if !visited.insert(name.clone()) {
            continue;
        }
        if !snapshot.meta.contains_key(&format!("{name}.json")) {
            return Some(name);
        }
        // Where the core stopped, so do we.
        let role = trusted.targets_role(&name)?;
        if role.target(path).is_some() {
            return None;
        }
        let mut children = Vec::new();
        for child in role.delegations.iter().flat_map(|delegations| &delegations.roles) {
            if child.matches_path(path).unwrap_or(false) {
                children.push(child.name.clone());
                if child.terminating {
                    ahead.clear();
                    break;
                }
            }
        }
        ahead.extend(children.into_iter().rev());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// The signed part of a sound document.
    fn document(role: &str) -> Value {
        let key = |public| json!({ "keytype": "ed25519", "scheme": "ed25519", "keyval": { "public": public } });
        let keys = json!({ "0": key("ab"), "1": key("cd"), "2": key("AB\n") });
        let by = json!({ "keyids": ["0", "1"], "threshold": 2 });
        let hashes = json!({ "sha256": "00" });
        let own = match role {
            "root" => json!({ "keys": keys,
                "roles": { "root": by, "timestamp": by, "snapshot": by, "targets": by } }),
            "targets" => json!({
                "targets": { "a": { "length": 1, "hashes": hashes } },
                "delegations": { "keys": keys, "roles": [
                    { "name": "vendor", "keyids": ["0", "1"], "threshold": 2, "paths": ["*"] } ] } }),
            _ => json!({ "meta": { "snapshot.json": { "version": 1, "hashes": hashes } } }),
        };
        let mut all = json!({ "_type": role, "spec_version": "1.0.31", "version": 1,
            "expires": "2030-01-01T00:00:00Z" });
        all.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
        all
    }

    fn judged(role: &str, signed: &Value) -> String {
        let envelope = json!({ "signatures": [], "signed": signed });
        match sound(&format!("{role}.json"), &serde_json::to_vec(&envelope).unwrap()) {
            Ok(()) => "sound".into(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_key_in_another_spelling_is_no_second_key() {
        // RFC 8410: what stands before the 32 bytes of an Ed25519 key.
        let head = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
        let info = [head.as_slice(), &[0xab; 32]].concat();
        let pem = pem_rfc7468::encode_string("PUBLIC KEY", pem_rfc7468::LineEnding::LF, &info);
        for public in ["AB".repeat(32), pem.unwrap()] {
            let mut twice = document("root");
            twice["keys"]["0"]["keyval"]["public"] = "ab".repeat(32).into();
            twice["keys"]["1"]["keyval"]["public"] = public.into();
            let said = judged("root", &twice);
            assert!(said.ends_with("role root names one key twice"), "{said}");
        }
    }

    #[test]
    fn a_document_that_nothing_could_follow_is_refused() {
        for role in ROLES {
            assert_eq!(judged(role, &document(role)), "sound");
            let mut first = document(role);
            first["version"] = 0.into();
            let said = judged(role, &first);
            assert_eq!(said, format!("{role}.json cannot be used: versions begin with 1"));
        }
        let vendor = "/delegations/roles/0";
        for (role, place, value, problem) in [
            ("root", "/roles/snapshot", None, "it has no role snapshot"),
            ("root", "/roles/root/threshold", Some(json!(0)), "role root needs no signature"),
            ("root", "/roles/root/keyids/1", Some(json!("0")), "role root names one key twice"),
            ("root", "/roles/root/keyids/1", Some(json!("2")), "role root names one key twice"),
            // One role may know a key by another name than others do.
            ("root", "/roles/root/keyids/0", Some(json!("2")), ""),
            ("timestamp", "/meta/snapshot.json", None, "it lists no snapshot"),
            (
                "timestamp",
                "/meta/snapshot.json/version",
                Some(json!(0)),
                "snapshot.json: versions begin with 1",
            ),
            (
                "timestamp",
                "/meta/snapshot.json/hashes",
                Some(json!({})),
                "snapshot.json: it has no digest",
            ),
            ("timestamp", "/meta/snapshot.json/hashes", None, ""),
            (
                "snapshot",
                "/meta/snapshot.json/hashes",
                Some(json!({})),
                "snapshot.json: it has no digest",
            ),
            ("targets", "/targets/a/hashes", Some(json!({})), "a has no digest"),
            ("targets", "/delegations", None, ""),
            (
                "targets",
                &format!("{vendor}/name"),
                Some(json!("root")),
                "it delegates to a second role \"root\"",
            ),
            (
                "targets",
                &format!("{vendor}/paths"),
                None,
                "role vendor must have either paths or prefixes of their digests",
            ),
            (
                "targets",
                &format!("{vendor}/path_hash_prefixes"),
                Some(json!(["0"])),
                "role vendor must have either paths or prefixes of their digests",
            ),
            (
                "targets",
                &format!("{vendor}/threshold"),
                Some(json!(0)),
                "role vendor needs no signature",
            ),
            (
                "targets",
                &format!("{vendor}/keyids/1"),
                Some(json!("2")),
                "role vendor names one key twice",
            ),
        ] {
            let mut signed = document(role);
            let (holder, last) = place.rsplit_once('/').unwrap();
            let holder = signed.pointer_mut(holder).unwrap();
            match (holder, value) {
                (Value::Object(fields), Some(value)) => drop(fields.insert(last.into(), value)),
                (Value::Object(fields), None) => drop(fields.remove(last)),
                (holder, value) => holder[last.parse::<usize>().unwrap()] = value.unwrap(),
            }
            let said = match problem {
                "" => "sound".to_owned(),
                problem => format!("{role}.json cannot be used: {problem}"),
            };
            assert_eq!(judged(role, &signed), said, "{place}");
        }
    }
}
