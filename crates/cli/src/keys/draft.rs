//! `lineside keys draft`: a root to be signed, made of public keys alone.

use super::folder::read;
use super::{ROOT_LIFE, online_keys, words};
use crate::connection::Connection;
use crate::new_files;
use crate::output::{Output, Usage};
use crate::server::Server;
use anyhow::{Context, bail};
use clap::Args;
use lineside_trust::{DOCUMENT_BYTES_MAX, Draft, PublicKey, Root, RootSpec};
use std::path::{Path, PathBuf};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Largest file of a public key, in bytes.
const KEY_BYTES_MAX: u64 = 1 << 14;
/// Fewest digits of a key's id that name it.
const ID_CHARS_MIN: usize = 8;

#[derive(Args)]
pub struct DraftRoot {
    /// Where to put the draft; nothing is written over.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// The root.json that this root is to follow; all stays as it is there but for what is said here.
    #[arg(long, value_name = "ROOT")]
    from: Option<PathBuf>,
    /// A public key that may sign roots, as `keys generate` made it; as many as you like.
    #[arg(long = "root-key", value_name = "FILE")]
    root_keys: Vec<PathBuf>,
    /// A public key that may sign releases; as many as you like.
    #[arg(long = "release-key", value_name = "FILE")]
    release_keys: Vec<PathBuf>,
    /// A key that may sign nothing any longer: its file, or the first digits of its id.
    #[arg(long = "remove", value_name = "KEY", requires = "from")]
    removed: Vec<String>,
    /// How many root keys must sign the next root.
    #[arg(long, value_name = "M")]
    root_threshold: Option<usize>,
    /// How many release keys must sign the list of releases.
    #[arg(long, value_name = "M")]
    release_threshold: Option<usize>,
    /// The server's public keys, as `keys online` wrote them [default: those of --from, or of the
    /// server].
    #[arg(long, value_name = "FILE")]
    online_keys: Option<PathBuf>,
    /// The day on which the root ends, as in 2031-01-31 [default: in five years].
    #[arg(long, value_name = "DAY", value_parser = day)]
    expires: Option<OffsetDateTime>,
}

fn day(text: &str) -> Result<OffsetDateTime, String> {
    OffsetDateTime::parse(&format!("{text}T00:00:00Z"), &Rfc3339)
        .map_err(|_| "write the day as in 2031-01-31".into())
}

pub fn run(draft: &DraftRoot, connection: &Connection, output: &Output) -> anyhow::Result<()> {
    let now = OffsetDateTime::now_utc();
    let before = draft.from.as_deref().map(root_at).transpose()?;
    let spec = spec(draft, before.as_ref(), connection, now)?;
    if spec.expires <= now {
        return Err(Usage("--expires is a day that has passed".into()).into());
    }
    let made = Draft::root(&spec, before.as_ref()).context("these keys make no root")?;
    new_files::make(&draft.output, &made.to_bytes())?;
    let file = draft.output.display();
    let (mut text, json) = words::draft(&made);
    if let Some(warning) = other_keys(draft, &spec, connection) {
        text = format!("{text}\n{warning}");
    }
    let next = format!(
        "{file} is to be signed; each signer: lineside keys show {file}, \
         then lineside keys sign {file} --key KEY"
    );
    output.print(format!("{text}\n{next}"), &json)
}

/// That the server has other keys than the root will name, where it can be asked: it would refuse the
/// root when all have signed it.
fn other_keys(draft: &DraftRoot, spec: &RootSpec, connection: &Connection) -> Option<String> {
    if draft.from.is_none() || draft.online_keys.is_some() {
        return None;
    }
    // Drafted where there is no server, there is nothing to compare.
    let theirs = Server::at(connection).and_then(|server| server.online_keys()).ok()?;
    let is_named =
        theirs.online.id() == spec.online.id() && theirs.director.id() == spec.director.id();
    (!is_named).then(|| {
        "The server has other keys now than this root names, and would refuse it. To name them: lineside \
         keys online -o FILE, and --online-keys FILE with this command"
            .into()
    })
}

fn spec(
    draft: &DraftRoot,
    before: Option<&Root>,
    connection: &Connection,
    now: OffsetDateTime,
) -> anyhow::Result<RootSpec> {
    let mut spec = match before {
        Some(before) => {
            let mut spec = before.spec()?;
            spec.version += 1;
            if let Some(file) = &draft.online_keys {
                let keys = online_keys(Some(file), connection)?;
                (spec.online, spec.director) = (keys.online, keys.director);
            }
            spec
        }
        None => {
            let keys = online_keys(draft.online_keys.as_deref(), connection)?;
            RootSpec {
                version: 1,
                expires: now,
                root: (Vec::new(), 1),
                releases: (Vec::new(), 1),
                online: keys.online,
                director: keys.director,
            }
        }
    };
    spec.expires = draft.expires.unwrap_or(now + ROOT_LIFE);
    for name in &draft.removed {
        remove(&mut spec, name)?;
    }
    let is_first = before.is_none();
    members(&mut spec.root, &draft.root_keys, draft.root_threshold, "root", is_first)?;
    members(&mut spec.releases, &draft.release_keys, draft.release_threshold, "release", is_first)?;
    Ok(spec)
}

/// Adds keys to a role, and says how many of them must sign.
fn members(
    (keys, threshold): &mut (Vec<PublicKey>, usize),
    files: &[PathBuf],
    wanted: Option<usize>,
    role: &str,
    is_first: bool,
) -> anyhow::Result<()> {
    for file in files {
        let key = public_key(file)?;
        if keys.iter().any(|other| other.id() == key.id()) {
            bail!("{} is a {role} key already", file.display());
        }
        keys.push(key);
    }
    if keys.is_empty() {
        return Err(Usage(format!("a root needs a {role} key: --{role}-key FILE")).into());
    }
    if is_first && wanted.is_none() && keys.len() > 1 {
        let problem =
            format!("of {} {role} keys, how many must sign? --{role}-threshold M", keys.len());
        return Err(Usage(problem).into());
    }
    *threshold = wanted.unwrap_or(*threshold);
    if *threshold == 0 || *threshold > keys.len() {
        bail!(
            "{threshold} of {} {role} keys can never sign: add one with --{role}-key FILE, \
             or say --{role}-threshold M",
            keys.len()
        );
    }
    Ok(())
}

/// Takes a key out of every role that people have.
fn remove(spec: &mut RootSpec, name: &str) -> anyhow::Result<()> {
    let people: Vec<&PublicKey> = spec.root.0.iter().chain(&spec.releases.0).collect();
    let id = named_key(name, &people, &format!("root {}", spec.version - 1))?;
    spec.root.0.retain(|key| key.id() != id);
    spec.releases.0.retain(|key| key.id() != id);
    Ok(())
}

/// Id of the one key of `who` that is meant with `--remove NAME`: a file, or the first digits of an id.
pub fn named_key(name: &str, keys: &[&PublicKey], who: &str) -> anyhow::Result<String> {
    let path = Path::new(name);
    let is_id = name.len() >= ID_CHARS_MIN && name.chars().all(|c| c.is_ascii_hexdigit());
    let id = match path.exists() {
        true => public_key(path)?.id(),
        false if is_id => name.to_ascii_lowercase(),
        false => bail!(
            "--remove {name}: no such file, and no id of a key of at least {ID_CHARS_MIN} digits, \
             as `lineside keys show` shows them"
        ),
    };
    let mut named: Vec<String> =
        keys.iter().map(|key| key.id()).filter(|other| other.starts_with(&id)).collect();
    named.sort();
    named.dedup();
    match named.as_slice() {
        [] => bail!("--remove {name}: {who} names no such key"),
        [only] => Ok(only.clone()),
        _ => bail!("--remove {name}: {who} names {} such keys", named.len()),
    }
}

/// A root that lies here.
pub fn root_at(file: &Path) -> anyhow::Result<Root> {
    Root::pin(&read(file, DOCUMENT_BYTES_MAX as u64)?)
        .with_context(|| format!("{} cannot be trusted", file.display()))
}

/// A public key that lies here.
pub fn public_key(file: &Path) -> anyhow::Result<PublicKey> {
    PublicKey::parse(&read(file, KEY_BYTES_MAX)?)
        .with_context(|| format!("{} cannot be used", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_written_as_year_month_and_day() {
        assert_eq!(day("2031-01-31"), Ok(time::macros::datetime!(2031-01-31 0:00 UTC)));
        for odd in ["31.1.2031", "2031-02-30", "2031-01-31T12:00", ""] {
            assert!(day(odd).is_err(), "{odd}");
        }
    }
}
