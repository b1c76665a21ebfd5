//! Keys that sign: the secret part lies in a file here, or in a token that never gives it away.

use super::folder::{read, refuse_others};
#[cfg(feature = "pkcs11")]
use super::pin::PinFrom;
#[cfg(feature = "pkcs11")]
use super::token;
use anyhow::{Context, bail};
use clap::Args;
use lineside_trust::{Draft, KeyPair, PublicKey};
use serde::{Deserialize, Serialize};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use time::OffsetDateTime;

/// Largest key file that is read, in bytes.
const KEY_BYTES_MAX: u64 = 1 << 14;
/// Version of the description of a key in a token.
pub const FORMAT: u32 = 1;

/// A key that signs.
pub enum Signer {
    /// Its secret part was read from a file.
    File(Box<KeyPair>),
    /// Its secret part lies in a token.
    Token(Box<TokenKey>),
}

/// Where a key lies that is in a token, as a file says it. Nothing in it is secret.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenKey {
    pub format: u32,
    /// The vendor's library that knows the token.
    pub module: PathBuf,
    /// Label of the token, for people.
    pub token: String,
    /// Serial number of the token: there may be two of one label.
    pub serial: String,
    /// Label of the key in the token, for people.
    pub label: String,
    /// Name of the key in the token (`CKA_ID`), in hex digits.
    pub id: String,
    /// Its public part.
    pub public: PublicKey,
}

/// How a token's PIN is had.
#[derive(Args)]
pub struct Pin {
    #[cfg(feature = "pkcs11")]
    #[command(flatten)]
    from: PinFrom,
}

impl Signer {
    /// Reads a key that signs; a token is not asked before it does.
    ///
    /// # Errors
    /// Not such a key, or others may do with the file what they must not.
    pub fn open(path: &Path) -> anyhow::Result<Signer> {
        let bytes = read(path, KEY_BYTES_MAX)?;
        let cannot = || format!("{} cannot be used", path.display());
        if bytes.trim_ascii_start().starts_with(b"{") {
            refuse_writers(path)?;
            let key: TokenKey = serde_json::from_slice(&bytes)
                .context("it does not say where in a token a key lies")
                .with_context(cannot)?;
            if key.format != FORMAT {
                let format = key.format;
                bail!("{}: format {format}, this version of lineside reads {FORMAT}", cannot());
            }
            return Ok(Signer::Token(Box::new(key)));
        }
        refuse_others(path)?;
        let pair = KeyPair::from_pem(&String::from_utf8_lossy(&bytes)).with_context(cannot)?;
        Ok(Signer::File(Box::new(pair)))
    }

    /// Its public part.
    pub fn public(&self) -> PublicKey {
        match self {
            Signer::File(pair) => pair.public(),
            Signer::Token(key) => key.public.clone(),
        }
    }
}

/// The signatures of `bytes` by each of these keys. Tokens are asked for theirs before any other key
/// signs, and each once.
///
/// # Errors
/// A token does not sign.
pub fn sign(keys: &[Signer], bytes: &[u8], pin: &Pin, json: bool) -> anyhow::Result<Vec<String>> {
    let in_tokens: Vec<&TokenKey> = keys
        .iter()
        .filter_map(|key| match key {
            Signer::Token(key) => Some(&**key),
            Signer::File(_) => None,
        })
        .collect();
    let mut by_tokens = match in_tokens.first() {
        Some(_) => sign_in_tokens(&in_tokens, bytes, pin, json)?.into_iter(),
        None => Vec::new().into_iter(),
    };
    let sign = |key: &Signer| match key {
        Signer::File(pair) => Some(pair.sign(bytes)),
        Signer::Token(_) => by_tokens.next(),
    };
    Ok(keys.iter().filter_map(sign).collect())
}

/// The document that a draft makes with the signatures of these keys.
///
/// # Errors
/// A key has no say in it, a token does not sign, or no device would take it at `now`.
pub fn finish(
    mut draft: Draft,
    keys: &[Signer],
    pin: &Pin,
    now: OffsetDateTime,
    json: bool,
) -> anyhow::Result<Vec<u8>> {
    let signatures = sign(keys, draft.payload(), pin, json)?;
    for (key, signature) in keys.iter().zip(signatures) {
        draft.sign(&key.public(), signature, now)?;
    }
    draft.finish(now).with_context(|| format!("no device would take {}", draft.name()))
}

#[cfg(feature = "pkcs11")]
fn sign_in_tokens(
    keys: &[&TokenKey],
    bytes: &[u8],
    pin: &Pin,
    json: bool,
) -> anyhow::Result<Vec<String>> {
    token::sign(keys, bytes, &pin.from, json)
}

#[cfg(not(feature = "pkcs11"))]
fn sign_in_tokens(keys: &[&TokenKey], _: &[u8], _: &Pin, _: bool) -> anyhow::Result<Vec<String>> {
    let names: Vec<String> = keys.iter().map(|key| key.public.to_string()).collect();
    bail!(
        "key {} lies in a token, and this lineside was built without PKCS#11: build it with \
         cargo build --release --bin lineside --features lineside-cli/pkcs11",
        names.join(", ")
    )
}

/// Refuses a file that others may write: the library that it names is run here.
fn refuse_writers(path: &Path) -> anyhow::Result<()> {
    let name = path.display();
    let metadata = std::fs::metadata(path).with_context(|| format!("cannot read {name}"))?;
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o022 != 0 {
        bail!("{name} may be changed by others (mode {mode:o}); run: chmod go-w {name}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::rand::SystemRandom;
    use serde_json::json;

    fn description() -> serde_json::Value {
        let public = KeyPair::generate(&SystemRandom::new()).unwrap().public();
        json!({ "format": 1, "module": "/lib/x.so", "token": "safe", "serial": "17",
            "label": "anna", "id": "0a", "public": public })
    }

    fn opened(value: &serde_json::Value, mode: u32) -> Result<Signer, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("anna.token");
        std::fs::write(&path, value.to_string()).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        Signer::open(&path).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn a_file_says_where_in_a_token_a_key_lies_and_which_it_is() {
        let value = description();
        let signer = opened(&value, 0o644).ok().unwrap();
        assert_eq!(serde_json::to_value(signer.public()).unwrap(), value["public"]);
    }

    #[test]
    fn a_description_that_is_newer_says_less_or_that_others_may_change_is_refused() {
        let error = opened(&description(), 0o664).err().unwrap();
        assert!(error.ends_with("anna.token") && error.contains("chmod go-w"), "{error}");
        let mut newer = description();
        newer["format"] = 2.into();
        let error = opened(&newer, 0o644).err().unwrap();
        assert!(error.contains("format 2, this version of lineside reads 1"), "{error}");
        let mut less = description();
        less.as_object_mut().unwrap().remove("serial");
        let error = opened(&less, 0o644).err().unwrap();
        assert!(error.contains("where in a token") && error.contains("serial"), "{error}");
    }

    #[cfg(not(feature = "pkcs11"))]
    #[test]
    fn a_tool_that_cannot_reach_tokens_says_how_to_get_one_that_can() {
        let key = opened(&description(), 0o644).ok().unwrap();
        let error = sign(&[key], b"text", &Pin {}, true).unwrap_err().to_string();
        assert!(error.contains("--features lineside-cli/pkcs11"), "{error}");
    }
}
