//! What a document says, in words for those who are to sign it.

mod lists;

pub use lists::{delegation, delegation_json};

use lineside_trust::{Contents, Draft, PublicKey, Quorum, RootSpec};
use serde_json::{Value, json};
use std::fmt::Write;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A draft as text for people and as JSON.
pub fn draft(draft: &Draft) -> (String, Value) {
    let (mut text, mut json) = match draft.contents() {
        Contents::Root { spec, before } => {
            let (mut text, mut json) = root(spec);
            let changes = before.as_ref().map(|before| root_changes(before, spec));
            match (&changes, before) {
                (Some(changes), Some(before)) => tell(&mut text, before.version, changes),
                _ => text += "\na first root: whoever is given it trusts these keys\n",
            }
            json["changes"] = json!(changes);
            (text, json)
        }
        Contents::Releases { spec, before } => lists::releases(spec, before.as_ref()),
        Contents::Role { role, spec, before, files } => {
            lists::role(role, spec, before.as_ref(), files)
        }
    };
    let quorums = draft.quorums();
    text += "\nsignatures\n";
    for quorum in &quorums {
        let Quorum { by, threshold, signed, .. } = quorum;
        let names = if signed.is_empty() { String::new() } else { format!(": {}", names(signed)) };
        let _ = writeln!(text, "  {by} wants {threshold}, has {}{names}", signed.len());
    }
    let is_complete = quorums.iter().all(Quorum::is_met);
    let _ = write!(text, "digest of what is signed: {}", draft.digest().hex());
    json["document"] = draft.name().into();
    json["follows_root"] = json!(draft.root_before().map(lineside_trust::Root::version));
    json["signatures"] = quorums.iter().map(quorum_json).collect();
    json["complete"] = is_complete.into();
    json["digest"] = json!(draft.digest());
    (text, json)
}

/// What a list says otherwise than the one before, besides that it adds the release at `path`.
pub fn besides(draft: &Draft, path: &str) -> Vec<String> {
    let changes = match draft.contents() {
        Contents::Root { .. } => Vec::new(),
        Contents::Releases { spec, before } => lists::changes(spec, before.as_ref()),
        Contents::Role { spec, before, .. } => lists::role_changes(spec, before.as_ref()),
    };
    let own = format!("adds {path}: ");
    changes.into_iter().filter(|change| !change.starts_with(&own)).collect()
}

/// A root as text and as JSON.
pub fn root(spec: &RootSpec) -> (String, Value) {
    let RootSpec { version, expires, root, releases, online, director } = spec;
    let mut text = format!("root {version}, good until {}\n", time(*expires));
    for ((keys, threshold), signs) in [(root, "the next root"), (releases, "releases")] {
        let must = if *threshold == 1 { "signs" } else { "sign" };
        let _ = writeln!(text, "\n{threshold} of {} {must} {signs}", count(keys.len(), "key"));
        for key in keys {
            let _ = writeln!(text, "  {key}");
        }
    }
    let _ = writeln!(text, "\nthe server's own keys\n  {director} for assignments");
    let _ = writeln!(text, "  {online} for the freshness of the list of releases");
    let role = |(keys, threshold): &(Vec<PublicKey>, usize)| json!({ "threshold": threshold, "keys": keys.iter().map(key_json).collect::<Vec<_>>() });
    let json = json!({ "version": version, "expires": time(*expires), "root": role(root),
        "releases": role(releases), "online": key_json(online), "director": key_json(director) });
    (text, json)
}

/// What a root says otherwise than the one before.
pub fn root_changes(before: &RootSpec, now: &RootSpec) -> Vec<String> {
    let mut changes = Vec::new();
    let roles = [("root", &before.root, &now.root), ("release", &before.releases, &now.releases)];
    for (role, (old, old_threshold), (new, threshold)) in roles {
        let without = |keys: &[PublicKey], others: &[PublicKey]| -> Vec<String> {
            let is_new = |key: &&PublicKey| others.iter().all(|other| other.id() != key.id());
            keys.iter().filter(is_new).map(PublicKey::to_string).collect()
        };
        changes.extend(without(old, new).iter().map(|key| format!("removes {role} key {key}")));
        changes.extend(without(new, old).iter().map(|key| format!("adds {role} key {key}")));
        if old_threshold != threshold || old.len() != new.len() {
            changes.push(format!(
                "{threshold} of {} {role} keys must sign, instead of {old_threshold} of {}",
                new.len(),
                old.len()
            ));
        }
        for key in new {
            let same = old.iter().find(|other| other.id() == key.id());
            if let Some(other) = same.filter(|other| other.owner() != key.owner()) {
                changes.push(format!("calls {role} key {other} {key}"));
            }
        }
    }
    let servers =
        [("director", &before.director, &now.director), ("online", &before.online, &now.online)];
    for (role, old, new) in servers {
        if old != new {
            changes.push(format!("replaces the server's {role} key {old} by {new}"));
        }
    }
    if before.expires != now.expires {
        changes.push(format!(
            "is good until {}, instead of {}",
            time(now.expires),
            time(before.expires)
        ));
    }
    changes
}

fn tell(text: &mut String, before: u64, changes: &[String]) {
    if changes.is_empty() {
        let _ = writeln!(text, "\nnothing changes against version {before}");
        return;
    }
    let _ = writeln!(text, "\nchanges against version {before}");
    list(text, changes);
}

fn list(text: &mut String, changes: &[String]) {
    for change in changes {
        let _ = writeln!(text, "  {change}");
    }
}

fn quorum_json(quorum: &Quorum) -> Value {
    let Quorum { by, threshold, signed, unsigned } = quorum;
    let keys = |keys: &[PublicKey]| keys.iter().map(key_json).collect::<Vec<_>>();
    json!({ "wanted_by": by, "threshold": threshold, "signed": keys(signed),
        "unsigned": keys(unsigned) })
}

fn key_json(key: &PublicKey) -> Value {
    json!({ "id": key.id(), "owner": key.owner() })
}

fn names(keys: &[PublicKey]) -> String {
    keys.iter().map(PublicKey::to_string).collect::<Vec<_>>().join(", ")
}

fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

fn time(time: OffsetDateTime) -> String {
    time.format(&Rfc3339).unwrap_or_else(|_| time.to_string())
}
