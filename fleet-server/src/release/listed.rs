//! What a signed document names, and what a list says now that it did not say before, for the audit log.

use crate::audit::{By, did, digest, release_name};
use crate::store::Writing;
use lineside_audit::{Action, Change, Hash, Value};
use lineside_bundle::Digest;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Deserialize)]
struct Envelope {
    signed: Signed,
}

#[derive(Deserialize)]
struct Signed {
    targets: BTreeMap<String, Target>,
}

#[derive(Deserialize)]
struct Target {
    hashes: BTreeMap<String, String>,
}

/// Records that a list was taken, and each release or policy that it names and the one before did not, or did
/// otherwise. Both were verified before.
pub(super) fn record_list(
    writing: &Writing<'_>,
    by: &By,
    list: &str,
    last: Option<&[u8]>,
    bytes: &[u8],
) {
    let (old, new) = (last.map(digest), digest(bytes));
    let change = did(by, Action::TargetsSet, "list", list);
    writing.record(Change {
        old: old.map(Value::Digest),
        new: Some(Value::Digest(new)),
        signed: Some(new),
        ..change
    });
    let (before, after) = (last.map(targets).unwrap_or_default(), targets(bytes));
    let paths: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for path in paths {
        let hash = |list: &BTreeMap<String, Digest>| Some(Hash(list.get(path)?.bytes()));
        let (old, new) = (hash(&before), hash(&after));
        if old == new {
            continue;
        }
        let policy = path.strip_prefix("site/").and_then(|path| path.strip_suffix("/policy.json"));
        let change = match (policy, path.matches('/').count(), new) {
            (Some(site), ..) => did(by, Action::PolicySet, "site", site),
            (None, 1, Some(_)) => did(by, Action::ReleasePublished, "release", &release_name(path)),
            (None, 1, None) => did(by, Action::ReleaseWithdrawn, "release", &release_name(path)),
            // Other files of a role: its list says what they are.
            _ => continue,
        };
        let (old, new) = (old.map(Value::Digest), new.map(Value::Digest));
        writing.record(Change { old, new, ..change });
    }
}

/// What a signed document names, with its SHA-256; nothing where it is of another form.
pub(super) fn targets(bytes: &[u8]) -> BTreeMap<String, Digest> {
    let targets = serde_json::from_slice::<Envelope>(bytes).map(|list| list.signed.targets);
    let digest = |(path, target): (String, Target)| {
        Some((path, format!("sha256:{}", target.hashes.get("sha256")?).parse().ok()?))
    };
    targets.unwrap_or_default().into_iter().filter_map(digest).collect()
}
