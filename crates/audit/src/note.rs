//! Signed notes: a text and the signatures of whoever stands for it (c2sp.org/signed-note).
//!
//! A key is a name, a byte for the algorithm and the public bytes; signatures name it by its name and four
//! bytes of a hash over all of these. Signatures of keys that nobody here knows say nothing and are passed
//! over, so that witnesses may add theirs and other algorithms may come.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ring::digest::{SHA256, digest};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use std::fmt;
use std::str::FromStr;

/// Largest note in bytes: sixteen signatures of five thousand bytes each, and a text.
pub const NOTE_BYTES_MAX: usize = 128 * 1024;
/// Most signatures of a note.
pub const SIGNATURES_MAX: usize = 32;
/// Longest name of a key in bytes.
pub const KEY_NAME_BYTES_MAX: usize = 128;
/// Largest public key and largest signature that are kept in mind, in bytes.
const MATERIAL_BYTES_MAX: usize = 8 * 1024;
const ED25519_KEY_BYTES: usize = 32;
const ED25519_SIGNATURE_BYTES: usize = 64;
const ED25519_TYPE: u8 = 0x01;
const COSIGNATURE_TYPE: u8 = 0x04;
/// An em dash and a space.
const SIGNATURE_BEGIN: &str = "— ";

/// How a key signs: the byte that its id is made of. What is not listed here is passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Algorithm {
    /// Ed25519 over the text (0x01).
    Ed25519,
    /// Ed25519 over time and text, of a witness (0x04, c2sp.org/tlog-cosignature).
    Cosignature,
}

impl Algorithm {
    /// The byte of signed-note.
    pub fn byte(self) -> u8 {
        match self {
            Algorithm::Ed25519 => ED25519_TYPE,
            Algorithm::Cosignature => COSIGNATURE_TYPE,
        }
    }

    fn of(byte: u8) -> Option<Algorithm> {
        match byte {
            ED25519_TYPE => Some(Algorithm::Ed25519),
            COSIGNATURE_TYPE => Some(Algorithm::Cosignature),
            _ => None,
        }
    }
}

/// Why a key or a note cannot be read or made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Not a name that a signature line can carry.
    #[error(
        "{0:?} cannot name a key: use 1 to {KEY_NAME_BYTES_MAX} bytes without spaces, plus signs and control characters"
    )]
    Name(String),
    /// No verifier key.
    #[error("it is no key of the form name+id+base64, as the log's owner gives it out: {0}")]
    Key(&'static str),
    /// No signed note.
    #[error("it is no signed note: {0}")]
    Format(&'static str),
    /// No signature of the key that was asked for.
    #[error("{0} has not signed it")]
    Unsigned(String),
    /// A signature of a known key that does not hold.
    #[error(
        "the signature of {0} does not hold: the text was changed, or another key has signed it"
    )]
    Signature(String),
    /// Whoever has the key does not sign, or signs with another key.
    #[error("{name} does not sign: {problem}")]
    Signer {
        /// The key's name.
        name: String,
        /// What it said.
        problem: String,
    },
}

/// The public half of a key: whom to believe. As text `name+id+base64` (a *vkey*).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    algorithm: Algorithm,
    public: [u8; ED25519_KEY_BYTES],
}

impl VerifierKey {
    /// The key with this name and these public bytes (RFC 8032, 5.1.2).
    ///
    /// # Errors
    /// [`NoteError::Name`].
    pub fn new(
        name: &str,
        algorithm: Algorithm,
        public: [u8; ED25519_KEY_BYTES],
    ) -> Result<VerifierKey, NoteError> {
        if !is_key_name(name) {
            return Err(NoteError::Name(name.chars().take(KEY_NAME_BYTES_MAX).collect()));
        }
        Ok(VerifierKey { name: name.into(), algorithm, public })
    }

    /// Its name, in a log the log's origin.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it signs.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The first four bytes of SHA-256 over name, newline, algorithm and public bytes.
    pub fn id(&self) -> [u8; 4] {
        let algorithm = [b'\n', self.algorithm.byte()];
        let whole = [self.name.as_bytes(), &algorithm, &self.public].concat();
        let hash = digest(&SHA256, &whole);
        [hash.as_ref()[0], hash.as_ref()[1], hash.as_ref()[2], hash.as_ref()[3]]
    }

    fn verifies(&self, bytes: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.public).verify(bytes, signature).is_ok()
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let public = [&[self.algorithm.byte()], self.public.as_slice()].concat();
        let [a, b, c, d] = self.id();
        let public = BASE64_STANDARD.encode(public);
        write!(f, "{}+{a:02x}{b:02x}{c:02x}{d:02x}+{public}", self.name)
    }
}

impl FromStr for VerifierKey {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<VerifierKey, NoteError> {
        if text.len() > KEY_NAME_BYTES_MAX + MATERIAL_BYTES_MAX {
            return Err(NoteError::Key("it is too long"));
        }
        // Base64 has plus signs, names have none.
        let mut parts = text.splitn(3, '+');
        let (name, id, public) = (parts.next(), parts.next(), parts.next());
        let ((Some(name), Some(_)), Some(public)) = ((name, id), public) else {
            return Err(NoteError::Key("it has no three parts"));
        };
        let public =
            BASE64_STANDARD.decode(public).map_err(|_| NoteError::Key("its end is no base64"))?;
        let Some((&algorithm, public)) = public.split_first() else {
            return Err(NoteError::Key("it is empty"));
        };
        let algorithm =
            Algorithm::of(algorithm).ok_or(NoteError::Key("it is of an algorithm unknown here"))?;
        let public = public.try_into().map_err(|_| NoteError::Key("it has another length"))?;
        let key = VerifierKey::new(name, algorithm, public)?;
        if key.to_string() != text {
            return Err(NoteError::Key("its id is that of another key: a character was changed"));
        }
        Ok(key)
    }
}

/// Whoever can sign: a key in memory, in a token or behind a door of another process.
pub trait Signer {
    /// The public half.
    fn key(&self) -> &VerifierKey;

    /// The 64 bytes of the Ed25519 signature of `bytes`.
    ///
    /// # Errors
    /// What keeps it from signing, in words.
    fn sign(&self, bytes: &[u8]) -> Result<Vec<u8>, String>;
}

/// A key in memory.
pub struct LocalSigner {
    key: VerifierKey,
    pair: Ed25519KeyPair,
}

impl LocalSigner {
    /// The key of this PKCS#8 document (RFC 8410), under this name.
    ///
    /// # Errors
    /// [`NoteError::Name`], or [`NoteError::Key`] where the document holds no Ed25519 key.
    pub fn from_pkcs8(name: &str, pkcs8: &[u8]) -> Result<LocalSigner, NoteError> {
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8);
        LocalSigner::of(name, pair.map_err(|_| NoteError::Key("no Ed25519 key in PKCS#8 form"))?)
    }

    /// The key of this seed (RFC 8032, 5.1.5), under this name.
    ///
    /// # Errors
    /// [`NoteError::Name`].
    pub fn from_seed(name: &str, seed: &[u8; ED25519_KEY_BYTES]) -> Result<LocalSigner, NoteError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed);
        LocalSigner::of(name, pair.map_err(|_| NoteError::Key("no seed of an Ed25519 key"))?)
    }

    fn of(name: &str, pair: Ed25519KeyPair) -> Result<LocalSigner, NoteError> {
        let public = pair.public_key().as_ref().try_into();
        let public = public.expect("the public part of an Ed25519 key has 32 bytes");
        let key = VerifierKey::new(name, Algorithm::Ed25519, public)?;
        Ok(LocalSigner { key, pair })
    }
}

impl Signer for LocalSigner {
    fn key(&self) -> &VerifierKey {
        &self.key
    }

    fn sign(&self, bytes: &[u8]) -> Result<Vec<u8>, String> {
        Ok(self.pair.sign(bytes).as_ref().to_vec())
    }
}

/// A text with signatures, none of which has been looked at yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<Signature>,
}

/// A line with a signature.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Signature {
    name: String,
    id: [u8; 4],
    bytes: Vec<u8>,
}

impl Note {
    /// Signs a text, which ends in a newline.
    ///
    /// # Errors
    /// [`NoteError::Format`] where the text is none of a note; [`NoteError::Signer`] where the signer
    /// refuses, or signs what its own public half does not verify.
    pub fn sign(text: &str, signer: &dyn Signer) -> Result<Note, NoteError> {
        verify_text(text)?;
        let mut note = Note { text: text.into(), signatures: Vec::new() };
        note.add(signer)?;
        Ok(note)
    }

    /// Adds the signature of one more key.
    ///
    /// # Errors
    /// As [`Note::sign`].
    pub fn add(&mut self, signer: &dyn Signer) -> Result<(), NoteError> {
        let key = signer.key();
        let fail = |problem: String| NoteError::Signer { name: key.name.clone(), problem };
        if key.algorithm != Algorithm::Ed25519 {
            return Err(fail("a witness signs with a time".into()));
        }
        if self.signatures.len() >= SIGNATURES_MAX {
            return Err(NoteError::Format("it has too many signatures"));
        }
        let bytes = signer.sign(self.text.as_bytes()).map_err(fail)?;
        // A signature that nobody can verify would be noticed when it is too late.
        if !key.verifies(self.text.as_bytes(), &bytes) {
            return Err(fail("its signature is not one of its own key".into()));
        }
        self.signatures.push(Signature { name: key.name.clone(), id: key.id(), bytes });
        Ok(())
    }

    /// Adds the cosignature of a witness who has signed at this time, in seconds since 1970.
    ///
    /// # Errors
    /// As [`Note::sign`].
    pub fn cosign(&mut self, witness: &dyn Signer, time_s: u64) -> Result<(), NoteError> {
        let fail =
            |problem: String| NoteError::Signer { name: witness.key().name.clone(), problem };
        let key = VerifierKey { algorithm: Algorithm::Cosignature, ..witness.key().clone() };
        if self.signatures.len() >= SIGNATURES_MAX {
            return Err(NoteError::Format("it has too many signatures"));
        }
        let signed = cosigned(time_s, &self.text);
        let signature = witness.sign(signed.as_bytes()).map_err(fail)?;
        if !key.verifies(signed.as_bytes(), &signature) {
            return Err(fail("its signature is not one of its own key".into()));
        }
        let bytes = [time_s.to_be_bytes().as_slice(), &signature].concat();
        self.signatures.push(Signature { name: key.name.clone(), id: key.id(), bytes });
        Ok(())
    }

    /// Reads a note, strictly and within bounds, without believing any of it.
    ///
    /// # Errors
    /// [`NoteError::Format`].
    pub fn parse(bytes: &[u8]) -> Result<Note, NoteError> {
        use NoteError::Format;

        if bytes.len() > NOTE_BYTES_MAX {
            return Err(Format("it is too long"));
        }
        let whole = std::str::from_utf8(bytes).map_err(|_| Format("it is no UTF-8"))?;
        let Some(split) = whole.rfind("\n\n") else {
            return Err(Format("it has no empty line before the signatures"));
        };
        let (text, lines) = (&whole[..=split], &whole[split + 2..]);
        verify_text(text)?;
        let Some(lines) = lines.strip_suffix('\n') else {
            return Err(Format("its last line has no end"));
        };
        let mut signatures = Vec::new();
        for line in lines.split('\n') {
            if signatures.len() >= SIGNATURES_MAX {
                return Err(Format("it has too many signatures"));
            }
            let parts = line.strip_prefix(SIGNATURE_BEGIN).and_then(|line| line.split_once(' '));
            let Some((name, blob)) = parts.filter(|(name, _)| is_key_name(name)) else {
                return Err(Format("a line below the text is no signature"));
            };
            if blob.len() > 2 * MATERIAL_BYTES_MAX {
                return Err(Format("a signature is too long"));
            }
            let blob = BASE64_STANDARD.decode(blob);
            let blob = blob.map_err(|_| Format("a signature is no base64"))?;
            let Some((id, bytes)) = blob.split_first_chunk().filter(|(_, bytes)| !bytes.is_empty())
            else {
                return Err(Format("a signature is too short"));
            };
            signatures.push(Signature { name: name.into(), id: *id, bytes: bytes.to_vec() });
        }
        Ok(Note { text: text.into(), signatures })
    }

    /// The text, whose last line has its end. It is to be believed where [`Note::verify`] says so.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether this key has signed the text.
    ///
    /// # Errors
    /// [`NoteError::Unsigned`], or [`NoteError::Signature`] where one that says it is the key's does not
    /// hold: such a note is refused whole, whatever else is below it.
    pub fn verify(&self, key: &VerifierKey) -> Result<(), NoteError> {
        self.times(key).map(|_| ())
    }

    /// When this witness has cosigned the text, in seconds since 1970: the latest, where it has done so
    /// more than once.
    ///
    /// # Errors
    /// As [`Note::verify`].
    pub fn cosigned_s(&self, witness: &VerifierKey) -> Result<u64, NoteError> {
        let unsigned = || NoteError::Unsigned(witness.name.clone());
        self.times(witness)?.ok_or_else(unsigned)
    }

    fn times(&self, key: &VerifierKey) -> Result<Option<u64>, NoteError> {
        let id = key.id();
        let own = self.signatures.iter().filter(|line| line.name == key.name && line.id == id);
        let mut found = None;
        for line in own {
            let wrong = || NoteError::Signature(key.name.clone());
            let (signed, signature, time_s) = match key.algorithm {
                Algorithm::Ed25519 => (self.text.clone(), line.bytes.as_slice(), None),
                Algorithm::Cosignature => {
                    let (time, signature) = line.bytes.split_first_chunk().ok_or_else(wrong)?;
                    let time_s = u64::from_be_bytes(*time);
                    (cosigned(time_s, &self.text), signature, Some(time_s))
                }
            };
            let is_one = signature.len() == ED25519_SIGNATURE_BYTES
                && time_s.is_none_or(|time_s| i64::try_from(time_s).is_ok());
            if !is_one || !key.verifies(signed.as_bytes(), signature) {
                return Err(wrong());
            }
            found = found.max(Some(time_s));
        }
        found.ok_or_else(|| NoteError::Unsigned(key.name.clone()))
    }
}

/// The note as it travels.
impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|Signature { name, id, bytes }| {
            let blob = BASE64_STANDARD.encode([id.as_slice(), bytes].concat());
            writeln!(f, "{SIGNATURE_BEGIN}{name} {blob}")
        })
    }
}

/// What a witness signs (tlog-cosignature, Ed25519 signed message).
fn cosigned(time_s: u64, text: &str) -> String {
    format!("cosignature/v1\ntime {time_s}\n{text}")
}

pub(crate) fn is_key_name(name: &str) -> bool {
    let is_plain = |c: char| !c.is_whitespace() && !c.is_control() && c != '+';
    (1..=KEY_NAME_BYTES_MAX).contains(&name.len()) && name.chars().all(is_plain)
}

fn verify_text(text: &str) -> Result<(), NoteError> {
    let is_control = |byte: u8| byte < b' ' && byte != b'\n';
    if text.bytes().any(is_control) {
        return Err(NoteError::Format("it has control characters"));
    }
    if !text.ends_with('\n') || text == "\n" {
        return Err(NoteError::Format("its text has no end"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    // The published examples of signed-note and of the package `note` of Go's checksum database.
    const SPEC_KEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
    const SPEC_NOTE: &str = "This is an example message.\n\n— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";
    const GO_KEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const GO_SECRET: &str = "AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
    const GO_TEXT: &str = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
    const GO_LINE: &str = "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

    fn peter() -> LocalSigner {
        let secret = BASE64_STANDARD.decode(GO_SECRET).unwrap();
        LocalSigner::from_seed("PeterNeumann", &secret[1..].try_into().unwrap()).unwrap()
    }

    #[test]
    fn a_signed_note_is_byte_for_byte_the_one_that_other_tools_make() {
        let signer = peter();
        assert_eq!(signer.key().to_string(), GO_KEY);
        let note = Note::sign(GO_TEXT, &signer).unwrap();
        assert_eq!(note.to_string(), format!("{GO_TEXT}\n{GO_LINE}"));
        assert_eq!(Note::parse(note.to_string().as_bytes()), Ok(note));
    }

    #[test]
    fn notes_of_others_are_verified_and_no_byte_of_them_can_be_changed() {
        let go = format!("{GO_TEXT}\n{GO_LINE}");
        for (key, text) in [(SPEC_KEY, SPEC_NOTE), (GO_KEY, go.as_str())] {
            let key: VerifierKey = key.parse().unwrap();
            assert_eq!(Note::parse(text.as_bytes()).unwrap().verify(&key), Ok(()));
            for at in 0..text.len() {
                for bit in 0..8 {
                    let mut bytes = text.as_bytes().to_vec();
                    bytes[at] ^= 1 << bit;
                    let read = Note::parse(&bytes).and_then(|note| note.verify(&key));
                    assert!(read.is_err(), "byte {at}, bit {bit}");
                }
            }
        }
    }

    #[test]
    fn a_key_with_any_character_changed_or_left_out_is_none() {
        for text in [SPEC_KEY, GO_KEY] {
            assert_eq!(text.parse::<VerifierKey>().unwrap().to_string(), text);
            for at in 0..text.len() {
                let mut bytes = text.as_bytes().to_vec();
                bytes[at] ^= 1;
                let changed = String::from_utf8(bytes).unwrap();
                assert!(changed.parse::<VerifierKey>().is_err(), "{changed}");
                assert!(text[..at].parse::<VerifierKey>().is_err());
            }
        }
        let other = "x+00000000+AwEB".parse::<VerifierKey>().unwrap_err();
        assert_eq!(other, NoteError::Key("it is of an algorithm unknown here"));
    }

    #[test]
    fn signatures_of_strangers_are_passed_over_and_a_wrong_one_of_a_known_key_is_not() {
        let go: VerifierKey = GO_KEY.parse().unwrap();
        let spec: VerifierKey = SPEC_KEY.parse().unwrap();
        let stranger = SPEC_NOTE.split_once("\n\n").unwrap().1;
        let both = format!("{GO_TEXT}\n{stranger}{GO_LINE}");
        let note = Note::parse(both.as_bytes()).unwrap();
        assert_eq!(note.verify(&go), Ok(()));
        assert_eq!(note.verify(&spec), Err(NoteError::Signature("example.com/foo".into())));
        let alone = Note::parse(format!("{GO_TEXT}\n{GO_LINE}").as_bytes()).unwrap();
        assert_eq!(alone.verify(&spec), Err(NoteError::Unsigned("example.com/foo".into())));
        // The same name with another id is another key.
        let renamed = VerifierKey { algorithm: Algorithm::Cosignature, ..go };
        assert_eq!(alone.verify(&renamed), Err(NoteError::Unsigned("PeterNeumann".into())));
    }

    #[test]
    fn a_witness_signs_the_time_with_the_text() {
        let mut note = Note::sign(GO_TEXT, &peter()).unwrap();
        let witness = LocalSigner::from_seed("witness.example/w1", &[7; 32]).unwrap();
        note.cosign(&witness, 1_764_240_000).unwrap();
        let key = VerifierKey { algorithm: Algorithm::Cosignature, ..witness.key().clone() };
        let read = Note::parse(note.to_string().as_bytes()).unwrap();
        assert_eq!(read.cosigned_s(&key), Ok(1_764_240_000));
        assert_eq!(read.verify(peter().key()), Ok(()));
        let line = note.signatures.last().unwrap().clone();
        note.signatures.last_mut().unwrap().bytes[7] ^= 1;
        assert!(note.cosigned_s(&key).is_err(), "another time");
        *note.signatures.last_mut().unwrap() = Signature { bytes: line.bytes[..20].into(), ..line };
        assert!(note.cosigned_s(&key).is_err(), "cut short");
    }

    #[test]
    fn what_is_no_note_is_refused_within_bounds() {
        let many = format!("{GO_TEXT}\n{}", GO_LINE.repeat(SIGNATURES_MAX + 1));
        let long = format!("{}\n\n{GO_LINE}", "x".repeat(NOTE_BYTES_MAX));
        let spaced = format!("{GO_TEXT}\n{}", GO_LINE.replace("— Peter", "— Pe\u{a0}ter"));
        let cut = &GO_LINE[..GO_LINE.len() - 1];
        let windows = format!("{GO_TEXT}\n{GO_LINE}").replace('\n', "\r\n");
        for wrong in [
            "",
            "\n",
            "\n\n",
            "\n\n\n",
            "text\n",
            "text\n\n",
            "text\n\n\n",
            "text\n\nline\n",
            "text\n\n— a AAAA\n",
            "text\n\n— a AAAAA===\n",
            "text\n\n— a+b AAAAAAAA\n",
            "text\n\n—a AAAAAAAA\n",
            "\n— a AAAAAAAA\n",
            &many,
            &long,
            &spaced,
            &format!("{GO_TEXT}\n{cut}"),
            &windows,
            &format!("{GO_TEXT}\n{GO_LINE}\n"),
            &format!("\u{1}{GO_TEXT}\n{GO_LINE}"),
        ] {
            let read = Note::parse(wrong.as_bytes());
            assert!(
                matches!(read, Err(NoteError::Format(_))),
                "{:?}",
                &wrong[..wrong.len().min(80)]
            );
        }
        let full = format!("{GO_TEXT}\n{}", GO_LINE.repeat(SIGNATURES_MAX));
        assert_eq!(Note::parse(full.as_bytes()).unwrap().verify(peter().key()), Ok(()));
        assert!(Note::parse(b"\xff\n\n").is_err());
        assert!(Note::sign("no end", &peter()).is_err());
    }

    struct Broken(LocalSigner, Result<Vec<u8>, String>);

    impl Signer for Broken {
        fn key(&self) -> &VerifierKey {
            self.0.key()
        }

        fn sign(&self, _: &[u8]) -> Result<Vec<u8>, String> {
            self.1.clone()
        }
    }

    #[test]
    fn a_signer_that_signs_with_another_key_is_noticed_at_once() {
        let other = LocalSigner::from_seed("x", &[9; 32]).unwrap().sign(GO_TEXT.as_bytes());
        let error = Note::sign(GO_TEXT, &Broken(peter(), other)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "PeterNeumann does not sign: its signature is not one of its own key"
        );
        let away = Broken(peter(), Err("the token was pulled out".into()));
        let error = Note::sign(GO_TEXT, &away).unwrap_err();
        assert_eq!(error.to_string(), "PeterNeumann does not sign: the token was pulled out");
    }
}
