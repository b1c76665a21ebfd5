//! The token with which a device joins: 256 random bits, as text and as they are kept.

use crate::key::{hex, sha256, unhex};
use ring::rand::SecureRandom;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use zeroize::Zeroizing;

const PREFIX: &str = "lsjoin_";
const SECRET_BYTES: usize = 32;
/// Characters of five bits each: 52 for the secret, whose last has four bits to spare, 4 for the checksum.
const SECRET_CHARS: usize = 52;
const CHECKSUM_CHARS: usize = 4;
const TEXT_CHARS: usize = SECRET_CHARS + CHECKSUM_CHARS;
/// Base 32 (RFC 4648, 6) in small letters: no 0 beside an o, no 1 beside an l.
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// Why a text is no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Something else.
    #[error("it is no token to join with: one begins with {PREFIX}")]
    Prefix,
    /// Cut off, or with something added.
    #[error("the token has {0} characters after {PREFIX}, {TEXT_CHARS} are needed: copy all of it")]
    Length(usize),
    /// A character that no token has.
    #[error("a token has no {0:?}, only a to z and 2 to 7: copy it again")]
    Character(char),
    /// Misspelt.
    #[error("the token is misspelt: copy it again")]
    Checksum,
}

/// A token, as `lsjoin_` and 56 characters, the last four of which tell a typo. Shown once, when it is made.
///
/// Overwritten when it is dropped.
pub struct JoinToken(Zeroizing<[u8; SECRET_BYTES]>);

impl JoinToken {
    /// A new token of the randomness handed in; none if the machine has no randomness.
    pub fn draw(random: &dyn SecureRandom) -> Option<JoinToken> {
        let mut secret = Zeroizing::new([0; SECRET_BYTES]);
        random.fill(secret.as_mut_slice()).ok()?;
        Some(JoinToken(secret))
    }

    /// The token as text, for whoever installs the device.
    pub fn reveal(&self) -> Zeroizing<String> {
        let (secret, checksum) = (base32(self.0.as_slice(), SECRET_CHARS), self.checksum());
        let text = [PREFIX.as_bytes(), &secret, &checksum].concat();
        Zeroizing::new(text.into_iter().map(char::from).collect())
    }

    /// What is kept of it.
    pub fn hash(&self) -> TokenHash {
        TokenHash(sha256(self.0.as_slice()))
    }

    fn checksum(&self) -> Vec<u8> {
        // Of other bytes than the hash that is kept, so that the text tells nothing of that.
        let said = [PREFIX.as_bytes(), self.0.as_slice()].concat();
        base32(&sha256(&said), CHECKSUM_CHARS)
    }
}

impl FromStr for JoinToken {
    type Err = TokenError;

    /// Reads a token, in small or large letters and with space around it.
    fn from_str(text: &str) -> Result<JoinToken, TokenError> {
        let text = Zeroizing::new(text.trim().to_ascii_lowercase());
        let body = text.strip_prefix(PREFIX).ok_or(TokenError::Prefix)?;
        let length = body.chars().count();
        if length != TEXT_CHARS {
            return Err(TokenError::Length(length));
        }
        let mut digits = Zeroizing::new(Vec::with_capacity(length));
        for letter in body.chars() {
            let digit = ALPHABET.iter().position(|known| char::from(*known) == letter);
            digits.push(digit.ok_or(TokenError::Character(letter))? as u8);
        }
        let mut secret = Zeroizing::new([0_u8; SECRET_BYTES]);
        for bit in 0..SECRET_BYTES * 8 {
            let set = digits[bit / 5] >> (4 - bit % 5) & 1;
            secret[bit / 8] |= set << (7 - bit % 8);
        }
        let token = JoinToken(secret);
        // The whole is written again, so that no bit is passed over.
        if *token.reveal() == *text { Ok(token) } else { Err(TokenError::Checksum) }
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinToken(hidden)")
    }
}

/// What a server keeps of a token: SHA-256 of its secret. A plain hash is enough: the secret is 256 random
/// bits, so nobody finds it by trying, and there is nothing for a slow or salted hash to make slower.
#[derive(Clone, Copy, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TokenHash([u8; SECRET_BYTES]);

impl PartialEq for TokenHash {
    /// Looks at all bytes, so that how long it takes says nothing of them.
    fn eq(&self, other: &TokenHash) -> bool {
        let pairs = self.0.iter().zip(other.0);
        std::hint::black_box(pairs.fold(0, |difference, (a, b)| difference | (a ^ b))) == 0
    }
}

impl fmt::Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<TokenHash> for String {
    fn from(hash: TokenHash) -> String {
        hash.to_string()
    }
}

impl TryFrom<String> for TokenHash {
    type Error = &'static str;

    fn try_from(text: String) -> Result<TokenHash, &'static str> {
        unhex(&text).map(TokenHash).ok_or("a token's hash has 64 hex digits")
    }
}

/// The first `length` digits of `bytes`, five bits each; zeros follow the last bit.
fn base32(bytes: &[u8], length: usize) -> Vec<u8> {
    let bit = |at: usize| bytes.get(at / 8).map_or(0, |byte| byte >> (7 - at % 8) & 1);
    let digit = |at: usize| (0..5).fold(0, |digit, next| digit << 1 | bit(at * 5 + next));
    (0..length).map(|at| ALPHABET[usize::from(digit(at))]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use ring::rand::SystemRandom;

    fn token() -> JoinToken {
        JoinToken::draw(&SystemRandom::new()).unwrap()
    }

    #[test]
    fn a_token_is_read_as_it_was_shown_and_large_letters_and_spaces_are_no_typo() {
        let token = token();
        let text = token.reveal();
        assert_eq!(text.len(), 63);
        for text in [text.to_string(), format!(" {}\n", text.to_ascii_uppercase())] {
            assert_eq!(text.parse::<JoinToken>().unwrap().hash(), token.hash());
        }
        assert!(!format!("{token:?}").contains(&text[7..20]));
        assert_ne!(self::token().hash(), token.hash());
        // RFC 4648, 10, and printf 'foobar' | base32.
        assert_eq!(base32(b"foobar", 10), b"mzxw6ytboi");
        // The secret of a token of zeros, by `head -c 32 /dev/zero | sha256sum`.
        let zeros = JoinToken(Zeroizing::new([0; 32]));
        let hash = "66687aadf862bd776c8fc18b8e9f8e20089714856ee233b3902a591d0d5f2925";
        assert_eq!(zeros.hash().to_string(), hash);
    }

    #[test]
    fn what_is_wrong_with_a_token_is_told() {
        let text = token().reveal();
        let error = |text: &str| text.parse::<JoinToken>().unwrap_err();
        assert_eq!(error(""), TokenError::Prefix);
        assert_eq!(error("eyJhbGciOiJIUzI1NiJ9"), TokenError::Prefix);
        assert_eq!(error(&text[..62]), TokenError::Length(55));
        assert_eq!(error(&format!("{}a", *text)), TokenError::Length(57));
        assert_eq!(error(&format!("{}0", &text[..62])), TokenError::Character('0'));
        assert_eq!(error(&format!("{}é", &text[..62])), TokenError::Character('é'));
        assert!(error(&text[..62]).to_string().contains("56 are needed"));
    }

    proptest! {
        #[test]
        fn one_wrong_character_is_told(at in 0_usize..56, to in 0_usize..32) {
            let token = token();
            let mut text = token.reveal().as_bytes().to_vec();
            prop_assume!(text[PREFIX.len() + at] != ALPHABET[to]);
            text[PREFIX.len() + at] = ALPHABET[to];
            let text = String::from_utf8(text).unwrap();
            // One in a million passes; then it is another token, which no server knows.
            if let Ok(read) = text.parse::<JoinToken>() {
                prop_assert!(read.hash() != token.hash());
            }
        }
    }
}
