//! `lineside release delegate` and `undelegate`: who may sign besides the release keys, and what.

use super::signed::{Desk, Signed};
use crate::connection::Connection;
use crate::keys::draft::{named_key, public_key};
use crate::keys::words;
use crate::output::{Output, Usage};
use crate::role;
use anyhow::bail;
use clap::Args;
use lineside_trust::{Delegation, TrustedTargets, verify_delegated};
use lineside_wire::name::RoleName;
use serde_json::json;
use std::path::PathBuf;

#[derive(Args)]
pub struct Delegate {
    /// Who: a vendor, as in vendor-acme, or a site, as in site-mill. One who may sign already is
    /// changed: all stays as it is but for what is said here.
    role: RoleName,
    /// What it may sign, in place of what it could: pump/* for every release of a bundle, site/mill/*
    /// for what holds at a site; a * stands for anything without a / [default for site-SITE:
    /// site/SITE/*].
    #[arg(long = "path", value_name = "PATH")]
    paths: Vec<String>,
    /// A public key that may sign for it, as `keys generate` made it; as many as you like.
    #[arg(long = "key", value_name = "FILE")]
    keys_added: Vec<PathBuf>,
    /// A key that may sign for it no longer: its file, or the first digits of its id.
    #[arg(long = "remove", value_name = "KEY")]
    keys_removed: Vec<String>,
    /// How many of its keys must sign.
    #[arg(long, value_name = "M")]
    threshold: Option<usize>,
    #[command(flatten)]
    signed: Signed,
}

#[derive(Args)]
pub struct Undelegate {
    /// Who may sign nothing any longer. What devices run of it stays, and none installs it anew.
    role: RoleName,
    #[command(flatten)]
    signed: Signed,
}

pub fn delegate(
    delegate: &Delegate,
    connection: &Connection,
    output: &Output,
) -> anyhow::Result<()> {
    let Delegate { role, signed, .. } = delegate;
    change(role, signed, connection, output, |roles| {
        let place = roles.iter().position(|known| known.name == role.as_str());
        let known = place.map(|place| &roles[place]);
        let changed = changed(delegate, known)?;
        match place {
            Some(place) => roles[place] = changed,
            None => roles.push(changed),
        }
        Ok(())
    })
}

pub fn undelegate(
    undelegate: &Undelegate,
    connection: &Connection,
    output: &Output,
) -> anyhow::Result<()> {
    let Undelegate { role, signed } = undelegate;
    change(role, signed, connection, output, |roles| {
        let before = roles.len();
        roles.retain(|known| known.name != role.as_str());
        if roles.len() == before {
            let known: Vec<&str> = roles.iter().map(|known| known.name.as_str()).collect();
            bail!("nothing is delegated to {role}; those who may sign: {}", known.join(", "));
        }
        Ok(())
    })
}

/// Who a role is, as it was and as it is said to be now.
fn changed(delegate: &Delegate, known: Option<&Delegation>) -> anyhow::Result<Delegation> {
    let Delegate { role, paths, keys_added, keys_removed, threshold, .. } = delegate;
    let mut changed = match known {
        Some(known) => known.clone(),
        None => Delegation {
            name: role.to_string(),
            keys: Vec::new(),
            threshold: 1,
            paths: Vec::new(),
            terminating: false,
        },
    };
    if !paths.is_empty() {
        changed.paths.clone_from(paths);
    }
    if changed.paths.is_empty() {
        let Some(site) = role.as_str().strip_prefix("site-") else {
            let problem = format!("what may {role} sign? --path BUNDLE/*, as in --path pump/*");
            return Err(Usage(problem).into());
        };
        changed.paths = vec![format!("site/{site}/*")];
    }
    for key in keys_removed {
        let id = named_key(key, &changed.keys.iter().collect::<Vec<_>>(), role.as_str())?;
        changed.keys.retain(|key| key.id() != id);
    }
    for file in keys_added {
        let key = public_key(file)?;
        if changed.keys.iter().any(|other| other.id() == key.id()) {
            bail!("{} is a key of {role} already", file.display());
        }
        changed.keys.push(key);
    }
    if changed.keys.is_empty() {
        let problem = format!(
            "{role} needs a key of its own: --key FILE, the public part of what `lineside keys \
             generate` made there"
        );
        return Err(Usage(problem).into());
    }
    if known.is_none() && threshold.is_none() && changed.keys.len() > 1 {
        let problem = format!("of {} keys, how many must sign? --threshold M", changed.keys.len());
        return Err(Usage(problem).into());
    }
    changed.threshold = threshold.unwrap_or(changed.threshold);
    if changed.threshold == 0 || changed.threshold > changed.keys.len() {
        bail!(
            "{} of {} keys can never sign for {role}: add one with --key FILE, or say --threshold M",
            changed.threshold,
            changed.keys.len()
        );
    }
    Ok(changed)
}

/// What a role has signed that holds no longer once it is `named` so, or not at all: devices may hold it.
fn lost(
    desk: &Desk,
    role: &RoleName,
    named: Option<&Delegation>,
) -> anyhow::Result<Vec<TrustedTargets>> {
    let Some(known) = &desk.known else { return Ok(Vec::new()) };
    let before = known.releases.delegations()?;
    let before = before.iter().find(|known| known.name == role.as_str());
    let keeps_all = |before: &Delegation, now: &Delegation| {
        let keeps_keys = before.keys.iter().all(|key| now.keys.contains(key));
        keeps_keys && now.threshold <= before.threshold && now.paths == before.paths
    };
    if before.zip(named).is_some_and(|(before, now)| keeps_all(before, now)) {
        return Ok(Vec::new());
    }
    let lists = [desk.server.role(role)?, desk.folder.kept_role(role)?];
    let signed = |list: &Vec<u8>| role::signed(&known.releases, role.as_str(), list, desk.now);
    Ok(lists.iter().flatten().filter_map(signed).collect())
}

/// Signs or drafts a list of releases in which other roles may sign than in the last.
fn change(
    role: &RoleName,
    signed: &Signed,
    connection: &Connection,
    output: &Output,
    change: impl FnOnce(&mut Vec<Delegation>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let desk = Desk::open(&signed.keys, signed.draft.as_deref(), connection)?;
    let mut roles = match &desk.known {
        Some(known) => known.releases.delegations()?,
        None => Vec::new(),
    };
    change(&mut roles)?;
    let named = roles.iter().find(|known| known.name == role.as_str());
    if let Some(Err(problem)) = named.map(|named| named.check(desk.folder.root())) {
        bail!(problem);
    }
    let mut next = desk.next();
    next.delegate(&roles);
    for lost in lost(&desk, role, named)? {
        next.count(&lost);
    }
    let Some(releases) = desk.sign(&next, signed, output)? else { return Ok(()) };

    let said = match named {
        Some(named) => format!("the release keys let {}", words::delegation(named)),
        None => format!("{role} may sign nothing any longer"),
    };
    let lost = match (named, desk.server.role(role)?) {
        (Some(_), Some(bytes)) => {
            verify_delegated(&releases, role.as_str(), &bytes, None, desk.now).err()
        }
        _ => None,
    };
    let next = match (&lost, named) {
        (Some(why), _) => format!(
            "\nwhat {role} has signed before holds no longer ({why}): no device is given it until it is \
             signed anew"
        ),
        (None, Some(named)) if named.paths.iter().all(|path| path.starts_with("site/")) => {
            format!(
                "\nnext: lineside site policy sign FILE --site SITE --key KEY, with a key of {role}"
            )
        }
        (None, Some(_)) => {
            format!("\nnext: lineside release BUNDLE --role {role} --key KEY, with a key of {role}")
        }
        (None, None) => String::new(),
    };
    let json = json!({ "role": role, "list": releases.seen().version,
        "delegation": named.map(words::delegation_json), "still_holds": lost.is_none() });
    output.print(format!("{said}{next}{}", desk.tell_unsigned()), &json)
}
