//! What is recorded of one change: who, what, on what, from what to what, why, when.
//!
//! An entry is JSON with its fields in one order and nothing between them; absent ones are left out. It is
//! written once. Its hash is that of these bytes, and nobody writes them again: a reader whose own writing
//! would give other bytes refuses the entry rather than read another meaning into it.

use crate::hash::Hash;
use crate::text::{Code, Text};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Largest entry in bytes.
pub const ENTRY_BYTES_MAX: usize = 16 * 1024;
/// Longest value that stands in an entry itself, in bytes.
pub const SMALL_BYTES_MAX: usize = 1024;
/// Longest value that is sealed, in bytes.
pub const VALUE_BYTES_MAX: usize = 64 * 1024;
/// Earlier entries that one may refer to.
pub const BECAUSE_MAX: usize = 16;
/// Bytes of chance that a sealed value is hidden with.
pub const SALT_BYTES: usize = 32;
/// The version of the form that is written here.
const VERSION: u8 = 1;
const BEGIN: &[u8] = br#"{"v":1,"#;
const SEAL: &[u8] = b"lineside-audit-value/v1\n";

/// A name of somebody or something.
pub type Name = Text<256>;
/// A value that stands in the entry.
pub type Small = Text<SMALL_BYTES_MAX>;
/// A reason.
pub type Reason = Text<2048>;

/// One change, as it is recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    v: u8,
    /// Its number in the log, from 0: the index of its leaf.
    pub seq: u64,
    /// When, in milliseconds since 1970 by the server's clock. Clocks lie; `seq` does not.
    pub at: u64,
    /// What is known of that clock.
    pub clock: Clock,
    /// Who has done it.
    pub who: Who,
    /// What was done: an [`Action`](crate::Action) or one that later versions know.
    pub action: Code,
    /// To what.
    pub subject: Subject,
    /// What it was before.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub old: Option<Value>,
    /// What it is since.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub new: Option<Value>,
    /// Why, in the words of whoever did it; of an approval its meaning.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub why: Option<Reason>,
    /// The request that it was done by, as the server's other records name it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub request: Option<Name>,
    /// SHA-256 of the bytes that were signed, where somebody has signed something.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub signed: Option<Hash>,
    /// Numbers of earlier entries that led to this one: approvals, the rollout, the alert. They ascend.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub because: Vec<u64>,
}

/// What is known of the clock that an entry's time is by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Clock {
    /// It follows a source of time.
    Synced,
    /// It follows none.
    Free,
    /// Nobody has asked.
    Unknown,
}

/// Who has done something.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Who {
    /// What he, she or it is.
    pub kind: WhoKind,
    /// The account, the token, the device, the server.
    pub id: Name,
    /// The printed name.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub name: Option<Name>,
    /// On whose behalf: whose token it is.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub of: Option<Name>,
}

/// What somebody is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WhoKind {
    /// A person, who was there.
    Person,
    /// A program with a token.
    Token,
    /// A device, by its certificate or key.
    Device,
    /// The server itself, by a rule or a plan.
    Server,
}

/// To what something was done.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    /// What it is: `device`, `slot`, `release`, `rollout` …
    pub kind: Code,
    /// Which one; a slot as `device/slot`.
    pub id: Name,
}

/// What something was, or is since.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Value {
    /// The value itself: short, and nobody's secret.
    Text(Small),
    /// SHA-256 of bytes that are kept elsewhere under this digest: a document, a manifest.
    Digest(Hash),
    /// The seal on a value that is kept beside the log, and may be erased there. See [`Sealed`].
    Sealed(Hash),
}

/// A value that is kept beside the log, with the chance that hides it: without it nobody can find out by
/// trying which value a seal is on, once it was erased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// The value, of at most [`VALUE_BYTES_MAX`] bytes.
    pub text: String,
    /// Drawn for this value alone.
    pub salt: [u8; SALT_BYTES],
}

/// What an entry says, without what only the log knows of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// See [`Entry::who`].
    pub who: Who,
    /// See [`Entry::action`].
    pub action: Code,
    /// See [`Entry::subject`].
    pub subject: Subject,
    /// See [`Entry::old`].
    pub old: Option<Value>,
    /// See [`Entry::new`].
    pub new: Option<Value>,
    /// See [`Entry::why`].
    pub why: Option<Reason>,
    /// See [`Entry::request`].
    pub request: Option<Name>,
    /// See [`Entry::signed`].
    pub signed: Option<Hash>,
    /// See [`Entry::because`].
    pub because: Vec<u64>,
}

/// Why bytes are no entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// Too long to be one.
    #[error("an entry of {0} bytes is longer than {ENTRY_BYTES_MAX}")]
    Size(usize),
    /// Of a form that is not known here. Its hash can be verified all the same.
    #[error("it is of a later form than this program knows: use a newer `lineside`")]
    Version,
    /// Not the form of entries.
    #[error("it is no entry: {0}")]
    Format(String),
    /// It says the same as an entry, in other bytes.
    #[error("it is not written as entries are")]
    Canonical,
    /// Refers to what it cannot refer to.
    #[error("it may refer to {BECAUSE_MAX} earlier entries at most, each once and in their order")]
    Because,
    /// A value that is too long to be sealed.
    #[error("a value of {0} bytes is longer than {VALUE_BYTES_MAX}")]
    Value(usize),
}

impl Entry {
    /// The entry of this change at this place in the log, at `at` milliseconds since 1970.
    ///
    /// # Errors
    /// [`EntryError::Because`].
    pub fn new(seq: u64, at: u64, clock: Clock, change: Change) -> Result<Entry, EntryError> {
        let Change { who, action, subject, old, new, why, request, signed, because } = change;
        let v = VERSION;
        let entry = Entry {
            v,
            seq,
            at,
            clock,
            who,
            action,
            subject,
            old,
            new,
            why,
            request,
            signed,
            because,
        };
        entry.verify_because()?;
        Ok(entry)
    }

    /// The bytes that are recorded, and that its hash is of.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("an entry holds only texts and numbers")
    }

    /// Reads what [`Entry::to_bytes`] wrote, and no other bytes that say the same.
    ///
    /// # Errors
    /// [`EntryError`].
    pub fn parse(bytes: &[u8]) -> Result<Entry, EntryError> {
        if bytes.len() > ENTRY_BYTES_MAX {
            return Err(EntryError::Size(bytes.len()));
        }
        if !bytes.starts_with(BEGIN) && is_of_later_form(bytes) {
            return Err(EntryError::Version);
        }
        let entry: Entry =
            serde_json::from_slice(bytes).map_err(|error| EntryError::Format(error.to_string()))?;
        if entry.v != VERSION || entry.to_bytes() != bytes {
            return Err(EntryError::Canonical);
        }
        entry.verify_because()?;
        Ok(entry)
    }

    fn verify_because(&self) -> Result<(), EntryError> {
        let ascends = self.because.windows(2).all(|pair| pair[0] < pair[1]);
        let is_earlier = self.because.last().is_none_or(|last| *last < self.seq);
        if ascends && is_earlier && self.because.len() <= BECAUSE_MAX {
            return Ok(());
        }
        Err(EntryError::Because)
    }
}

/// Whether it begins as an entry of any form does: with its version, which is a number above ours.
fn is_of_later_form(bytes: &[u8]) -> bool {
    let Some(rest) = bytes.strip_prefix(br#"{"v":"#) else { return false };
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let number =
        std::str::from_utf8(&rest[..digits]).ok().and_then(|text| text.parse::<u32>().ok());
    number.is_some_and(|number| number > u32::from(VERSION) && number.to_string().len() == digits)
        && rest.get(digits) == Some(&b',')
}

impl Sealed {
    /// A value and the chance that is handed in for it.
    ///
    /// # Errors
    /// [`EntryError::Value`].
    pub fn new(text: String, salt: [u8; SALT_BYTES]) -> Result<Sealed, EntryError> {
        if text.len() > VALUE_BYTES_MAX {
            return Err(EntryError::Value(text.len()));
        }
        Ok(Sealed { text, salt })
    }

    /// The seal: SHA-256 over a fixed line, the salt and the text.
    pub fn seal(&self) -> Hash {
        Hash::of(&[SEAL, &self.salt, self.text.as_bytes()])
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Who { kind, id, name, of } = self;
        let kind = match kind {
            WhoKind::Person => "",
            WhoKind::Token => "token ",
            WhoKind::Device => "device ",
            WhoKind::Server => "server ",
        };
        write!(f, "{kind}{id}")?;
        name.iter().try_for_each(|name| write!(f, " ({name})"))?;
        of.iter().try_for_each(|of| write!(f, " of {of}"))
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Action;
    use proptest::prelude::*;

    fn smallest() -> Entry {
        let who =
            Who { kind: WhoKind::Server, id: "server".parse().unwrap(), name: None, of: None };
        let subject =
            Subject { kind: "log".parse().unwrap(), id: "fleet.example".parse().unwrap() };
        let action = Action::LogBegun.into();
        let change = Change {
            who,
            action,
            subject,
            old: None,
            new: None,
            why: None,
            request: None,
            signed: None,
            because: vec![],
        };
        Entry::new(0, 0, Clock::Unknown, change).unwrap()
    }

    fn largest() -> Entry {
        let hash = Hash::leaf(b"");
        Entry {
            v: 1,
            seq: 17,
            at: 1_764_240_000_123,
            clock: Clock::Synced,
            who: Who {
                kind: WhoKind::Token,
                id: "t-17".parse().unwrap(),
                name: Some("Ada \"L\" \\ Größe".parse().unwrap()),
                of: Some("ada".parse().unwrap()),
            },
            action: Action::SlotAssigned.into(),
            subject: Subject { kind: "slot".parse().unwrap(), id: "press-4/main".parse().unwrap() },
            old: Some(Value::Text("turbine 1.4.0".parse().unwrap())),
            new: Some(Value::Digest(hash)),
            why: Some("</script> & 日本 \u{1f600}".parse().unwrap()),
            request: Some("01JD".parse().unwrap()),
            signed: Some(hash),
            because: vec![3, 16],
        }
    }

    /// The bytes and hashes of entries of the first form. They are only ever added to.
    const FROZEN: [(&str, &str); 2] = [
        (
            r#"{"v":1,"seq":0,"at":0,"clock":"unknown","who":{"kind":"server","id":"server"},"action":"audit.begin","subject":{"kind":"log","id":"fleet.example"}}"#,
            "95596fcbdbddf0c89918202f0415bb9cd9230d5233f724f0465bdd0590128a49",
        ),
        (
            r#"{"v":1,"seq":17,"at":1764240000123,"clock":"synced","who":{"kind":"token","id":"t-17","name":"Ada \"L\" \\ Größe","of":"ada"},"action":"slot.assign","subject":{"kind":"slot","id":"press-4/main"},"old":{"text":"turbine 1.4.0"},"new":{"digest":"6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"},"why":"</script> & 日本 😀","request":"01JD","signed":"6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d","because":[3,16]}"#,
            "13eb1b8b4d2850a6197139fbc3881274cd83d280f8997ff9d11c1886be634a13",
        ),
    ];

    #[test]
    fn entries_are_written_as_they_were_in_the_first_version() {
        for (entry, (bytes, leaf)) in [smallest(), largest()].into_iter().zip(FROZEN) {
            assert_eq!(String::from_utf8(entry.to_bytes()).unwrap(), bytes);
            assert_eq!(Hash::leaf(bytes.as_bytes()).to_string(), leaf);
            assert_eq!(Entry::parse(bytes.as_bytes()), Ok(entry));
        }
        let sealed = Sealed::new("ada@example.com".into(), [7; 32]).unwrap();
        assert_eq!(
            sealed.seal().to_string(),
            "ff384ab75b8242a951a80dd38911bce52b271af1f1f998842eff785068808732"
        );
    }

    #[test]
    fn other_bytes_that_say_the_same_are_no_entry() {
        let text = FROZEN[1].0;
        for (from, to) in [
            ("{\"v\":1,\"seq\":17", "{ \"v\":1,\"seq\":17"),
            ("\"seq\":17,\"at\":1764240000123", "\"at\":1764240000123,\"seq\":17"),
            ("日", "\\u65e5"),
            ("</", "<\\/"),
            ("\"seq\":17", "\"seq\":17.0"),
            ("\"seq\":17", "\"seq\":1.7e1"),
            ("\"because\":[3,16]", "\"because\":[3, 16]"),
            ("t-17\"", "t-17\",\"x\":1"),
            ("\"seq\":17", "\"seq\":17,\"seq\":17"),
            (",\"of\":\"ada\"", ",\"of\":null"),
            ("[3,16]", "[16,3]"),
            ("[3,16]", "[3,3]"),
            ("[3,16]", "[3,17]"),
            ("[3,16]", "[]"),
            ("6e34", "6E34"),
            ("{\"v\":1", "{\"v\":01"),
            ("{\"v\":1", "{\"v\":\"1\""),
            ("{\"v\":1", "{\"v\":0"),
        ] {
            let other = text.replacen(from, to, 1);
            assert_ne!(other, text, "{from}");
            let read = Entry::parse(other.as_bytes());
            assert!(read.is_err_and(|error| error != EntryError::Version), "{other}");
        }
        let many = format!("[{}]", (0..17).map(|n| n.to_string()).collect::<Vec<_>>().join(","));
        let other = text.replace("[3,16]", &many).replace("\"seq\":17", "\"seq\":99");
        assert_eq!(Entry::parse(other.as_bytes()), Err(EntryError::Because));
    }

    #[test]
    fn an_entry_of_a_later_form_is_told_from_one_that_is_broken() {
        for later in [r#"{"v":2,"x":1}"#, r#"{"v":10,"#] {
            assert_eq!(Entry::parse(later.as_bytes()), Err(EntryError::Version));
        }
        for broken in [
            r#"{"v":0,"x":1}"#,
            r#"{"v":02,"#,
            r#"{"v":2"#,
            r#"{"v":,"#,
            r#"{"v":99999999999,"#,
            "{",
            "",
        ] {
            let read = Entry::parse(broken.as_bytes());
            assert!(matches!(read, Err(EntryError::Format(_))), "{broken}: {read:?}");
        }
        let size = Entry::parse(&vec![b' '; ENTRY_BYTES_MAX + 1]);
        assert_eq!(size, Err(EntryError::Size(ENTRY_BYTES_MAX + 1)));
    }

    #[test]
    fn whatever_an_entry_may_hold_it_is_within_the_largest_size() {
        let quotes = |count: usize| "\"".repeat(count);
        let name = || Some(quotes(256).parse().unwrap());
        let entry = Entry {
            seq: u64::MAX,
            at: u64::MAX,
            who: Who {
                kind: WhoKind::Person,
                id: quotes(256).parse().unwrap(),
                name: name(),
                of: name(),
            },
            subject: Subject {
                kind: "x".repeat(64).parse().unwrap(),
                id: quotes(256).parse().unwrap(),
            },
            old: Some(Value::Text(quotes(1024).parse().unwrap())),
            new: Some(Value::Text(quotes(1024).parse().unwrap())),
            why: Some(quotes(2048).parse().unwrap()),
            request: name(),
            because: (u64::MAX - 16..u64::MAX).collect(),
            ..largest()
        };
        let bytes = entry.to_bytes();
        assert!(bytes.len() <= ENTRY_BYTES_MAX, "{}", bytes.len());
        assert_eq!(Entry::parse(&bytes), Ok(entry));
    }

    #[test]
    fn a_seal_is_on_one_value_with_one_salt() {
        let seal = |text: &str, salt: u8| Sealed::new(text.into(), [salt; 32]).unwrap().seal();
        assert_ne!(seal("a", 1), seal("b", 1));
        assert_ne!(seal("a", 1), seal("a", 2));
        assert!(Sealed::new("x".repeat(VALUE_BYTES_MAX + 1), [0; 32]).is_err());
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(seq: u64, at: u64, why in "\\PC{1,40}", id in "\\PC{1,40}") {
            let why = Text::lossy(&why);
            let Some(id) = Text::lossy(&id) else { return Ok(()) };
            let entry = Entry { seq, at, why, subject: Subject { id, ..smallest().subject }, ..smallest() };
            prop_assert_eq!(Entry::parse(&entry.to_bytes()), Ok(entry));
        }

        #[test]
        fn no_byte_can_be_changed_unseen(at in 0..400usize, bit in 0..8u8) {
            let mut bytes = FROZEN[1].0.as_bytes().to_vec();
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            prop_assert_ne!(Hash::leaf(&bytes), Hash::leaf(FROZEN[1].0.as_bytes()));
            // And whatever can be read still is what would be written.
            if let Ok(entry) = Entry::parse(&bytes) {
                prop_assert_eq!(entry.to_bytes(), bytes);
            }
        }
    }
}
