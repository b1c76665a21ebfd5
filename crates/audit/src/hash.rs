//! Hashes of the tree: SHA-256 with the prefixes of RFC 6962, 2.1, so that no node can pass for a leaf.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Bytes of a hash.
pub const HASH_BYTES: usize = 32;
const LEAF: u8 = 0;
const NODE: u8 = 1;

/// A SHA-256. As text 64 small hex digits, in checkpoints and proofs base64.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hash(pub [u8; HASH_BYTES]);

/// A text that is no hash.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no hash: it takes 64 small hex digits")]
pub struct HashError(String);

impl Hash {
    /// The hash of a leaf of the tree: an entry's bytes as they were recorded.
    pub fn leaf(bytes: &[u8]) -> Hash {
        Hash::of(&[&[LEAF], bytes])
    }

    /// The hash of an inner node.
    pub fn node(left: &Hash, right: &Hash) -> Hash {
        Hash::of(&[&[NODE], &left.0, &right.0])
    }

    /// The root of a tree without leaves: the hash of nothing.
    pub fn empty() -> Hash {
        Hash::of(&[])
    }

    /// SHA-256 of the parts, one after the other.
    pub(crate) fn of(parts: &[&[u8]]) -> Hash {
        let mut context = Context::new(&SHA256);
        for part in parts {
            context.update(part);
        }
        Hash::finish(context)
    }

    pub(crate) fn finish(context: Context) -> Hash {
        let mut bytes = [0; HASH_BYTES];
        bytes.copy_from_slice(context.finish().as_ref());
        Hash(bytes)
    }

    /// Standard base64 with padding (RFC 4648, 4).
    pub fn to_base64(&self) -> String {
        BASE64_STANDARD.encode(self.0)
    }

    /// Reads what [`Hash::to_base64`] wrote, and nothing that means the same.
    pub fn from_base64(text: &str) -> Option<Hash> {
        // 32 bytes take 44 characters; nothing longer is worth decoding.
        if text.len() != 44 {
            return None;
        }
        BASE64_STANDARD.decode(text).ok()?.try_into().ok().map(Hash)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hash({self})")
    }
}

impl FromStr for Hash {
    type Err = HashError;

    fn from_str(text: &str) -> Result<Hash, HashError> {
        let fail = || HashError(text.chars().take(80).collect());
        let digit = |digit: u8| match digit {
            b'0'..=b'9' => Some(digit - b'0'),
            b'a'..=b'f' => Some(digit - b'a' + 10),
            _ => None,
        };
        let digits: [u8; 2 * HASH_BYTES] = text.as_bytes().try_into().map_err(|_| fail())?;
        let mut bytes = [0; HASH_BYTES];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let (high, low) = (digit(pair[0]), digit(pair[1]));
            *byte = high.zip(low).map(|(high, low)| high << 4 | low).ok_or_else(fail)?;
        }
        Ok(Hash(bytes))
    }
}

impl TryFrom<String> for Hash {
    type Error = HashError;

    fn try_from(text: String) -> Result<Hash, HashError> {
        text.parse()
    }
}

impl From<Hash> for String {
    fn from(hash: Hash) -> String {
        hash.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_has_one_form_in_hex_and_one_in_base64() {
        let hash = Hash::leaf(b"x");
        assert_eq!(hash.to_string().parse(), Ok(hash));
        assert_eq!(Hash::from_base64(&hash.to_base64()), Some(hash));
        let hex = hash.to_string();
        for wrong in
            [hex.to_uppercase(), format!("{hex}0"), hex[1..].into(), format!("é{}", &hex[2..])]
        {
            assert!(wrong.parse::<Hash>().is_err(), "{wrong}");
        }
        let base64 = hash.to_base64();
        let spaced = format!("{} {}", &base64[..20], &base64[21..]);
        // The last character before the padding carries four bits: others that say the same are refused.
        let zero = Hash([0; 32]).to_base64();
        for wrong in [zero.replace("A=", "B="), zero.replace('=', "A"), zero[..43].into(), spaced] {
            assert_eq!(Hash::from_base64(&wrong), None, "{wrong}");
        }
    }
}
