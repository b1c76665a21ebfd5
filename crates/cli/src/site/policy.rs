//! `lineside site policy`: limits that a site signs by keys of its own. The server carries them, and
//! cannot write them.

use crate::connection::Connection;
use crate::keys::KEYS;
use crate::keys::folder::read;
use crate::keys::signer::{self, Pin};
use crate::output::{Output, Usage};
use crate::release::{LIST_LIFE, put_draft};
use crate::role::Role;
use crate::server::Server;
use anyhow::{Context, anyhow, bail};
use clap::{Args, Subcommand};
use lineside_bundle::Digest;
use lineside_rules::SitePolicy;
use lineside_trust::ROLE_FILE_BYTES_MAX;
use lineside_wire::name::{RoleName, SiteName, SlotName};
use serde_json::json;
use std::path::{Path, PathBuf};
use time::OffsetDateTime;

#[derive(Subcommand)]
pub enum PolicyCommand {
    /// Sign what holds at a site: limits of trials and shadows, and what may be captured.
    Sign(Sign),
    /// Show what a site has signed last.
    Show(Show),
}

#[derive(Args)]
pub struct Sign {
    /// The policy: TOML with the keys of docs/site-policy.toml, or JSON with the same.
    file: PathBuf,
    /// The site, as agent.toml of its devices names it.
    #[arg(long, value_name = "SITE")]
    site: SiteName,
    /// A secret key of role site-SITE, or the file that says in which token it lies; as many as must
    /// sign.
    #[arg(long = "key", value_name = "KEY", conflicts_with = "draft")]
    role_keys: Vec<PathBuf>,
    /// The folder with the root.json that is trusted here.
    #[arg(long, value_name = "DIR", default_value = KEYS)]
    keys: PathBuf,
    /// Put the list to be signed into this file, with the policy: its signers sign it each on a machine
    /// of his own with `keys sign`, then comes `keys publish`.
    #[arg(long, value_name = "FILE")]
    draft: Option<PathBuf>,
    #[command(flatten)]
    pin: Pin,
}

#[derive(Args)]
pub struct Show {
    /// The site.
    site: SiteName,
    /// The folder with the root.json that is trusted here.
    #[arg(long, value_name = "DIR", default_value = KEYS)]
    keys: PathBuf,
}

pub fn run(
    command: &PolicyCommand,
    connection: &Connection,
    output: &Output,
) -> anyhow::Result<()> {
    match command {
        PolicyCommand::Sign(policy) => sign(policy, connection, output),
        PolicyCommand::Show(policy) => show(policy, connection, output),
    }
}

fn sign(sign: &Sign, connection: &Connection, output: &Output) -> anyhow::Result<()> {
    let Sign { file, site, role_keys, keys, draft: drafted, pin } = sign;
    let role = role_of(site)?;
    if drafted.is_none() && role_keys.is_empty() {
        let problem = format!(
            "who signs for {role}? Name a secret key of it with --key KEY, or write the list for its \
             signers with --draft FILE"
        );
        return Err(Usage(problem).into());
    }
    let text = written(file)?;
    let server = Server::at(connection)?;
    let role = Role::of(&role, keys, &server)?;
    let path = path_of(site);
    role.check_path(&path)?;
    let signers = match drafted {
        Some(_) => Vec::new(),
        None => role.signers(role_keys)?,
    };
    let mut next = role.next(&path)?;
    let digest = Digest::of(text.as_bytes());
    if next.files().get(&path).is_some_and(|(known, _)| *known == digest) && !role.is_stale() {
        let text = format!("the policy of site {site} is signed already as it stands there");
        return output.print(text, &json!({ "site": site, "digest": digest, "new": false }));
    }
    let mut files = role.files(&next, &[&path])?;
    next.put(&path, text.as_bytes());
    files.insert(path.clone(), text);
    let now = OffsetDateTime::now_utc();
    let draft = role.draft(&next, now + LIST_LIFE, files.clone())?;
    if let Some(file) = drafted {
        let (text, json) = put_draft(&draft, file)?;
        return output.print(text, &json);
    }
    let (name, signed) = (draft.name(), draft.digest());
    role.publish(&signer::finish(draft, &signers, pin, now, output.json)?, &files)?;
    let text = format!(
        "{}\n{name} is signed, and holds on each device whose agent.toml says site = \"{site}\"",
        files[&path].trim_end()
    );
    let json = json!({ "site": site, "document": name, "files": files, "digest": signed,
        "new": true });
    output.print(text, &json)
}

fn show(show: &Show, connection: &Connection, output: &Output) -> anyhow::Result<()> {
    let Show { site, keys } = show;
    let server = Server::at(connection)?;
    let name = role_of(site)?;
    let role = Role::of(&name, keys, &server)?;
    let path = path_of(site);
    let next = || {
        format!(
            "next: lineside site policy sign FILE --site {site} --key KEY, with a key of {name}"
        )
    };
    let Some(trusted) = role.trusted().filter(|trusted| trusted.files().contains_key(&path)) else {
        bail!("site {site} has signed no policy that holds; {}", next());
    };
    let text = role.file(&path)?;
    let policy: SitePolicy =
        serde_json::from_str(&text).with_context(|| format!("{path} cannot be read"))?;
    let version = trusted.seen().version;
    let late = match role.is_stale() {
        true => format!("\nits date is past: devices keep to it, and take nothing new; {}", next()),
        false => String::new(),
    };
    let said =
        format!("policy of site {site}, from list {version} of {name}\n{}{late}", text.trim());
    let json = json!({ "site": site, "role": name, "list": version, "policy": policy,
        "expired": role.is_stale() });
    output.print(said, &json)
}

/// The policy in a file as it is signed: every field of it is known, and each limit can be kept.
fn written(file: &Path) -> anyhow::Result<String> {
    let name = file.display();
    let bytes = read(file, ROLE_FILE_BYTES_MAX as u64)?;
    let text = String::from_utf8(bytes).with_context(|| format!("{name} is no text"))?;
    let policy = parse(&text).with_context(|| format!("{name} is no policy of a site"))?;
    let mut text = serde_json::to_string_pretty(&policy)?;
    text.push('\n');
    if text.len() > ROLE_FILE_BYTES_MAX {
        bail!("{name} makes a policy of {} bytes, {ROLE_FILE_BYTES_MAX} are carried", text.len());
    }
    Ok(text)
}

fn parse(text: &str) -> anyhow::Result<SitePolicy> {
    let policy: SitePolicy = match text.trim_start().starts_with('{') {
        true => serde_json::from_str(text)?,
        false => toml::from_str(text).map_err(|error| anyhow!("{error}"))?,
    };
    policy.check().map_err(|(field, problem)| anyhow!("{field}: {problem}"))?;
    for slot in policy.slots.keys().filter(|slot| *slot != "*") {
        let named: Result<SlotName, _> = slot.parse();
        named.context("name a slot as agent.toml does, or * for every slot")?;
    }
    if policy == SitePolicy::default() {
        bail!("it says nothing: write [slots.\"*\".trial], say, as in docs/site-policy.toml");
    }
    Ok(policy)
}

fn role_of(site: &SiteName) -> anyhow::Result<RoleName> {
    let role = format!("site-{site}").parse();
    role.with_context(|| format!("site {site} has too long a name to sign a policy"))
}

fn path_of(site: &SiteName) -> String {
    format!("site/{site}/policy.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> String {
        parse(text).err().map_or_else(|| "fine".into(), |error| format!("{error:#}"))
    }

    #[test]
    fn a_policy_that_no_device_would_take_is_refused_with_its_field() {
        for (text, wanted) in [
            ("[slots.\"*\".shadow]\nframes = 9\n", "fine"),
            ("{\"slots\":{\"line\":{\"capture\":{\"allowed\":false}}}}", "fine"),
            ("[slots.line.trial]\nerror_share_max = 2.0\n", "slots.line.trial.error_share_max: 2"),
            ("[slots.line.capture]\nmib_max = 0\n", "slots.line.capture.mib_max: 0"),
            ("[slots.line.capture]\ngib_max = 1\n", "unknown field `gib_max`"),
            ("{\"slots\":{\"line\":{\"trail\":{}}}}", "unknown field `trail`"),
            ("[slots.Line.trial]\n", "name a slot as agent.toml does"),
            ("[log]\nallowed = false\n", "fine"),
            ("", "it says nothing"),
        ] {
            assert!(said(text).contains(wanted), "{wanted}: {}", said(text));
        }
    }
}
