//! What lists of releases say, and lists of those to whom the release keys have delegated.

use super::{count, key_json, list, names, tell, time};
use lineside_bundle::Digest;
use lineside_rules::SitePolicy;
use lineside_trust::{Delegation, ReleasesSpec, RoleSpec, SignedRelease, Withdrawals, Withdrawn};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;

/// A list of releases as text and as JSON, with what is different from the one before.
pub fn releases(spec: &ReleasesSpec, before: Option<&ReleasesSpec>) -> (String, Value) {
    let ReleasesSpec { version, expires, releases, delegations, .. } = spec;
    let count = count(releases.len(), "release");
    let mut text = format!("list of releases {version}, {count}, good until {}\n", time(*expires));
    let changes = changes(spec, before);
    match before {
        Some(before) => tell(&mut text, before.version, &changes),
        None => {
            text += "\nno list that this root vouches for is known: all of it is new\n";
            list(&mut text, &changes);
        }
    }
    if !delegations.is_empty() {
        text += "\nwho may sign besides the release keys\n";
        list(&mut text, &delegations.iter().map(delegation).collect::<Vec<_>>());
    }
    let json = json!({ "version": version, "expires": time(*expires),
        "releases": releases.keys().collect::<Vec<_>>(),
        "delegations": delegations.iter().map(delegation_json).collect::<Vec<_>>(),
        "changes": changes });
    (text, json)
}

/// A list of a delegated role as text and as JSON, with what is different from the one before, and
/// with what stands in its files.
pub fn role(
    role: &Delegation,
    spec: &RoleSpec,
    before: Option<&RoleSpec>,
    files: &BTreeMap<String, String>,
) -> (String, Value) {
    let RoleSpec { version, expires, releases, .. } = spec;
    let mut text = format!("list {version} of {}, good until {}\n", role.name, time(*expires));
    let _ = writeln!(text, "the release keys let {}", delegation(role));
    let changes = role_changes(spec, before);
    match before {
        Some(before) => tell(&mut text, before.version, &changes),
        None => {
            text += "\nno list of it is known that holds by these keys: all of it is new\n";
            list(&mut text, &changes);
        }
    }
    for (path, contents) in files {
        let _ = writeln!(text, "\n{path}");
        contents.lines().for_each(|line| {
            let _ = writeln!(text, "  {}", plain(line));
        });
        if let Err(why) = understood(path, contents) {
            let _ = writeln!(text, "no device will take this: {}", plain(&why));
        }
    }
    let json = json!({ "role": delegation_json(role), "version": version,
        "expires": time(*expires), "releases": releases.keys().collect::<Vec<_>>(),
        "files": files, "changes": changes });
    (text, json)
}

/// What is different in a list of releases from the one before.
pub fn changes(spec: &ReleasesSpec, before: Option<&ReleasesSpec>) -> Vec<String> {
    let (none, nothing) = (BTreeMap::new(), Withdrawals::default());
    let mut changes =
        release_changes(before.map_or(&none, |before| &before.releases), &spec.releases);
    let withdrawn = before.map_or(&nothing, |before| &before.withdrawn);
    changes.extend(withdrawn_changes(withdrawn, &spec.withdrawn));
    let others = before.map(|before| before.delegations.as_slice()).unwrap_or_default();
    changes.extend(delegation_changes(others, &spec.delegations));
    changes
}

/// What is different in a list of a delegated role from the one before.
pub fn role_changes(spec: &RoleSpec, before: Option<&RoleSpec>) -> Vec<String> {
    let (none, nothing) = (BTreeMap::new(), Withdrawals::default());
    let mut changes =
        release_changes(before.map_or(&none, |before| &before.releases), &spec.releases);
    let withdrawn = before.map_or(&nothing, |before| &before.withdrawn);
    changes.extend(withdrawn_changes(withdrawn, &spec.withdrawn));
    let files_before = before.map(|before| &before.files);
    changes.extend(file_changes(files_before.unwrap_or(&BTreeMap::new()), &spec.files));
    changes
}

/// Who signs what, as in `vendor-acme sign pump/* with 1 of 0123456789ab (Anna)`.
pub fn delegation(role: &Delegation) -> String {
    let Delegation { name, keys, threshold, paths, terminating } = role;
    let last = if *terminating { ", and nobody after it" } else { "" };
    let paths: Vec<String> = paths.iter().map(|path| plain(path)).collect();
    let (name, paths) = (plain(name), paths.join(", "));
    format!("{name} sign {paths} with {threshold} of {}{last}", names(keys))
}

/// The same for programs.
pub fn delegation_json(role: &Delegation) -> Value {
    let Delegation { name, keys, threshold, paths, terminating } = role;
    let keys: Vec<Value> = keys.iter().map(key_json).collect();
    json!({ "name": name, "keys": keys, "threshold": threshold, "paths": paths,
        "terminating": terminating })
}

fn release_changes(
    before: &BTreeMap<String, SignedRelease>,
    now: &BTreeMap<String, SignedRelease>,
) -> Vec<String> {
    let described = |release: &SignedRelease| {
        let SignedRelease { id, number, floor } = release;
        let floor = match floor {
            0 => String::new(),
            floor => format!(", no device that has it goes back below number {floor}"),
        };
        format!("{}: number {number}, {}, {} bytes{floor}", release.path(), id.digest, id.size)
    };
    let mut changes = Vec::new();
    for (path, release) in now {
        match before.get(path) {
            None => changes.push(format!("adds {}", described(release))),
            Some(old) if old != release => changes.push(format!("changes {}", described(release))),
            Some(_) => {}
        }
    }
    let gone = before.keys().filter(|path| !now.contains_key(*path));
    changes.extend(gone.map(|path| format!("removes {path}")));
    changes
}

fn withdrawn_changes(before: &Withdrawals, now: &Withdrawals) -> Vec<String> {
    let mut changes = Vec::new();
    for (bundle, withdrawn) in now.iter().filter(|(bundle, now)| before.get(bundle) != Some(now)) {
        let Withdrawn { number, floor, versions } = withdrawn;
        let versions: Vec<String> = versions.iter().map(ToString::to_string).collect();
        let versions = match versions.join(", ") {
            none if none.is_empty() => none,
            versions => format!("versions {versions}, "),
        };
        changes.push(format!(
            "never gives again of {bundle} what was withdrawn, or signed by others before: \
             {versions}numbers up to {number}; the floor stays at {floor} or above"
        ));
    }
    let gone = before.iter().filter(|(bundle, _)| now.get(bundle).is_none());
    changes.extend(gone.map(|(bundle, _)| format!("forgets what was withdrawn of {bundle}")));
    changes
}

fn file_changes(
    before: &BTreeMap<String, (Digest, u64)>,
    now: &BTreeMap<String, (Digest, u64)>,
) -> Vec<String> {
    let mut changes = Vec::new();
    for (path, (digest, size)) in now {
        let shown = format!("{}: {digest}, {size} bytes", plain(path));
        match before.get(path) {
            None => changes.push(format!("adds {shown}")),
            Some(old) if *old != (*digest, *size) => changes.push(format!("changes {shown}")),
            Some(_) => {}
        }
    }
    let gone = before.keys().filter(|path| !now.contains_key(*path));
    changes.extend(gone.map(|path| format!("removes {}", plain(path))));
    changes
}

fn delegation_changes(before: &[Delegation], now: &[Delegation]) -> Vec<String> {
    let mut changes = Vec::new();
    for role in now {
        match before.iter().find(|other| other.name == role.name) {
            None => changes.push(format!("lets {}", delegation(role))),
            Some(old) if old != role => {
                changes.push(format!("lets {}; before: {}", delegation(role), delegation(old)));
            }
            Some(_) => {}
        }
    }
    let gone = before.iter().filter(|role| now.iter().all(|other| other.name != role.name));
    changes.extend(gone.map(|role| format!("no longer lets {}", delegation(role))));
    let kept_before: Vec<&Delegation> = before.iter().filter(|role| now.contains(role)).collect();
    let kept_now: Vec<&Delegation> = now.iter().filter(|role| before.contains(role)).collect();
    if kept_before != kept_now {
        changes.push("asks those who may sign in another order".into());
    }
    changes
}

/// Whether a device will understand what stands at `path`.
fn understood(path: &str, contents: &str) -> Result<(), String> {
    let ["site", _, "policy.json"] = path.split('/').collect::<Vec<_>>()[..] else { return Ok(()) };
    let policy: SitePolicy = serde_json::from_str(contents).map_err(|error| error.to_string())?;
    policy.check().map_err(|(field, problem)| format!("{field}: {problem}"))
}

/// Text of somebody else's, so that a terminal shows what it says and does nothing else.
fn plain(text: &str) -> String {
    let escaped = |c: char| match c {
        ' '..='~' => c.to_string(),
        other => other.escape_unicode().to_string(),
    };
    text.chars().map(escaped).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_that_no_device_understands_is_told_to_whoever_is_to_sign_it() {
        let said = |text: &str| understood("site/mill/policy.json", text);
        assert_eq!(said("{\"slots\":{}}"), Ok(()));
        assert!(said("{\"slots\":{},\"more\":1}").unwrap_err().contains("more"));
        let limits = "{\"slots\":{\"*\":{\"trial\":{\"frames\":0}}}}";
        assert!(said(limits).unwrap_err().contains("slots.*.trial.frames"));
        assert_eq!(understood("site/mill/notes", "anything"), Ok(()));
    }

    #[test]
    fn whoever_signs_is_told_what_a_list_remembers_of_what_was_withdrawn_and_what_it_forgets() {
        let said = |text: &str| serde_json::from_str::<Withdrawals>(text).unwrap();
        let (none, some) = (
            Withdrawals::default(),
            said(r#"{"pump":{"number":3,"floor":1,"versions":["2","3"]}}"#),
        );
        assert!(withdrawn_changes(&some, &some).is_empty());
        let kept = withdrawn_changes(&none, &some);
        assert!(kept[0].contains("pump") && kept[0].contains("versions 2, 3, numbers up to 3"));
        assert_eq!(withdrawn_changes(&some, &none), ["forgets what was withdrawn of pump"]);
    }

    #[test]
    fn what_somebody_else_wrote_cannot_write_over_the_terminal() {
        assert_eq!(plain("pump/* \"ok\""), "pump/* \"ok\"");
        assert_eq!(plain("a\u{1b}[2K\u{202e}b"), "a\\u{1b}[2K\\u{202e}b");
    }
}
