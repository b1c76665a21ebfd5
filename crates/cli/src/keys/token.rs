//! Keys whose secret part lies in a token, reached by PKCS #11 (OASIS, version 3.1): a hardware
//! security module or a smart card. It is made there, signs there, and is never seen here.

mod curve;
mod session;

use super::pin::PinFrom;
use super::signer::{FORMAT, TokenKey};
use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use lineside_trust::{KeyKind, PublicKey};
use ring::rand::{SecureRandom, SystemRandom};
use session::{Access, Module, Token};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Bytes of the name that a key gets in its token.
const ID_BYTES: usize = 16;
/// What a key is tried with before anybody relies on it. No document begins like this.
const TRIAL: &[u8] = b"lineside: does this key sign?";

/// Where in which token a key is to lie.
#[derive(Args)]
pub struct Place {
    /// Make the key in a token, which its vendor's PKCS#11 module knows, as in
    /// /usr/lib/softhsm/libsofthsm2.so; the file then says where it lies, as in anna.token.
    #[arg(long = "pkcs11", value_name = "MODULE", requires = "token")]
    pub module: Option<PathBuf>,
    /// The token's label.
    #[arg(long, value_name = "LABEL", requires = "module")]
    token: Option<String>,
    /// Its serial number, where there is more than one of that label.
    #[arg(long, value_name = "SERIAL", requires = "module")]
    serial: Option<String>,
    /// What the key is called in the token [default: as the file, without its ending].
    #[arg(long, value_name = "NAME", requires = "module")]
    label: Option<String>,
    /// The kind of key [default: ed25519 where the token makes such, else p256].
    #[arg(long, value_name = "KIND", requires = "module")]
    kind: Option<Kind>,
    /// Make no key: take the one of this label, or of this CKA_ID in hex digits, that is there already.
    #[arg(long, value_name = "NAME", requires = "module", conflicts_with_all = ["label", "kind"])]
    adopt: Option<String>,
    #[command(flatten)]
    pin: PinFrom,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    Ed25519,
    P256,
}

impl From<Kind> for KeyKind {
    fn from(kind: Kind) -> KeyKind {
        match kind {
            Kind::Ed25519 => KeyKind::Ed25519,
            Kind::P256 => KeyKind::P256,
        }
    }
}

/// Makes a key in a token, or finds the one that is to be adopted; it has signed once when this
/// returns. It is called `name` there unless told otherwise.
///
/// # Errors
/// What is wrong with module, token, PIN or key.
pub fn obtain(place: &Place, module: &Path, name: &str, json: bool) -> anyhow::Result<TokenKey> {
    // A bare name is looked for where the system keeps its libraries.
    let is_bare = module.components().count() == 1;
    let path = if is_bare { module.to_owned() } else { std::path::absolute(module)? };
    let module = Module::load(&path)?;
    let label = place.token.as_deref().unwrap_or_default();
    let access = if place.adopt.is_some() { Access::Read } else { Access::Write };
    let token = module.open(label, place.serial.as_deref(), access, &place.pin, json)?;
    let (id, label, public) = match &place.adopt {
        Some(wanted) => {
            let found = token.find(wanted)?;
            (found.id, found.label, found.public)
        }
        None => {
            let label = place.label.as_deref().unwrap_or(name).to_owned();
            let (id, public) = make(&token, &label, place.kind)?;
            (id, label, public)
        }
    };
    let key = TokenKey {
        format: FORMAT,
        module: path,
        token: token.label().to_owned(),
        serial: token.serial().to_owned(),
        label,
        id,
        public,
    };
    token.sign(&key, TRIAL).with_context(|| match &place.adopt {
        Some(_) => format!("key {} does not sign", key.label),
        // It stays in the token, and a second try would make another one.
        None => format!(
            "key {} was made in token {} and does not sign; once it does: --adopt {}",
            key.label, key.token, key.id
        ),
    })?;
    Ok(key)
}

fn make(token: &Token, label: &str, kind: Option<Kind>) -> anyhow::Result<(String, PublicKey)> {
    let mut id = [0; ID_BYTES];
    SystemRandom::new().fill(&mut id).map_err(|_| lineside_trust::KeyError::Random)?;
    let kind = kind.map_or_else(|| token.best_kind(), KeyKind::from);
    let public = token.make(kind, label, &id)?;
    Ok((curve::hex(&id), public))
}

/// The signatures of `bytes` by each of these keys. Each token is opened once.
///
/// # Errors
/// What is wrong with module, token, PIN or key; no PIN was tried twice.
pub fn sign(
    keys: &[&TokenKey],
    bytes: &[u8],
    pin: &PinFrom,
    json: bool,
) -> anyhow::Result<Vec<String>> {
    let place = |key: &TokenKey| (key.module.clone(), key.token.clone(), key.serial.clone());
    let places: BTreeSet<_> = keys.iter().map(|key| place(key)).collect();
    if places.len() > 1 && pin.is_file() {
        let tokens: Vec<&str> = places.iter().map(|(_, label, _)| label.as_str()).collect();
        bail!(
            "the keys lie in {} tokens ({}), and the PIN in --pin-file is for one: leave it out to \
             be asked for each, or have them sign one after the other with `lineside keys sign`",
            tokens.len(),
            tokens.join(", ")
        );
    }
    let mut signatures = vec![String::new(); keys.len()];
    for (path, label, serial) in &places {
        let module = Module::load(path)?;
        let token = module.open(label, Some(serial), Access::Read, pin, json)?;
        let here = (path.clone(), label.clone(), serial.clone());
        for (key, signature) in keys.iter().zip(&mut signatures) {
            if place(key) == here {
                *signature = token.sign(key, bytes)?;
            }
        }
    }
    Ok(signatures)
}
