//! `lineside keys`: the keys of people. They are made here, lie in a folder and go nowhere else.

pub mod draft;
pub mod folder;
mod follow;
mod generate;
#[cfg(feature = "pkcs11")]
mod pin;
pub mod publish;
mod sign;
pub mod signer;
#[cfg(feature = "pkcs11")]
mod token;
pub mod words;

use crate::connection::Connection;
use crate::new_files::{self, NewFiles, Readers};
use crate::output::{Output, Usage};
use crate::server::{OnlineKeys, Server};
use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use folder::{ROOT, ROOT_KEY, release_key};
use lineside_trust::{KeyPair, PublicKey, Root, RootSpec, sign_root};
use ring::rand::SystemRandom;
use serde_json::json;
use std::path::{Path, PathBuf};
use time::{Duration, OffsetDateTime};

/// Where keys are looked for unless told otherwise.
pub const KEYS: &str = "keys";
/// How long a root is good: its key is fetched from a safe for the next.
const ROOT_LIFE: Duration = Duration::days(5 * 365);
/// Release keys that a root may name.
const RELEASE_KEYS_MAX: u8 = 32;
/// Largest file of online keys, in bytes.
const ONLINE_BYTES_MAX: u64 = 1 << 16;

#[derive(Subcommand)]
pub enum KeysCommand {
    /// Make a root key, release keys and the root document that names them and the server's keys.
    New(NewKeys),
    /// Make the key of one person, who signs on a machine of his own.
    Generate(generate::Generate),
    /// Draft a root of public keys, or the one that follows another, for its signers to sign.
    Draft(draft::DraftRoot),
    /// Tell what a draft says, what it changes, and who has signed it.
    Show(sign::Show),
    /// Sign a draft of a root, of a list of releases or of what a vendor or a site signs; no server is
    /// asked.
    Sign(sign::Sign),
    /// Lead the root that is trusted here along those that came after it, each signed by enough keys of the
    /// one before; no server is asked.
    Follow(follow::Follow),
    /// Bring the signatures of one draft together that were made apart.
    Join(sign::Join),
    /// Give the server a draft that enough keys have signed, or what lies in the folder of keys: the
    /// root, or the next one, and the list of releases if it has lost it.
    Publish(publish::Publish),
    /// Write the public parts of the server's keys to a file, for `--online-keys`.
    Online {
        /// Where to put them; nothing is written over.
        #[arg(short, long)]
        output: PathBuf,
    },
}

#[derive(Args)]
pub struct NewKeys {
    /// The folder to make them in; nothing in it is written over.
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// How many release keys to make, one a person.
    #[arg(long, value_name = "N", default_value_t = 1,
        value_parser = clap::value_parser!(u8).range(1..=i64::from(RELEASE_KEYS_MAX)))]
    release_keys: u8,
    /// How many of them must sign a release.
    #[arg(long, value_name = "M", default_value_t = 1,
        value_parser = clap::value_parser!(u8).range(1..=i64::from(RELEASE_KEYS_MAX)))]
    threshold: u8,
    /// Take the server's public keys from this file and ask no server; `keys publish` comes later.
    #[arg(long, value_name = "FILE")]
    online_keys: Option<PathBuf>,
}

pub fn run(command: KeysCommand, connection: &Connection, output: &Output) -> anyhow::Result<()> {
    match command {
        KeysCommand::New(new) => make(&new, connection, output),
        KeysCommand::Generate(generate) => generate::run(&generate, output),
        KeysCommand::Draft(draft) => draft::run(&draft, connection, output),
        KeysCommand::Show(show) => sign::show(&show, output),
        KeysCommand::Sign(sign) => sign::sign(&sign, output),
        KeysCommand::Follow(follow) => follow::run(&follow, output),
        KeysCommand::Join(join) => sign::join(&join, output),
        KeysCommand::Publish(publish) => publish::run(&publish, connection, output),
        KeysCommand::Online { output: file } => online(&file, connection, output),
    }
}

fn make(new: &NewKeys, connection: &Connection, output: &Output) -> anyhow::Result<()> {
    let NewKeys { output: folder, release_keys, threshold, online_keys } = new;
    if threshold > release_keys {
        let problem =
            format!("--threshold {threshold} can never be met by --release-keys {release_keys}");
        return Err(Usage(problem).into());
    }
    let (server, online) = match online_keys {
        Some(file) => (None, read_online(file)?),
        None => {
            let server = Server::at(connection)?;
            if server.root()?.is_some() {
                bail!(
                    "the server at {} follows a root already; new keys would be trusted by no device of it",
                    server.url()
                );
            }
            let online = server.online_keys()?;
            (Some(server), online)
        }
    };
    let releases: Vec<String> = (1..=usize::from(*release_keys)).map(release_key).collect();
    let mut names = vec![(ROOT_KEY.to_owned(), Readers::Owner), (ROOT.to_owned(), Readers::All)];
    names.extend(releases.iter().map(|name| (name.clone(), Readers::Owner)));
    let files = NewFiles::reserve(folder, &names)?;

    let random = SystemRandom::new();
    let key = |name: &str| -> anyhow::Result<KeyPair> {
        let key = KeyPair::generate(&random)?;
        files.fill(name, key.to_pem().as_bytes())?;
        Ok(key)
    };
    let root_key = key(ROOT_KEY)?;
    let release_keys: Vec<KeyPair> =
        releases.iter().map(|name| key(name)).collect::<Result<_, _>>()?;
    let spec = RootSpec {
        version: 1,
        expires: OffsetDateTime::now_utc() + ROOT_LIFE,
        root: (vec![root_key.public()], 1),
        releases: (release_keys.iter().map(KeyPair::public).collect(), usize::from(*threshold)),
        online: online.online,
        director: online.director,
    };
    let root = sign_root(&spec, &[&root_key]);
    let pinned = Root::pin(&root).context("these keys make no root")?;
    files.fill(ROOT, &root)?;
    files.keep();

    let here = folder.display();
    if let Some(server) = &server {
        server.put_roots(&[pinned]).with_context(|| {
            format!("the keys are in {here}, the server has no root yet; try `lineside keys publish --keys {here}`")
        })?;
    }
    let next = match &server {
        Some(server) => format!("the server at {} follows {here}/{ROOT}", server.url()),
        None => format!("no server was asked; next: lineside keys publish --keys {here}"),
    };
    let text = format!(
        "{here}: {ROOT_KEY}, {}\n{threshold} of {} release keys must sign a release\n{next}\n\
         Keep {ROOT_KEY} offline: whoever has it decides whom your devices trust.",
        releases.join(", "),
        releases.len(),
    );
    let ids: Vec<String> = spec.releases.0.iter().map(PublicKey::id).collect();
    let json = json!({ "folder": folder, "root": { "version": 1, "key": root_key.id() },
        "releases": { "keys": ids, "threshold": threshold }, "published": server.is_some() });
    output.print(text, &json)
}

fn online(file: &Path, connection: &Connection, output: &Output) -> anyhow::Result<()> {
    let keys = Server::at(connection)?.online_keys()?;
    new_files::make(file, &serde_json::to_vec_pretty(&keys)?)?;
    let (director, online) = (keys.director.id(), keys.online.id());
    let text = format!("{}\ndirector {director}\nonline   {online}", file.display());
    output.print(text, &json!({ "file": file, "director": director, "online": online }))
}

/// The public keys of the server, from a file or from itself.
fn online_keys(file: Option<&Path>, connection: &Connection) -> anyhow::Result<OnlineKeys> {
    match file {
        Some(file) => read_online(file),
        None => Server::at(connection)?.online_keys(),
    }
}

fn read_online(file: &Path) -> anyhow::Result<OnlineKeys> {
    serde_json::from_slice(&folder::read(file, ONLINE_BYTES_MAX)?).with_context(|| {
        format!(
            "{} has no keys of a server; was it made by `lineside keys online`?",
            file.display()
        )
    })
}
