//! `lineside keys generate`: one person's key, on his own machine or in his token.

use crate::new_files::{NewFiles, Readers, split};
use crate::output::Output;
use clap::Args;
use lineside_trust::{KeyPair, Owner, PublicKey};
use ring::rand::SystemRandom;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

#[derive(Args)]
pub struct Generate {
    /// Where to put the secret key, as in anna.pem; its public part goes beside it, as in
    /// anna.pub.json.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Whose key it is, for those who read what it signs.
    #[arg(long, value_name = "NAME")]
    owner: Option<Owner>,
    #[cfg(feature = "pkcs11")]
    #[command(flatten)]
    place: super::token::Place,
}

/// A key as it is to be kept.
struct Made {
    public: PublicKey,
    kept: Vec<u8>,
    /// Where its secret part stays, for people and for programs.
    told: String,
    json: Value,
}

pub fn run(generate: &Generate, output: &Output) -> anyhow::Result<()> {
    let Generate { output: kept, owner, .. } = generate;
    // Not root.json beside root.pem: that is the name of a root.
    let public_file = kept.with_extension("pub.json");
    let ((folder, kept_name), (_, public_name)) = (split(kept)?, split(&public_file)?);
    let files = NewFiles::reserve(
        folder,
        &[(kept_name.clone(), Readers::Owner), (public_name.clone(), Readers::All)],
    )?;
    let Made { public, kept: bytes, told, mut json } = make(generate, output)?;
    files.fill(&kept_name, &bytes)?;
    files.fill(&public_name, &serde_json::to_vec_pretty(&public)?)?;
    files.keep();

    let (name, public_name) = (kept.display(), public_file.display());
    let text = format!(
        "{name}: key {public}\nGive {public_name} to whoever drafts the root or delegates to you; {told}."
    );
    json["key"] = public.id().into();
    json["owner"] = json!(owner);
    json["public_file"] = json!(public_file);
    json["public"] = json!(public);
    output.print(text, &json)
}

#[cfg(feature = "pkcs11")]
fn make(generate: &Generate, output: &Output) -> anyhow::Result<Made> {
    use super::token;

    let Generate { output: kept, owner, place } = generate;
    let Some(module) = &place.module else { return in_file(kept, owner.as_ref()) };
    let name = kept.file_stem().unwrap_or_default().to_string_lossy();
    let mut key = token::obtain(place, module, &name, output.json)?;
    key.public = owned(key.public, owner.as_ref());
    let told = format!(
        "{} says where the key lies, and the secret part never leaves token {:?} (serial {})",
        kept.display(),
        key.token,
        key.serial
    );
    let json = json!({ "token_file": kept, "token": key.token, "serial": key.serial,
        "label": key.label, "id_in_token": key.id });
    let mut bytes = serde_json::to_vec_pretty(&key)?;
    bytes.push(b'\n');
    Ok(Made { public: key.public, kept: bytes, told, json })
}

#[cfg(not(feature = "pkcs11"))]
fn make(generate: &Generate, _: &Output) -> anyhow::Result<Made> {
    in_file(&generate.output, generate.owner.as_ref())
}

fn in_file(kept: &Path, owner: Option<&Owner>) -> anyhow::Result<Made> {
    let key = KeyPair::generate(&SystemRandom::new())?;
    let told = format!("{} stays here", kept.display());
    let (public, bytes) = (owned(key.public(), owner), key.to_pem().into_bytes());
    Ok(Made { public, kept: bytes, told, json: json!({ "secret_file": kept }) })
}

fn owned(key: PublicKey, owner: Option<&Owner>) -> PublicKey {
    match owner {
        Some(owner) => key.owned_by(owner.clone()),
        None => key,
    }
}
