//! Rules of the specification that the core leaves to us.

use super::error::RepositoryError;
use sigstore_tuf::{Key, Metadata, Root, Snapshot, Targets, TrustedMetadataSet};
use std::collections::{BTreeMap, BTreeSet};

/// Refuses a root in which one key has two names within a role: it would count twice towards the
/// threshold (TUF 4.3).
pub(super) fn sound_root(document: &str, root: &Root) -> Result<(), RepositoryError> {
    let mut roles = root.roles.iter();
    roles.try_for_each(|(name, role)| distinct(document, name, &root.keys, &role.keyids))
}

/// As [`sound_root`] for delegated roles; none of them may be called like a role of the root, or
/// like another one (TUF 4.5).
pub(super) fn sound_delegations(document: &str, targets: &Targets) -> Result<(), RepositoryError> {
    let Some(delegations) = &targets.delegations else {
        return Ok(());
    };
    let mut names = BTreeSet::from(["", "root", "timestamp", "snapshot", "targets"]);
    for role in &delegations.roles {
        if !names.insert(&role.name) {
            let problem = format!("it delegates to a second role {:?}", role.name);
            return Err(RepositoryError::Format { document: document.into(), problem });
        }
        distinct(document, &role.name, &delegations.keys, &role.keyids)?;
    }
    Ok(())
}

fn distinct(
    document: &str,
    role: &str,
    keys: &BTreeMap<String, Key>,
    ids: &[String],
) -> Result<(), RepositoryError> {
    let ids: BTreeSet<&String> = ids.iter().collect();
    let named: Vec<&str> =
        ids.into_iter().filter_map(|id| keys.get(id)).map(|key| key.keyval.public.trim()).collect();
    let distinct: BTreeSet<String> = named.iter().map(|key| key.to_ascii_lowercase()).collect();
    if distinct.len() == named.len() {
        return Ok(());
    }
    let problem = format!("role {role} names one key twice");
    Err(RepositoryError::Format { document: document.into(), problem })
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

    fn keys(spellings: &[&str]) -> Value {
        let key = |public: &&str| json!({ "keytype": "ed25519", "scheme": "ed25519", "keyval": { "public": public } });
        spellings.iter().enumerate().map(|(at, public)| (at.to_string(), key(public))).collect()
    }

    #[test]
    fn a_key_under_two_names_counts_once() {
        let document = |spellings: &[&str], ids: Value| {
            let keys = keys(spellings);
            let role = json!({ "keyids": ids, "threshold": 2 });
            let root = json!({ "_type": "root", "spec_version": "1.0.31", "version": 1,
                "expires": "2030-01-01T00:00:00Z", "keys": keys, "roles": { "targets": role } });
            let role = json!({ "name": "vendor", "keyids": ids, "threshold": 2, "paths": ["*"] });
            let targets = json!({ "_type": "targets", "spec_version": "1.0.31", "version": 1,
                "expires": "2030-01-01T00:00:00Z", "targets": {},
                "delegations": { "keys": keys, "roles": [role] } });
            let root = serde_json::from_value(root).unwrap();
            let targets = serde_json::from_value(targets).unwrap();
            let root = sound_root("root.json", &root).is_ok();
            assert_eq!(root, sound_delegations("targets.json", &targets).is_ok());
            root
        };
        assert!(document(&["ab", "cd"], json!(["0", "1"])));
        assert!(!document(&["ab", "ab"], json!(["0", "1"])));
        assert!(!document(&["ab", "AB\n"], json!(["0", "1"])));
        // One role may have a key that another one knows by another name.
        assert!(document(&["ab", "ab", "cd"], json!(["0", "2"])));
    }
}
